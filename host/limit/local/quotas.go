package local

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

const (
	sealed = math.MinInt64
	// A counter that is written, and that nobody asked for so long, leaves memory; it is read again when needed.
	idleAfter = 5 * time.Second
)

// counter is a window of a quota. Its begin is final: another window is another counter. A counter of which nothing is used
// has no window yet.
type counter struct {
	begun   int64 // wall clock, nanoseconds
	used    atomic.Int64
	renewal atomic.Int64 // as last asked, for the end of the record
	asked   atomic.Int64 // when
	dirty   atomic.Bool  // in the list of what is to be written
	saved   atomic.Int64 // what is written
}

type quotas struct {
	table   *memory.Table[counter]
	records Records // nil: none
	// loading is held, for one shard, from before a record is read until its counter is in the table, and while both are
	// removed: so that no record becomes a counter again that is older than what memory had.
	loading [memory.Shards]sync.Mutex
	unsaved [memory.Shards]struct {
		sync.Mutex
		list []change
	}
	saving chan struct{} // held by whoever writes records, or an older count could be written after a newer one
}

type change struct {
	key limit.Key
	*counter
}

func newQuotas(records Records) *quotas {
	return &quotas{table: memory.NewTable[counter](), records: records, saving: make(chan struct{}, 1)}
}

// get returns a quota's counter, read from the records if it is not in memory. Where there is none, it gets one whose window
// may begin at once.
func (q *quotas) get(ctx context.Context, key limit.Key, wall int64) (*counter, error) {
	h := q.table.Hash(key)
	if c := q.table.Get(h, key); c != nil {
		return c, nil
	}
	if q.records == nil {
		return q.table.Put(h, key, nil, func(c *counter) { c.begun = wall }), nil
	}
	q.loading[h.Shard()].Lock()
	defer q.loading[h.Shard()].Unlock()
	if c := q.table.Get(h, key); c != nil {
		return c, nil
	}
	found, err := q.records.Get(ctx, counts.Name(key))
	if err != nil {
		return nil, unavailable("read a quota", err)
	}
	return q.table.Put(h, key, nil, func(c *counter) {
		if c.begun = nanos(found.Begun); found.Used <= 0 {
			c.begun = wall
		}
		c.used.Store(found.Used)
		c.saved.Store(found.Used)
	}), nil
}

// nanos is a time in milliseconds in nanoseconds, one that does not fit the nearest that does.
func nanos(ms int64) int64 {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return max(-most, min(ms, most)) * int64(time.Millisecond)
}

// window is what is used at a time, and since when. A window that has not begun, or is over, has nothing used. One that
// begins in the future is of a clock that went back; it begins now.
func (c *counter) window(used, wall int64, renewal time.Duration) (int64, int64) {
	switch {
	case used <= 0 || renewal > 0 && wall-c.begun >= int64(renewal):
		return 0, wall
	}
	return used, min(c.begun, wall)
}

// look tells of a quota, and returns its counter, nil when there is nothing to count.
func (q *quotas) look(ctx context.Context, i int, a *limit.Ask, v *limit.Verdict, wall int64) (*counter, error) {
	b := &a.Quotas[i]
	if b.Max <= 0 {
		return nil, nil
	}
	for {
		c, err := q.get(ctx, b.Key, wall)
		if err != nil {
			return nil, err
		}
		raw := c.used.Load()
		if raw == sealed {
			continue
		}
		if wall-c.asked.Load() > int64(idleAfter)/2 {
			c.asked.Store(wall)
		}
		if c.renewal.Load() != int64(b.Renewal) {
			c.renewal.Store(int64(b.Renewal))
		}
		used, begun := c.window(raw, wall, b.Renewal)
		tellQuota(v, i, b, used, begun, wall)
		if used >= b.Max {
			v.Refuse(limit.ByQuota, i, untilEnd(b, begun, wall))
		}
		return c, nil
	}
}

func tellQuota(v *limit.Verdict, i int, b *limit.QuotaBucket, used, begun, wall int64) {
	s := limit.State{Limit: b.Max, Remaining: max(0, b.Max-used)}
	if used > 0 && b.Renewal > 0 {
		s.Reset = later(begun, b.Renewal)
	}
	v.Quotas[i] = s
}

func untilEnd(b *limit.QuotaBucket, begun, wall int64) time.Duration {
	if b.Renewal <= 0 {
		return 0
	}
	return max(1, b.Renewal-time.Duration(wall-begun))
}

// take counts one request, and returns the counter it is in.
func (q *quotas) take(c *counter, i int, a *limit.Ask, v *limit.Verdict, wall int64) (*counter, bool) {
	b := &a.Quotas[i]
	for {
		raw := c.used.Load()
		used, begun := c.window(raw, wall, b.Renewal)
		if raw == sealed || begun != c.begun {
			next, used := q.renew(c, b, wall)
			if used > 0 {
				return next, q.took(next, v, i, b, used, wall)
			}
			c = next
			continue
		}
		if used >= b.Max {
			tellQuota(v, i, b, used, begun, wall)
			v.Refuse(limit.ByQuota, i, untilEnd(b, begun, wall))
			return c, false
		}
		if c.used.CompareAndSwap(raw, used+1) {
			return c, q.took(c, v, i, b, used+1, wall)
		}
	}
}

func (q *quotas) took(c *counter, v *limit.Verdict, i int, b *limit.QuotaBucket, used, wall int64) bool {
	q.change(b.Key, c)
	tellQuota(v, i, b, used, c.begun, wall)
	return true
}

// renew begins a window with one request in it, and returns its counter and what is used of it. 0 is that another is there
// already: ask that one.
func (q *quotas) renew(old *counter, b *limit.QuotaBucket, wall int64) (*counter, int64) {
	count := int64(0)
	c := q.table.Put(q.table.Hash(b.Key), b.Key, old, func(c *counter) {
		used := int64(0)
		if raw := old.used.Swap(sealed); raw != sealed {
			used, _ = old.window(raw, wall, b.Renewal)
		}
		if used < b.Max {
			used++
			count = used
		}
		c.begun = wall
		c.used.Store(used)
		c.saved.Store(-1)
		c.renewal.Store(int64(b.Renewal))
		c.asked.Store(wall)
	})
	return c, count
}

// giveBack undoes a take.
func (q *quotas) giveBack(key limit.Key, c *counter) {
	if c == nil {
		return
	}
	for {
		used := c.used.Load()
		if used <= 0 {
			return
		}
		if c.used.CompareAndSwap(used, used-1) {
			q.change(key, c)
			return
		}
	}
}

// sweep drops counters that memory need not keep: those that are over, and those that are written and not in use.
func (q *quotas) sweep(wall int64) {
	q.table.Sweep(func(key limit.Key, c *counter) bool {
		used := c.used.Load()
		if used == sealed {
			return true
		}
		over, _ := c.window(used, wall, time.Duration(c.renewal.Load()))
		idle := wall-c.asked.Load() > int64(idleAfter)
		if c.dirty.Load() || !idle || (q.records == nil && over > 0) || (q.records != nil && c.saved.Load() != used) {
			return false
		}
		loading := &q.loading[q.table.Shard(key.Owner)]
		if !loading.TryLock() {
			return false
		}
		defer loading.Unlock()
		return c.used.CompareAndSwap(used, sealed)
	})
}
