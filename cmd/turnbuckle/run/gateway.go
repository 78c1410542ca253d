// Package run is the running gateway: what serves, wired from settings, and kept up with definitions.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/state"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
)

// Options are what a gateway runs with. All are required.
type Options struct {
	Settings *config.Settings
	// Warnings are what there is to say about the settings.
	Warnings config.Problems
	// Environ is the environment that definitions may refer to, in the form of os.Environ.
	Environ []string
	// Stdout takes the access log, Stderr the gateway's own log.
	Stdout, Stderr io.Writer
	Version        string
}

// gateway is a running gateway and everything it owns.
type gateway struct {
	ctx     context.Context // never ends; for what comes after the end of serving
	o       *Options
	s       *config.Settings
	sight   *sight
	servers *servers
	targets *targets
	state   *state.State
	host    *host.Gateway
	front   *front.Front
	admin   *http.Server
	loaded  *definitions
	serving atomic.Pointer[definitions] // what is loaded, for those who do not load
	files   stamps                      // of what is loaded
	reloads chan chan error
	stopped <-chan struct{} // closed when the gateway begins to stop
}

// Serve runs a gateway until ctx ends and everything it began has.
func Serve(ctx context.Context, o Options) (err error) {
	started := time.Now()
	hangups := make(chan os.Signal, 1) // from the start to the end: nobody who asks for a reload means to kill
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s := o.Settings
	g := &gateway{ctx: context.WithoutCancel(ctx), o: &o, s: s, reloads: make(chan chan error)}
	if g.sight, err = newSight(ctx, &o); err != nil {
		return err
	}
	log := g.sight.log
	for _, p := range o.Warnings {
		log.Warn("settings: " + p.Error())
	}
	g.servers, g.targets, g.state = newServers(log, o.Version), newTargets(), state.New(context.WithoutCancel(ctx), state.Options{Settings: s, Log: log, TLS: pluginTLS})
	g.sight.watch(g.servers, g.targets)
	if err := g.build(ctx); err != nil {
		return errors.Join(err, g.state.Close(ctx), g.sight.close(g.ctx, closeTimeout))
	}
	defer func() { err = errors.Join(err, g.stop()) }()

	serving, stop := context.WithCancel(ctx)
	defer stop()
	g.stopped = serving.Done()
	group := newGroup(stop)
	if err = g.start(serving, group, hangups); err == nil && serving.Err() == nil {
		log.Info("serving", "address", g.front.Addr().String(), "took", time.Since(started).Round(time.Millisecond).String(), "version", o.Version)
		<-serving.Done()
		g.host.StartClosing()
		log.Info("stopping", "shutdown_delay", s.ShutdownDelay.String(), "drain_timeout", s.DrainTimeout.String())
		g.linger(group)
	}
	stop()
	return errors.Join(err, g.shutdown(group))
}

// build makes what serves, without listening yet.
func (g *gateway) build(ctx context.Context) error {
	s := g.s
	replies, err := compileReplies(s)
	if err != nil {
		return err
	}
	g.host = host.New(context.WithoutCancel(ctx), host.Options{
		Log: g.sight.log, Metrics: g.sight.metrics, Replies: replies, AccessLog: g.sight.access, Tracer: g.sight.tracer,
		Match: s.Routing.Match, MaxBody: s.Listen.MaxBody, Hooks: s.Hooks, Errors: s.Errors, HideGenerator: s.HideGenerator,
		Shared: g.state, Away: g.storeAway, LimitHeaders: s.Limits.Headers, PassUnlimited: s.Store.OnError == config.StoreContinue,
		StrictReady: s.Ready == config.ReadyStrict, Dead: g.servers.dead, Drain: s.DrainTimeout,
	})
	l := &s.Listen
	o := front.Options{
		Address: l.Address, H2C: l.H2C, TrustedProxies: l.TrustedProxies, XFFDepth: l.XFFDepth, ProxyProtocol: l.ProxyProtocol,
		HeaderTimeout: l.HeaderTimeout, ReadTimeout: l.ReadTimeout, IdleTimeout: l.IdleTimeout, MaxHeader: int(l.MaxHeader),
		MaxFields: l.MaxHeaderFields, Logger: g.sight.log,
	}
	if len(l.TLS.CertFiles) > 0 {
		o.TLS = tlsOptions(&l.TLS)
	}
	if g.front, err = front.New(o, g.host); err != nil {
		return err
	}
	return g.buildAdmin()
}

func tlsOptions(t *config.ServerTLS) *front.TLSOptions {
	return &front.TLSOptions{
		CertFiles: t.CertFiles, KeyFiles: t.KeyFiles, MinVersion: uint16(t.MinVersion),
		ClientCAFile: t.ClientCAFile, RequireClientCert: t.ClientRequired,
	}
}

