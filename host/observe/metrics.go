package observe

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Metrics holds what the gateway counts. Routes and hooks come and go with reloads; their counters live as long as the
// Metrics, so that totals never fall. Safe for concurrent use.
type Metrics struct {
	mu     sync.Mutex
	routes map[string]*Route
	hooks  map[HookKey]*Hook
	events map[[2]string]*atomic.Uint64 // type, route
	sizes  atomic.Pointer[gauges]
	reload [2]atomic.Uint64 // good, bad
}

type gauges struct{ routes, refused int }

// NewMetrics returns empty counters.
func NewMetrics() *Metrics {
	m := &Metrics{routes: map[string]*Route{}, hooks: map[HookKey]*Hook{}, events: map[[2]string]*atomic.Uint64{}}
	m.sizes.Store(&gauges{})
	return m
}

// Route returns the counters of the route with that ID.
func (m *Metrics) Route(id string) *Route {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.routes[id]
	if r == nil {
		r = &Route{id: id}
		m.routes[id] = r
	}
	return r
}

// HookKey names a hook at its place in a route.
type HookKey struct {
	Route  string
	Phase  sdk.Phase
	Server string
	Name   string
}

// Hook returns the counters of a hook.
func (m *Metrics) Hook(k HookKey) *Hook {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hooks[k]
	if h == nil {
		h = &Hook{key: k, counts: map[string]*atomic.Int64{}}
		m.hooks[k] = h
	}
	return h
}

// Event counts an event.
func (m *Metrics) Event(kind, route string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.events[[2]string{kind, route}]
	if c == nil {
		c = &atomic.Uint64{}
		m.events[[2]string{kind, route}] = c
	}
	c.Add(1)
}

// Loaded notes the outcome of a load or reload: how many routes serve, how many are refused.
func (m *Metrics) Loaded(routes, refused int, ok bool) {
	m.sizes.Store(&gauges{routes, refused})
	if ok {
		m.reload[0].Add(1)
	} else {
		m.reload[1].Add(1)
	}
}

// Route counts the exchanges of one route.
type Route struct {
	id     string
	shards [Shards]atomic.Pointer[RouteShard]
}

// RouteShard is one shard of a route's counters.
type RouteShard struct {
	statuses [statusSlots]statusCount
	duration Histogram
	upstream Histogram
	in, out  atomic.Int64
	inFlight atomic.Int64
}

// Shard returns shard i of the route, i below Shards.
func (r *Route) Shard(i int) *RouteShard { return lazily(&r.shards[i]) }

func lazily[T any](p *atomic.Pointer[T]) *T {
	if v := p.Load(); v != nil {
		return v
	}
	p.CompareAndSwap(nil, new(T))
	return p.Load()
}

// Begin counts an exchange that begins.
func (s *RouteShard) Begin() { s.inFlight.Add(1) }

// End counts an exchange that ended with status. upstream is the time it waited for the upstream's header, 0 when it did
// not ask; in and out are body bytes.
func (s *RouteShard) End(status int, took, upstream time.Duration, in, out int64) {
	s.inFlight.Add(-1)
	s.status(status)
	s.duration.Observe(took)
	if upstream > 0 {
		s.upstream.Observe(upstream)
	}
	if in > 0 {
		s.in.Add(in)
	}
	if out > 0 {
		s.out.Add(out)
	}
}

// Statuses are counted in a small table, first come first served: an API answers with few different ones. What finds no
// room is counted under 0.
const statusSlots = 24

type statusCount struct {
	code  atomic.Int32
	count atomic.Uint64
}

func (s *RouteShard) status(code int) {
	for i := range s.statuses {
		slot := &s.statuses[i]
		have := slot.code.Load()
		if have == 0 && !slot.code.CompareAndSwap(0, int32(code)) {
			have = slot.code.Load()
		} else if have == 0 {
			have = int32(code)
		}
		if have == int32(code) || i == statusSlots-1 {
			slot.count.Add(1)
			return
		}
	}
}

// Stage is a part of the time of a hook's call.
type Stage uint8

// The stages of a call. Total is the whole of it as the chain sees it, policy included.
const (
	StageTotal Stage = iota
	StageEncode
	StageQueue
	StageWire
	StageApply
	stageEnd
)

var stageNames = [stageEnd]string{"total", "encode", "queue", "wire", "apply"}

// Hook counts the calls of one hook.
type Hook struct {
	key    HookKey
	shards [Shards]atomic.Pointer[HookShard]

	mu     sync.Mutex
	counts map[string]*atomic.Int64 // the hook's own counters
}

// HookShard is one shard of a hook's counters.
type HookShard struct {
	outcomes [sdk.Outcomes]atomic.Uint64
	stages   [stageEnd]Histogram
}

// Shard returns shard i of the hook, i below Shards.
func (h *Hook) Shard(i int) *HookShard { return lazily(&h.shards[i]) }

// Key returns what the hook was made for.
func (h *Hook) Key() HookKey { return h.key }

// maxOwnCounters bounds how many counters of its own a hook can make: names come from plugins.
const maxOwnCounters = 64

// Count adds to a counter of the hook's own; past maxOwnCounters names it is dropped.
func (h *Hook) Count(name string, delta int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counts[name]
	if c == nil {
		if len(h.counts) >= maxOwnCounters {
			return
		}
		c = &atomic.Int64{}
		h.counts[name] = c
	}
	c.Add(delta)
}

// Done counts a call that ended.
func (s *HookShard) Done(o sdk.Outcome, took time.Duration) {
	s.outcomes[o].Add(1)
	s.stages[StageTotal].Observe(took)
}

// Timings counts where the time of a call went.
func (s *HookShard) Timings(t sdk.CallTimings) {
	s.stages[StageEncode].Observe(t.Encode)
	s.stages[StageQueue].Observe(t.Queue)
	s.stages[StageWire].Observe(t.Wire)
	s.stages[StageApply].Observe(t.Apply)
}

// Histogram counts durations in buckets whose upper bounds are powers of four microseconds up to 16.8 s, enough to tell
// a function call from a round trip from a stall. The zero value is empty; safe for concurrent use.
type Histogram struct {
	buckets [histogramBuckets + 1]atomic.Uint64 // the last: above all bounds
	sum     atomic.Int64                        // nanoseconds
}

const histogramBuckets = 13 // 1 µs, 4 µs, … 4^12 µs = 16.8 s

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	us := uint64(max(d, 0)+time.Microsecond-1) / uint64(time.Microsecond)
	i := 0
	if us > 1 {
		i = (bits.Len64(us-1) + 1) / 2
	}
	h.buckets[min(i, histogramBuckets)].Add(1)
	h.sum.Add(int64(d))
}
