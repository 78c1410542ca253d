package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	counterShards = 64
	// A counter that nobody used for so long is looked up on disk when it is needed again.
	counterIdle   = 2 * time.Minute
	flushedAtOnce = 1024
)

// Count is a number and the end of the period it counts for; the zero Time is no end.
type Count struct {
	N    int64
	Ends time.Time
}

// Counters are numbers that change too often to be written each time, like what is left of a quota. They change in
// memory, are written within a second, and by Close. A process that is killed loses that second.
type Counters struct {
	store  *Store
	seed   maphash.Seed
	shards [counterShards]counterShard
	flush  sync.Mutex // one at a time, or an older number could be written after a newer one
	turn   int        // the shard to forget idle counters in; under flush
	closed atomic.Bool
}

type counterShard struct {
	mu     sync.Mutex
	counts map[string]*counter
	dirty  map[string]*counter
}

type counter struct {
	Count
	used time.Time
}

func newCounters(s *Store) *Counters {
	c := &Counters{store: s, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].counts, c.shards[i].dirty = map[string]*counter{}, map[string]*counter{}
	}
	return c
}

// Update changes one counter and returns what it is then. change gets the zero Count when there is none, or when its
// end has come, and what it returns is kept; returning the zero Count removes it. change runs under a lock that other
// counters share: it computes, and calls nothing. It fails when the store is closed or its file cannot be read, and not
// because a disk is full: what cannot be written now is written when it can.
func (c *Counters) Update(key string, change func(Count) Count) (Count, error) {
	if err := store.CheckKey(key); err != nil {
		return Count{}, err
	}
	now := c.store.options.Now()
	shard := &c.shards[maphash.String(c.seed, key)%counterShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if c.closed.Load() { // under the lock: what got in before, the last flush sees
		return Count{}, store.ErrClosed
	}
	n := shard.counts[key]
	if n == nil {
		stored, err := c.read(key)
		if err != nil {
			return Count{}, err
		}
		n = &counter{Count: stored}
		shard.counts[key] = n
	}
	n.used = now
	old := n.Count
	if !old.Ends.IsZero() && !now.Before(old.Ends) {
		old = Count{}
	}
	if next := change(old); next != n.Count {
		n.Count = next
		shard.dirty[key] = n
	}
	return n.Count, nil
}

// Get returns a counter, the zero Count when there is none.
func (c *Counters) Get(key string) (Count, error) {
	return c.Update(key, func(n Count) Count { return n })
}

func (c *Counters) read(key string) (n Count, err error) {
	r, err := c.store.readers.acquire()
	if err != nil {
		return Count{}, err
	}
	defer c.store.readers.release(r, &err)
	r.key = append(r.key[:0], key...)
	found, record := r.counters.Seek(r.key)
	if !bytes.Equal(found, r.key) {
		return Count{}, nil
	}
	return parseCount(record)
}

// A counter's record is an entry's with 8 bytes of value.
func appendCount(b []byte, n Count) []byte {
	return appendRecord(b, store.Entry{Value: binary.BigEndian.AppendUint64(nil, uint64(n.N)), Expires: n.Ends})
}

func parseCount(record []byte) (Count, error) {
	e, err := parseRecord(record)
	if err == nil && len(e.Value) != 8 {
		err = fmt.Errorf("%w: a counter of %d bytes", store.ErrCorrupt, len(e.Value))
	}
	if err != nil {
		return Count{}, err
	}
	return Count{N: int64(binary.BigEndian.Uint64(e.Value)), Ends: e.Expires}, nil
}

// Flush writes what has changed. It returns when it is on disk.
func (c *Counters) Flush(ctx context.Context) error {
	c.flush.Lock()
	defer c.flush.Unlock()
	for i := range c.shards {
		if err := c.flushShard(ctx, &c.shards[i]); err != nil {
			return err
		}
	}
	return nil
}

type counterWrite struct {
	key string
	Count
}

// flushShard writes a shard's changes a bounded number at a time.
func (c *Counters) flushShard(ctx context.Context, shard *counterShard) error {
	for {
		writes := shard.take()
		if len(writes) == 0 {
			return nil
		}
		if err := c.store.do(ctx, len(writes), 64*len(writes), func(b *batch) error { return b.count(writes) }); err != nil {
			shard.giveBack(writes)
			return err
		}
	}
}

func (s *counterShard) take() []counterWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	var writes []counterWrite
	for key, n := range s.dirty {
		if len(writes) == flushedAtOnce {
			break
		}
		writes = append(writes, counterWrite{key, n.Count})
		delete(s.dirty, key)
	}
	return writes
}

// giveBack marks what could not be written. It is still in memory: only Flush forgets, and not what is dirty.
func (s *counterShard) giveBack(writes []counterWrite) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		s.dirty[w.key] = s.counts[w.key]
	}
}

func (b *batch) count(writes []counterWrite) error {
	for _, w := range writes {
		b.wrote = true
		if w.Count == (Count{}) {
			if err := b.counters.Delete([]byte(w.key)); err != nil {
				return err
			}
			continue
		}
		if err := b.counters.Put([]byte(w.key), appendCount(nil, w.Count)); err != nil {
			return err
		}
	}
	return nil
}

// flusher writes counters now and then, and forgets those that nobody uses, one shard at a time.
func (c *Counters) flusher() {
	tick := time.NewTicker(c.store.options.FlushEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.store.ctx.Done():
			return
		case <-tick.C:
			_ = c.Flush(c.store.ctx) // the store's status tells; what failed is tried again
			c.forget(&c.shards[c.turn%counterShards])
			c.turn++
		}
	}
}

func (c *Counters) forget(shard *counterShard) {
	c.flush.Lock() // what is being written could still be given back
	defer c.flush.Unlock()
	before := c.store.options.Now().Add(-counterIdle)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for key, n := range shard.counts {
		if _, dirty := shard.dirty[key]; !dirty && n.used.Before(before) {
			delete(shard.counts, key)
		}
	}
}

// close writes the last changes. Whoever changes a counter now gets ErrClosed.
func (c *Counters) close() error {
	c.closed.Store(true)
	return c.Flush(context.WithoutCancel(c.store.ctx))
}
