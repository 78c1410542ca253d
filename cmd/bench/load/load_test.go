package load

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClient(t *testing.T) {
	var asked, odd atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "token" || r.URL.RequestURI() != "/a?b" {
			odd.Add(1)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	defer server.Close()
	result, err := Client(t.Context(), Job{
		URL: server.URL + "/a?b", Connections: 3, Duration: 100 * time.Millisecond, Header: [][2]string{{"Authorization", "token"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := result.Check(); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); result.Requests != n || n < 3 {
		t.Errorf("%d requests counted, the server saw %d; want the same, and 3 at least", result.Requests, n)
	}
	if odd.Load() > 0 {
		t.Errorf("%d requests were not as asked for", odd.Load())
	}
	if result.P50 <= 0 || result.P99 < result.P50 || result.PerSecond() <= 0 {
		t.Errorf("got %+v", result)
	}
}

// Both generators ask with every number of the range, and with no other.
func TestNumbered(t *testing.T) {
	generators := map[string]Generator{"built in": Client}
	if path, err := exec.LookPath("wrk"); err == nil {
		if generators["wrk"], err = Wrk(path, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	for name, generate := range generators {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			seen := map[string]int{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				seen[r.Header.Get("Authorization")+r.Header.Get("X-Fixed")]++
				mu.Unlock()
				_, _ = io.WriteString(w, "x")
			}))
			defer server.Close()
			result, err := generate(t.Context(), Job{
				URL: server.URL + "/", Connections: 2, Duration: 200 * time.Millisecond, Header: [][2]string{{"X-Fixed", "!"}},
				Numbered: Numbered{Name: "Authorization", Prefix: "key-", First: 1_000_000_000, Count: 3},
			})
			if err = errors.Join(err, result.Check()); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, []string{"key-1000000000!", "key-1000000001!", "key-1000000002!"}) {
				t.Errorf("asked with %q", got)
			}
		})
	}
}

func TestClientCountsFailures(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	result, err := Client(t.Context(), Job{URL: server.URL, Connections: 1, Duration: 50 * time.Millisecond})
	server.Close()
	if err != nil || result.Requests == 0 || result.Errors != result.Requests || result.Check() == nil {
		t.Errorf("404s: got %+v, %v", result, err)
	}
	if _, err := Client(t.Context(), Job{URL: server.URL, Connections: 1, Duration: 50 * time.Millisecond}); err == nil {
		t.Error("no error when nobody listens")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Client(ended, Job{URL: server.URL, Connections: 1, Duration: time.Minute}); err == nil {
		t.Error("no error when there was no time")
	}
}

func TestParseWrk(t *testing.T) {
	got, err := parseWrk("Running 1s test\n  42 requests\n\nBENCH 42 1000000 1 2 3 4 5 250 900\n")
	want := Result{Requests: 42, Errors: 15, Elapsed: time.Second, P50: 250 * time.Microsecond, P99: 900 * time.Microsecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for _, out := range []string{"", "\nBENCH 1 2 3\n", "\nBENCH a 2 3 4 5 6 7 8 9\n"} {
		if _, err := parseWrk(out); err == nil {
			t.Errorf("no error for %q", out)
		}
	}
}

func TestHistogram(t *testing.T) {
	var odd, even, both histogram
	for i := 1; i <= 10000; i++ {
		h := &odd
		if i%2 == 0 {
			h = &even
		}
		h.record(time.Duration(i) * time.Microsecond)
	}
	both.add(&odd)
	both.add(&even)
	for q, want := range map[float64]time.Duration{0.0001: time.Microsecond, 0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 1: 10 * time.Millisecond} {
		if got := both.quantile(q); got > want || float64(got) < 0.99*float64(want) {
			t.Errorf("quantile %v is %v, want %v or up to 1 %% less", q, got, want)
		}
	}
	if got := (&histogram{}).quantile(0.5); got != 0 {
		t.Errorf("nothing has a median of %v", got)
	}
	for _, d := range []time.Duration{-1, 0, 1, 255, 256, time.Second, time.Hour, 1 << 62} {
		b := bucketOf(d)
		if low := lowest(b); low > max(0, d) {
			t.Errorf("%d falls into a bucket that begins at %d", d, low)
		}
	}
}
