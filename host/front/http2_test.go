package front

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// rawHTTP2 is a client that sends what no honest one would.
type rawHTTP2 struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	pack   *hpack.Encoder
	next   uint32
}

func newRawHTTP2(t testing.TB, c net.Conn) *rawHTTP2 {
	t.Helper()
	send(t, c, http2.ClientPreface)
	h := &rawHTTP2{t: t, conn: c, framer: http2.NewFramer(c, c), next: 1}
	h.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.pack = hpack.NewEncoder(&h.block)
	if err := h.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

// request opens a stream with the fields, "name: value" each.
func (h *rawHTTP2) request(end bool, fields ...string) uint32 {
	h.t.Helper()
	h.block.Reset()
	for _, f := range fields {
		at := strings.Index(f[1:], ": ") + 1
		if err := h.pack.WriteField(hpack.HeaderField{Name: f[:at], Value: f[at+2:]}); err != nil {
			h.t.Fatal(err)
		}
	}
	id := h.next
	h.next += 2
	err := h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.block.Bytes(), EndHeaders: true, EndStream: end})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// answer returns the stream's status, or what ended it, and its body up to the end. away tells of a GOAWAY before.
func (h *rawHTTP2) answer(id uint32) (status, body string, away bool) {
	h.t.Helper()
	for {
		frame, err := h.framer.ReadFrame()
		if err != nil {
			h.t.Fatalf("reading a frame: %v", err)
		}
		switch frame := frame.(type) {
		case *http2.GoAwayFrame:
			away = true
		case *http2.RSTStreamFrame:
			if frame.StreamID == id {
				return frame.ErrCode.String(), body, away
			}
		case *http2.MetaHeadersFrame:
			if frame.StreamID == id {
				status = frame.PseudoValue("status")
			}
			if frame.StreamID == id && frame.StreamEnded() {
				return status, body, away
			}
		case *http2.DataFrame:
			if frame.StreamID == id {
				body += string(frame.Data())
			}
			if frame.StreamID == id && frame.StreamEnded() {
				return status, body, away
			}
		}
	}
}

// What HTTP/2 can carry and HTTP/1 understands differently, or what two readers of one request could take for different
// things, is refused (RFC 9113 §8.1.1, §8.3.1, §10.3). The connection goes on: other streams are not to blame.
func TestHTTP2Malformed(t *testing.T) {
	f := start(t, Options{H2C: true}, func(f *flow.Flow) {
		if host, ok := f.X.Request().Header().Lookup("Host"); ok {
			t.Errorf("a Host field among the others: %q", host)
		}
		echoTarget(f)
	})
	get := []string{":method: GET", ":scheme: http", ":path: /a", ":authority: h"}
	with := func(fields ...string) []string { return append(append([]string(nil), get...), fields...) }
	tests := []struct {
		name   string
		fields []string
		end    bool
		want   string
	}{
		{"plain", get, true, "200 GET|h|/a||/a"},
		{"host like authority", with("host: h"), true, "200 GET|h|/a||/a"},
		{"host in another case", with("host: H"), true, "200 GET|h|/a||/a"},
		{"host without authority", []string{":method: GET", ":scheme: http", ":path: /a", "host: h"}, true, "200 GET|h|/a||/a"},
		{"another host", with("host: internal"), true, "400"},
		{"two hosts", with("host: h", "host: internal"), true, "400"},
		{"two hosts without authority", []string{":method: GET", ":scheme: http", ":path: /a", "host: h", "host: i"}, true, "400"},
		{"absolute path", []string{":method: GET", ":scheme: http", ":path: http://internal/a", ":authority: h"}, true, "400"},
		{"blank in method", []string{":method: GET /b", ":scheme: http", ":path: /a", ":authority: h"}, true, "400"},
		{"length without body", with("content-length: 5"), true, "400"},
		{"length 0 without body", with("content-length: 0"), true, "200 GET|h|/a||/a"},
		{"length that is none", with("content-length: abc"), false, "400"},
		{"length with sign", with("content-length: +5"), false, "400"},
		{"lengths that differ", with("content-length: 5", "content-length: 6"), false, "400"},
		{"transfer coding", with("transfer-encoding: chunked"), false, "400"},
		{"connection", with("connection: close"), true, "400"},
		{"connect", []string{":method: CONNECT", ":authority: h:443"}, false, "501"},
		{"line break in a value", with("x: a\r\nb: c"), true, "PROTOCOL_ERROR"},
		{"blank in a name", with("x y: a"), true, "PROTOCOL_ERROR"},
		{"user information", []string{":method: GET", ":scheme: http", ":path: /a", ":authority: u@h"}, true, "PROTOCOL_ERROR"},
	}
	h := newRawHTTP2(t, dial(t, f))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id := h.request(test.end, test.fields...)
			status, body, away := h.answer(id)
			if status == "200" {
				status += " " + body
			}
			if status != test.want {
				t.Errorf("got %q, want %q", status, test.want)
			}
			if away {
				t.Error("the connection was given up")
			}
		})
	}
}

