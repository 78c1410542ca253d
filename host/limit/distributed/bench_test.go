package distributed

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

func plenty(owner string) *limit.Ask {
	r := limit.Rate{Requests: 1e9, Per: time.Second}
	return &limit.Ask{
		Rates: []limit.RateBucket{
			{Key: limit.Key{Owner: owner}, Rate: r}, {Key: limit.Key{Owner: owner, Scope: "weather"}, Rate: r}, {Key: limit.Key{Owner: "weather"}, Rate: r},
		},
		Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: owner}, Max: 1 << 50, Renewal: time.Hour}},
	}
}

// heated is a gateway that has heard from Redis of every quota; no more messages come.
func heated(t testing.TB, asks ...*limit.Ask) *Limiter {
	l := newLimiter(Options{Beat: beat, Now: time.Now}, nil)
	now := l.mono(time.Now())
	for _, a := range asks {
		for i := range a.Quotas {
			w := l.quotas.get(&a.Quotas[i], now).window.Load()
			w.total.Store(1)
			w.synced.Store(now + int64(time.Hour))
		}
	}
	return l
}

func TestTakeAllocatesNothing(t *testing.T) {
	a := plenty("k")
	l := heated(t, a)
	var v limit.Verdict
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.Take(ctx, a, &v); err != nil || !v.Passed() {
			t.Fatal(err, v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	var asks []*limit.Ask
	for i := range 1000 {
		asks = append(asks, plenty("3f2a9c0d1e4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978"+strconv.Itoa(i)))
	}
	l := heated(b, asks...)
	var goroutines atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var v limit.Verdict
		for i := int(goroutines.Add(1)) * 7919; pb.Next(); i++ {
			if err := l.Take(b.Context(), asks[i%len(asks)], &v); err != nil || !v.Passed() {
				b.Fatal(v, err)
			}
		}
	})
}

// BenchmarkBeat is what 10,000 active buckets cost at each beat.
func BenchmarkBeat(b *testing.B) {
	var asks []*limit.Ask
	for i := range 10_000 {
		a := plenty("owner" + strconv.Itoa(i))
		a.Rates, a.Quotas = a.Rates[:1], nil
		asks = append(asks, a)
	}
	l := heated(b)
	l.members.expect(3, 0)
	var v limit.Verdict
	now := l.mono(time.Now())
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for _, a := range asks {
			_ = l.Take(b.Context(), a, &v)
		}
		now += int64(beat)
		l.members.expect(3, now)
		l.members.hear(l.members.self, 0, now)
		b.StartTimer()
		if m := l.beat(now); len(m[0].loads) == 0 {
			b.Fatal("nothing to tell")
		}
	}
}
