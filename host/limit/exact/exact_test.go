package exact

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/limittest"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, addrs ...string) redis.UniversalClient {
	t.Helper()
	var c redis.UniversalClient
	if len(addrs) > 1 {
		c = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, DialerRetries: 1})
	} else {
		c = redis.NewClient(&redis.Options{Addr: addrs[0], ContextTimeoutEnabled: true, DialerRetries: 1})
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestSuite(t *testing.T) {
	server := redistest.Start(t)
	limittest.Run(t, func(t *testing.T) limittest.Subject {
		c := dial(t, server.Addr)
		clock := limittest.NewClock(t, c)
		return limittest.Subject{Limiter: New(c, Options{Prefix: t.Name() + ":", Now: clock.Now}), Advance: clock.Advance}
	})
}

// trips counts what goes to the server.
type trips struct {
	commands, pipelines atomic.Int64
	mu                  sync.Mutex
	last                []string // names of the last pipeline's commands
}

func (h *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (h *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.pipelines.Add(1)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.last = nil
		for _, c := range cmds {
			h.last = append(h.last, c.Name())
		}
		return next(ctx, cmds)
	}
}

// everything is a request under the limits of key, key and API, API and gateway: three owners.
func everything(key string) *limit.Ask {
	r := limit.Rate{Requests: 5, Per: time.Hour}
	wide := limit.Rate{Requests: 1000, Per: time.Hour}
	return &limit.Ask{
		Rates: []limit.RateBucket{
			{Key: limit.Key{Owner: key}, Rate: r}, {Key: limit.Key{Owner: key, Scope: "weather"}, Rate: wide},
			{Key: limit.Key{Owner: "weather"}, Rate: wide}, {Key: limit.Key{Owner: "gateway"}, Rate: wide},
		},
		Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: key}, Max: 100, Renewal: time.Hour}, {Key: limit.Key{Owner: "weather"}, Max: 1000}},
	}
}

// On one server a request is one round trip, passed or refused. Counted on the wire, since that is what takes time.
func TestOneRoundTrip(t *testing.T) {
	server := redistest.Start(t)
	proxy := newProxy(t, server.Addr)
	c := dial(t, proxy.Addr().String())
	h := &trips{}
	c.AddHook(h)
	l := New(c, Options{})
	var v limit.Verdict
	if err := l.Take(t.Context(), everything("k"), &v); err != nil {
		t.Fatal(err)
	}
	commands, pipelines, replies := h.commands.Load(), h.pipelines.Load(), proxy.replies.Load() // of connecting
	refused := 0
	for range 20 {
		if err := l.Take(t.Context(), everything("k"), &v); err != nil {
			t.Fatal(err)
		}
		if !v.Passed() {
			refused++
		}
	}
	if got := h.commands.Load() - commands; got != 20 || h.pipelines.Load() != pipelines {
		t.Errorf("%d commands and %d pipelines for 20 requests", got, h.pipelines.Load()-pipelines)
	}
	if got := proxy.replies.Load() - replies; got != 20 {
		t.Errorf("%d replies on the wire for 20 requests", got)
	}
	if refused != 16 {
		t.Errorf("%d refused, want 16", refused)
	}
}

// A server that has lost its scripts is told them again.
func TestScriptUnknown(t *testing.T) {
	server := redistest.Start(t)
	l := New(dial(t, server.Addr), Options{})
	var v limit.Verdict
	for range 2 {
		if err := l.Take(t.Context(), everything("k"), &v); err != nil || !v.Passed() {
			t.Fatal(v, err)
		}
		server.Do("SCRIPT", "FLUSH")
	}
}

