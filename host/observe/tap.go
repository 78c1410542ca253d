package observe

import (
	"context"
	"fmt"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Tap feeds one observer. Records and events wait in a bounded queue while the observer is busy, so that batches form by
// themselves under load; what finds the queue full is dropped and counted. Safe for concurrent use.
type Tap struct {
	name     string
	observer sdk.Observer
	fail     func(name string, err error)

	mu      sync.Mutex
	next    sdk.Batch
	dropped uint64 // in all
	errors  uint64
	closed  bool

	wake  chan struct{}
	ended chan struct{}
	stop  context.CancelFunc
}

const tapBound = 8192 // records and events that wait

// NewTap starts feeding o. ctx bounds its calls; fail, which may be nil, is told of each error. Close ends it.
func NewTap(ctx context.Context, name string, o sdk.Observer, fail func(name string, err error)) *Tap {
	ctx, stop := context.WithCancel(ctx)
	t := &Tap{
		name: name, observer: o, fail: fail,
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

// Stats returns how many records and events were dropped, and how many batches failed, so far.
func (t *Tap) Stats() (dropped, failed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped, t.errors
}

// Close hands over what waits and ends the tap; when ctx ends first, what is left is dropped.
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
		t.stop()
		<-t.ended
		return fmt.Errorf("observer %s: %w", t.name, ctx.Err())
	}
}

func (t *Tap) admit() bool {
	if t.closed || len(t.next.Records)+len(t.next.Events) >= tapBound {
		t.next.Dropped++
		t.dropped++
		return false
	}
	return true
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
			return
		}
		t.mu.Lock()
		b, closed := t.next, t.closed
		t.next = sdk.Batch{}
		t.mu.Unlock()
		if len(b.Records)+len(b.Events) > 0 {
			if err := t.observe(ctx, b); err != nil {
				t.mu.Lock()
				t.errors++
				t.mu.Unlock()
				if t.fail != nil {
					t.fail(t.name, err)
				}
			}
		}
		if closed {
			return
		}
	}
}

func (t *Tap) observe(ctx context.Context, b sdk.Batch) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, v)
		}
	}()
	return t.observer.Observe(ctx, b)
}
