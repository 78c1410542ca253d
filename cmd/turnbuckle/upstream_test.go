package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// echoServer is the program behind the gateway. It answers a request with the request, as text; some paths make it
// behave otherwise. It writes a line for each request, so that tests can tell what reached it.
type echoServer struct {
	name  string
	mu    sync.Mutex
	gates map[string]chan struct{}
	well  atomic.Int32 // the status of /healthz
}

func runUpstream(args []string) error {
	f := flag.NewFlagSet("upstream", flag.ContinueOnError)
	name := f.String("name", "up", "how it calls itself")
	address := f.String("listen", "127.0.0.1:0", "address")
	grpcHealth := f.Bool("grpc", false, "serve gRPC's health service instead")
	if err := f.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	if *grpcHealth {
		s := grpc.NewServer()
		h := health.NewServer()
		h.SetServingStatus("known", healthpb.HealthCheckResponse_NOT_SERVING)
		healthpb.RegisterHealthServer(s, h)
		return s.Serve(l)
	}
	u := &echoServer{name: *name, gates: map[string]chan struct{}{}}
	u.well.Store(200)
	s := &http.Server{Handler: u, ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 4 << 20, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s.Serve(l)
}

func (u *echoServer) say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

// gate is closed when somebody asks for /release/NAME.
func (u *echoServer) gate(name string) chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gates[name] == nil {
		u.gates[name] = make(chan struct{})
	}
	return u.gates[name]
}

func (u *echoServer) release(name string) {
	gate := u.gate(name)
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-gate:
	default:
		close(gate)
	}
}

// wait holds a request until its gate opens; it reports whether the client is still there.
func (u *echoServer) wait(r *http.Request, name string) bool {
	u.say("holding %s", name)
	select {
	case <-u.gate(name):
		return true
	case <-r.Context().Done():
		u.say("left %s", name)
		return false
	}
}

func (u *echoServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if first != "healthz" {
		u.say("got %s %s", r.Method, r.RequestURI)
	}
	switch first {
	case "release":
		u.release(rest)
	case "hold":
		if u.wait(r, rest) {
			u.echo(w, r)
		}
	case "status":
		code, _ := strconv.Atoi(rest)
		w.WriteHeader(code)
		fmt.Fprintf(w, "status %d\n", code)
	case "healthz":
		w.WriteHeader(int(u.well.Load()))
	case "well":
		code, _ := strconv.Atoi(rest)
		u.well.Store(int32(code))
	case "reset":
		reset(w)
	case "cut", "cutchunked":
		cut(w, first == "cut")
	case "events":
		u.events(w, r)
	case "ws":
		u.websocket(w, r)
	case "early":
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		u.echo(w, r)
	case "headers":
		h := w.Header()
		h["Set-Cookie"] = []string{"a=1", "b=2"}
		h["Connection"], h["X-Hop"], h["X-Stays"] = []string{"X-Hop"}, []string{"1"}, []string{"1"}
		h.Set("Server", "secret/1.0")
	case "big":
		n, _ := strconv.Atoi(rest)
		_, _ = io.WriteString(w, strings.Repeat("x", n))
	case "trailer":
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body\n")
		w.Header().Set("X-Sum", "42")
	default:
		u.echo(w, r)
	}
}

// echo writes the request line, the headers in order of their names, and the body.
func (u *echoServer) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		u.say("body of %s: %v", r.RequestURI, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("X-Upstream", u.name)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(w, "%s > %s %s %s\n%s > Host: %s\n", u.name, r.Method, r.RequestURI, r.Proto, u.name, r.Host)
	for _, name := range names {
		for _, v := range r.Header[name] {
			fmt.Fprintf(w, "%s > %s: %s\n", u.name, name, v)
		}
	}
	fmt.Fprintf(w, "%s > %d bytes\n%s", u.name, len(body), body)
}

// reset ends the connection before any reply.
func reset(w http.ResponseWriter) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// cut ends the connection in the middle of a reply.
func cut(w http.ResponseWriter, withLength bool) {
	if withLength {
		w.Header().Set("Content-Length", "1000")
	}
	_, _ = io.WriteString(w, "half of it")
	_ = http.NewResponseController(w).Flush()
	reset(w)
}

// events sends one event, and another when the gate "events" opens.
func (u *echoServer) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: first\n\n")
	_ = http.NewResponseController(w).Flush()
	if u.wait(r, "events") {
		_, _ = io.WriteString(w, "data: second\n\n")
	}
}

// websocket sends back what it gets, until the peer closes.
func (u *echoServer) websocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		u.say("websocket: %v", err)
		return
	}
	for {
		kind, data, err := c.Read(r.Context())
		if err != nil {
			var closed websocket.CloseError
			u.say("websocket ended: %v", errors.As(err, &closed))
			return
		}
		if c.Write(r.Context(), kind, data) != nil {
			return
		}
	}
}
