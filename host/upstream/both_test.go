package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A way is one manner to speak to a net/http server: which transport takes it, and what is agreed on.
type way struct {
	name   string
	proto  string // what the server sees
	option upstream.Protocol
	tls    bool
	server http.Protocols
}

func ways() []way {
	var one, two, both, clear http.Protocols
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	clear.SetUnencryptedHTTP2(true)
	return []way{
		{"http1", "HTTP/1.1", upstream.HTTP1, false, one},
		{"http1 over tls", "HTTP/1.1", upstream.HTTP1, true, both},
		{"h2c", "HTTP/2.0", upstream.H2C, false, clear},
		{"http2 in the clear", "HTTP/2.0", upstream.HTTP2, false, clear},
		{"http2 over tls", "HTTP/2.0", upstream.HTTP2, true, two},
		{"auto, alpn http2", "HTTP/2.0", upstream.Auto, true, both},
		{"auto, alpn http1", "HTTP/1.1", upstream.Auto, true, one},
	}
}

// eachWay runs a test against a handler in every way.
func eachWay(t *testing.T, o upstream.Options, h http.HandlerFunc, test func(t *testing.T, w way, u *upstream.Upstream)) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Proto != w.proto {
					t.Errorf("the server saw %s, want %s", r.Proto, w.proto)
				}
				h(rw, r)
			}))
			s.Config.Protocols = &w.server
			if w.tls {
				s.EnableHTTP2 = w.server.HTTP2()
				s.StartTLS()
				roots := x509.NewCertPool()
				roots.AddCert(s.Certificate())
				o.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			o := o
			o.Targets, o.Protocol = targets(s.URL), w.option
			test(t, w, open(t, o))
		})
	}
}

