package host

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Table is the set of routes that serve at one time. Immutable.
type Table struct {
	routes   []*Route
	index    *index
	stale    map[*Route]error // routes that went on because their newer definition is refused
	homeless []*Route         // refused ones whose listen path is not known, or another's
	loaded   time.Time
}

// Load makes a table of the set and swaps it in. A definition that is refused, or does not compile, keeps the route it
// had; one that never had a route gets one that answers 503. Routes whose definition has not changed stay as they are,
// unless fresh asks for new ones because something outside the definitions changed. What left the table is drained in
// the background. When something is refused the error is a *RefusedError; the table has been swapped all the same.
func (g *Gateway) Load(ctx context.Context, set config.Set, open Opener, fresh bool) error {
	g.loading.Lock()
	defer g.loading.Unlock()
	if g.closing.Load() {
		return ErrClosing
	}
	b := newBuilder(g, open, fresh)
	b.build(ctx, &set)
	left := b.left()
	g.table.Store(b.next)
	if g.before == nil { // else Succeed tells
		g.tell()
	}
	g.drain(left)
	if len(b.refusals) > 0 {
		return &RefusedError{b.refusals}
	}
	return nil
}

// tell counts and publishes that a table serves.
func (g *Gateway) tell() {
	t := g.table.Load()
	serving, refused := t.counts()
	g.options.Metrics.Loaded(serving, refused, len(t.stale)+refused == 0)
	message := fmt.Sprintf("%d routes serve, %d are refused", serving, refused)
	g.events.all(sdk.Event{Time: time.Now(), Type: sdk.EventReload, Message: message})
}

// builder gathers the next table.
type builder struct {
	g        *Gateway
	open     Opener
	fresh    bool
	old      *Table
	files    map[string]*Route // of the old table
	ids      map[string]*Route
	heirs    map[string]*Route // by file and by id: of the gateway that this one succeeds
	next     *Table
	places   map[string]bool // host and listen path, taken
	opened   []Server
	compiled []*Route
	refusals []Refusal
	// withdrawn are ids of definitions that must not go on as they were.
	withdrawn []string
}

func newBuilder(g *Gateway, open Opener, fresh bool) *builder {
	b := &builder{
		g: g, open: open, fresh: fresh, old: g.table.Load(), files: map[string]*Route{}, ids: map[string]*Route{}, heirs: map[string]*Route{},
		next: &Table{stale: map[*Route]error{}, loaded: time.Now()}, places: map[string]bool{},
	}
	if b.old == nil {
		b.old = &Table{}
	}
	if g.before != nil {
		for _, r := range g.before.routes {
			b.heirs[r.definition.Source.File], b.heirs[r.info.ID] = r, r
		}
	}
	for _, r := range b.old.routes {
		b.files[r.definition.Source.File], b.ids[r.info.ID] = r, r
	}
	return b
}

// build places what compiles before it goes on with routes whose definition does not: a definition that is good has the
// better right to its listen path.
func (b *builder) build(ctx context.Context, set *config.Set) {
	b.withdrawn = set.Withdrawn
	var failed []func()
	for _, d := range set.Definitions {
		if !d.Active {
			continue
		}
		if err := b.place(ctx, d); err != nil {
			err = fmt.Errorf("%s: api %s: %w", d.Source.File, d.ID, err)
			failed = append(failed, func() { b.keep(ctx, d.ID, d.Source.File, d.Listen, err) })
		}
	}
	settle(ctx, b.opened)
	for _, r := range b.compiled {
		if err := r.check(); err != nil {
			d := r.definition
			err = fmt.Errorf("%s: api %s: %w", d.Source.File, d.ID, errors.Join(err, r.retire(ctx)))
			b.remove(r)
			failed = append(failed, func() { b.keep(ctx, d.ID, d.Source.File, d.Listen, err) })
		}
	}
	for _, f := range failed {
		f()
	}
	for i := range set.Refused {
		f := &set.Refused[i]
		b.keep(ctx, f.ID, f.File, config.Listen{Path: f.ListenPath, Host: f.Host}, f.Problems.Err())
	}
	b.next.index = newIndex(b.next.routes)
}

func (b *builder) place(ctx context.Context, d *config.Definition) error {
	before := b.before(d.ID, d.Source.File)
	if before != nil && before.refused == nil && b.old.stale[before] == nil && !b.fresh && reflect.DeepEqual(before.definition, d) {
		b.add(before)
		return nil
	}
	r, err := compile(ctx, &b.g.options, watched{b.open, &b.opened}, b.g.events, d)
	if err == nil {
		b.add(r)
		b.compiled = append(b.compiled, r)
	}
	return err
}

