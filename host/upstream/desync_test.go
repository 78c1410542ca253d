package upstream_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// serveTLS is serve over TLS; the handshake is done when play begins.
func serveTLS(t *testing.T, play func(n int, c *rawConn)) (*rawServer, *tls.Config) {
	t.Helper()
	pattern := httptest.NewTLSServer(nil) // for its certificate
	pattern.Close()
	roots := x509.NewCertPool()
	roots.AddCert(pattern.Certificate())
	s := serve(t, func(n int, c *rawConn) {
		secure := tls.Server(c.Conn, &tls.Config{Certificates: pattern.TLS.Certificates, MinVersion: tls.VersionTLS12})
		if secure.Handshake() == nil {
			play(n, &rawConn{Conn: secure, r: bufio.NewReader(secure)})
		}
	})
	s.url = strings.Replace(s.url, "http:", "https:", 1)
	return s, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// What comes behind a reply is not taken for the next one, wherever it waits: over TLS it may have been read and
// decrypted with the reply's last bytes, where no look at the socket finds it.
func TestBytesBehindTheReply(t *testing.T) {
	const bad = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"
	tests := map[string]struct{ head, body, behind string }{
		"in the body's record":   {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "good" + bad, ""},
		"in a record of its own": {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "good", bad},
		"behind the last chunk":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\ngood\r\n0\r\n\r\n", bad},
		"behind an empty body":   {"HTTP/1.1 204 No Content\r\n\r\n", "", bad},
	}
	for name, tt := range tests {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, tls %v", name, secure), func(t *testing.T) {
				headRead, sent := make(chan struct{}), make(chan struct{})
				play := func(n int, c *rawConn) {
					c.head()
					if n > 1 {
						c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbest")
						c.rest()
						return
					}
					if tt.body == "" {
						c.say(tt.head + tt.behind)
						close(sent)
					} else {
						c.say(tt.head)
						<-headRead
						if secure { // both records in one segment
							raw := c.Conn.(*tls.Conn).NetConn().(*net.TCPConn)
							raw.SetNoDelay(false)
						}
						c.say(tt.body)
						if tt.behind != "" {
							c.say(tt.behind)
						}
						close(sent)
					}
					c.rest()
				}
				var s *rawServer
				o := upstream.Options{}
				if secure {
					s, o.TLS = serveTLS(t, play)
				} else {
					s = serve(t, play)
				}
				o.Targets, o.Protocol = targets(s.url), upstream.HTTP1
				u := open(t, o)
				f := request("POST", "/")
				if err := u.RoundTrip(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				if tt.body != "" {
					close(headRead)
				}
				<-sent
				if got, err := read(f); err != nil || got.body != "good" && tt.body != "" {
					t.Errorf("got %q, %v", got.body, err)
				}
				f = request("POST", "/")
				if err := u.RoundTrip(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				if got, err := read(f); err != nil || got.body != "best" {
					t.Errorf("second request: got %q, %v", got.body, err)
				}
			})
		}
	}
}

// A TLS connection that the target has closed in its own way is not used again.
func TestCloseNotifyBehindTheReply(t *testing.T) {
	closed := make(chan struct{}, 1)
	s, config := serveTLS(t, func(n int, c *rawConn) {
		c.head()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
		c.Conn.(*tls.Conn).CloseWrite() // and the socket stays open
		closed <- struct{}{}
		if c.head() != "" {
			t.Error("a request came after the end")
		}
	})
	u := open(t, upstream.Options{Targets: targets(s.url), Protocol: upstream.HTTP1, TLS: config})
	for range 5 {
		f := buffered(request("POST", "/"), "x")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if got, err := read(f); err != nil || got.body != "good" {
			t.Errorf("got %q, %v", got.body, err)
		}
		<-closed // loopback delivers in order: what was written is there
	}
}

// Replies after which nobody can say where the next begins: the connection is not used again.
func TestDoubtfulRepliesEndTheConnection(t *testing.T) {
	for name, reply := range map[string]string{
		"204 with a length": "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, always(reply))
			u := open(t, upstream.Options{Targets: targets(s.url)})
			for range 2 {
				f := request("GET", "/")
				if err := u.RoundTrip(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				read(f)
			}
			if got := s.accept.Load(); got != 2 {
				t.Errorf("got %d connections, want 2", got)
			}
		})
	}
}

