package distributed

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/limittest"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// lone is a gateway without goroutines, whose beats come as its clock is advanced.
func lone(t *testing.T, addr string) (*Limiter, func(time.Duration)) {
	c := dial(t, addr)
	clock := limittest.NewClock(t, c)
	o := Options{Prefix: t.Name() + ":", Beat: beat, Now: clock.Now}
	l := newLimiter(o, exact.New(c, exact.Options{Prefix: o.Prefix, Now: clock.Now}))
	return l, func(d time.Duration) {
		if rest := 3 * beat; d > rest { // a long time without anybody listening
			clock.Advance(d - rest)
			l.members.hear(l.members.self, 0, l.mono(clock.Now()))
			d = rest
		}
		for ; d > 0; d -= beat {
			clock.Advance(min(d, beat))
			now := l.mono(clock.Now())
			for _, m := range l.beat(now) {
				l.hear(&m, now)
			}
			if err := l.quotas.add(t.Context(), l.exact, now); err != nil {
				t.Error(err)
			}
		}
	}
}

// Alone, a gateway is as exact as any other limiter.
func TestSuite(t *testing.T) {
	server := redistest.Start(t)
	limittest.Run(t, func(t *testing.T) limittest.Subject {
		l, advance := lone(t, server.Addr)
		return limittest.Subject{Limiter: l, Advance: advance}
	})
}

// gateway is a limiter that runs, and counts what it sends while it is asked.
type gateway struct {
	*Limiter
	client redis.UniversalClient
	sent   map[string]*atomic.Int64
}

func (g *gateway) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gateway) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if n := g.sent[cmd.Name()]; n != nil {
			n.Add(1)
		} else {
			g.sent["other"].Add(1)
		}
		return next(ctx, cmd)
	}
}

func (g *gateway) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func start(t *testing.T, addr string) *gateway {
	t.Helper()
	g := &gateway{sent: map[string]*atomic.Int64{"publish": {}, "evalsha": {}, "eval": {}, "other": {}}}
	g.client = dial(t, addr)
	g.client.AddHook(g)
	g.Limiter = Open(t.Context(), g.client, Options{Prefix: t.Name() + ":", Timeout: 500 * time.Millisecond})
	t.Cleanup(func() { _ = g.Close(context.WithoutCancel(t.Context())) })
	return g
}

// know waits until all gateways know of so many.
func know(t *testing.T, n int, gateways ...*gateway) {
	t.Helper()
	redistest.Await(t, strconv.Itoa(n)+" gateways to know each other", func() bool {
		for _, g := range gateways {
			if got, connected := g.Gateways(); got != n || !connected {
				return false
			}
		}
		return true
	})
}

// load asks each gateway as often per second as demands say, for so long, and returns what passed.
func drive(t *testing.T, a *limit.Ask, d time.Duration, gateways []*gateway, demands ...int) []int {
	t.Helper()
	passed := make([]int, len(gateways))
	var group sync.WaitGroup
	for i, g := range gateways {
		group.Go(func() {
			var v limit.Verdict
			begun := time.Now()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for asked := 0; ; {
				at := <-tick.C
				for ; asked < int(at.Sub(begun).Seconds()*float64(demands[i])); asked++ {
					if err := g.Take(t.Context(), a, &v); err != nil {
						t.Error(err)
						return
					}
					if v.Passed() {
						passed[i]++
					}
				}
				if at.Sub(begun) >= d {
					return
				}
			}
		})
	}
	group.Wait()
	return passed
}

// Three gateways on a real Redis, then four, then three: one limit, and no round trips for requests.
func TestGateways(t *testing.T) {
	server := redistest.Start(t)
	gateways := []*gateway{start(t, server.Addr), start(t, server.Addr), start(t, server.Addr)}
	know(t, 3, gateways...)
	rate := limit.Rate{Requests: 200, Per: time.Second}
	a := &limit.Ask{
		Rates:  []limit.RateBucket{{Key: limit.Key{Owner: "k"}, Rate: rate}},
		Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "k"}, Max: 1_000_000, Renewal: time.Hour}},
	}
	check := func(what string, d time.Duration, among []*gateway, demands ...int) {
		t.Helper()
		got := drive(t, a, d, among, demands...)
		want := rate.Requests * d.Seconds()
		t.Logf("%s: %v of %.0f (%+.1f %%)", what, got, want, 100*(sum(got)/want-1))
		if sum(got) < 0.85*want || sum(got) > 1.15*want { // 10 %, and what a busy machine adds
			t.Errorf("%s: %v passed, the limit is %.0f", what, got, want)
		}
	}
	drive(t, a, 2*time.Second, gateways, 600, 100, 20)
	requests := gateways[0].sent["evalsha"].Load() + gateways[0].sent["publish"].Load()
	check("three", 3*time.Second, gateways, 600, 100, 20)
	// 3 s are 15 beats: a message each, and one call for quotas; and not one for each of 1800 requests.
	if got := gateways[0].sent["evalsha"].Load() + gateways[0].sent["publish"].Load() - requests; got > 40 {
		t.Errorf("%d commands in 3 s and 1800 requests", got)
	}
	gateways = append(gateways, start(t, server.Addr))
	know(t, 4, gateways...)
	drive(t, a, 2*time.Second, gateways, 300, 100, 20, 300)
	check("four", 3*time.Second, gateways, 300, 100, 20, 300)

	// Killed: it neither says that it goes nor anything else.
	gateways[0].stop()
	_ = gateways[0].pubsub.Close()
	gateways = gateways[1:]
	know(t, 3, gateways...)
	drive(t, a, 2*time.Second, gateways, 100, 20, 300)
	check("one killed", 3*time.Second, gateways, 100, 20, 300)

	var v limit.Verdict
	redistest.Await(t, "all counts to be added", func() bool {
		total := int64(0)
		for _, g := range gateways {
			g.quotas.table.Filter(func(_ limit.Key, w *tally) bool { total += w.window.Load().pending.Load(); return false })
		}
		return total == 0
	})
	if err := gateways[0].Peek(t.Context(), a, &v); err != nil || v.Quotas[0].Remaining >= 1_000_000-1000 {
		t.Errorf("of the quota %+v, %v", v, err)
	}
}

