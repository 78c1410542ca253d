package front

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func header(pairs ...string) *sdk.Header {
	h := new(sdk.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Append(pairs[i], pairs[i+1])
	}
	return h
}

// Names are spelled canonically, whether they were before or have to be made so again, and few are kept.
func TestCanonical(t *testing.T) {
	var c client
	for range 2 {
		for sent, want := range map[string]string{
			"X-Request-ID": "X-Request-Id", "x-request-id": "X-Request-Id", "Content-Type": "Content-Type", "ETag": "Etag", "x-a": "X-A", "x-b": "X-B",
			"x-c": "X-C", "with space": "with space", "": "",
		} {
			if got := c.canonical(sent); got != want {
				t.Errorf("%q became %q, want %q", sent, got, want)
			}
		}
		if len(c.names) != knownNames {
			t.Errorf("%d names are kept", len(c.names))
		}
		c.end()
	}
	c = client{}
	c.canonical("X-Request-ID")
	if n := testing.AllocsPerRun(100, func() { c.canonical("X-Request-ID") }); n > 0 {
		t.Errorf("%v allocations for a name that is known", n)
	}
}

// What a reply looks like on the wire, byte for byte but for the date.
func TestReply(t *testing.T) {
	const date = "Thu, 01 Oct 2026 00:00:00 GMT"
	tests := []struct {
		name, request string
		serve         func(f *flow.Flow)
		want          string
	}{
		{"length", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date, "content-type", "a/b", "Content-Length", "2", "x-two", "1", "X-Two", "2"), 2)
			_, _ = io.WriteString(f.Client, "ab")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a/b\r\nDate: " + date + "\r\nX-Two: 1\r\nX-Two: 2\r\n\r\nab"},
		{"the length given wins over the header's", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date, "Content-Length", "77", "Transfer-Encoding", "chunked"), 2)
			_, _ = io.WriteString(f.Client, "ab")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: " + date + "\r\n\r\nab"},
		{"no type is guessed", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date), 6)
			_, _ = io.WriteString(f.Client, "<html>")
		}, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nDate: " + date + "\r\n\r\n<html>"},
		{"no length", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date), -1)
			_, _ = io.WriteString(f.Client, "ab")
			_ = f.Client.Flush()
			_, _ = io.WriteString(f.Client, "c")
		}, "HTTP/1.1 200 OK\r\nDate: " + date + "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"},
		{"no length, HTTP/1.0", "GET / HTTP/1.0", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date), -1)
			_, _ = io.WriteString(f.Client, "ab")
			_ = f.Client.Flush()
			f.Client.WriteTrailer(header("X-End", "1"))
		}, "HTTP/1.0 200 OK\r\nDate: " + date + "\r\n\r\nab"},
		{"empty", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(404, header("Date", date), 0)
		}, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nDate: " + date + "\r\n\r\n"},
		{"HEAD", "HEAD / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date, "Content-Type", "a/b"), 1234)
			if n, err := io.WriteString(f.Client, "dropped"); n != 7 || err != nil || f.BytesOut != 0 {
				t.Errorf("writing to HEAD: %d, %v, %d out", n, err, f.BytesOut)
			}
		}, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: a/b\r\nDate: " + date + "\r\n\r\n"},
		{"HEAD of unknown length", "HEAD / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date), -1)
		}, "HTTP/1.1 200 OK\r\nDate: " + date + "\r\n\r\n"},
		{"204", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(204, header("Date", date), 0)
			_, _ = io.WriteString(f.Client, "dropped")
		}, "HTTP/1.1 204 No Content\r\nDate: " + date + "\r\n\r\n"},
		{"304", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(304, header("Date", date, "Etag", `"x"`), 0)
		}, "HTTP/1.1 304 Not Modified\r\nDate: " + date + "\r\nEtag: \"x\"\r\n\r\n"},
		{"interim replies", "GET / HTTP/1.1", func(f *flow.Flow) {
			in := f.Client.(flow.Informer)
			_ = in.WriteInfo(103, header("Link", "</a>", "link", "</b>"))
			_ = in.WriteInfo(102, header())
			_ = in.WriteInfo(101, header("Upgrade", "never"))
			f.Client.WriteHeader(200, header("Date", date), 0)
		}, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: " + date + "\r\n\r\n"},
		{"interim replies, HTTP/1.0", "GET / HTTP/1.0", func(f *flow.Flow) {
			_ = f.Client.(flow.Informer).WriteInfo(103, header("Link", "</a>"))
			f.Client.WriteHeader(200, header("Date", date), 0)
		}, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nDate: " + date + "\r\n\r\n"},
		{"trailers", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date), -1)
			_, _ = io.WriteString(f.Client, "ab")
			f.Client.WriteTrailer(header("x-sum", "1", "X-Sum", "2"))
		}, "HTTP/1.1 200 OK\r\nDate: " + date + "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n"},
		{"trailers announced", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date, "Trailer", "X-Sum"), -1)
			f.Client.WriteTrailer(header("X-Sum", "1"))
		}, "HTTP/1.1 200 OK\r\nDate: " + date + "\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\n\r\n"},
		{"absurd status", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(1000, header("Date", date), 0)
		}, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nDate: " + date + "\r\n\r\n"},
		{"line feed in a value", "GET / HTTP/1.1", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header("Date", date, "X-A", "b\r\nX-Evil: c", "X B", "d"), 0)
		}, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: " + date + "\r\nX-A: b  X-Evil: c\r\n\r\n"},
		{"more fields than a slab holds", "GET / HTTP/1.1", func(f *flow.Flow) {
			h := header("Date", date)
			for i := range 20 {
				h.Append(fmt.Sprintf("A%02d", i), "v")
				h.Append(fmt.Sprintf("A%02d", i), "w")
			}
			f.Client.WriteHeader(200, h, 0)
		}, func() string {
			var b strings.Builder
			for i := range 20 {
				fmt.Fprintf(&b, "A%02d: v\r\nA%02d: w\r\n", i, i)
			}
			return "HTTP/1.1 200 OK\r\n" + b.String() + "Content-Length: 0\r\nDate: " + date + "\r\n\r\n"
		}()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := start(t, Options{}, func(f *flow.Flow) { test.serve(f) })
			got := ask(t, f, test.request+"\r\nHost: h\r\nConnection: close\r\n\r\n")
			got = strings.Replace(got, "Connection: close\r\n", "", 1)
			if got != test.want {
				t.Errorf("got\n%q, want\n%q", got, test.want)
			}
		})
	}
}

