// Package run is the running gateway: what serves, wired from settings, and kept up with definitions and settings.
package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Options are what a gateway runs with. All but Explain and Serving are required.
type Options struct {
	// Source is where settings are read again from, Loaded what it told.
	Source *settings.Source
	Loaded *settings.Loaded
	// Stdout takes the access log, Stderr the gateway's own log.
	Stdout, Stderr io.Writer
	Version        string
	// Explain is told what each hook made of each exchange (see [observe.Explainer]); nil: nobody is.
	Explain observe.Explainer
	// Serving is called once, when clients are served, and must return soon; nil: nobody is told.
	Serving func(*Running)
}

// gateway is a running gateway: what stays when its settings change, and the generation that serves.
type gateway struct {
	ctx      context.Context // never ends; for what comes after the end of serving
	o        *Options
	sight    *sight
	servers  *outside.Servers
	targets  *outside.Targets
	scripts  *scripts.Scripts
	builtins *builtin.Builtins
	admin    *http.Server
	control  atomic.Pointer[control]
	now      atomic.Pointer[generation]
	front    atomic.Pointer[front.Front]
	group    *group

	jobs    chan job
	working sync.WaitGroup  // who does the jobs
	stopped <-chan struct{} // closed when the gateway begins to stop
	changed turns           // when another generation serves
	said    string          // what was last said against settings that were read; the worker's

	retiring   sync.WaitGroup // generations and fronts that others have succeeded
	retirement context.Context
	cutRetired context.CancelFunc
}

// Serve hands a flow to the generation that serves.
func (g *gateway) Serve(f *flow.Flow) { g.now.Load().host.Serve(f) }

var _ flow.Handler = (*gateway)(nil)