// Whoever is heard for the first time counts at once, and not from the next beat on: until then a caller who turns up
// everywhere would get more.
func TestNewcomersCountAtOnce(t *testing.T) {
	m := newMembers(1, int64(beat), 0)
	if m.hear(1, 0, 1); m.count.Load() != 1 {
		t.Errorf("alone, there are %d", m.count.Load())
	}
	m.expect(3, 1)
	m.hear(2, flagHello, 2)
	if m.count.Load() != 3 {
		t.Errorf("of three that are to be heard there are %d", m.count.Load())
	}
	m.hear(3, flagHello, 3)
	m.hear(4, flagHello, 4)
	if m.count.Load() != 4 {
		t.Errorf("four have been heard, and there are %d", m.count.Load())
	}
	m.hear(4, flagBye, 5)
	if m.update(6); m.count.Load() != 3 {
		t.Errorf("one has gone, and there are %d", m.count.Load())
	}
}

// A quota over several gateways is not overshot while the traffic is steady, and what all used is in Redis.
func TestQuotaOverGateways(t *testing.T) {
	server := redistest.Start(t)
	gateways := []*gateway{start(t, server.Addr), start(t, server.Addr), start(t, server.Addr)}
	know(t, 3, gateways...)
	a := &limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "k"}, Max: 1000, Renewal: time.Hour}}}
	got := drive(t, a, 2500*time.Millisecond, gateways, 500, 150, 50)
	if sum(got) > 1000+20 || sum(got) < 1000 {
		t.Errorf("%v passed of 1000", got)
	}
	before := gateways[0].sent["evalsha"].Load()
	var v limit.Verdict
	for range 100 {
		if err := gateways[0].Take(t.Context(), a, &v); err != nil || v.Refused != limit.ByQuota || v.Quotas[0].Remaining != 0 {
			t.Fatal(v, err)
		}
	}
	if n := gateways[0].sent["evalsha"].Load() - before; n > 20 {
		t.Errorf("%d round trips for 100 requests over a quota", n)
	}
	if err := gateways[1].Reset(t.Context(), a.Quotas[0].Key); err != nil {
		t.Fatal(err)
	}
	redistest.Await(t, "a reset to reach another gateway", func() bool {
		return gateways[0].Take(t.Context(), a, &v) == nil && v.Passed()
	})
}

// Without Redis requests go on, small limits included; and what passed meanwhile is in the quota when it is back.
func TestRedisAway(t *testing.T) {
	server := redistest.Start(t)
	g := start(t, server.Addr)
	know(t, 1, g)
	a := &limit.Ask{
		Rates: []limit.RateBucket{
			{Key: limit.Key{Owner: "k"}, Rate: limit.Rate{Requests: 1000, Per: time.Second}},
			{Key: limit.Key{Owner: "k", Scope: "small"}, Rate: limit.Rate{Requests: 5, Per: time.Hour}},
		},
		Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "k"}, Max: 1000, Renewal: time.Hour}},
	}
	passed := 0
	take := func() {
		t.Helper()
		var v limit.Verdict
		if err := g.Take(t.Context(), a, &v); err != nil {
			t.Fatal(err)
		}
		if v.Passed() {
			passed++
		}
	}
	take()
	server.Kill()
	for range 20 {
		take()
	}
	if passed < 2 || passed > 6 {
		t.Errorf("%d passed of a small limit of 5 that was asked from Redis and then from memory", passed)
	}
	redistest.Await(t, "the gateway to see that it is cut off", func() bool { _, connected := g.Gateways(); return !connected })
	a.Rates = a.Rates[:1]
	for range 100 {
		take()
	}
	server.Restart() // with nothing in it
	redistest.Await(t, "the gateway to be connected again", func() bool { _, connected := g.Gateways(); return connected })
	redistest.Await(t, "the counts to be added", func() bool {
		var v limit.Verdict
		return g.Peek(t.Context(), a, &v) == nil && v.Quotas[0].Remaining <= 1000-100
	})
	take()
}

func TestClosed(t *testing.T) {
	g := start(t, redistest.Start(t).Addr)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var v limit.Verdict
	if err := g.Take(t.Context(), &limit.Ask{}, &v); !errors.Is(err, limit.ErrStore) {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzMessage(f *testing.F) {
	m := message{sender: 7, flags: flagHello, loads: []load{{bucket: digestOf(limit.Key{Owner: "a"}), passed: 9, recent: 2, demand: 1.5, level: 3, empty: 2}}}
	f.Add(m.append(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if m.parse(b) != nil {
			return
		}
		if again := m.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("% x, then % x", b, again)
		}
		members := newMembers(1, int64(beat), 0)
		newRates(members, beat).hear(&m, 5)
	})
}
