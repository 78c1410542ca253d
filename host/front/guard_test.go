package front

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// echoBody answers with the length and bytes of the body.
func echoBody(f *flow.Flow) {
	if f.Body == nil {
		reply(f, 200, f.X.Request().Path()+" none")
		return
	}
	b, err := io.ReadAll(f.Body)
	if err != nil {
		reply(f, 400, "body: "+err.Error())
		return
	}
	reply(f, 200, fmt.Sprintf("%s %d %q", f.X.Request().Path(), f.X.Request().Length(), b))
}

const victim = "GET /victim HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

// Each request is followed by another on the same connection. What is refused must end the connection: the second
// request may be part of the first.
func TestSmuggling(t *testing.T) {
	tests := []struct{ name, raw, want string }{ // want: the first reply's status, and its body if 200
		{"length", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", `200 /a 3 "abc"`},
		{"chunked", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", `200 /a -1 "abc"`},
		{"chunked with extension and trailer", "POST /a HTTP/1.1\r\nHost: h\r\ntransfer-encoding:Chunked \r\n\r\n03;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n", `200 /a -1 "abc"`},
		{"chunk data that looks like a header", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n17\r\nContent-Length: 5\r\n\r\nab\r\n0\r\n\r\n", ""},
		{"body that looks like a header", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 47\r\n\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"equal lengths", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", `200 /a 3 "abc"`},
		{"names beginning alike", "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length-X: 3\r\nTransfer-Encodings: chunked\r\nTE: trailers\r\n\r\n", "200 /a none"},
		{"HTTP/1.0 with length", "POST /a HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", `200 /a 3 "abc"`},

		{"both", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"both, other order", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX: y\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
		{"both, lower case", "POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n", "400"},
		{"both, blanks around", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\t chunked \t\r\nContent-Length:3\r\n\r\n0\r\n\r\n", "400"},
		{"both, bare line feeds", "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nContent-Length: 3\n\n0\r\n\r\n", "400"},
		{"both on GET", "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", "400"},
		{"both, unknown coding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\nContent-Length: 0\r\n\r\n", "400"},
		{"HTTP/1.0 and chunked", "POST /a HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"HTTP/1.0, kept alive", "POST /a HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"HTTP/1.0 and identity", "POST /a HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n", "400"},
		{"identity", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n", "400"},
		{"chunked not last", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "400"},
		{"chunked not last, in two lines", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "400"},
		{"chunked twice", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"},
		{"chunked twice, in two lines", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"nearly chunked", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"},
		{"chunked and a vertical tab", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"},
		{"chunked quoted", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "400"},
		{"chunked with parameter", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "400"},
		{"empty coding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", "400"},
		{"empty last coding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "400"},
		{"a coding we do not know before chunked", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"},
		{"folded coding", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "400"},
		{"folded line", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", "400"},
		{"blank before the first field", "GET /a HTTP/1.1\r\n Content-Length: 3\r\nHost: h\r\n\r\n", "400"},
		{"blank before the colon", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
		{"blank before the length's colon", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc", "400"},
		{"carriage return inside", "POST /a HTTP/1.1\r\nHost: h\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n", "400"},
		{"NUL in a value", "GET /a HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", "400"},
		{"blank in a name", "GET /a HTTP/1.1\r\nHost: h\r\nX y: b\r\n\r\n", "400"},
		{"no name", "GET /a HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", "400"},
		{"no colon", "GET /a HTTP/1.1\r\nHost: h\r\nabc\r\n\r\n", "400"},
		{"lengths that differ", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400"},
		{"a list of lengths", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", "400"},
		{"length with sign", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", "400"},
		{"negative length", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "400"},
		{"hexadecimal length", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc", "400"},
		{"empty length", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", "400"},
		{"length over 64 bits", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551619\r\n\r\nabc", "400"},
		{"two hosts", "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", "400"},
		{"no host", "GET /a HTTP/1.1\r\n\r\n", "400"},
		{"host with path", "GET /a HTTP/1.1\r\nHost: h/x\r\n\r\n", "400"},
		{"host with bad port", "GET /a HTTP/1.1\r\nHost: h:99999\r\n\r\n", "400"},
		{"no version", "GET /a\r\nHost: h\r\n\r\n", "400"},
		{"two blanks", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"lower-case version", "GET /a http/1.1\r\nHost: h\r\n\r\n", "400"},
		{"HTTP/2.0 in a line", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", "505"},
		{"method with a bracket", "G[T /a HTTP/1.1\r\nHost: h\r\n\r\n", "400"},
		{"chunk size with sign", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "400"},
		{"chunk size with prefix", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", "400"},
		{"empty chunk size", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", "400"},
		{"chunk longer than its size", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "400"},
		{"blank after the chunk size", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3 ;x\r\nabc\r\n0\r\n\r\n", "400"},
		{"chunk size over 64 bits", "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", "400"},
	}
	f := start(t, Options{}, echoBody)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			replies := ask(t, f, test.raw+victim)
			r := bufio.NewReader(strings.NewReader(replies))
			resp, body := receive(t, r, "GET")
			second, err := http.ReadResponse(r, nil)
			if test.want == "" { // any body, but the second request must be seen as one
				if resp.StatusCode != 200 || err != nil || second.StatusCode != 200 {
					t.Errorf("replies %q", replies)
				}
				return
			}
			got := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode == 200 {
				got += " " + body
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if refused := resp.StatusCode != 200; refused != errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("status %d, and then: %v: %q", resp.StatusCode, err, replies)
			}
		})
	}
}

// A refusal does not disturb the request before it on the connection, which is still being served.
func TestRefusalBehindHeldRequest(t *testing.T) {
	held, release := make(chan struct{}), make(chan struct{})
	f := start(t, Options{}, func(f *flow.Flow) {
		close(held)
		select {
		case <-release:
			reply(f, 200, "whole")
		case <-f.Ctx.Done():
			reply(f, 499, "the client left")
		}
	})
	c := dial(t, f)
	send(t, c, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nPOST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	<-held
	send(t, c, victim)
	close(release)
	r := bufio.NewReader(c)
	if resp, body := receive(t, r, "GET"); resp.StatusCode != 200 || body != "whole" {
		t.Errorf("first reply: %d %q", resp.StatusCode, body)
	}
	if resp, _ := receive(t, r, "GET"); resp.StatusCode != 400 || !resp.Close {
		t.Errorf("second reply: %d, close %v", resp.StatusCode, resp.Close)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v, want EOF", err)
	}
	if n := f.Stats().Refused; n != 1 {
		t.Errorf("%d refusals counted", n)
	}
}

// However the bytes are cut into reads, the verdict is the same, and never is the whole of a refused header passed on.
func TestGuardPieces(t *testing.T) {
	streams := []struct {
		raw  string
		want error
	}{
		{"GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nT: \n\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\nX: y\r\n\r\n", nil},
		{"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabc", errBothLengths},
		{"\r\nPOST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\nabc", errOldChunked},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\nabc", errNotChunked},
		{"POST / HTTP/1.1\r\nX: y\r\n folded\r\n\r\nabc", errFolded},
		{"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\naPOST / HTTP/1.1\r\nContent-Length: b\r\n\r\n", errLength},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n", errChunkSize},
	}
	for _, s := range streams {
		for size := 1; size <= len(s.raw); size++ {
			var err error
			g, passed := guard{first: true, most: 1 << 20}, 0
			for at := 0; at < len(s.raw) && err == nil; at += size {
				var n int
				p := []byte(s.raw[at:min(at+size, len(s.raw))])
				n, err = g.check(p)
				passed += n
				if err == nil && n != len(p) {
					t.Fatalf("%q by %d: %d of %d bytes passed without error", s.raw, size, n, len(p))
				}
			}
			if !errors.Is(err, s.want) {
				t.Fatalf("%q by %d: got %v, want %v", s.raw, size, err, s.want)
			}
			if s.want == nil && g.state != guardRequestLine {
				t.Fatalf("%q by %d: ends in state %d", s.raw, size, g.state)
			}
			if end := strings.Index(s.raw, "\r\n\r\nabc"); s.want != nil && end >= 0 && passed > end+3 {
				t.Fatalf("%q by %d: %d bytes passed, the header ends at %d", s.raw, size, passed, end+4)
			}
		}
	}
}

func TestGuardPreface(t *testing.T) {
	g := guard{first: true, most: 1 << 20}
	if n, err := g.check([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00")); n != 26 || err != nil || g.state != guardOff {
		t.Errorf("got %d, %v, state %d", n, err, g.state)
	}
	g = guard{most: 1 << 20}
	if _, err := g.check([]byte("PRI * HTTP/2.0\r\n\r\n")); err != nil || g.state == guardOff {
		t.Errorf("in the middle of a connection: %v, state %d", err, g.state)
	}
}

// What net/http's reader accepts and the guard lets pass, both see the same requests in: the guard is where net/http
// is when a request ends. And no header with both lengths passes.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), uint8(3))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: h\r\n\r\n"), uint8(7))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.0\r\n\r\n"), uint8(64))
	f.Add([]byte("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), uint8(1))
	f.Add([]byte("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"), uint8(2))
	f.Fuzz(func(t *testing.T, raw []byte, size uint8) {
		step := int(size)%32 + 1
		g, passed := guard{first: true, most: 1 << 20}, 0
		var verdict error
		for at := 0; at < len(raw) && verdict == nil; at += step {
			var n int
			n, verdict = g.check(raw[at:min(at+step, len(raw))])
			passed += n
		}
		if verdict != nil && passed >= len(raw) {
			t.Fatalf("%v, and everything passed", verdict)
		}
		if g.state == guardOff {
			return
		}
		counted := &counter{r: strings.NewReader(string(raw[:passed]))}
		r := bufio.NewReader(counted)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.ProtoMinor == 0 && req.Header.Get("Transfer-Encoding") != "" {
				t.Fatal("HTTP/1.0 with a coding passed")
			}
			_, err = io.Copy(io.Discard, req.Body)
			whole := counted.n - r.Buffered()
			second := guard{first: true, most: 1 << 20}
			if n, bad := second.check(raw[:whole]); err == nil && (bad != nil || n != whole || second.state != guardRequestLine) {
				t.Fatalf("a request ends at %d of %q; the guard: %v, state %d, %d left", whole, raw, bad, second.state, second.left)
			}
			if err != nil {
				return
			}
		}
	})
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