// In a cluster: one pipeline, in it one command per slot; all or nothing across slots.
func TestCluster(t *testing.T) {
	c := dial(t, redistest.Addrs(redistest.StartCluster(t))...)
	l := New(c, Options{})
	var v limit.Verdict
	if err := l.Take(t.Context(), everything("k"), &v); err != nil { // the scripts
		t.Fatal(err)
	}
	h := &trips{}
	c.AddHook(h)
	for i := range 4 {
		if err := l.Take(t.Context(), everything("k"), &v); err != nil || !v.Passed() {
			t.Fatal(i, v, err)
		}
		if got := h.pipelines.Load(); got != int64(i+1) || len(h.last) != 3 || h.commands.Load() != 0 {
			t.Fatalf("%d pipelines, the last of %q, %d commands", got, h.last, h.commands.Load())
		}
	}
	before := v
	before.Rates, before.Quotas = append([]limit.State(nil), v.Rates...), append([]limit.State(nil), v.Quotas...)
	for range 3 {
		if err := l.Take(t.Context(), everything("k"), &v); err != nil || v.Refused != limit.ByRate || v.Index != 0 {
			t.Fatal(v, err)
		}
	}
	if err := l.Peek(t.Context(), everything("k"), &v); err != nil {
		t.Fatal(err)
	}
	for i := range v.Rates {
		if v.Rates[i].Remaining != before.Rates[i].Remaining {
			t.Errorf("rate %d: %d remain, before the refusals %d", i, v.Rates[i].Remaining, before.Rates[i].Remaining)
		}
	}
	for i := range v.Quotas {
		if v.Quotas[i].Remaining != before.Quotas[i].Remaining {
			t.Errorf("quota %d: %d remain, before the refusals %d", i, v.Quotas[i].Remaining, before.Quotas[i].Remaining)
		}
	}
	if err := l.Forget(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reset(t.Context(), limit.Key{Owner: "weather"}, limit.Key{Owner: "other"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Peek(t.Context(), everything("k"), &v); err != nil || v.Quotas[1].Remaining != 1000 || v.Rates[0].Remaining != 5 {
		t.Fatal(v, err)
	}
	for _, key := range []string{"a", "limit:{a}b", "{}x", "x{", "x{y", "x}{y}z", "{{a}}", strings.Repeat("long", 100)} {
		if want, err := c.ClusterKeySlot(t.Context(), key).Result(); err != nil || int64(slot(key)) != want {
			t.Errorf("slot of %q: %d, the server says %d, %v", key, slot(key), want, err)
		}
	}
}

// The suite in a cluster whose clocks are simulated cannot be: scripts may not read keys of other slots. What is particular
// is that many ask at once across slots: never too many pass, and what was refused took nothing in the end.
func TestClusterAtOnce(t *testing.T) {
	c := dial(t, redistest.Addrs(redistest.StartCluster(t))...)
	l := New(c, Options{Timeout: 10 * time.Second})
	a := everything("k")
	a.Rates[0].Rate.Requests = 1000
	a.Quotas[0].Max, a.Quotas[1].Max = 1000, 30
	var passed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var v limit.Verdict
			for range 10 {
				if err := l.Take(t.Context(), a, &v); err != nil {
					t.Error(err)
				}
				if v.Passed() {
					passed.Add(1)
				}
			}
		})
	}
	group.Wait()
	var v limit.Verdict
	if err := l.Peek(t.Context(), a, &v); err != nil {
		t.Fatal(err)
	}
	if used := 1000 - v.Quotas[0].Remaining; passed.Load() > 30 || used != passed.Load() || 30-v.Quotas[1].Remaining != used {
		t.Errorf("%d passed, %d used of the key's quota, %d remain of the API's 30", passed.Load(), used, v.Quotas[1].Remaining)
	}
}

