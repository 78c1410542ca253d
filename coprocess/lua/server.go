package lua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/tyk"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Server is an opened plugin. It is safe for concurrent use.
type Server struct {
	p          script.Plugin
	o          Options
	limits     script.Limits
	counters   *script.Counters
	programs   programs
	main       []*interp.Program
	interp     interp.Options
	pool       *script.Pool[*machine]
	quarantine *script.Quarantine
	about      script.About
	schema     *coprocess.Schema
	files      *script.Files // owned; may be nil
	bridge     bridge

	life   context.Context // ends when Close begins
	end    context.CancelFunc
	closed atomic.Bool
	mu     sync.Mutex
	using  map[*machine]struct{} // in calls
}

var (
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open makes a server of the plugin p, whose Watch is required. It compiles the files and runs them once, so that what is
// wrong with them is an error now: a [*script.Error] with file and line. p.Files stays the caller's.
func Open(ctx context.Context, p script.Plugin, o Options) (*Server, error) {
	return open(ctx, p, o, nil)
}

// A bridge makes functions of Go that the scripts of an interpreter find in the global bridge. Tests have them.
type bridge func(*machine) map[string]lua.LGFunction

func open(ctx context.Context, p script.Plugin, o Options, bridge bridge) (*Server, error) {
	if p.Watch == nil {
		return nil, fmt.Errorf("plugin %q: there is no watch over its calls", p.Name)
	}
	s := &Server{p: p, o: o, limits: p.Limits.Complete(), counters: p.Counters, bridge: bridge, using: map[*machine]struct{}{}}
	if s.counters == nil {
		s.counters = &script.Counters{}
	}
	s.programs = programs{files: p.Files, left: s.limits.Source, byID: map[string]*interp.Program{}}
	for _, source := range p.Main {
		s.programs.left -= int64(len(source.Text))
		program, err := interp.Compile(source.Name, source.Text)
		if err != nil {
			return nil, s.named(err)
		}
		s.main = append(s.main, program)
	}
	if s.programs.left < 0 {
		return nil, fmt.Errorf("plugin %q: its files are larger than %d bytes together", p.Name, s.limits.Source)
	}
	s.interp = interp.Options{
		Limits: &s.limits, Allow: o.Allow, Require: s.programs.require, Print: printed,
		Global: func(i *interp.State, name string) lua.LValue { return owner(i).tyk.Global(name) },
		Fill:   func(i *interp.State, t *lua.LTable) { owner(i).tyk.Fill(t) },
		Index:  func(i *interp.State, t *lua.LTable, key lua.LValue) lua.LValue { return owner(i).tyk.Index(t, key) },
		Assign: func(i *interp.State, t *lua.LTable, key lua.LValue) { owner(i).tyk.Assign(t, key) },
	}
	s.quarantine = script.NewQuarantine(&s.limits, nil)
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.pool = script.NewPool(&s.limits, func() (*machine, error) { return s.machine(s.life) })
	if err := s.describe(ctx); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// describe makes the first interpreter and reads what the script says of itself.
func (s *Server) describe(ctx context.Context) error {
	m, err := s.pool.Get(ctx)
	if err != nil {
		return err
	}
	if !s.o.Tyk {
		if s.about, err = m.describe(); err == nil {
			s.schema, err = coprocess.NewSchema(s.p.Name, s.about.Schema)
		}
	}
	if err != nil || s.p.Fresh {
		m.state.Close()
		s.pool.Discard()
		return s.named(err)
	}
	s.pool.Put(m)
	return nil
}

// Hook implements [coprocess.Server]. It refuses a configuration that is not as the script's schema has it.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	return s.schema.Hook(s, use)
}

// Group implements [coprocess.Server].
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) {
	return coprocess.Group(s, hooks)
}

// Protocol implements [coprocess.Dispatcher].
func (s *Server) Protocol() string {
	if s.o.Tyk {
		return "tyk"
	}
	return "native"
}

