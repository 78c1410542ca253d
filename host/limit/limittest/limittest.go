// Package limittest is the suite that every limit.Limiter passes, in simulated time.
package limittest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

// Subject is a limiter with nothing counted, alone with its store, and its clock.
type Subject struct {
	limit.Limiter
	// Advance moves the clock, which otherwise stands still, by whole microseconds.
	Advance func(time.Duration)
}

// Run runs the suite; open is called for each test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*tester)
	}{
		{"burst, then the rate", burst},
		{"one per period gets its one", onePerPeriod},
		{"nothing asked", nothing},
		{"all or nothing", allOrNothing},
		{"several refuse", severalRefuse},
		{"quota window", quotaWindow},
		{"quota for ever", quotaForEver},
		{"quota maxima change", quotaMaxima},
		{"renewal changes", renewalChange},
		{"rate changes", rateChange},
		{"peek", peek},
		{"reset", reset},
		{"forget", forget},
		{"names", names},
		{"huge and tiny", extremes},
		{"at once", atOnce},
		{"cancelled", cancelled},
		{"never over burst and rate", neverOver},
		{"never refused below the rate", neverBelow},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(&tester{t, open(t)}) })
	}
}

type tester struct {
	*testing.T
	Subject
}

func (t *tester) take(a limit.Ask) limit.Verdict {
	t.Helper()
	var v limit.Verdict
	if err := t.Take(t.Context(), &a, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (t *tester) peek(a limit.Ask) limit.Verdict {
	t.Helper()
	var v limit.Verdict
	if err := t.Peek(t.Context(), &a, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func (t *tester) passes(a limit.Ask, times int) {
	t.Helper()
	for i := range times {
		if v := t.take(a); !v.Passed() {
			t.Fatalf("request %d of %d: %+v", i+1, times, v)
		}
	}
}

func (t *tester) refuses(a limit.Ask, kind limit.Kind, index int) limit.Verdict {
	t.Helper()
	v := t.take(a)
	if v.Refused != kind || v.Index != index {
		t.Fatalf("refused by %v %d, want %v %d: %+v", v.Refused, v.Index, kind, index, v)
	}
	return v
}

// rate and quota ask for one bucket.
func rate(owner string, requests float64, per time.Duration) limit.Ask {
	return limit.Ask{Rates: []limit.RateBucket{{Key: limit.Key{Owner: owner}, Rate: limit.Rate{Requests: requests, Per: per}}}}
}

func quota(owner string, most int64, renewal time.Duration) limit.Ask {
	return limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: owner}, Max: most, Renewal: renewal}}}
}

func join(asks ...limit.Ask) limit.Ask {
	var all limit.Ask
	for _, a := range asks {
		all.Rates = append(all.Rates, a.Rates...)
		all.Quotas = append(all.Quotas, a.Quotas...)
	}
	return all
}

func burst(t *tester) {
	a := rate("a", 20, 10*time.Second)
	for i := range 20 {
		v := t.take(a)
		if want := int64(19 - i); !v.Passed() || v.Rates[0].Remaining != want || v.Rates[0].Limit != 20 {
			t.Fatalf("request %d: %+v", i, v)
		}
	}
	v := t.refuses(a, limit.ByRate, 0)
	if v.RetryAfter < 499*time.Millisecond || v.RetryAfter > 501*time.Millisecond || v.Rates[0].Remaining != 0 {
		t.Fatalf("when full: %+v", v)
	}
	t.Advance(v.RetryAfter - time.Millisecond)
	t.refuses(a, limit.ByRate, 0)
	t.Advance(2 * time.Millisecond)
	t.passes(a, 1)
	t.refuses(a, limit.ByRate, 0)
	t.Advance(10 * time.Second)
	t.passes(a, 20)
	t.refuses(a, limit.ByRate, 0)
}

func onePerPeriod(t *tester) {
	for _, a := range []limit.Ask{rate("second", 1, time.Second), rate("half", 0.5, time.Second), rate("third", 3, time.Second)} {
		r := a.Rates[0].Rate
		every := time.Duration(float64(r.Per)/r.Requests) + time.Microsecond
		for range 50 {
			t.passes(a, 1)
			t.Advance(every.Truncate(time.Microsecond))
		}
	}
}

func nothing(t *tester) {
	for _, a := range []limit.Ask{{}, rate("a", 0, time.Second), rate("a", -1, time.Second), rate("a", 5, 0), quota("a", 0, time.Second), quota("a", -1, 0)} {
		for range 3 {
			v := t.take(a)
			if !v.Passed() || v.RetryAfter != 0 || len(v.Rates) != len(a.Rates) || len(v.Quotas) != len(a.Quotas) {
				t.Fatalf("%+v: %+v", a, v)
			}
			for _, s := range append(v.Rates, v.Quotas...) {
				if s != (limit.State{}) {
					t.Fatalf("a bucket that bounds nothing has %+v", s)
				}
			}
		}
	}
}