// Serve runs a gateway until ctx ends and everything it began has.
func Serve(ctx context.Context, o Options) (err error) {
	started := time.Now()
	hangups := make(chan os.Signal, 1) // from the start to the end: nobody who asks for a reload means to kill
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	g := &gateway{ctx: context.WithoutCancel(ctx), o: &o, jobs: make(chan job), sight: newSight(ctx, o.Stderr, o.Loaded.Settings.Log, o.identity())}
	defer func() { err = errors.Join(err, g.closeLog()) }() // at last: everything else may log
	g.retirement, g.cutRetired = context.WithCancel(g.ctx)
	defer g.cutRetired()
	log := g.sight.log
	for _, p := range o.Loaded.Problems {
		log.Warn("settings: " + p.Error())
	}
	g.servers, g.targets = outside.NewServers(log, o.Version), outside.NewTargets()
	g.servers.Storage = func() (script.Storage, error) { return g.now.Load().state.Store() }
	g.servers.Publish = func(e sdk.Event) { g.now.Load().host.Publish(e) }
	g.scripts = scripts.New(log)
	defer g.scripts.Close()
	g.builtins = builtin.New(log, all.Plugins())
	g.sight.watch(g.servers, g.targets, g.scripts)
	g.sight.registry.MustRegister(g.builtins)
	g.sight.registry.MustRegister(shelf.NewCollector(&g.sight.bundles, g.shelf))
	if !o.Loaded.Settings.Bundles.RequireSigned {
		log.Warn("for development: scripts, plugin folders and commands run that nobody signed; bundles.require_signed refuses them")
	}
	if err := g.build(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()

	serving, stop := context.WithCancel(ctx)
	defer stop()
	g.stopped, g.group = serving.Done(), newGroup(stop)
	if err = g.start(serving, hangups); err == nil && serving.Err() == nil {
		log.Info("serving", "address", g.front.Load().Addr().String(), "took", time.Since(started).Round(time.Millisecond).String(), "version", o.Version)
		if o.Serving != nil {
			o.Serving(&Running{g})
		}
		<-serving.Done()
		now := g.now.Load()
		now.host.StartClosing()
		log.Info("stopping", "shutdown_delay", now.s.ShutdownDelay.String(), "drain_timeout", now.s.DrainTimeout.String())
		g.linger()
	}
	stop()
	return errors.Join(err, g.shutdown())
}

// build makes what serves, without listening yet.
func (g *gateway) build(ctx context.Context) error {
	first, err := g.newGeneration(ctx, g.o.Loaded, nil)
	if err != nil {
		return err
	}
	g.now.Store(first)
	f, err := front.New(g.frontOptions(&first.s.Listen), g)
	if err == nil {
		g.front.Store(f)
		err = g.buildAdmin(first)
	}
	if err != nil {
		return errors.Join(err, first.close(g.ctx, closeTimeout))
	}
	return nil
}

// start opens the control listener, loads, and then opens the data listener. When serving ends meanwhile, it returns
// nil with less done.
func (g *gateway) start(serving context.Context, hangups <-chan os.Signal) error {
	first, f, log := g.now.Load(), g.front.Load(), g.sight.log
	if err := g.listenControl(); err != nil {
		return err
	}
	seen := g.groupSeen(serving) // before the files are read: a reload that is asked for from here on is one more
	loading, cancel := context.WithTimeout(serving, first.s.LoadTimeout)
	err := g.load(loading, first)
	cancel()
	switch {
	case serving.Err() != nil:
		return nil
	case err != nil && (first.s.Strict || first.loaded.Load() == nil):
		return hint.New(fmt.Errorf("definitions are refused:\n%w", err), "turnbuckle check lists every problem; without --strict the others would serve")
	case areRefused(err):
		log.Error("some definitions are refused; the others serve", "error", err.Error())
	case err != nil:
		next := "it is watched, and served from as soon as it can be read"
		if !first.s.Watch {
			next = "send SIGHUP when it can be read"
		}
		log.Error("no API is served: "+err.Error(), "next", next)
	}
	if err := f.Listen(serving); err != nil {
		if serving.Err() != nil {
			return nil
		}
		return hint.New(err, "choose another --listen")
	}
	g.group.run(func() error { return f.Serve(g.ctx) })
	g.working.Add(1)
	g.group.run(func() error { defer g.working.Done(); return g.work(serving) })
	g.group.run(func() error { return g.heed(serving, hangups) })
	g.group.run(func() error { return g.watch(serving) })
	g.group.run(func() error { return g.followBundles(serving) })
	if g.admin != nil {
		g.group.run(func() error { return g.followGroup(serving, seen) })
	}
	return nil
}

// closeTimeout bounds what comes after a drain: observers, access log and spans get so long each to take what is left.
const closeTimeout = 5 * time.Second

// linger goes on serving for the shutdown delay: load balancers read that the gateway is not ready any more, and look
// elsewhere, before it takes no more connections. What is broken has nothing to wait for.
func (g *gateway) linger() {
	wait := g.now.Load().s.ShutdownDelay
	if wait <= 0 {
		return
	}
	delay := time.NewTimer(wait)
	defer delay.Stop()
	select {
	case <-delay.C:
		g.sight.log.Info("draining")
	case <-g.group.broken:
	}
}

// shutdown stops the listeners: not ready first, then what is in flight within the drain timeout.
func (g *gateway) shutdown() error {
	g.working.Wait() // from here on nothing takes the place of what serves
	now := g.now.Load()
	now.host.StartClosing()
	ctx, cancel := context.WithTimeout(g.ctx, now.s.DrainTimeout)
	defer cancel()
	err := g.front.Load().Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("requests that did not end within the drain timeout of %s were cut", now.s.DrainTimeout)
	}
	stop := context.AfterFunc(ctx, g.cutRetired)
	g.retiring.Wait()
	stop()
	if g.admin != nil {
		ctx, cancel := context.WithTimeout(g.ctx, closeTimeout)
		defer cancel()
		if g.admin.Shutdown(ctx) != nil {
			_ = g.admin.Close() // whoever looks on longer looks on at nothing
		}
	}
	return errors.Join(err, g.group.wait())
}

// stop closes the generation that served last.
func (g *gateway) stop() error {
	err := g.now.Load().close(g.ctx, closeTimeout)
	g.sight.log.Info("stopped")
	return err
}

// identity is what the log's targets are told of this gateway.
func (o *Options) identity() remote.Identity {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return remote.Identity{Host: host, Version: o.Version, PID: os.Getpid()}
}

// closeLog has the log's targets take what waits for them.
func (g *gateway) closeLog() error {
	ctx, cancel := context.WithTimeout(g.ctx, closeTimeout)
	defer cancel()
	return g.sight.lines.Close(ctx)
}
