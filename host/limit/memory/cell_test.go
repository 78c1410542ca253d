package memory_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/quick"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/memory"
)

// bucket replaces its cell when that is gone, as limiters do.
type bucket struct {
	*memory.Cell
	rate limit.Rate
}

func newBucket(r limit.Rate, now int64) *bucket {
	b := &bucket{Cell: new(memory.Cell), rate: r}
	b.SetRate(r, now, 0)
	return b
}

func (b *bucket) take(t testing.TB, now int64) (memory.Level, bool) {
	for range 3 {
		level, out := b.Take(now)
		if out != memory.Gone {
			return level, out == memory.Passed
		}
		used := b.Seal(now)
		b.Cell = new(memory.Cell)
		b.SetRate(b.rate, now, used)
	}
	t.Fatal("a new cell is gone at once")
	return memory.Level{}, false
}

// anyRate is any rate, from less than one in an age to more than a processor counts.
func anyRate(r *rand.Rand) limit.Rate {
	return limit.Rate{Requests: math.Pow(10, r.Float64()*18-6), Per: time.Duration(math.Pow(10, r.Float64()*18))}
}

// meter is the bucket of the definition, in floating point: what is used over the rate at any time.
type meter struct {
	rate limit.Rate
	used float64
}

func (m *meter) advance(d int64) {
	if d > 0 {
		m.used = max(0, m.used-float64(d)/float64(m.rate.Per)*m.rate.Requests)
	}
}

// Over any pattern of arrivals, with a clock that jumps and goes back, no more pass than burst + rate × time, time being
// what the clock has moved forward.
func TestCellNeverOver(t *testing.T) {
	property := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 1))
		rate := anyRate(r)
		m := meter{rate: rate}
		now := r.Int64N(1 << 40)
		b := newBucket(rate, now)
		every := float64(rate.Per) / rate.Requests
		for range 300 {
			step := int64(min(r.ExpFloat64()*every, 1<<60))
			switch r.IntN(40) {
			case 0:
				step = -r.Int64N(max(1, 2*step+1)) // back
			case 1:
				step = r.Int64N(1 << 60) // years ahead
			case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14:
				step = 0
			}
			if step > 0 && now > math.MaxInt64-step || step < 0 && now < math.MinInt64-step {
				now, step = math.MinInt64/2, 0 // past what the clock can tell: it goes back
			}
			now += step
			m.advance(step)
			if _, ok := b.take(t, now); ok {
				m.used++
			}
			if over := m.used - rate.Burst(); over > 1e-5*max(1, rate.Burst()) {
				t.Logf("%v: %v used of %v", rate, m.used, rate.Burst())
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// Who stays within burst and rate is never refused, over millions of requests' worth of time.
func TestCellNeverBelow(t *testing.T) {
	property := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 2))
		rate := anyRate(r)
		if float64(rate.Per)/rate.Requests > 1<<50 {
			rate.Requests *= 1e6 // or the clock ends before there are many
		}
		m := meter{rate: rate}
		now := r.Int64N(1 << 40)
		b := newBucket(rate, now)
		every := float64(rate.Per) / rate.Requests
		for range 300 {
			step := 0.0
			switch r.IntN(8) {
			case 0, 1, 2:
				step = r.ExpFloat64() * every
			case 3:
				step = r.Float64() * every * 1e4
			}
			after := max(0, m.used-step/every)
			if need := after + 1 - rate.Burst(); need > 0 {
				step += need * every
			}
			if step > 1<<55 {
				return true
			}
			d := int64(math.Ceil(step))
			now += d
			m.advance(d)
			m.used++
			if level, ok := b.take(t, now); !ok {
				t.Logf("%v: refused with %v used of %v: %+v", rate, m.used, rate.Burst(), level)
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// One who is exactly on time for so long that a cell's time is renewed on the way.
func TestCellOnTimeForLong(t *testing.T) {
	for _, every := range []int64{1, 3, 7, 1000, 999_999_937} {
		rate := limit.Rate{Requests: 1, Per: time.Duration(every)}
		b := newBucket(rate, 5)
		now, passed := int64(5), 0
		for i := range int64(100_000) {
			if i%1000 == 999 {
				now += every * (1 << 20) // a long rest, to a multiple of its period
			}
			if _, ok := b.take(t, now); !ok {
				t.Fatalf("one every %d ns: refused after %d", every, passed)
			}
			if _, ok := b.take(t, now+every/2); ok && every > 1 {
				t.Fatalf("one every %d ns: another passed halfway, after %d", every, passed)
			}
			passed++
			now += every
		}
	}
}

// A clock that went back by an hour delays by the time of one burst, not by an hour.
func TestCellClockBack(t *testing.T) {
	rate := limit.Rate{Requests: 10, Per: time.Second}
	for _, back := range []time.Duration{time.Millisecond, time.Second, time.Hour, 290 * 365 * 24 * time.Hour} {
		now := int64(back) + int64(time.Hour)
		b := newBucket(rate, now)
		for range 5 {
			b.take(t, now)
		}
		now -= int64(back)
		b.take(t, now)
		now += int64(200 * time.Millisecond)
		if _, ok := b.take(t, now); !ok && back > time.Second {
			t.Errorf("back by %v: still refused after the time of two", back)
		}
		now += int64(time.Second)
		for i := range 10 {
			if _, ok := b.take(t, now); !ok {
				t.Errorf("back by %v: request %d refused a period later", back, i)
			}
		}
	}
}

func TestCellGiveBack(t *testing.T) {
	rate := limit.Rate{Requests: 10, Per: time.Second}
	b := newBucket(rate, 0)
	for range 4 {
		b.take(t, 0)
	}
	level, _ := b.take(t, 0)
	b.GiveBack(0, level)
	if used := b.Used(0); math.Abs(used-4) > 1e-6 {
		t.Errorf("%v used, want 4", used)
	}
	// Given back after the bucket was empty: another's request must not vanish.
	b = newBucket(rate, 0)
	level, _ = b.take(t, 0)
	b.take(t, int64(time.Second))
	b.GiveBack(int64(time.Second), level)
	if used := b.Used(int64(time.Second)); math.Abs(used-1) > 1e-6 {
		t.Errorf("%v used, want 1", used)
	}
	if b.SealIdle(int64(time.Second)) {
		t.Error("sealed as idle with one used")
	}
	if !b.SealIdle(int64(2 * time.Second)) {
		t.Error("not idle when full")
	}
	if _, out := b.Take(int64(2 * time.Second)); out != memory.Gone {
		t.Errorf("a sealed cell says %v", out)
	}
}

func FuzzCell(f *testing.F) {
	f.Add(1.0, int64(time.Second), int64(0), int64(1), int64(-5))
	f.Add(1e-300, int64(math.MaxInt64), int64(1), int64(math.MaxInt64), int64(math.MinInt64))
	f.Add(1e300, int64(1), int64(7), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, requests float64, per, a, b, c int64) {
		rate := limit.Rate{Requests: requests, Per: time.Duration(per)}
		if rate.None() {
			return
		}
		cell := newBucket(rate, a)
		if _, ok := cell.take(t, a); !ok {
			t.Fatalf("%v: the first is refused", rate)
		}
		for _, now := range []int64{a, b, c, b, a} {
			level, ok := cell.take(t, now)
			if level.Remaining < 0 || level.Wait < 0 || level.Full < 0 || !ok && level.Wait == 0 {
				t.Fatalf("%v: at %d: %+v", rate, now, level)
			}
		}
	})
}
