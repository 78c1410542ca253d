// Command turnbuckle is the gateway and its tools.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/client"
	_ "github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/early" // this process may be to keep a plugin server that a gateway starts
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/isolate"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// version is set by the build.
var version = "devel"

func main() {
	if isolate.Wanted(os.Args) { // to run a script for a gateway
		os.Exit(runScript())
	}
	os.Exit(execute(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// runScript is the life of a script's process.
func runScript() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return isolate.Main(ctx, os.Args, os.Getenv, os.Stderr)
}

// Exit codes.
const (
	exitFine   = 0
	exitFailed = 1
	exitUsage  = 2
)

// env is the world a command runs in.
type env struct {
	environ        []string
	stdout, stderr io.Writer

	known []config.Setting // see settings
}

// settings are all that there are. Several commands have flags for them, and listing them costs half a millisecond.
func (e *env) settings() []config.Setting {
	if e.known == nil {
		e.known = config.AllSettings()
	}
	return e.known
}

// silence takes what a library would write to stderr in a form of its own.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// errSilent ends a command with exit code 1 after it has said what is wrong itself.
var errSilent = errors.New("failed")

// newRoot returns the program's command with all below it.
func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "turnbuckle",
		Short: "An HTTP gateway with hooks for plugins in any language",
		Long: `Turnbuckle is an HTTP gateway with five hooks, pre, auth, post_key_auth, post and response, for
plugins in any language.`,
		Example: `  turnbuckle serve --listen 127.0.0.1:8080 --apis ./apis
  turnbuckle serve --plugin-server tcp://127.0.0.1:5555
  turnbuckle check --apis ./apis
  turnbuckle plugin new --lang js greeter && turnbuckle plugin run greeter
  turnbuckle key create --api shop --rate 10 --per 1s
  turnbuckle proto export ./proto`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(serveCommand(e), checkCommand(e), pluginCommand(e), bundleCommand(e), protoCommand(e), settingsCommand(e))
	root.AddCommand(client.Commands(client.Env{Environ: e.environ, Stdin: os.Stdin, Stdout: e.stdout, Stderr: e.stderr})...)
	return root
}

func execute(args, environ []string, stdout, stderr io.Writer) int {
	js.BoundPatterns()
	redis.SetLogger(silence{}) // what it has to say of connections, the store's status tells
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) }) // who presses Ctrl-C again will not wait
	e := &env{environ: environ, stdout: stdout, stderr: stderr}
	usage := false
	root := newRoot(e)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { usage = true; return err })
	root.SetUsageFunc(usageOf)
	root.CompletionOptions.HiddenDefaultCmd = true
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitFine
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(stderr, "turnbuckle: error: %v\n", err)
		if advice := hint.Of(err); advice != "" {
			fmt.Fprintf(stderr, "turnbuckle: hint: %s\n", advice)
		}
	}
	if usage || strings.HasPrefix(err.Error(), "unknown command") || strings.Contains(err.Error(), "arg(s)") {
		fmt.Fprintf(stderr, "turnbuckle: hint: see '%s --help'\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}
