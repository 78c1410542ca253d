package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestReloadFailsNoRequest: requests run on kept connections and through hooks while definitions change in every way
// they can.
func TestReloadFailsNoRequest(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": definition(up, 0)}, nil)
	start(t, dir, environment(), "plugin", "-listen", "unix:"+dir+"/p.sock")
	g := startGateway(t, dir, []string{"TURNBUCKLE_DRAIN_TIMEOUT=15s"}, "--plugin-server", "unix:"+dir+"/p.sock")
	before := g.goroutines()
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() { askUntil(ctx, t, g.url) })
	}
	file := filepath.Join(dir, "apis", "a.yaml")
	for i := 1; i <= 9; i++ {
		write(t, file, definition(up, i))
		switch i % 3 {
		case 0:
			if got := g.control("POST", "/v1/reload"); statusOf(got) != "200" {
				t.Errorf("reload: %s", got)
			}
		case 1:
			if err := g.Signal(syscall.SIGHUP); err != nil {
				t.Error(err)
			}
		}
		want := fmt.Sprintf("GET /v%d/x", i)
		until(t, "serving "+want, func() bool { return strings.Contains(ask(t, g.url+"/a/x"), want) })
		write(t, file, "listen: {path: /a\n") // torn: what serves goes on
	}
	stop()
	workers.Wait()
	g.atRest(before)
}

func definition(up *process, version int) string {
	return fmt.Sprintf("listen: {path: /a}\nupstream: {url: \"http://%s/v%d\"}\nhooks: {pre: [{hook: Trail, timeout: 15s}], response: [{hook: Trail, timeout: 15s}]}\n",
		up.address, version)
}

// write puts a file in its place in one step.
func write(t *testing.T, file, text string) {
	t.Helper()
	next := filepath.Join(filepath.Dir(file), ".next")
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// askUntil asks one request after the other on one connection; every one must get its whole reply.
func askUntil(ctx context.Context, t *testing.T, url string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/a/x", strings.NewReader("body"))
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			return
		}
		var body strings.Builder
		err = resp.Write(&body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(body.String(), "X-Trail: /pre") {
			t.Errorf("request %d: %v, %s", n, err, body.String())
			return
		}
	}
}

// TestStreamsAcrossReload: a reply that goes on when its definition changes has the drain timeout to end, then it is
// cut; new requests meet the new definition at once.
func TestStreamsAcrossReload(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": definition(up, 0)}, nil)
	text := func(path string) string {
		return fmt.Sprintf("listen: {path: /a}\nupstream: {url: \"http://%s%s\"}\n", up.address, path)
	}
	file := filepath.Join(dir, "apis", "a.yaml")
	write(t, file, text(""))
	g := startGateway(t, dir, []string{"TURNBUCKLE_DRAIN_TIMEOUT=300ms"})
	before := g.goroutines()
	ended := g.holdEvents(up)
	write(t, file, text("/new"))
	if got := g.control("POST", "/v1/reload"); statusOf(got) != "200" {
		t.Errorf("reload: %s", got)
	}
	if got := ask(t, g.url+"/a/x"); !strings.Contains(got, "GET /new/x") {
		t.Errorf("after the reload: %s", got)
	}
	ended()
	g.atRest(before)
}

// holdEvents begins a stream of events through the gateway and returns once the first has come. ended waits until the stream
// has ended, and fails the test unless it was cut after its first event.
func (g *served) holdEvents(up *process) (ended func()) {
	g.t.Helper()
	replies := make(chan string, 1)
	go func() {
		r := request{method: "GET", url: g.url + "/a/events"}
		ctx, cancel := context.WithTimeout(g.t.Context(), patience)
		defer cancel()
		reply, err := r.send(ctx)
		if err != nil {
			reply = err.Error()
		}
		replies <- reply
	}()
	mustAwait(g.t, up, "holding events")
	return func() {
		g.t.Helper()
		if reply := <-replies; !strings.Contains(reply, "data: first") || !strings.Contains(reply, "(cut: ") {
			g.t.Errorf("got %s, want the first event and a cut", reply)
		}
		mustAwait(g.t, up, "left events")
	}
}
