package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
// have come since the last time, when seen had, or the server is to be given up if it does not acknowledge a frame.
func (s *Session) expire(seen uint64) (bool, uint64) {
	var swept sweeping
	now := s.Now()
	s.mu.Lock()
	for at := range s.table {
		s.look(uint32(at), now, &swept)
	}
	starved := s.outstanding >= s.credit
	s.waiting.filter(func(c *Call) bool {
		err := overdue(c, now)
		if err == nil {
			return true
		}
		if starved && c.ctx.Err() != context.Canceled {
			err = fmt.Errorf("%w: no credit within the deadline", sdk.ErrOverloaded)
			swept.starved = true
		}
		swept.late = swept.late || !errors.Is(err, context.Canceled)
		c.err = fmt.Errorf("%w: %w", ErrNotSent, err)
		swept.given = append(swept.given, c)
		return false
	})
	if swept.lost > 0 && (swept.starved || 2*swept.lost >= s.credit) {
		s.lost = true
		s.quit()
	}
	var stuck error
	if s.doubted = (s.doubted || swept.late) && s.seq > s.acked; s.doubted {
		stuck = s.stuck(now)
	}
	s.idle = swept.waiting+s.waiting.len() == 0 && !s.doubted && s.entered == seen
	busy, seen := !s.idle, s.entered
	s.weigh()
	f := s.take(now)
	s.mu.Unlock()
	settle(swept.given)
	if f != nil {
		s.send(f)
	}
	if stuck != nil {
		s.fail(stuck)
	}
	return busy, seen
}

// sweeping is what one look at all calls finds.
type sweeping struct {
	given   []*Call // have their results
	waiting int     // calls somebody waits for
	lost    int     // calls that should have been answered long ago, though nobody waits for them any more
	late    bool    // a call's deadline has passed
	starved bool    // for want of credit
}

// look gives up the call at that place of the table if it is overdue.
func (s *Session) look(at uint32, now int64, swept *sweeping) {
	e := &s.table[at]
	if e.call == nil {
		if e.live && now-e.left > int64(s.limits.LostWait) {
			swept.lost++
		}
		return
	}
	err := overdue(e.call, now)
	if err == nil {
		swept.waiting++
		return
	}
	swept.late = swept.late || err == context.DeadlineExceeded
	swept.given = append(swept.given, e.call)
	e.call.err = err
	if e.seq > s.seq {
		s.pending.forget(e.call)
	}
	e.call, e.left = nil, now // its credit comes back with the reply
	s.cancels = append(s.cancels, e.gen<<indexBits|uint64(at))
}

// stuck says that the server has not acknowledged a frame for too long; nil when that is not so. Calls that time out
// show that it is not just idle. It wants the lock.
func (s *Session) stuck(now int64) error {
	if s.seq == s.acked {
		return nil
	}
	waited := time.Duration(now - s.frames[(s.acked+1)%uint64(len(s.frames))].at)
	if waited <= s.limits.AckWait {
		return nil
	}
	return fmt.Errorf("%w: server has not acknowledged a frame for %v", sdk.ErrUnavailable, waited.Round(time.Millisecond))
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
	at := slices.Index(s.batches, b)
	var stuck error
	if at >= 0 {
		s.batches = slices.Delete(s.batches, at, at+1)
		stuck = s.stuck(s.Now())
	}
	s.mu.Unlock()
	switch {
	case at < 0:
		return nil // it left after all
	case stuck != nil:
		s.fail(stuck)
		return stuck
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", sdk.ErrOverloaded, ctx.Err())
	}
	return fmt.Errorf("%w: session ended", sdk.ErrUnavailable)
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
