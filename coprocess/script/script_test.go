package script

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuarantine(t *testing.T) {
	now := time.Unix(1000, 0)
	limits := Limits{Strikes: 3, Window: time.Minute, Hold: time.Second, HoldMost: 3 * time.Second}.Complete()
	q := NewQuarantine(&limits, func() time.Time { return now })
	strike := func() time.Duration {
		t.Helper()
		trial, err := q.Enter()
		if err != nil {
			t.Fatal(err)
		}
		return q.Leave(trial, ErrSize)
	}
	strike()
	strike()
	now = now.Add(time.Minute) // both are forgotten
	for i := range 3 {
		if held := strike(); (held > 0) != (i == 2) {
			t.Fatalf("strike %d: held for %v", i, held)
		}
	}
	for _, hold := range []time.Duration{2 * time.Second, 3 * time.Second, 3 * time.Second} {
		if _, err := q.Enter(); !errors.Is(err, ErrQuarantined) || !errors.Is(err, sdk.ErrUnavailable) {
			t.Fatalf("got %v", err)
		}
		now = now.Add(3 * time.Second)
		trial, err := q.Enter()
		if _, other := q.Enter(); err != nil || !trial || other == nil {
			t.Fatalf("trial %v, %v; a second one: %v", trial, err, other)
		}
		if held := q.Leave(trial, context.DeadlineExceeded); held != hold {
			t.Errorf("held for %v, want %v", held, hold)
		}
	}
	now = now.Add(3 * time.Second)
	trial, _ := q.Enter()
	q.Leave(trial, sdk.ErrOverloaded) // never ran: proves nothing
	if !q.Held() {
		t.Error("free without a trial")
	}
	trial, _ = q.Enter()
	q.Leave(trial, errors.New("failed, within the bounds"))
	if q.Held() {
		t.Error("still held")
	}
	if q.Leave(false, nil) != 0 || q.Leave(false, context.Canceled) != 0 {
		t.Error("no offence holds")
	}
}

