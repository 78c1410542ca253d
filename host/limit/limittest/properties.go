package limittest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

// cancelled asks with a context that has ended: judged from memory, or its error and nothing else.
func cancelled(t *tester) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := join(rate("a", 2, time.Hour), quota("a", 2, time.Hour))
	var v limit.Verdict
	if err := t.Take(ctx, &a, &v); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// rates are such as people write, and such as they do not.
func rates(r *rand.Rand) limit.Rate {
	per := []time.Duration{time.Millisecond, time.Second, 7 * time.Second, time.Minute, time.Hour, 24 * time.Hour}[r.IntN(6)]
	requests := []float64{0.3, 1, 1.5, 3, 7, 10, 60, 100, 1000}[r.IntN(9)]
	return limit.Rate{Requests: requests, Per: per}
}

// gap is a time between two requests: none, short, about what the rate gives, and long ones now and then.
func gap(r *rand.Rand, every float64) time.Duration {
	d := 0.0
	switch r.IntN(10) {
	case 0, 1, 2, 3:
	case 4, 5, 6:
		d = r.Float64() * every
	case 7, 8:
		d = r.ExpFloat64() * every
	default:
		d = r.Float64() * every * 50
	}
	return time.Duration(d).Truncate(time.Microsecond)
}

// neverOver: over any stretch of any pattern of arrivals, no more pass than burst + rate × time.
func neverOver(t *tester) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		a := rate(string(rune('a'+round)), 0, 0)
		limited := rates(r)
		a.Rates[0].Rate = limited
		every := float64(limited.Per) / limited.Requests
		// The stretch with the most passed over its due, ending now: what a bucket of that burst would have used.
		excess := 0.0
		for range 200 {
			d := gap(r, every)
			t.Advance(d)
			excess = max(0, excess-float64(d)/every)
			v := t.take(a)
			if v.Passed() {
				excess++
			}
			if excess > limited.Burst()+1e-3 {
				t.Fatalf("%v: %v more passed than rate × time, burst is %v", limited, excess, limited.Burst())
			}
			if !v.Passed() && excess+1 < limited.Burst()-1e-3 {
				t.Fatalf("%v: refused with %v used of %v", limited, excess, limited.Burst())
			}
		}
	}
}

// neverBelow: who keeps within burst and rate is never refused, whatever the pattern.
func neverBelow(t *tester) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 20 {
		a := rate(string(rune('a'+round)), 0, 0)
		limited := rates(r)
		a.Rates[0].Rate = limited
		every := float64(limited.Per) / limited.Requests
		used := 0.0
		for n := range 200 {
			d := gap(r, every)
			used = max(0, used-float64(d)/every)
			if need := used + 1 - limited.Burst(); need > 0 {
				wait := (time.Duration(need*every) + 2*time.Microsecond).Truncate(time.Microsecond)
				d += wait
				used -= float64(wait) / every
			}
			used = max(0, used) + 1
			t.Advance(d)
			if v := t.take(a); !v.Passed() {
				t.Fatalf("%v: request %d refused with %v of %v used: %+v", limited, n, used, limited.Burst(), v)
			}
		}
	}
}
