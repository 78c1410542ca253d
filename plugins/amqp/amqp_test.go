package amqp

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	rabbit "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/remotetest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/shiptest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a real RabbitMQ of our own, with its files in a folder and its ports on the loopback interface.
type broker struct {
	t       *testing.T
	dir     string
	port    int
	dist    int // for other nodes, of which there are none
	epmd    int // of Erlang's own name server
	process *processtest.Process
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	shiptest.Program(t, "rabbitmq-server")
	b := &broker{t: t, port: shiptest.FreePort(t), dist: shiptest.FreePort(t), epmd: shiptest.FreePort(t)}
	var err error
	if b.dir, err = os.MkdirTemp("", "rmq"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// RabbitMQ leaves the name server behind that it started on our port.
		if out, err := exec.Command("epmd", "-port", fmt.Sprint(b.epmd), "-kill").CombinedOutput(); err != nil {
			t.Logf("epmd: %v: %s", err, out)
		}
		_ = os.RemoveAll(b.dir)
	})
	config := fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nloopback_users = none\nlog.console = true\nlog.file = false\n", b.port)
	for name, text := range map[string]string{"rabbitmq.conf": config, "enabled_plugins": "[].\n", ".erlang.cookie": "turnbuckle-test"} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// start starts the broker, with what it has stored.