// start opens the control listener, loads, and then opens the data listener. When serving ends meanwhile, it returns
// nil with less done.
func (g *gateway) start(serving context.Context, group *group, hangups <-chan os.Signal) error {
	if err := g.control(group); err != nil {
		return err
	}
	loading, cancel := context.WithTimeout(serving, g.s.LoadTimeout)
	err := g.load(loading)
	cancel()
	switch {
	case serving.Err() != nil:
		return nil
	case err != nil && (g.s.Strict || g.loaded == nil):
		return hint.New(fmt.Errorf("definitions are refused:\n%w", err), "turnbuckle check lists every problem; without --strict the others would serve")
	case areRefused(err):
		g.sight.log.Error("some definitions are refused; the others serve", "error", err.Error())
	case err != nil:
		next := "it is watched, and served from as soon as it can be read"
		if !g.s.Watch {
			next = "send SIGHUP when it can be read"
		}
		g.sight.log.Error("no API is served: "+err.Error(), "next", next)
	}
	if err := g.front.Listen(serving); err != nil {
		if serving.Err() != nil {
			return nil
		}
		return hint.New(err, "choose another --listen")
	}
	group.run(func() error { return g.front.Serve(context.WithoutCancel(serving)) })
	group.run(func() error { return g.reloader(serving) })
	group.run(func() error { return g.heed(serving, hangups) })
	if g.admin != nil {
		group.run(func() error { return g.followGroup(serving) })
	}
	if g.s.Watch {
		group.run(func() error { return g.watch(serving) })
	}
	return nil
}

// control opens the control listener where there is to be one.
func (g *gateway) control(group *group) error {
	if g.admin == nil {
		return nil
	}
	l, err := net.Listen("tcp", g.admin.Addr)
	if err != nil {
		return hint.New(fmt.Errorf("control listener: %w", err), "choose another --admin-listen")
	}
	g.sight.log.Info("control listener", "address", l.Addr().String())
	group.run(func() error { return g.serveAdmin(l) })
	return nil
}

// closeTimeout bounds what comes after a drain: observers, access log and spans get so long each to take what is left.
const closeTimeout = 5 * time.Second

// storeAway says why the store does not serve that requests need.
func (g *gateway) storeAway() error {
	if g.s.Store.OnError == config.StoreContinue {
		return nil
	}
	return g.state.Away()
}

// linger goes on serving for the shutdown delay: load balancers read that the gateway is not ready any more, and look
// elsewhere, before it takes no more connections. What is broken has nothing to wait for.
func (g *gateway) linger(group *group) {
	if g.s.ShutdownDelay <= 0 {
		return
	}
	delay := time.NewTimer(g.s.ShutdownDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
		g.sight.log.Info("draining")
	case <-group.broken:
	}
}

// shutdown stops the listeners: not ready first, then what is in flight within the drain timeout.
func (g *gateway) shutdown(group *group) error {
	g.host.StartClosing()
	ctx, cancel := context.WithTimeout(g.ctx, g.s.DrainTimeout)
	defer cancel()
	err := g.front.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("requests that did not end within the drain timeout of %s were cut", g.s.DrainTimeout)
	}
	if g.admin != nil {
		ctx, cancel := context.WithTimeout(g.ctx, closeTimeout)
		defer cancel()
		if g.admin.Shutdown(ctx) != nil {
			_ = g.admin.Close() // whoever looks on longer looks on at nothing
		}
	}
	return errors.Join(err, group.wait())
}

// stop closes what build made.
func (g *gateway) stop() error {
	ctx, cancel := context.WithTimeout(g.ctx, closeTimeout)
	defer cancel()
	err := errors.Join(g.host.Close(ctx), g.state.Close(ctx))
	g.sight.log.Info("stopped")
	return errors.Join(err, g.sight.close(g.ctx, closeTimeout))
}

// load reads definitions and plugin folders and swaps them in. The error says what is refused; the rest serves.
func (g *gateway) load(ctx context.Context) error {
	if err := g.state.Reload(); err != nil && g.loaded != nil {
		return err // a policy is wrong: what serves goes on
	}
	d, err := loadDefinitions(g.s, g.o.Environ)
	if err != nil && (g.loaded != nil || d == nil) {
		return err // the folder cannot be read: what serves goes on
	}
	for _, p := range d.problems {
		level := slog.LevelWarn
		switch p.Severity {
		case config.SeverityError:
			level = slog.LevelError
		case config.SeverityIgnored:
			level = slog.LevelDebug
		}
		g.sight.log.Log(ctx, level, "definition", "severity", p.Severity.String(), "problem", p.Error())
	}
	files := outside(g.s, d)
	fresh := g.loaded != nil && !(sameOutside(g.loaded, d) && maps.Equal(g.files, files))
	open := &opener{ctx: ctx, servers: g.servers, targets: g.targets, defs: d, notify: g.targetEvent}
	loadErr := g.host.Load(ctx, d.set, open, fresh)
	g.loaded, g.files = d, files
	g.serving.Store(d)
	return errors.Join(err, loadErr)
}
