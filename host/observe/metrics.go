package observe

import (
	"maps"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/observe/tap"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Metrics holds what the gateway counts. Routes and hooks come and go with reloads; their counters live as long as the
// Metrics, so that totals never fall. Safe for concurrent use.
type Metrics struct {
	mu     sync.RWMutex
	routes map[string]*Route
	hooks  map[HookKey]*Hook
	taps   map[string]*tap.Counters
	events map[eventKey]*atomic.Uint64
	loaded loaded
	reload [2]atomic.Uint64 // good, bad
}

type eventKey struct{ kind, route string }

type loaded struct{ routes, refused atomic.Int64 }

// NewMetrics returns empty counters.
func NewMetrics() *Metrics {
	return &Metrics{
		routes: map[string]*Route{}, hooks: map[HookKey]*Hook{}, taps: map[string]*tap.Counters{},
		events: map[eventKey]*atomic.Uint64{},
	}
}

// found returns the value of a key, made when it is not there yet. Those that are there are found side by side.
func found[K comparable, V any](mu *sync.RWMutex, in map[K]*V, k K, make func() *V) *V {
	mu.RLock()
	v := in[k]
	mu.RUnlock()
	if v != nil {
		return v
	}
	mu.Lock()
	defer mu.Unlock()
	if v = in[k]; v == nil {
		v = make()
		in[k] = v
	}
	return v
}

// Prometheus takes UTF-8 only (names of plugins and definitions are anybody's), and a label that is not would cost the
// whole scrape.
func label(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// Route returns the counters of the route with that ID.
func (m *Metrics) Route(id string) *Route {
	id = label(id)
	return found(&m.mu, m.routes, id, func() *Route { return &Route{id: id} })
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
	k.Route, k.Server, k.Name = label(k.Route), label(k.Server), label(k.Name)
	return found(&m.mu, m.hooks, k, func() *Hook { return &Hook{key: k} })
}

// Tap returns the counters of the observer of that name, server/observer.
func (m *Metrics) Tap(name string) *tap.Counters {
	name = label(name)
	return found(&m.mu, m.taps, name, func() *tap.Counters { return &tap.Counters{} })
}

// Event counts an event.
func (m *Metrics) Event(kind, route string) {
	k := eventKey{label(kind), label(route)}
	found(&m.mu, m.events, k, func() *atomic.Uint64 { return &atomic.Uint64{} }).Add(1)
}

// Loaded notes the outcome of a load or reload: how many routes serve, how many are refused.
func (m *Metrics) Loaded(routes, refused int, ok bool) {
	m.loaded.routes.Store(int64(routes))
	m.loaded.refused.Store(int64(refused))
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
	others   atomic.Uint64 // exchanges whose status has no slot, or that have none
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
// room in it is counted together.
const statusSlots = 23

type statusCount struct {
	code  atomic.Int32 // 0: free
	count atomic.Uint64
}

func (s *RouteShard) status(code int) {
	if code > 0 {
		for i := range s.statuses {
			slot := &s.statuses[i]
			have := slot.code.Load()
			if have == 0 && !slot.code.CompareAndSwap(0, int32(code)) {
				have = slot.code.Load()
			}
			if have == 0 || have == int32(code) {
				slot.count.Add(1)
				return
			}
		}
	}
	s.others.Add(1)
}

// The stages of a hook's call. The total is the whole of it as the chain sees it, policy included.
const (
	stageTotal = iota
	stageEncode
	stageQueue
	stageWire
	stageApply
	stageEnd
)

var stageNames = [stageEnd]string{"total", "encode", "queue", "wire", "apply"}

// Hook counts the calls of one hook.
type Hook struct {
	key    HookKey
	shards [Shards]atomic.Pointer[HookShard]

	mu     sync.Mutex
	counts atomic.Pointer[map[string]*atomic.Int64] // the hook's own; replaced by a larger one under mu
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

// Names of counters come from plugins: how many a hook can make, and how long they are, is bounded.
const (
	maxOwnCounters = 64
	maxCounterName = 128 // bytes
)

// Count adds to a counter of the hook's own; a hook may count down. Beyond maxOwnCounters names, and for a name longer
// than maxCounterName, nothing is counted.
func (h *Hook) Count(name string, delta int64) {
	if c := h.own(name); c != nil {
		c.Add(delta)
	}
}

func (h *Hook) own(name string) *atomic.Int64 {
	if m := h.counts.Load(); m != nil {
		if c := (*m)[name]; c != nil {
			return c
		}
	}
	if len(name) > maxCounterName {
		return nil
	}
	name = label(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string]*atomic.Int64{}
	if m := h.counts.Load(); m != nil {
		if c := (*m)[name]; c != nil {
			return c
		}
		if len(*m) >= maxOwnCounters {
			return nil
		}
		next = maps.Clone(*m)
	}
	c := &atomic.Int64{}
	next[name] = c
	h.counts.Store(&next)
	return c
}

// Done counts a call that ended; an outcome that there is not, which only a server can have told, as garbage.
func (s *HookShard) Done(o sdk.Outcome, took time.Duration) {
	if int(o) >= sdk.Outcomes {
		o = sdk.OutcomeGarbage
	}
	s.outcomes[o].Add(1)
	s.stages[stageTotal].Observe(took)
}

// Timings counts where the time of a call went.
func (s *HookShard) Timings(t sdk.CallTimings) {
	s.stages[stageEncode].Observe(t.Encode)
	s.stages[stageQueue].Observe(t.Queue)
	s.stages[stageWire].Observe(t.Wire)
	s.stages[stageApply].Observe(t.Apply)
}

// Histogram counts durations in buckets whose upper bounds are powers of four microseconds up to 16.8 s, enough to tell
// a function call from a round trip from a stall. The zero value is empty; safe for concurrent use.
type Histogram struct {
	buckets [histogramBuckets + 1]atomic.Uint64 // the last: above all bounds
	sum     atomic.Int64                        // nanoseconds
}

const histogramBuckets = 13 // 1 µs, 4 µs, … 4^12 µs = 16.8 s

// Observe counts d; a negative one as 0.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0) // the sum of a histogram never falls
	us := (uint64(d) + uint64(time.Microsecond) - 1) / uint64(time.Microsecond)
	i := 0
	if us > 1 {
		i = (bits.Len64(us-1) + 1) / 2
	}
	h.buckets[min(i, histogramBuckets)].Add(1)
	h.sum.Add(int64(d))
}
