package peers

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// serve runs f on a free address until the test ends, and returns the address once it accepts.
func serve(t *testing.T, f func(ctx context.Context, address string) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx, address) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err == nil {
			t.Error("serving ended without saying why")
		}
	})
	deadline := time.Now().Add(5 * time.Second)
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestUpstreamThroughBaseline(t *testing.T) {
	upstream := serve(t, ServeUpstream)
	proxy := serve(t, func(ctx context.Context, address string) error {
		return ServeBaseline(ctx, address, &url.URL{Scheme: "http", Host: upstream})
	})
	for _, address := range []string{upstream, proxy} {
		for _, hooked := range []string{"", "1"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if hooked != "" {
				request.Header.Set("X-Bench", hooked)
			}
			reply, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(reply.Body)
			_ = reply.Body.Close()
			if err != nil || string(body) != Body() || len(body) != 100 || reply.Header.Get("X-Bench") != hooked {
				t.Errorf("%s: got %q, X-Bench %q, %v", address, body, reply.Header.Get("X-Bench"), err)
			}
		}
	}
}

func TestBaselineForwards(t *testing.T) {
	var seen http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	defer upstream.Close()
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(baseline(target))
	defer proxy.Close()
	reply, err := http.Get(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = reply.Body.Close()
	if seen.Get("X-Forwarded-For") != "127.0.0.1" || seen.Get("Accept-Encoding") != "gzip" {
		t.Errorf("upstream saw %v", seen)
	}
}

func TestNginxConfig(t *testing.T) {
	config := NginxConfig("127.0.0.1:1", "/work/dir")
	for _, want := range []string{"listen 127.0.0.1:1 ", "/work/dir/nginx.pid", Body(), "worker_processes 1;"} {
		if !strings.Contains(config, want) {
			t.Errorf("no %q in\n%s", want, config)
		}
	}
}
