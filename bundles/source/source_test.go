package source_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	write("a.zip", "A")
	write("a.zip.dsse.json", "adoption")
	write("acme/b.zip", "B")
	write("large.zip", strings.Repeat("x", 101))
	write("plain", "P")
	for link, target := range map[string]string{"out.zip": outside, "in.zip": "a.zip", "loop.zip": "loop.zip"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.zip"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := source.Open("file://"+dir, source.HTTPOptions{Limits: source.Limits{Archive: 100, Adoption: 10}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, test := range []struct {
		name, sha256, content string
		want                  refusal.Code
	}{
		{"a", "", "A", ""}, {"a.zip", "", "A", ""}, {"acme/b", "", "B", ""}, {"plain", "", "P", ""}, {"in", "", "A", ""},
		{"a", bundlestest.SHA256("A"), "A", ""}, {"a", bundlestest.SHA256("B"), "", refusal.SourceDigest},
		{"large", "", "", refusal.LimitArchive}, {"out", "", "", refusal.SourceKind}, {"loop", "", "", refusal.SourceKind},
		{"folder", "", "", refusal.SourceKind}, {"pipe", "", "", refusal.SourceKind}, {"nothing", "", "", refusal.SourceMissing},
		{"../a", "", "", refusal.SourceName}, {"/a", "", "", refusal.SourceName}, {"a//b", "", "", refusal.SourceName}, {"", "", "", refusal.SourceName},
		{"a%2e", "", "", refusal.SourceName}, {"a?b", "", "", refusal.SourceName}, {`a\b`, "", "", refusal.SourceName},
	} {
		got, err := s.Fetch(t.Context(), test.name, test.sha256)
		wantCode(t, test.name, err, test.want)
		if err == nil && string(got.Archive) != test.content {
			t.Errorf("%s: %q", test.name, got.Archive)
		}
	}
	got, err := s.Fetch(t.Context(), "a", "")
	if err != nil || string(got.Adoption) != "adoption" || got.PlainHTTP {
		t.Errorf("%+v %v", got, err)
	}
	one, err := source.ReadFile(filepath.Join(dir, "a.zip"), source.DefaultLimits())
	if err != nil || string(one.Archive) != "A" || string(one.Adoption) != "adoption" {
		t.Errorf("%+v %v", one, err)
	}
	_, err = source.ReadFile(filepath.Join(dir, "nothing.zip"), source.DefaultLimits())
	wantCode(t, "a file that is not there", err, refusal.SourceMissing)
	missing := source.NewFolder(filepath.Join(dir, "nowhere"), source.DefaultLimits())
	_, err = missing.Fetch(t.Context(), "a", "")
	wantCode(t, "no folder", err, refusal.SourceMissing)
}

// options wait for nothing, and count waits.
func options(t *testing.T, waits *[]time.Duration) source.HTTPOptions {
	t.Helper()
	return source.HTTPOptions{
		Limits: source.Limits{Archive: 1000, Adoption: 100}, AllowPlainHTTP: true, Timeout: 10 * time.Second,
		Wait: func(ctx context.Context, d time.Duration) error {
			if waits != nil {
				*waits = append(*waits, d)
			}
			return ctx.Err()
		},
	}
}

