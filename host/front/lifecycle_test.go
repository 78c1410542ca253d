package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// tunnel takes the connection over and sends back what comes, with a greeting first.
func tunnel(t *testing.T, f *flow.Flow, greeting string, switched func()) {
	c, err := f.Client.(flow.Hijacker).Hijack(header("X-Switched", "yes"))
	switched()
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, greeting)
	_, _ = io.Copy(c, c)
	w, ok := c.(interface{ CloseWrite() error })
	if !ok {
		t.Error("cannot close one direction")
		return
	}
	_ = w.CloseWrite() // fails for a connection that was cut
}

// After a 101 the connection is one of bytes: those sent ahead arrive first, what looks like a bad request is none, and
// each direction ends by itself.
func TestHijack(t *testing.T) {
	f := start(t, Options{ReadStall: time.Nanosecond}, func(f *flow.Flow) {
		if f.Upgrade != "echo" {
			t.Errorf("upgrade %q", f.Upgrade)
		}
		tunnel(t, f, "hello ", func() {})
	})
	const ahead = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nX"
	for _, pieces := range [][]string{{ahead}, {"", ahead}} {
		c := dial(t, f)
		r := bufio.NewReader(c)
		send(t, c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"+pieces[0])
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" || resp.Header.Get("X-Switched") != "yes" ||
			!strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
			t.Fatalf("%v, %v", resp, err)
		}
		for _, p := range pieces[1:] {
			send(t, c, p)
		}
		_ = c.CloseWrite()
		if b, err := io.ReadAll(r); string(b) != "hello "+ahead || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
	}
}

func TestUpgradeNotAsked(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) { reply(f, 200, f.Upgrade) })
	for fields, want := range map[string]string{
		"Connection: Upgrade\r\nUpgrade: websocket\r\n":                                 "websocket",
		"Connection: Upgrade\r\nUpgrade: a/1, b\r\n":                                    "a/1, b",
		"Upgrade: websocket\r\n":                                                        "",
		"Connection: close\r\nUpgrade: websocket\r\n":                                   "",
		"Connection: Upgrade\r\n":                                                       "",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n": "",
		"Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n":                            "",
	} {
		c := dial(t, f)
		send(t, c, "GET / HTTP/1.1\r\nHost: h\r\n"+fields+"\r\n")
		if _, body := receive(t, bufio.NewReader(c), "GET"); body != want {
			t.Errorf("%q: got %q, want %q", fields, body, want)
		}
	}
	if got := ask(t, f, "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("HTTP/1.0: %q", got)
	}
}

// A WebSocket through Hijack, the handshake's answer computed by the library on the other side of a pipe.
func TestWebSocket(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			echoWebSocket(t, theirs)
		}()
		defer func() {
			_ = ours.Close()
			<-done
		}()
		r := bufio.NewReader(ours)
		h := f.X.Request().Header()
		go func() {
			_, _ = fmt.Fprintf(ours, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", h.Get("Sec-WebSocket-Key"))
		}()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := f.Client.(flow.Hijacker).Hijack(header("Sec-WebSocket-Accept", resp.Header.Get("Sec-WebSocket-Accept")))
		if err != nil {
			t.Error(err)
			return
		}
		up := make(chan struct{})
		go func() {
			defer close(up)
			_, _ = io.Copy(ours, c)
			_ = ours.Close()
		}()
		_, _ = io.Copy(c, r)
		_ = c.Close()
		<-up
	})
	ctx, cancel := context.WithTimeout(t.Context(), bounded)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+f.Addr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range []string{"a", strings.Repeat("b", 20000), ""} {
		if err := ws.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := ws.Read(ctx); string(got) != msg || err != nil {
			t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(msg))
		}
	}
	if err := ws.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
}

// echoWebSocket serves one WebSocket on a connection.
func echoWebSocket(t *testing.T, c net.Conn) {
	l := &memory{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	l.conns <- c
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = l.Close() }()
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for {
			kind, b, err := ws.Read(r.Context())
			if err != nil || ws.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}), ReadHeaderTimeout: bounded}
	_ = s.Serve(l)
}

