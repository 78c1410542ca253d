package run

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// buildAdmin makes the control listener's server when it is asked for.
func (g *gateway) buildAdmin(first *generation) error {
	s := &first.s.Admin
	if s.Listen == "" {
		return nil
	}
	var err error
	if first.control, err = g.controlOf(first); err != nil {
		return err
	}
	g.control.Store(first.control)
	g.admin = &http.Server{
		Addr: s.Listen, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		Handler:  http.HandlerFunc(g.serveControl),
		ErrorLog: slog.NewLogLogger(g.sight.log.Handler(), slog.LevelDebug),
	}
	if len(s.TLS.CertFiles) > 0 {
		if g.admin.TLSConfig, err = front.ServerTLS(*tlsOptions(&s.TLS), g.sight.log); err != nil {
			return fmt.Errorf("control listener: %w", err)
		}
	}
	return nil
}

// controlOf makes what answers on the control listener while a generation serves.
func (g *gateway) controlOf(gen *generation) (*control, error) {
	o := admin.Options{
		Secret: gen.s.Admin.Secret, Tokens: gen.s.Admin.Tokens, Gateway: gen.host, Servers: g.servers.Status,
		ReplaceServer: g.servers.Replace, Scripts: func() any { return g.scripts.Status() }, Plugins: func() any { return g.builtins.Status() }, Reload: g.reload,
		Settings: (*changer)(g), Log: g.sight.log, Audit: slog.New(g.sight.lines.All()),
	}
	if err := g.stateOptions(gen, &o); err != nil {
		return nil, err
	}
	if gen.s.Metrics.Enabled {
		o.Metrics = promhttp.HandlerFor(g.sight.registry, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(g.sight.log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		})
	}
	h, err := admin.New(o)
	if err != nil {
		return nil, err
	}
	return &control{Handler: h, idle: make(chan struct{})}, nil
}

// serveControl hands a request to what answers for the generation that serves.
func (g *gateway) serveControl(w http.ResponseWriter, r *http.Request) {
	for {
		c := g.control.Load()
		if c.enter() {
			defer c.leave()
			c.ServeHTTP(w, r)
			return
		} // another has just taken its place
	}
}

// listenControl opens the control listener where there is to be one.
func (g *gateway) listenControl() error {
	if g.admin == nil {
		return nil
	}
	l, err := net.Listen("tcp", g.admin.Addr)
	if err != nil {
		return hint.New(fmt.Errorf("control listener: %w", err), "choose another --admin-listen")
	}
	g.sight.log.Info("control listener", "address", l.Addr().String())
	if g.admin.TLSConfig != nil {
		l = tls.NewListener(l, g.admin.TLSConfig)
	}
	g.group.run(func() error {
		if err := g.admin.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("control listener: %w", err)
		}
		return nil
	})
	return nil
}

// areRefused reports whether an error of a load is that definitions are refused: then the others serve.
func areRefused(err error) bool {
	var refused *host.RefusedError
	return errors.As(err, &refused)
}

// targetEvent publishes that a target of an upstream went down or came up.
func (g *gateway) targetEvent(d *config.Definition, e upstream.Event) {
	kind, message := sdk.EventHostUp, "target "+e.Target+" is up"
	if !e.Up {
		kind, message = sdk.EventHostDown, fmt.Sprintf("target %s is down: %v", e.Target, e.Err)
	}
	g.sight.log.Warn(message, "api", d.ID)
	g.now.Load().host.Publish(sdk.Event{
		Time: time.Now(), Type: kind, Route: d.ID, Org: d.Org, Message: message, Meta: map[string]string{"HostInfo": e.Target},
	})
}

// group runs goroutines and ends them together: the first error stops all.
type group struct {
	stop   func()
	broken chan struct{} // closed at the first error
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

func newGroup(stop func()) *group { return &group{stop: stop, broken: make(chan struct{})} }

func (g *group) run(f func() error) {
	g.wg.Go(func() {
		if err := f(); err != nil {
			g.mu.Lock()
			if len(g.errs) == 0 {
				close(g.broken)
			}
			g.errs = append(g.errs, err)
			g.mu.Unlock()
			g.stop()
		}
	})
}

func (g *group) wait() error {
	g.wg.Wait()
	return errors.Join(g.errs...)
}