func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func open(t *testing.T, base string, o source.HTTPOptions) source.Source {
	t.Helper()
	s, err := source.Open(base, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestHTTP(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "elsewhere") })
	tries := map[string]int{}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		tries[r.URL.Path]++
		if r.Header.Get("Accept-Encoding") != "" && r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("asks for encodings: %v", r.Header)
		}
		switch r.URL.Path {
		case "/base/good.zip", "/base/acme/deep.zip", "/base/bare":
			fmt.Fprint(w, "good")
		case "/base/adopted.zip":
			fmt.Fprint(w, "adopted")
		case "/base/adopted.zip.dsse.json":
			fmt.Fprint(w, "{}")
		case "/base/flaky.zip":
			if tries[r.URL.Path] < 3 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, "good")
		case "/base/down.zip":
			w.WriteHeader(http.StatusInternalServerError)
		case "/base/teapot.zip":
			w.WriteHeader(http.StatusTeapot)
		case "/base/moved.zip":
			http.Redirect(w, r, "/base/good.zip", http.StatusFound)
		case "/base/away.zip":
			http.Redirect(w, r, other.URL+"/base/good.zip", http.StatusFound)
		case "/base/circle.zip":
			http.Redirect(w, r, "/base/circle.zip", http.StatusFound)
		case "/base/announced.zip":
			w.Header().Set("Content-Length", "1001")
			_, _ = w.Write(make([]byte, 1001))
		case "/base/endless.zip":
			for range 100 {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		case "/base/gzip.zip":
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, "good")
		case "/base/cut.zip":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
				_ = conn.Close()
			}
		case "/base/hangup.zip":
			panic(http.ErrAbortHandler)
		case "/base/heads.zip":
			w.Header().Set("X", strings.Repeat("x", 100<<10))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	var waits []time.Duration
	s := open(t, server.URL+"/base", options(t, &waits))
	for _, test := range []struct {
		name, content string
		want          refusal.Code
		waits         int
	}{
		{"good", "good", "", 0}, {"good.zip", "good", "", 0}, {"acme/deep", "good", "", 0}, {"bare", "good", "", 0}, {"adopted", "adopted", "", 0},
		{"flaky", "good", "", 2}, {"down", "", refusal.SourceStatus, 3}, {"teapot", "", refusal.SourceStatus, 0}, {"nothing", "", refusal.SourceMissing, 0},
		{"moved", "good", "", 0}, {"away", "", refusal.SourceRedirect, 0}, {"circle", "", refusal.SourceRedirect, 0},
		{"announced", "", refusal.LimitArchive, 0}, {"endless", "", refusal.LimitArchive, 0}, {"gzip", "", refusal.SourceStatus, 0},
		{"cut", "", refusal.SourceFailed, 3}, {"hangup", "", refusal.SourceFailed, 3}, {"heads", "", refusal.SourceFailed, 3},
		{"../good", "", refusal.SourceName, 0},
	} {
		waits = nil
		got, err := s.Fetch(t.Context(), test.name, "")
		wantCode(t, test.name, err, test.want)
		if string(got.Archive) != test.content || len(waits) != test.waits || err == nil && !got.PlainHTTP {
			t.Errorf("%s: %q after %v", test.name, got.Archive, waits)
		}
		if (string(got.Adoption) == "{}") != (test.name == "adopted") {
			t.Errorf("%s: countersignature %q", test.name, got.Adoption)
		}
	}
	if waits = nil; true {
		_, _ = s.Fetch(t.Context(), "down", "")
		if fmt.Sprint(waits) != "[200ms 400ms 800ms]" {
			t.Errorf("waits %v", waits)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Fetch(ctx, "good", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, err := s.Fetch(t.Context(), "good", bundlestest.SHA256("evil"))
	wantCode(t, "pinned", err, refusal.SourceDigest)
}

func TestHTTPAddresses(t *testing.T) {
	for base, want := range map[string]refusal.Code{
		"http://127.0.0.1:1": refusal.SourceInsecure, "ftp://x/y": refusal.SourceScheme, "https://": refusal.SourceScheme,
		"s3://bucket": refusal.SourceScheme, "https://127.0.0.1:1": "", "some/folder": "",
	} {
		s, err := source.Open(base, source.HTTPOptions{Limits: source.DefaultLimits()})
		wantCode(t, base, err, want)
		if err == nil {
			_ = s.Close()
		}
	}
	o := options(t, nil)
	o.Attempts = 1
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, err = open(t, "http://user:secret@"+address, o).Fetch(t.Context(), "x", "")
	wantCode(t, "nobody listens", err, refusal.SourceFailed)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("tells the password: %v", err)
	}
}

// Trust in a server's certificate is that of this source alone.
func TestHTTPS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "good") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	o := options(t, nil)
	o.Attempts = 1
	o.TLS = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	got, err := open(t, server.URL, o).Fetch(t.Context(), "x", "")
	if err != nil || string(got.Archive) != "good" || got.PlainHTTP {
		t.Errorf("%+v %v", got, err)
	}
	o.TLS = nil
	_, err = open(t, server.URL, o).Fetch(t.Context(), "x", "")
	wantCode(t, "unknown authority", err, refusal.SourceFailed)
	if transport, ok := http.DefaultTransport.(*http.Transport); !ok || transport.TLSClientConfig != nil && transport.TLSClientConfig.InsecureSkipVerify {
		t.Error("the whole process trusts everybody now")
	}
}

