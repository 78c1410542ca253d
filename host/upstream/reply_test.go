package upstream_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// What a reply's bytes become, and whether the connection serves the next request.
func TestReplies(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20_000)
	fields := func(s ...string) (fs []sdk.Field) {
		for i := 0; i < len(s); i += 2 {
			fs = append(fs, sdk.Field{Name: s[i], Value: s[i+1]})
		}
		return fs
	}
	tests := []struct {
		name, method, reply string
		want                answer
		length              int64
		closes              bool // the connection is used once only
		eof                 bool // the server ends it
		extra               bool // it is longer than it says
	}{
		{name: "length", reply: "HTTP/1.1 200 OK\r\nx-B: 1\r\nX-a:2\r\nX-B: \t3 \t\r\nContent-Length: 5\r\n\r\nhello",
			want: answer{200, fields("x-B", "1", "X-a", "2", "X-B", "3", "Content-Length", "5"), "hello", nil}, length: 5},
		{name: "empty", reply: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", want: answer{404, fields("Content-Length", "0"), "", nil}},
		{name: "big", reply: "HTTP/1.1 200 OK\r\nContent-Length: 320000\r\n\r\n" + big,
			want: answer{200, fields("Content-Length", "320000"), big, nil}, length: 320000},
		{name: "no reason", reply: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want: answer{200, fields("Content-Length", "0"), "", nil}},
		{name: "other bytes in reason and value", reply: "HTTP/1.1 599 \xff\r\nA: \xfc\r\nEmpty:\r\nContent-Length: 0\r\n\r\n",
			want: answer{599, fields("A", "\xfc", "Empty", "", "Content-Length", "0"), "", nil}},
		{name: "chunked", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n1 ;z\r\n!\r\n0\r\n\r\n",
			want: answer{200, nil, "hello0123456789!", nil}, length: -1},
		{name: "chunked, big", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4e200\r\n" + big + "\r\n0\r\n\r\n",
			want: answer{200, nil, big, nil}, length: -1},
		{name: "trailer", reply: "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\nContent-Length: 9\r\nX-2: \r\n\r\n",
			want: answer{200, nil, "a", fields("x-sum", "7", "X-2", "")}, length: -1},
		{name: "until the end", reply: "HTTP/1.1 200 OK\r\n\r\nhello", want: answer{200, nil, "hello", nil}, length: -1, closes: true, eof: true},
		{name: "HTTP/1.0", reply: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", want: answer{200, fields("Content-Length", "2"), "hi", nil}, length: 2, closes: true},
		{name: "close", reply: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-a, Close\r\nX-A: 1\r\nX-B: 2\r\n\r\nhi",
			want: answer{200, fields("Content-Length", "2", "X-B", "2"), "hi", nil}, length: 2, closes: true},
		{name: "hop-by-hop", reply: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n\r\nhi",
			want: answer{200, fields("Content-Length", "2"), "hi", nil}, length: 2},
		{name: "HEAD", method: "HEAD", reply: "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", want: answer{200, fields("Content-Length", "500"), "", nil}, length: 500},
		{name: "HEAD, chunked", method: "HEAD", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", want: answer{200, nil, "", nil}, length: -1},
		{name: "204", reply: "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", want: answer{204, fields("A", "b"), "", nil}},
		{name: "304", reply: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", want: answer{304, fields("Content-Length", "9"), "", nil}, length: 9},
		{name: "100 unasked", reply: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", want: answer{200, fields("Content-Length", "1"), "1", nil}, length: 1},
		{name: "interim", reply: "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
			want: answer{200, fields("Content-Length", "1"), "1", nil}, length: 1},
		{name: "bytes behind the reply", reply: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
			want: answer{200, fields("Content-Length", "1"), "1", nil}, length: 1, extra: true, closes: true},
		{name: "bytes behind the last chunk", reply: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n2",
			want: answer{200, nil, "1", nil}, length: -1, extra: true, closes: true},
		{name: "a body where there is none", method: "HEAD", reply: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",
			want: answer{200, fields("Content-Length", "1"), "", nil}, length: 1, extra: true, closes: true},
	}
	for _, tt := range tests {
		for _, slow := range []bool{false, true} {
			name := tt.name
			if slow {
				name += ", in pieces"
				if tt.extra {
					continue // what comes after the next request was sent looks like its answer, to anyone
				}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := serve(t, func(_ int, c *rawConn) {
					for c.head() != "" {
						if slow {
							c.dribble(tt.reply)
						} else {
							c.say(tt.reply)
						}
						if tt.eof {
							return
						}
					}
				})
				u := open(t, upstream.Options{Targets: targets(s.url)})
				for range 2 {
					f := request(or(tt.method, "GET"), "/")
					if err := u.RoundTrip(t.Context(), f); err != nil {
						t.Fatal(err)
					}
					if got := f.X.Response().Length(); got != tt.length {
						t.Errorf("got length %d, want %d", got, tt.length)
					}
					got, err := read(f)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(answer{})); diff != "" {
						t.Errorf("-want +got\n%s", diff)
					}
				}
				want := int32(1)
				if tt.closes {
					want = 2
				}
				if got := s.accept.Load(); got != want && !slow {
					t.Errorf("got %d connections for two requests, want %d", got, want)
				}
			})
		}
	}
}

// dribble sends s in three pieces, so that a reader meets borders in its middle and before its last byte.
func (c *rawConn) dribble(s string) {
	c.say(s[:len(s)/2])
	pause()
	c.say(s[len(s)/2 : len(s)-1])
	pause()
	c.say(s[len(s)-1:])
}

// pause lets a byte travel alone; nothing depends on it.
func pause() { <-time.After(2 * time.Millisecond) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Replies that two parsers could read differently, or that no one can read: 502, and nothing of them is forwarded.
func TestGarbageIsRefused(t *testing.T) {
	head := func(fields ...string) string {
		return "HTTP/1.1 200 OK\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
	}
	tests := map[string]string{
		"no HTTP":                         "220 mail.example.org ESMTP\r\n\r\n",
		"bare LF after the status line":   "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
		"bare LF after a field":           "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
		"bare LF at the end":              "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
		"all bare LF":                     "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"bare CR in a value":              head("A: b\rB: c", "Content-Length: 0"),
		"NUL in a value":                  head("A: b\x00c", "Content-Length: 0"),
		"NUL in a name":                   head("A\x00: b", "Content-Length: 0"),
		"continued line":                  head("A: b", " c", "Content-Length: 0"),
		"continued line, tab":             head("A: b", "\tc", "Content-Length: 0"),
		"continued first line":            head(" A: b", "Content-Length: 0"),
		"blank before the colon":          head("Content-Length : 0"),
		"tab before the colon":            head("Transfer-Encoding\t: chunked"),
		"no colon":                        head("Content-Length 0"),
		"no name":                         head(": x", "Content-Length: 0"),
		"name is no token":                head("A(b): c", "Content-Length: 0"),
		"two lengths":                     head("Content-Length: 5", "Content-Length: 6") + "hello",
		"the same length twice":           head("Content-Length: 5", "content-length: 5") + "hello",
		"length list":                     head("Content-Length: 5, 5") + "hello",
		"signed length":                   head("Content-Length: +5") + "hello",
		"negative length":                 head("Content-Length: -1"),
		"empty length":                    head("Content-Length:"),
		"hex length":                      head("Content-Length: 0x5") + "hello",
		"length with a blank":             head("Content-Length: 1 0") + "hello",
		"huge length":                     head("Content-Length: 99999999999999999999"),
		"chunked and length":              head("Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n",
		"length and chunked":              head("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"chunked not last":                head("Transfer-Encoding: chunked, gzip") + "0\r\n\r\n",
		"another coding":                  head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
		"identity":                        head("Transfer-Encoding: identity"),
		"chunked twice":                   head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"empty coding":                    head("Transfer-Encoding:"),
		"coding in disguise":              head("Transfer-Encoding: \x0bchunked") + "0\r\n\r\n",
		"chunked in 1.0":                  "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked in 204":                  "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"status 099":                      "HTTP/1.1 099 X\r\n\r\n",
		"status 600":                      "HTTP/1.1 600 X\r\n\r\n",
		"status 999":                      "HTTP/1.1 999 X\r\n\r\n",
		"status 20":                       "HTTP/1.1 20 X\r\n\r\n",
		"status 2000":                     "HTTP/1.1 2000 X\r\n\r\n",
		"status with a sign":              "HTTP/1.1 +20 X\r\n\r\n",
		"two blanks":                      "HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/2 in text":                  "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.2":                        "HTTP/1.2 200 OK\r\n\r\n",
		"lower case":                      "http/1.1 200 OK\r\n\r\n",
		"control in reason":               "HTTP/1.1 200 O\x01K\r\n\r\n",
		"leading line end":                "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"101 unasked":                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"interim with a coding":           "HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n",
		"endless interim":                 strings.Repeat("HTTP/1.1 102 X\r\n\r\n", 100),
		"too many fields":                 head(strings.Repeat("A: b\r\n", 10_000) + "B: c"),
		"too long a header":               head("A: "+strings.Repeat("x", 3<<20), "Content-Length: 0"),
		"too long a line without an end":  strings.Repeat("x", 3<<20),
		"ends in the header":              "HTTP/1.1 200 OK\r\nContent-Le",
		"ends after the interim's header": "HTTP/1.1 103 X\r\n\r\nHTTP",
	}
	for name, reply := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, once(reply))
			u := open(t, upstream.Options{Targets: targets(s.url)})
			for range 2 {
				f := request("GET", "/")
				err := u.RoundTrip(t.Context(), f)
				refused(t, err, 502)
				if f.Reply.Body != nil || f.Reply.Upgraded != nil || f.X.Response().Header().Len() > 0 {
					t.Errorf("something of the reply came through: %+v", f.X.Response().Header().Fields())
				}
			}
		})
	}
}

// refused checks the status of an error.
func refused(t *testing.T, err error, status int) {
	t.Helper()
	var e *sdk.Error
	if !errors.As(err, &e) || e.Status != status || e.Err == nil {
		t.Errorf("got %v, want a %d with its cause", err, status)
	}
}

// Bodies that do not end as they should: the reader must learn of it, and the connection is not used again.
func TestBrokenBodies(t *testing.T) {
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	tests := map[string]struct{ reply, want string }{
		"short":                     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "hello"},
		"cut between chunks":        {chunked + "5\r\nhello\r\n", "hello"},
		"cut within a chunk":        {chunked + "9\r\nhello", "hello"},
		"cut within the trailer":    {chunked + "5\r\nhello\r\n0\r\nA: b\r\n", "hello"},
		"no size":                   {chunked + "5\r\nhello\r\n\r\n\r\n", "hello"},
		"bare LF after the size":    {chunked + "5\nhello\r\n0\r\n\r\n", ""},
		"bare LF after the data":    {chunked + "5\r\nhello\n0\r\n\r\n", "hello"},
		"longer than its size":      {chunked + "4\r\nhello\r\n0\r\n\r\n", "hell"},
		"shorter than its size":     {chunked + "6\r\nhello\r\n0\r\n\r\n", "hello\r"},
		"size is not hex":           {chunked + "5g\r\nhello\r\n0\r\n\r\n", ""},
		"size 0x5":                  {chunked + "0x5\r\nhello\r\n0\r\n\r\n", ""},
		"negative size":             {chunked + "-5\r\nhello\r\n0\r\n\r\n", ""},
		"blank before the size":     {chunked + " 5\r\nhello\r\n0\r\n\r\n", ""},
		"blank after the size":      {chunked + "5 \r\nhello\r\n0\r\n\r\n", ""},
		"underscore":                {chunked + "1_0\r\nhello\r\n0\r\n\r\n", ""},
		"overflowing size":          {chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n", ""},
		"CR in an extension":        {chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", ""},
		"LF in an extension":        {chunked + "5;a\nb\r\nhello\r\n0\r\n\r\n", ""},
		"endless extension":         {chunked + "5;" + strings.Repeat("a", 1<<20), ""},
		"bare LF in the trailer":    {chunked + "5\r\nhello\r\n0\r\nA: b\n\r\n", "hello"},
		"NUL in the trailer":        {chunked + "5\r\nhello\r\n0\r\nA: \x00\r\n\r\n", "hello"},
		"blank in a trailer's name": {chunked + "5\r\nhello\r\n0\r\nA : b\r\n\r\n", "hello"},
		"endless trailer":           {chunked + "5\r\nhello\r\n0\r\n" + strings.Repeat("A: b\r\n", 5000), "hello"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, once(tt.reply))
			u := open(t, upstream.Options{Targets: targets(s.url)})
			f := request("GET", "/")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			got, err := read(f)
			if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got error %v, want one that tells of the damage", err)
			}
			if got.body != tt.want {
				t.Errorf("got %q, want %q", got.body, tt.want)
			}
			if n, again := f.Reply.Body.Read(make([]byte, 1)); n != 0 || again == nil {
				t.Errorf("a second read gave %d, %v", n, again)
			}
		})
	}
}

