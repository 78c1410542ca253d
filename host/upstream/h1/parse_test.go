package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// canned is a connection whose bytes are known, given out in pieces.
type canned struct {
	net.Conn
	r     io.Reader
	piece int
}

func (c *canned) Read(p []byte) (int, error)  { return c.r.Read(p[:min(len(p), c.piece)]) }
func (c *canned) Close() error                { return nil }
func (c *canned) SetDeadline(time.Time) error { return nil }

// reply is what became of a reply's bytes.
type reply struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	end     error // of the body; nil after its end
}

// readReply runs bytes through the transport's own reading, past interim replies.
func readReply(data []byte, method string, piece int) (got reply, err error) {
	t := &Transport{o: Options{MaxHeaderBytes: 1 << 16, MaxHeaderFields: 100, MaxInterim: 16,
		Dialer: &outbound.Dialer{Target: &outbound.Target{Name: "test"}}}, conns: outbound.NewTracker[*conn]()}
	t.in.New = func() any { return &buffer{b: make([]byte, 32)} }
	t.pool.init(1)
	c := &conn{t: t, nc: &canned{r: bytes.NewReader(data), piece: piece}, plain: true}
	t.conns.Add(c)
	c.in = t.in.New().(*buffer)
	for c.head.status < 200 {
		if err := c.readHead(); err != nil {
			return got, err
		}
		if c.head.status == 101 {
			return got, errors.New("101 unasked")
		}
	}
	h := c.head
	got.status, got.header = h.status, http.Header{}
	for _, f := range h.fields {
		got.header[textproto.CanonicalMIMEHeaderKey(f.Name)] = append(got.header[textproto.CanonicalMIMEHeaderKey(f.Name)], f.Value)
	}
	b, _ := c.take(method, nil, true)
	text, err := io.ReadAll(b)
	got.body, got.end = string(text), err
	if b.trailer != nil {
		got.trailer = http.Header{}
		for _, f := range b.trailer.Fields() {
			got.trailer.Add(f.Name, f.Value)
		}
	}
	return got, nil
}

// FuzzReply compares with net/http: what both take for a reply means the same to both, and what net/http refuses is
// never taken.
func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\nbody",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA : b\r\n c\r\n\r\n",
		"HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		f.Add([]byte(s), false, 1<<16)
		f.Add([]byte(s), true, 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, isHead bool, piece int) {
		method := "GET"
		if isHead {
			method = "HEAD"
		}
		ours, err := readReply(data, method, max(1, piece&0xffff))
		if err != nil {
			return // stricter is always allowed
		}
		r := bufio.NewReader(bytes.NewReader(data))
		var theirs *http.Response
		for {
			theirs, err = http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("taken, but net/http refuses it: %v\n%q", err, data)
			}
			if theirs.StatusCode >= 200 {
				break
			}
		}
		if ours.status != theirs.StatusCode {
			t.Fatalf("got status %d, net/http %d", ours.status, theirs.StatusCode)
		}
		body, bodyErr := io.ReadAll(theirs.Body)
		if ours.end == nil {
			if bodyErr != nil {
				t.Fatalf("body taken, but net/http refuses it: %v\n%q", bodyErr, data)
			}
			if diff := cmp.Diff(string(body), ours.body); diff != "" {
				t.Fatalf("body: -net/http +ours\n%s", diff)
			}
			for name, values := range ours.trailer {
				if diff := cmp.Diff(theirs.Trailer[http.CanonicalHeaderKey(name)], values); diff != "" {
					t.Fatalf("trailer %s: -net/http +ours\n%s", name, diff)
				}
			}
		} else if !strings.HasPrefix(string(body), ours.body) {
			t.Fatalf("part of the body: got %q, net/http %q", ours.body, body)
		}
		for _, name := range []string{"Transfer-Encoding", "Trailer", "Connection"} { // net/http takes these out
			delete(ours.header, name)
			delete(theirs.Header, name)
		}
		if diff := cmp.Diff(map[string][]string(theirs.Header), map[string][]string(ours.header)); diff != "" {
			t.Fatalf("header: -net/http +ours\n%s", diff)
		}
	})
}

// FuzzChunked checks the decoder against net/http's, and that what an encoder wrote comes back.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "005;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n", "5\nhello\n0\n\n", "5\r\nhello", "5 \r\nhello\r\n0\r\n\r\n", "ffffffffffffffff\r\n"} {
		f.Add([]byte(s), 5)
	}
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = max(1, piece&0xffff)
		ours, err := readReply(append([]byte(head), data...), "GET", piece)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head+string(data))), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, bodyErr := io.ReadAll(theirs.Body)
		if ours.end == nil && (bodyErr != nil || ours.body != string(body)) {
			t.Fatalf("got %q, net/http %q %v", ours.body, body, bodyErr)
		}
		var encoded []byte
		for i, rest := 0, data; len(rest) > 0; i++ {
			n := min(len(rest), 1+i*piece%100)
			b := make([]byte, 10+n+2)
			copy(b[10:], rest[:n])
			encoded = append(encoded, chunk(b, 10, n)...)
			rest = rest[n:]
		}
		encoded = append(encoded, "0\r\n\r\n"...)
		back, err := readReply(append([]byte(head), encoded...), "GET", piece)
		if err != nil || back.end != nil || back.body != string(data) {
			t.Fatalf("got %q, %v, %v, want %q", back.body, err, back.end, data)
		}
	})
}

// FuzzRequest: whatever the parts of a request are, what leaves is one request to net/http's reader, with nothing in it
// that was not there before; or nothing leaves.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a", "b=c", "Name", "value", "host", "1.2.3.4")
	f.Add("POST", "//x", "", "Content-Length", "5", "h\r\nEvil: 1", "a\nb")
	f.Fuzz(func(t *testing.T, method, path, query, name, value, host, forwarded string) {
		call := newCall()
		call.Flow.X.Request().Fill(sdk.RequestInit{Method: method})
		call.Flow.X.Request().Header().Append(name, value)
		call.Flow.Out.Path, call.Flow.Out.Query, call.Flow.Out.Host, call.Flow.Out.ForwardedFor = path, query, host, forwarded
		out, err := appendHead(nil, &outbound.Target{Host: "target"}, call, false)
		if err != nil {
			return
		}
		block, rest, found := bytes.Cut(out, []byte("\r\n\r\n"))
		if !found || len(rest) > 0 {
			t.Fatalf("more than one header in %q", out)
		}
		if lines := bytes.Count(block, []byte("\n")); lines > 4 {
			t.Fatalf("%d lines in %q", lines, out)
		}
		if line, _, _ := bytes.Cut(block, []byte("\r\n")); bytes.Count(line, []byte(" ")) != 2 {
			t.Fatalf("request line %q", line)
		}
	})
}

func TestLengths(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "007": 7, "999999999999999999": 999999999999999999,
		"": -1, " 1": -1, "1 ": -1, "+1": -1, "-1": -1, "1,1": -1, "0x1": -1, "1e3": -1, "9999999999999999999": -1, "١": -1} {
		got, err := parseLength(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %s, want %d", s, strconv.FormatInt(got, 10), want)
		}
	}
}

func newCall() *outbound.Call { return &outbound.Call{Flow: &flow.Flow{}, Whole: true} }
