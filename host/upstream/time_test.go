package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// soon is a timeout that strikes in a test; a hang would be stopped by the server's deadline, and fail it.
const soon = 50 * time.Millisecond

func TestTimeouts(t *testing.T) {
	silent := func(_ int, c *rawConn) { c.rest() }
	stalls := func(_ int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		c.rest()
	}
	timeout := func(t *testing.T, err error) {
		t.Helper()
		refused(t, err, 504)
		var e *sdk.Error
		if errors.As(err, &e) && e.Message != "Upstream service reached hard timeout." {
			t.Errorf("got message %q", e.Message)
		}
	}
	for name, o := range map[string]upstream.Options{
		"header": {Timeouts: upstream.Timeouts{Header: soon}},
		"total":  {Timeouts: upstream.Timeouts{Total: soon}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, silent)
			o.Targets = targets(s.url)
			u := open(t, o)
			for name, f := range map[string]*flow.Flow{
				"no body":  request("GET", "/"),
				"buffered": buffered(request("POST", "/"), "hello"),
				"streamed": sized(request("POST", "/"), strings.Repeat("x", 10_000), -1),
			} {
				t.Run(name, func(t *testing.T) { timeout(t, u.RoundTrip(t.Context(), f)) })
			}
		})
	}
	t.Run("header, request still under way", func(t *testing.T) {
		s := serve(t, func(_ int, c *rawConn) {
			c.head()
			c.take(5)
			c.say(ok)
		})
		u := open(t, upstream.Options{Targets: targets(s.url), Timeouts: upstream.Timeouts{Header: soon}})
		f := request("POST", "/")
		body, client := pipe()
		f.Body = body
		go func() {
			io.WriteString(client, "a")
			<-time.After(4 * soon) // the client's slowness is not the target's
			io.WriteString(client, "b")
			client.Close()
		}()
		f.X.Request().Header().Append("X", "y")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		read(f)
	})
	t.Run("the flow's own total", func(t *testing.T) {
		s := serve(t, silent)
		u := open(t, upstream.Options{Targets: targets(s.url), Timeouts: upstream.Timeouts{Total: time.Hour}})
		f := request("GET", "/")
		f.Out.Timeout = soon
		timeout(t, u.RoundTrip(t.Context(), f))
	})
	for name, o := range map[string]upstream.Options{
		"pause in the body":  {Timeouts: upstream.Timeouts{Body: soon, Header: soon}},
		"total, in the body": {Timeouts: upstream.Timeouts{Total: 2 * soon}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, stalls)
			o.Targets = targets(s.url)
			u := open(t, o)
			f := request("GET", "/")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			got, err := read(f)
			if got.body != "hello" || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %q, %v", got.body, err)
			}
		})
	}
	t.Run("a reader that pauses is not the target's fault", func(t *testing.T) {
		s := serve(t, func(_ int, c *rawConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			<-time.After(soon / 2)
			c.say("world")
			c.rest()
		})
		u := open(t, upstream.Options{Targets: targets(s.url), Timeouts: upstream.Timeouts{Body: 2 * soon}})
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * soon)
		if got, err := read(f); err != nil || got.body != "helloworld" {
			t.Errorf("got %q, %v", got.body, err)
		}
	})
	t.Run("target does not read", func(t *testing.T) {
		done := make(chan struct{})
		s := serve(t, func(_ int, c *rawConn) { <-done })
		defer close(done)
		u := open(t, upstream.Options{Targets: targets(s.url), Timeouts: upstream.Timeouts{Body: soon}})
		timeout(t, u.RoundTrip(t.Context(), buffered(request("POST", "/"), strings.Repeat("x", 64<<20))))
	})
	t.Run("dial", func(t *testing.T) {
		s := serve(t, silent) // never shakes hands
		u := open(t, upstream.Options{Targets: targets(strings.Replace(s.url, "http:", "https:", 1)), Protocol: upstream.HTTP1, Timeouts: upstream.Timeouts{Dial: soon}})
		timeout(t, u.RoundTrip(t.Context(), request("GET", "/")))
	})
	t.Run("the caller's deadline", func(t *testing.T) {
		s := serve(t, silent)
		u := open(t, upstream.Options{Targets: targets(s.url)})
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		timeout(t, u.RoundTrip(ctx, request("GET", "/")))
	})
}

