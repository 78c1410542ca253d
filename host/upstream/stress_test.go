package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
)

// Many requests of all kinds at once, some given up at every moment: each gets its own answer or an error, and nothing
// is left in flight.
func TestStress(t *testing.T) {
	rounds := 60
	if os.Getenv("TURNBUCKLE_SOAK") != "" {
		rounds = 3000
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Id")
		w.Header().Set("X-Id", id)
		switch rand.IntN(8) {
		case 0:
			w.Header().Set("Connection", "close")
		case 1:
			panic(http.ErrAbortHandler)
		case 2: // answers before it has read
			w.WriteHeader(413)
			io.WriteString(w, id)
			return
		}
		body, _ := io.ReadAll(r.Body)
		for part := range strings.SplitSeq(id+" "+string(body), " ") {
			io.WriteString(w, part)
			if rand.IntN(4) == 0 {
				http.NewResponseController(w).Flush()
			}
		}
	}
	eachWay(t, upstream.Options{Timeouts: upstream.Timeouts{Header: 20 * time.Second}}, handler, func(t *testing.T, w way, u *upstream.Upstream) {
		var all sync.WaitGroup
		var answers atomic.Int32
		for caller := range 8 {
			all.Go(func() {
				for i := range rounds {
					if one(t, u, fmt.Sprintf("id-%d-%d", caller, i)) {
						answers.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := answers.Load(); n < int32(rounds) {
			t.Errorf("only %d of %d were answered", n, 8*rounds)
		}
		if got := u.Targets()[0].InFlight; got != 0 {
			t.Errorf("got %d in flight, want 0", got)
		}
	})
}

// one sends one request and checks that the answer is its own.
func one(t *testing.T, u *upstream.Upstream, id string) bool {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body := strings.Repeat("x", rand.IntN(3)*rand.IntN(20_000))
	f := request([]string{"GET", "POST", "PUT"}[rand.IntN(3)], "/", "X-Id: "+id)
	switch rand.IntN(3) {
	case 0:
		buffered(f, body)
	case 1:
		f = sized(f, body, int64(len(body)))
	default:
		f = sized(f, body, -1)
	}
	f.Out.Path = "/"
	if rand.IntN(6) == 0 {
		go cancel()
	}
	if err := u.RoundTrip(ctx, f); err != nil {
		return false
	}
	if rand.IntN(8) == 0 {
		f.Reply.Body.Close()
		return false
	}
	got, err := read(f)
	if f.X.Response().Header().Get("X-Id") != id || err == nil && got.body != id+body && got.body != id {
		t.Errorf("%s: got the answer of %s, %.40q (%v)", id, f.X.Response().Header().Get("X-Id"), got.body, err)
	}
	return err == nil
}

// Connections over TLS are used again, and the client's certificate is shown.
func TestMutualTLS(t *testing.T) {
	var opened, seen atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 1 {
			seen.Add(1)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	u := open(t, upstream.Options{Targets: targets(s.URL), Protocol: upstream.HTTP1, TLS: config})
	refused(t, u.RoundTrip(t.Context(), request("GET", "/")), 502)
	config = config.Clone()
	config.Certificates = s.TLS.Certificates
	opened.Store(0)
	u = open(t, upstream.Options{Targets: targets(s.URL), Protocol: upstream.HTTP1, TLS: config})
	for range 20 {
		f := request("GET", "/")
		if err := u.RoundTrip(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		read(f)
	}
	if opened.Load() != 1 || seen.Load() != 20 {
		t.Errorf("got %d connections, %d requests with a certificate; want 1 and 20", opened.Load(), seen.Load())
	}
}

// A target that comes back with another protocol is found out, without a failed request.
func TestTargetChangesProtocol(t *testing.T) {
	address := "127.0.0.1:0"
	var u *upstream.Upstream
	for i, proto := range []string{"HTTP/2.0", "HTTP/1.1", "HTTP/2.0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
		s.Listener.Close()
		s.Listener, s.EnableHTTP2 = l, proto == "HTTP/2.0"
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if !s.EnableHTTP2 {
			s.TLS = &tls.Config{NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
		}
		s.StartTLS()
		if u == nil {
			address = l.Addr().String()
			roots := x509.NewCertPool()
			roots.AddCert(s.Certificate())
			u = open(t, upstream.Options{Targets: targets(s.URL), TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
		}
		for range 2 {
			f := request("GET", "/")
			if err := u.RoundTrip(t.Context(), f); err != nil {
				t.Fatalf("server %d: %v", i, err)
			}
			// A target that offers more than before is not noticed as long as it still offers that.
			if got, err := read(f); err != nil || i < 2 && got.body != proto {
				t.Errorf("server %d: got %q, %v, want %s", i, got.body, err, proto)
			}
		}
		s.Close()
	}
}
