package conform

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
)

// ErrFailed says that the server does not conform, which has been shown.
var ErrFailed = errors.New("the server does not conform")

// flags are those of the command.
type flags struct {
	o                   Options
	handshake           string
	junit               string
	ca, cert, key, name string
	secure, hooks, json bool
	all                 bool
}

// Command returns the command.
func Command(stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conform ADDRESS|COMMAND [ARGUMENT...]",
		Short: "Hold a plugin server in any language to the specification of its protocol",
		Long: `Conform runs the cases of the specification, PROTOCOL.md, against a plugin server and prints how each ended. It speaks the
protocols that the server speaks, Turnbuckle's own and Tyk's.

The server runs at an ADDRESS (unix:PATH, tcp://HOST:PORT or HOST:PORT), or conform starts COMMAND as the gateway does: with
hashicorp/go-plugin's handshake and mutual TLS where the server knows them, else at the socket that its environment names,
TURNBUCKLE_LISTEN=unix:PATH. It is ended with SIGTERM. Cases of how a server stops need a COMMAND.

Many cases need nothing of the server. Others call the hooks that CONFORMANCE.md describes, which an SDK has in its tests;
without them these are skipped. Both files are among what "turnbuckle proto export" writes.

The exit code is 0 when the server conforms, 1 when something that must hold does not ("fail") or there was no server, and 2
when the command was not understood. What only should hold is a warning.`,
		Example: `  turnbuckle plugin conform ./my-plugin
  turnbuckle plugin conform python3 plugin.py --verbose
  turnbuckle plugin conform --run frames/ unix:/run/turnbuckle/plugin.sock
  turnbuckle plugin conform --protocol tyk --json 127.0.0.1:5555
  turnbuckle plugin conform --hooks --junit report.xml node test/server.js
  turnbuckle plugin conform --handshake plain ./my-plugin`,
		Args: cobra.MinimumNArgs(1),
	}
	f := &flags{}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.complete(args); err != nil {
			return err
		}
		r, err := Run(cmd.Context(), f.o)
		if err != nil {
			return err
		}
		if f.hooks && !r.Hooks {
			r.Add(report.Finding{ID: "hooks", Protocol: report.Both, Section: "CONFORMANCE.md", Title: "the server has the hooks of the kit", Result: report.Fail})
		}
		if err := f.write(stdout, r); err != nil {
			return err
		}
		if r.Failed > 0 {
			return ErrFailed
		}
		return nil
	}
	return cmd
}

// write writes the report where the flags say.
func (f *flags) write(stdout io.Writer, r *report.Report) error {
	if f.junit != "" {
		var out bytes.Buffer
		if err := r.WriteJUnit(&out); err != nil {
			return err
		}
		if err := os.WriteFile(f.junit, out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	if f.json {
		return r.WriteJSON(stdout)
	}
	return r.WriteText(stdout, f.all)
}

func (f *flags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what stands behind the command is the command's
	flags.StringVar(&f.o.Protocol, "protocol", "", "`native` or tyk (default what the server speaks)")
	flags.StringVar(&f.o.Run, "run", "", "only cases whose id has this `TEXT` in it")
	flags.DurationVar(&f.o.Patience, "timeout", 10*time.Second, "`TIME` within which what must come has to come")
	flags.BoolVar(&f.o.Quick, "quick", false, "leave out the cases that take 20 seconds whatever the server does")
	flags.BoolVar(&f.hooks, "hooks", false, "fail when the server has not the hooks of CONFORMANCE.md")
	flags.BoolVar(&f.all, "all", false, "list the cases that passed or were skipped too")
	flags.BoolVar(&f.json, "json", false, "write JSON")
	flags.StringVar(&f.junit, "junit", "", "write JUnit's XML to this `FILE` too")
	flags.StringVar(&f.handshake, "handshake", "auto", "how COMMAND says where it listens: `auto`, goplugin, or plain for the socket alone")
	flags.BoolVar(&f.secure, "tls", false, "speak TLS")
	flags.StringVar(&f.ca, "tls-ca", "", "PEM `FILE` with the authorities of the server's certificate (default the system's)")
	flags.StringVar(&f.cert, "tls-cert", "", "PEM `FILE` with a certificate to present")
	flags.StringVar(&f.key, "tls-key", "", "PEM `FILE` with its key")
	flags.StringVar(&f.name, "tls-server-name", "", "`NAME` in the server's certificate (default the address's host)")
}

func (f *flags) complete(args []string) error {
	if !slices.Contains([]string{"", report.Native, report.Tyk}, f.o.Protocol) {
		return fmt.Errorf("--protocol: %q: want native or tyk", f.o.Protocol)
	}
	if f.o.Patience <= 0 {
		return errors.New("--timeout must be positive")
	}
	switch f.handshake {
	case "auto":
	case "goplugin":
		f.o.Handshake.Mode = handshake.GoPlugin
	case "plain":
		f.o.Handshake.Mode = handshake.Plain
	default:
		return fmt.Errorf("--handshake: %q: want auto, goplugin or plain", f.handshake)
	}
	f.o.Command = args
	if _, err := address.Parse(args[0]); err == nil && len(args) == 1 {
		f.o.Address, f.o.Command = args[0], nil
	}
	if !f.secure && f.ca == "" && f.cert == "" && f.key == "" && f.name == "" {
		return nil
	}
	if f.o.Command != nil {
		return errors.New("--tls and the like are towards an ADDRESS: a COMMAND agrees on TLS when it is started")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.name}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--tls-ca: no PEM certificate in %s", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	f.o.TLS = c
	return nil
}
