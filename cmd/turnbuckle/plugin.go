package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/plugintest"
)

// pluginCommand is for those who write plugins.
func pluginCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugin",
		Short: "For authors of plugins: run a script without a gateway",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	test := plugintest.Command(e.stdout, e.stderr)
	run := test.RunE
	test.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		if errors.Is(err, plugintest.ErrFailed) {
			return errSilent
		}
		return err
	}
	cmd.AddCommand(test)
	return cmd
}
