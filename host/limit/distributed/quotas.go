package distributed

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

const (
	believed     = time.Second // how long a total is believed that no beat has brought up to date
	reserveEach  = 10          // requests per gateway that are judged exactly at the end of a quota
	reserveBeats = 2           // and those of so many beats
	addedAtOnce  = 500         // quotas in one call
)

// tally is a quota as this gateway knows it.
type tally struct {
	window atomic.Pointer[window]
	asked  atomic.Int64 // when last
	quota  atomic.Pointer[limit.QuotaBucket]
}

// window is one of a quota's windows; the next one is another.
type window struct {
	begun   atomic.Int64 // on Redis's clock, in microseconds; 0: not known yet
	ends    atomic.Int64 // on this gateway's; 0: never, or it has not begun
	total   atomic.Int64 // in Redis, when it was last asked
	pending atomic.Int64 // passed here and not yet in total
	synced  atomic.Int64 // when total was; 0: never
	recent  atomic.Int64 // what all used in the last beat, or half of the one before if that is more
	last    atomic.Int64 // total at the last beat
}

func (w *window) used() int64 { return w.total.Load() + w.pending.Load() }

func (w *window) over(now int64) bool {
	ends := w.ends.Load()
	return ends != 0 && now >= ends
}

// quotas are all tallies of a gateway.
type quotas struct {
	members *members
	table   *memory.Table[tally]
}

func newQuotas(m *members) *quotas { return &quotas{members: m, table: memory.NewTable[tally]()} }

// get returns a quota's tally.
func (q *quotas) get(b *limit.QuotaBucket, now int64) *tally {
	h := q.table.Hash(b.Key)
	t := q.table.Get(h, b.Key)
	if t == nil {
		t = q.table.Put(h, b.Key, nil, func(t *tally) { t.window.Store(&window{}) })
	}
	if last := t.asked.Load(); now-last > int64(believed)/4 || last == 0 {
		t.asked.Store(now)
	}
	if known := t.quota.Load(); known == nil || known.Renewal != b.Renewal {
		copied := *b
		t.quota.Store(&copied)
		if known != nil {
			t.window.Load().synced.Store(0) // when it ends, Redis says anew
		}
	}
	return t
}

// answer is how a quota can be judged.
type answer uint8

const (
	fromMemory answer = iota
	exhausted         // known to be used up
	fromRedis
)

// look says whether memory can judge a request.
func (q *quotas) look(t *tally, b *limit.QuotaBucket, now int64) (*window, answer) {
	w := t.window.Load()
	count := int64(q.members.count.Load())
	if q.members.away.Load() {
		return q.alone(t, w, b, now, count)
	}
	used := w.used()
	switch {
	case w.synced.Load() == 0 || now-w.synced.Load() > int64(believed) || w.over(now):
		return w, fromRedis
	case used >= b.Max:
		return w, exhausted
	case b.Max-used <= max(reserveEach*count, reserveBeats*w.recent.Load()):
		return w, fromRedis
	}
	return w, fromMemory
}

// alone judges without Redis: of what remained, this gateway may use its equal part. pending is what it has used of that.
func (q *quotas) alone(t *tally, w *window, b *limit.QuotaBucket, now, count int64) (*window, answer) {
	if w.synced.Load() == 0 && w.ends.Load() == 0 && b.Renewal > 0 || w.over(now) {
		next := &window{}
		next.ends.Store(now + int64(b.Renewal))
		t.window.CompareAndSwap(w, next)
		w = t.window.Load()
	}
	if w.pending.Load() >= max(1, (b.Max-w.total.Load()+count-1)/count) || w.used() >= b.Max {
		return w, exhausted
	}
	return w, fromMemory
}

// learn takes in what Redis said of a quota when it judged a request.
func (q *quotas) learn(t *tally, used int64, left time.Duration, now int64) {
	w := t.window.Load()
	if used == 0 || w.over(now) {
		next := &window{}
		if !t.window.CompareAndSwap(w, next) || used == 0 {
			return
		}
		w = next
	}
	if w.synced.Load() == 0 {
		w.last.Store(used)
	}
	w.ends.Store(end(left, now))
	w.total.Store(used)
	w.synced.Store(now)
}

// end is when a window ends of which so much is left; nothing left is for ever.
func end(left time.Duration, now int64) int64 {
	if left <= 0 || now+int64(left) < now {
		return 0
	}
	return now + int64(left)
}

// tell fills in the state of a quota that memory judged.
func (w *window) tell(v *limit.Verdict, i int, b *limit.QuotaBucket, now, wall int64) {
	used := w.used()
	s := limit.State{Limit: b.Max, Remaining: max(0, b.Max-used)}
	if ends := w.ends.Load(); used > 0 && ends > 0 && b.Renewal > 0 {
		s.Reset = later(wall, time.Duration(ends-now))
	}
	v.Quotas[i] = s
}

// wait is how long a window that is used up lasts, 0 if it never ends.
func (w *window) wait(now int64) time.Duration {
	ends := w.ends.Load()
	if ends == 0 {
		return 0
	}
	return time.Duration(max(1, ends-now))
}

type flushed struct {
	*tally
	*window
}

// add brings all tallies in use up to date with Redis, in as few calls as there are hundreds. Those that nobody has asked for are
// dropped once all is told.
func (q *quotas) add(ctx context.Context, redis *exact.Limiter, now int64) error {
	var all []flushed
	var deltas []exact.Delta
	q.table.Filter(func(_ limit.Key, t *tally) bool {
		w := t.window.Load()
		pending, idle := w.pending.Load(), now-t.asked.Load() > 2*int64(believed)
		if w.over(now) && w.begun.Load() != 0 {
			pending = 0 // it is no matter any more
		}
		switch {
		case pending == 0 && idle:
			return now-t.asked.Load() > int64(time.Minute)
		case pending > 0 || now-t.asked.Load() <= int64(believed):
			all = append(all, flushed{t, w})
			deltas = append(deltas, exact.Delta{Quota: *t.quota.Load(), N: pending, Begun: w.begun.Load()})
		}
		return false
	})
	for len(all) > 0 {
		n := min(addedAtOnce, len(all))
		counts := make([]exact.Count, n)
		if err := redis.Add(ctx, deltas[:n], counts); err != nil {
			return err
		}
		for i, c := range counts {
			all[i].settle(deltas[i], c, now)
		}
		all, deltas = all[n:], deltas[n:]
	}
	return nil
}

// settle takes in the reply to what was added.
func (f flushed) settle(d exact.Delta, c exact.Count, now int64) {
	w := f.window
	if d.Begun != 0 && c.Begun != d.Begun { // it was reset, or is over: what others began is known when Redis is asked
		f.tally.window.CompareAndSwap(w, &window{})
		return
	}
	if c.Begun == 0 { // nothing is used, and the first request of a window is for Redis
		return
	}
	w.begun.Store(c.Begun)
	w.ends.Store(end(c.Left, now))
	if w.synced.Load() != 0 {
		w.recent.Store(max(c.Used-w.last.Load(), w.recent.Load()/2))
	}
	w.last.Store(c.Used)
	w.total.Store(c.Used) // first, so that meanwhile it is too much and not too little
	w.pending.Add(-d.N)
	w.synced.Store(now)
}
