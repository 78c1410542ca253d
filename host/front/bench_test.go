package front

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const benchRequest = "GET /bench/path?query=1 HTTP/1.1\r\nHost: gateway.example:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip, deflate\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\nX-Request-Id: 0123456789\r\n\r\n"

var benchFields = []sdk.Field{
	{Name: "Content-Type", Value: "text/plain"},
	{Name: "Date", Value: "Thu, 01 Oct 2026 00:00:00 GMT"},
	{Name: "Server", Value: "nginx"},
	{Name: "Etag", Value: "\"0123456789\""},
	{Name: "Content-Length", Value: "100"},
}

// BenchmarkRequest measures a keep-alive request of HTTP/1.1 through the front against the same through net/http alone,
// over loopback and in memory. The client is part of the figure: subtract.
func BenchmarkRequest(b *testing.B) {
	payload := make([]byte, 100)
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for _, f := range benchFields {
			h[f.Name] = []string{f.Value}
		}
		w.WriteHeader(200)
		_, _ = w.Write(payload)
	}), ReadHeaderTimeout: DefaultHeaderTimeout, IdleTimeout: DefaultIdleTimeout}
	header := new(sdk.Header)
	for _, f := range benchFields {
		header.Append(f.Name, f.Value)
	}
	constant := handlerFunc(func(f *flow.Flow) {
		f.Client.WriteHeader(200, header, 100)
		_, _ = f.Client.Write(payload)
	})
	upstream := benchUpstream(b)
	waiting := handlerFunc(func(f *flow.Flow) {
		upstream()
		constant(f)
	})
	bareWaiting := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upstream()
		bare.Handler.ServeHTTP(w, r)
	}), ReadHeaderTimeout: DefaultHeaderTimeout, IdleTimeout: DefaultIdleTimeout}
	b.Run("waiting/bare", func(b *testing.B) {
		l, dial := benchListener(b, "loopback")
		go func() { _ = bareWaiting.Serve(l) }()
		benchClients(b, dial)
		_ = l.Close()
	})
	b.Run("waiting/front", func(b *testing.B) {
		l, dial := benchListener(b, "loopback")
		start(b, Options{Listener: l}, waiting)
		benchClients(b, dial)
	})
	for _, network := range []string{"loopback", "memory"} {
		b.Run(network+"/bare", func(b *testing.B) {
			l, dial := benchListener(b, network)
			go func() { _ = bare.Serve(l) }()
			benchClients(b, dial)
			_ = l.Close()
		})
		b.Run(network+"/front", func(b *testing.B) {
			l, dial := benchListener(b, network)
			start(b, Options{Listener: l}, constant)
			benchClients(b, dial)
		})
	}
}

// benchUpstream returns a function that waits as for an upstream: another goroutine has to run first.
func benchUpstream(b *testing.B) func() {
	asked := make(chan chan struct{})
	b.Cleanup(func() { close(asked) })
	for range 4 {
		go func() {
			for c := range asked {
				c <- struct{}{}
			}
		}()
	}
	answers := sync.Pool{New: func() any { return make(chan struct{}, 1) }}
	return func() {
		c := answers.Get().(chan struct{})
		asked <- c
		runtime.Gosched()
		<-c
		answers.Put(c)
	}
}

func benchListener(b *testing.B, network string) (net.Listener, func() (net.Conn, error)) {
	if network == "memory" {
		m := &memory{conns: make(chan net.Conn), closed: make(chan struct{})}
		return m, m.dial
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

func benchClients(b *testing.B, dial func() (net.Conn, error)) {
	b.ReportAllocs()
	b.SetParallelism(8)
	before := cpu(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := dial()
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		r, request, size := bufio.NewReader(c), []byte(benchRequest), 0
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			if size == 0 { // all replies are as long as the first
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					b.Error(err)
					return
				}
				n, _ := io.Copy(io.Discard, resp.Body)
				size = len("HTTP/1.1 200 OK\r\n\r\n") + int(n)
				for name, values := range resp.Header {
					size += len(name) + len(": \r\n") + len(values[0])
				}
				continue
			}
			if _, err := r.Discard(size); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// memory is a listener of pipes.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (m *memory) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case m.conns <- theirs:
		return ours, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.closed) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// BenchmarkGuard is what the guard costs a header block of 300 bytes, and a body.
func BenchmarkGuard(b *testing.B) {
	b.Run("header", func(b *testing.B) {
		g, p := guard{first: true, most: 1 << 20}, []byte(benchRequest)
		b.SetBytes(int64(len(p)))
		b.ReportAllocs()
		for b.Loop() {
			if n, err := g.check(p); n != len(p) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("upload", func(b *testing.B) {
		g := guard{most: 1 << 20}
		head, p := []byte("POST / HTTP/1.1\r\nContent-Length: 4611686018427387904\r\n\r\n"), make([]byte, 4096)
		if _, err := g.check(head); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			if n, err := g.check(p); n != len(p) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

// cpu returns the process's processor time so far, in nanoseconds: on a machine that does other work too it says more
// than the clock.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

// discard is a ResponseWriter that does nothing but keep its header.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkFlow is what the front adds between net/http and the handler: filling a flow from a request and a header map
// from a reply.
func BenchmarkFlow(b *testing.B) {
	header := new(sdk.Header)
	for _, f := range benchFields {
		header.Append(f.Name, f.Value)
	}
	payload := make([]byte, 100)
	f, err := New(Options{Address: "unused"}, handlerFunc(func(f *flow.Flow) {
		f.Client.WriteHeader(200, header, 100)
		_, _ = f.Client.Write(payload)
	}))
	if err != nil {
		b.Fatal(err)
	}
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(benchRequest)))
	if err != nil {
		b.Fatal(err)
	}
	s := &socket{front: f, peer: &net.TCPAddr{}, name: "127.0.0.1"}
	request = request.WithContext(context.WithValue(b.Context(), socketKey{}, s))
	w := &discard{h: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		f.serveHTTP(w, request)
	}
}

// BenchmarkConn is what a request costs between net/http and the operating system: one read, one write, and the
// deadlines net/http moves on the way.
func BenchmarkConn(b *testing.B) {
	request, payload := []byte(benchRequest), make([]byte, 300)
	for _, kind := range []string{"bare", "front"} {
		b.Run(kind, func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			server, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = server.Close() }()
			if kind == "front" {
				f, err := New(Options{Address: "unused"}, handlerFunc(nil))
				if err != nil {
					b.Fatal(err)
				}
				s := &socket{Conn: server, front: f}
				server = newConn(s, s)
			}
			p := make([]byte, 4096)
			for b.Loop() {
				if _, err := client.Write(request); err != nil {
					b.Fatal(err)
				}
				_ = server.SetReadDeadline(time.Now().Add(DefaultIdleTimeout))
				if n, err := server.Read(p); n != len(request) || err != nil {
					b.Fatal(n, err)
				}
				_ = server.SetReadDeadline(time.Now().Add(DefaultHeaderTimeout))
				_ = server.SetReadDeadline(time.Time{})
				_ = server.SetReadDeadline(time.Time{})
				if _, err := server.Write(payload); err != nil {
					b.Fatal(err)
				}
				_ = server.SetWriteDeadline(time.Time{})
				if _, err := client.Read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
