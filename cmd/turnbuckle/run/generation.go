package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/definitions"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/state"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// generation is everything that is made of one state of the settings, which never change under it. What others have in
// common with it they share.
type generation struct {
	s     *config.Settings
	from  atomic.Pointer[origins]
	state *state.State
	room  *scripts.Room
	host  *host.Gateway
	written
	control *control // nil: there is no control listener
	bundles *share.Part[*shelf.Shelf]

	loaded atomic.Pointer[definitions.All] // nil before the first load
	files  outside.Stamps                  // of what is loaded; the worker's
}

// origins are where the settings of a generation come from.
type origins struct {
	*settings.Loaded
	waiting []string // settings that have changed and wait for a restart
}

// newGeneration makes what the settings ask for, without loading yet; of before, which may be nil, it shares what it can.
func (g *gateway) newGeneration(ctx context.Context, l *settings.Loaded, before *generation) (*generation, error) {
	s := &l.Settings
	replies, err := definitions.Replies(s)
	if err != nil {
		return nil, err
	}
	gen := &generation{s: s}
	gen.from.Store(&origins{Loaded: l})
	if gen.written, err = g.newWritten(s, before); err != nil {
		return nil, errors.Join(err, gen.written.close(g.ctx))
	}
	access, _ := gen.access.Opened()
	tracer, _ := gen.tracer.Opened()
	o := state.Options{Settings: s, Log: g.sight.log, TLS: outside.PluginTLS}
	if before == nil {
		gen.state = state.New(context.WithoutCancel(ctx), o)
	} else {
		gen.state = before.state.Next(o)
	}
	gen.bundles = g.newShelf(s, before)
	if _, err := gen.bundles.Get(); err != nil {
		return nil, errors.Join(err, gen.state.Close(g.ctx), gen.written.close(g.ctx))
	}
	gen.room = scripts.NewRoom(s, gen.state)
	gen.host = host.New(context.WithoutCancel(ctx), host.Options{
		Log: g.sight.log, Metrics: g.sight.metrics, Replies: replies, AccessLog: access.AccessLog, Tracer: tracer,
		Explain: g.o.Explain,
		Match:   s.Routing.Match, MaxBody: s.Listen.MaxBody, Hooks: s.Hooks, Errors: s.Errors, HideGenerator: s.HideGenerator,
		Shared: gen.state, Away: gen.storeAway, LimitHeaders: s.Limits.Headers, PassUnlimited: s.Store.OnError == config.StoreContinue,
		Lifetime:    lifetimeOf(s),
		StrictReady: s.Ready == config.ReadyStrict, Dead: g.servers.Dead, Drain: s.DrainTimeout,
	})
	if before != nil {
		gen.host.Inherit(before.host)
	}
	return gen, nil
}

// lifetimeOf is of sessions about which neither they nor their API say anything.
func lifetimeOf(s *config.Settings) identity.Lifetime {
	return identity.Lifetime{API: s.Keys.Lifetime, RespectExpiry: s.Keys.RespectExpiry}
}

// storeAway says why the store does not serve that requests need.
func (gen *generation) storeAway() error {
	if gen.s.Store.OnError == config.StoreContinue {
		return nil
	}
	return gen.state.Away()
}

// close waits for what is under way, for so long, and lets go of everything.
func (gen *generation) close(ctx context.Context, drain time.Duration) error {
	draining, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	err := gen.host.Close(draining)
	if gen.control != nil {
		err = errors.Join(err, gen.control.end(draining))
	}
	gen.room.Close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(err, gen.state.Close(closing), gen.bundles.Release(closing), gen.written.close(ctx))
}

// close lets go of the access log and the spans, which get so long each to take what is left.
func (w *written) close(ctx context.Context) error {
	var errs []error
	if w.access != nil {
		errs = append(errs, within(ctx, w.access.Release))
	}
	if w.tracer != nil {
		errs = append(errs, within(ctx, w.tracer.Release))
	}
	return errors.Join(errs...)
}

func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return do(ctx)
}

