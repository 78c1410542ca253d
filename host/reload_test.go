package host

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Two definitions want one listen path: the first by file name serves, the second is refused, and both are named; also
// when the second served it before, and again when the first is gone.
func TestTwoDefinitionsWithOneListenPath(t *testing.T) {
	dir := t.TempDir()
	write := func(name, id string) {
		t.Helper()
		text := "id: " + id + "\nlisten: {path: /a}\nupstream: {url: http://127.0.0.1:1}\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, w := gateway(t), newWorld(nil)
	reload := func() error {
		set, _ := config.Loader{WorkDir: dir}.LoadDir(dir)
		return g.Load(t.Context(), set, w, false)
	}
	serving := func(id string) {
		t.Helper()
		before := 0
		if u := w.up[id]; u != nil {
			before = u.calls()
		}
		if c := get(t, g, "/a"); c.status != 200 || w.up[id] == nil || w.up[id].calls() != before+1 {
			t.Errorf("got %d, want an answer of %s", c.status, id)
		}
	}
	write("b.yaml", "b")
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	serving("b")
	write("a.yaml", "a")
	err := reload()
	if err == nil || !strings.Contains(err.Error(), "a.yaml") || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("got %v, want both named", err)
	}
	serving("a")
	states := map[string]string{}
	for _, r := range g.Status().Routes {
		states[filepath.Base(r.File)] = r.State + " " + r.Reason
	}
	if states["a.yaml"] != "serving " || !strings.HasPrefix(states["b.yaml"], "refused ") || !strings.Contains(states["b.yaml"], "a.yaml") {
		t.Errorf("got %v", states)
	}
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := reload(); err != nil {
		t.Error(err)
	}
	serving("b")
}

func at(t *testing.T, id, path, more string) *config.Definition {
	t.Helper()
	d := definition(t, "listen: {path: "+path+"}\nupstream: {url: http://127.0.0.1:1}\n"+more)
	d.ID, d.Source.File = id, id+".yaml"
	return d
}

// A route that goes on because its definition could not be compiled anew is tried again by the next load, although the
// definition has not changed since it served.
func TestStaleRouteIsTriedAgain(t *testing.T) {
	g, w := gateway(t), newWorld(map[string]sdk.Hook{"h": fn(func(*sdk.Exchange) error { return nil })})
	d := at(t, "a", "/a", "hooks: {pre: [{hook: h}]}")
	if err := load(t, g, w, d); err != nil {
		t.Fatal(err)
	}
	before := g.table.Load().routes[0]
	w.failure = errors.New("no certificate")
	if err := g.Load(t.Context(), config.Set{Definitions: []*config.Definition{d}}, w, true); err == nil {
		t.Fatal("got no error")
	}
	if s := g.Status().Routes[0]; s.State != "stale" || g.table.Load().routes[0] != before {
		t.Fatalf("got %+v", s)
	}
	if err := load(t, g, w, d); err == nil || g.Status().Routes[0].State != "stale" {
		t.Errorf("still broken: got %v, %s", err, g.Status().Routes[0].State)
	}
	w.failure = nil
	if err := load(t, g, w, d); err != nil || g.Status().Routes[0].State != "serving" || g.table.Load().routes[0] == before {
		t.Errorf("mended: got %v, %s", err, g.Status().Routes[0].State)
	}
}

// A definition that compiles has a better right to a listen path than one that only had it.
func TestGoodDefinitionTakesThePlace(t *testing.T) {
	g, w := gateway(t), newWorld(nil)
	if err := load(t, g, w, at(t, "a", "/x", ""), at(t, "b", "/y", "")); err != nil {
		t.Fatal(err)
	}
	if err := load(t, g, w, at(t, "a", "/z", "hooks: {pre: [{hook: missing}]}"), at(t, "b", "/x", "")); err == nil {
		t.Fatal("got no error")
	}
	before := w.up["b"].calls()
	if c := get(t, g, "/x"); c.status != 200 || w.up["b"].calls() != before+1 {
		t.Errorf("/x: got %d, want b's answer", c.status)
	}
	if c := get(t, g, "/z"); c.status != 503 {
		t.Errorf("/z: got %d, want 503", c.status)
	}
	places := map[string]int{}
	for _, r := range g.Status().Routes {
		places[r.ListenPath]++
	}
	if places["/x"] != 1 {
		t.Errorf("got %v", places)
	}
}

// moving is a world whose servers have an identity.
type moving struct {
	*world
	id   string
	told []string // ids, of servers that got records
}

type movedServer struct {
	server
	id string
	w  *moving
}

func (m *moving) Server(d *config.Definition, name string) (Server, error) {
	s, err := m.world.Server(d, name)
	if err != nil {
		return nil, err
	}
	return movedServer{s.(server), m.id, m}, nil
}

func (s movedServer) Identity() any { return s.id }
func (s movedServer) Observer(string) sdk.Observer {
	return sdk.ObserverFunc(func(_ context.Context, b sdk.Batch) error {
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		for range b.Records {
			s.w.told = append(s.w.told, s.id)
		}
		return nil
	})
}

