// Package tap feeds observers with records and events: in batches, and off the path of requests, none of which waits for it.
package tap

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Counters count what did not reach one observer, over all its taps.
type Counters struct {
	Dropped atomic.Uint64 // records and events
	Failed  atomic.Uint64 // batches
}

// Tap feeds one observer. The first record after a quiet time goes at once; then what comes waits in a bounded queue while
// the observer is busy, and at least gatherFor, so that under load it goes in batches and no request wakes anybody. What
// finds the queue full, and what the observer failed to take, is dropped and counted. Safe for concurrent use.
type Tap struct {
	name     string
	observer sdk.Observer
	counters *Counters
	fail     func(name string, err error)

	mu     sync.Mutex
	next   sdk.Batch
	closed bool

	wake  chan struct{} // something waits
	full  chan struct{} // much waits, or nothing comes any more
	ended chan struct{}
	stop  context.CancelFunc

	told   time.Time // when fail was last told
	untold uint64    // batches that failed since
}

const (
	bound     = 8192      // records and events that wait
	much      = bound / 8 // this many wait no longer than for the observer
	gatherFor = 10 * time.Millisecond
	tellEvery = 10 * time.Second // while something goes on failing
	stopGrace = time.Second      // for an observer to notice that its context has ended
)

// New starts feeding o, which is called name in errors and whose counters c are. ctx bounds its calls. fail, which
// may be nil, is told of errors: of the first at once, of more at most every 10 s. Close ends it.
func New(ctx context.Context, name string, o sdk.Observer, c *Counters, fail func(name string, err error)) *Tap {
	ctx, stop := context.WithCancel(ctx)
	t := &Tap{
		name: name, observer: o, counters: c, fail: fail,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1), ended: make(chan struct{}), stop: stop,
	}
	go t.run(ctx)
	return t
}

// Record hands over a copy of the record of an exchange. It never waits. What the record refers to must not change any more.
func (t *Tap) Record(r *sdk.Record) {
	t.mu.Lock()
	if t.admit() {
		t.next.Records = append(t.next.Records, *r)
	}
	waiting := t.waiting()
	t.mu.Unlock()
	t.came(waiting)
}

// Event hands over an event. It never waits.
func (t *Tap) Event(e sdk.Event) {
	t.mu.Lock()
	if t.admit() {
		t.next.Events = append(t.next.Events, e)
	}
	waiting := t.waiting()
	t.mu.Unlock()
	t.came(waiting)
}

// Close hands over what waits and ends the tap; when ctx ends first, what is left is dropped. An observer that goes on
// although its context has ended is left behind, and the error says so.
func (t *Tap) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	poke(t.wake)
	poke(t.full)
	defer t.stop()
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
	}
	t.stop()
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-t.ended:
		return fmt.Errorf("observer %s: %w", t.name, ctx.Err())
	case <-grace.C:
		return fmt.Errorf("observer %s ignores its context and still runs: %w", t.name, ctx.Err())
	}
}

func (t *Tap) admit() bool {
	if t.closed || t.waiting() >= bound {
		t.lose(1)
		return false
	}
	return true
}

// lose counts n records and events as dropped; t.mu is held.
func (t *Tap) lose(n uint64) {
	t.next.Dropped += n
	t.counters.Dropped.Add(n)
}

// waiting is how many records and events wait; t.mu is held.
func (t *Tap) waiting() int { return len(t.next.Records) + len(t.next.Events) }

// came wakes whom it has to when one more waits. The others it need not: the first has, and what is dropped waits for the
// next batch to tell of it.
func (t *Tap) came(waiting int) {
	switch waiting {
	case 1:
		poke(t.wake)
	case much:
		poke(t.full)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (t *Tap) run(ctx context.Context) {
	defer close(t.ended)
	pause := time.NewTimer(gatherFor)
	defer pause.Stop()
	var spare []sdk.Record
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
		}
		select {
		case <-t.full: // said of what is taken now
		default:
		}
		t.mu.Lock()
		b, closed := t.next, t.closed
		n := uint64(t.waiting())
		if ctx.Err() != nil { // nobody reads on
			t.closed = true
			t.lose(n)
			t.mu.Unlock()
			return
		}
		if n > 0 { // else what was dropped waits for a batch to tell of it
			t.next = sdk.Batch{Records: spare}
		}
		t.mu.Unlock()
		if n > 0 {
			begun := time.Now()
			if err := t.observe(ctx, b); err != nil {
				t.failed(err, n, b.Dropped)
			}
			spare = nil
			if about := len(b.Records); about > 0 { // come until the next batch, and no request makes room for them
				spare = make([]sdk.Record, 0, about+about/4)
			}
			pause.Reset(gatherFor - time.Since(begun))
			if !closed {
				t.gather(ctx, pause.C)
			}
		}
		if closed {
			return
		}
	}
}

// gather waits until it is time for the next batch.
func (t *Tap) gather(ctx context.Context, over <-chan time.Time) {
	select {
	case <-over:
	case <-t.full:
	case <-ctx.Done():
	}
}

// failed counts a batch of n that was not taken; the next one says so, and what this one would have said.
func (t *Tap) failed(err error, n, dropped uint64) {
	t.mu.Lock()
	t.lose(n)
	t.next.Dropped += dropped
	t.mu.Unlock()
	t.counters.Failed.Add(1)
	t.untold++
	now := time.Now()
	if t.fail == nil || !t.told.IsZero() && now.Sub(t.told) < tellEvery {
		return
	}
	if t.untold > 1 {
		err = fmt.Errorf("%d batches, the last: %w", t.untold, err)
	}
	t.told, t.untold = now, 0
	t.fail(t.name, err)
}

func (t *Tap) observe(ctx context.Context, b sdk.Batch) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, v)
		}
	}()
	return t.observer.Observe(ctx, b)
}
