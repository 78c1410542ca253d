package identity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	maxWaiting   = 1 << 16 // sessions
	maxWaitBytes = 256 << 20
	flushWriters = 64 // at once: a store makes one commit of those that come together
	flushAttempt = 10 * time.Second
	noneInStore  = 0 // the sum of a session that is not in the store
)

// wait is a session that waits to be written.
type wait struct {
	id      string
	session *Session
	value   []byte
	sum     uint64 // of value
	base    uint64 // of what it was made from; when the store has something else by then, others were faster
	ends    int64  // unix milliseconds, 0 never
}

// behind writes sessions some time after they were put, many together, and never over a change of others.
type behind struct {
	writer store.Writer
	sum    func([]byte) uint64
	forget func(id string) // tells that the store has something else than was cached
	failed func(error)
	every  time.Duration

	mu      sync.Mutex
	queue   map[string]*wait
	flying  map[string]*wait // being written
	bytes   int
	closed  bool
	wake    chan struct{} // room for one: there is something to write
	flushes sync.Mutex    // one flush at a time

	ctx  context.Context // of the flushes
	stop context.CancelFunc
	work sync.WaitGroup
}

func newBehind(ctx context.Context, writer store.Writer, sum func([]byte) uint64, options Options, forget func(string)) *behind {
	b := &behind{
		writer: writer, sum: sum, forget: forget, failed: options.Failed, every: options.FlushEvery,
		queue: map[string]*wait{}, flying: map[string]*wait{}, wake: make(chan struct{}, 1),
	}
	b.ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.work.Go(b.run)
	return b
}

// waiting returns what will be written for an id, or nil. It is not to be changed.
func (b *behind) waiting(id string) *wait {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.queue[id]; w != nil {
		return w
	}
	return b.flying[id]
}

// put queues a session. With the store away for long there is no room for more: store.ErrUnavailable.
func (b *behind) put(w *wait) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.queue[w.id]
	switch {
	case b.closed:
		return ErrClosed
	case old != nil:
		w.base = old.base
		b.bytes -= len(old.value)
	case len(b.queue) >= maxWaiting || b.bytes >= maxWaitBytes:
		return fmt.Errorf("%w: %d sessions wait to be written", store.ErrUnavailable, len(b.queue))
	}
	b.queue[w.id] = w
	b.bytes += len(w.value)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// drop forgets what waits for an id, since it has been written by other means.
func (b *behind) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.queue[id]; w != nil {
		b.bytes -= len(w.value)
		delete(b.queue, id)
	}
	delete(b.flying, id)
}

// run flushes a while after something was put.
func (b *behind) run() {
	timer := time.NewTimer(b.every)
	defer timer.Stop()
	for {
		select {
		case <-b.wake:
		case <-b.ctx.Done():
			return
		}
		timer.Reset(b.every)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(b.ctx, flushAttempt)
		left, err := b.flush(ctx)
		cancel()
		if left == 0 {
			continue
		}
		if b.ctx.Err() == nil {
			b.failed(fmt.Errorf("%d sessions could not be written yet: %w", left, err))
		}
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
}

// flush writes what waits, and returns how many sessions could not be written, and why.
func (b *behind) flush(ctx context.Context) (left int, err error) {
	b.flushes.Lock()
	defer b.flushes.Unlock()
	b.mu.Lock()
	b.flying, b.queue, b.bytes = b.queue, map[string]*wait{}, 0
	jobs := make(chan *wait, len(b.flying))
	for _, w := range b.flying {
		jobs <- w
	}
	b.mu.Unlock()
	close(jobs)

	var failure atomic.Pointer[error]
	var writers sync.WaitGroup
	for range min(flushWriters, len(jobs)) {
		writers.Go(func() {
			for w := range jobs {
				if failure.Load() == nil {
					if err := b.write(ctx, w); err != nil {
						failure.Store(&err)
						continue
					}
					b.landed(w)
				}
			}
		})
	}
	writers.Wait()
	if err := failure.Load(); err != nil {
		return b.requeue(), *err
	}
	return 0, nil
}

func (b *behind) landed(w *wait) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flying[w.id] == w {
		delete(b.flying, w.id)
	}
}

// requeue takes back what did not land, and returns how many sessions wait.
func (b *behind) requeue() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, w := range b.flying {
		if newer := b.queue[id]; newer != nil {
			newer.base = w.base
			continue
		}
		b.queue[id] = w
		b.bytes += len(w.value)
	}
	b.flying = map[string]*wait{}
	return len(b.queue)
}

// write puts a session into the store unless others changed it. An error that is not the session's own fault is
// returned; a session that the store can never take is given up.
func (b *behind) write(ctx context.Context, w *wait) error {
	entry := &store.Entry{Value: w.value}
	if w.ends != 0 {
		entry.Expires = time.UnixMilli(w.ends)
	}
	changed := false
	err := b.writer.Update(ctx, keyPrefix+w.id, func(old *store.Entry) (*store.Entry, error) {
		found := uint64(noneInStore)
		if old != nil {
			found = b.sum(old.Value)
		}
		if changed = found != w.base && found != w.sum; changed {
			return old, nil
		}
		return entry, nil
	})
	switch {
	case errors.Is(err, store.ErrEntry):
		b.failed(fmt.Errorf("a session is given up: %w", err))
		changed = true
	case errors.Is(err, store.ErrConflict):
		changed = true // changed by others: theirs stays
	case err != nil:
		return err
	}
	if changed {
		b.landed(w)
		b.forget(w.id)
	}
	return nil
}

// close writes what waits, and refuses more.
func (b *behind) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.work.Wait()
	left, err := b.flush(ctx)
	if left > 0 {
		return fmt.Errorf("close keys: %d sessions are lost: %w", left, err)
	}
	return nil
}
