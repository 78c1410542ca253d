package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// TestLeaveLosesNothing: fronts take one another's place under load, and every request, on kept and on new connections, in
// every protocol, gets its reply.
func TestLeaveLosesNothing(t *testing.T) {
	for _, mode := range []string{"http/1.1", "h2c", "https", "h2"} {
		t.Run(mode, func(t *testing.T) {
			o := Options{H2C: true}
			if strings.HasSuffix(mode, "s") || mode == "h2" {
				_, o.TLS = secured(t, "h")
			}
			now := start(t, o, echoBody)
			address := now.Addr().String()
			ctx, stop := context.WithCancel(t.Context())
			var workers, leaving sync.WaitGroup
			for i := range 6 {
				workers.Go(func() { askOn(ctx, t, address, mode, i%2 == 0) })
			}
			for range 5 {
				before := now
				var err error
				if o.Listener, err = before.Duplicate(); err != nil {
					t.Fatal(err)
				}
				now = start(t, o, echoBody)
				leaving.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), bounded)
					defer cancel()
					if err := before.Leave(ctx); err != nil {
						t.Errorf("leave: %v", err)
					}
				})
				leaving.Wait()
			}
			stop()
			workers.Wait()
		})
	}
}

// askOn posts until ctx ends, on one connection or on a new one each time.
func askOn(ctx context.Context, t *testing.T, address, mode string, kept bool) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: !kept, Protocols: new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(mode == "http/1.1" || mode == "https")
	transport.Protocols.SetHTTP2(mode == "h2")
	transport.Protocols.SetUnencryptedHTTP2(mode == "h2c")
	defer transport.CloseIdleConnections()
	scheme := "http"
	if strings.HasSuffix(mode, "s") || mode == "h2" {
		scheme = "https"
	}
	for n := 0; ctx.Err() == nil || n == 0; n++ {
		r, err := http.NewRequestWithContext(t.Context(), "POST", scheme+"://"+address+"/", strings.NewReader("body"))
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			return
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(b), "body") {
			t.Errorf("request %d: %d %q %v", n, resp.StatusCode, b, err)
			return
		}
	}
}

// TestLeaveBounds: what has not sent anything is served when it does; what is idle, and what is busy, ends with the time.
func TestLeaveBounds(t *testing.T) {
	arrived := make(chan struct{})
	f := start(t, Options{}, func(f *flow.Flow) {
		if f.X.Request().Path() == "/hold" {
			close(arrived)
			<-f.Ctx.Done()
			return
		}
		reply(f, 200, "here")
	})
	silent, idle, busy := dial(t, f), dial(t, f), dial(t, f)
	r := bufio.NewReader(idle)
	send(t, idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp, _ := receive(t, r, "GET"); resp.Header.Get("Connection") != "" {
		t.Error("asked to close before anybody leaves")
	}
	send(t, busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
	<-arrived
	left := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	go func() { left <- f.Leave(ctx) }()
	<-f.left
	send(t, silent, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if resp, body := receive(t, bufio.NewReader(silent), "GET"); resp.StatusCode != 200 || body != "here" || !resp.Close {
		t.Errorf("got %d %q, close %v", resp.StatusCode, body, resp.Close)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("idle: got %v, want its end", err)
	}
	if ctx.Err() != nil {
		t.Error("the idle connection was kept until the end")
	}
	if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := io.ReadAll(busy); err != nil {
		var reset *net.OpError
		if !errors.As(err, &reset) || reset.Timeout() {
			t.Errorf("busy: %v", err)
		}
	}
}

// A front that never served leaves at once.
func TestLeaveUnserved(t *testing.T) {
	f, err := New(Options{Address: "127.0.0.1:0"}, handlerFunc(func(*flow.Flow) {}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Duplicate(); err == nil {
		t.Error("shares a socket before it has one")
	}
	if err := f.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Leave(t.Context()); err != nil {
		t.Error(err)
	}
}