// Needs implements [coprocess.Dispatcher].
func (s *Server) Needs(b *coprocess.Binding) sdk.Needs {
	if s.o.Tyk {
		return sdk.Needs{Fields: tyk.Needs}
	}
	return s.about.Needs(b)
}

// Check implements [coprocess.Checker].
func (s *Server) Check(b *coprocess.Binding) error {
	for i := range b.Hooks {
		u := &b.Hooks[i]
		if err := s.schema.Check(u); err != nil {
			return err
		}
		if s.o.Tyk {
			continue
		}
		if err := s.about.Check(s.p.Name, u); err != nil {
			return err
		}
	}
	return nil
}

// About is what the script says of itself; nil for Tyk's, which say nothing.
func (s *Server) About() *script.About {
	if s.o.Tyk {
		return nil
	}
	return &s.about
}

// Counters are what has happened to the plugin.
func (s *Server) Counters() *script.Counters { return s.counters }

// Quarantined reports whether the plugin is held for having gone over its bounds.
func (s *Server) Quarantined() bool { return s.quarantine.Held() }

// Dispatch implements [coprocess.Dispatcher].
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	if len(b.Hooks) > 1 {
		return coprocess.RunEach(ctx, s, b, x)
	}
	u := &b.Hooks[0]
	if !s.o.Tyk {
		if err := s.about.Check(s.p.Name, u); err != nil {
			return err
		}
	}
	return s.run(ctx, func(m *machine) error { return m.hook(u, x) })
}

// run has one interpreter do f under the plugin's bounds.
func (s *Server) run(ctx context.Context, f func(*machine) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	trial, err := s.quarantine.Enter()
	if err != nil {
		s.counters.Refused.Add(1)
		return fmt.Errorf("plugin %q: %w", s.p.Name, err)
	}
	m, err := s.pool.Get(ctx)
	if err == nil {
		s.counters.Calls.Add(1)
		err = s.named(m.run(ctx, f))
	}
	if err != nil {
		s.failed(err)
	}
	if held := s.quarantine.Leave(trial, err); held > 0 {
		s.counters.Quarantines.Add(1)
		s.log(ctx, slog.LevelError, "script in quarantine", "for", held, "error", err)
	}
	return err
}

// failed counts.
func (s *Server) failed(err error) {
	refusal := (*sdk.Error)(nil)
	switch {
	case errors.As(err, &refusal):
		return
	case errors.Is(err, context.DeadlineExceeded):
		s.counters.Timeouts.Add(1)
	case script.Offence(err):
		s.counters.Oversized.Add(1)
	}
	s.counters.Errors.Add(1)
}

func (s *Server) log(ctx context.Context, level slog.Level, message string, args ...any) {
	if s.p.Services.Log != nil {
		s.p.Services.Log.Log(ctx, level, message, append([]any{"plugin", s.p.Name}, args...)...)
	}
}

// named says of which plugin a script's error is.
func (s *Server) named(err error) error {
	if e := (*script.Error)(nil); errors.As(err, &e) {
		e.Plugin = s.p.Name
	}
	return err
}

// begin notes that m is in a call, so that Close can end it.
func (s *Server) begin(m *machine) {
	s.mu.Lock()
	s.using[m] = struct{}{}
	s.mu.Unlock()
	if s.closed.Load() {
		m.state.Interrupt(errClosed)
	}
}

func (s *Server) done(m *machine) {
	s.mu.Lock()
	delete(s.using, m)
	s.mu.Unlock()
}

var errClosed = fmt.Errorf("%w: closed", sdk.ErrUnavailable)

// Close ends the calls that are under way and waits for them.
func (s *Server) Close() error {
	s.closed.Store(true)
	s.end()
	s.mu.Lock()
	for m := range s.using {
		m.state.Interrupt(errClosed)
	}
	s.mu.Unlock()
	s.pool.Close()
	if s.files != nil {
		return s.files.Close()
	}
	return nil
}
