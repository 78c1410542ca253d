// Package inproc is the runtime for a plugin that lives in this process and is still spoken to through the native
// protocol's messages, so that what is built in can be held to what holds for every plugin. Calls are encoded, decoded
// and run on the caller's goroutine: a hook that ignores its context holds its caller, as any hook in this process does.
package inproc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// Server is a plugin behind the wire. It is safe for concurrent use.
type Server struct {
	p      *sdk.Plugin
	about  *wire.Description
	schema *coprocess.Schema
	calls  sync.Pool // *call
	close  func() error
}

var (
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// call is the memory of one call.
type call struct {
	frame, reply []byte
	in           wire.Incoming
	x            sdk.Exchange
	result       wire.Result
}

// bound is a binding as the plugin's side knows it.
type bound struct {
	binding *wire.Binding
	hooks   []sdk.Hook
	needs   sdk.Needs
	err     error // why it cannot be called
}

// Open makes a server of p, which is not to be changed any more.
func Open(p *sdk.Plugin) (*Server, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	about, err := wire.DecodeDescribeReply(wire.AppendDescribeReply(nil, p, wire.Limits{}))
	if err != nil {
		return nil, err
	}
	schema, err := coprocess.NewSchema(p.Name, p.ConfigSchema)
	if err != nil {
		return nil, err
	}
	s := &Server{p: p, about: about, schema: schema, close: func() error { return nil }}
	s.calls.New = func() any { return new(call) }
	if p.Close != nil {
		s.close = sync.OnceValue(p.Close)
	}
	return s, nil
}

// Hook implements [coprocess.Server]. It refuses a configuration that is not as the plugin's schema has it.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	return s.schema.Hook(s, use)
}

// Group implements [coprocess.Server].
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) {
	return coprocess.Group(s, hooks)
}

// Protocol implements [coprocess.Dispatcher].
func (s *Server) Protocol() string { return "native" }

// Needs implements [coprocess.Dispatcher].
func (s *Server) Needs(b *coprocess.Binding) sdk.Needs { return s.bind(b).needs }

// Check implements [coprocess.Checker].
func (s *Server) Check(b *coprocess.Binding) error { return s.bind(b).err }

// Close calls the plugin's Close, once. Nothing may be calling the plugin any more.
func (s *Server) Close() error { return s.close() }

// Dispatch implements [coprocess.Dispatcher].
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	bound := s.bind(b)
	if bound.err != nil {
		return bound.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c := s.calls.Get().(*call)
	defer s.calls.Put(c)
	c.frame = wire.AppendCall(c.frame[:0], wire.CallHeader{ID: 1, Binding: 1}, x, bound.needs)
	host, err := wire.ScanHostFrame(c.frame)
	if err != nil {
		return err
	}
	for message := range host.Calls() {
		if err = c.in.Decode(message, bound.binding, &c.x); err != nil {
			return err
		}
		c.run(ctx, bound)
		c.reply = c.in.AppendReply(c.reply[:0])
	}
	plugin, err := wire.ScanPluginFrame(c.reply)
	if err != nil {
		return err
	}
	for _, message := range plugin.Replies() {
		err = coprocess.ApplyReply(message, b, x, &c.result)
	}
	return err
}

// run runs the binding's hooks as a plugin server does.
func (c *call) run(ctx context.Context, b *bound) {
	for i, h := range b.hooks {
		c.x.Begin(b.binding.Phase, b.binding.Hooks[i].Config, true)
		begun := time.Now()
		err := handle(ctx, h, &c.x)
		if !c.in.Done(&c.x, time.Since(begun), err) {
			return
		}
	}
}

func handle(ctx context.Context, h sdk.Hook, x *sdk.Exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, p)
		}
	}()
	return h.Handle(ctx, x)
}

// bind finds the binding's hooks, once.
func (s *Server) bind(b *coprocess.Binding) *bound {
	if known, ok := b.Cache.Load().(*bound); ok {
		return known
	}
	v := &bound{needs: coprocess.NeedsOf(b, s.about)}
	sent := coprocess.WireBinding(b)
	v.binding = &sent
	for i := range b.Hooks {
		u := &b.Hooks[i]
		if v.err = s.schema.Check(u); v.err != nil {
			break
		}
		spec, ok := s.p.Find(u.Name, u.Phase)
		if !ok {
			v.err = fmt.Errorf("%w: plugin %q has no hook %q in phase %v", sdk.ErrUnimplemented, s.p.Name, u.Name, u.Phase)
			break
		}
		v.hooks = append(v.hooks, spec.Hook)
	}
	b.Cache.Store(v)
	return v
}

// Observer implements [coprocess.Server].
func (s *Server) Observer(name string) sdk.Observer {
	return sdk.Observing(s.about.ObserverNeeds[name], sdk.ObserverFunc(func(ctx context.Context, b sdk.Batch) error {
		for i := range s.p.Observers {
			if s.p.Observers[i].Name == name {
				return s.p.Observers[i].Observer.Observe(ctx, b)
			}
		}
		return fmt.Errorf("%w: plugin %q has no observer %q", sdk.ErrUnimplemented, s.p.Name, name)
	}))
}
