package upstream_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// answered counts who answers n requests.
func answered(t *testing.T, u *upstream.Upstream, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			got["error"]++
			continue
		}
		read(f)
		got[f.Reply.Target]++
	}
	return got
}

// dead is the address of nobody.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func TestWeights(t *testing.T) {
	var urls []string
	for range 3 {
		urls = append(urls, serve(t, always(ok)).url)
	}
	for _, weights := range [][]int{{1, 1, 1}, {5, 3, 1}, {1000, 3000, 6000}, {0, 2, 0}} {
		o := upstream.Options{}
		total := 0
		for i, w := range weights {
			o.Targets = append(o.Targets, upstream.Target{URL: urls[i], Weight: w})
			weights[i] = max(w, 1) // no weight is 1
			total += weights[i]
		}
		got := answered(t, open(t, o), 90)
		for i, w := range weights {
			if want := 90 * w / total; got[urls[i]] < want-2 || got[urls[i]] > want+2 {
				t.Errorf("weights %v: target %d answered %d of 90, want about %d", weights, i, got[urls[i]], want)
			}
		}
	}
	t.Run("from many goroutines", func(t *testing.T) {
		u := open(t, upstream.Options{Targets: []upstream.Target{{urls[0], 3}, {urls[1], 1}}})
		var n [2]atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					f := request("GET", "/")
					if err := u.RoundTrip(t.Context(), f); err != nil {
						t.Error(err)
						return
					}
					read(f)
					n[slices.Index(urls, f.Reply.Target)].Add(1)
				}
			})
		}
		all.Wait()
		if got := n[0].Load(); got < 290 || got > 310 {
			t.Errorf("got %d of 400, want about 300", got)
		}
	})
}

// events collects what Notify tells.
type events struct {
	mu  sync.Mutex
	all []upstream.Event
	c   chan upstream.Event
}

func collect() *events { return &events{c: make(chan upstream.Event, 100)} }

func (e *events) notify(v upstream.Event) {
	e.mu.Lock()
	e.all = append(e.all, v)
	e.mu.Unlock()
	e.c <- v
}

func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.all)
}

func TestRetryOnAnotherTarget(t *testing.T) {
	good := serve(t, always(ok))
	t.Run("nothing was sent", func(t *testing.T) {
		u := open(t, upstream.Options{Targets: targets(dead(t), good.url), Attempts: 2})
		for i, f := range []string{"GET", "POST", "POST"} {
			f := buffered(request(f, "/"), "hello")
			if i == 2 {
				f = sized(request("POST", "/"), strings.Repeat("x", 9000), -1)
			}
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			read(f)
			if f.Reply.Target != good.url || f.Reply.Tries < 1 || f.Reply.Tries > 2 {
				t.Errorf("got %s after %d tries", f.Reply.Target, f.Reply.Tries)
			}
		}
	})
	t.Run("bounded", func(t *testing.T) {
		u := open(t, upstream.Options{Targets: targets(dead(t), dead(t), dead(t), dead(t)), Attempts: 3})
		f := request("GET", "/")
		refused(t, u.RoundTrip(t.Context(), f), 502)
		if f.Reply.Tries != 3 {
			t.Errorf("got %d tries, want 3", f.Reply.Tries)
		}
	})
	t.Run("no more than there are targets", func(t *testing.T) {
		u := open(t, upstream.Options{Targets: targets(dead(t), dead(t)), Attempts: 9})
		f := request("GET", "/")
		refused(t, u.RoundTrip(t.Context(), f), 502)
		if f.Reply.Tries != 2 {
			t.Errorf("got %d tries, want 2", f.Reply.Tries)
		}
	})
	t.Run("something was sent", func(t *testing.T) {
		var asked atomic.Int32
		closes := func(_ int, c *rawConn) {
			if c.head() != "" {
				asked.Add(1)
			}
		}
		u := open(t, upstream.Options{Targets: targets(serve(t, closes).url, serve(t, closes).url), Attempts: 2})
		f := request("GET", "/")
		refused(t, u.RoundTrip(t.Context(), f), 502)
		if got := asked.Load(); got != 1 || f.Reply.Tries != 1 {
			t.Errorf("asked %d targets in %d tries, want 1", got, f.Reply.Tries)
		}
	})
}

func TestEjection(t *testing.T) {
	var fails atomic.Bool
	fails.Store(true)
	bad := serve(t, func(n int, c *rawConn) {
		for c.head() != "" && !fails.Load() {
			c.say(ok)
		}
	})
	good := serve(t, always(ok))
	seen := collect()
	u := open(t, upstream.Options{
		Targets:  targets(bad.url, good.url),
		Ejection: upstream.Ejection{Failures: 3, For: 100 * time.Millisecond, MaxFor: 200 * time.Millisecond},
		Notify:   seen.notify,
	})
	if got := answered(t, u, 8); got["error"] != 3 || got[good.url] != 5 {
		t.Errorf("got %v, want 3 errors, and then the other target alone", got)
	}
	e := <-seen.c
	if e.Up || e.Target != bad.url || e.Err == nil || e.Active {
		t.Errorf("got event %+v", e)
	}
	s := u.Targets()[0]
	if s.Up || s.EjectedUntil.IsZero() || s.LastError == "" || s.Target != bad.url || !u.Targets()[1].Up {
		t.Errorf("got status %+v", s)
	}
	// Back on trial: one failure is enough now, and it stays away for longer.
	until := s.EjectedUntil
	<-time.After(time.Until(until))
	if got := answered(t, u, 8); got["error"] != 1 {
		t.Errorf("got %v on trial, want 1 error", got)
	}
	e = <-seen.c
	again := u.Targets()[0].EjectedUntil
	if e.Up || again.Sub(until) < 200*time.Millisecond {
		t.Errorf("got event %+v, ejected again until %v after %v", e, again, until)
	}
	fails.Store(false)
	<-time.After(time.Until(again))
	if got := answered(t, u, 8); got["error"] != 0 || got[bad.url] != 4 {
		t.Errorf("got %v after recovery, want half each", got)
	}
	if e = <-seen.c; !e.Up || e.Target != bad.url {
		t.Errorf("got event %+v", e)
	}
	if s = u.Targets()[0]; !s.Up || !s.EjectedUntil.IsZero() {
		t.Errorf("got status %+v", s)
	}
}