func TestPool(t *testing.T) {
	limits := Limits{Idle: 1, Most: 2}.Complete()
	made := 0
	fail := false
	p := NewPool(&limits, func() (int, error) {
		if fail {
			return 0, errors.New("no")
		}
		made++
		return made, nil
	})
	ctx := t.Context()
	a, _ := p.Get(ctx)
	b, _ := p.Get(ctx)
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if _, err := p.Get(short); !errors.Is(err, sdk.ErrOverloaded) {
		t.Errorf("a third: %v", err)
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	if _, err := p.Get(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("whose client left: %v", err)
	}
	p.Put(a)
	p.Put(b)
	if p.Idle() != 1 {
		t.Errorf("%d idle", p.Idle())
	}
	if v, _ := p.Get(ctx); v != a {
		t.Errorf("got %d, want %d", v, a)
	}
	fail = true
	for range 3 { // what cannot be made takes no room
		if _, err := p.Get(ctx); err == nil {
			t.Fatal("made")
		}
	}
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	for {
		if _, err := p.Get(ctx); errors.Is(err, sdk.ErrUnavailable) {
			break
		}
	}
	select {
	case <-closed:
		t.Error("closed while one is in use")
	default:
	}
	p.Put(a)
	<-closed
	if p.Idle() != 0 {
		t.Error("kept after Close")
	}
}

func TestWatch(t *testing.T) {
	w := NewWatch()
	defer w.Close()
	limits := Limits{Time: 20 * time.Millisecond, Heap: 8 << 20}.Complete()
	told := make(chan error, 1)
	c := w.Call(func(err error) { told <- err })
	c.Begin(t.Context(), &limits)
	if err := <-told; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(c.Breach(), context.DeadlineExceeded) {
		t.Errorf("too long: %v, %v", err, c.Breach())
	}
	if err := c.End(); !errors.Is(err, context.DeadlineExceeded) || c.End() != nil {
		t.Errorf("got %v", err)
	}

	limits.Time = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	c.Begin(ctx, &limits)
	cancel()
	if err := <-told; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	c.End()

	c.Begin(t.Context(), &limits)
	var held [][]byte
	for stop := false; !stop; {
		held = append(held, make([]byte, 64<<10))
		select {
		case err := <-told:
			stop = true
			if !errors.Is(err, ErrHeap) {
				t.Errorf("too much: %v", err)
			}
		default:
		}
	}
	if len(held) < 8<<20/(64<<10) {
		t.Errorf("interrupted at %d KiB", len(held)*64)
	}
	c.End()

	c.Begin(t.Context(), &limits) // one that keeps to the bounds is left alone
	if err := c.End(); err != nil || len(told) > 0 {
		t.Errorf("got %v", err)
	}
}

// TestWatchSleeps: the watch sleeps when there is nothing to watch, and wakes.
func TestWatchSleeps(t *testing.T) {
	w := NewWatch()
	defer w.Close()
	limits := Limits{Time: time.Millisecond}.Complete()
	for range 3 {
		told := make(chan error, 1)
		c := w.Call(func(err error) { told <- err })
		c.Begin(t.Context(), &limits)
		<-told
		c.End()
		for asleep := false; !asleep; {
			w.mu.Lock()
			asleep = w.resting
			w.mu.Unlock()
		}
	}
}

func TestStore(t *testing.T) {
	now := time.Now()
	db, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx := t.Context()
	s, other := NewStore(func() (Storage, error) { return db, nil }, "a", func() time.Time { return now }), NewStore(func() (Storage, error) { return db, nil }, "b", func() time.Time { return now })
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(s.Set(ctx, "k", []byte{0xff}, time.Minute))
	if v, ok, err := s.Get(ctx, "k"); err != nil || !ok || string(v) != "\xff" {
		t.Errorf("got %q %v %v", v, ok, err)
	}
	if _, ok, err := other.Get(ctx, "k"); ok || err != nil {
		t.Errorf("another's entry: %v %v", ok, err)
	}
	if wrote, err := s.SetNew(ctx, "k", nil, 0); wrote || err != nil {
		t.Errorf("written over: %v %v", wrote, err)
	}
	if left, ok, err := s.TTL(ctx, "k"); err != nil || !ok || left < 59*time.Second || left > time.Minute+time.Millisecond { // ends are kept to the millisecond
		t.Errorf("left %v %v %v", left, ok, err)
	}
	now = now.Add(2 * time.Minute)
	if _, ok, err := s.TTL(ctx, "k"); ok || err != nil {
		t.Errorf("ended: %v %v", ok, err)
	}
	for want := int64(2); want <= 4; want += 2 {
		if sum, err := s.Add(ctx, "n", 2, 0); err != nil || sum != want {
			t.Errorf("sum %d %v", sum, err)
		}
	}
	check(s.Delete(ctx, "n"))
	for _, err := range []error{
		s.Set(ctx, "", nil, 0), s.Set(ctx, strings.Repeat("k", MaxStoreKey+1), nil, 0), s.Set(ctx, "k", make([]byte, MaxStoreValue+1), 0),
		s.Set(ctx, "k", nil, -1), s.Delete(ctx, ""),
	} {
		if !errors.Is(err, ErrEntry) {
			t.Errorf("got %v", err)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"root/a.js": "a", "root/lib/b.js": "b", "root/lib/c.txt": "c", "root/big.js": "123456789", "secret.js": "s"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret.js", filepath.Join(dir, "root/link.js")); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFiles(filepath.Join(dir, "root"), 8)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for name, want := range map[string]Source{
		"a.js": {"a.js", "a"}, "./lib/../lib/b.js": {"lib/b.js", "b"}, filepath.Join(dir, "root", "a.js"): {"a.js", "a"},
	} {
		if got, err := f.Read(name); err != nil || got != want || !f.Exists(name) {
			t.Errorf("%s: got %v %v", name, got, err)
		}
	}
	for _, name := range []string{"../secret.js", "link.js", "lib", "none.js", "big.js", filepath.Join(dir, "secret.js"), "lib/../../secret.js"} {
		if got, err := f.Read(name); err == nil || !strings.Contains(err.Error(), "script ") {
			t.Errorf("%s: got %v %v", name, got, err)
		}
	}
	if f.Exists("link.js") || f.Exists("lib") {
		t.Error("what cannot be read exists")
	}
	names, err := f.List("lib", ".js")
	if d := cmp.Diff([]string{"lib/b.js"}, names); d != "" || err != nil {
		t.Error(d, err)
	}
	if names, err := f.List("none", ".js"); names != nil || err != nil {
		t.Error(names, err)
	}
	if _, err := f.List("..", ".js"); err == nil {
		t.Error("listed what is outside")
	}
}

func TestHTTP(t *testing.T) {
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/large":
			_, _ = w.Write(make([]byte, 100))
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.Header.Get("X-A"), r.Header.Get(HopHeader))
	}))
	defer web.Close()
	defer close(release)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	h := NewHTTP(client, HTTPLimits{Body: 99, Hops: 2})
	var by sdk.Header
	by.Append(HopHeader, "1")
	reply, err := h.Do(t.Context(), &by, HTTPRequest{URL: web.URL, Header: []sdk.Field{{Name: "X-A", Value: "a"}, {Name: "host", Value: "other.test"}}})
	if err != nil || string(reply.Body) != "GET other.test a 2" {
		t.Errorf("got %+v, %v", reply, err)
	}
	for _, hops := range []string{"2", "70000", "99999999999999999999"} {
		var by sdk.Header
		by.Append(HopHeader, hops)
		if _, err := h.Do(t.Context(), &by, HTTPRequest{URL: web.URL}); !errors.Is(err, ErrLoop) {
			t.Errorf("after %s: %v", hops, err)
		}
	}
	if _, err := h.Do(t.Context(), nil, HTTPRequest{URL: web.URL + "/large"}); !errors.Is(err, sdk.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	_, err = h.Do(t.Context(), nil, HTTPRequest{URL: web.URL + "/slow", Timeout: 10 * time.Millisecond})
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a timeout of its own: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := h.Do(ctx, nil, HTTPRequest{URL: web.URL + "/slow"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call's: %v", err)
	}
	for _, r := range []HTTPRequest{{URL: "ftp://x"}, {URL: "/p"}, {URL: "http://"}, {URL: web.URL, Method: "A B"}, {URL: web.URL, Header: []sdk.Field{{Name: "a", Value: "b\r\nc: d"}}}} {
		if _, err := h.Do(t.Context(), nil, r); err == nil {
			t.Errorf("%+v was sent", r)
		}
	}
}

func TestError(t *testing.T) {
	e := &Error{Plugin: "p", File: "a.js", Line: 3, Message: "one\ntwo", Err: ErrHeap}
	if got, want := e.Error(), `plugin "p": a.js:3: one two`; got != want || !errors.Is(e, ErrHeap) || !Offence(e) {
		t.Errorf("got %s", got)
	}
	if Offence(context.Canceled) || Offence(nil) || Offence(ErrLoop) {
		t.Error("no offence")
	}
}

// Files in memory are read as those on disk are.
func TestMemoryFiles(t *testing.T) {
	f := MemoryFiles(map[string]string{"main.js": "m", "lib/a.js": "a", "lib/b.js": "b", "lib/deep/c.js": "c", "big.js": strings.Repeat("x", 101)}, 100)
	for name, want := range map[string]string{"main.js": "m", "./lib/a.js": "a", "lib/../main.js": "m"} {
		if got, err := f.Read(name); err != nil || got.Text != want || !f.Exists(name) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"../main.js", "/main.js", "big.js", "lib", "none.js"} {
		if got, err := f.Read(name); err == nil {
			t.Errorf("%s: read %q", name, got.Text)
		}
	}
	if got, err := f.List("lib", ".js"); err != nil || !slices.Equal(got, []string{"lib/a.js", "lib/b.js"}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
