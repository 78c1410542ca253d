package tap

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// taker is an observer that takes batches while its gate lets it, and fails or panics when told.
type taker struct {
	gate chan struct{} // nil: open; one value lets one batch through
	deaf bool          // ignores its context

	mu      sync.Mutex
	batches []sdk.Batch
	err     error
	panics  any
}

func (o *taker) Observe(ctx context.Context, b sdk.Batch) error {
	if o.gate != nil {
		if o.deaf {
			<-o.gate
		}
		select {
		case <-o.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.panics != nil {
		panic(o.panics)
	}
	if o.err != nil {
		return o.err
	}
	o.batches = append(o.batches, b)
	return nil
}

func (o *taker) set(err error, panics any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.panics = err, panics
}

func (o *taker) took() (records, events int, dropped uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.batches {
		records, events, dropped = records+len(b.Records), events+len(b.Events), dropped+b.Dropped
	}
	return records, events, dropped
}

func mustClose(t *testing.T, tap *Tap) {
	t.Helper()
	if err := tap.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &taker{}
		c := &Counters{}
		tap := New(t.Context(), "s/o", o, c, func(_ string, err error) { t.Error(err) })
		tap.Record(&sdk.Record{Status: 200})
		tap.Event(sdk.Event{Type: "E"})
		synctest.Wait()
		if records, events, dropped := o.took(); records != 1 || events != 1 || dropped != 0 {
			t.Errorf("took %d records, %d events, %d dropped", records, events, dropped)
		}
		mustClose(t, tap)
		mustClose(t, tap)
		tap.Record(&sdk.Record{})
		tap.Event(sdk.Event{})
		if c.Dropped.Load() != 2 || c.Failed.Load() != 0 {
			t.Errorf("dropped %d, failed %d", c.Dropped.Load(), c.Failed.Load())
		}
	})
}

// The first of what comes goes at once, what follows in batches: after a pause, or when there is much.
func TestGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &taker{}
		tap := New(t.Context(), "s/o", o, &Counters{}, nil)
		begun := time.Now()
		took := func(what string, after time.Duration, batches, want int) {
			t.Helper()
			synctest.Wait()
			records, _, _ := o.took()
			o.mu.Lock()
			got := len(o.batches)
			o.mu.Unlock()
			if time.Since(begun) != after || got != batches || records != want {
				t.Errorf("%s: %d records in %d batches after %v, want %d in %d", what, records, got, time.Since(begun), want, batches)
			}
		}
		put := func(n int) {
			for range n {
				tap.Record(&sdk.Record{})
				synctest.Wait()
			}
		}
		put(3)
		took("the first", 0, 1, 1)
		<-time.After(gatherFor)
		took("after the pause", gatherFor, 2, 3)
		put(much - 1)
		took("not yet much", gatherFor, 2, 3)
		put(1)
		took("much", gatherFor, 3, 3+much)
		put(1)
		took("what was said of much is forgotten", gatherFor, 3, 3+much)
		<-time.After(time.Second)
		put(1)
		took("after a quiet time", gatherFor+time.Second, 5, 5+much)
		put(1)
		mustClose(t, tap)
		took("at the end", gatherFor+time.Second, 6, 6+much)
	})
}

// A slow observer makes batches, then drops; nobody waits, and it is told how many it missed.
func TestSlowObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &taker{gate: make(chan struct{})}
		c := &Counters{}
		tap := New(t.Context(), "s/o", o, c, nil)
		tap.Record(&sdk.Record{})
		synctest.Wait() // the first batch is with the observer
		for range bound {
			tap.Record(&sdk.Record{})
		}
		for range 5 {
			tap.Event(sdk.Event{})
		}
		tap.mu.Lock()
		waiting := len(tap.next.Records) + len(tap.next.Events)
		tap.mu.Unlock()
		if waiting != bound || c.Dropped.Load() != 5 {
			t.Errorf("%d wait, %d dropped", waiting, c.Dropped.Load())
		}
		o.gate <- struct{}{}
		o.gate <- struct{}{}
		synctest.Wait()
		o.mu.Lock()
		if len(o.batches) != 2 || len(o.batches[1].Records) != bound || o.batches[1].Dropped != 5 {
			t.Errorf("%d batches", len(o.batches))
		}
		o.mu.Unlock()
		tap.Record(&sdk.Record{}) // there is room again, and nothing more to say of what was dropped
		o.gate <- struct{}{}
		mustClose(t, tap)
		if records, _, dropped := o.took(); records != bound+2 || dropped != 5 {
			t.Errorf("took %d, %d dropped", records, dropped)
		}
	})
}

