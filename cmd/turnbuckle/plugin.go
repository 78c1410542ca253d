package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/client"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/plugincmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/pluginrun"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/plugintest"
)

// pluginCommand is for those who write plugins, and those who run them.
func pluginCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "Begin a plugin, try it, hold it to the protocol; list and restart those of a running gateway",
		Example: `  turnbuckle plugin new --lang js greeter
  turnbuckle plugin run greeter
  turnbuckle plugin test greeter/main.js --sample greeter/test.yaml
  turnbuckle plugin conform ./my-server
  turnbuckle plugin list --admin-secret-file secret`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		silently(plugintest.Command(e.stdout, e.stderr), plugintest.ErrFailed),
		silently(conform.Command(e.stdout), conform.ErrFailed),
		plugincmd.Command(e.stdout, version),
		silently(pluginrun.Command(pluginrun.Env{Environ: e.environ, Stdout: e.stdout, Stderr: e.stderr, Version: version}), pluginrun.ErrFailed),
	)
	cmd.AddCommand(client.PluginCommands(client.Env{Environ: e.environ, Stdin: os.Stdin, Stdout: e.stdout, Stderr: e.stderr})...)
	return cmd
}

// silently makes an error that the command has shown itself one that is not shown again.
func silently(cmd *cobra.Command, shown error) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if errors.Is(err, shown) {
			return errSilent
		}
		return err
	}
	return cmd
}