func allOrNothing(t *tester) {
	wide, narrow, most := rate("wide", 100, time.Hour), rate("narrow", 2, time.Hour), quota("most", 50, time.Hour)
	all := join(wide, narrow, most)
	t.passes(all, 2)
	for range 5 {
		v := t.refuses(all, limit.ByRate, 1)
		if v.Rates[0].Limit != 100 || v.Rates[0].Remaining != 98 || v.Rates[1].Limit != 2 || v.Rates[1].Remaining != 0 || v.Quotas[0].Limit != 50 {
			t.Fatalf("a refusal does not tell of all: %+v", v)
		}
	}
	v := t.peek(all)
	if v.Rates[0].Remaining != 98 || v.Quotas[0].Remaining != 48 {
		t.Fatalf("a request that one bucket refused took from others: %+v", v)
	}
	few := quota("few", 1, time.Hour)
	all = join(wide, most, few)
	t.passes(all, 1)
	for range 5 {
		t.refuses(all, limit.ByQuota, 1)
	}
	if v := t.peek(all); v.Rates[0].Remaining != 97 || v.Quotas[0].Remaining != 47 {
		t.Fatalf("a request that a quota refused took from others: %+v", v)
	}
}

func severalRefuse(t *tester) {
	short, long, most := rate("short", 1, time.Second), rate("long", 1, time.Minute), quota("most", 1, time.Hour)
	t.passes(join(short, long, most), 1)
	v := t.refuses(join(short, long, most), limit.ByRate, 0)
	if v.RetryAfter < 59*time.Second || v.RetryAfter > 61*time.Second {
		t.Errorf("retry after %v, want the longest of both", v.RetryAfter)
	}
	t.Advance(time.Minute)
	v = t.refuses(join(short, long, most), limit.ByQuota, 0)
	if v.RetryAfter < 58*time.Minute || v.RetryAfter > 60*time.Minute {
		t.Errorf("retry after %v, want when the window ends", v.RetryAfter)
	}
}

func quotaWindow(t *tester) {
	a := quota("a", 3, time.Minute)
	if v := t.peek(a); v.Quotas[0].Remaining != 3 || !v.Quotas[0].Reset.IsZero() {
		t.Fatalf("before the first: %+v", v)
	}
	t.Advance(time.Hour) // a window begins with its first request, not with the quota
	v := t.take(a)
	first := v.Quotas[0].Reset
	if !v.Passed() || first.IsZero() || v.Quotas[0].Remaining != 2 || v.Quotas[0].Limit != 3 {
		t.Fatalf("the first: %+v", v)
	}
	t.Advance(30 * time.Second)
	t.passes(a, 2)
	v = t.refuses(a, limit.ByQuota, 0)
	if v.RetryAfter < 29*time.Second || v.RetryAfter > 31*time.Second || v.Quotas[0].Remaining != 0 {
		t.Fatalf("over: %+v", v)
	}
	if moved := v.Quotas[0].Reset.Sub(first).Abs(); moved > 5*time.Second {
		t.Fatalf("the end of the window moved by %v", moved)
	}
	t.Advance(29 * time.Second)
	t.refuses(a, limit.ByQuota, 0)
	t.Advance(2 * time.Second)
	if v := t.take(a); !v.Passed() || v.Quotas[0].Remaining != 2 {
		t.Fatalf("in the next window: %+v", v)
	}
}

func quotaForEver(t *tester) {
	a := quota("a", 2, 0)
	t.passes(a, 2)
	for range 3 {
		if v := t.refuses(a, limit.ByQuota, 0); v.RetryAfter != 0 || !v.Quotas[0].Reset.IsZero() {
			t.Fatalf("a quota that never renews: %+v", v)
		}
		t.Advance(1000 * time.Hour)
	}
}

func quotaMaxima(t *tester) {
	t.passes(quota("a", 10, time.Hour), 6)
	for _, test := range []struct{ most, remaining int64 }{{20, 14}, {7, 1}, {6, 0}, {3, 0}, {10, 4}} {
		if v := t.peek(quota("a", test.most, time.Hour)); v.Quotas[0].Remaining != test.remaining || v.Passed() != (test.remaining > 0) {
			t.Errorf("after 6 of 10, with %d: %+v", test.most, v)
		}
	}
	t.refuses(quota("a", 5, time.Hour), limit.ByQuota, 0)
	t.passes(quota("a", 7, time.Hour), 1)
	t.refuses(quota("a", 7, time.Hour), limit.ByQuota, 0)
}

func renewalChange(t *tester) {
	t.passes(quota("a", 2, time.Hour), 2)
	t.Advance(2 * time.Minute)
	t.refuses(quota("a", 2, time.Hour), limit.ByQuota, 0)
	t.refuses(quota("a", 2, 3*time.Minute), limit.ByQuota, 0)
	t.passes(quota("a", 2, time.Minute), 1)
}

