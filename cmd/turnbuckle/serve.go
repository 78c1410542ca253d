package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/run"
)

func serveCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Serve reads the settings, a folder of API definitions and the plugin folders, and serves until it is told
to stop with SIGTERM or Ctrl-C. Then it is not ready any more (/ready answers 503), goes on serving for
--shutdown-delay, takes no more connections, and ends when what is in flight has, at most --drain-timeout later;
a second Ctrl-C ends it at once. SIGHUP, or a change of the files, makes it read settings, definitions and
plugin folders again without failing a request; SIGHUP also opens the access log's file anew.

Settings come from flags, then environment variables (see "turnbuckle settings"), then what was changed in the running
gateway ("turnbuckle settings set"), then the settings file.`,
		Example: `  turnbuckle serve --listen 127.0.0.1:8080 --apis ./apis
  turnbuckle serve --plugin-server tcp://127.0.0.1:5555
  turnbuckle serve --config turnbuckle.yaml --admin-listen 127.0.0.1:8081 --admin-secret-file secret`,
		Args: cobra.NoArgs,
	}
	dumpable := cmd.Flags().Bool("dumpable", false, "allow core dumps, and debuggers of the same user; plugins of that user can read the gateway's secrets then (Linux)")
	source := addSettingFlags(cmd, e)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !*dumpable {
			if err := hideProcess(); err != nil { // a sandbox may forbid it: not a reason to serve nobody
				fmt.Fprintf(e.stderr, "turnbuckle: warning: %v\n", err)
			}
		}
		src := source()
		loaded, err := src.Load()
		if err != nil {
			return err
		}
		if err := loaded.Problems.Err(); err != nil {
			return hint.New(fmt.Errorf("the settings are refused:\n%w", err), "turnbuckle check lists every problem")
		}
		return run.Serve(cmd.Context(), run.Options{
			Source: src, Loaded: loaded, Stdout: e.stdout, Stderr: e.stderr, Version: version,
		})
	}
	return cmd
}
