package gatewaytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// Seen is a request as it reached the upstream.
type Seen struct {
	Method string
	URI    string // the request target
	Host   string
	Header http.Header
	Body   []byte
}

// Upstream starts the program behind the gateway. It replies with a [Seen] in JSON; below /bytes with the request's body
// as it came; below /text with the line "plain". Every reply has two Set-Cookie lines, X-Upstream and X-Internal, apart
// from the line "bare" below /bare.
func Upstream(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client left; there is nobody to tell
		}
		h := w.Header()
		if strings.HasPrefix(r.URL.Path, "/bare") {
			h.Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "bare\n")
			return
		}
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h.Set("X-Upstream", "yes")
		h.Set("X-Internal", "secret")
		switch {
		case strings.HasPrefix(r.URL.Path, "/bytes"):
			h.Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(body)
		case strings.HasPrefix(r.URL.Path, "/text"):
			h.Set("Content-Type", "text/plain")
			_, _ = io.WriteString(w, "plain\n")
		default:
			h.Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(Seen{r.Method, r.RequestURI, r.Host, r.Header, body})
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// Reply is what a client got.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request; header lines are "Name: value". A request that gets no whole reply fails the test.
func (g *Gateway) Do(t testing.TB, method, path, body string, header ...string) *Reply {
	t.Helper()
	reply, err := g.Try(t.Context(), method, path, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// Try is Do for requests that may fail, and for goroutines.
func (g *Gateway) Try(ctx context.Context, method, path, body string, header ...string) (*Reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, g.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	client := &http.Client{Timeout: Patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return &Reply{resp.StatusCode, resp.Header, data}, err
}

// Check returns an error when there is a reply and its status is another.
func (r *Reply) Check(status int) error {
	if r == nil || r.Status == status {
		return nil
	}
	return fmt.Errorf("status %d with %.200q, want %d", r.Status, r.Body, status)
}

// Seen returns the request that the upstream replied with.
func (r *Reply) Seen(t testing.TB) *Seen {
	t.Helper()
	var seen Seen
	if err := json.NewDecoder(bytes.NewReader(r.Body)).Decode(&seen); err != nil || r.Status/100 != 2 {
		t.Fatalf("status %d, %v: the request did not reach the upstream:\n%s", r.Status, err, r.Body)
	}
	return &seen
}

// Until polls what another process brings about and does not tell.
func Until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	if !processtest.Poll(condition) {
		t.Fatalf("%s did not happen", what)
	}
}
