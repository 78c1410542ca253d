// Command demo shows the gateway at work: it starts a small upstream, the example plugin server and the gateway,
// sends a few requests, prints them as curl lines with their replies, and keeps serving until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitFine        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells have it
)

// run is main without the process.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var d demo
	flags.StringVar(&d.gateway, "gateway", "bin/turnbuckle", "the gateway's `binary`")
	flags.StringVar(&d.plugin, "plugin", "bin/demo-plugin", "the plugin server's `binary`, built from examples/go-grpc")
	flags.StringVar(&d.listen, "listen", "127.0.0.1:8080", "`address` the gateway listens on")
	flags.BoolVar(&d.once, "once", false, "check the replies and end, with a status that is not 0 when one is wrong")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitFine
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "demo: error: %q is no flag: see --help\n", flags.Arg(0))
		return exitUsage
	}
	d.say = newPrinter(stdout)
	err := d.run(ctx)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "demo: error: %v\n", err)
		return exitFailed
	}
	return exitFine
}

// demo is what the flags say.
type demo struct {
	gateway, plugin, listen string
	once                    bool
	say                     *printer
}

// run starts everything, shows the steps, serves on unless it is to be done once, and stops everything.
func (d demo) run(ctx context.Context) (err error) {
	base, err := baseURL(d.listen)
	if err != nil {
		return err
	}
	s := &stage{demo: d, base: base}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return fmt.Errorf("%w%s", err, s.logged())
	}
	if d.once {
		return nil
	}
	d.say.serving(base, s.dir)
	return s.serve(ctx)
}

// play shows every step.
func (s *stage) play(ctx context.Context) error {
	for i, step := range steps() {
		if step.pluginStopped {
			s.say.note("stopping the plugin server")
			s.plugin.Stop()
		}
		err := s.say.step(ctx, i+1, step, s.base)
		if err != nil {
			return err
		}
		if step.pluginStopped {
			if err := s.startPlugin(ctx); err != nil {
				return err
			}
			s.say.note("started the plugin server again")
		}
	}
	// Serving ends as it began: the gateway has found the plugin server again.
	took, err := recovers(ctx, steps()[0], s.base)
	if err != nil {
		return err
	}
	s.say.done(len(steps()), took)
	return nil
}

// recovers waits until the step's reply is right again, 10 s at most, and returns how long that took.
func recovers(ctx context.Context, s step, base string) (time.Duration, error) {
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	start := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		reply, body, err := s.ask(waiting, base)
		if err == nil {
			if err = s.check(reply, body); err == nil {
				return time.Since(start), nil
			}
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, fmt.Errorf("after the plugin server came back: %w", err)
		}
	}
}

// serve goes on until ctx ends or a process does.
func (s *stage) serve(ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.say.note("stopping")
			return nil
		case <-tick.C:
			err := errors.Join(s.gateway.Alive(), s.plugin.Alive())
			if err != nil && ctx.Err() == nil { // Ctrl-C in a terminal reaches them, too
				return err
			}
		}
	}
}

// baseURL is where to send requests that go to a listener on the address.
func baseURL(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("cannot listen on %q: %w: say LISTEN=host:port", listen, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
