package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// shop is an HTTP server of one bundle, which fails in every way by turns.
type shop struct {
	archive atomic.Pointer[[]byte]
	asked   atomic.Int64
	failing atomic.Bool
	failed  atomic.Int64
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data := *s.archive.Load()
	n := s.asked.Add(1)
	if s.failing.Load() && n%3 != 0 {
		s.failed.Add(1)
		switch n % 4 {
		case 0:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case 1:
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data[:len(data)/2]) // and the connection is cut
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			_, _ = w.Write(append([]byte(nil), data[:len(data)-1]...)) // whole, and not what was signed
		}
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

// releaseOf packs and signs a release of the plugin guard, whose hook says which one it is.
func releaseOf(t *testing.T, key sign.SecretKey, n int) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin.yaml": fmt.Sprintf("name: guard\nversion: 1.%d.0\nruntime: js\nhooks: [{name: pre, phase: pre, timeout: 15s}]\n", n),
		"main.js":     fmt.Sprintf("exports.pre = x => x.request.headers.set('X-Trail', '/pre r%d.')\n", n),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := bundles.Build(dir, bundles.BuildOptions{
		Release: bundles.Release{Name: "guard", Version: fmt.Sprintf("1.%d.0", n), Created: time.Now()}, Limits: archive.DefaultLimits(),
	})
	if err == nil {
		data, err = bundles.Sign(data, key, archive.DefaultLimits())
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestBundlesReplaced: a bundle is replaced again and again under load, some of the releases refused and its server failing
// now and then. No request fails, and each is answered by a release that was signed.
func TestBundlesReplaced(t *testing.T) {
	t.Parallel()
	key, err := sign.Generate(sign.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/a.yaml": fmt.Sprintf("listen: {path: /a}\nupstream: {url: \"http://%s\"}\nbundles: [guard]\n", up.address),
		"release.pub": string(key.Public().PEM()),
	}, nil)
	s := &shop{}
	first := releaseOf(t, key, 0)
	s.archive.Store(&first)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	g := startGateway(t, dir, []string{"TURNBUCKLE_DRAIN_TIMEOUT=15s", "TURNBUCKLE_BUNDLES_POLL=100ms"},
		"--bundle-base-url", server.URL, "--public-key", "release.pub", "--require-signed")
	before := g.goroutines()
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() { askUntil(ctx, t, g.url) })
	}
	count := sampled(100, 6)
	for n := 1; n <= count; n++ {
		s.failing.Store(n%5 == 0)
		data := releaseOf(t, key, n)
		if n%4 == 0 { // somebody else's: what serves goes on
			stranger, err := sign.Generate(sign.Ed25519)
			if err != nil {
				t.Fatal(err)
			}
			evil := releaseOf(t, stranger, n)
			s.archive.Store(&evil)
			if got := g.control("POST", "/v1/bundles/reload"); n%5 != 0 && (statusOf(got) != "422" || !strings.Contains(got, "key_unknown")) {
				t.Errorf("a stranger's release: %s", got)
			}
		}
		s.archive.Store(&data)
		if n%2 == 0 { // else the poll finds it
			g.control("POST", "/v1/bundles/reload")
		}
		want := fmt.Sprintf("r%d.", n)
		until(t, "release "+want, func() bool { return strings.Contains(ask(t, g.url+"/a/x"), want) })
	}
	stop()
	workers.Wait()
	if got := g.control("GET", "/v1/bundles"); !strings.Contains(got, fmt.Sprintf(`"version": "1.%d.0"`, count)) {
		t.Errorf("%s", got)
	}
	if count > 10 && s.failed.Load() == 0 {
		t.Error("the server never failed")
	}
	g.atRest(before)
}