// A server that goes away and comes back: errors that say so, within their time, and no restart of ours.
func TestServerAway(t *testing.T) {
	server := redistest.Start(t)
	l := New(dial(t, server.Addr), Options{Timeout: 500 * time.Millisecond})
	var v limit.Verdict
	take := func() error { return l.Take(t.Context(), everything("k"), &v) }
	if err := take(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for range 50 {
		if err := take(); !errors.Is(err, limit.ErrStore) {
			t.Fatalf("while it is away: %v", err)
		}
	}
	server.Restart()
	redistest.Await(t, "the limiter to recover", func() bool { return take() == nil })
	for range 20 {
		if err := take(); err != nil {
			t.Fatalf("after it came back: %v", err)
		}
	}
}

// A master that dies while requests come: errors until there is another, and then none.
func TestFailover(t *testing.T) {
	g := redistest.StartSentinels(t)
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.MasterName, SentinelAddrs: g.Addrs(), ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { _ = c.Close() })
	l := New(c, Options{Timeout: 500 * time.Millisecond})
	var v limit.Verdict
	a := everything("k")
	a.Rates[0].Rate.Requests = 1000
	if err := l.Take(t.Context(), a, &v); err != nil || !v.Passed() {
		t.Fatal(v, err)
	}
	g.Master.Kill()
	redistest.Await(t, "the replica to take over", func() bool {
		err := l.Take(t.Context(), a, &v)
		if err != nil && !errors.Is(err, limit.ErrStore) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// One of a cluster's servers dies: requests that need it fail, and take nothing where the others are.
func TestClusterNodeAway(t *testing.T) {
	nodes := redistest.StartCluster(t)
	l := New(dial(t, redistest.Addrs(nodes)...), Options{Timeout: 2 * time.Second})
	a := everything("k")
	a.Rates[0].Rate.Requests = 1000
	var v limit.Verdict
	if err := l.Take(t.Context(), a, &v); err != nil {
		t.Fatal(err)
	}
	away := -1 // which of the API's, the key's and the gateway's slots is nobody's now
	part := &limit.Ask{Rates: a.Rates[:1]}
	for i, owner := range []string{"k", "weather", "gateway"} {
		if n := int(slot(l.key(owner))) * 3 / 16384; away < 0 || n == away {
			away = n
		} else if i == 1 {
			part = &limit.Ask{Rates: a.Rates[2:3]}
		}
	}
	used := func() int64 {
		var v limit.Verdict
		if err := l.Peek(t.Context(), part, &v); err != nil {
			return -1
		}
		return v.Rates[0].Limit - v.Rates[0].Remaining
	}
	if int(slot(l.key(part.Rates[0].Key.Owner)))*3/16384 == away {
		t.Skip("these owners are all on one server")
	}
	nodes[away].Kill()
	for range 5 {
		if err := l.Take(t.Context(), a, &v); !errors.Is(err, limit.ErrStore) {
			t.Fatalf("with a server away: %v", err)
		}
	}
	redistest.Await(t, "the limiter to ask the other servers again", func() bool { return used() >= 0 })
	if got := used(); got != 1 {
		t.Errorf("%d used where the servers are there, want 1", got)
	}
}

// A server that does not answer: bounded by the limiter's time and the caller's, whichever is shorter.
func TestServerHangs(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	l := New(dial(t, silent.Addr().String()), Options{Timeout: 50 * time.Millisecond})
	var v limit.Verdict
	if err := l.Take(t.Context(), everything("k"), &v); !errors.Is(err, limit.ErrStore) {
		t.Errorf("no answer: %v", err)
	}
	if err := l.Take(t.Context(), everything("k"), &v); !errors.Is(err, limit.ErrStore) || !errors.Is(err, errAway) {
		t.Errorf("right after: %v", err)
	}
	patient := New(dial(t, silent.Addr().String()), Options{Timeout: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := patient.Take(ctx, everything("k"), &v); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, limit.ErrStore) {
		t.Errorf("a caller in a hurry: %v", err)
	}
}

// What Redis keeps ends with what it says.
func TestExpiry(t *testing.T) {
	c := dial(t, redistest.Start(t).Addr)
	l := New(c, Options{})
	ttl := func() time.Duration { return c.PTTL(t.Context(), "turnbuckle:limit:a").Val() }
	take := func(a limit.Ask) {
		t.Helper()
		var v limit.Verdict
		if err := l.Take(t.Context(), &a, &v); err != nil || !v.Passed() {
			t.Fatal(v, err)
		}
	}
	about := func(want time.Duration) {
		t.Helper()
		if got := ttl(); got < want-10*time.Second || got > want+2*time.Second {
			t.Errorf("expires in %v, want about %v", got, want)
		}
	}
	key := limit.Key{Owner: "a"}
	take(limit.Ask{Rates: []limit.RateBucket{{Key: key, Rate: limit.Rate{Requests: 60, Per: time.Hour}}}})
	about(time.Minute)
	take(limit.Ask{Quotas: []limit.QuotaBucket{{Key: key, Max: 5, Renewal: time.Hour}}})
	about(time.Hour)
	take(limit.Ask{Rates: []limit.RateBucket{{Key: key, Rate: limit.Rate{Requests: 60, Per: time.Hour}}}})
	about(time.Hour)
	take(limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "a", Scope: "x"}, Max: 5}}})
	if got := ttl(); got != -1 {
		t.Errorf("a quota that never renews expires in %v", got)
	}
	take(limit.Ask{Quotas: []limit.QuotaBucket{{Key: key, Max: 5, Renewal: time.Hour}}})
	if got := ttl(); got != -1 {
		t.Errorf("a quota that never renews expires in %v, after another was counted", got)
	}
}