// A graceful shutdown: the request in flight is finished, new connections are refused, a switched connection and a
// stream are cut at the deadline, and then nothing is left.
func TestShutdown(t *testing.T) {
	held, release, cut := make(chan string, 4), make(chan struct{}), make(chan string, 4)
	f, err := New(Options{Address: "127.0.0.1:0", H2C: true}, handlerFunc(func(f *flow.Flow) {
		path := f.X.Request().Path()
		switch path {
		case "/stream":
			f.Client.WriteHeader(200, header(), -1)
			_ = f.Client.Flush()
			held <- path
			<-f.Ctx.Done()
			cut <- fmt.Sprint(path, errors.Is(context.Cause(f.Ctx), ErrCut))
		case "/tunnel":
			tunnel(t, f, "", func() { held <- path })
			cut <- path
		default:
			held <- path
			<-release
			reply(f, 200, "whole")
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- f.Serve(context.Background()) }()

	silent, idle, one := dial(t, f), dial(t, f), dial(t, f)
	send(t, one, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n")
	<-held
	stream := get(t, plainClient(t, true), "http://"+f.Addr().String()+"/stream")
	defer func() { _ = stream.Body.Close() }()
	<-held
	tun := dial(t, f)
	send(t, tun, "GET /tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	<-held

	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- f.Shutdown(ctx) }()
	for _, c := range []net.Conn{silent, idle} {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a connection that never sent anything: %v, want it closed", err)
		}
	}
	if c, err := net.Dial("tcp", f.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("still accepts connections")
	}
	close(release)
	if resp, body := receive(t, bufio.NewReader(one), "GET"); body != "whole" || !resp.Close {
		t.Errorf("request in flight: %q, close %v", body, resp.Close)
	}
	select {
	case err := <-down:
		t.Fatalf("shut down with streams open: %v", err)
	default:
	}
	cancel()
	if err := <-down; !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v, want that something was cut", err)
	}
	got := map[string]bool{<-cut: true, <-cut: true}
	if !got["/streamtrue"] || !got["/tunnel"] {
		t.Errorf("cut: %v", got)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if s := f.Stats(); s.Open != 0 {
		t.Errorf("%d connections left", s.Open)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	f, err := New(Options{Address: "127.0.0.1:0"}, handlerFunc(echoTarget))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.Serve(t.Context()); err != nil {
		t.Errorf("serve after shutdown: %v", err)
	}
}

// The end of Serve's context is the end of everything.
func TestServeContextEnds(t *testing.T) {
	held := make(chan struct{})
	f, err := New(Options{Address: "127.0.0.1:0"}, handlerFunc(func(f *flow.Flow) {
		close(held)
		<-f.Ctx.Done()
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- f.Serve(ctx) }()
	// A body that is not read: net/http would not notice the client's end.
	send(t, dial(t, f), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
	<-held
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := f.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// Requests sent ahead are answered in order.
func TestPipelining(t *testing.T) {
	f := start(t, Options{}, echoBody)
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n%02d", i, i)
	}
	c := dial(t, f)
	go func() { _, _ = io.WriteString(c, b.String()) }()
	r := bufio.NewReader(c)
	for i := range 50 {
		if _, body := receive(t, r, "POST"); body != fmt.Sprintf(`/%d 2 "%02d"`, i, i) {
			t.Fatalf("reply %d: %q", i, body)
		}
	}
}

// Time limits, each with a client that makes it run out.
func TestTimeouts(t *testing.T) {
	const short = 40 * time.Millisecond
	tests := []struct {
		name string
		o    Options
		send string
		want string // prefix of what comes back before the connection ends; "" for nothing
	}{
		{"no header", Options{HeaderTimeout: short}, "", ""},
		{"half a header", Options{HeaderTimeout: short}, "GET / HTTP/1.1\r\nHo", "HTTP/1.1 400 Bad Request"},
		{"header of the second request", Options{HeaderTimeout: short}, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHo", "HTTP/1.1 200 OK"},
		{"idle", Options{IdleTimeout: short}, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK"},
		{"body stalls", Options{ReadStall: short}, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 400 Bad Request"},
		{"request as a whole", Options{ReadTimeout: short, ReadStall: -1}, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 400 Bad Request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, test.o, echoBody)
			c := dial(t, f)
			send(t, c, test.send)
			b, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(b), test.want) || test.want == "" && len(b) > 0 {
				t.Errorf("got %q, %v, want %q and the end", b, err, test.want)
			}
		})
	}
}

// A request may outlast every deadline of the connection it came by: they are for other moments.
func TestDeadlinesDoNotLeak(t *testing.T) {
	const short = 30 * time.Millisecond
	f := start(t, Options{HeaderTimeout: short, IdleTimeout: -1, WriteStall: 2 * short, ReadStall: 4 * short}, func(f *flow.Flow) {
		<-time.After(3 * short)
		if f.Ctx.Err() != nil {
			t.Error("the flow's context ended")
		}
		echoBody(f)
	})
	c := dial(t, f)
	r := bufio.NewReader(c)
	for range 3 {
		send(t, c, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, body := receive(t, r, "GET"); body != "/a none" {
			t.Fatalf("got %q", body)
		}
		send(t, c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
		<-time.After(2 * short)
		send(t, c, "b")
		if _, body := receive(t, r, "POST"); body != `/a 2 "ab"` {
			t.Fatalf("got %q", body)
		}
		<-time.After(2 * short)
	}
}

// A client that stops reading is cut.
func TestWriteStall(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			failed := make(chan error, 1)
			f := start(t, Options{WriteStall: 50 * time.Millisecond, H2C: true}, func(f *flow.Flow) {
				f.Client.WriteHeader(200, header(), -1)
				for p := make([]byte, 64<<10); ; {
					if _, err := f.Client.Write(p); err != nil {
						failed <- err
						return
					}
				}
			})
			if version == "HTTP/2" {
				c := dial(t, f)
				// Preface, SETTINGS with a huge window, WINDOW_UPDATE, HEADERS of GET / on stream 1, and then silence.
				send(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff"+
					"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00"+"\x00\x00\x06\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x01h")
			} else {
				send(t, dial(t, f), "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			}
			<-failed
		})
	}
}

func TestLimits(t *testing.T) {
	f := start(t, Options{}, echoTarget)
	many := strings.Repeat("a:b\r\n", 10_000)
	tests := []struct{ name, raw, want string }{
		{"10,000 fields", "GET / HTTP/1.1\r\nHost: h\r\n" + many + "\r\n", "431"},
		{"1,001 fields", "GET / HTTP/1.1\r\nHost: h\r\n" + many[:5*1001] + "\r\n", "431"},
		{"1,000 fields", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + many[:5*999] + "\r\n", "200"},
		{"huge field", "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431"},
		{"huge name", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("x", 1<<20) + ": x\r\n\r\n", "431"},
		{"huge target", "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: h\r\n\r\n", "431"},
		{"endless line", strings.Repeat("x", 1<<20), "431"},
		{"large enough", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: " + strings.Repeat("x", 60<<10) + "\r\n\r\n", "200"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, f)
			go func() { _, _ = io.WriteString(c, test.raw) }()
			b := make([]byte, 12)
			if _, err := io.ReadFull(c, b); err != nil || string(b[9:]) != test.want {
				t.Errorf("got %q, %v, want %s", b, err, test.want)
			}
		})
	}
	h2 := start(t, Options{H2C: true}, echoTarget)
	client := plainClient(t, true) // which closes its connection before the front waits for it
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+h2.Addr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1100 {
		req.Header.Add("a", fmt.Sprint(i))
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 431 {
		t.Errorf("HTTP/2 with 1,100 fields: %d", resp.StatusCode)
	}
}

// A blank in an HTTP/2 :path would end the target of an HTTP/1 request line.
func TestHTTP2TargetSplitting(t *testing.T) {
	f := start(t, Options{H2C: true}, echoTarget)
	c := dial(t, f)
	path := "/a HTTP/1.1"
	block := append([]byte("\x82\x86\x41\x01h\x04"), append([]byte{byte(len(path))}, path...)...)
	send(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"+
		"\x00\x00"+string(rune(len(block)))+"\x01\x05\x00\x00\x00\x01"+string(block))
	var head [9]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			t.Fatal(err)
		}
		if head[3] == 1 { // HEADERS: 0x8c is the indexed field ":status: 400"
			if !bytes.HasPrefix(payload, []byte{0x8c}) {
				t.Errorf("header block % x, want status 400", payload)
			}
			return
		}
	}
}

// Connections over the limit wait until one has ended.
func TestMaxConns(t *testing.T) {
	f := start(t, Options{MaxConns: 1}, echoTarget)
	first, second := dial(t, f), dial(t, f)
	r1, r2 := bufio.NewReader(first), bufio.NewReader(second)
	send(t, second, "GET /second HTTP/1.1\r\nHost: h\r\n\r\n")
	send(t, first, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
	receive(t, r1, "GET")
	if open := f.Stats().Open; open != 1 {
		t.Errorf("%d connections open", open)
	}
	_ = first.Close()
	if _, body := receive(t, r2, "GET"); !strings.Contains(body, "/second") {
		t.Errorf("got %q", body)
	}
}

// Clients that go away at odd moments leave nothing behind (start and goleak see to that).
func TestEarlyClose(t *testing.T) {
	f := start(t, Options{}, echoBody)
	for _, raw := range []string{
		"", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	} {
		c := dial(t, f)
		send(t, c, raw)
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	if resp := get(t, plainClient(t, false), "http://"+f.Addr().String()+"/"); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	} else {
		_ = resp.Body.Close()
	}
}