func TestEveryWay(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fields":
			w.Header()["X-Two"] = []string{"a", "b"}
			w.Header().Set("Connection", "x-hop")
			w.Header().Set("X-Hop", "1")
			w.WriteHeader(418)
			fmt.Fprint(w, r.Method, " ", r.RequestURI, " ", r.Host)
			for _, name := range []string{"X-A", "User-Agent", "X-Forwarded-For", "X-Hop", "Keep-Alive", "Te"} {
				if v, ok := r.Header[name]; ok {
					fmt.Fprint(w, " ", name, v)
				}
			}
		case "/head":
			w.Header().Set("Content-Length", "500")
		case "/none":
			w.WriteHeader(204)
		case "/target":
			fmt.Fprint(w, r.RequestURI)
		case "/trailer":
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Trailer", "X-Sum")
			w.Write(b)
			w.Header().Set("X-Sum", r.Trailer.Get("X-Request-Sum")+"!")
			w.Header().Set(http.TrailerPrefix+"X-Late", "2")
		case "/hints":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			w.WriteHeader(200)
		case "/length":
			b, _ := io.ReadAll(r.Body)
			fmt.Fprint(w, r.ContentLength, " ", len(b))
		}
	}
	eachWay(t, upstream.Options{}, handler, func(t *testing.T, w way, u *upstream.Upstream) {
		for range 2 { // a new connection, then a used one
			f := request("PATCH", "/fields/../%2e%2F?x=%zz", "X-A: 1", "x-a: 2", "X-Forwarded-For: 6.6.6.6", "Connection: x-hop", "X-Hop: 1", "Keep-Alive: 1", "TE: trailers")
			f.Out.Path, f.Out.Query, f.Out.Host, f.Out.ForwardedFor = "/fields", "a=%zz&&b=\"", "h.example", "1.2.3.4"
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			got, err := read(f)
			if err != nil || got.status != 418 || got.body != "PATCH /fields?a=%zz&&b=\" h.example X-A[1 2] X-Forwarded-For[1.2.3.4] Te[trailers]" {
				t.Errorf("got %d %q, %v", got.status, got.body, err)
			}
			h := f.X.Response().Header()
			if diff := cmp.Diff([]string{"a", "b"}, h.Values("x-two")); diff != "" || h.Has("X-Hop") && w.proto == "HTTP/1.1" || h.Has("Connection") {
				t.Errorf("got %v", h.Fields())
			}
			if f.Times.Sent.IsZero() || f.Times.Header.Before(f.Times.Sent) {
				t.Errorf("got times %+v", f.Times)
			}
		}
		t.Run("bytes of the path", func(t *testing.T) {
			for _, path := range []string{"/fields/%2e%2E/./a%2fb;p=^|`", "//fields//", "/fields/\xc3\xa4"} {
				f := request("GET", path)
				if err := u.RoundTrip(t.Context(), f); err != nil {
					t.Errorf("%q: %v", path, err)
					continue
				}
				read(f)
			}
		})
		t.Run("a lone question mark", func(t *testing.T) {
			f := request("GET", "/target")
			f.Out.ForceQuery = true
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); err != nil || got.body != "/target?" {
				t.Errorf("got %q, %v", got.body, err)
			}
		})
		t.Run("HEAD", func(t *testing.T) {
			f := request("HEAD", "/head")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); err != nil || got.body != "" || f.X.Response().Length() != 500 || f.X.Response().Header().Get("Content-Length") != "500" {
				t.Errorf("got %+v, %v, length %d", got, err, f.X.Response().Length())
			}
		})
		t.Run("204", func(t *testing.T) {
			f := request("GET", "/none")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); err != nil || got.status != 204 || got.body != "" || f.X.Response().Length() != 0 {
				t.Errorf("got %+v, %v, length %d", got, err, f.X.Response().Length())
			}
		})
		t.Run("trailers", func(t *testing.T) {
			f := sized(request("POST", "/trailer", "Trailer: x-request-sum"), "hello", -1)
			f.Out.Path = "/trailer"
			h := &sdk.Header{}
			h.Append("X-Request-Sum", "7")
			f.Body.(*clientBody).trailer = h
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			got, err := read(f)
			want := []sdk.Field{{Name: "X-Late", Value: "2"}, {Name: "X-Sum", Value: "7!"}}
			if got.trailer != nil && got.trailer[0].Name == "X-Sum" {
				got.trailer[0], got.trailer[1] = got.trailer[1], got.trailer[0] // the order is the server's
			}
			if diff := cmp.Diff(want, got.trailer); diff != "" || err != nil || got.body != "hello" {
				t.Errorf("got %q, %v %s", got.body, err, diff)
			}
		})
		t.Run("interim", func(t *testing.T) {
			f := request("GET", "/hints")
			client := &informed{}
			f.Client = client
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			read(f)
			if diff := cmp.Diff([]string{"103|Link: </a>"}, client.got); diff != "" {
				t.Error(diff)
			}
		})
		t.Run("lengths", func(t *testing.T) {
			for _, n := range []int{0, 1, 5000, 8192, 8193, 100_000, 3_000_000} {
				body := strings.Repeat("x", n)
				for _, declared := range []int64{int64(n), -1} {
					want := fmt.Sprint(declared, " ", n)
					f := sized(request("POST", "/"), body, declared)
					f.Out.Path = "/length"
					if err := u.RoundTrip(t.Context(), f); err != nil {
						t.Fatal(err)
					}
					if got, err := read(f); err != nil || got.body != want {
						t.Errorf("got %q, %v, want %q", got.body, err, want)
					}
				}
				f := buffered(request("POST", "/length"), body)
				if err := u.RoundTrip(t.Context(), f); err != nil {
					t.Fatal(err)
				}
				if got, err := read(f); err != nil || got.body != fmt.Sprint(n, " ", n) {
					t.Errorf("got %q, %v, want %d buffered", got.body, err, n)
				}
			}
		})
		if got := u.Targets()[0].InFlight; got != 0 {
			t.Errorf("got %d in flight, want 0", got)
		}
	})
}

// Bytes travel both ways as they come: each event is answered before the next is sent.
func TestStreamingEveryWay(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			w.Write(b[:n])
			rc.Flush()
			if err != nil {
				return
			}
		}
	}
	eachWay(t, upstream.Options{}, echo, func(t *testing.T, w way, u *upstream.Upstream) {
		f := request("POST", "/")
		body, client := pipe()
		f.Body = body
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		for i := range 5 {
			want := fmt.Sprint("event ", i)
			io.WriteString(client, want)
			if n, err := io.ReadFull(f.Reply.Body, b[:len(want)]); err != nil || string(b[:n]) != want {
				t.Fatalf("got %q, %v, want %q", b[:n], err, want)
			}
		}
		client.Close()
		if n, err := f.Reply.Body.Read(b); n != 0 || err != io.EOF {
			t.Errorf("got %d, %v", n, err)
		}
		f.Reply.Body.Close()
	})
}

