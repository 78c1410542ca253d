package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

// resolveAtMost bounds how often failing connections have a name looked up again.
const resolveAtMost = 500 * time.Millisecond

// resolve keeps the instances in step with what the target's name stands for. A lookup that fails or finds nothing
// changes nothing: addresses that were good are better than none.
func (s *Server) resolve() {
	defer s.owned.Done()
	wait := time.NewTimer(0)
	defer wait.Stop()
	<-wait.C
	for {
		begun := time.Now()
		err := s.lookUp()
		s.mu.Lock()
		s.lastErr = err
		none := len(s.instances) == 0
		s.mu.Unlock()
		s.announce()
		if err != nil && s.ctx.Err() == nil {
			s.o.Log.Warn("looking up plugin server failed", "server", s.o.Address, "error", err)
		}
		pause := s.o.ResolveEvery
		if none {
			pause = min(pause, s.o.RetryEvery)
		}
		wait.Reset(jitter(pause))
		select {
		case <-s.ctx.Done():
			return
		case <-wait.C:
		case <-s.look:
			if left := resolveAtMost - time.Since(begun); left > 0 {
				wait.Reset(left)
				select {
				case <-s.ctx.Done():
					return
				case <-wait.C:
				}
			}
		}
	}
}

// jitter keeps gateways that started together from asking together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}

func (s *Server) lookUp() error {
	host, port, err := net.SplitHostPort(s.target.Address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.o.ConnectTimeout)
	defer cancel()
	found, err := s.o.Resolve(ctx, host)
	if err != nil {
		return fmt.Errorf("look up %s: %w", host, err)
	}
	if len(found) == 0 {
		return fmt.Errorf("look up %s: %w", host, errors.New("no addresses"))
	}
	addresses := make([]string, len(found))
	for i, a := range found {
		addresses[i] = net.JoinHostPort(a, port)
	}
	slices.Sort(addresses)
	return s.setInstances(slices.Compact(addresses))
}

// lookAgain asks for the name to be looked up soon, because an instance cannot be reached.
func (s *Server) lookAgain() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// setInstances starts an instance for each new address and retires those whose address is gone.
func (s *Server) setInstances(addresses []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return nil
	}
	for _, a := range addresses {
		if s.instances[a] != nil {
			continue
		}
		if err := s.start(s.member(a)); err != nil {
			return err
		}
	}
	for a, i := range s.instances {
		if !slices.Contains(addresses, a) {
			delete(s.instances, a)
			i.cancel()
		}
	}
	return nil
}
