// Command demo shows the gateway at work: it starts a small upstream, the example plugin server and the gateway,
// sends a few requests, prints them as curl lines with their replies, and keeps serving until it is interrupted.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
)

//go:embed shop.yaml
var definition string

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: 0 is fine, 1 failed, 2 misused.
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
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	d.out = stdout
	if err := d.run(ctx); err != nil {
		fmt.Fprintf(stderr, "demo: error: %v\n", err)
		return 1
	}
	return 0
}

// demo is what the flags say.
type demo struct {
	gateway, plugin, listen string
	once                    bool
	out                     io.Writer
}

// run starts everything, shows the steps, serves on unless it is to be done once, and stops everything.
func (d demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "turnbuckle-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	upstream, stopUpstream, err := startUpstream()
	if err != nil {
		return err
	}
	defer stopUpstream()
	plugin, err := d.startPlugin(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { // whichever runs by then
		if plugin != nil {
			plugin.Stop()
		}
	}()
	gateway, err := d.startGateway(ctx, dir, upstream)
	if err != nil {
		return err
	}
	defer gateway.Stop()

	base := "http://" + d.listen
	for _, s := range steps() {
		if err := s.show(ctx, base, d.out); err != nil {
			return err
		}
	}
	plugin.Stop()
	if err := stopped().show(ctx, base, d.out); err != nil {
		return err
	}
	if plugin, err = d.startPlugin(ctx, dir); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "\n# The plugin server is back, and so are the replies\n")
	if err := recovers(ctx, steps()[0], base); err != nil {
		return err
	}
	if d.once {
		return nil
	}
	fmt.Fprintf(d.out, "\nServing on %s, definitions and logs in %s. Ctrl-C ends it.\n", base, dir)
	<-ctx.Done()
	return nil
}

// recovers waits until the step's reply is right again, 10 s at most.
func recovers(ctx context.Context, s step, base string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		reply, body, err := s.ask(ctx, base)
		if err == nil {
			if err = s.check(reply, body); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after the plugin server came back: %w", err)
		}
	}
}

// startUpstream serves a JSON object that tells what of the request arrived.
func startUpstream() (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"path":   r.URL.RequestURI(),
			"caller": r.Header.Get("X-Shop-Caller"),
			"from":   "the upstream",
		})
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	return "http://" + listener.Addr().String(), func() { _ = server.Close(); <-done }, nil
}

func (d demo) startPlugin(ctx context.Context, dir string) (*proc.Process, error) {
	socket := "unix:" + filepath.Join(dir, "plugin.sock")
	return proc.Start(ctx, proc.Spec{
		Name:  "plugin server",
		Args:  []string{d.plugin, "-listen", socket},
		Log:   filepath.Join(dir, "plugin.log"),
		Ready: proc.Accepts(socket),
	})
}

func (d demo) startGateway(ctx context.Context, dir, upstream string) (*proc.Process, error) {
	apis := filepath.Join(dir, "apis")
	if err := os.Mkdir(apis, 0o755); err != nil {
		return nil, err
	}
	text := strings.ReplaceAll(definition, "${UPSTREAM}", upstream)
	if err := os.WriteFile(filepath.Join(apis, "shop.yaml"), []byte(text), 0o644); err != nil {
		return nil, err
	}
	// Who answers on the address before we start would be taken for the gateway.
	if conn, err := net.Dial("tcp", d.listen); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("something listens on %s already: choose another with LISTEN=host:port", d.listen)
	}
	hello := step{path: "/hello", status: http.StatusOK}
	return proc.Start(ctx, proc.Spec{
		Name: "gateway",
		Args: []string{d.gateway, "serve", "--listen", d.listen, "--apis", apis, "--plugin-server", "unix:" + filepath.Join(dir, "plugin.sock")},
		Log:  filepath.Join(dir, "gateway.log"),
		Ready: func(ctx context.Context) error {
			reply, body, err := hello.ask(ctx, "http://"+d.listen)
			if err != nil {
				return err
			}
			return hello.check(reply, body)
		},
	})
}
