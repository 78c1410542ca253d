package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/listen"
)

// Main serves p until the process gets SIGINT or SIGTERM, then drains and returns the exit status: 0 when it served,
// 1 when it could not, 2 for wrong arguments. It is what an author's main calls; -help tells the flags, each of which
// is also an environment variable. A second SIGINT ends the process at once; SIGTERM may come as often as it likes.
//
// A server is replaced without losing a call when the next one serves before the last is told to stop: on another
// address of the same name; or on the same address with -takeover (a unix socket, or a TCP port if both have the flag)
// or as fd:N, a socket that both inherited. When the last one stops first, calls fail until the next one serves.
//
// Hosts that start plugins themselves the way hashicorp/go-plugin does, Turnbuckle among them, need give no address: the
// plugin tells them where it listens (see package handshake for the cookie). It then stops when its host says so, and
// leaves SIGINT, which a terminal sends to both, to the host.
func Main(p *sdk.Plugin) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if handshake.Wanted(os.Getenv) {
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	} else {
		var impatient context.CancelFunc
		ctx, impatient = signal.NotifyContext(ctx, os.Interrupt)
		defer impatient()
		context.AfterFunc(ctx, impatient) // the next Ctrl-C finds the default: it kills
	}
	return Run(ctx, p, os.Args[1:], os.Getenv, os.Stderr)
}

// Run is [Main] without the process around it: it serves until ctx ends. Only a host that starts plugins is told
// something on the process's standard output.
func Run(ctx context.Context, p *sdk.Plugin, args []string, getenv func(string) string, stderr io.Writer) int {
	return run(ctx, p, args, getenv, os.Stdout, stderr)
}

func run(ctx context.Context, p *sdk.Plugin, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	s, err := parse(p, args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "%s: %v\nRun with -help for the flags.\n", p.Name, err)
		return 2
	case s.version:
		fmt.Fprintf(stderr, "%s %s\n", p.Name, p.Version)
		return 0
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if s.hosted {
		err = s.answer(ctx, p, getenv, stdout, log)
	} else {
		err = s.serve(ctx, p, log)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	return 0
}

// settings are the flags of a plugin server.
type settings struct {
	listen                  string
	socketMode              string
	cert, key, clientCA     string
	drain                   time.Duration
	maxMessage, maxInFlight int
	handover                time.Duration
	takeover, version       bool
	hosted                  bool // a host started the process and waits for its answer
}

const usage = `%[1]s %[2]s is a plugin server for Turnbuckle, and for gateways that speak Tyk's gRPC plugin protocol.

Usage: %[1]s -listen ADDRESS [flags]

  %[1]s -listen unix:/run/turnbuckle/%[1]s.sock
  %[1]s -listen tcp://127.0.0.1:5555
  %[1]s -listen :5555 -tls-cert cert.pem -tls-key key.pem -tls-client-ca gateways.pem

Flags, each with the environment variable that sets it too (a flag wins):
`

const envPrefix = "TURNBUCKLE_PLUGIN_"

func envName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

func parse(p *sdk.Plugin, args []string, getenv func(string) string, stderr io.Writer) (*settings, error) {
	s := &settings{}
	f := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are printed once, by the caller
	f.StringVar(&s.listen, "listen", "", "`address`: unix:PATH, tcp://HOST:PORT, HOST:PORT, or fd:N for an inherited socket")
	f.StringVar(&s.socketMode, "socket-mode", "0600", "`permissions` of the unix socket, octal: who may call the plugin")
	f.StringVar(&s.cert, "tls-cert", "", "PEM `file` with the certificate; serves TLS")
	f.StringVar(&s.key, "tls-key", "", "PEM `file` with the certificate's key")
	f.StringVar(&s.clientCA, "tls-client-ca", "", "PEM `file` with the authorities that gateways' certificates must come from; asks for one")
	f.DurationVar(&s.drain, "drain", 10*time.Second, "how long calls may take to finish after SIGTERM or SIGINT")
	f.DurationVar(&s.handover, "handover", DefaultHandover, "of that, how long gateways may take to find a server that has taken the address over")
	f.BoolVar(&s.takeover, "takeover", false, "take the address over from a server that still runs; a TCP port's had this flag too")
	f.IntVar(&s.maxMessage, "max-message", DefaultMaxMessage, "largest message accepted, in `bytes`")
	f.IntVar(&s.maxInFlight, "max-in-flight", DefaultCredit, "`calls` a gateway may have outstanding on one stream")
	f.BoolVar(&s.version, "version", false, "print the version and exit")

	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printUsage(f, p, stderr)
		}
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	given := s.listen
	if err := fromEnv(f, getenv); err != nil {
		return nil, err
	}
	if s.hosted = handshake.Wanted(getenv); s.hosted {
		s.listen = given // the variable is for plugins that do not know the handshake
	}
	if s.listen == "" && !s.version && !s.hosted {
		return nil, fmt.Errorf("no address to listen on: give -listen or set %s", envName("listen"))
	}
	return s, nil
}

