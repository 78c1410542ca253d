// Package watch ends the contexts of unary calls of gRPC cheaply.
package watch

import (
	"context"
	"sync"
	"time"
)

// Every is how late, at most, a deadline or a client's leaving ends a unary call.
const Every = 5 * time.Millisecond

// Watch ends the contexts of unary calls that are overdue or whose client left. One goroutine looks at all of them
// every few milliseconds, while there are any: that is cheaper than a timer, and with contexts that are not the
// standard library's a goroutine, for each.
type Watch struct {
	wake  chan struct{}
	never chan struct{} // never closed; not being nil, it makes package context ask for AfterFunc

	mu    sync.Mutex
	calls Context // head of a ring
	begun uint64
	idle  bool // Run sleeps
}

// New returns a watch; Run makes it one.
func New() *Watch {
	w := &Watch{wake: make(chan struct{}, 1), never: make(chan struct{}), idle: true}
	w.calls.next, w.calls.prev = &w.calls, &w.calls
	return w
}

// Begin returns the context for a call that parent bounds, with the values of another or none. End must be called when
// the call has returned.
func (w *Watch) Begin(parent, values context.Context) *Context {
	c := &Context{parent: parent, values: values, never: w.never}
	c.deadline, c.bounded = parent.Deadline()
	c.err = parent.Err()
	w.mu.Lock()
	c.next, c.prev = &w.calls, w.calls.prev
	c.prev.next, c.next.prev = c, c
	w.begun++
	wake := w.idle
	w.idle = false
	w.mu.Unlock()
	if wake {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return c
}

// End ends the watching of a context.
func (w *Watch) End(c *Context) {
	w.mu.Lock()
	c.prev.next, c.next.prev = c.next, c.prev
	w.mu.Unlock()
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTimer(Every)
	defer tick.Stop()
	seen := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		for busy := true; busy; {
			tick.Reset(Every)
			select {
			case <-ctx.Done():
				return // the connections are closed, which ends the calls
			case <-tick.C:
			}
			busy, seen = w.look(seen)
		}
	}
}

// look ends what is overdue. It reports whether to come again, and how many calls had begun.
func (w *Watch) look(seen uint64) (bool, uint64) {
	now := time.Now()
	var over []*Context
	w.mu.Lock()
	for c := w.calls.next; c != &w.calls; c = c.next {
		if c.overdue(now) {
			over = append(over, c)
		}
	}
	w.idle = w.calls.next == &w.calls && w.begun == seen
	busy, seen := !w.idle, w.begun
	w.mu.Unlock()
	for _, c := range over {
		c.finish()
	}
	return busy, seen
}

// Context is the context of one unary call. It knows the contexts that are derived from it through AfterFunc, as
// package context offers, and ends them itself; its own Done is never closed, so nobody may wait on it directly: gRPC
// derives a context before it waits.
type Context struct {
	parent   context.Context
	values   context.Context // may be nil
	deadline time.Time
	bounded  bool
	never    chan struct{}

	next, prev *Context // guarded by the watch

	mu      sync.Mutex
	err     error
	ended   bool // derived contexts have been told
	derived []func()
}

// Deadline implements [context.Context].
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, c.bounded }

// Done implements [context.Context].
func (c *Context) Done() <-chan struct{} { return c.never }

// Err implements [context.Context].
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value implements [context.Context]. What else the host's context holds is none of gRPC's business.
func (c *Context) Value(key any) any {
	if c.values == nil {
		return nil
	}
	return c.values.Value(key)
}

// AfterFunc is what package context looks for in contexts that are not its own.
func (c *Context) AfterFunc(f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		go f()
		return func() bool { return false }
	}
	c.derived = append(c.derived, f)
	at := len(c.derived) - 1
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ended {
			return false
		}
		c.derived[at] = nil
		return true
	}
}

// overdue notes why the call is not to be waited for any longer, and reports whether that is news.
func (c *Context) overdue(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	if c.err == nil {
		c.err = c.parent.Err()
	}
	if c.err == nil && c.bounded && !now.Before(c.deadline) {
		c.err = context.DeadlineExceeded
	}
	return c.err != nil
}

// finish ends the derived contexts.
func (c *Context) finish() {
	c.mu.Lock()
	derived := c.derived
	c.derived, c.ended = nil, true
	c.mu.Unlock()
	for _, f := range derived {
		if f != nil {
			f()
		}
	}
}
