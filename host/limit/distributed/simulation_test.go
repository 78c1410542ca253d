package distributed

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

// world is gateways in simulated time, that hear each other late and not at the same moment.
type world struct {
	t        *testing.T
	r        *rand.Rand
	now      int64
	gateways []*simulated
	post     []letter
	deaf     bool // nothing published arrives
}

type simulated struct {
	*Limiter
	next int64 // beat
	dead bool
}

type letter struct {
	at int64
	to *simulated
	m  message
}

const beat = 200 * time.Millisecond

func newWorld(t *testing.T, seed uint64, gateways int) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 7))}
	for range gateways {
		w.join(gateways)
	}
	return w
}

// join adds a gateway that Redis has told how many there are.
func (w *world) join(known int) *simulated {
	epoch := time.Unix(1_800_000_000, 0)
	g := &simulated{}
	g.Limiter = newLimiter(Options{Beat: beat, Now: func() time.Time { return epoch.Add(time.Duration(w.now)) }}, nil)
	g.began, g.members.heard[g.members.self] = epoch, w.now
	g.members.expect(known, w.now)
	g.next = w.now + w.r.Int64N(int64(beat))
	w.gateways = append(w.gateways, g)
	return g
}

// step lets a millisecond pass.
func (w *world) step() {
	w.now += int64(time.Millisecond)
	left := w.post[:0]
	for _, l := range w.post {
		if l.at > w.now {
			left = append(left, l)
			continue
		}
		if !l.to.dead {
			l.to.hear(&l.m, w.now)
		}
	}
	w.post = left
	for _, g := range w.gateways {
		if g.dead || w.now < g.next {
			continue
		}
		g.next += int64(beat)
		for _, m := range g.beat(w.now) {
			var copied message
			if err := copied.parse(m.append(nil)); err != nil {
				w.t.Fatal(err)
			}
			for _, to := range w.gateways {
				if !w.deaf {
					w.post = append(w.post, letter{w.now + w.r.Int64N(int64(20*time.Millisecond)), to, copied})
				}
			}
		}
	}
}

// run lets time pass while each gateway is asked so many times per second, at random moments, and returns how many of
// them passed at each.
func (w *world) run(d time.Duration, rate limit.Rate, demands ...float64) []int {
	w.t.Helper()
	passed := make([]int, len(w.gateways))
	a := &limit.Ask{Rates: []limit.RateBucket{{Key: limit.Key{Owner: "k"}, Rate: rate}}}
	var v limit.Verdict
	for end := w.now + int64(d); w.now < end; {
		w.step()
		for i, g := range w.gateways {
			if g.dead || i >= len(demands) {
				continue
			}
			for n := demands[i] / 1000 * 2 * w.r.Float64(); n > w.r.Float64(); n-- {
				if err := g.Take(w.t.Context(), a, &v); err != nil {
					w.t.Fatal(err)
				}
				if v.Passed() {
					passed[i]++
				}
			}
		}
	}
	return passed
}

func sum(n []int) float64 {
	total := 0
	for _, m := range n {
		total += m
	}
	return float64(total)
}

// within fails unless the sum is within 10 % of the limit, and half a percent or two requests of chance.
func (w *world) within(what string, passed []int, d time.Duration, rate limit.Rate) {
	w.t.Helper()
	want := rate.Requests * float64(d) / float64(rate.Per)
	w.t.Logf("%s: %v of %.0f (%+.1f %%)", what, passed, want, 100*(sum(passed)/want-1))
	if got := sum(passed); math.Abs(got-want) > want*0.1+2 {
		w.t.Errorf("%s: %v passed, %.0f in all, the limit is %.0f (%+.1f %%)", what, passed, got, want, 100*(got/want-1))
	}
}

// Who turns up at all gateways at once, before any has told of it, gets the burst and no more: what one has given out it does
// not give out again because it has not heard yet what the others have.
func TestBurstAtOnce(t *testing.T) {
	for seed := range uint64(20) {
		for gateways := 2; gateways <= 5; gateways++ {
			w := newWorld(t, seed, gateways)
			for range 1000 { // they come to know of each other
				w.step()
			}
			demands := make([]float64, gateways)
			for i := range demands {
				demands[i] = 1000
			}
			rate := limit.Rate{Requests: 60, Per: time.Hour}
			if got := sum(w.run(2*time.Second, rate, demands...)); got < 54 || got > 68 {
				t.Errorf("%d gateways let %.0f pass of a burst of 60", gateways, got)
			}
		}
	}
}

