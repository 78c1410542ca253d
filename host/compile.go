package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe/tap"
	"github.com/turnbuckle-gateway/turnbuckle/host/policy"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// compiler makes a route of a definition. What the route goes on using must not hold on to it: through its opener it
// knows the load it belongs to, and through that the table before, and so on.
type compiler struct {
	o      *Options
	open   Opener
	events *events
	d      *config.Definition
	r      *Route
	opened map[string]Server
}

// compile opens what the definition names and compiles its chain. On an error everything it opened has been closed.
func compile(ctx context.Context, o *Options, open Opener, ev *events, d *config.Definition) (route *Route, err error) {
	c := &compiler{o: o, open: open, events: ev, d: d, opened: map[string]Server{}}
	listen := d.Listen
	if listen.Match == config.MatchDefault {
		listen.Match = o.Match
	}
	c.r = &Route{
		info: sdk.Route{
			ID: d.ID, Name: d.Name, Org: d.Org, ListenPath: d.Listen.Path, Bundle: d.BundleHash, Config: d.Config,
		},
		listen: listen, definition: d, stats: o.Metrics.Route(d.ID), idle: make(chan struct{}, 1),
		versions: rules.CompileVersions(d.Versions), cors: rules.CompileCORS(d.CORS),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.r.retire(ctx))
			route = nil
		}
	}()
	errs := d.Errors
	if errs.Dir == "" && len(errs.Templates) == 0 {
		errs = o.Errors
	}
	if c.r.replies, err = reply.Compile(errs, d.HideGenerator || o.HideGenerator); err != nil {
		return nil, err
	}
	hooks, err := c.hooks()
	if err != nil {
		return nil, err
	}
	var auth method
	if !d.Keyless {
		if auth, err = c.authentication(); err != nil {
			return nil, err
		}
	}
	for i := range d.Versions.List {
		if err := c.variant(&d.Versions.List[i], auth, hooks); err != nil {
			return nil, err
		}
	}
	return c.r, c.observers()
}

// phased is the hook steps of a route by phase.
type phased map[sdk.Phase][]step

// variant compiles the chain of one version. The order of its request steps is RATIONALE.md's "In which order does a
// request meet the rules?".
func (c *compiler) variant(v *config.Version, auth method, hooks phased) error {
	all := c.d.RulesFor(v)
	out := &variant{name: v.Name}
	var err error
	if out.paths, err = rules.CompilePaths(all.Paths); err != nil {
		return err
	}
	if out.timeouts, err = rules.CompileTimeouts(all.PathTimeouts); err != nil {
		return err
	}
	if out.headers, err = rules.CompileHeaders(c.d.Rules.Headers, v.Rules.Headers); err != nil {
		return err
	}
	sizes, err := rules.CompileSizes(c.maxBody(), all.PathLimits)
	if err != nil {
		return err
	}
	if out.upstream, err = c.open.Upstream(c.d, v.Target); err != nil {
		return err
	}
	c.r.upstreams = append(c.r.upstreams, out.upstream.Close)

	out.request = slices.Concat(hooks[sdk.Pre], c.admission(sizes))
	if auth != nil {
		out.request = append(out.request, c.authSteps(auth, hooks[sdk.PostKeyAuth])...)
	}
	bounds, err := c.newLimits(&all)
	if err != nil {
		return err
	}
	if bounds != nil {
		out.request = append(out.request, bounds)
	}
	if out.headers != nil {
		out.request = append(out.request, stepFunc(func(st *state) error {
			out.headers.Request(st.f, st.rest(), st)
			return nil
		}))
	}
	if out.request, err = c.virtual(out.request, all.Virtual); err != nil {
		return err
	}
	out.request = append(out.request, hooks[sdk.Post]...)
	if s := c.bufferForResponse(hooks[sdk.ResponsePhase]); s != nil {
		out.request = append(out.request, s)
	}
	if out.headers != nil {
		out.response = append(out.response, stepFunc(func(st *state) error {
			x := &st.f.X
			out.headers.Response(x.Response().Header(), x.Request().Method(), st.rest(), st)
			return nil
		}))
	}
	out.response = append(out.response, hooks[sdk.ResponsePhase]...)
	c.r.variants = append(c.r.variants, out)
	return nil
}