// Names of many flows one after another on pooled memory: nothing of one shows in another.
func TestPooledFlows(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) {
		b := 0
		if f.Body != nil {
			p, _ := io.ReadAll(f.Body)
			b = len(p)
		}
		h := header("X-Path", f.X.Request().Path())
		for n, v := range f.X.Request().Header().All() {
			if strings.HasPrefix(n, "X-In") {
				h.Append("X-Out", n+"="+v)
			}
		}
		f.Client.WriteHeader(200+b, h, 0)
	})
	c := dial(t, f)
	r := bufio.NewReader(c)
	for i := range 40 {
		extra, want := "", 0
		if i%3 == 0 {
			extra, want = fmt.Sprintf("X-In-%d: %d\r\nContent-Length: %d\r\n", i, i, i%7), i%7
		}
		send(t, c, fmt.Sprintf("POST /%d HTTP/1.1\r\nHost: h\r\n%s\r\n%s", i, extra, strings.Repeat("b", want)))
		resp, _ := receive(t, r, "POST")
		out := ""
		if i%3 == 0 {
			out = fmt.Sprintf("X-In-%d=%d", i, i)
		}
		if resp.StatusCode != 200+want || resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i) || strings.Join(resp.Header["X-Out"], ";") != out {
			t.Fatalf("request %d: %d %v", i, resp.StatusCode, resp.Header)
		}
	}
}

// Request trailers, announced or not, are there once the body has been read.
func TestRequestTrailers(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) {
		b, err := io.ReadAll(f.Body)
		tr := f.Body.Trailer()
		if tr == nil {
			tr = new(sdk.Header)
		}
		reply(f, 200, fmt.Sprintf("%s %v %s %s %d", b, err, tr.Get("X-Sum"), tr.Get("X-Other"), f.BytesIn))
	})
	for name, want := range map[string]string{"": "ab <nil>   2", "X-Sum: 1\r\nX-Other: 2\r\n": "ab <nil> 1 2 2"} {
		c := dial(t, f)
		send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"+name+"\r\n")
		if _, body := receive(t, bufio.NewReader(c), "POST"); body != want {
			t.Errorf("%q: got %q, want %q", name, body, want)
		}
	}
}