// The last target is never ejected, and a reply of any status is a success.
func TestNotEjected(t *testing.T) {
	seen := collect()
	one := serve(t, func(_ int, c *rawConn) { c.head() })
	u := open(t, upstream.Options{Targets: targets(one.url), Ejection: upstream.Ejection{Failures: 1}, Notify: seen.notify})
	if got := answered(t, u, 5); got["error"] != 5 || !u.Targets()[0].Up {
		t.Errorf("got %v, %+v", got, u.Targets())
	}
	both := open(t, upstream.Options{Targets: targets(dead(t), dead(t)), Ejection: upstream.Ejection{Failures: 1}, Notify: func(upstream.Event) {}})
	answered(t, both, 10)
	if s := both.Targets(); s[0].Up == s[1].Up {
		t.Errorf("got %+v, want exactly one up", s)
	}
	angry := serve(t, always("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))
	u = open(t, upstream.Options{Targets: targets(angry.url, serve(t, always(ok)).url), Ejection: upstream.Ejection{Failures: 1}, Notify: seen.notify})
	answered(t, u, 10)
	if seen.count() != 0 {
		t.Errorf("got events %+v", seen.all)
	}
}

func TestHealthChecks(t *testing.T) {
	var status atomic.Int32
	status.Store(503)
	checks := make(chan string, 1000)
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			return
		}
		body, _ := io.ReadAll(r.Body)
		select {
		case checks <- r.Method + " " + r.URL.Path + " " + r.Host + " " + r.Header.Get("X-Check") + " " + string(body):
		default:
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer sick.Close()
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(204)
		}
	}))
	defer well.Close()
	seen := collect()
	u := open(t, upstream.Options{
		Targets: []upstream.Target{{sick.URL, 1}, {well.URL, 1}},
		Health: upstream.Health{Interval: 20 * time.Millisecond, Method: "POST", Path: "/health", Body: "are you well?", Status: []int{204},
			Header: []sdk.Field{{Name: "X-Check", Value: "1"}, {Name: "Host", Value: "check.example"}}, Healthy: 2, Unhealthy: 3},
		Notify: seen.notify,
	})
	e := <-seen.c
	if e.Up || !e.Active || e.Target != sick.URL || e.Err == nil || !strings.Contains(e.Err.Error(), "503") {
		t.Errorf("got event %+v", e)
	}
	if got := <-checks; got != "POST /health check.example 1 are you well?" {
		t.Errorf("got check %q", got)
	}
	if got := answered(t, u, 6); got[well.URL] != 6 {
		t.Errorf("got %v, want the well one alone", got)
	}
	if s := u.Targets()[0]; s.Up || !s.Unhealthy || s.LastError == "" {
		t.Errorf("got %+v", s)
	}
	status.Store(204)
	if e = <-seen.c; !e.Up || e.Target != sick.URL {
		t.Errorf("got event %+v", e)
	}
	if got := answered(t, u, 6); got[sick.URL] != 3 {
		t.Errorf("got %v, want half each", got)
	}
}

// When every target is down by its checks, they are asked all the same.
func TestAllUnhealthy(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(500)
		}
	}))
	defer s.Close()
	seen := collect()
	u := open(t, upstream.Options{Targets: targets(s.URL, s.URL+"/b"), Health: upstream.Health{Interval: 10 * time.Millisecond, Path: "/health", Unhealthy: 1}, Notify: seen.notify})
	<-seen.c
	<-seen.c
	if got := answered(t, u, 4); got[s.URL]+got[s.URL+"/b"] != 4 {
		t.Errorf("got %v", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]upstream.Options{
		"no target":       {},
		"scheme":          {Targets: targets("ftp://a")},
		"no host":         {Targets: targets("http://")},
		"user":            {Targets: targets("http://u:p@a")},
		"query":           {Targets: targets("http://a/?b")},
		"no socket":       {Targets: targets("unix:")},
		"negative weight": {Targets: []upstream.Target{{"http://a", -1}}},
		"protocol":        {Targets: targets("http://a"), Protocol: "spdy"},
		"health path":     {Targets: targets("http://a"), Health: upstream.Health{Path: "x"}},
	} {
		if _, err := upstream.New(t.Context(), o); err == nil {
			t.Errorf("%s: got no error", name)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: a password is in %q", name, err)
		}
	}
}

func TestUnixTarget(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host+r.RequestURI) })}
	var served sync.WaitGroup
	served.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	defer served.Wait()
	defer s.Close()
	u := open(t, upstream.Options{Targets: targets("unix:" + path)})
	for range 2 {
		f := request("GET", "/x")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if got, err := read(f); err != nil || got.body != "localhost/x" || f.Reply.Target != "unix:"+path {
			t.Errorf("got %+v, %v from %s", got, err, f.Reply.Target)
		}
	}
}
