package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/state"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
)

func serveCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Serve reads the settings, a folder of API definitions and the plugin folders, and serves until it is told
to stop with SIGTERM or Ctrl-C. Then it is not ready any more (/ready answers 503), goes on serving for
--shutdown-delay, takes no more connections, and ends when what is in flight has, at most --drain-timeout later;
a second Ctrl-C ends it at once. SIGHUP, or a change of the files, makes it read definitions and plugin folders again
without failing a request; SIGHUP also opens the access log's file anew.

Settings come from flags, then environment variables (see "turnbuckle settings"), then the settings file.`,
		Example: `  turnbuckle serve --listen 127.0.0.1:8080 --apis ./apis
  turnbuckle serve --plugin-server tcp://127.0.0.1:5555
  turnbuckle serve --config turnbuckle.yaml --admin-listen 127.0.0.1:8081 --admin-secret-file secret`,
		Args: cobra.NoArgs,
	}
	load := addSettingFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, problems, err := load()
		if err != nil {
			return err
		}
		if err := problems.Err(); err != nil {
			return hinted{fmt.Errorf("the settings are refused:\n%w", err), "turnbuckle check lists every problem"}
		}
		return serve(cmd.Context(), e, &s, problems)
	}
	return cmd
}

// gateway is a running gateway and everything it owns.
type gateway struct {
	e       *env
	s       *config.Settings
	sight   *sight
	servers *servers
	targets *targets
	state   *state.State
	host    *host.Gateway
	front   *front.Front
	admin   *http.Server
	loaded  *definitions
	files   stamps // of what is loaded
	reloads chan chan error
	stopped <-chan struct{} // closed when the gateway begins to stop
}

func serve(ctx context.Context, e *env, s *config.Settings, warnings config.Problems) (err error) {
	started := time.Now()
	hangups := make(chan os.Signal, 1) // from the start to the end: nobody who asks for a reload means to kill
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	g := &gateway{e: e, s: s, reloads: make(chan chan error)}
	if g.sight, err = newSight(ctx, e, s); err != nil {
		return err
	}
	log := g.sight.log
	for _, p := range warnings {
		log.Warn("settings: " + p.Error())
	}
	g.servers, g.targets, g.state = newServers(log), newTargets(), state.New(context.WithoutCancel(ctx), state.Options{Settings: s, Log: log, TLS: pluginTLS})
	g.sight.watch(g.servers, g.targets)
	if err := g.build(ctx); err != nil {
		return errors.Join(err, g.state.Close(ctx), g.sight.close(closeTimeout))
	}
	defer func() { err = errors.Join(err, g.stop()) }()

	serving, stop := context.WithCancel(ctx)
	defer stop()
	g.stopped = serving.Done()
	group := newGroup(stop)
	if err = g.start(serving, group, hangups); err == nil && serving.Err() == nil {
		log.Info("serving", "address", g.front.Addr().String(), "took", time.Since(started).Round(time.Millisecond).String(), "version", version)
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
		return hinted{fmt.Errorf("definitions are refused:\n%w", err), "turnbuckle check lists every problem; without --strict the others would serve"}
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
		return hinted{err, "choose another --listen"}
	}
	group.run(func() error { return g.front.Serve(context.WithoutCancel(serving)) })
	group.run(func() error { return g.reloader(serving) })
	group.run(func() error { return g.heed(serving, hangups) })
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
		return hinted{fmt.Errorf("control listener: %w", err), "choose another --admin-listen"}
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
	ctx, cancel := context.WithTimeout(context.Background(), g.s.DrainTimeout)
	defer cancel()
	err := g.front.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("requests that did not end within the drain timeout of %s were cut", g.s.DrainTimeout)
	}
	if g.admin != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if g.admin.Shutdown(ctx) != nil {
			_ = g.admin.Close() // whoever looks on longer looks on at nothing
		}
	}
	return errors.Join(err, group.wait())
}

// stop closes what build made.
func (g *gateway) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := errors.Join(g.host.Close(ctx), g.state.Close(ctx))
	g.sight.log.Info("stopped")
	return errors.Join(err, g.sight.close(closeTimeout))
}

// load reads definitions and plugin folders and swaps them in. The error says what is refused; the rest serves.
func (g *gateway) load(ctx context.Context) error {
	d, err := loadDefinitions(g.s, g.e.environ)
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
	return errors.Join(err, loadErr)
}
