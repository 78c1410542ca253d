package host

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a front's side in memory.
type client struct {
	status  int
	header  []sdk.Field
	body    strings.Builder
	trailer []sdk.Field
	flushes int
	length  int64
}

func (c *client) WriteHeader(status int, h *sdk.Header, length int64) {
	c.status, c.header, c.length = status, slices.Clone(h.Fields()), length
}
func (c *client) Write(p []byte) (int, error) { return c.body.Write(p) }
func (c *client) Flush() error                { c.flushes++; return nil }
func (c *client) WriteTrailer(h *sdk.Header)  { c.trailer = slices.Clone(h.Fields()) }
func (c *client) get(name string) (vs []string) {
	for _, f := range c.header {
		if sdk.EqualFold(f.Name, name) {
			vs = append(vs, f.Value)
		}
	}
	return vs
}

type text struct {
	io.Reader
	closed bool
}

func (t *text) Close() error         { t.closed = true; return nil }
func (t *text) Trailer() *sdk.Header { return nil }

// target is an upstream in memory: it notes what it was sent and replies 200 with the path.
type target struct {
	mu     sync.Mutex
	sent   []sdk.Snapshot
	paths  []string
	err    error
	hold   chan struct{} // when not nil, RoundTrip waits for it
	closed bool

	reply   func(f *flow.Flow) // nil: see RoundTrip
	onClose func()
}

func (u *target) calls() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.sent)
}

func (u *target) RoundTrip(ctx context.Context, f *flow.Flow) error {
	u.mu.Lock()
	u.sent = append(u.sent, f.X.Snapshot())
	u.paths = append(u.paths, f.Out.Path)
	err, hold := u.err, u.hold
	u.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return context.Canceled
		}
	}
	if err != nil {
		return err
	}
	f.Reply.Target = "http://up"
	if u.reply != nil {
		u.reply(f)
		return nil
	}
	f.X.Response().Fill(200, -1)
	f.X.Response().Header().Append("X-Up", "1")
	f.X.Response().Header().Append("Connection", "X-Hop")
	f.X.Response().Header().Append("X-Hop", "1")
	f.Reply.Body = &text{Reader: strings.NewReader("up:" + f.Out.Path)}
	return nil
}

func (u *target) Close(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.onClose != nil {
		u.onClose()
	}
	return nil
}

// world is an Opener in memory.
type world struct {
	callers *Callers
	limiter limit.Limiter
	mu      sync.Mutex
	hooks   map[string]sdk.Hook
	up      map[string]*target // by definition id
	batches []sdk.Batch
	opens   int
	closes  int
	failure error // of Server
}

type server struct{ w *world }

type spoken struct {
	sdk.Hook
	tyk bool
}

func (n spoken) Protocol() string {
	if n.tyk {
		return "tyk"
	}
	return "native"
}

type needing struct {
	spoken
	sdk.Needer
}

func (s server) Hook(use sdk.HookUse) (sdk.Hook, error) {
	h := s.w.hooks[use.Name]
	if h == nil {
		return nil, sdk.ErrUnimplemented
	}
	hook := spoken{h, strings.HasPrefix(use.Name, "tyk")}
	if n, ok := h.(sdk.Needer); ok {
		return needing{hook, n}, nil
	}
	return hook, nil
}
func (s server) Group([]sdk.Hook) (sdk.Hook, bool) { return nil, false }
func (s server) Observer(string) sdk.Observer {
	return sdk.ObserverFunc(func(_ context.Context, b sdk.Batch) error {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		s.w.batches = append(s.w.batches, b)
		return nil
	})
}
func (s server) Close() error { s.w.mu.Lock(); defer s.w.mu.Unlock(); s.w.closes++; return nil }

func (w *world) Server(*config.Definition, string) (Server, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return nil, w.failure
	}
	w.opens++
	return server{w}, nil
}
func (w *world) Plugin(*config.Definition, string, string, []byte) (config.Policy, error) {
	return config.Policy{}, nil
}
func (w *world) Callers() (*Callers, error) {
	if w.callers == nil {
		return nil, errors.New("no callers in this world")
	}
	return w.callers, nil
}
func (w *world) Limiter() (limit.Limiter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limiter == nil {
		w.limiter = unlimited{}
	}
	return w.limiter, nil
}

