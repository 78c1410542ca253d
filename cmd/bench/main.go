// Command bench measures the gateway: what a request costs without hooks, with hooks on a plugin server of each
// protocol, and what the same costs bare. Ratios inside one run are the result; RATIONALE.md and CONTRIBUTING.md say
// what they are for. `bench run` does it all; the other commands are the processes it starts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/peers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/plugins"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
)

const usage = `usage:
  bench run [flags]                                     measure, print a table and the targets (bench run --help)
  bench baseline --listen ADDR --upstream URL           the proxy that ours is compared with
  bench upstream --listen ADDR                          an upstream, where nginx is missing
  bench plugin --protocol tyk|native --listen ADDR      a plugin server; ADDR is unix:PATH or tcp://HOST:PORT
  bench kafka --listen ADDR                             a Kafka that keeps what it is sent in memory
  bench grpc-client --address ADDR --server-pid PID     call a tyk plugin server without a gateway; prints JSON
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: 0 is fine, 1 failed, 2 misused.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	commands := map[string]func(context.Context, *flag.FlagSet, []string, io.Writer, io.Writer) error{
		"run":         runCourse,
		"baseline":    runBaseline,
		"upstream":    runUpstream,
		"plugin":      runPlugin,
		"grpc-client": runCaller,
		"kafka":       runKafka,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(stderr, usage)
		return 2
	}
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	err := commands[args[0]](ctx, flags, args[1:], stdout, stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp), ctx.Err() != nil && args[0] != "run":
		return 0
	case errors.Is(err, errMisuse):
		return 2
	}
	fmt.Fprintf(stderr, "bench: error: %v\n", err)
	return 1
}

// errMisuse says that the flags were wrong and that the flag set has said so.
var errMisuse = errors.New("wrong flags")

// parse parses flags and takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if err != nil || flags.NArg() > 0 {
		return errMisuse
	}
	return nil
}

func runBaseline(ctx context.Context, flags *flag.FlagSet, args []string, _, _ io.Writer) error {
	listen := flags.String("listen", "127.0.0.1:8081", "`address` to listen on")
	upstream := flags.String("upstream", "", "`URL` to forward to")
	if err := parse(flags, args); err != nil {
		return err
	}
	target, err := url.Parse(*upstream)
	if err != nil || target.Host == "" {
		return fmt.Errorf("--upstream %q is no URL", *upstream)
	}
	return peers.ServeBaseline(ctx, *listen, target)
}

func runUpstream(ctx context.Context, flags *flag.FlagSet, args []string, _, _ io.Writer) error {
	listen := flags.String("listen", "127.0.0.1:8082", "`address` to listen on")
	if err := parse(flags, args); err != nil {
		return err
	}
	return peers.ServeUpstream(ctx, *listen)
}

func runKafka(ctx context.Context, flags *flag.FlagSet, args []string, _, _ io.Writer) error {
	listen := flags.String("listen", "127.0.0.1:9092", "loopback `address` to listen on")
	if err := parse(flags, args); err != nil {
		return err
	}
	return sinks.ServeKafka(ctx, *listen)
}

func runPlugin(ctx context.Context, flags *flag.FlagSet, args []string, _, _ io.Writer) error {
	protocol := flags.String("protocol", "native", "tyk or native")
	listen := flags.String("listen", "unix:/tmp/bench.sock", "unix:PATH or tcp://HOST:PORT")
	if err := parse(flags, args); err != nil {
		return err
	}
	serve := map[string]func(context.Context, string) error{"tyk": plugins.ServeTyk, "native": plugins.ServeNative}[*protocol]
	if serve == nil {
		return fmt.Errorf("--protocol %q: want tyk or native", *protocol)
	}
	return serve(ctx, *listen)
}

func runCaller(ctx context.Context, flags *flag.FlagSet, args []string, stdout, _ io.Writer) error {
	address := flags.String("address", "", "the server: unix:PATH or tcp://HOST:PORT")
	serverPID := flags.Int("server-pid", 0, "the server's process, whose CPU time is read")
	callers := flags.Int("callers", 50, "how many call at once")
	duration := flags.Duration("duration", 2*time.Second, "how long")
	if err := parse(flags, args); err != nil {
		return err
	}
	calls, err := plugins.Call(ctx, *address, os.Getpid(), *serverPID, *callers, *duration)
	if err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(calls)
}
