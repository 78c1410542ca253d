package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/pick"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/watch"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// Runtime opens servers at addresses.
type Runtime struct {
	Options Options // all but Address, which is the plugin's
}

// Open implements [coprocess.Runtime].
func (r Runtime) Open(ctx context.Context, p coprocess.Plugin) (coprocess.Server, error) {
	o := r.Options
	o.Address = p.Address
	s, err := Open(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", p.Name, err)
	}
	return s, nil
}

// Server is a plugin server at an address, with all its instances. It is safe for concurrent use.
type Server struct {
	o      Options
	target address.Target
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	owned  sync.WaitGroup
	look   chan struct{} // asks for the name to be looked up again

	ready    atomic.Pointer[[]*link] // takes calls
	turn     atomic.Uint32
	cost     pick.Costs // of calls, with Options.Fill
	lastSeen atomic.Pointer[manner]
	calls    sync.Pool    // *nativeCall
	unary    sync.Pool    // *unary.Call
	watch    *watch.Watch // of unary calls that gRPC carries

	mu        sync.Mutex
	instances map[string]*instance // by address to dial
	bindings  map[string]*session.Binding
	lastErr   error         // of looking the name up
	news      chan struct{} // closed and replaced when an instance's state or lastErr changes
}

// manner is how a server wants to be spoken to: its protocol and, natively, what it says of itself.
type manner struct {
	protocol Protocol
	raw      string
	about    *wire.Description // nil for Tyk
	schema   *coprocess.Schema // of the hooks' configurations; nil: any
}

var (
	_ coprocess.Runtime    = Runtime{}
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open begins to connect to the server. It waits for nothing, and ctx does not bound the server's life: Close ends it.
func Open(ctx context.Context, o Options) (*Server, error) {
	t, err := address.Parse(o.Address)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, o, t)
	switch {
	case err != nil:
		return nil, err
	case t.DNS:
		s.owned.Add(1)
		go s.resolve()
	default:
		if err := s.setInstances([]string{t.Address}); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

// open makes a server without instances.
func open(ctx context.Context, o Options, t address.Target) (*Server, error) {
	switch o.Protocol {
	case Auto, Tyk, Native:
	default:
		return nil, fmt.Errorf("plugin server %q: unknown protocol %q: want tyk, native or nothing", o.Address, o.Protocol)
	}
	s := &Server{
		o: o.withDefaults(), target: t, look: make(chan struct{}, 1),
		instances: map[string]*instance{}, bindings: map[string]*session.Binding{}, news: make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.ready.Store(new([]*link))
	s.watch = watch.New()
	s.owned.Go(func() { s.watch.Run(s.ctx) })
	s.unary.New = func() any { return unary.NewCall() }
	s.calls.New = func() any { return &nativeCall{call: session.NewCall()} }
	return s, nil
}

// Hook implements [coprocess.Server]. It refuses a configuration that is not as the plugin's schema has it, when that is
// known; else the hook's calls fail.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	h, err := coprocess.NewHook(s, use)
	if err != nil {
		return nil, err
	}
	if err := h.Check(); err != nil {
		return nil, err
	}
	return h, nil
}

// Check implements [coprocess.Checker].
func (s *Server) Check(b *coprocess.Binding) error {
	if m := s.lastSeen.Load(); m != nil && m.protocol == Native {
		return s.prepare(b, m).err
	}
	return nil
}

// Group implements [coprocess.Server]. Of a server whose protocol is not known yet the group is made, and runs hook by
// hook if that turns out to be Tyk's.
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) {
	if s.Protocol() == string(Tyk) {
		return nil, false
	}
	return coprocess.Group(s, hooks)
}

// Protocol says what the server speaks, as far as is known: "", "tyk" or "native".
func (s *Server) Protocol() string {
	if m := s.lastSeen.Load(); m != nil {
		return string(m.protocol)
	}
	return string(s.o.Protocol)
}

// Close ends all connections and waits for what the server runs. Calls that are under way fail with
// sdk.ErrUnavailable.
func (s *Server) Close() error {
	s.cancel()
	s.owned.Wait()
	return nil
}

// Dispatch implements [coprocess.Dispatcher]. A call that did not reach an instance goes to another one.
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	var (
		tried [4]*link
		err   error
	)
	for n := range tried {
		l := s.pick(tried[:n])
		if l == nil {
			break
		}
		if err = l.dispatch(ctx, b, x); err == nil || !mayGoElsewhere(ctx, err) {
			return err
		}
		tried[n] = l
	}
	if err == nil {
		err = s.unavailable()
	}
	return err
}

func mayGoElsewhere(ctx context.Context, err error) bool {
	return errors.Is(err, session.ErrNotSent) && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
}

// pick chooses the ready link with the least to do that has not been tried; nil when there is none.
func (s *Server) pick(tried []*link) *link {
	links := *s.ready.Load()
	if len(links) == 1 && len(tried) == 0 {
		return links[0]
	}
	load := func(i int) int {
		if slices.Contains(tried, links[i]) {
			return -1
		}
		return links[i].load()
	}
	i := s.cost.Busiest(len(links), s.o.Fill, load)
	if i < 0 {
		i = pick.Least(len(links), int(s.turn.Add(1)), load)
	}
	if i < 0 {
		return nil
	}
	return links[i]
}

// unavailable says why no instance takes calls.
func (s *Server) unavailable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: server %s was closed", sdk.ErrUnavailable, s.o.Address)
	}
	err := s.lastErr
	for _, i := range s.instances {
		if e := i.why(); e != nil {
			err = e
		}
	}
	if err == nil {
		return fmt.Errorf("%w: server %s is not connected yet", sdk.ErrUnavailable, s.o.Address)
	}
	return fmt.Errorf("%w: server %s: %w", sdk.ErrUnavailable, s.o.Address, err)
}

// enlist puts a link into rotation, delist takes it out. Both may be repeated.
func (s *Server) enlist(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if links := *s.ready.Load(); !slices.Contains(links, l) {
		links = append(slices.Clone(links), l)
		s.ready.Store(&links)
	}
}

func (s *Server) delist(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	links := slices.DeleteFunc(slices.Clone(*s.ready.Load()), func(other *link) bool { return other == l })
	s.ready.Store(&links)
}

// others reports whether a link other than l takes calls.
func (s *Server) others(l *link) bool {
	return slices.ContainsFunc(*s.ready.Load(), func(other *link) bool { return other != l })
}

// meet notes how an instance wants to be spoken to. Equal descriptions become one value, so that what is derived from
// them is derived once.
func (s *Server) meet(m *manner) *manner {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.lastSeen.Load(); old != nil && old.protocol == m.protocol && old.raw == m.raw {
		return old
	}
	s.lastSeen.Store(m)
	return m
}