func (b *broker) start() {
	b.t.Helper()
	env := processtest.Environment(
		"HOME="+b.dir, "RABBITMQ_BASE="+b.dir, "RABBITMQ_CONFIG_FILE="+filepath.Join(b.dir, "rabbitmq.conf"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(b.dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(b.dir, "log"), "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(b.dir, "enabled_plugins"), "RABBITMQ_PID_FILE="+filepath.Join(b.dir, "pid"),
		fmt.Sprintf("RABBITMQ_NODENAME=tb%d@localhost", b.port), fmt.Sprintf("RABBITMQ_DIST_PORT=%d", b.dist),
		fmt.Sprintf("ERL_EPMD_PORT=%d", b.epmd),
	)
	p, err := processtest.Spawn("rabbitmq", b.dir, env, "/usr/lib/rabbitmq/bin/rabbitmq-server")
	if err != nil {
		b.t.Fatal(err)
	}
	b.process = p
	b.t.Cleanup(b.kill)
	complete := regexp.MustCompile("Server startup complete")
	shiptest.Until(b.t, "the broker, which reads first what it has stored", func() bool { _, ok := p.Wrote(complete); return ok })
}

// kill kills the broker, which is a child of the script that was started.
func (b *broker) kill() {
	if text, err := os.ReadFile(filepath.Join(b.dir, "pid")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // unless it has ended
		}
	}
	b.process.Kill()
	_ = os.Remove(filepath.Join(b.dir, "pid"))
}

func (b *broker) url() string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", b.port) }

const settingsText = `{"url":%q,"bind":{"queue":"records"},"batch":{"wait":"20ms"},"retry":{"first":"20ms","max":"500ms","timeout":"5s"}%s}`

func open(t *testing.T, url, more, dir string) *sdk.Plugin {
	t.Helper()
	p, err := New(t.Context(), json.RawMessage(fmt.Sprintf(settingsText, url, more)), sdk.Host{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// consume reads all that the queue has.
func consume(t *testing.T, url string) *shiptest.Seen {
	t.Helper()
	conn, err := rabbit.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive("records", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	const ahead = 1000
	if err := ch.Qos(ahead, 0, false); err != nil { // else the library keeps in memory what is not read yet
		t.Fatal(err)
	}
	messages, err := ch.ConsumeWithContext(t.Context(), "records", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := shiptest.NewSeen()
	for n := 1; n <= q.Messages; n++ {
		m, ok := <-messages
		if !ok {
			t.Fatalf("the broker has sent %d messages of %d", n-1, q.Messages)
		}
		if m.RoutingKey != "request.shop.2xx" || m.DeliveryMode != rabbit.Persistent || m.ContentType != "application/json" || m.MessageId == "" {
			t.Fatalf("%+v", m)
		}
		if err := seen.Add(m.Body); err != nil {
			t.Fatal(err)
		}
		if n%(ahead/2) == 0 || n == q.Messages {
			if err := m.Ack(true); err != nil {
				t.Fatal(err)
			}
		}
	}
	return seen
}

// A real broker is stopped, and killed, in the middle of things, and comes back with nothing declared that was not durable:
// everything arrives at least once, in order per key.
func TestBrokerStops(t *testing.T) {
	shiptest.Bounded(t, 128)
	b := newBroker(t)
	b.start()
	p := open(t, b.url(), `,"spool":{"size":"2GiB"}`, t.TempDir())
	n := shiptest.Count(4_000, 200_000)
	shiptest.Ship(t, p, 0, n)
	shiptest.Until(t, "the first", func() bool { return shiptest.Stat(p, "delivered") > 0 })
	if err := b.process.Stop(); err != nil {
		t.Logf("rabbitmq-server: %v", err)
	}
	shiptest.Ship(t, p, n, n)
	shiptest.Until(t, "an outage", func() bool { return shiptest.Stat(p, "up") == 0 })
	shiptest.Ship(t, p, 2*n, n)
	b.start()
	shiptest.Delivered(t, p, 3*n)
	shiptest.Ship(t, p, 3*n, n)
	b.kill()
	shiptest.Ship(t, p, 4*n, n)
	b.start()
	shiptest.Delivered(t, p, 5*n)
	const more = 500 // from a process of the plugin's own
	apart := remotetest.Serve(t, open(t, b.url(), "", t.TempDir()))
	shiptest.Ship(t, apart, 5*n, more)
	shiptest.Delivered(t, apart, more)
	if err := apart.Close(); err != nil {
		t.Error(err)
	}
	again := consume(t, b.url()).Check(t, 0, 5*n+more)
	if shiptest.Stat(p, "dropped") != 0 || shiptest.Stat(p, "rejected") != 0 {
		t.Errorf("%+v", p.Stats())
	}
	t.Logf("%d records, %d came again, %v attempts, %v failed", 5*n+more, again, shiptest.Stat(p, "attempts"), shiptest.Stat(p, "retries"))
	refusesExchange(t, b)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := b.process.Stop(); err != nil {
		t.Logf("rabbitmq-server: %v", err)
	}
}

// refusesExchange: what the broker has against a declaration is what is said, and is an outage.
func refusesExchange(t *testing.T, b *broker) {
	t.Helper()
	k := &sink{s: parsed(t, b.url(), `,"exchange":{"type":"fanout"}`)}
	_, err := k.Send(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "declare exchange turnbuckle") || !strings.Contains(err.Error(), "PRECONDITION_FAILED") {
		t.Errorf("got %v", err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func parsed(t *testing.T, url, more string) *settings {
	t.Helper()
	s, err := parse(json.RawMessage(fmt.Sprintf(settingsText, url, more)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, "url"},
		{`{"url":"http://u:s3cret@h"}`, "url: is not like"},
		{`{"url":"amqp://h","exchange":{"type":"x"}}`, "exchange.type"},
		{`{"url":"amqp://h","exchange":{"name":"` + strings.Repeat("x", 256) + `"}}`, "exchange.name"},
		{`{"url":"amqp://h","routing_key":"{nope}"}`, "routing_key"},
		{`{"url":"amqps://h","tls":{"ca":"gone.pem"}}`, "gone.pem"},
		{`{"url":"amqp://h","tls":{"key":"x"}}`, "belong together"},
		{`{"url":"amqp://h","nope":1}`, "nope"},
	} {
		_, err := New(t.Context(), json.RawMessage(test.config), sdk.Host{})
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %s", test.config, err, test.want)
		}
	}
}
