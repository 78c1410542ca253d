package run

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// buildAdmin makes the control listener's server when it is asked for.
func (g *gateway) buildAdmin() error {
	s := &g.s.Admin
	if s.Listen == "" {
		return nil
	}
	o := admin.Options{
		Secret: s.Secret, Tokens: s.Tokens, Gateway: g.host, Servers: g.servers.status, Reload: g.reload, Log: g.sight.log,
	}
	if err := g.stateOptions(&o); err != nil {
		return err
	}
	if g.s.Metrics.Enabled {
		o.Metrics = promhttp.HandlerFor(g.sight.registry, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(g.sight.log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError,
		})
	}
	h, err := admin.New(o)
	if err != nil {
		return err
	}
	g.admin = &http.Server{
		Addr: s.Listen, Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(g.sight.log.Handler(), slog.LevelDebug),
	}
	if len(s.TLS.CertFiles) > 0 {
		if g.admin.TLSConfig, err = front.ServerTLS(*tlsOptions(&s.TLS), g.sight.log); err != nil {
			return fmt.Errorf("control listener: %w", err)
		}
	}
	return nil
}

func (g *gateway) serveAdmin(l net.Listener) error {
	if g.admin.TLSConfig != nil {
		l = tls.NewListener(l, g.admin.TLSConfig)
	}
	if err := g.admin.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control listener: %w", err)
	}
	return nil
}

// reload asks the reloader for a reload and waits for it.
func (g *gateway) reload(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case g.reloads <- done:
	case <-g.stopped:
		return host.ErrClosing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reloader does one reload at a time until ctx ends.
func (g *gateway) reloader(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case done := <-g.reloads:
			loading, cancel := context.WithTimeout(ctx, g.s.LoadTimeout)
			err := g.load(loading)
			cancel()
			if err != nil {
				what := "nothing has changed"
				if areRefused(err) {
					what = "some definitions are refused; what served before goes on"
				}
				g.sight.log.Error("reload: "+what, "error", err.Error())
			} else {
				g.sight.log.Info("reloaded", "routes", len(g.loaded.set.Definitions))
			}
			done <- err
		}
	}
}

// areRefused reports whether an error of a load is that definitions are refused: then the others serve.
func areRefused(err error) bool {
	var refused *host.RefusedError
	return errors.As(err, &refused)
}

// sameOutside reports whether plugin folders and servers are what they were: then unchanged definitions keep their
// routes.
func sameOutside(a, b *definitions) bool {
	return reflect.DeepEqual(a.servers, b.servers) && reflect.DeepEqual(a.plugins, b.plugins)
}

// targetEvent publishes that a target of an upstream went down or came up.
func (g *gateway) targetEvent(d *config.Definition, e upstream.Event) {
	kind, message := sdk.EventHostUp, "target "+e.Target+" is up"
	if !e.Up {
		kind, message = sdk.EventHostDown, fmt.Sprintf("target %s is down: %v", e.Target, e.Err)
	}
	g.sight.log.Warn(message, "api", d.ID)
	g.host.Publish(sdk.Event{
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