// unlimited lets everything pass.
type unlimited struct{}

func (unlimited) Take(_ context.Context, a *limit.Ask, v *limit.Verdict) error {
	v.Begin(a)
	return nil
}
func (unlimited) Peek(_ context.Context, a *limit.Ask, v *limit.Verdict) error {
	v.Begin(a)
	return nil
}
func (unlimited) Reset(context.Context, ...limit.Key) error { return nil }
func (unlimited) Forget(context.Context, string) error      { return nil }

func (w *world) Upstream(d *config.Definition, _ string) (Upstream, error) {
	if w.up[d.ID] == nil {
		w.up[d.ID] = &target{}
	}
	return w.up[d.ID], nil
}

func newWorld(hooks map[string]sdk.Hook) *world {
	return &world{hooks: hooks, up: map[string]*target{}}
}

func gateway(t *testing.T) *Gateway {
	t.Helper()
	g := newGateway(t, time.Minute)
	t.Cleanup(func() {
		if err := g.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// newGateway is closed by the test, or at its end.
func newGateway(t *testing.T, drain time.Duration) *Gateway {
	t.Helper()
	replies, err := reply.Compile(config.Errors{}, true)
	if err != nil {
		t.Fatal(err)
	}
	g := New(context.Background(), Options{
		Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(), Replies: replies, Drain: drain, Shared: newWorld(nil),
	})
	t.Cleanup(func() { _ = g.Close(context.Background()) }) // it may be closed already, and have said so
	return g
}

func definition(t testing.TB, yaml string) *config.Definition {
	t.Helper()
	d, refused := config.Loader{WorkDir: t.TempDir()}.Parse("/apis/a.yaml", []byte(yaml))
	if refused != nil {
		t.Fatal(refused.Problems.Err())
	}
	return d
}

func load(t *testing.T, g *Gateway, w *world, ds ...*config.Definition) error {
	t.Helper()
	return g.Load(t.Context(), config.Set{Definitions: ds}, w, false)
}

func newFlow(ctx context.Context, method, target string, body string) (*flow.Flow, *client) {
	f, c := &flow.Flow{}, &client{}
	f.Reset()
	f.Ctx, f.Client, f.Start = ctx, c, time.Now()
	path, query, _ := strings.Cut(target, "?")
	f.X.Reset(sdk.Init{Client: netip.MustParseAddrPort("192.0.2.1:99"), Backing: f})
	f.X.Request().Fill(sdk.RequestInit{Method: method, Scheme: "http", Host: "h:80", Path: path, Query: query, URI: target, Proto: "HTTP/1.1", Length: int64(len(body))})
	if body != "" {
		f.Body = &text{Reader: strings.NewReader(body)}
	}
	return f, c
}

func get(t *testing.T, g *Gateway, target string) *client {
	t.Helper()
	f, c := newFlow(t.Context(), "GET", target, "")
	g.Serve(f)
	return c
}

func fn(f func(x *sdk.Exchange) error) sdk.Hook {
	return sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error { return f(x) })
}

const plainAPI = "listen: {path: /a}\nupstream: {url: http://127.0.0.1:1}\n"

func TestPlain(t *testing.T) {
	g, w := gateway(t), newWorld(nil)
	if c := get(t, g, "/a"); c.status != 503 {
		t.Errorf("before the first load: got %d, want 503", c.status)
	}
	if err := load(t, g, w, definition(t, plainAPI)); err != nil {
		t.Fatal(err)
	}
	c := get(t, g, "/a/b//c%2Fd")
	if c.status != 200 || c.body.String() != "up:/b//c%2Fd" || len(c.get("X-Up")) != 1 {
		t.Errorf("got %d %q %v", c.status, c.body.String(), c.header)
	}
	if c.get("X-Hop") != nil || c.get("Connection") != nil {
		t.Errorf("hop-by-hop fields reached the client: %v", c.header)
	}
	if c := get(t, g, "/b"); c.status != 404 || c.body.String() != "Not Found" {
		t.Errorf("got %d %q, want a plain 404", c.status, c.body.String())
	}
	if c := get(t, g, "/hello"); c.status != 200 {
		t.Errorf("/hello: got %d", c.status)
	}
	if c := get(t, g, "/ready"); c.status != 200 {
		t.Errorf("/ready: got %d", c.status)
	}
	w.up["a"].err = &sdk.Error{Status: 502, Message: "There was a problem proxying the request", Err: errors.New("refused")}
	if c := get(t, g, "/a"); c.status != 502 || !strings.Contains(c.body.String(), "There was a problem") {
		t.Errorf("got %d %q, want 502", c.status, c.body.String())
	}
}

// TestOrder has every hook and rule leave a mark.
func TestOrder(t *testing.T) {
	var order []string
	mark := func(name string) sdk.Hook {
		return fn(func(x *sdk.Exchange) error {
			order = append(order, x.Phase().String()+":"+name)
			if x.Phase() == sdk.Auth {
				x.Authenticate("key", "someone")
			}
			return nil
		})
	}
	w := newWorld(map[string]sdk.Hook{"p1": mark("p1"), "p2": mark("p2"), "au": mark("au"), "k": mark("k"), "po": mark("po"), "r": mark("r")})
	d := definition(t, plainAPI+`
hooks:
  response: [{hook: r}]
  post: [{hook: po}]
  post_key_auth: [{hook: k}]
  auth: [{hook: au}]
  pre: [{hook: p1}, {hook: p2}]
observers: [{observer: o}]
`)
	g := gateway(t)
	if err := load(t, g, w, d); err != nil {
		t.Fatal(err)
	}
	if c := get(t, g, "/a"); c.status != 200 {
		t.Fatalf("got %d %s", c.status, c.body.String())
	}
	want := []string{"pre:p1", "pre:p2", "auth:au", "post_key_auth:k", "post:po", "response:r"}
	if !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
	if err := load(t, g, w); err != nil {
		t.Fatal(err)
	}
	g.retired.Wait()
	var records []sdk.Record
	for _, b := range w.batches {
		records = append(records, b.Records...)
	}
	if len(records) != 1 {
		t.Fatalf("got batches %+v, want one record", w.batches)
	}
	r := records[0]
	if len(r.Hooks) != 6 || r.Status != 200 || r.AnsweredBy != "upstream" || r.Alias != "someone" || r.Target != "http://up" {
		t.Errorf("got record %+v", r)
	}
	if w.opens != w.closes || !w.up["a"].closed {
		t.Errorf("opened %d servers, closed %d; upstream closed: %v", w.opens, w.closes, w.up["a"].closed)
	}
}

func TestOutcomes(t *testing.T) {
	boom := errors.New("boom")
	hooks := map[string]sdk.Hook{
		"fail":      fn(func(*sdk.Exchange) error { return boom }),
		"tykfail":   fn(func(*sdk.Exchange) error { return boom }),
		"late":      fn(func(*sdk.Exchange) error { return context.DeadlineExceeded }),
		"refuse":    fn(func(*sdk.Exchange) error { return sdk.Errorf(418, "no \"tea\"") }),
		"answer":    fn(func(x *sdk.Exchange) error { x.Answer(299, []byte("hi")).Header().Set("X-A", "1"); return nil }),
		"panic":     fn(func(*sdk.Exchange) error { panic("oh") }),
		"nobody":    fn(func(*sdk.Exchange) error { return nil }),
		"tyknobody": fn(func(*sdk.Exchange) error { return nil }),
		"crlf":      fn(func(x *sdk.Exchange) error { x.Request().Header().Set("A", "b\r\nc"); return nil }),
		"status":    fn(func(x *sdk.Exchange) error { x.Response().SetStatus(99999); return nil }),
		"body": fn(func(x *sdk.Exchange) error {
			x.Response().SetBody([]byte("new"))
			x.Response().SetStatus(201)
			return nil
		}),
	}
	tests := []struct {
		phase, hook, extra string
		status             int
		body               string
	}{
		{"pre", "fail", "", 503, "Plugin unavailable"},
		{"pre", "tykfail", "", 500, "Middleware error"},
		{"pre", "late", "", 504, "Plugin timed out"},
		{"pre", "panic", "", 503, "Plugin unavailable"},
		{"pre", "crlf", "", 503, "Plugin unavailable"},
		{"pre", "refuse", "", 418, `no \"tea\"`},
		{"pre", "answer", "", 299, "hi"},
		{"pre", "fail", ", on_error: skip", 200, "up:"},
		{"pre", "panic", ", on_error: skip", 200, "up:"},
		{"pre", "refuse", ", on_error: skip", 418, "tea"},
		{"auth", "fail", "", 503, "Plugin unavailable"},
		{"auth", "tykfail", "", 403, "Key not authorised"},
		{"auth", "nobody", "", 401, "Authentication required"},
		{"auth", "tyknobody", "", 403, "Forbidden"},
		{"auth", "answer", "", 299, "hi"},
		{"post", "answer", "", 299, "hi"},
		{"response", "tykfail", "", 500, "Middleware error"},
		{"response", "fail", "", 503, "Plugin unavailable"},
		{"response", "fail", ", on_error: skip", 200, "up:"},
		{"response", "status", "", 503, "Plugin unavailable"},
		{"response", "answer", "", 299, "hi"},
		{"response", "body", "", 201, "new"},
	}
	for _, tt := range tests {
		t.Run(tt.phase+" "+tt.hook+tt.extra, func(t *testing.T) {
			g, w := gateway(t), newWorld(hooks)
			if err := load(t, g, w, definition(t, plainAPI+"hooks: {"+tt.phase+": [{hook: "+tt.hook+tt.extra+"}]}")); err != nil {
				t.Fatal(err)
			}
			c := get(t, g, "/a")
			if c.status != tt.status || !strings.Contains(c.body.String(), tt.body) {
				t.Errorf("got %d %s, want %d %s", c.status, c.body.String(), tt.status, tt.body)
			}
			asked := len(w.up["a"].sent) > 0
			if want := tt.phase == "response" || tt.status == 200; asked != want {
				t.Errorf("upstream asked: %v, want %v", asked, want)
			}
			if tt.hook == "answer" && !slices.Equal(c.get("X-A"), []string{"1"}) {
				t.Errorf("the answer's header is missing: %v", c.header)
			}
		})
	}
}

func TestClientThatLeftGetsNoReply(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(map[string]sdk.Hook{"h": sdk.HookFunc(func(ctx context.Context, _ *sdk.Exchange) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})})
	g := gateway(t)
	if err := load(t, g, w, definition(t, plainAPI+"hooks: {pre: [{hook: h}]}")); err != nil {
		t.Fatal(err)
	}
	f, c := newFlow(ctx, "GET", "/a", "")
	g.Serve(f)
	if c.status != 0 {
		t.Errorf("got %d, want nothing sent", c.status)
	}
}

func TestReload(t *testing.T) {
	g, w := gateway(t), newWorld(map[string]sdk.Hook{"h": fn(func(*sdk.Exchange) error { return nil })})
	file := func(name, yaml string) *config.Definition {
		d := definition(t, yaml)
		d.ID, d.Source.File = name, name+".yaml"
		return d
	}
	a := file("a", plainAPI+"hooks: {pre: [{hook: h}]}")
	b := file("b", "listen: {path: /b}\nupstream: {url: http://127.0.0.1:1}\n")
	if err := load(t, g, w, a, b); err != nil {
		t.Fatal(err)
	}
	before := g.table.Load().routes
	held := make(chan struct{})
	w.up["a"].hold = held
	done := make(chan int)
	go func() { done <- get(t, g, "/a/held").status }()
	for !func() bool { w.up["a"].mu.Lock(); defer w.up["a"].mu.Unlock(); return len(w.up["a"].sent) > 0 }() {
		runtime.Gosched()
	}

	t.Run("unchanged definitions keep their route", func(t *testing.T) {
		if err := load(t, g, w, a, b); err != nil {
			t.Fatal(err)
		}
		if got := g.table.Load().routes; !slices.Equal(got, before) {
			t.Error("routes were made anew")
		}
	})
	t.Run("a changed one is drained, not cut", func(t *testing.T) {
		old := w.up["a"]
		w.up["a"] = nil
		if err := load(t, g, w, file("a", plainAPI+"hooks: {post: [{hook: h}]}"), b); err != nil {
			t.Fatal(err)
		}
		if c := get(t, g, "/a/new"); c.status != 200 || c.body.String() != "up:/new" {
			t.Errorf("got %d %s", c.status, c.body.String())
		}
		if old.closed {
			t.Error("the old upstream was closed while in use")
		}
		close(held)
		if status := <-done; status != 200 {
			t.Errorf("the held request got %d", status)
		}
		g.retired.Wait()
		if !old.closed {
			t.Error("the old upstream was not closed")
		}
	})
	t.Run("a refused one keeps what it had", func(t *testing.T) {
		set := config.Set{Definitions: []*config.Definition{b}, Refused: []config.Refused{{File: "a.yaml", Problems: config.Problems{{Message: "half-written"}}}}}
		if err := g.Load(t.Context(), set, w, false); err == nil || !strings.Contains(err.Error(), "half-written") {
			t.Errorf("got %v, want the reason", err)
		}
		if c := get(t, g, "/a/x"); c.status != 200 {
			t.Errorf("got %d", c.status)
		}
		if s := g.Status().Routes[1]; s.State != "stale" || !strings.Contains(s.Reason, "half-written") {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("one that was never served answers 503, the others serve", func(t *testing.T) {
		set := config.Set{Definitions: []*config.Definition{b}, Refused: []config.Refused{{
			File: "c.yaml", Identity: config.Identity{ID: "c", ListenPath: "/c"}, Problems: config.Problems{{Message: "bad"}},
		}}}
		if err := g.Load(t.Context(), set, w, false); err == nil {
			t.Error("got no error")
		}
		if c := get(t, g, "/c/x"); c.status != 503 {
			t.Errorf("got %d, want 503", c.status)
		}
		if c := get(t, g, "/b"); c.status != 200 {
			t.Errorf("got %d", c.status)
		}
		if c := get(t, g, "/a"); c.status != 404 {
			t.Errorf("a deleted definition: got %d, want 404", c.status)
		}
	})
	t.Run("one that has no place is told of all the same", func(t *testing.T) {
		set := config.Set{Definitions: []*config.Definition{b}, Refused: []config.Refused{
			{File: "torn.yaml", Identity: config.Identity{ID: "torn"}, Problems: config.Problems{{Message: "not YAML"}}},
			{File: "z.yaml", Identity: config.Identity{ID: "z", ListenPath: "/b"}, Problems: config.Problems{{Message: "already that of b.yaml"}}},
		}}
		if err := g.Load(t.Context(), set, w, false); err == nil {
			t.Error("got no error")
		}
		if c := get(t, g, "/b"); c.status != 200 {
			t.Errorf("got %d", c.status)
		}
		routes := g.Status().Routes
		if len(routes) != 3 || routes[0].State != "serving" || routes[1].State != "refused" || !strings.Contains(routes[1].Reason, "not YAML") ||
			routes[2].ID != "z" || !strings.Contains(routes[2].Reason, "already that of") {
			t.Errorf("got %+v", routes)
		}
		if hello := string(g.Hello()); !strings.Contains(hello, "warn") {
			t.Errorf("got %s", hello)
		}
	})
	t.Run("one that does not compile closes what it opened", func(t *testing.T) {
		g.retired.Wait()
		opens, closes := w.opens, w.closes
		err := load(t, g, w, b, file("d", "listen: {path: /d}\nupstream: {url: http://127.0.0.1:1}\nhooks: {pre: [{hook: h}, {hook: missing}]}"))
		if !errors.Is(err, sdk.ErrUnimplemented) {
			t.Errorf("got %v", err)
		}
		if w.opens-opens != w.closes-closes {
			t.Errorf("opened %d, closed %d", w.opens-opens, w.closes-closes)
		}
		if c := get(t, g, "/d"); c.status != 503 {
			t.Errorf("got %d, want 503", c.status)
		}
	})
}

func TestLimitsOfADefinition(t *testing.T) {
	g, w := gateway(t), newWorld(nil)
	if err := load(t, g, w, definition(t, plainAPI+"limits: {headers: 100, body: 5}")); err != nil {
		t.Fatal(err)
	}
	big, small := strings.Repeat("x", 200), "small"
	tests := []struct {
		name, header, body string
		length             int64
		status             int
	}{
		{"fits", "", small, 5, 200},
		{"header", big, "", 0, 431},
		{"body declared", "", big, 200, 413},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, c := newFlow(t.Context(), "POST", "/a", tt.body)
			f.X.Request().Header().Append("X-Big", tt.header)
			g.Serve(f)
			if c.status != tt.status {
				t.Errorf("got %d, want %d", c.status, tt.status)
			}
		})
	}
}

// BenchmarkEmptyChain is a request through a route without hooks, but for front and upstream: it allocates nothing, but
// for one piece of memory with the identifiers of 32 requests.
func BenchmarkEmptyChain(b *testing.B) {
	replies, err := reply.Compile(config.Errors{}, true)
	if err != nil {
		b.Fatal(err)
	}
	g := New(context.Background(), Options{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(), Replies: replies})
	d, refused := config.Loader{}.Parse("/apis/a.yaml", []byte(plainAPI))
	if refused != nil {
		b.Fatal(refused.Problems.Err())
	}
	w := newWorld(nil)
	if err := g.Load(b.Context(), config.Set{Definitions: []*config.Definition{d}}, silent{w}, false); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		f, _ := newFlow(context.Background(), "GET", "/a/b", "")
		f.Client = discard{}
		for pb.Next() {
			f.X.Response().Fill(0, 0)
			g.Serve(f)
		}
	})
}

