package local

import (
	"context"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

const writeLimit = 4096 // counts in one batch: resets wait for a batch, not for all

// change puts a counter on the list of what is to be written, once.
func (q *quotas) change(key limit.Key, c *counter) {
	if q.records == nil || c.dirty.Load() || !c.dirty.CompareAndSwap(false, true) {
		return
	}
	q.append(change{key, c})
}

func (q *quotas) append(changes ...change) {
	for _, c := range changes {
		u := &q.unsaved[q.table.Shard(c.key.Owner)]
		u.Lock()
		u.list = append(u.list, c)
		u.Unlock()
	}
}

// save waits for the right to write records.
func (q *quotas) save(ctx context.Context) (done func(), err error) {
	select {
	case q.saving <- struct{}{}:
		return func() { <-q.saving }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flush writes what has changed, and returns when the store has it. What could not be written stays on the list.
func (q *quotas) flush(ctx context.Context) error {
	if q.records == nil {
		return nil
	}
	done, err := q.save(ctx)
	if err != nil {
		return err
	}
	defer done()
	var batch []change
	for i := range q.unsaved {
		u := &q.unsaved[i]
		u.Lock()
		batch = append(batch, u.list...)
		u.list = nil
		u.Unlock()
	}
	for len(batch) > 0 {
		n := min(writeLimit, len(batch))
		if err := q.write(ctx, batch[:n]); err != nil {
			q.append(batch...)
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// write writes a batch of counters, all of them marked as dirty; they still are if it fails.
func (q *quotas) write(ctx context.Context, batch []change) error {
	changes, written := make([]counts.Change, 0, len(batch)), make([]int64, len(batch))
	for i, c := range batch {
		c.dirty.Store(false) // before it is read, so that a later change is on the list again
		used := c.used.Load()
		if written[i] = used; used == sealed { // its successor is on the list, or it was reset
			continue
		}
		count := counts.Count{Used: used, Begun: c.begun / int64(time.Millisecond)}
		if renewal := c.renewal.Load(); renewal > 0 {
			count.Ends = later(c.begun, time.Duration(renewal)).UnixMilli()
		}
		changes = append(changes, counts.Change{Name: counts.Name(c.key), Count: count})
	}
	if err := q.records.Save(ctx, changes...); err != nil {
		for i := range batch {
			batch[i].dirty.Store(true) // a second entry on the list does no harm
		}
		return unavailable("write quotas", err)
	}
	for i, c := range batch {
		c.saved.Store(written[i])
	}
	return nil
}

// reset drops counters and their records.
func (q *quotas) reset(ctx context.Context, keys []limit.Key) error {
	done, err := q.save(ctx)
	if err != nil {
		return unavailable("reset quotas", err)
	}
	defer done()
	for _, key := range keys {
		if err := q.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (q *quotas) remove(ctx context.Context, key limit.Key) error {
	h := q.table.Hash(key)
	q.loading[h.Shard()].Lock()
	defer q.loading[h.Shard()].Unlock()
	if q.records != nil { // first, so that an error leaves all as it was
		if err := q.records.Save(ctx, counts.Change{Name: counts.Name(key)}); err != nil {
			return unavailable("reset a quota", err)
		}
	}
	q.table.Drop(h, key, func(c *counter) bool {
		c.used.Store(sealed)
		return true
	})
	return nil
}

// forget drops all counters of an owner, and their records.
func (q *quotas) forget(ctx context.Context, owner string) error {
	done, err := q.save(ctx)
	if err != nil {
		return unavailable("forget quotas", err)
	}
	defer done()
	loading := &q.loading[q.table.Shard(owner)]
	loading.Lock()
	defer loading.Unlock()
	if q.records != nil {
		if err := q.records.Forget(ctx, owner); err != nil {
			return unavailable("forget quotas", err)
		}
	}
	q.table.DropOwner(owner, func(_ limit.Key, c *counter) bool {
		c.used.Store(sealed)
		return true
	})
	return nil
}
