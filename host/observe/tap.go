package observe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TapCounters count what did not reach one observer, over all its taps.
type TapCounters struct{ dropped, failed atomic.Uint64 }

// Tap feeds one observer. Records and events wait in a bounded queue while the observer is busy, so that batches form by
// themselves under load; what finds the queue full, and what the observer failed to take, is dropped and counted. Safe
// for concurrent use.
type Tap struct {
	name     string
	observer sdk.Observer
	counters *TapCounters
	fail     func(name string, err error)

	mu     sync.Mutex
	next   sdk.Batch
	closed bool

	wake  chan struct{}
	ended chan struct{}
	stop  context.CancelFunc

	told   time.Time // when fail was last told
	untold uint64    // batches that failed since
}

const (
	tapBound  = 8192             // records and events that wait
	tellEvery = 10 * time.Second // while something goes on failing
	tapGrace  = time.Second      // for an observer to notice that its context has ended
)

// NewTap starts feeding o, which is called name in errors and whose counters c are. ctx bounds its calls. fail, which
// may be nil, is told of errors: of the first at once, of more at most every 10 s. Close ends it.
func NewTap(ctx context.Context, name string, o sdk.Observer, c *TapCounters, fail func(name string, err error)) *Tap {
	ctx, stop := context.WithCancel(ctx)
	t := &Tap{
		name: name, observer: o, counters: c, fail: fail,
		wake: make(chan struct{}, 1), ended: make(chan struct{}), stop: stop,
	}
	go t.run(ctx)
	return t
}

// Record hands over the record of an exchange. It never waits. What r points to must not change any more.
func (t *Tap) Record(r *sdk.Record) {
	t.mu.Lock()
	if t.admit() {
		t.next.Records = append(t.next.Records, *r)
	}
	t.mu.Unlock()
	t.poke()
}

// Event hands over an event. It never waits.
func (t *Tap) Event(e sdk.Event) {
	t.mu.Lock()
	if t.admit() {
		t.next.Events = append(t.next.Events, e)
	}
	t.mu.Unlock()
	t.poke()
}

// Close hands over what waits and ends the tap; when ctx ends first, what is left is dropped. An observer that goes on
// although its context has ended is left behind, and the error says so.
func (t *Tap) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.poke()
	defer t.stop()
	select {
	case <-t.ended:
		return nil
	case <-ctx.Done():
	}
	t.stop()
	grace := time.NewTimer(tapGrace)
	defer grace.Stop()
	select {
	case <-t.ended:
		return fmt.Errorf("observer %s: %w", t.name, ctx.Err())
	case <-grace.C:
		return fmt.Errorf("observer %s ignores its context and still runs: %w", t.name, ctx.Err())
	}
}

func (t *Tap) admit() bool {
	if t.closed || len(t.next.Records)+len(t.next.Events) >= tapBound {
		t.lose(1)
		return false
	}
	return true
}

// lose counts n records and events as dropped; t.mu is held.
func (t *Tap) lose(n uint64) {
	t.next.Dropped += n
	t.counters.dropped.Add(n)
}

func (t *Tap) poke() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *Tap) run(ctx context.Context) {
	defer close(t.ended)
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
		}
		t.mu.Lock()
		b, closed := t.next, t.closed
		n := uint64(len(b.Records) + len(b.Events))
		if ctx.Err() != nil { // nobody reads on
			t.closed = true
			t.lose(n)
			t.mu.Unlock()
			return
		}
		if n > 0 { // else what was dropped waits for a batch to tell of it
			t.next = sdk.Batch{}
		}
		t.mu.Unlock()
		if n > 0 {
			if err := t.observe(ctx, b); err != nil {
				t.failed(err, n, b.Dropped)
			}
		}
		if closed {
			return
		}
	}
}

// failed counts a batch of n that was not taken; the next one says so, and what this one would have said.
func (t *Tap) failed(err error, n, dropped uint64) {
	t.mu.Lock()
	t.lose(n)
	t.next.Dropped += dropped
	t.mu.Unlock()
	t.counters.failed.Add(1)
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