// silent is a world whose upstreams answer without a body and note nothing.
type silent struct{ *world }

func (silent) Upstream(*config.Definition, string) (Upstream, error) { return mute{}, nil }

type mute struct{}

func (mute) RoundTrip(_ context.Context, f *flow.Flow) error {
	f.X.Response().Fill(204, 0)
	f.X.Response().LoadBody(nil)
	return nil
}
func (mute) Close(context.Context) error { return nil }

type discard struct{}

func (discard) WriteHeader(int, *sdk.Header, int64) {}
func (discard) Write(p []byte) (int, error)         { return len(p), nil }
func (discard) Flush() error                        { return nil }
func (discard) WriteTrailer(*sdk.Header)            {}

// TestDefaultTimeoutIsTheProtocols looks at the deadline that hooks are given.
func TestDefaultTimeoutIsTheProtocols(t *testing.T) {
	left := map[string]time.Duration{}
	look := func(name string) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, _ *sdk.Exchange) error {
			if d, ok := ctx.Deadline(); ok {
				left[name] = time.Until(d).Round(time.Second)
			}
			return nil
		})
	}
	w := newWorld(map[string]sdk.Hook{"tyk": look("tyk"), "native": look("native"), "tyksaid": look("tyksaid")})
	g := gateway(t)
	err := load(t, g, w, definition(t, plainAPI+"hooks: {pre: [{hook: tyk}, {hook: native}, {hook: tyksaid, timeout: 20s}]}"))
	if err != nil {
		t.Fatal(err)
	}
	if c := get(t, g, "/a"); c.status != 200 {
		t.Fatalf("got %d", c.status)
	}
	if left["tyk"] != 5*time.Second || left["native"] != time.Second || left["tyksaid"] != 20*time.Second {
		t.Errorf("got %v", left)
	}
}
