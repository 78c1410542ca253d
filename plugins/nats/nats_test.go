package nats

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a real nats-server, which can be stopped and started again on its port with what it has stored.
type server struct {
	t       *testing.T
	dir     string
	port    int
	process *processtest.Process
}

func (s *server) start() {
	s.t.Helper()
	p, err := processtest.Spawn("nats-server", s.dir, processtest.Environment(), shiptest.Program(s.t, "nats-server"),
		"-a", "127.0.0.1", "-p", fmt.Sprint(s.port), "-js", "-sd", s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = p
	s.t.Cleanup(p.Kill)
	if _, err := p.Await("Server is ready"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

func open(t *testing.T, url, dir string) *sdk.Plugin {
	t.Helper()
	config := fmt.Sprintf(`{"servers":[%q],"stream":{"create":true},"batch":{"wait":"20ms"},"retry":{"first":"20ms","max":"200ms","timeout":"2s"}}`, url)
	p, err := New(t.Context(), json.RawMessage(config), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// consume reads so many messages of the stream, each once, in the stream's order.
func consume(t *testing.T, url string, n int) *shiptest.Seen {
	t.Helper()
	conn, err := client.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(t.Context(), "TURNBUCKLE", jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	seen := shiptest.NewSeen()
	for got := 0; got < n; {
		batch, err := c.Fetch(min(1000, n-got), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		before := got
		for m := range batch.Messages() {
			got++
			if m.Subject() != "turnbuckle.request.shop.2xx" {
				t.Fatalf("subject %s", m.Subject())
			}
			if err := seen.Add(m.Data()); err != nil {
				t.Fatal(err)
			}
		}
		if got == before {
			t.Fatalf("the stream has %d messages of %d: %v", got, n, batch.Error())
		}
	}
	return seen
}

// A real server is stopped and killed in the middle of things: everything arrives, in order.
func TestServerStops(t *testing.T) {
	s := &server{t: t, dir: t.TempDir(), port: shiptest.FreePort(t)}
	s.start()
	p := open(t, s.url(), t.TempDir())
	n := shiptest.Count(4_000, 200_000)
	shiptest.Ship(t, p, 0, n)
	shiptest.Until(t, "the first", func() bool { return shiptest.Stat(p, "delivered") > 0 })
	if err := s.process.Stop(); err != nil {
		t.Logf("nats-server: %v", err)
	}
	shiptest.Ship(t, p, n, n)
	shiptest.Until(t, "an outage", func() bool { return shiptest.Stat(p, "up") == 0 })
	shiptest.Ship(t, p, 2*n, n)
	s.start()
	shiptest.Until(t, "all", func() bool { return shiptest.Stat(p, "delivered") == float64(3*n) })
	s.process.Kill()
	shiptest.Ship(t, p, 3*n, n)
	s.start()
	shiptest.Ship(t, p, 4*n, n)
	shiptest.Until(t, "all", func() bool { return shiptest.Stat(p, "delivered") == float64(5*n) })
	seen := consume(t, s.url(), 5*n)
	again := seen.Check(t, 0, 5*n)
	t.Logf("%d records, %d stored more than once", 5*n, again)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, "servers"},
		{`{"servers":["a"],"subject":"{api}.x"}`, "the first no template"},
		{`{"servers":["a"],"subject":"x.{nope}"}`, "subject"},
		{`{"servers":["a"],"subject":"x.>"}`, "wildcards"},
		{`{"servers":["a"],"tls":{"cert":"x"}}`, "belong together"},
		{`{"servers":["a"],"tls":{"ca":"gone.pem"}}`, "gone.pem"},
		{`{"servers":["a"],"nope":1}`, "nope"},
	} {
		if _, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		}
	}
}
