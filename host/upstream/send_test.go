package upstream_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// What goes over the wire, byte for byte.
func TestRequestBytes(t *testing.T) {
	tests := []struct {
		name string
		base string
		f    func() *flow.Flow
		want string // header lines without the request line's version, HOST for the target's host
		body string
	}{
		{"plain", "", func() *flow.Flow { return request("GET", "/a?b=c", "x-A: 1", "X-b: 2", "X-A: 3", "User-Agent: ua") },
			"GET /a?b=c|Host: HOST|x-A: 1|X-b: 2|X-A: 3|User-Agent: ua", ""},
		{"bytes of path and query", "/base/", func() *flow.Flow { return request("GET", "//x/%2e%2E/./a%2fb;p=\"<>^`?q=%zz&&a=b?c=/\xff") },
			"GET /base//x/%2e%2E/./a%2fb;p=\"<>^`?q=%zz&&a=b?c=/\xff|Host: HOST", ""},
		{"no path", "/base", func() *flow.Flow { return request("GET", "") }, "GET /base|Host: HOST", ""},
		{"no path, no base", "", func() *flow.Flow { return request("GET", "") }, "GET /|Host: HOST", ""},
		{"path without a slash", "/base", func() *flow.Flow { return request("GET", "x") }, "GET /base/x|Host: HOST", ""},
		{"OPTIONS *", "", func() *flow.Flow { return request("OPTIONS", "*") }, "OPTIONS *|Host: HOST", ""},
		{"what is ours", "", func() *flow.Flow {
			f := request("GET", "/", "Connection: close, X-Hop, x-hop2", "X-Hop: 1", "X-HOP2: 2", "Keep-Alive: 5", "Proxy-Connection: x",
				"Host: evil", "Content-Length: 77", "Transfer-Encoding: chunked", "TE: gzip, trailers;q=1", "Upgrade: h2c", "Trailer: x",
				"Proxy-Authorization: secret", "Proxy-Authenticate: x", "X-Forwarded-For: 6.6.6.6", "x-forwarded-host: evil", "X-Forwarded-Proto: x", "Expect: 100-continue", "Kept: 1")
			f.Out.Host, f.Out.ForwardedFor, f.Out.ForwardedHost, f.Out.ForwardedProto = "h.example", "1.2.3.4", "c.example", "https"
			return f
		}, "GET /|Host: h.example|Kept: 1|X-Forwarded-For: 1.2.3.4|X-Forwarded-Host: c.example|X-Forwarded-Proto: https", ""},
		{"te", "", func() *flow.Flow { return request("GET", "/", "te: gzip, Trailers") }, "GET /|Host: HOST|Connection: TE|TE: trailers", ""},
		{"no body for POST", "", func() *flow.Flow { return request("POST", "/") }, "POST /|Host: HOST|Content-Length: 0", ""},
		{"buffered", "", func() *flow.Flow { return buffered(request("PUT", "/"), "hello") }, "PUT /|Host: HOST|Content-Length: 5", "hello"},
		{"small", "", func() *flow.Flow { return sized(request("PUT", "/"), "hello", 5) }, "PUT /|Host: HOST|Content-Length: 5", "hello"},
		{"empty", "", func() *flow.Flow { return sized(request("GET", "/"), "", 0) }, "GET /|Host: HOST|Content-Length: 0", ""},
		{"streamed", "", func() *flow.Flow { return sized(request("PUT", "/"), strings.Repeat("x", 9000), 9000) },
			"PUT /|Host: HOST|Content-Length: 9000", strings.Repeat("x", 9000)},
		{"chunked", "", func() *flow.Flow { return sized(request("PUT", "/"), strings.Repeat("x", 300), -1) },
			"PUT /|Host: HOST|Transfer-Encoding: chunked", "12c\r\n" + strings.Repeat("x", 300) + "\r\n0\r\n\r\n"},
		{"trailer", "", func() *flow.Flow {
			f := sized(request("PUT", "/", "Trailer: X-Sum"), "abc", 3)
			h := &sdk.Header{}
			h.Append("X-Sum", "1")
			h.Append("Content-Length", "9")
			h.Append("X-Evil", "a\r\nb")
			f.Body.(*clientBody).trailer = h
			return f
		}, "PUT /|Host: HOST|Transfer-Encoding: chunked|Trailer: X-Sum", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 2)
			s := serve(t, func(_ int, c *rawConn) {
				got <- c.head()
				body := c.take(len(tt.body))
				c.say(ok)
				got <- body + c.rest()
			})
			u, err := upstream.New(t.Context(), upstream.Options{Targets: targets(s.url + tt.base)})
			if err != nil {
				t.Fatal(err)
			}
			f := tt.f()
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			read(f)
			u.Close(t.Context()) // ends the connection, so that the server has seen everything
			line, rest, _ := strings.Cut(strings.ReplaceAll(tt.want, "HOST", strings.TrimPrefix(s.url, "http://")), "|")
			want := line + " HTTP/1.1\r\n" + strings.ReplaceAll(rest, "|", "\r\n") + "\r\n\r\n"
			if diff := cmp.Diff(want, <-got); diff != "" {
				t.Errorf("header: -want +got\n%s", diff)
			}
			if diff := cmp.Diff(tt.body, <-got); diff != "" {
				t.Errorf("body: -want +got\n%s", diff)
			}
		})
	}
}

