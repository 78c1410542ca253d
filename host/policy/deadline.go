package policy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Deadline ends the context of a call after what timeout says at its beginning, or earlier when budget, the time all hooks of one exchange may
// take together, is used up before; 0 is no bound. A hook that returned no error after its deadline is believed.
func Deadline(timeout func() time.Duration, budget time.Duration, now func() time.Time) Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			left := timeout()
			f, live := x.Backing().(*flow.Flow)
			if budget > 0 && live {
				rest := budget - f.Times.Hooks
				if rest <= 0 {
					return fmt.Errorf("%w: %v for all hooks: %w", sdk.ErrBudget, budget, context.DeadlineExceeded)
				}
				if left == 0 || rest < left {
					left = rest
				}
			}
			if left <= 0 { // a budget alone, outside a flow
				return next.Handle(ctx, x)
			}
			c := &deadlineContext{parent: ctx, now: now}
			if live && !f.Times.Called.IsZero() { // one reading of the clock less
				c.deadline = f.Times.Called.Add(f.Times.Bodies + left)
			} else {
				c.deadline = now().Add(left)
			}
			err := next.Handle(c, x)
			c.finish()
			return err
		})
	}
}

// deadlineContext is a context with a deadline whose timer and channel exist only once somebody asks for Done: most
// runtimes wait in a way of their own and look at Deadline and Err. It is never used again: a hook may keep it.
type deadlineContext struct {
	parent   context.Context
	deadline time.Time
	now      func() time.Time

	mu     sync.Mutex
	real   context.Context // nil until Done was called
	cancel context.CancelFunc
	over   bool // the call has returned
}

// Deadline returns the sooner of the call's deadline and the parent's.
func (c *deadlineContext) Deadline() (time.Time, bool) {
	if d, ok := c.parent.Deadline(); ok && d.Before(c.deadline) {
		return d, true
	}
	return c.deadline, true
}

// Done makes the timer on first use.
func (c *deadlineContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.over {
			c.cancel()
		}
	}
	return c.real.Done()
}

// Err is not nil once the call has returned, its deadline has passed, or the parent has ended.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.real != nil:
		return c.real.Err()
	case c.over:
		return context.Canceled
	}
	if err := c.parent.Err(); err != nil {
		return err
	}
	if !c.now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value asks the parent.
func (c *deadlineContext) Value(key any) any { return c.parent.Value(key) }

func (c *deadlineContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