// load reads definitions and plugin folders and swaps them in. The error says what is refused; the rest serves.
func (g *gateway) load(ctx context.Context, gen *generation) error {
	before := gen.loaded.Load()
	if err := gen.state.Reload(); err != nil && before != nil {
		return err // a policy is wrong: what serves goes on
	}
	bundles := gen.shelf().Begin(ctx, settings.LookupIn(g.o.Source.Environ))
	d, err := definitions.Read(gen.s, g.builtins, g.o.Source.Environ, bundles)
	if err != nil && (before != nil || d == nil) {
		return err // the folder cannot be read: what serves goes on
	}
	for _, p := range d.Problems {
		level := slog.LevelWarn
		switch p.Severity {
		case config.SeverityError:
			level = slog.LevelError
		case config.SeverityIgnored:
			level = slog.LevelDebug
		}
		g.sight.log.Log(ctx, level, "definition", "severity", p.Severity.String(), "problem", p.Error())
	}
	d.Set.Withdrawn = gen.shelf().Withdrawn()
	files := outside.Files(gen.s.Errors.Dir, d.Servers, d.Set.Definitions)
	maps.Copy(files, scripts.Modules(d.Set.Definitions, d.Plugins))
	fresh := before != nil && !(d.SameOutside(before) && maps.Equal(gen.files, files))
	open := &outside.Opener{
		Ctx: ctx, Servers: g.servers, Targets: g.targets, Settings: d.Servers, Plugins: d.Plugins, Notify: g.targetEvent,
		Scripts: g.scripts, Room: gen.room, Builtins: g.builtins, Data: gen.s.Store.Path, Lifetime: lifetimeOf(gen.s),
	}
	loadErr := gen.host.Load(ctx, d.Set, open, fresh)
	gen.files = files
	gen.loaded.Store(d)
	if g.now.Load() == gen {
		gen.served()
	}
	return errors.Join(err, loadErr)
}

// successor is a generation that stands and does not serve yet.
type successor struct {
	*generation
	front *front.Front // nil: the one that serves stays
}

// prepare makes a successor, or says, as a *unfit, everything that keeps it from serving.
func (g *gateway) prepare(ctx context.Context, l *settings.Loaded, before *generation) (*successor, error) {
	gen, err := g.newGeneration(ctx, l, before)
	if err != nil {
		return nil, &unfit{reasons: []string{err.Error()}, err: err}
	}
	next := &successor{generation: gen}
	if err := g.fit(ctx, next, before); err != nil {
		return nil, errors.Join(err, g.discard(next))
	}
	return next, nil
}

// fit completes a successor.
func (g *gateway) fit(ctx context.Context, next *successor, before *generation) error {
	var err error
	loading, cancel := context.WithTimeout(ctx, next.s.LoadTimeout)
	defer cancel()
	if err := g.load(loading, next.generation); err != nil {
		var refused *host.RefusedError
		switch was := before.loaded.Load(); {
		case ctx.Err() != nil:
			return host.ErrClosing
		case errors.As(err, &refused) && next.s.Strict:
			return unfitFor(refused.Refusals, err)
		case refused == nil && next.loaded.Load() == nil, refused == nil && was != nil && was.Unread == nil:
			return &unfit{reasons: []string{err.Error()}, err: err}
		}
	}
	if lost := next.host.Lost(before.host); lost != nil {
		return unfitFor(lost, nil)
	}
	if err := next.state.Ready(loading, before.state); err != nil {
		return &unfit{reasons: []string{err.Error()}, err: err}
	}
	if g.admin != nil {
		if next.control, err = g.controlOf(next.generation); err != nil {
			return &unfit{reasons: []string{err.Error()}, err: err}
		}
	}
	if !sameFront(&next.s.Listen, &before.s.Listen) {
		if next.front, err = g.nextFront(&next.s.Listen); err != nil {
			return &unfit{reasons: []string{err.Error()}, err: err}
		}
	}
	return nil
}

// unfit is why a successor cannot serve: nothing has changed.
type unfit struct {
	reasons []string
	err     error // nil: the reasons say all
}

