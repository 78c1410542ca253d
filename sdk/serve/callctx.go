package serve

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of one call. Most hooks never look at theirs, so it is nothing but a deadline until
// somebody asks for Done; then a context of the standard library stands in. A hook may keep it: it is never used
// for another call.
type callContext struct {
	parent   context.Context
	deadline time.Time // zero: none

	mu     sync.Mutex
	real   context.Context // once asked for Done
	cancel context.CancelFunc
	err    error // why it ended, once it has
}

var _ context.Context = (*callContext)(nil)

// Deadline returns when the host stops waiting for the call.
func (c *callContext) Deadline() (time.Time, bool) {
	if d, ok := c.parent.Deadline(); ok && (c.deadline.IsZero() || d.Before(c.deadline)) {
		return d, true
	}
	return c.deadline, !c.deadline.IsZero()
}

// Done is closed at the deadline, when the host cancels the call, when the stream ends or when the call has returned.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		if c.deadline.IsZero() {
			c.real, c.cancel = context.WithCancel(c.parent)
		} else {
			c.real, c.cancel = context.WithDeadline(c.parent, c.deadline)
		}
		if c.err != nil {
			c.cancel()
		}
	}
	return c.real.Done()
}

// Err is nil until the context has ended, then context.Canceled or context.DeadlineExceeded.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
	case c.real != nil:
		c.err = c.real.Err()
	case c.parent.Err() != nil:
		c.err = c.parent.Err()
	case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
		c.err = context.DeadlineExceeded
	}
	return c.err
}

// Value is the stream's. Once the standard library's context stands in, the call is its: a context derived from this
// one then needs no goroutine to hear of the end.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	inner := c.real
	c.mu.Unlock()
	if inner == nil {
		inner = c.parent
	}
	return inner.Value(key)
}

// end cancels the context: the host cancelled the call, or it returned.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		if c.real != nil {
			c.err = c.real.Err()
		}
		if c.err == nil {
			c.err = context.Canceled
		}
	}
	if c.cancel != nil {
		c.cancel()
	}
}