// maxBody is the route's limit on request bodies; 0 for none.
func (c *compiler) maxBody() config.Size { return cmp.Or(c.d.Limits.Body, c.o.MaxBody) }

// admission is what comes between pre hooks and authentication: addresses and sizes.
func (c *compiler) admission(sizes *rules.Sizes) []step {
	var steps []step
	if ip := rules.CompileIP(c.d.IP); ip != nil {
		steps = append(steps, stepFunc(func(st *state) error { return ip.Check(st.f.X.ClientAddr().Addr()) }))
	}
	if sizes != nil {
		steps = append(steps, stepFunc(func(st *state) error { return sizes.Enforce(st.f, st.rest()) }))
	}
	return steps
}

// bufferForResponse reads the request's body before it goes upstream when a response hook is to see it.
func (c *compiler) bufferForResponse(hooks []step) step {
	if len(hooks) == 0 {
		return nil
	}
	most := c.maxBody()
	return stepFunc(func(st *state) error {
		for _, s := range hooks {
			h := s.(*hookStep)
			needer, ok := h.bare.(sdk.Needer)
			if !ok {
				continue
			}
			n := needer.Needs()
			if limit := policy.BodyLimit(h.body, n, most); limit > 0 && n.Has(sdk.NeedBody) {
				if err := policy.Buffer(st.f, h.name, limit); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// hooks opens the definition's hooks and wraps them in their policies, consecutive ones of one server and policy as one
// call where the server can.
func (c *compiler) hooks() (phased, error) {
	out := phased{}
	for _, p := range config.Phases() {
		phase, err := sdk.ParsePhase(string(p))
		if err != nil {
			return nil, err
		}
		if phase == sdk.Auth || c.d.Keyless && phase == sdk.PostKeyAuth {
			continue // auth hooks are methods of authentication
		}
		var run []placed
		for _, ref := range c.d.Hooks.In(p) {
			next, err := c.place(ref, phase)
			if err != nil {
				return nil, err
			}
			if len(run) > 0 && !next.joins(&run[0]) {
				out[phase] = append(out[phase], c.steps(run)...)
				run = nil
			}
			run = append(run, next)
		}
		if len(run) > 0 {
			out[phase] = append(out[phase], c.steps(run)...)
		}
	}
	return out, nil
}

// placed is one hook of the definition with its server and policy.
type placed struct {
	hook   sdk.Hook
	use    sdk.HookUse
	server string
	from   Server
	policy config.Policy
	untold bool // no timeout was said: the protocol's default holds
}

// joins reports whether two neighbours may be one call: a group has one deadline and one outcome to act on.
func (p *placed) joins(q *placed) bool {
	return p.server == q.server && p.policy == q.policy && p.untold == q.untold && p.policy.OnError != config.OnErrorSkip
}

func (c *compiler) place(ref config.HookRef, phase sdk.Phase) (placed, error) {
	server, err := c.server(ref.Server)
	if err != nil {
		return placed{}, err
	}
	return c.placed(ref, phase, server, server.Hook)
}

func (c *compiler) placed(ref config.HookRef, phase sdk.Phase, server Server, find func(sdk.HookUse) (sdk.Hook, error)) (placed, error) {
	own, err := c.open.Plugin(c.d, ref.Server, ref.Name, ref.Config)
	if err != nil {
		return placed{}, err
	}
	use := sdk.HookUse{Name: ref.Name, Phase: phase, Config: ref.Config, Route: &c.r.info, RawBodyOnly: ref.RawBodyOnly}
	hook, err := find(use)
	if err != nil {
		return placed{}, fmt.Errorf("hook %s of server %s: %w", ref.Name, serverName(ref.Server), err)
	}
	p := ref.Policy.WithDefaults(own).WithDefaults(c.o.Hooks)
	said, untold := p.Body.Mode, p.Timeout == 0
	p = p.WithDefaults(config.DefaultPolicy(c.d.Dialect))
	if said == "" && c.d.Dialect == config.DialectNative {
		p.Body.Mode = "" // as the hook's own needs say
	}
	return placed{hook, use, serverName(ref.Server), server, p, untold}, nil
}

func (c *compiler) steps(run []placed) []step {
	if len(run) > 1 && c.o.Explain == nil { // of a group nobody could say which hook did what
		hooks := make([]sdk.Hook, len(run))
		for i := range run {
			hooks[i] = run[i].hook
		}
		if group, ok := run[0].from.Group(hooks); ok {
			return []step{c.step(group, run)}
		}
	}
	var steps []step
	for i := range run {
		steps = append(steps, c.step(run[i].hook, run[i:i+1]))
	}
	return steps
}

// ownStep makes the step of one of the gateway's own methods of authentication, which has neither hook nor policy.
func (c *compiler) ownStep(name string) *hookStep {
	return &hookStep{
		name: name, server: ownServer, phase: sdk.Auth, tyk: c.d.Dialect == config.DialectTyk,
		stats: []*observe.Hook{c.o.Metrics.Hook(observe.HookKey{Route: c.d.ID, Phase: sdk.Auth, Server: ownServer, Name: name})},
	}
}

// ownServer is what counters and records call the gateway where they name a hook's server.
const ownServer = "gateway"

func (c *compiler) step(h sdk.Hook, run []placed) *hookStep {
	first := &run[0]
	s := &hookStep{
		server: first.server, phase: first.use.Phase, config: first.use.Config, bare: h,
		tyk: c.d.Dialect == config.DialectTyk, body: first.policy.Body,
	}
	var names []string
	for _, p := range run {
		names = append(names, p.use.Name)
		s.stats = append(s.stats, c.o.Metrics.Hook(observe.HookKey{
			Route: c.d.ID, Phase: p.use.Phase, Server: p.server, Name: p.use.Name,
		}))
	}
	s.name = strings.Join(names, "+")
	if one, ok := h.(checked); ok {
		c.r.checks = append(c.r.checks, one.Check)
	}
	events, r := c.events, c.r
	call := policy.Call{
		Name: s.name, Phase: s.phase, Policy: first.policy, MaxBody: c.maxBody(), Budget: c.d.Budget,
		Notify: func(b policy.BreakerChange) { events.breaker(r, s, b) },
	}
	if first.untold {
		call.Timeout = s.defaultTimeout
	}
	if c.o.Explain != nil {
		s.hook = explained(s.name, s.server, s.phase, call, h)
		return s
	}
	s.hook = policy.Wrap(call, h)
	return s
}

// server opens a plugin server once per route.
func (c *compiler) server(name string) (Server, error) {
	if s := c.opened[name]; s != nil {
		return s, nil
	}
	s, err := c.open.Server(c.d, name)
	if err != nil && c.d.Script(name) != nil {
		return nil, err // a script names itself, with file and line
	}
	if err != nil {
		return nil, fmt.Errorf("plugin server %s: %w", serverName(name), err)
	}
	c.opened[name] = s
	c.r.closers = append(c.r.closers, func(context.Context) error { return s.Close() })
	return s, nil
}

func serverName(name string) string {
	if name == "" {
		return config.DefaultServer
	}
	return name
}

// observers connects the route to its observers and event handlers.
func (c *compiler) observers() error {
	for _, ref := range c.d.Observers {
		t, o, err := c.tap(tapKey{server: ref.Server, observer: ref.Name})
		if err != nil {
			return err
		}
		one := newObserved(t, ref, o)
		c.r.taps = append(c.r.taps, one)
		c.r.headed = c.r.headed || one.asks()
	}
	c.r.handlers = map[string][]handler{}
	for _, e := range c.d.Events {
		h := handler{log: e.Name}
		if !e.Log {
			t, _, err := c.tap(tapKey{server: e.Server, observer: e.Name, handler: true})
			if err != nil {
				return err
			}
			h = handler{tap: t}
		}
		c.r.handlers[e.Event] = append(c.r.handlers[e.Event], h)
	}
	return nil
}

// tap connects the route to an observer, which several routes may share.
func (c *compiler) tap(key tapKey) (*tap.Tap, sdk.Observer, error) {
	s, err := c.server(key.server)
	if err != nil {
		return nil, nil, err
	}
	key.server = serverName(key.server)
	if shared, ok := s.(identified); ok {
		key.identity = shared.Identity()
	}
	o := s.Observer(key.observer)
	t := c.events.tap(key, o)
	events := c.events
	c.r.closers = append(c.r.closers, func(ctx context.Context) error { return events.untap(ctx, key) })
	return t, o, nil
}
