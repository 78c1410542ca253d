package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a transport with one connection, and the other end of it.
func pair(t *testing.T, o Options) (*Transport, *conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.Dialer = &outbound.Dialer{Target: &outbound.Target{Name: "test", Network: "unix", Address: l.Addr().String(), Host: "test"}}
	tr := New(o)
	c, err := tr.dial(&outbound.Call{Ctx: t.Context()})
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		other.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return tr, c, other
}

// A socket that takes only part of what is to be sent in one write: the rest follows while the reply is awaited.
func TestPartialWrite(t *testing.T) {
	tr, c, other := pair(t, Options{})
	c.nc.(*net.UnixConn).SetWriteBuffer(4096)
	tr.pool.put(c)
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 1<<20)
		n := 0
		for !strings.HasSuffix(string(b[:n]), "END") {
			m, err := other.Read(b[n:min(n+1000, len(b))])
			if n += m; err != nil {
				break
			}
		}
		io.WriteString(other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		got <- string(b[:n])
	}()
	body := strings.Repeat("x", 30_000) + "END"
	call := newCall()
	call.Ctx, call.Body = t.Context(), []byte(body)
	call.Flow.X.Request().Fill(sdk.RequestInit{Method: "POST"})
	if err := tr.RoundTrip(call); err != nil {
		t.Fatal(err)
	}
	if c.sent >= len(body) {
		t.Fatalf("%d bytes left in the first write: the test no longer tests", c.sent)
	}
	if text, err := io.ReadAll(call.Flow.Reply.Body); err != nil || string(text) != "ok" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, sent, _ := strings.Cut(<-got, "\r\n\r\n"); sent != body {
		t.Errorf("the target got %d bytes of %d", len(sent), len(body))
	}
}

// A reply that came before the request it answers may be one of two: the connection is not used again.
func TestEarlyReplyEndsTheConnection(t *testing.T) {
	tr, c, other := pair(t, Options{})
	io.WriteString(other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	tr.pool.put(c)
	call := newCall()
	call.Ctx = t.Context()
	call.Flow.X.Request().Fill(sdk.RequestInit{Method: "GET"})
	if err := tr.RoundTrip(call); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(call.Flow.Reply.Body); err != nil || string(text) != "ok" {
		t.Errorf("got %q, %v", text, err)
	}
	if again, _ := tr.pool.get(); again != nil {
		t.Error("the connection was kept")
	}
}

// The end of a lease and the sweeper's look may come at the same moment: a connection that was given back is never cut
// for what its last request did.
func TestSweeperSparesTheNextLease(t *testing.T) {
	tr, c, _ := pair(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	c.begin(&outbound.Call{Ctx: ctx})
	cancel()
	c.end(true)
	if again, _ := tr.pool.get(); again != c {
		t.Fatal("the connection was not kept")
	}
	c.begin(&outbound.Call{Ctx: t.Context()})
	c.check(1 << 60)
	if err := c.why(nil); err != nil {
		t.Errorf("cut for another's sake: %v", err)
	}
	c.deadline.Store(1)
	c.check(1 << 60)
	if err := c.why(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v: the connection still works", err)
	}
	c.end(true)
	if again, _ := tr.pool.get(); again != nil {
		t.Error("a connection that was cut was kept")
	}
}

// The sweeper sleeps while nothing is in flight, and a request wakes it.
func TestSweeperSleepsAndWakes(t *testing.T) {
	tr, c, _ := pair(t, Options{Header: 10 * time.Millisecond})
	asleep := func() bool { return tr.sweeper.asleep.Load() }
	for end := time.Now().Add(10 * time.Second); !asleep(); <-time.After(tick) {
		if time.Now().After(end) {
			t.Fatal("the sweeper does not sleep")
		}
	}
	tr.pool.put(c)
	call := newCall()
	call.Ctx = t.Context()
	call.Flow.X.Request().Fill(sdk.RequestInit{Method: "GET"})
	var failure *outbound.Failure
	if err := tr.RoundTrip(call); !errors.As(err, &failure) || failure.Kind != outbound.Timeout {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestPool(t *testing.T) {
	var p pool
	p.init(2)
	a, b, c := &conn{used: 1}, &conn{used: 2}, &conn{used: 3}
	if !p.put(a) || !p.put(b) || p.put(c) {
		t.Error("want room for two")
	}
	if old := p.expired(2); len(old) != 1 || old[0] != a {
		t.Errorf("got %v expired, want the oldest", old)
	}
	p.put(c)
	if got, _ := p.get(); got != c {
		t.Error("want the latest first")
	}
	if left := p.close(); len(left) != 1 || left[0] != b || p.put(c) {
		t.Error("a closed pool gives all out and keeps nothing")
	}
}

func BenchmarkPool(b *testing.B) {
	var p pool
	p.init(1024)
	for i := range 1024 {
		p.put(&conn{home: i % len(p.parts)})
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c, _ := p.get()
			p.put(c)
		}
	})
}

func BenchmarkHead(b *testing.B) {
	const block = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 02:46:44 GMT\r\nContent-Type: text/plain\r\n" +
		"Content-Length: 100\r\nConnection: keep-alive\r\nETag: \"5f0\"\r\n\r\n"
	data := []byte(block)
	var h head
	b.ReportAllocs()
	for b.Loop() {
		var s scan
		n, err := s.find(data, 100)
		if err != nil {
			b.Fatal(err)
		}
		h.fields = h.fields[:0]
		if err := h.parse(string(data[:n]), s.first); err != nil {
			b.Fatal(err)
		}
	}
}