// A timeout in one request does not touch the next one on a connection, nor a later one of the same transport.
func TestNoTimeoutOnReuse(t *testing.T) {
	s := serve(t, always(ok))
	u := open(t, upstream.Options{Targets: targets(s.url), Timeouts: upstream.Timeouts{Header: soon, Body: soon, Total: 2 * soon}})
	for end := time.Now().Add(8 * soon); time.Now().Before(end); {
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if _, err := read(f); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.accept.Load(); got != 1 {
		t.Errorf("got %d connections, want 1", got)
	}
}

func TestClientLeaves(t *testing.T) {
	for _, name := range []string{"waiting for the header", "sending", "dialling"} {
		t.Run(name, func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			s := serve(t, func(_ int, c *rawConn) {
				if name != "dialling" {
					c.head()
				}
				close(arrived)
				c.rest()
				close(gone)
			})
			url := s.url
			if name == "dialling" {
				url = strings.Replace(url, "http:", "https:", 1)
			}
			u := open(t, upstream.Options{Targets: targets(url), Protocol: upstream.HTTP1})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-arrived
				cancel()
			}()
			f := request("POST", "/")
			if name == "sending" {
				f.Body, _ = pipe()
			}
			if err := u.RoundTrip(ctx, f); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
			<-gone // the target sees it
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	for _, protocol := range []upstream.Protocol{upstream.HTTP1, upstream.H2C} {
		u := open(t, upstream.Options{Targets: targets(url), Protocol: protocol})
		err := u.RoundTrip(t.Context(), request("GET", "/"))
		refused(t, err, 502)
		u = open(t, upstream.Options{Targets: targets("http://host.invalid"), Protocol: protocol})
		err = u.RoundTrip(t.Context(), request("GET", "/"))
		refused(t, err, 502)
		var e *sdk.Error
		if errors.As(err, &e) && e.Message != "Upstream host lookup failed" {
			t.Errorf("got message %q, cause %v", e.Message, e.Err)
		}
	}
}

func TestClose(t *testing.T) {
	t.Run("waits for a reply under way", func(t *testing.T) {
		finish := make(chan struct{})
		s := serve(t, func(_ int, c *rawConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			<-finish
			c.say("world")
			c.rest()
		})
		u, _ := upstream.New(t.Context(), upstream.Options{Targets: targets(s.url)})
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- u.Close(t.Context()) }()
		close(finish)
		if got, err := read(f); err != nil || got.body != "helloworld" {
			t.Errorf("got %q, %v", got.body, err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		refused(t, u.RoundTrip(t.Context(), request("GET", "/")), 502)
	})
	t.Run("cuts it at its deadline", func(t *testing.T) {
		s := serve(t, func(_ int, c *rawConn) {
			c.head()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			c.rest()
		})
		u, _ := upstream.New(t.Context(), upstream.Options{Targets: targets(s.url)})
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		if err := u.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := read(f); err == nil || err == io.EOF {
			t.Errorf("got %v, want an error", err)
		}
	})
	t.Run("ends unused connections", func(t *testing.T) {
		gone := make(chan struct{})
		s := serve(t, func(n int, c *rawConn) {
			always(ok)(n, c)
			close(gone)
		})
		u, _ := upstream.New(t.Context(), upstream.Options{Targets: targets(s.url)})
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		read(f)
		u.Close(t.Context())
		<-gone
	})
}

func TestUnusedConnectionsAreClosed(t *testing.T) {
	gone := make(chan struct{})
	s := serve(t, func(n int, c *rawConn) {
		always(ok)(n, c)
		close(gone)
	})
	u := open(t, upstream.Options{Targets: targets(s.url), Pool: upstream.Pool{IdleTimeout: soon}})
	f := request("GET", "/")
	if err := u.RoundTrip(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	read(f)
	<-gone
}