// Sent once is sent: a request that was sent again on a new connection, in vain, does not go to another target.
func TestSentOnceStaysSent(t *testing.T) {
	for _, protocol := range []upstream.Protocol{upstream.HTTP1} {
		t.Run(string(protocol), func(t *testing.T) {
			var asked atomic.Int32
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				nc, err := l.Accept()
				if err != nil {
					return
				}
				defer nc.Close()
				nc.SetDeadline(time.Now().Add(20 * time.Second))
				c := &rawConn{Conn: nc, r: bufio.NewReader(nc)}
				c.head()
				c.say(ok)
				c.head()
				l.Close() // and the connection, with the request and without a reply
			}()
			other := serve(t, func(_ int, c *rawConn) {
				for c.head() != "" {
					asked.Add(1)
					c.say(ok)
				}
			})
			u := open(t, upstream.Options{Targets: []upstream.Target{{URL: "http://" + l.Addr().String()}, {URL: other.url}}, Attempts: 2, Protocol: protocol})
			var last error
			for range 3 { // the first target, the other, the first again
				f := request("GET", "/")
				if last = u.RoundTrip(t.Context(), f); last == nil {
					read(f)
				}
			}
			<-done
			refused(t, last, 502)
			if got := asked.Load(); got != 1 {
				t.Errorf("the other target was asked %d times, want once", got)
			}
		})
	}
}

// A client that is slow to send its body is not its target's fault, and one that leaves is nobody's.
func TestClientIsToBlame(t *testing.T) {
	for name, way := range map[string]upstream.Protocol{"http1": upstream.HTTP1, "h2c": upstream.H2C} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			t.Cleanup(s.Close)
			seen := collect()
			u := open(t, upstream.Options{
				Targets: targets(s.URL, s.URL), Protocol: way, Timeouts: upstream.Timeouts{Total: soon},
				Ejection: upstream.Ejection{Failures: 1}, Notify: seen.notify,
			})
			for _, length := range []int64{-1, 100_000} {
				body, w := pipe()
				f := request("POST", "/")
				f.X.Request().Fill(sdk.RequestInit{Method: "POST", Path: "/", URI: "/", Length: length})
				f.Body = body
				err := u.RoundTrip(t.Context(), f)
				w.Close()
				refused(t, err, 408)
			}
			for range 2 {
				f := request("POST", "/")
				f.Body = &clientBody{r: failing{fmt.Errorf("%w: reset", flow.ErrGone)}, closed: make(chan struct{})}
				err := u.RoundTrip(t.Context(), f)
				refused(t, err, 499)
				if !errors.Is(err, flow.ErrGone) {
					t.Errorf("got %v, want flow.ErrGone", err)
				}
			}
			small := request("POST", "/")
			small.X.Request().Fill(sdk.RequestInit{Method: "POST", Path: "/", URI: "/", Length: 5})
			small.Body = &clientBody{r: failing{fmt.Errorf("%w: unexpected EOF", flow.ErrGone)}, closed: make(chan struct{})}
			refused(t, u.RoundTrip(t.Context(), small), 499)
			if seen.count() != 0 {
				t.Errorf("got events %+v", seen.all)
			}
			for _, s := range u.Targets() {
				if s.LastError != "" {
					t.Errorf("%s is blamed for %q", s.Target, s.LastError)
				}
			}
		})
	}
}

// No hook can make a request that no message can carry count as a failure of the target.
func TestUnfitRequestsAreNoFailures(t *testing.T) {
	both := []upstream.Protocol{upstream.HTTP1, upstream.H2C}
	for name, tt := range map[string]struct {
		f    *flow.Flow
		ways []upstream.Protocol
	}{
		"method":        {request("GE T", "/"), both},
		"no method":     {request("", "/"), both},
		"line break":    {request("GET", "/", "X: a\r\nY: b"), both},
		"field value":   {request("GET", "/", "X: a\x00b"), both[1:]},
		"field name":    {request("GET", "/", "X y: a"), both[1:]},
		"no field name": {request("GET", "/", ": b"), both[1:]},
	} {
		for _, way := range tt.ways {
			t.Run(name+", "+string(way), func(t *testing.T) {
				f := tt.f
				s := serve(t, func(_ int, c *rawConn) { c.rest() })
				u := open(t, upstream.Options{Targets: targets(s.url, s.url), Protocol: way, Attempts: 2, Timeouts: upstream.Timeouts{Header: soon}})
				refused(t, u.RoundTrip(t.Context(), f), 500)
				for _, s := range u.Targets() {
					if s.LastError != "" {
						t.Errorf("the target is blamed for %q", s.LastError)
					}
				}
			})
		}
	}
}