// 100 Continue comes when the body is asked for, not before.
func TestExpectContinue(t *testing.T) {
	ready, read := make(chan bool, 1), make(chan struct{})
	f := start(t, Options{}, func(f *flow.Flow) {
		ready <- f.Expect
		<-read
		echoBody(f)
	})
	c := dial(t, f)
	send(t, c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	if expects := <-ready; !expects {
		t.Error("the flow does not say that the client waits")
	}
	close(read)
	r := bufio.NewReader(c)
	if resp, _ := receive(t, r, "POST"); resp.StatusCode != 100 {
		t.Fatalf("got %d, want 100", resp.StatusCode)
	}
	send(t, c, "abc")
	if resp, body := receive(t, r, "POST"); resp.StatusCode != 200 || body != `/a 3 "abc"` {
		t.Errorf("got %d %q", resp.StatusCode, body)
	}
}

// Refused without having asked for the body: no 100, and the connection ends since the body may come or not.
func TestExpectRefused(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) { reply(f, 403, "no") })
	c := dial(t, f)
	send(t, c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	r := bufio.NewReader(c)
	if resp, _ := receive(t, r, "POST"); resp.StatusCode != 403 || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	_ = c.CloseWrite()
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v, want EOF", err)
	}
}

// The client sees an event while the handler is held after it.
func TestServerSentEvents(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			next := make(chan struct{})
			f := start(t, Options{H2C: true}, func(f *flow.Flow) {
				f.Client.WriteHeader(200, header("Content-Type", "text/event-stream"), -1)
				for i := range 3 {
					_, _ = fmt.Fprintf(f.Client, "data: %d\n\n", i)
					if err := f.Client.Flush(); err != nil {
						t.Error(err)
					}
					<-next
				}
			})
			resp := get(t, plainClient(t, version == "HTTP/2"), "http://"+f.Addr().String()+"/")
			defer func() { _ = resp.Body.Close() }()
			r := bufio.NewReader(resp.Body)
			for i := range 3 {
				line, err := r.ReadString('\n')
				if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
					t.Fatalf("got %q, %v, want %q", line, err, want)
				}
				if _, err := r.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				next <- struct{}{}
			}
		})
	}
}

// Both directions at once on HTTP/1: each piece of the body is answered before the next is sent.
func TestEarlyReply(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) {
		p, pieces := make([]byte, 64), 0
		n, err := f.Body.Read(p)
		f.Client.WriteHeader(200, header("Content-Type", "text/plain"), -1)
		for ; n > 0; pieces++ {
			_, _ = f.Client.Write(p[:n])
			_ = f.Client.Flush()
			if err != nil {
				break
			}
			n, err = f.Body.Read(p)
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("reading the body: %v", err)
		}
	})
	c := dial(t, f)
	send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || !resp.Close {
		t.Fatalf("%v; the connection must end with such a reply", err)
	}
	for _, piece := range []string{"a", "b", "c"} {
		var p [1]byte
		if _, err := io.ReadFull(resp.Body, p[:]); err != nil || string(p[:]) != piece {
			t.Fatalf("got %q, %v, want %q", p, err, piece)
		}
		if piece != "c" {
			send(t, c, fmt.Sprintf("1\r\n%c\r\n", piece[0]+1))
		}
	}
	send(t, c, "0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("rest: %q, %v", rest, err)
	}
}