func TestCache(t *testing.T) {
	dir := t.TempDir()
	cache, err := source.NewCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	var content atomic.Pointer[string]
	set := func(s string) { content.Store(&s) }
	var full, asked, down atomic.Int32
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".json") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		etag := `"` + *content.Load() + `"`
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		fmt.Fprint(w, *content.Load())
	})
	o := options(t, nil)
	o.Cache = cache
	s := open(t, server.URL, o)
	fetch := func(sha256 string) (source.Fetched, error) { return s.Fetch(t.Context(), "x", sha256) }
	check := func(what, want string, wantFull int32, stale bool) {
		t.Helper()
		got, err := fetch("")
		if err == nil {
			err = got.Keep()
		}
		if err != nil || string(got.Archive) != want || full.Load() != wantFull || (got.Stale != nil) != stale {
			t.Errorf("%s: %q, sent in full %d times, stale %v, %v", what, got.Archive, full.Load(), got.Stale, err)
		}
	}
	set("one")
	check("first", "one", 1, false)
	check("not modified", "one", 1, false)
	set("two")
	check("modified", "two", 2, false)
	down.Store(1)
	check("server down", "two", 2, true)
	before := asked.Load()
	got, err := fetch(bundlestest.SHA256("one"))
	if err != nil || string(got.Archive) != "one" || asked.Load() != before+4 { // for the countersignature alone
		t.Errorf("pinned, from the cache: %+v %v", got, err)
	}
	down.Store(0)
	// What is changed in the cache is not in it any more.
	path := filepath.Join(dir, "sha256", bundlestest.SHA256("two"))
	if err := os.WriteFile(path, []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	check("cache changed", "two", 3, false)
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, []byte("two")) {
		t.Errorf("not repaired: %q %v", data, err)
	}
	if err := cache.Prune([]string{bundlestest.SHA256("one")}); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "sha256"))
	if err != nil || len(left) != 1 || left[0].Name() != bundlestest.SHA256("one") {
		t.Errorf("left %v %v", left, err)
	}
	down.Store(1)
	_, err = fetch("")
	wantCode(t, "down and not cached", err, refusal.SourceStatus)
}

// A server that sends something else each time fills no disk, and pushes nothing out that was verified; and no password
// is written to the disk.
func TestCacheKeepsWhatWasVerified(t *testing.T) {
	dir := t.TempDir()
	cache, err := source.NewCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	var count atomic.Int32
	var down atomic.Bool
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, ".json"):
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, "content ", count.Add(1))
		}
	})
	o := options(t, nil)
	o.Cache = cache
	s := open(t, strings.Replace(server.URL, "://", "://me:s3cret@", 1), o)
	fetch := func() source.Fetched {
		t.Helper()
		got, err := s.Fetch(t.Context(), "x", "")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if err := fetch().Keep(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		fetch() // and refuse it
	}
	kept := 0
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		kept++
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "s3cret") {
			t.Errorf("%s holds %s", path, text)
		}
		return err
	})
	if err != nil || kept != 2 {
		t.Errorf("%d files are kept, one is the content and one says whose it is (%v)", kept, err)
	}
	down.Store(true)
	if got := fetch(); string(got.Archive) != "content 1" || got.Stale == nil {
		t.Errorf("%q (%v)", got.Archive, got.Stale)
	}
}