// fromEnv sets the flags that were not given from their environment variables.
func fromEnv(f *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	var errs []error
	f.VisitAll(func(fl *flag.Flag) {
		name := envName(fl.Name)
		if v := getenv(name); v != "" && !given[fl.Name] && fl.Name != "version" {
			if err := f.Set(fl.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("environment variable %s=%q: %w", name, v, err))
			}
		}
	})
	return errors.Join(errs...)
}

func printUsage(f *flag.FlagSet, p *sdk.Plugin, w io.Writer) {
	fmt.Fprintf(w, usage, p.Name, p.Version)
	f.VisitAll(func(fl *flag.Flag) {
		kind, text := flag.UnquoteUsage(fl)
		fmt.Fprintf(w, "  -%s %s\n        %s", fl.Name, kind, text)
		if fl.DefValue != "" && fl.DefValue != "false" {
			fmt.Fprintf(w, " (default %s)", fl.DefValue)
		}
		if fl.Name != "version" {
			fmt.Fprintf(w, "\n        %s", envName(fl.Name))
		}
		fmt.Fprintln(w)
	})
	fmt.Fprintln(w, "\nHooks:")
	for i := range p.Hooks {
		fmt.Fprintf(w, "  %s (%v)\n", p.Hooks[i].Name, p.Hooks[i].Phase)
	}
	for i := range p.Observers {
		fmt.Fprintf(w, "  %s (observer)\n", p.Observers[i].Name)
	}
}

func (s *settings) serve(ctx context.Context, p *sdk.Plugin, log *slog.Logger) error {
	mode, err := strconv.ParseUint(s.socketMode, 8, 32)
	if err != nil || fs.FileMode(mode).Perm() != fs.FileMode(mode) {
		return fmt.Errorf("socket mode %q: want octal permissions such as 0660", s.socketMode)
	}
	o := s.options(log)
	if o.TLS, err = s.tls(); err != nil {
		return err
	}
	server, err := New(p, o)
	if err != nil {
		return err
	}
	l, err := listen.Open(ctx, s.listen, fs.FileMode(mode), s.takeover)
	if err != nil {
		return err
	}
	log.Info("serving", "plugin", p.Name, "version", p.Version, "address", listen.Address(l), "tls", o.TLS != nil)
	return server.Serve(ctx, l)
}

func (s *settings) options(log *slog.Logger) Options {
	return Options{Logger: log, Drain: s.drain, Handover: s.handover, MaxMessage: s.maxMessage, Credit: s.maxInFlight}
}

// answer serves where the host that started the process wants it.
func (s *settings) answer(ctx context.Context, p *sdk.Plugin, getenv func(string) string, stdout io.Writer, log *slog.Logger) error {
	a, err := handshake.Open(ctx, s.listen, getenv)
	if err != nil {
		return err
	}
	o := s.options(log)
	o.TLS, o.hosted = a.TLS, true
	server, err := New(p, o)
	if err == nil {
		log.Info("serving", "plugin", p.Name, "version", p.Version, "address", listen.Address(a.Listener), "tls", o.TLS != nil)
		err = a.Tell(stdout) // connections wait until the server takes them
	}
	if err != nil {
		return errors.Join(err, a.Listener.Close())
	}
	return server.Serve(ctx, a.Listener)
}

func (s *settings) tls() (*tls.Config, error) {
	switch {
	case s.cert == "" && s.key == "" && s.clientCA == "":
		return nil, nil
	case s.cert == "" || s.key == "":
		return nil, errors.New("TLS needs both -tls-cert and -tls-key")
	}
	cert, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", s.cert, s.key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if s.clientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(s.clientCA)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("client authorities %s: no PEM certificate in it", s.clientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}
