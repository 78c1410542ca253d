package conform

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/address"
)

// ErrFailed says that the server does not conform, which has been shown.
var ErrFailed = errors.New("the server does not conform")

// flags are those of the command.
type flags struct {
	o                   Options
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

The server runs at an ADDRESS (unix:PATH, tcp://HOST:PORT or HOST:PORT), or conform starts it: COMMAND finds in the environment
where to listen, TURNBUCKLE_LISTEN=unix:PATH, and is ended with SIGTERM. Cases of how a server stops need a COMMAND.

Many cases need nothing of the server. Others call the hooks that CONFORMANCE.md describes, which an SDK has in its tests;
without them these are skipped. Both files are among what "turnbuckle proto export" writes.

The exit code is 1 when something that must hold does not ("fail"); what only should hold is a warning.`,
		Example: `  turnbuckle plugin conform ./my-plugin
  turnbuckle plugin conform python3 plugin.py --verbose
  turnbuckle plugin conform unix:/run/turnbuckle/plugin.sock --run frames/
  turnbuckle plugin conform 127.0.0.1:5555 --protocol tyk --json`,
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
			r.add(Finding{ID: "hooks", Protocol: both, Section: "CONFORMANCE.md", Title: "the server has the hooks of the kit", Result: Fail})
		}
		if f.json {
			err = r.writeJSON(stdout)
		} else {
			err = r.writeText(stdout, f.all)
		}
		if err == nil && r.Failed > 0 {
			return ErrFailed
		}
		return err
	}
	return cmd
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
	flags.BoolVar(&f.secure, "tls", false, "speak TLS")
	flags.StringVar(&f.ca, "tls-ca", "", "PEM `FILE` with the authorities of the server's certificate (default the system's)")
	flags.StringVar(&f.cert, "tls-cert", "", "PEM `FILE` with a certificate to present")
	flags.StringVar(&f.key, "tls-key", "", "PEM `FILE` with its key")
	flags.StringVar(&f.name, "tls-server-name", "", "`NAME` in the server's certificate (default the address's host)")
}

func (f *flags) complete(args []string) error {
	if !slices.Contains([]string{"", native, tyk}, f.o.Protocol) {
		return fmt.Errorf("--protocol: %q: want native or tyk", f.o.Protocol)
	}
	if f.o.Patience <= 0 {
		return errors.New("--timeout must be positive")
	}
	f.o.Command = args
	if _, err := address.Parse(args[0]); err == nil && len(args) == 1 {
		f.o.Address, f.o.Command = args[0], nil
	}
	if !f.secure && f.ca == "" && f.cert == "" && f.key == "" && f.name == "" {
		return nil
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

func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeText writes a table. all says whether cases that passed or were skipped are in it.
func (r *Report) writeText(w io.Writer, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows := 0
	skipped := map[string]int{} // by reason
	for _, c := range r.Cases {
		if c.Result == Skip {
			skipped[c.Details[0]]++
		}
		if !all && (c.Result == Pass || c.Result == Skip) {
			continue
		}
		if rows++; rows == 1 {
			fmt.Fprintln(table, "RESULT\tCASE\tSECTION\tWHAT")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", c.Result, c.ID, c.Section, c.Title)
		for _, d := range c.Details {
			fmt.Fprintf(table, "\t\t\t  %s\n", strings.ReplaceAll(d, "\n", " "))
		}
	}
	if rows > 0 {
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, why := range slices.Sorted(maps.Keys(skipped)) {
		fmt.Fprintf(w, "%d cases skipped: %s\n", skipped[why], why)
	}
	who := r.Target
	if r.Name != "" {
		who = fmt.Sprintf("%s %s (%s)", r.Name, r.Version, r.Target)
	}
	_, err := fmt.Fprintf(w, "%s speaks %s: %d passed, %d failed, %d warned, %d skipped\n", who, strings.Join(r.Protocols, " and "), r.Passed, r.Failed, r.Warned, r.Skipped)
	return err
}
