package observe

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// bucketOf is the index of the bucket that counts d, found by observing it.
func bucketOf(t *testing.T, d time.Duration) int {
	t.Helper()
	var h Histogram
	h.Observe(d)
	at := -1
	for i := range h.buckets {
		switch n := h.buckets[i].Load(); {
		case n == 1 && at < 0:
			at = i
		case n != 0:
			t.Fatalf("%v: buckets %v", d, &h.buckets)
		}
	}
	return at
}

// wantBucket is what Prometheus says: the first bucket whose upper bound is not below the value.
func wantBucket(d time.Duration) int {
	bound := time.Microsecond
	for i := range histogramBuckets {
		if d <= bound {
			return i
		}
		bound *= 4
	}
	return histogramBuckets
}

func TestHistogramEdges(t *testing.T) {
	bound := time.Microsecond
	for i := range histogramBuckets {
		for d, want := range map[time.Duration]int{bound - 1: wantBucket(bound - 1), bound: i, bound + 1: i + 1} {
			if got := bucketOf(t, d); got != want {
				t.Errorf("%v is in bucket %d, want %d", d, got, want)
			}
		}
		bound *= 4
	}
	for d, want := range map[time.Duration]int{0: 0, 1: 0, -time.Hour: 0, math.MinInt64: 0, math.MaxInt64: histogramBuckets} {
		if got := bucketOf(t, d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

func TestHistogramBucketIsPrometheus(t *testing.T) {
	same := func(mantissa uint32, shift uint8) bool {
		d := time.Duration(mantissa) << (shift % 31)
		return bucketOf(t, d) == wantBucket(d)
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func TestHistogramSumNeverFalls(t *testing.T) {
	var h Histogram
	h.Observe(time.Second)
	h.Observe(-time.Hour)
	if got := time.Duration(h.sum.Load()); got != time.Second {
		t.Errorf("sum %v, want 1s", got)
	}
}

func statusCounts(r *Route) (byCode map[int]uint64, others uint64) {
	byCode = map[int]uint64{}
	for i := range r.shards {
		if s := r.shards[i].Load(); s != nil {
			for j := range s.statuses {
				if c := s.statuses[j].code.Load(); c != 0 {
					byCode[int(c)] += s.statuses[j].count.Load()
				}
			}
			others += s.others.Load()
		}
	}
	return byCode, others
}

func TestStatusSlots(t *testing.T) {
	r := NewMetrics().Route("r")
	s := r.Shard(0)
	for code := 200; code < 200+statusSlots+5; code++ {
		s.status(code)
		s.status(code)
	}
	s.status(0) // nobody set one
	s.status(-7)
	s.status(200)
	byCode, others := statusCounts(r)
	if len(byCode) != statusSlots || byCode[200] != 3 || byCode[200+statusSlots-1] != 2 || others != 5*2+2 {
		t.Errorf("got %v, others %d", byCode, others)
	}
}

// A status of 0 must not be counted under the code that comes next.
func TestStatusZeroIsNoCode(t *testing.T) {
	r := NewMetrics().Route("r")
	r.Shard(1).status(0)
	r.Shard(1).status(204)
	if byCode, others := statusCounts(r); byCode[204] != 1 || others != 1 {
		t.Errorf("got %v, others %d", byCode, others)
	}
}

func TestOwnCounters(t *testing.T) {
	h := NewMetrics().Hook(HookKey{Name: "h"})
	for i := range maxOwnCounters + 10 {
		h.Count(fmt.Sprint("c", i), 2)
	}
	h.Count("c0", -5)
	h.Count("c9999", 1)                               // no room
	h.Count(strings.Repeat("x", maxCounterName+1), 1) // too long
	if own := *h.counts.Load(); len(own) != maxOwnCounters || own["c0"].Load() != -3 || own["c1"].Load() != 2 {
		t.Errorf("%d counters, c0 %v, c1 %v", len(own), own["c0"], own["c1"])
	}
	other := NewMetrics().Hook(HookKey{Name: "h"})
	other.Count("a\xff", 1)
	other.Count("a\xfe", 2) // both become one name that Prometheus takes
	if own := *other.counts.Load(); len(own) != 1 || own["a\ufffd"].Load() != 3 {
		t.Errorf("got %v", own)
	}
}

func TestUnknownOutcome(t *testing.T) {
	s := NewMetrics().Hook(HookKey{}).Shard(0)
	s.Done(sdk.Outcome(sdk.Outcomes), time.Millisecond)
	s.Done(255, time.Millisecond)
	if got := s.outcomes[sdk.OutcomeGarbage].Load(); got != 2 {
		t.Errorf("%d calls counted as garbage, want 2", got)
	}
}

// Everything that requests write to, from many goroutines on all shards, while it is scraped.
func TestHammer(t *testing.T) {
	const workers, rounds = 16, 500
	m := NewMetrics()
	c := NewCollector(m)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				r := m.Route(fmt.Sprint("r", i%3)).Shard(w % Shards)
				r.Begin()
				r.End(200+i%40, time.Duration(i)*time.Microsecond, time.Microsecond, 1, 2)
				h := m.Hook(HookKey{Route: "r", Phase: sdk.Pre, Name: fmt.Sprint("h", i%3)})
				h.Shard(w%Shards).Done(sdk.Outcome(i%sdk.Outcomes), time.Microsecond)
				h.Shard(w % Shards).Timings(sdk.CallTimings{Queue: time.Microsecond})
				h.Count(fmt.Sprint("c", i%100), 1)
				m.Event("E", fmt.Sprint("r", i%3))
				m.Tap(fmt.Sprint("t", i%3)).Dropped.Add(1)
				m.Loaded(i, i, i%2 == 0)
			}
		})
	}
	all.Go(func() {
		for range 50 {
			gather(t, c)
		}
	})
	all.Wait()
	families := gather(t, c)
	const total = workers * rounds
	for name, want := range map[string]float64{
		"turnbuckle_requests_total": total, "turnbuckle_hook_calls_total": total, "turnbuckle_events_total": total,
		"turnbuckle_reloads_total": total, "turnbuckle_observer_dropped_total": total, "turnbuckle_requests_in_flight": 0,
		"turnbuckle_request_bytes_total": total, "turnbuckle_reply_bytes_total": 2 * total,
	} {
		if got := sum(families[name]); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"turnbuckle_request_duration_seconds", "turnbuckle_upstream_duration_seconds", "turnbuckle_hook_duration_seconds"} {
		if got := observations(families[name]); got != total {
			t.Errorf("%s: %d observations, want %d", name, got, total)
		}
	}
}