func sized(f *flow.Flow, body string, n int64) *flow.Flow {
	h := append([]sdk.Field(nil), f.X.Request().Header().Fields()...)
	f.X.Request().Fill(sdk.RequestInit{Method: f.X.Request().Method(), Length: n})
	for _, field := range h {
		f.X.Request().Header().Append(field.Name, field.Value)
	}
	f.Body = stream(body)
	return f
}

// Fronts and hooks are checked before; still no request with a line break of somebody else's leaves.
func TestRequestSplittingIsRefused(t *testing.T) {
	tests := map[string]*flow.Flow{
		"value":        request("GET", "/", "A: b\r\nEvil: 1"),
		"value, LF":    request("GET", "/", "A: b\nEvil: 1"),
		"value, CR":    request("GET", "/", "A: b\rEvil: 1"),
		"name":         request("GET", "/", "A\r\nEvil: b"),
		"path":         request("GET", "/ HTTP/1.1\r\nEvil:"),
		"path, blank":  request("GET", "/a b"),
		"query":        request("GET", "/?a\r\nEvil: 1"),
		"query, blank": request("GET", "/?a b"),
		"method":       request("GET / HTTP/1.1\r\nEvil:", "/"),
		"CONNECT":      request("CONNECT", "example.org:443"),
	}
	host := request("GET", "/")
	host.Out.Host = "a\r\nEvil: 1"
	tests["host"] = host
	forwarded := request("GET", "/")
	forwarded.Out.ForwardedFor = "1.2.3.4\r\nEvil: 1"
	tests["forwarded"] = forwarded
	upgrade := request("GET", "/")
	upgrade.Upgrade = "x\r\nEvil: 1"
	tests["upgrade"] = upgrade
	s := serve(t, always(ok))
	u := open(t, upstream.Options{Targets: targets(s.url)})
	for name, f := range tests {
		t.Run(name, func(t *testing.T) { refused(t, u.RoundTrip(t.Context(), f), 500) })
	}
	if got := s.accept.Load(); got != 0 {
		t.Errorf("got %d connections, want none", got)
	}
}

