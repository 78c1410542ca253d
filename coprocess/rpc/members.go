package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Member is an instance of a server whose owner says what its instances are.
type Member struct {
	Name   string // stands for its address in status and logs; no two members of a server ever have the same
	Dial   func(ctx context.Context) (net.Conn, error)
	TLS    *tls.Config // nil: none
	Health string      // the service asked of its health service; "": the server as a whole
}

// OpenMembers makes a server whose instances its owner gives it, and takes away again: none at first. Of the options,
// Address is the server's name in logs and errors; TLS, Health, Resolve and Dial mean nothing.
func OpenMembers(ctx context.Context, o Options) (*Server, error) {
	return open(ctx, o, address.Target{Network: "unix", Address: o.Address})
}

// Join adds an instance: it is connected to, and takes calls once it is ready.
func (s *Server) Join(m Member) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return fmt.Errorf("%w: server %s was closed", sdk.ErrUnavailable, s.o.Address)
	}
	if s.instances[m.Name] != nil {
		return fmt.Errorf("server %s has an instance %q already", s.o.Address, m.Name)
	}
	return s.start(m)
}

// Leave takes an instance away: it gets no more calls, and those under way have DrainTimeout to end. left is closed when
// they have, and the connections are closed.
func (s *Server) Leave(name string) (left <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.instances[name]
	if i == nil {
		gone := make(chan struct{})
		close(gone)
		return gone
	}
	delete(s.instances, name)
	i.cancel()
	return i.ended
}

// Await waits until the instance takes calls. It returns why it does not when ctx ends first.
func (s *Server) Await(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		i, news := s.instances[name], s.news
		s.mu.Unlock()
		if i == nil {
			return fmt.Errorf("%w: server %s has no instance %q", sdk.ErrUnavailable, s.o.Address, name)
		}
		if i.now() == StateReady {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), i.why())
		case <-s.ctx.Done():
			return fmt.Errorf("%w: server %s was closed", sdk.ErrUnavailable, s.o.Address)
		}
	}
}

// Excuse says why there is no instance that takes calls: calls fail with err while that is so. Nil takes it back.
func (s *Server) Excuse(err error) {
	s.mu.Lock()
	s.lastErr = err
	s.mu.Unlock()
	s.announce()
}

// start begins an instance's life. s.mu is held.
func (s *Server) start(m Member) error {
	i, err := newInstance(s, m)
	if err != nil {
		return err
	}
	s.instances[m.Name] = i
	s.owned.Add(1)
	go i.run()
	return nil
}

// member is an instance at an address that the target's name stands for.
func (s *Server) member(addr string) Member {
	return Member{
		Name: addr, TLS: s.o.TLS, Health: s.o.Health,
		Dial: func(ctx context.Context) (net.Conn, error) { return s.o.Dial(ctx, s.target.Network, addr) },
	}
}