// A reply of an upstream's that is there before anybody has read of the body leaves at once, and the body is all there.
func TestReplyBeforeTheBody(t *testing.T) {
	f := start(t, Options{}, func(f *flow.Flow) {
		f.Times.Sent = time.Now()
		f.Client.WriteHeader(200, header("Content-Type", "text/plain"), -1)
		if err := f.Client.Flush(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(f.Client, f.Body)
	})
	c := dial(t, f)
	send(t, c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, "llo")
	if b, err := io.ReadAll(resp.Body); string(b) != "hello" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// What a handler does wrong, and what the client sees of it.
func TestHandlerFailures(t *testing.T) {
	tests := []struct {
		name  string
		serve func(f *flow.Flow)
		want  int // status, 0 for a cut connection
		logs  int
	}{
		{"panic", func(*flow.Flow) { panic("broken") }, 500, 1},
		{"panic in mid-reply", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header(), -1)
			_ = f.Client.Flush()
			panic("broken")
		}, 0, 1},
		{"abort", func(*flow.Flow) { panic(flow.ErrAbort) }, 0, 0},
		{"abort in mid-reply", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header(), 10)
			_, _ = io.WriteString(f.Client, "abc")
			_ = f.Client.Flush()
			panic(flow.ErrAbort)
		}, 0, 0},
		{"reply shorter than its length", func(f *flow.Flow) {
			f.Client.WriteHeader(200, header(), 10)
			_, _ = io.WriteString(f.Client, "abc")
		}, 0, 0},
		{"no reply", func(*flow.Flow) {}, 500, 1},
	}
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		for _, test := range tests {
			t.Run(version+" "+test.name, func(t *testing.T) {
				var log logged
				f := start(t, Options{Logger: log.logger(), H2C: true}, func(f *flow.Flow) {
					if f.X.Request().Path() == "/fine" {
						reply(f, 200, "fine")
						return
					}
					test.serve(f)
				})
				client := plainClient(t, version == "HTTP/2")
				resp, err := client.Get("http://" + f.Addr().String() + "/")
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				switch {
				case test.want == 0 && err == nil:
					t.Errorf("got a whole %d", resp.StatusCode)
				case test.want > 0 && (err != nil || resp.StatusCode != test.want):
					t.Errorf("got %v, %v, want %d", resp, err, test.want)
				}
				resp = get(t, client, "http://"+f.Addr().String()+"/fine")
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("another request: %d", resp.StatusCode)
				}
				if got := strings.Count(log.String(), "level=ERROR"); got != test.logs {
					t.Errorf("%d errors logged, want %d:\n%s", got, test.logs, log.String())
				}
			})
		}
	}
}

// A client that leaves ends the flow's context.
func TestClientLeaves(t *testing.T) {
	held, left := make(chan struct{}), make(chan struct{})
	f := start(t, Options{}, func(f *flow.Flow) {
		close(held)
		<-f.Ctx.Done()
		close(left)
	})
	c := dial(t, f)
	send(t, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-held
	_ = c.Close()
	<-left
}

// plainClient speaks HTTP/1.1, or HTTP/2 in the clear.
func plainClient(t *testing.T, two bool) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(!two)
	tr.Protocols.SetUnencryptedHTTP2(two)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: bounded}
}

func get(t *testing.T, c *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// HTTP/2 in the clear: target, trailers both ways, interim replies.
func TestHTTP2(t *testing.T) {
	f := start(t, Options{H2C: true}, func(f *flow.Flow) {
		if f.Major != 2 || f.Upgrade != "" {
			t.Errorf("version %d, upgrade %q", f.Major, f.Upgrade)
		}
		if _, ok := f.Client.(flow.Hijacker); ok {
			t.Error("an HTTP/2 stream cannot be hijacked")
		}
		b, err := io.ReadAll(f.Body)
		if err != nil {
			t.Error(err)
		}
		_ = f.Client.(flow.Informer).WriteInfo(103, header("link", "</a>"))
		f.Client.WriteHeader(200, header("Content-Type", "a/b"), -1)
		_, _ = fmt.Fprintf(f.Client, "%s %s %q %s", f.X.Request().Proto(), f.X.Request().URI(), b, f.Body.Trailer().Get("X-In"))
		f.Client.WriteTrailer(header("Grpc-Status", "0"))
	})
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, h.Get("Link")))
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", "http://"+f.Addr().String(), io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = "//" + f.Addr().String() + "//a%2Fb;c?d=%zz"
	req.Trailer = http.Header{"X-In": {"1"}}
	resp, err := plainClient(t, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if want := `HTTP/2.0 //a%2Fb;c?d=%zz "body" 1`; string(body) != want || err != nil {
		t.Errorf("got %q, %v, want %q", body, err, want)
	}
	if resp.ProtoMajor != 2 || resp.Trailer.Get("Grpc-Status") != "0" || strings.Join(hints, ";") != "103</a>" {
		t.Errorf("%s, trailers %v, hints %v", resp.Proto, resp.Trailer, hints)
	}
}