// Batches that the observer failed to take are counted, the next one says how much was in them, and the log is not
// flooded.
func TestFailingObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := errors.New("away")
		o := &taker{err: away}
		c := &Counters{}
		var told []error
		tap := New(t.Context(), "s/o", o, c, func(name string, err error) {
			if name != "s/o" {
				t.Error(name)
			}
			told = append(told, err)
		})
		for range 30 {
			tap.mu.Lock() // both at once: one by one they may come to two batches
			tap.next.Records = append(tap.next.Records, sdk.Record{})
			tap.next.Events = append(tap.next.Events, sdk.Event{})
			tap.mu.Unlock()
			poke(tap.wake)
			<-time.After(time.Second)
		}
		if len(told) != 3 || !errors.Is(told[0], away) || !strings.Contains(told[1].Error(), "10 batches") {
			t.Errorf("told %v", told)
		}
		if c.Failed.Load() != 30 || c.Dropped.Load() != 60 {
			t.Errorf("failed %d, dropped %d", c.Failed.Load(), c.Dropped.Load())
		}
		<-time.After(tellEvery)
		o.set(nil, "oops")
		tap.Record(&sdk.Record{})
		synctest.Wait()
		if last := told[len(told)-1]; len(told) != 4 || !errors.Is(last, sdk.ErrPanic) || !strings.Contains(last.Error(), "oops") {
			t.Errorf("told %v", told)
		}
		o.set(nil, nil)
		tap.Record(&sdk.Record{})
		mustClose(t, tap)
		if records, _, dropped := o.took(); records != 1 || dropped != 61 {
			t.Errorf("took %d, told of %d dropped, want 1 and 61", records, dropped)
		}
	})
}

func TestClose(t *testing.T) {
	t.Run("hands over what waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := &taker{gate: make(chan struct{})}
			tap := New(t.Context(), "s/o", o, &Counters{}, nil)
			for range 10 {
				tap.Record(&sdk.Record{})
				synctest.Wait()
			}
			go func() {
				for range 2 {
					o.gate <- struct{}{}
				}
			}()
			mustClose(t, tap)
			if records, _, _ := o.took(); records != 10 {
				t.Errorf("took %d of 10", records)
			}
		})
	})
	t.Run("is bounded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := &taker{gate: make(chan struct{})}
			c := &Counters{}
			tap := New(t.Context(), "s/o", o, c, nil)
			tap.Record(&sdk.Record{})
			synctest.Wait()
			tap.Record(&sdk.Record{})
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			start := time.Now()
			if err := tap.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			if c.Dropped.Load() != 2 {
				t.Errorf("%d dropped, want both", c.Dropped.Load())
			}
		})
	})
	t.Run("leaves a deaf observer behind", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := &taker{gate: make(chan struct{}), deaf: true}
			tap := New(t.Context(), "s/o", o, &Counters{}, nil)
			tap.Record(&sdk.Record{})
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := tap.Close(ctx); err == nil || !strings.Contains(err.Error(), "ignores its context") {
				t.Errorf("got %v", err)
			}
			close(o.gate)
			<-tap.ended
		})
	})
	t.Run("with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			c := &Counters{}
			tap := New(ctx, "s/o", &taker{}, c, nil)
			cancel()
			<-tap.ended
			tap.Record(&sdk.Record{})
			mustClose(t, tap)
			if c.Dropped.Load() != 1 {
				t.Errorf("%d dropped", c.Dropped.Load())
			}
		})
	})
}

// Every record is taken or counted as dropped, none twice.
func TestConcurrent(t *testing.T) {
	const workers, each = 8, 5_000
	o := &taker{}
	c := &Counters{}
	tap := New(t.Context(), "s/o", o, c, nil)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range each {
				tap.Record(&sdk.Record{})
			}
		})
	}
	all.Wait()
	mustClose(t, tap)
	records, _, dropped := o.took()
	if uint64(records)+c.Dropped.Load() != workers*each || dropped > c.Dropped.Load() {
		t.Errorf("took %d, dropped %d (told of %d), of %d", records, c.Dropped.Load(), dropped, workers*each)
	}
}