// A target may answer before it has read the request; both directions move at once.
func TestBothDirections(t *testing.T) {
	s := serve(t, func(_ int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for {
			size := strings.TrimSuffix(c.take(3), "\r\n")
			if size == "0" {
				break
			}
			n := 0
			fmt.Sscanf(size, "%x", &n)
			data := c.take(n + 2)
			c.say(size + "\r\n" + data)
		}
		c.say("0\r\n\r\n")
		c.rest()
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	f := request("POST", "/")
	body, client := pipe()
	f.Body = body
	if err := u.RoundTrip(t.Context(), f); err != nil { // before a byte of the body was there
		t.Fatal(err)
	}
	b := make([]byte, 10)
	for _, word := range []string{"ping", "pong"} {
		io.WriteString(client, word)
		if n, err := io.ReadFull(f.Reply.Body, b[:4]); err != nil || string(b[:n]) != word {
			t.Fatalf("got %q, %v", b[:n], err)
		}
	}
	client.Close()
	if n, err := f.Reply.Body.Read(b); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v", n, err)
	}
	f.Reply.Body.Close()
}

// A final reply while the client is still sending, or has stopped to: the reply is whole, the rest of the body is given
// up, and nothing is left behind.
func TestEarlyReply(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(fmt.Sprint("closes ", closes), func(t *testing.T) {
			s := serve(t, func(_ int, c *rawConn) {
				c.head()
				c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
				if !closes {
					c.rest()
				}
			})
			u := open(t, upstream.Options{Targets: targets(s.url)})
			f := request("POST", "/")
			body, client := pipe()
			f.Body = body
			go io.WriteString(client, "abc")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			got, err := read(f)
			if err != nil || got.status != 413 || got.body != "big" {
				t.Errorf("got %+v, %v", got, err)
			}
			select {
			case <-body.closed:
			default:
				t.Error("the body is still being read")
			}
			client.Close()
		})
	}
}

// A target that answers and never reads a large buffered body does not hold the reply up.
func TestEarlyReplyToBufferedBody(t *testing.T) {
	done := make(chan struct{})
	s := serve(t, func(_ int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
		<-done
	})
	defer close(done)
	u := open(t, upstream.Options{Targets: targets(s.url)})
	f := buffered(request("POST", "/"), strings.Repeat("x", 64<<20))
	if err := u.RoundTrip(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if got, err := read(f); err != nil || got.body != "big" {
		t.Errorf("got %q, %v", got.body, err)
	}
}

// The target never takes a body for whole that is not.
func TestBodyOfAnotherLength(t *testing.T) {
	tests := []struct {
		name, body string
		declared   int64
	}{
		{"short, small", "hello", 6},
		{"long, small", "hello!", 5},
		{"short, streamed", strings.Repeat("x", 9000), 9001},
		{"long, streamed", strings.Repeat("x", 9001), 9000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			whole := make(chan bool, 1)
			s := serve(t, func(_ int, c *rawConn) {
				c.head()
				whole <- len(c.rest()) >= int(tt.declared)
			})
			u := open(t, upstream.Options{Targets: targets(s.url)})
			refused(t, u.RoundTrip(t.Context(), sized(request("POST", "/"), tt.body, tt.declared)), 400)
			if s.accept.Load() > 0 && <-whole && tt.declared > int64(len(tt.body)) {
				t.Error("the target got a whole body")
			}
		})
	}
}

type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }

// The error of a body that is the client's own, such as a limit of the front's, reaches the caller.
func TestBodyFails(t *testing.T) {
	limit := sdk.Errorf(413, "too large")
	for _, n := range []int64{5, 9000, -1} {
		t.Run(fmt.Sprint("length ", n), func(t *testing.T) {
			s := serve(t, func(_ int, c *rawConn) { c.rest() })
			u := open(t, upstream.Options{Targets: targets(s.url)})
			f := sized(request("POST", "/"), "", n)
			f.Body.(*clientBody).r = failingBody{limit}
			if err := u.RoundTrip(t.Context(), f); !errors.Is(err, limit) {
				t.Errorf("got %v, want the body's own error", err)
			}
			refused2 := errors.New("reset")
			f = sized(request("POST", "/"), "", n)
			f.Body.(*clientBody).r = failingBody{refused2}
			err := u.RoundTrip(t.Context(), f)
			refused(t, err, 400)
			if !errors.Is(err, refused2) {
				t.Errorf("got %v, want it to wrap the cause", err)
			}
		})
	}
}
