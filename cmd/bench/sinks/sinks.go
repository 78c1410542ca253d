// Package sinks holds the other sides of the plugins that ship records: where gateways under measurement send what they
// have to say. They are real where Debian packages one, do as little as they can, and run in processes of their own, so that
// their CPU is nobody else's.
package sinks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
)

// State is how a sink is. The empty state is no sink at all.
type State string

// The states of a sink.
const (
	Up     State = "up"     // takes what comes
	Down   State = "down"   // nobody listens
	Silent State = "silent" // takes connections and never says a word
)

// RabbitMQ is where Debian's package has the script that starts a broker as whoever calls it.
const RabbitMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// Options say what sinks are made of.
type Options struct {
	Dir      string // for their files
	Self     string // this program
	Upstream string // host:port of a server that answers every request with 200
	RabbitMQ string // the programs; empty: there is none
	NATS     string
}

// Sink is an open sink. Close it.
type Sink struct {
	Address string        // host:port
	Process *proc.Process // nil: none of its own
	ends    []func()
}

// Close stops what Open has started.
func (s *Sink) Close() {
	if s.Process != nil {
		s.Process.Stop()
	}
	for _, end := range s.ends {
		end()
	}
}

// Open opens the other side of a plugin.
func Open(ctx context.Context, plugin string, state State, o Options) (*Sink, error) {
	switch state {
	case Down:
		return &Sink{Address: "127.0.0.1:9"}, nil // discard, which nobody has any more
	case Silent:
		return silent()
	}
	switch plugin {
	case "amqp":
		return o.rabbitMQ(ctx)
	case "nats":
		return o.nats(ctx)
	case "kafka":
		return o.kafka(ctx)
	case "datadog":
		return packets()
	default:
		return &Sink{Address: o.Upstream}, nil
	}
}

// silent is a listener that accepts nothing: the kernel takes connections for it, as many as wait in its queue.
func silent() (*Sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Sink{Address: l.Addr().String(), ends: []func(){func() { _ = l.Close() }}}, nil
}

// packets is a UDP socket that nobody reads: the kernel drops what it has no room for.
func packets() (*Sink, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Sink{Address: c.LocalAddr().String(), ends: []func(){func() { _ = c.Close() }}}, nil
}

// rabbitMQ has no queue for what is published: it confirms, and forgets.
func (o Options) rabbitMQ(ctx context.Context) (*Sink, error) {
	if o.RabbitMQ == "" {
		return nil, errors.New("there is no rabbitmq-server: --install installs it, as root on Debian")
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	port, distribution, epmd := ports[0], ports[1], ports[2]
	s := &Sink{Address: "127.0.0.1:" + port}
	config := fmt.Sprintf("listeners.tcp.1 = %s\nloopback_users = none\nlog.console = true\nlog.file = false\n", s.Address)
	for name, text := range map[string]string{"rabbitmq.conf": config, "enabled_plugins": "[].\n", ".erlang.cookie": "turnbuckle-bench"} {
		if err := os.WriteFile(filepath.Join(o.Dir, name), []byte(text), 0o400); err != nil {
			return nil, err
		}
	}
	in := func(name string) string { return filepath.Join(o.Dir, name) }
	s.Process, err = proc.Start(ctx, proc.Spec{
		Name: "rabbitmq-server", Args: []string{o.RabbitMQ}, Dir: o.Dir, Log: in("rabbitmq.log"), Ready: proc.Accepts(s.Address),
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + o.Dir,
			"RABBITMQ_BASE=" + o.Dir, "RABBITMQ_CONFIG_FILE=" + in("rabbitmq.conf"), "RABBITMQ_MNESIA_BASE=" + in("mnesia"),
			"RABBITMQ_LOG_BASE=" + in("log"), "RABBITMQ_LOGS=-", "RABBITMQ_ENABLED_PLUGINS_FILE=" + in("enabled_plugins"), "RABBITMQ_PID_FILE=" + in("pid"),
			"RABBITMQ_NODENAME=tb" + port + "@localhost", "RABBITMQ_DIST_PORT=" + distribution, "ERL_EPMD_PORT=" + epmd,
			"RUNNING_UNDER_SYSTEMD=1", // the script becomes the broker, and no shell stands between us and it
		},
	})
	// The broker leaves Erlang's name server behind, which it has started on our port.
	stopNames := func() { _ = exec.CommandContext(context.WithoutCancel(ctx), "epmd", "-port", epmd, "-kill").Run() }
	if err != nil {
		stopNames()
		return nil, err
	}
	s.ends = append(s.ends, stopNames)
	return s, nil
}

func (o Options) nats(ctx context.Context) (*Sink, error) {
	if o.NATS == "" {
		return nil, errors.New("there is no nats-server: --install installs it, as root on Debian")
	}
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(o.Dir, "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "listen: %q\njetstream {store_dir: %q}\n", address, o.Dir), 0o600); err != nil {
		return nil, err
	}
	return start(ctx, address, proc.Spec{Name: "nats-server", Args: []string{o.NATS, "-c", file}, Log: filepath.Join(o.Dir, "nats.log")})
}

// kafka is this program as a Kafka that keeps its topic in memory: no distribution packages the real one.
func (o Options) kafka(ctx context.Context) (*Sink, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	return start(ctx, address, proc.Spec{Name: "kafka", Args: []string{o.Self, "kafka", "--listen", address}, Log: filepath.Join(o.Dir, "kafka.log")})
}

func start(ctx context.Context, address string, spec proc.Spec) (*Sink, error) {
	spec.Ready = proc.Accepts(address)
	p, err := proc.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &Sink{Address: address, Process: p}, nil
}

// ServeKafka is a Kafka of one broker on a loopback port, with the plugin's topic. It returns when the context ends.
func ServeKafka(ctx context.Context, address string) error {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.SeedTopics(1, "turnbuckle"))
	if err != nil {
		return err
	}
	<-ctx.Done()
	c.Close()
	return nil
}

// freePorts returns different loopback ports that were free a moment ago.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // when all are known, so that no two are the same
		ports = append(ports, l.Addr().String()[strings.LastIndex(l.Addr().String(), ":")+1:])
	}
	return ports, nil
}
