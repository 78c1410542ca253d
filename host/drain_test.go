package host

import (
	"bufio"
	"context"
	"errors"

	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/front"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// patience bounds what has been caused and must come.
const patience = 10 * time.Second

// wired is a world whose upstreams are real.
type wired struct{ *world }

func (wired) Upstream(d *config.Definition, _ string) (Upstream, error) {
	return upstream.New(context.Background(), upstream.Options{Targets: []upstream.Target{{URL: d.Upstream.Targets[0].URL}}})
}

// behind serves g on a port until the test ends, by which time everything has stopped.
func behind(t *testing.T, g *Gateway) string {
	t.Helper()
	f, err := front.New(front.Options{Address: "127.0.0.1:0", H2C: true}, g)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := f.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := errors.Join(f.Shutdown(ctx), <-served); err != nil {
			t.Error(err)
		}
	})
	return f.Addr().String()
}

// streams is an upstream that streams for as long as it is let.
func streams(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/switch":
			c, b, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close() //nolint:errcheck // it is over
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
			_, _ = io.Copy(io.Discard, b)
		case "/events", "/flood":
			for err := error(nil); err == nil && r.Context().Err() == nil; {
				if _, err = io.WriteString(w, strings.Repeat("x", map[string]int{"/events": 5, "/flood": 1 << 16}[r.URL.Path])); err == nil {
					err = http.NewResponseController(w).Flush()
				}
				if r.URL.Path == "/events" {
					<-r.Context().Done()
				}
			}
		case "/early":
			_, _ = io.WriteString(w, "hello")
		default:
			_, _ = io.WriteString(w, "hello")
			_ = http.NewResponseController(w).EnableFullDuplex()
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// A stream of each kind, and what its client sends to begin with; after "hello" or five bytes, or once the hook has
// been reached, it is under way.
var kinds = []struct{ name, send, hooks string }{
	{"switched protocol", "GET /a/switch HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", ""},
	{"events", "GET /a/events HTTP/1.1\r\nHost: h\r\n\r\n", ""},
	{"client that reads nothing", "GET /a/flood HTTP/1.1\r\nHost: h\r\n\r\n", ""},
	{"upload", "POST /a/upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", ""},
	{"upload that a hook waits for", "POST /a/upload HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nsome", "hooks: {pre: [{hook: mark}, {hook: h, body: buffer}]}"},
}

func TestStreamsAreBoundedByTheDrain(t *testing.T) {
	for _, kind := range kinds {
		for _, end := range []string{"reload", "stop"} {
			t.Run(kind.name+", "+end, func(t *testing.T) { boundedStream(t, kind.send, kind.hooks, end == "stop") })
		}
	}
}

func boundedStream(t *testing.T, send, hooks string, stop bool) {
	up := streams(t)
	reached := make(chan struct{}, 1)
	w := wired{newWorld(map[string]sdk.Hook{
		"mark": fn(func(*sdk.Exchange) error { reached <- struct{}{}; return nil }),
		"h":    fn(func(*sdk.Exchange) error { return nil }),
	})}
	g := newGateway(t, 50*time.Millisecond)
	address := behind(t, g)
	api := "listen: {path: /a}\nupstream: {url: " + up.URL + "}\nobservers: [{observer: o}]\n" + hooks
	set := func(more string) config.Set {
		return config.Set{Definitions: []*config.Definition{definition(t, api+more)}}
	}
	if err := g.Load(t.Context(), set(""), w, false); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it is over
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, send); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if hooks != "" {
		<-reached
	} else if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if stop {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := g.Close(ctx); err == nil || !strings.Contains(err.Error(), "1 exchanges were cut") {
			t.Errorf("got %v, want to be told of the cut", err)
		}
	} else if err := g.Load(t.Context(), set("\ntags: [new]"), w, false); err != nil {
		t.Fatal(err)
	}
	g.retired.Wait()
	if _, err := io.Copy(io.Discard, r); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the stream goes on: %v", err)
	}
	if err := g.Close(t.Context()); err != nil { // and the observer has got everything
		t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var records []sdk.Record
	for _, b := range w.batches {
		records = append(records, b.Records...)
	}
	if len(records) != 1 || !strings.Contains(records[0].Error, "cut") {
		t.Errorf("got records %+v, want one of an exchange that was cut", records)
	}
	if w.opens != w.closes {
		t.Errorf("%d servers opened, %d closed", w.opens, w.closes)
	}
}

// An upstream that answers before it has read the request keeps nobody waiting for the client.
func TestEarlyReplyEndsTheExchange(t *testing.T) {
	up := streams(t)
	g := newGateway(t, time.Minute)
	address := behind(t, g)
	api := definition(t, "listen: {path: /a}\nupstream: {url: "+up.URL+"}\n")
	if err := g.Load(t.Context(), config.Set{Definitions: []*config.Definition{api}}, wired{newWorld(nil)}, false); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // it is over
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "POST /a/early HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nbegin"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // it is over
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the connection stays open in the middle of a request")
	}
}

// A flow that comes while its route is retired finds the new one, or is told that there is none.
func TestClosedGatewayAnswers(t *testing.T) {
	g, w := newGateway(t, time.Minute), newWorld(nil)
	if err := load(t, g, w, definition(t, plainAPI)); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := get(t, g, "/a"); c.status != 503 {
		t.Errorf("got %d, want 503", c.status)
	}
	if c := get(t, g, "/ready"); c.status != 503 || !strings.Contains(c.body.String(), "draining") {
		t.Errorf("got %d %s", c.status, c.body.String())
	}
	if c := get(t, g, "/hello"); c.status != 200 {
		t.Errorf("got %d", c.status)
	}
	if err := load(t, g, w, definition(t, plainAPI)); err == nil {
		t.Error("a closed gateway loads")
	}
}

// A drain that a reload began does not outlive a stop.
func TestCloseBoundsDrains(t *testing.T) {
	g, w := newGateway(t, time.Hour), newWorld(nil)
	if err := load(t, g, w, definition(t, plainAPI)); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	w.up["a"].hold = hold
	ctx, leave := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		f, _ := newFlow(ctx, "GET", "/a", "")
		g.Serve(f)
	}()
	for w.up["a"].calls() == 0 {
		runtime.Gosched()
	}
	if err := load(t, g, w); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	w.up["a"].onClose = leave // as an upstream that is cut ends its flows
	go func() { closed <- g.Close(short) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the stop waits for the reload's drain")
		leave()
		<-closed
	}
	<-served
}