// Add counts what passed elsewhere in the window it belongs to, and nowhere else.
func TestAdd(t *testing.T) {
	c := dial(t, redistest.Start(t).Addr)
	clock := limittest.NewClock(t, c)
	advance := clock.Advance
	l := New(c, Options{Now: clock.Now})
	q := limit.QuotaBucket{Key: limit.Key{Owner: "a"}, Max: 100, Renewal: time.Minute}
	add := func(n, begun int64) Count {
		t.Helper()
		counts := make([]Count, 1)
		if err := l.Add(t.Context(), []Delta{{q, n, begun}}, counts); err != nil {
			t.Fatal(err)
		}
		return counts[0]
	}
	take := func() {
		t.Helper()
		var v limit.Verdict
		if err := l.Take(t.Context(), &limit.Ask{Quotas: []limit.QuotaBucket{q}}, &v); err != nil || !v.Passed() {
			t.Fatal(v, err)
		}
	}
	if got := add(5, 12345); got != (Count{}) {
		t.Errorf("without a window: %+v", got)
	}
	take()
	first := add(0, 0)
	if first.Used != 1 || first.Begun == 0 || first.Left != time.Minute {
		t.Errorf("after one: %+v", first)
	}
	advance(10 * time.Second)
	if got := add(7, first.Begun); got.Used != 8 || got.Left != 50*time.Second {
		t.Errorf("after seven more: %+v", got)
	}
	if got := add(7, first.Begun-1); got.Used != 8 {
		t.Errorf("of another window: %+v", got)
	}
	advance(time.Minute)
	if got := add(7, first.Begun); got != (Count{}) {
		t.Errorf("when the window is over: %+v", got)
	}
	if got := add(2, 0); got.Used != 2 || got.Left != time.Minute {
		t.Errorf("in a window of its own: %+v", got)
	}
	if got := add(3, 0); got.Used != 5 {
		t.Errorf("in whichever there is: %+v", got)
	}
	advance(2 * time.Minute)
	take()
	if got := add(-1, add(0, 0).Begun); got.Used != 0 {
		t.Errorf("given back: %+v", got)
	}
}

// proxy passes bytes on and counts replies, as reads from the server that followed a request.
type proxy struct {
	net.Listener
	replies atomic.Int64
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l}
	var work sync.WaitGroup
	t.Cleanup(func() { l.Close(); work.Wait() })
	work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				return
			}
			var asked atomic.Bool
			work.Go(func() { pass(server, client, func() { asked.Store(true) }) })
			work.Go(func() {
				pass(client, server, func() {
					if asked.Swap(false) {
						p.replies.Add(1)
					}
				})
			})
		}
	})
	return p
}

func pass(to, from net.Conn, seen func()) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			seen()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
