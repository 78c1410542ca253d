package sinks

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
)

// The test's program is the Kafka too.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "kafka" {
		if err := ServeKafka(context.Background(), os.Args[3]); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func open(t *testing.T, plugin string, state State, o Options) *Sink {
	t.Helper()
	s, err := Open(t.Context(), plugin, state, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A silent sink takes connections and what is written, and never answers; one that is down takes none.
func TestNotThere(t *testing.T) {
	c := dial(t, open(t, "kafka", Silent, Options{}).Address)
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Error(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if c, err := net.Dial("tcp", open(t, "kafka", Down, Options{}).Address); err == nil {
		_ = c.Close()
		t.Error("somebody listens")
	}
}

func TestThere(t *testing.T) {
	if got := open(t, "loggly", Up, Options{Upstream: "127.0.0.1:1"}).Address; got != "127.0.0.1:1" {
		t.Errorf("got %s", got)
	}
	u, err := net.Dial("udp", open(t, "datadog", Up, Options{}).Address)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for range 3 { // nobody there would say so to the second
		if _, err := io.WriteString(u, "a:1|c"); err != nil {
			t.Error(err)
		}
	}
}

// Without its program a sink is an error that says how to come by it.
func TestMissing(t *testing.T) {
	for plugin, want := range map[string]string{"amqp": "rabbitmq-server: --install", "nats": "nats-server: --install"} {
		if _, err := Open(t.Context(), plugin, Up, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", plugin, err)
		}
	}
}

// Each sink that is a process takes connections, and goes with all that it has started.
func TestProcesses(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Self: self, NATS: "/usr/sbin/nats-server", RabbitMQ: RabbitMQ}
	for plugin, program := range map[string]string{"kafka": self, "nats": o.NATS, "amqp": o.RabbitMQ} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(program); err != nil {
				t.Skip(err)
			}
			dir, err := os.MkdirTemp("", "tb")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			with := o
			with.Dir = dir
			s := open(t, plugin, Up, with)
			dial(t, s.Address)
			if plugin == "kafka" {
				produce(t, s.Address)
			}
			s.Close()
			if proc.Accepts(s.Address)(t.Context()) == nil {
				t.Error("it is there still")
			}
		})
	}
}

func produce(t *testing.T, address string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "turnbuckle", Value: []byte("{}")}).FirstErr(); err != nil {
		t.Error(err)
	}
}