func TestFaultsEveryWay(t *testing.T) {
	gone := make(chan struct{}, 10)
	handler := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/silent":
			io.Copy(io.Discard, r.Body) // before that, net/http does not look whether the client is there
			<-r.Context().Done()
			gone <- struct{}{}
		case "/stalls":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "hello")
			rc.Flush()
			<-r.Context().Done()
			gone <- struct{}{}
		case "/aborts":
			io.WriteString(w, "hello")
			rc.Flush()
			panic(http.ErrAbortHandler)
		case "/refuses":
			rc.EnableFullDuplex() // else net/http reads the body first
			w.WriteHeader(413)
		}
	}
	eachWay(t, upstream.Options{Timeouts: upstream.Timeouts{Header: 4 * soon, Body: 4 * soon}}, handler, func(t *testing.T, w way, u *upstream.Upstream) {
		t.Run("header timeout", func(t *testing.T) {
			refused(t, u.RoundTrip(t.Context(), request("GET", "/silent")), 504)
			<-gone
			refused(t, u.RoundTrip(t.Context(), buffered(request("POST", "/silent"), "x")), 504)
			<-gone
		})
		t.Run("total timeout", func(t *testing.T) {
			f := request("GET", "/silent")
			f.Out.Timeout = soon
			refused(t, u.RoundTrip(t.Context(), f), 504)
			<-gone
		})
		t.Run("pause in the body", func(t *testing.T) {
			f := request("GET", "/stalls")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); got.body != "hello" || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %q, %v", got.body, err)
			}
			<-gone
		})
		t.Run("client leaves", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			f := request("GET", "/stalls")
			if err := u.RoundTrip(ctx, f); err != nil {
				t.Fatal(err)
			}
			f.Reply.Body.Read(make([]byte, 5))
			cancel()
			if _, err := read(f); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			<-gone
		})
		t.Run("reply is given up", func(t *testing.T) {
			f := request("GET", "/stalls")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			f.Reply.Body.Close()
			<-gone
		})
		t.Run("aborted body", func(t *testing.T) {
			f := request("GET", "/aborts")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); got.body != "hello" || err == nil {
				t.Errorf("got %q, %v", got.body, err)
			}
		})
		t.Run("early reply", func(t *testing.T) {
			f := request("POST", "/refuses")
			body, client := pipe()
			defer client.Close()
			f.Body = body
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if got, err := read(f); err != nil || got.status != 413 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
		t.Run("short body", func(t *testing.T) {
			f := sized(request("POST", "/"), strings.Repeat("x", 9000), 9001)
			f.Out.Path = "/silent"
			refused(t, u.RoundTrip(t.Context(), f), 400)
		})
		if got := u.Targets()[0].InFlight; got != 0 {
			t.Errorf("got %d in flight, want 0", got)
		}
	})
}

func TestHeaderLimitsEveryWay(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/huge":
			w.Header().Set("X-Huge", strings.Repeat("x", 2<<20))
		case "/many":
			for i := range 2000 {
				w.Header().Set(fmt.Sprint("X-", i), "1")
			}
		}
	}
	eachWay(t, upstream.Options{}, handler, func(t *testing.T, w way, u *upstream.Upstream) {
		for _, path := range []string{"/huge", "/many"} {
			t.Run(path, func(t *testing.T) { refused(t, u.RoundTrip(t.Context(), request("GET", path)), 502) })
		}
	})
}

func TestUntrustedCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	for _, p := range []upstream.Protocol{upstream.HTTP1, upstream.Auto} {
		u := open(t, upstream.Options{Targets: targets(s.URL), Protocol: p})
		refused(t, u.RoundTrip(t.Context(), request("GET", "/")), 502)
	}
}
