package session

import (
	"context"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// sweepEvery is how late, at most, a deadline or a client's leaving is noticed.
const sweepEvery = 5 * time.Millisecond

// sweep gives up calls that are overdue or whose client left. It sleeps while there are no calls.
func (s *Session) sweep() {
	defer s.owned.Done()
	tick := time.NewTimer(sweepEvery)
	defer tick.Stop()
	seen := uint64(0)
	for {
		select {
		case <-s.done:
			return
		case <-s.wake:
		}
		for busy := true; busy; {
			tick.Reset(sweepEvery)
			select {
			case <-s.done:
				return
			case <-tick.C:
			}
			busy, seen = s.expire(seen)
		}
	}
}

// expire settles what nobody should wait for any longer. It reports whether to come again: calls are outstanding or
// have come since the last time, when seen had.
func (s *Session) expire(seen uint64) (bool, uint64) {
	now := s.Now()
	var given []*Call
	s.mu.Lock()
	waiting := 0
	for at := range s.table {
		e := &s.table[at]
		if e.call == nil {
			continue
		}
		err := overdue(e.call, now)
		if err == nil {
			waiting++
			continue
		}
		given = append(given, e.call)
		e.call.err = err
		if e.seq > s.seq {
			s.pending.forget(e.call)
		}
		e.call = nil // its credit comes back with the reply
		s.cancels = append(s.cancels, e.gen<<indexBits|uint64(at))
	}
	starved := s.outstanding >= s.credit
	s.waiting.filter(func(c *Call) bool {
		err := overdue(c, now)
		if err == nil {
			return true
		}
		if starved && c.ctx.Err() != context.Canceled {
			err = fmt.Errorf("%w: no credit within the deadline", sdk.ErrOverloaded)
		}
		c.err = fmt.Errorf("%w: %w", ErrNotSent, err)
		given = append(given, c)
		return false
	})
	waiting += s.waiting.len()
	s.idle = waiting == 0 && s.entered == seen
	busy, seen := !s.idle, s.entered
	s.load.Store(int64(s.outstanding + s.waiting.len()))
	f := s.take(now)
	s.mu.Unlock()
	settle(given)
	if f != nil {
		s.send(f)
	}
	return busy, seen
}

// overdue says why nobody should wait for the call any longer; nil: somebody should.
func overdue(c *Call, now int64) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.deadline != 0 && now >= c.deadline {
		return context.DeadlineExceeded
	}
	return nil
}

// forget takes a call that was given up off the list of those that leave with the frame.
func (f *frame) forget(c *Call) {
	for i := range f.calls {
		if f.calls[i] == c {
			f.calls[i] = nil
			return
		}
	}
}

// Post sends a batch of records and events, given as the encoded fields of a host frame, and returns when it has left.
func (s *Session) Post(ctx context.Context, fields []byte) error {
	b := &batch{fields, make(chan struct{})}
	s.mu.Lock()
	if s.err != nil || s.draining {
		s.mu.Unlock()
		return fmt.Errorf("%w: session takes no more", sdk.ErrUnavailable)
	}
	s.batches = append(s.batches, b)
	f := s.take(s.Now())
	s.mu.Unlock()
	if f != nil {
		s.send(f)
	}
	select {
	case <-b.sent:
		return nil
	case <-ctx.Done():
	case <-s.done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.batches {
		if s.batches[i] == b {
			s.batches = append(s.batches[:i], s.batches[i+1:]...)
			if ctx.Err() != nil {
				return fmt.Errorf("%w: %w", sdk.ErrOverloaded, ctx.Err())
			}
			return fmt.Errorf("%w: session ended", sdk.ErrUnavailable)
		}
	}
	return nil // it left after all
}

// batch is what observers are sent.
type batch struct {
	fields []byte
	sent   chan struct{}
}

// attachBatch makes the oldest batch part of the frame.
func (s *Session) attachBatch(f *frame) {
	b := s.batches[0]
	s.batches = append(s.batches[:0], s.batches[1:]...)
	f.attach(b.fields)
	f.done = append(f.done, b.sent)
}
