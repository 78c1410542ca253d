package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// streaming is a gateway with plain routes, hooked ones, and a hook that waits for the upstream's gates.
func streaming(t *testing.T, env ...string) (*served, *process, *process) {
	t.Helper()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/plain.yaml":  "listen: {path: /plain}\nupstream: {url: \"http://${UP}\"}\n",
		"apis/hooked.yaml": "listen: {path: /hooked}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{hook: Trail, timeout: 15s}]}\n",
		"apis/held.yaml": "listen: {path: /held}\nupstream: {url: \"http://${UP}\"}\n" +
			"hooks: {pre: [{hook: Hold, timeout: 15s, config: {url: \"http://${UP}\"}}]}\n",
		"apis/tyk.yaml":   "listen: {path: /tyk}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{hook: Hang, server: tyk, timeout: 15s}]}\n",
		"turnbuckle.yaml": "servers: {default: {address: \"unix:${DIR}/p.sock\"}, tyk: {address: \"unix:${DIR}/t.sock\"}}\n",
	}, map[string]string{"UP": up.address})
	p := start(t, dir, environment(), "plugin", "-listen", "unix:"+dir+"/p.sock")
	start(t, dir, environment(), "tykplugin", "-listen", dir+"/t.sock")
	return startGateway(t, dir, env), up, p
}

func release(t *testing.T, up *process, name string) {
	t.Helper()
	ask(t, "http://"+up.address+"/release/"+name)
}

func mustAwait(t *testing.T, p *process, pattern string) {
	t.Helper()
	if _, err := p.Await(pattern); err != nil {
		t.Fatal(err)
	}
}

// TestEventsArriveAtOnce: an event reaches the client while the reply goes on.
func TestEventsArriveAtOnce(t *testing.T) {
	t.Parallel()
	g, up, _ := streaming(t)
	for _, path := range []string{"/plain/events", "/hooked/events"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", g.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		if line, err := r.ReadString('\n'); line != "data: first\n" || err != nil {
			t.Fatalf("%s: got %q, %v", path, line, err)
		}
		release(t, up, "events") // the second event is sent only now
		if rest, err := io.ReadAll(r); !strings.Contains(string(rest), "data: second") || err != nil {
			t.Errorf("%s: got %q, %v", path, rest, err)
		}
	}
}

// TestWebSocket: messages travel both ways through a route with a hook, and the end is handed on.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	g, up, _ := streaming(t)
	before := g.goroutines()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(g.url, "http")+"/hooked/ws", &websocket.DialOptions{Subprotocols: []string{"echo"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow() //nolint:errcheck // closed below already
	if resp.StatusCode != 101 || c.Subprotocol() != "echo" {
		t.Errorf("got %d, subprotocol %q", resp.StatusCode, c.Subprotocol())
	}
	for _, message := range []string{"one", strings.Repeat("x", 30_000), "three"} {
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("got %d bytes back, %v; want %d", len(got), err, len(message))
		}
	}
	if n := g.metric(`turnbuckle_requests_in_flight\{route="hooked"\}`); n != 1 {
		t.Errorf("%v in flight, want the one", n)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
	mustAwait(t, up, "websocket ended: true")
	g.atRest(before)
}

// TestGRPC: calls, streams, and errors that are in trailers.
func TestGRPC(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream", "-grpc")
	dir := folder(t, map[string]string{
		"apis/health.yaml": "listen: {path: /grpc.health.v1.Health, strip: false}\nupstream: {url: \"http://${UP}\", protocol: h2c}\n",
	}, map[string]string{"UP": up.address})
	g := startGateway(t, dir, nil)
	before := g.goroutines()
	conn, err := grpc.NewClient(g.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthpb.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := client.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", r, err)
	}
	if r, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "known"}); err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"}); status.Code(err) != codes.NotFound {
		t.Errorf("got %v, want not found", err)
	}
	watching, leave := context.WithCancel(ctx)
	watch, err := client.Watch(watching, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", r, err)
	}
	leave()
	if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("got %v, want canceled", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	g.atRest(before)
}