// A request over TLS whose :scheme says http came over TLS all the same.
func TestHTTP2SchemeOverTLS(t *testing.T) {
	ca, o := secured(t, "localhost")
	f := start(t, Options{TLS: o}, func(f *flow.Flow) { reply(f, 200, f.Out.ForwardedProto+fmt.Sprint(f.TLS != nil)) })
	for scheme, want := range map[string]string{"https": "200 httpstrue", "http": "200 httpstrue"} {
		c, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // of a test
		_ = c.SetDeadline(time.Now().Add(bounded))
		h := newRawHTTP2(t, c)
		status, body, _ := h.answer(h.request(true, ":method: GET", ":scheme: "+scheme, ":path: /", ":authority: localhost"))
		if got := status + " " + body; got != want {
			t.Errorf("%s: got %q, want %q", scheme, got, want)
		}
	}
}

// The bound on a stalled body is for HTTP/1: a client on HTTP/2 may be silent while it waits.
func TestReadStallSparesHTTP2(t *testing.T) {
	const short = 30 * time.Millisecond
	f := start(t, Options{H2C: true, ReadStall: short}, func(f *flow.Flow) {
		<-time.After(5 * short)
		reply(f, 200, fmt.Sprint(f.Ctx.Err()))
	})
	h := newRawHTTP2(t, dial(t, f))
	for range 2 {
		id := h.request(true, ":method: GET", ":scheme: http", ":path: /", ":authority: h")
		if status, body, _ := h.answer(id); status != "200" || body != "<nil>" {
			t.Errorf("got %s %q", status, body)
		}
		<-time.After(2 * short)
	}
}

// Without h2c the preface opens no way around the guard.
func TestPrefaceWithoutH2C(t *testing.T) {
	f := start(t, Options{}, echoBody)
	got := ask(t, f, "PRI * HTTP/2.0\r\n\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+victim)
	if strings.Count(got, "HTTP/1.1 ") != 1 || !strings.HasPrefix(got, "HTTP/1.1 400 ") && !strings.HasPrefix(got, "HTTP/1.1 505 ") {
		t.Errorf("got %q, want one refusal", got)
	}
}

// However long a header may be, the guard does not lose sight of what follows it.
func TestGuardBehindAHugeLine(t *testing.T) {
	f := start(t, Options{MaxHeader: 8 << 20}, echoBody)
	huge := "GET /a HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n"
	got := ask(t, f, huge+"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+victim)
	if strings.Contains(got, "/victim") || strings.Contains(got, "/b") || !strings.Contains(got, "HTTP/1.1 400 ") {
		t.Errorf("got %q, want the second request refused", got)
	}
}

// A client that leaves while its body is read is told from one that sends nonsense.
func TestClientLeavesWithinBody(t *testing.T) {
	const post = "POST /a HTTP/1.1\r\nHost: h\r\n"
	tests := []struct {
		name, raw string
		gone      bool
	}{
		{"length", post + "Content-Length: 5\r\n\r\nab", true},
		{"within a chunk", post + "Transfer-Encoding: chunked\r\n\r\n5\r\nab", true},
		{"between chunks", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true},
		{"within the trailer", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX: ", true},
		{"garbage", post + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log logged
			ended := make(chan error, 1)
			f := start(t, Options{Logger: log.logger()}, func(f *flow.Flow) {
				_, err := io.ReadAll(f.Body)
				if ended <- err; !errors.Is(err, flow.ErrGone) {
					reply(f, 400, "no")
				}
			})
			c := dial(t, f)
			send(t, c, test.raw)
			if test.gone {
				_ = c.Close()
			}
			if err := soon(t, "the body's end", ended); err == nil || errors.Is(err, flow.ErrGone) != test.gone {
				t.Errorf("got %v, want one that says gone: %v", err, test.gone)
			}
			_ = c.Close()
			if strings.Contains(log.String(), "without reply") {
				t.Errorf("log: %s", &log)
			}
		})
	}
	t.Run("HTTP/2 stream", func(t *testing.T) {
		begun, ended := make(chan struct{}, 1), make(chan error, 1)
		f := start(t, Options{H2C: true}, func(f *flow.Flow) {
			begun <- struct{}{}
			_, err := io.ReadAll(f.Body)
			ended <- err
		})
		h := newRawHTTP2(t, dial(t, f))
		id := h.request(false, ":method: POST", ":scheme: http", ":path: /", ":authority: h")
		if err := h.framer.WriteData(id, false, []byte("ab")); err != nil {
			t.Fatal(err)
		}
		<-begun
		if err := h.framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		if err := soon(t, "the body's end", ended); !errors.Is(err, flow.ErrGone) {
			t.Errorf("got %v, want flow.ErrGone", err)
		}
		h.request(false, ":method: POST", ":scheme: http", ":path: /", ":authority: h")
		<-begun // or the server never sees the request: closing resets the connection
		_ = h.conn.Close()
		if err := soon(t, "the body's end", ended); !errors.Is(err, flow.ErrGone) {
			t.Errorf("connection closed: got %v, want flow.ErrGone", err)
		}
	})
}