// check says what keeps a hook of the route from being called, as far as the servers are known.
func (r *Route) check() error {
	for _, check := range r.checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// keep goes on with the route that a definition had, or refuses its place. One that has no place of its own is kept to be
// told of.
func (b *builder) keep(ctx context.Context, id, file string, l config.Listen, why error) {
	refusal := Refusal{ID: id, Host: l.Host, ListenPath: l.Path, File: file, State: stateRefused, Reason: why.Error(), err: why}
	defer func() { b.refusals = append(b.refusals, refusal) }()
	if before := b.before(id, file); before != nil && before.refused == nil && !b.taken(before) && !slices.Contains(b.withdrawn, before.info.ID) {
		b.add(before)
		b.next.stale[before] = why
		refusal.State = stateStale
		return
	}
	if r := b.inherit(ctx, id, file); r != nil {
		b.add(r)
		b.next.stale[r] = why
		refusal.State = stateStale
		return
	}
	r := refusedRoute(id, file, l, why, &b.g.options)
	if l.Path == "" || b.taken(r) {
		b.next.homeless = append(b.next.homeless, r)
		return
	}
	b.add(r)
}

// inherit compiles the definition that served in the gateway which this one succeeds; nil when none did, or it does not
// serve here.
func (b *builder) inherit(ctx context.Context, id, file string) *Route {
	before := b.heirs[file]
	if before == nil {
		before = b.heirs[id]
	}
	if before == nil || before.refused != nil || b.taken(before) || slices.Contains(b.withdrawn, before.info.ID) {
		return nil
	}
	var opened []Server
	r, err := compile(ctx, &b.g.options, watched{b.open, &opened}, b.g.events, before.definition)
	if err != nil {
		return nil
	}
	settle(ctx, opened)
	if r.check() != nil {
		_ = r.retire(ctx) // nothing has used it
		return nil
	}
	return r
}

func (b *builder) add(r *Route) {
	b.places[r.listen.Host+r.listen.Path] = true
	b.next.routes = append(b.next.routes, r)
}

func (b *builder) remove(r *Route) {
	delete(b.places, r.listen.Host+r.listen.Path)
	b.next.routes = slices.DeleteFunc(b.next.routes, func(one *Route) bool { return one == r })
}

func (b *builder) taken(r *Route) bool { return b.places[r.listen.Host+r.listen.Path] }

// before finds the route that a definition had: by file, since an id may be what is broken in it, else by id.
func (b *builder) before(id, file string) *Route {
	if r := b.files[file]; r != nil {
		return r
	}
	return b.ids[id]
}

// left lists the routes that the new table does not have.
func (b *builder) left() []*Route {
	in := map[*Route]bool{}
	for _, r := range b.next.routes {
		in[r] = true
	}
	var left []*Route
	for _, r := range b.old.routes {
		if !in[r] {
			left = append(left, r)
		}
	}
	return left
}

// watched notes the servers that a compilation opens.
type watched struct {
	Opener
	opened *[]Server
}

func (w watched) Server(d *config.Definition, name string) (Server, error) {
	s, err := w.Opener.Server(d, name)
	if err == nil {
		*w.opened = append(*w.opened, s)
	}
	return s, err
}

// settle waits until each server is known to be up or down, or ctx ends: the first requests should not meet a server
// that is just being dialled.
func settle(ctx context.Context, servers []Server) {
	for _, s := range servers {
		if w, ok := s.(interface{ Settle(context.Context) }); ok {
			w.Settle(ctx)
		}
	}
}

// drain retires routes in the background.
func (g *Gateway) drain(routes []*Route) {
	if len(routes) == 0 {
		return
	}
	g.retired.Go(func() {
		ctx, cancel := context.WithTimeout(g.drains, g.options.Drain)
		defer cancel()
		for _, err := range g.retireAll(ctx, routes) {
			g.log.Warn("route did not drain", "error", err.Error())
		}
	})
}

func (g *Gateway) retireAll(ctx context.Context, routes []*Route) []error {
	errs := make(chan error, len(routes))
	for _, r := range routes {
		go func() { errs <- r.retire(ctx) }()
	}
	var all []error
	for range routes {
		if err := <-errs; err != nil {
			all = append(all, err)
		}
	}
	return all
}