// TestClientLeaves: whoever works for a client that left is told, and nothing is left behind.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	g, up, plugin := streaming(t)
	before := g.goroutines()
	for _, tt := range []struct {
		name, path, header string
		begun, told        func()
	}{
		{"in a hook", "/held/x", "/hold/hook", func() { mustAwait(t, up, "holding hook") }, func() {
			mustAwait(t, plugin, "canceled: context canceled")
			mustAwait(t, up, "left hook")
		}},
		{"in a call of Tyk's protocol", "/tyk/x", "", func() {
			until(t, "the call", func() bool { return g.metric(`turnbuckle_requests_in_flight\{route="tyk"\}`) == 1 })
		}, func() {}},
		{"while the upstream works", "/plain/hold/work", "", func() { mustAwait(t, up, "holding work") }, func() { mustAwait(t, up, "left work") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, "GET", g.url+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Hold", tt.header)
			ended := make(chan error, 1)
			go func() {
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err == nil {
					err = resp.Body.Close()
				}
				ended <- err
			}()
			tt.begun()
			leave()
			if err := <-ended; err == nil {
				t.Error("the request ended well")
			}
			tt.told()
			until(t, "the end of the request", func() bool { return g.metric(`turnbuckle_requests_in_flight\{.*\}`) == 0 })
		})
	}
	for _, hook := range []string{"Hold", "Hang"} {
		if n := g.metric(`turnbuckle_hook_calls_total\{hook="` + hook + `",outcome="canceled".*\}`); n != 1 {
			t.Errorf("%v calls of %s are counted as canceled, want 1", n, hook)
		}
	}
	until(t, "the end of every call", func() bool { return g.metric(`turnbuckle_plugin_calls_in_flight\{.*\}`) == 0 })
	g.atRest(before)
}

// TestSlowHookDelaysNoOther: while calls are held, others of the same server, and of the same stream, are answered.
func TestSlowHookDelaysNoOther(t *testing.T) {
	t.Parallel()
	g, up, _ := streaming(t)
	ended := make(chan string, 3)
	for range cap(ended) {
		go func() {
			r := request{method: "GET", url: g.url + "/held/x", header: headers{"X-Hold: /hold/slow"}}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			text, err := r.send(ctx)
			if err != nil {
				text = err.Error()
			}
			ended <- text
		}()
	}
	until(t, "holding", func() bool { return strings.Count(up.Stdout.String(), "holding slow") == cap(ended) })
	for range 20 {
		if got := ask(t, g.url+"/hooked/x"); statusOf(got) != "200" {
			t.Fatalf("beside slow calls: %s", got)
		}
	}
	select {
	case text := <-ended:
		t.Errorf("a held request ended: %s", text)
	default:
	}
	release(t, up, "slow")
	for range cap(ended) {
		if got := <-ended; statusOf(got) != "200" {
			t.Errorf("a held request: %s", got)
		}
	}
}

// TestManyHeaders: more than the limits allow are refused, by bytes and by lines; as many as they allow travel, through
// hooks too.
func TestManyHeaders(t *testing.T) {
	t.Parallel()
	tooMany := "GET /hooked/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + strings.Repeat("X-Many: v\r\n", 10_000) + "\r\n"
	for _, max := range []string{"64KiB", "1MiB"} {
		g, _, _ := streaming(t, "TURNBUCKLE_LISTEN_MAX_HEADER="+max)
		if reply := sendMuch(t, g.address, tooMany); !strings.HasPrefix(reply, "HTTP/1.1 431 ") {
			t.Errorf("within %s: got %.200s, want 431", max, reply)
		}
		var many []string
		for range 900 {
			many = append(many, "-H", "X-Many: v")
		}
		reply := ask(t, append(many, g.url+"/hooked/x")...)
		if n := strings.Count(reply, "X-Many: v"); statusOf(reply) != "200" || n != 900 {
			t.Errorf("within %s: got %.200s with %d headers, want 200 with all", max, reply, n)
		}
	}
}

// sendMuch sends while it reads: who is refused early need not take it all.
func sendMuch(t *testing.T, address, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, text) // a refusal may cut it short
	}()
	reply, err := io.ReadAll(c)
	if err != nil && len(reply) == 0 {
		t.Fatal(err)
	}
	_ = c.Close()
	<-sent
	return string(reply)
}