func rateChange(t *tester) {
	t.passes(rate("a", 100, time.Hour), 30)
	t.refuses(rate("a", 20, time.Hour), limit.ByRate, 0)
	if v := t.take(rate("a", 50, time.Hour)); !v.Passed() || v.Rates[0].Remaining != 19 {
		t.Fatalf("after 31 of 100, with 50: %+v", v)
	}
	if v := t.take(rate("a", 1000, time.Hour)); !v.Passed() || v.Rates[0].Remaining != 968 {
		t.Fatalf("with 1000: %+v", v)
	}
}

func peek(t *tester) {
	a := join(rate("a", 2, time.Hour), quota("a", 2, time.Hour))
	for range 5 {
		if v := t.peek(a); !v.Passed() || v.Rates[0].Remaining != 2 || v.Quotas[0].Remaining != 2 {
			t.Fatalf("peek: %+v", v)
		}
	}
	t.passes(a, 2)
	v := t.peek(a)
	if v.Refused != limit.ByRate || v.Rates[0].Remaining != 0 || v.Quotas[0].Remaining != 0 || v.Quotas[0].Reset.IsZero() {
		t.Fatalf("when used up: %+v", v)
	}
}

func reset(t *tester) {
	a := join(quota("a", 2, time.Hour), rate("a", 100, time.Hour))
	other := quota("b", 2, time.Hour)
	t.passes(a, 2)
	t.passes(other, 2)
	if err := t.Reset(t.Context(), a.Quotas[0].Key, limit.Key{Owner: "nobody"}); err != nil {
		t.Fatal(err)
	}
	if v := t.peek(a); v.Quotas[0].Remaining != 2 || !v.Quotas[0].Reset.IsZero() || v.Rates[0].Remaining != 98 {
		t.Fatalf("after a reset: %+v", v)
	}
	t.refuses(other, limit.ByQuota, 0)
	t.passes(a, 2)
	t.refuses(a, limit.ByQuota, 0)
}

func forget(t *tester) {
	in := func(owner, scope string) limit.Ask {
		a := join(rate(owner, 1, time.Hour), quota(owner, 1, time.Hour))
		a.Rates[0].Key.Scope, a.Quotas[0].Key.Scope = scope, scope
		return a
	}
	all := []limit.Ask{in("a", ""), in("a", "x"), in("a", "y/z"), in("ab", ""), in("", "a")}
	for _, a := range all {
		t.passes(a, 1)
	}
	if err := t.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for i, a := range all {
		if v := t.peek(a); v.Passed() != (i < 3) {
			t.Errorf("%+v: %+v", a, v)
		}
	}
}

func names(t *tester) {
	long := make([]byte, 3000)
	for i := range long {
		long[i] = byte(i)
	}
	for _, owner := range []string{"", "a", "a}b", "{a}", "}", "{}", "a b", "a\x00b", "a/b", "ä", string(long), string(long) + "x"} {
		for _, scope := range []string{"", "a", "}", "/", string(long), string(long) + "x"} {
			a := join(rate(owner, 1, time.Hour), quota(owner, 1, time.Hour))
			a.Rates[0].Key.Scope, a.Quotas[0].Key.Scope = scope, scope
			t.passes(a, 1)
			t.refuses(a, limit.ByRate, 0)
			t.refuses(limit.Ask{Quotas: a.Quotas}, limit.ByQuota, 0)
		}
	}
}

func extremes(t *tester) {
	tiny := rate("tiny", 1e-9, 1<<63-1)
	t.passes(tiny, 1)
	t.refuses(tiny, limit.ByRate, 0)
	t.Advance(24 * 365 * time.Hour)
	t.refuses(tiny, limit.ByRate, 0)
	for _, a := range []limit.Ask{rate("huge", 1e18, 1), rate("huger", 1e300, time.Hour), quota("huge", 1<<62, 1<<63-1), quota("short", 1<<62, 1)} {
		t.passes(a, 100)
		t.Advance(24 * 365 * time.Hour)
		t.passes(a, 100)
	}
}

// atOnce asks from many goroutines: exactly as many pass as may, and what was refused took nothing.
func atOnce(t *tester) {
	a := join(rate("wide", 100, time.Hour), rate("narrow", 60, time.Hour), quota("few", 50, time.Hour))
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var v limit.Verdict
			for range 20 {
				if err := t.Take(t.Context(), &a, &v); err != nil {
					t.Error(err)
				}
				if v.Passed() {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	v := t.peek(a)
	if passed.Load() != 50 || v.Rates[0].Remaining != 50 || v.Rates[1].Remaining != 10 || v.Quotas[0].Remaining != 0 {
		t.Errorf("%d passed, then %+v", passed.Load(), v)
	}
}
