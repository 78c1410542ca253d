package unary

import (
	"context"
	"errors"
	"time"

	"golang.org/x/net/http2"
)

// sweepEvery is how late, at most, a deadline or a client's leaving ends a call.
const sweepEvery = 5 * time.Millisecond

var errSilent = errors.New("peer does not answer: it has said nothing since a call timed out and it was pinged")

// sweep gives up calls that are overdue or whose client left. It sleeps while there are no calls. As the one goroutine
// that waits for nothing else it also closes the socket in the end.
func (c *Conn) sweep() {
	defer c.owned.Done()
	defer func() { _ = c.nc.Close() }() // what it would say, no call wants to know
	tick := time.NewTimer(sweepEvery)
	defer tick.Stop()
	seen := uint64(0)
	for {
		select {
		case <-c.done:
			return
		case <-c.wake:
		}
		for busy := true; busy; {
			tick.Reset(sweepEvery)
			select {
			case <-c.done:
				return
			case <-tick.C:
			}
			busy, seen = c.expire(time.Now(), seen)
		}
	}
}

// expire settles what nobody should wait for any longer. It reports whether to come again: there are calls, or have been
// since the last time, when seen had come.
func (c *Conn) expire(now time.Time, seen uint64) (bool, uint64) {
	c.mu.Lock()
	late := false
	for _, call := range c.streams {
		if err := call.overdue(now); err != nil {
			late = late || errors.Is(err, context.DeadlineExceeded)
			c.reset(call, http2.ErrCodeCancel, err)
		}
	}
	for i := 0; i < len(c.waiting); {
		if err := c.waiting[i].overdue(now); err != nil {
			c.settle(c.waiting[i], notSent(err))
		} else {
			i++
		}
	}
	c.pump()
	c.probe(now, late)
	c.idle = len(c.streams)+len(c.waiting) == 0 && !c.waits && c.entered == seen
	busy, seen := !c.idle, c.entered
	c.flush()
	return busy, seen
}

// overdue says why nobody should wait for the call any longer; nil: somebody should.
func (c *Call) overdue(now time.Time) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.bounded && !now.Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// probe finds out whether a peer that was late for a call is there at all: without, a connection whose other end is
// gone silently would have calls time out until the system notices.
func (c *Conn) probe(now time.Time, late bool) {
	if c.waits {
		if c.waits = c.received == c.asked; c.waits && now.Sub(c.pinged) > c.o.PingWait {
			c.fail(errSilent)
		}
		return
	}
	pause := c.o.PingAfter
	if c.heard {
		pause = min(pause, c.o.PingWait)
	}
	if late && c.err == nil && (c.pinged.IsZero() || now.Sub(c.pinged) >= pause) {
		c.pinged, c.asked, c.waits, c.heard = now, c.received, true, false
		c.pending = append(appendFrame(c.pending, 8, http2.FramePing, 0, 0), "alive???"...)
	}
}
