package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/plugincmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/pluginrun"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/plugintest"
)

// pluginCommand is for those who write plugins.
func pluginCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "For authors of plugins: begin one, run a script without a gateway, hold a server to the protocol",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		silently(plugintest.Command(e.stdout, e.stderr), plugintest.ErrFailed),
		silently(conform.Command(e.stdout), conform.ErrFailed),
		plugincmd.Command(e.stdout, version),
		silently(pluginrun.Command(pluginrun.Env{Environ: e.environ, Stdout: e.stdout, Stderr: e.stderr, Version: version}), pluginrun.ErrFailed),
	)
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