// An observer's server that has moved is followed, though routes that are drained still feed it where it was.
func TestObserverFollowsItsServer(t *testing.T) {
	g, w := gateway(t), &moving{world: newWorld(nil), id: "old"}
	d := at(t, "a", "/a", "observers: [{observer: o}]")
	set := config.Set{Definitions: []*config.Definition{d}}
	if err := g.Load(t.Context(), set, w, false); err != nil {
		t.Fatal(err)
	}
	get(t, g, "/a")
	held := g.table.Load().routes[0]
	if !held.acquire(0) {
		t.Fatal("retired")
	}
	w.id = "new"
	if err := g.Load(t.Context(), set, w, true); err != nil {
		t.Fatal(err)
	}
	get(t, g, "/a")
	held.release(0)
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.told) // the two are told each by its own goroutine
	if got := strings.Join(w.told, " "); got != "new old" {
		t.Errorf("told %q, want each its own", got)
	}
}

// Reloads, while requests run through real connections, fail none of them and leave nothing behind.
func TestReloadHammer(t *testing.T) {
	reloads := 200
	if n, err := strconv.Atoi(os.Getenv("TURNBUCKLE_SOAK")); err == nil && n > 0 {
		reloads = 2000
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.URL.Path) }))
	defer up.Close()
	g := newGateway(t, time.Minute)
	address := behind(t, g)
	w := wired{newWorld(map[string]sdk.Hook{"h": fn(func(*sdk.Exchange) error { return nil })})}
	next := func(n int) config.Set {
		var ds []*config.Definition
		for _, id := range []string{"a", "b"} {
			d := definition(t, "listen: {path: /"+id+"}\nupstream: {url: "+up.URL+"}\nobservers: [{observer: o}]\nhooks: {pre: [{hook: h}]}\n")
			d.ID, d.Source.File = id, id+".yaml"
			if id == "a" {
				d.Tags = []string{strconv.Itoa(n)}
			}
			ds = append(ds, d)
		}
		return config.Set{Definitions: ds}
	}
	if err := g.Load(t.Context(), next(0), w, false); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	var asked, failed atomic.Int64
	for i := range 4 {
		clients.Go(func() {
			c := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				path := "/" + []string{"a", "b"}[i%2] + "/x"
				resp, err := c.Get("http://" + address + path)
				asked.Add(1)
				if err != nil || resp.StatusCode != 200 {
					failed.Add(1)
					t.Errorf("%v, %v", resp, err)
					return
				}
				_ = resp.Body.Close()
			}
		})
	}
	defer clients.Wait()
	defer stop()
	settled := measure(g, w.world, asked.Load, 20)
	for n := 1; n <= reloads; n++ {
		if err := g.Load(t.Context(), next(n), w, n%10 == 0); err != nil {
			t.Fatal(err)
		}
		if n == reloads/10 {
			settled = measure(g, w.world, asked.Load, asked.Load()+20)
		}
	}
	after := measure(g, w.world, asked.Load, asked.Load()+20)
	stop()
	clients.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
	if after.goroutines > settled.goroutines+20 {
		t.Errorf("%d goroutines, %d after a tenth of the reloads", after.goroutines, settled.goroutines)
	}
	if after.heap > settled.heap+(1<<20) {
		t.Errorf("%d bytes of heap, %d after a tenth of the reloads", after.heap, settled.heap)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if w.opens != w.closes {
		t.Errorf("%d servers opened, %d closed", w.opens, w.closes)
	}
	t.Logf("%d requests over %d reloads; %+v, then %+v", asked.Load(), reloads, settled, after)
}

type resources struct {
	goroutines int
	heap       uint64
}

// measure waits until what is retired has been closed and some more requests were asked, and returns what is in use.
func measure(g *Gateway, w *world, asked func() int64, least int64) resources {
	for late := time.Now().Add(patience); asked() < least && time.Now().Before(late); {
		runtime.Gosched()
	}
	g.retired.Wait()
	w.mu.Lock()
	w.batches = nil // the test's own
	w.mu.Unlock()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return resources{runtime.NumGoroutine(), m.HeapAlloc}
}

// What a definition ran before does not go on when it was withdrawn, whatever is wrong with the newer form.
func TestWithdrawn(t *testing.T) {
	g, w := gateway(t), newWorld(nil)
	if err := load(t, g, w, at(t, "a", "/a", ""), at(t, "b", "/b", "")); err != nil {
		t.Fatal(err)
	}
	refusedNow := config.Refused{File: "a.yaml", Identity: config.Identity{ID: "a", ListenPath: "/a"}, Problems: config.Problems{{Message: "revoked"}}}
	set := config.Set{Refused: []config.Refused{refusedNow}, Definitions: []*config.Definition{at(t, "b", "/b", "hooks: {pre: [{hook: missing}]}")}}
	if err := g.Load(t.Context(), set, w, false); err == nil || get(t, g, "/a").status != 200 {
		t.Fatalf("not withdrawn: got %v", err)
	}
	set.Withdrawn = []string{"a", "b"}
	if err := g.Load(t.Context(), set, w, false); err == nil {
		t.Fatal("got no error")
	}
	for _, path := range []string{"/a", "/b"} {
		if c := get(t, g, path); c.status != 503 {
			t.Errorf("%s: got %d, want 503", path, c.status)
		}
	}
	next := New(t.Context(), g.options)
	next.Inherit(g)
	if err := next.Load(t.Context(), set, w, false); err == nil || get(t, next, "/a").status != 503 {
		t.Errorf("inherited: got %v", err)
	}
	if err := next.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
