package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/pick"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// nativeCall is what a call on a session needs of memory.
type nativeCall struct {
	call   *session.Call
	result wire.Result
}

// prepared is what is derived from a binding once.
type prepared struct {
	binding *session.Binding
	manner  *manner
	needs   sdk.Needs
	err     error // why the server is not to be called
}

// native runs the binding's hooks in one call on a session.
func (l *link) native(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	s := l.sessions[0]
	if len(l.sessions) > 1 {
		s = l.idlest()
	}
	timed := x.WantsCallDone()
	var begun int64
	if timed {
		begun = s.Now()
	}
	p := l.i.s.prepare(b, l.manner)
	if p.err != nil {
		return p.err
	}
	n := l.i.s.calls.Get().(*nativeCall)
	c := n.call
	c.Binding = p.binding
	c.Encode(x, p.needs)
	err := s.Do(ctx, c)
	if err == nil {
		err = n.apply(b, x)
		if l.i.s.o.Fill > 0 {
			l.i.s.cost.Note(&n.result)
		}
	}
	if timed && c.Times.Sent != 0 && c.Times.Replied != 0 {
		t := &c.Times
		x.CallDone(sdk.CallTimings{
			Encode: time.Duration(t.Begun - begun), Queue: time.Duration(t.Sent - t.Begun),
			Wire: time.Duration(t.Replied - t.Sent), Apply: time.Duration(s.Now() - t.Replied),
		})
	}
	c.Reply = nil
	l.i.s.calls.Put(n)
	return err
}

// idlest returns the session with the least to do.
func (l *link) idlest() *session.Session {
	return l.sessions[pick.Least(len(l.sessions), 0, func(i int) int { return l.sessions[i].Load() })]
}

// apply makes the changes of the reply. A server that refused the call, because it drains or is full, did not run it.
func (n *nativeCall) apply(b *coprocess.Binding, x *sdk.Exchange) error {
	err := coprocess.ApplyReply(n.call.Reply, b, x, &n.result)
	if err == nil {
		return nil
	}
	var failure *wire.Failure
	if errors.As(err, &failure) && len(n.result.Outcomes) == 0 &&
		(failure.Code == wire.FailureUnavailable || failure.Code == wire.FailureOverloaded) {
		return fmt.Errorf("%w: %w", session.ErrNotSent, err)
	}
	return err
}

// prepare derives what calls of the binding need, once for each manner of the server.
func (s *Server) prepare(b *coprocess.Binding, m *manner) *prepared {
	old, _ := b.Cache.Load().(*prepared)
	if old != nil && old.manner == m {
		return old
	}
	p := &prepared{manner: m}
	if old != nil {
		p.binding = old.binding
	} else {
		p.binding = s.bind(b)
	}
	p.needs = coprocess.NeedsOf(b, m.about)
	for i := range b.Hooks {
		if p.err = m.schema.Check(&b.Hooks[i]); p.err != nil {
			break
		}
	}
	b.Cache.Store(p)
	return p
}

// bind numbers the binding. Equal ones have one number, whatever table of the host they come from, so that a session
// is told of each only once.
func (s *Server) bind(b *coprocess.Binding) *session.Binding {
	v := coprocess.WireBinding(b)
	key := string(wire.AppendBinding(nil, &v))
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.bindings[key]; known != nil {
		return known
	}
	v.ID = uint32(len(s.bindings) + 1)
	bound := &session.Binding{ID: v.ID, Field: wire.AppendBinding(nil, &v)}
	s.bindings[key] = bound
	return bound
}

// Needs implements [coprocess.Dispatcher]. Before the server has said what it speaks, a hook needs nothing: its calls
// will fail.
func (s *Server) Needs(b *coprocess.Binding) sdk.Needs {
	m := s.lastSeen.Load()
	switch {
	case m != nil && m.protocol == Native:
		return s.prepare(b, m).needs
	case m != nil || s.o.Protocol == Tyk:
		return sdk.Needs{Fields: tykNeeds}
	}
	return sdk.Needs{Fields: sdk.NeedNothing}
}