func unfitFor(refusals []host.Refusal, err error) *unfit {
	u := &unfit{err: err}
	for _, r := range refusals {
		u.reasons = append(u.reasons, fmt.Sprintf("api %s would not be served: %s", r.ID, r.Reason))
	}
	return u
}

// Error lists the reasons, a line each.
func (u *unfit) Error() string {
	text := ""
	for i, r := range u.reasons {
		if i > 0 {
			text += "\n"
		}
		text += r
	}
	return text
}

// Unwrap returns the cause.
func (u *unfit) Unwrap() error { return u.err }

// discard closes a successor that is not to serve.
func (g *gateway) discard(next *successor) error {
	var err error
	if next.front != nil {
		err = next.front.Shutdown(g.ctx) // it holds a listener and no connection
	}
	return errors.Join(err, next.close(g.ctx, closeTimeout))
}

// adopt has a successor serve and lets what served before drain.
func (g *gateway) adopt(next *successor) {
	before := g.now.Load()
	drain := next.s.DrainTimeout
	g.sight.lines.Set(next.s.Log)
	g.now.Store(next.generation)
	next.host.Succeed(before.host)
	next.served()
	if next.control != nil {
		g.control.Store(next.control)
	}
	if next.front != nil {
		left := g.front.Swap(next.front)
		g.group.run(func() error { return next.front.Serve(g.ctx) })
		g.retire("connections that were made before the change of settings", drain, left.Leave)
	}
	g.changed.turn()
	g.retire("requests that began before the change of settings", drain, func(ctx context.Context) error {
		return before.close(ctx, drain)
	})
}

// retire closes in the background what others have succeeded.
func (g *gateway) retire(what string, drain time.Duration, closing func(context.Context) error) {
	g.retiring.Go(func() {
		ctx, cancel := context.WithTimeout(g.retirement, drain)
		defer cancel()
		if err := closing(ctx); err != nil {
			g.sight.log.Warn(what+" did not drain", "error", err.Error())
		}
	})
}

func (g *gateway) frontOptions(l *config.ListenSettings) front.Options {
	o := front.Options{
		Address: l.Address, H2C: l.H2C, TrustedProxies: l.TrustedProxies, XFFDepth: l.XFFDepth, ProxyProtocol: l.ProxyProtocol,
		HeaderTimeout: l.HeaderTimeout, ReadTimeout: l.ReadTimeout, IdleTimeout: l.IdleTimeout, MaxHeader: int(l.MaxHeader),
		MaxFields: l.MaxHeaderFields, Logger: g.sight.log,
	}
	if len(l.TLS.CertFiles) > 0 {
		o.TLS = tlsOptions(&l.TLS)
	}
	return o
}

// nextFront makes a front that listens on the socket of the one that serves.
func (g *gateway) nextFront(l *config.ListenSettings) (*front.Front, error) {
	o := g.frontOptions(l)
	listener, err := g.front.Load().Duplicate()
	if err != nil {
		return nil, err
	}
	o.Listener = listener
	f, err := front.New(o, g)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return f, f.Listen(g.ctx)
}

// sameFront reports whether one front does for both: what the host looks after, and what needs a restart, is no matter.
func sameFront(a, b *config.ListenSettings) bool {
	x, y := *a, *b
	x.Address, y.Address, x.MaxBody, y.MaxBody = "", "", 0, 0
	return reflect.DeepEqual(x, y)
}

func tlsOptions(t *config.ServerTLS) *front.TLSOptions {
	return &front.TLSOptions{
		CertFiles: t.CertFiles, KeyFiles: t.KeyFiles, MinVersion: uint16(t.MinVersion),
		ClientCAFile: t.ClientCAFile, RequireClientCert: t.ClientRequired,
	}
}

// turns tells whoever wants to know that another generation serves. The zero value is ready.
type turns struct {
	mu sync.Mutex
	at chan struct{}
}

// next returns a channel that is closed at the next turn.
func (t *turns) next() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = make(chan struct{})
	}
	return t.at
}

func (t *turns) turn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != nil {
		close(t.at)
		t.at = nil
	}
}
