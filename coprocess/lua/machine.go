package lua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/tyk"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// machine is one interpreter of a plugin with what belongs to its calls. It serves one call at a time.
type machine struct {
	s     *Server
	state *interp.State
	watch *script.Call
	tyk   *tyk.Call
	kinds kinds
	undo  sdk.Undo

	scope *scope          // of the call under way; nil while files are loaded and of observers
	route *sdk.Route      // of the call under way
	ctx   context.Context // of the call under way, or of loading
}

func owner(i *interp.State) *machine { return i.Owner.(*machine) }

// machine makes an interpreter and runs the plugin's files in it. Its error names no plugin.
func (s *Server) machine(ctx context.Context) (*machine, error) {
	m := &machine{s: s, state: interp.New(&s.interp), ctx: ctx}
	m.state.Owner = m
	m.tyk = tyk.New(m.state)
	m.watch = s.p.Watch.Call(m.state.Interrupt)
	m.define()
	s.counters.Made.Add(1)
	m.watch.Begin(ctx, &s.limits)
	for _, program := range s.main {
		if err := m.state.Load(ctx, program); err != nil {
			_ = m.watch.End()
			m.state.Close()
			return nil, s.named(err)
		}
	}
	if err := m.watch.End(); err != nil {
		m.state.Close()
		return nil, err
	}
	m.state.Seal()
	m.ctx = nil
	return m, nil
}

// run has f done in a call of its own, and gives m back.
func (m *machine) run(ctx context.Context, f func(*machine) error) error {
	s := m.s
	m.ctx = ctx
	m.state.Begin(ctx)
	s.begin(m)
	m.watch.Begin(ctx, &s.limits)
	err := f(m)
	over := m.watch.End()
	s.done(m)
	if over == nil {
		over = ctx.Err() // it may have ended what the script waited for before the watch looked
	}
	if err != nil && over != nil && !errors.Is(err, over) {
		err = fmt.Errorf("%w: %w", over, err)
	}
	m.ctx = nil
	if !m.state.End() || s.p.Fresh || unsound(err) {
		s.counters.Discarded.Add(1)
		m.state.Close()
		s.pool.Discard()
		return err
	}
	s.pool.Put(m)
	return err
}

// unsound reports whether an error may have left the interpreter in a state it should not be used in.
func unsound(err error) bool { return err != nil && script.Offence(err) }

// hook runs a hook on x. When it fails, x is as it was.
func (m *machine) hook(u *sdk.HookUse, x *sdk.Exchange) error {
	m.route = u.Route
	m.scope = &scope{m: m, x: x, use: u}
	defer func() {
		m.scope.m = nil
		m.scope, m.route = nil, nil
	}()
	if m.s.o.Tyk {
		return m.tyk.Run(u, x)
	}
	f := lua.LValue(lua.LNil)
	if e := m.exports(); e != nil {
		f = e.RawGetString(u.Name)
	}
	m.scope.needs = m.s.about.Hooks[u.Name].Needs
	m.undo.Keep(x)
	defer m.undo.Forget()
	err := m.state.Call(f, 0, m.object((*exchangeRef)(m.scope), m.kinds.exchange))
	if m.scope.refused != nil && m.state.Interrupted() == nil {
		err = m.scope.refused // whatever the script did to catch it
	}
	if err == nil {
		if err = x.Invalid(); err == nil {
			return nil
		}
		err = fmt.Errorf("%w: %w", sdk.ErrProtocol, err)
	}
	m.undo.Restore(x)
	return err
}

// printed takes what print writes.
func printed(i *interp.State, text string) { owner(i).write(slog.LevelInfo, text) }

// write writes a line to the log of the exchange, or outside of any to the plugin's.
func (m *machine) write(level slog.Level, text string) {
	if m.scope != nil {
		m.scope.x.Log(level, text)
		return
	}
	if m.ctx != nil {
		m.s.log(m.ctx, level, text)
	}
}

// outside has f wait for something outside of the interpreter, with a context that ends when the call ends.
func (m *machine) outside(f func(ctx context.Context) error) error {
	ctx, cancel := context.WithDeadline(m.ctx, m.watch.Deadline())
	defer cancel()
	stop := context.AfterFunc(m.s.life, cancel)
	defer stop()
	m.watch.Wait()
	defer m.watch.Resume()
	return f(ctx)
}
