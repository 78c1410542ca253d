package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// observers hands batches to the plugin's observers: each has a goroutine of its own and a bounded queue.
type observers struct {
	all    []*observer
	logger *slog.Logger
	wait   sync.WaitGroup
	cancel context.CancelFunc
}

// maxWaiting is how many records and events wait for one observer; what comes beyond is dropped and counted.
const maxWaiting = 16384

type observer struct {
	spec sdk.ObserverSpec

	mu      sync.Mutex
	waiting sdk.Batch
	closed  bool
	ready   chan struct{} // holds one token while something waits or closed is set
}

func newObservers(specs []sdk.ObserverSpec, logger *slog.Logger) *observers {
	o := &observers{logger: logger}
	for _, s := range specs {
		o.all = append(o.all, &observer{spec: s, ready: make(chan struct{}, 1)})
	}
	return o
}

func (o *observers) start(ctx context.Context) {
	ctx, o.cancel = context.WithCancel(ctx)
	for _, b := range o.all {
		o.wait.Go(func() { o.run(ctx, b) })
	}
}

// stop lets the observers take what waits, cancels those that need more than patience and returns when all have ended.
// What is offered later is dropped. An observer that ignores its context is reported.
func (o *observers) stop(patience time.Duration) error {
	for _, b := range o.all {
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
		b.signal()
	}
	ended := make(chan struct{})
	go func() {
		o.wait.Wait()
		close(ended)
	}()
	defer o.cancel()
	cut := time.AfterFunc(patience, o.cancel)
	defer cut.Stop()
	grace := time.NewTimer(patience + cutGrace)
	defer grace.Stop()
	select {
	case <-ended:
		return nil
	case <-grace.C:
		return errors.New("an observer ignores its context and still runs")
	}
}

func (o *observers) has(name string) bool {
	return slices.ContainsFunc(o.all, func(b *observer) bool { return b.spec.Name == name })
}

// offer gives b to the observers of those names; to all when there are none. It never waits.
func (o *observers) offer(b sdk.Batch, names []string) {
	for _, one := range o.all {
		if len(names) == 0 || slices.Contains(names, one.spec.Name) {
			one.offer(b)
		}
	}
}

func (b *observer) offer(more sdk.Batch) {
	b.mu.Lock()
	w := &b.waiting
	room := maxWaiting - len(w.Records) - len(w.Events)
	if b.closed {
		room = 0
	}
	w.Dropped += more.Dropped
	// Each observer may keep and change what it is handed, so nothing is shared but what a record points to.
	n := min(room, len(more.Records))
	w.Records = append(w.Records, more.Records[:n]...)
	m := min(room-n, len(more.Events))
	w.Events = append(w.Events, more.Events[:m]...)
	w.Dropped += uint64(len(more.Records) - n + len(more.Events) - m)
	b.mu.Unlock()
	b.signal()
}

func (b *observer) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (o *observers) run(ctx context.Context, b *observer) {
	for range b.ready {
		b.mu.Lock()
		batch, closed := b.waiting, b.closed
		b.waiting = sdk.Batch{}
		b.mu.Unlock()
		if len(batch.Records)+len(batch.Events) > 0 || batch.Dropped > 0 {
			if err := observe(ctx, b.spec.Observer, batch, o.logger); err != nil {
				o.logger.Error("observer failed", "observer", b.spec.Name, "error", err,
					"records", len(batch.Records), "events", len(batch.Events))
			}
		}
		if closed {
			return
		}
	}
}

func observe(ctx context.Context, o sdk.Observer, b sdk.Batch, logger *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			logger.Error("observer panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", sdk.ErrPanic, p)
		}
	}()
	return o.Observe(ctx, b)
}