// A reply that was not asked for is not taken for the answer to the next request (response queue poisoning).
func TestUnaskedReplyIsNotUsed(t *testing.T) {
	poisoned := make(chan struct{})
	s := serve(t, func(n int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
		if n == 1 {
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
			close(poisoned)
		}
		c.rest()
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	for i := range 2 {
		f := request("POST", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if got, err := read(f); err != nil || got.body != "good" {
			t.Errorf("request %d: got %q, %v", i, got.body, err)
		}
		<-poisoned // loopback delivers in order: what was written is there
	}
	if got := s.accept.Load(); got != 2 {
		t.Errorf("got %d connections, want 2", got)
	}
}

// A connection that the target closed while it was unused is replaced, whatever the method: nothing was sent.
func TestStaleConnection(t *testing.T) {
	closed := make(chan struct{}, 1)
	s := serve(t, func(n int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
		c.Close()
		closed <- struct{}{}
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	for range 3 {
		f := buffered(request("POST", "/"), "body")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		read(f)
		if f.Reply.Tries != 1 {
			t.Errorf("got %d tries, want 1: one target was asked", f.Reply.Tries)
		}
		<-closed
	}
}

// A used connection that ends after the request was sent and before a byte of the reply: only what is safe to send
// twice is sent again.
func TestClosedAfterSending(t *testing.T) {
	tests := []struct {
		name, method string
		stream       bool
		status       int // 0: it succeeds
	}{
		{"GET", "GET", false, 0},
		{"PUT, whole", "PUT", false, 0},
		{"PUT, streamed", "PUT", true, 502},
		{"POST", "POST", false, 502},
		{"PATCH", "PATCH", false, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(n int, c *rawConn) {
				c.head()
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
				if c.head() != "" && n == 1 {
					return
				}
			})
			u := open(t, upstream.Options{Targets: targets(s.url)})
			first := request("GET", "/")
			if err := u.RoundTrip(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			read(first)
			f := request(tt.method, "/")
			if tt.stream {
				f.Body = stream("x")
			}
			err := u.RoundTrip(t.Context(), f)
			if tt.status != 0 {
				refused(t, err, tt.status)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			read(f)
		})
	}
	t.Run("a new connection is not tried again", func(t *testing.T) {
		s := serve(t, func(n int, c *rawConn) { c.head() })
		u := open(t, upstream.Options{Targets: targets(s.url)})
		refused(t, u.RoundTrip(t.Context(), request("GET", "/")), 502)
		if got := s.accept.Load(); got != 1 {
			t.Errorf("got %d connections, want 1", got)
		}
	})
}

func TestClientLeavesWithinBody(t *testing.T) {
	s := serve(t, func(n int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
		c.head() // returns when the client closes
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	ctx, cancel := context.WithCancel(t.Context())
	f := request("GET", "/")
	if err := u.RoundTrip(ctx, f); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := f.Reply.Body.Read(b); n != 5 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	cancel()
	if _, err := f.Reply.Body.Read(b); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	f.Reply.Body.Close()
	f.Reply.Body.Close()
}

func TestResetWithinBody(t *testing.T) {
	read1 := make(chan struct{})
	s := serve(t, func(n int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
		<-read1
		c.reset()
	})
	u := open(t, upstream.Options{Targets: targets(s.url)})
	f := request("GET", "/")
	if err := u.RoundTrip(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	if n, err := f.Reply.Body.Read(b); n != 5 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	close(read1)
	if _, err := f.Reply.Body.Read(b); err == nil || err == io.EOF {
		t.Errorf("got %v, want the reset", err)
	}
	f.Reply.Body.Close()
}
