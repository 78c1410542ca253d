package script

import (
	"context"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"time"
)

const (
	tick = 5 * time.Millisecond
	// collectEvery is how often the watch may have the collector run, to tell memory in use from garbage.
	collectEvery = 250 * time.Millisecond
	restAfter    = 4 // ticks without a call
)

// Watch interrupts calls of scripts that go over their bounds. One serves a whole process; what made it closes it. It
// looks every 5 ms at the calls that are under way, and sleeps while there are none.
type Watch struct {
	mu      sync.Mutex
	calls   []*Call
	resting bool
	wake    chan struct{}
	stop    chan struct{}
	done    chan struct{}

	// Of the watch's goroutine alone.
	collected time.Time
	heap      []metrics.Sample
}

// NewWatch begins to watch.
func NewWatch() *Watch {
	w := &Watch{
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		resting: true, heap: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}},
	}
	go w.run()
	return w
}

// Close ends the watch and waits for it. No call may begin any more; those under way are watched no longer.
func (w *Watch) Close() {
	close(w.stop)
	<-w.done
}

// Call is the watch over one call at a time of one interpreter. Its methods are for the goroutine that calls.
type Call struct {
	watch     *Watch
	interrupt func(error)

	// Guarded by the watch.
	ctx      context.Context
	deadline time.Time
	begun    time.Time
	bound    int64 // of the heap's growth
	base     int64 // of the heap, when it was first seen; 0: not yet
	at       int   // in calls; -1: not under way
	waiting  bool
	breach   error
}

// Call returns the watch over calls of one interpreter. interrupt is told why the call that is under way has to end; it
// is called at most once a call, never outside of one, from another goroutine, and must return at once.
func (w *Watch) Call(interrupt func(error)) *Call {
	return &Call{watch: w, interrupt: interrupt, at: -1}
}

// Begin begins a call. It ends at ctx's end, after l.Time when ctx has no deadline, or when the heap has grown by more than
// l.Heap. l is complete.
func (c *Call) Begin(ctx context.Context, l *Limits) {
	now := time.Now()
	deadline := now.Add(l.Time)
	if d, ok := ctx.Deadline(); ok {
		deadline = d
	}
	w := c.watch
	w.mu.Lock()
	c.ctx, c.deadline, c.begun, c.bound, c.base, c.waiting, c.breach = ctx, deadline, now, l.Heap, 0, false, nil
	c.at = len(w.calls)
	w.calls = append(w.calls, c)
	rouse := w.resting
	w.resting = false
	w.mu.Unlock()
	if rouse {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Deadline is when the call under way is interrupted at the latest.
func (c *Call) Deadline() time.Time { return c.deadline }

// Wait says that the call waits for something outside of the interpreter, so that memory that grows meanwhile is not
// blamed on it; Resume that it goes on.
func (c *Call) Wait() { c.setWaiting(true) }

// Resume ends Wait.
func (c *Call) Resume() { c.setWaiting(false) }

func (c *Call) setWaiting(waiting bool) {
	c.watch.mu.Lock()
	c.waiting, c.base = waiting, 0
	c.watch.mu.Unlock()
}

// Breach is why the call under way has been interrupted; nil while it has not.
func (c *Call) Breach() error {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	return c.breach
}

// End ends the call. It returns why it was interrupted, nil when it was not.
func (c *Call) End() error {
	w := c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.at < 0 {
		return nil
	}
	last := w.calls[len(w.calls)-1]
	last.at = c.at
	w.calls[c.at] = last
	w.calls[len(w.calls)-1] = nil
	w.calls = w.calls[:len(w.calls)-1]
	c.at, c.ctx = -1, nil
	return c.breach
}

func (w *Watch) run() {
	defer close(w.done)
	ticker := time.NewTicker(tick)
	ticker.Stop()
	defer ticker.Stop()
	idle := 0
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
			idle = 0
			ticker.Reset(tick)
		case <-ticker.C:
			if w.look() {
				idle = 0
			} else if idle++; idle >= restAfter && w.rest() {
				ticker.Stop()
			}
		}
	}
}

// rest reports whether there is nothing to watch; from then on Begin wakes the watch.
func (w *Watch) rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting = len(w.calls) == 0
	return w.resting
}

// look ends what is over its bounds. It reports whether there was anything to look at.
func (w *Watch) look() bool {
	now, heap := time.Now(), w.inUse()
	w.mu.Lock()
	some, grown := len(w.calls) > 0, false
	for _, c := range w.calls {
		switch err := c.ctx.Err(); {
		case err != nil:
			c.end(err)
		case now.After(c.deadline):
			c.end(context.DeadlineExceeded)
		case c.base == 0:
			c.base = heap
		case !c.waiting && heap-c.base > c.bound:
			grown = true
		}
	}
	w.mu.Unlock()
	if grown && now.Sub(w.collected) > collectEvery {
		w.collect()
	}
	return some
}

// collect has the collector run, and ends the call that has run longest of those during which the heap still has grown
// too much: which of them is to blame nobody can tell.
func (w *Watch) collect() {
	runtime.GC()
	w.collected = time.Now()
	heap := w.inUse()
	w.mu.Lock()
	defer w.mu.Unlock()
	over := slices.DeleteFunc(slices.Clone(w.calls), func(c *Call) bool {
		return c.waiting || c.breach != nil || c.base == 0 || heap-c.base <= c.bound
	})
	if len(over) == 0 {
		return
	}
	slices.MinFunc(over, func(a, b *Call) int { return a.begun.Compare(b.begun) }).end(ErrHeap)
	w.collected = time.Time{} // what it held goes with it, or the next is looked at
}

func (c *Call) end(why error) {
	if c.breach == nil {
		c.breach = why
		c.interrupt(why)
	}
}

func (w *Watch) inUse() int64 {
	metrics.Read(w.heap)
	return int64(w.heap[0].Value.Uint64())
}