// Whatever the distribution and the limit: 2 s after traffic has taken it on, the sum is within 10 % of the limit, and no
// gateway is left without.
func TestSumWithinTenPercent(t *testing.T) {
	distributions := [][]float64{{1, 1, 1}, {10, 1, 1}, {1, 0, 0}, {0.9, 0.1, 0}, {0.7, 0.3, 0.02}, {1, 2, 3, 4, 5}, {1, 1}, {5, 1, 1, 1, 1, 1, 1, 1}}
	rates := []limit.Rate{{Requests: 100, Per: time.Second}, {Requests: 1000, Per: time.Second}, {Requests: 90, Per: time.Second}, {Requests: 6000, Per: time.Minute}, {Requests: 600, Per: time.Minute}}
	for i, distribution := range distributions {
		for j, rate := range rates {
			for k, over := range []float64{1.1, 2, 10} {
				if (i+j+k)%4 != 0 && os.Getenv("TURNBUCKLE_SOAK") == "" {
					continue
				}
				w := newWorld(t, uint64(100*i+10*j+k), len(distribution))
				if rate.Requests < divisible*float64(len(distribution)) {
					continue
				}
				total, demands := 0.0, make([]float64, len(distribution))
				for _, d := range distribution {
					total += d
				}
				for g, d := range distribution {
					demands[g] = over * perSecond(rate) * d / total
				}
				first := sum(w.run(2*time.Second, rate, demands...))
				if most := rate.Burst()*1.1 + 1.1*2*perSecond(rate); first > most {
					t.Errorf("%v of %v: %v passed in the first 2 s, burst and rate are %v", demands, rate, first, most/1.1)
				}
				// The burst is used up, or the sum could not be told from the limit; by others than in the end.
				w.r.Shuffle(len(demands), func(a, b int) { demands[a], demands[b] = demands[b], demands[a] })
				flood := make([]float64, len(demands))
				for g := range demands {
					flood[g] = 20 / over * demands[g]
				}
				for sum(w.run(time.Second, rate, flood...)) > 1.5*perSecond(rate) {
				}
				w.r.Shuffle(len(demands), func(a, b int) { demands[a], demands[b] = demands[b], demands[a] })
				w.run(2*time.Second, rate, demands...)
				const d = 10 * time.Second
				w.within("steady", w.run(d, rate, demands...), d, rate)
				if t.Failed() {
					t.Fatalf("%v asked of %v", demands, rate)
				}
			}
		}
	}
}

// A gateway that joins gets its share, one that dies frees its, and one that leaves does at once; it stays one limit.
func TestJoinAndDie(t *testing.T) {
	for _, rate := range []limit.Rate{{Requests: 100, Per: time.Second}, {Requests: 60, Per: time.Second}, {Requests: 2000, Per: 10 * time.Second}} {
		w := newWorld(t, 42, 3)
		each := 3 * perSecond(rate)
		w.run(12*time.Second, rate, each, each, each)
		const d = 10 * time.Second
		w.within("three", w.run(d, rate, each, each, each), d, rate)
		w.join(4)
		w.within("four, at once", w.run(2*time.Second, rate, each, each, each, each), 2*time.Second, limit.Rate{Requests: rate.Requests * 1.1, Per: rate.Per})
		passed := w.run(d, rate, each, each, each, each)
		w.within("four", passed, d, rate)
		for i, n := range passed {
			if got := float64(n) / sum(passed); got < 0.15 || got > 0.35 {
				t.Errorf("%v: gateway %d of four has %.2f of what passed", rate, i, got)
			}
		}
		w.gateways[1].dead = true
		w.run(2*time.Second, rate, each, each, each, each)
		w.within("one killed", w.run(d, rate, each, each, each, each), d, rate)
		if n := w.gateways[0].members.count.Load(); n != 3 {
			t.Errorf("%d gateways are left, want 3", n)
		}
		w.gateways[2].dead = true
		for _, g := range w.gateways {
			g.hear(&message{sender: w.gateways[2].members.self, flags: flagBye}, w.now)
		}
		w.run(beat, rate, each, each, each, each)
		if n := w.gateways[0].members.count.Load(); n != 2 {
			t.Errorf("%d gateways are left, want 2", n)
		}
		w.within("one left", w.run(d, rate, each, each, each, each), d, rate)
	}
}

// While Redis is away each goes on with the share it had: together no more than the limit. When it is back it is one limit
// again.
func TestAway(t *testing.T) {
	rate := limit.Rate{Requests: 200, Per: time.Second}
	w := newWorld(t, 43, 3)
	demands := []float64{600, 200, 100}
	w.run(4*time.Second, rate, demands...)
	w.deaf = true
	w.within("going away", w.run(2*time.Second, rate, demands...), 2*time.Second, limit.Rate{Requests: rate.Requests * 1.1, Per: rate.Per})
	const d = 20 * time.Second
	passed := w.run(d, rate, demands...)
	w.within("away", passed, d, rate)
	if float64(passed[0]) < 2.5*float64(passed[1]) {
		t.Errorf("the shares changed while nobody was heard: %v", passed)
	}
	for _, g := range w.gateways {
		if n, connected := g.Gateways(); n != 3 || connected {
			t.Errorf("%d gateways, connected %v", n, connected)
		}
	}
	if got := w.run(d, limit.Rate{Requests: 6, Per: time.Second}, 100, 100, 100); sum(got) > 6*21*1.1 || sum(got) < 6*20*0.9 {
		t.Errorf("a small limit while away: %v passed of 120", got)
	}
	w.deaf = false
	w.run(2*time.Second, rate, demands...)
	w.within("back", w.run(d, rate, demands...), d, rate)
	if n, connected := w.gateways[0].Gateways(); n != 3 || !connected {
		t.Errorf("%d gateways, connected %v", n, connected)
	}
}

// Callers below the limit are not refused, however they are distributed: steadily, or changing gateways.
func TestBelowTheLimit(t *testing.T) {
	rate := limit.Rate{Requests: 100, Per: time.Second}
	for _, demands := range [][]float64{{20, 20, 20}, {80, 0, 0}, {40, 10, 1}, {1, 0, 0}} {
		w := newWorld(t, 44, 3)
		w.run(2*time.Second, rate, demands...)
		asked, passed := 0.0, 0.0
		for range 10 {
			const d = 2 * time.Second
			for _, n := range demands {
				asked += n * d.Seconds()
			}
			passed += sum(w.run(d, rate, demands...))
			w.r.Shuffle(len(demands), func(a, b int) { demands[a], demands[b] = demands[b], demands[a] })
		}
		t.Logf("%v: %.0f of about %.0f passed", demands, passed, asked)
		if passed < 0.93*asked {
			t.Errorf("%v: %.0f of about %.0f passed", demands, passed, asked)
		}
	}
}
