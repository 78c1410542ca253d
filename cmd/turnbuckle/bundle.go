package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/client"
)

// bundleCommand is for those who publish plugins, and for those who say whom a gateway trusts.
func bundleCommand(e *env) *cobra.Command {
	cmd := bundlecmd.Command(console.Env{
		Environ: e.environ, Stdin: os.Stdin, Stdout: e.stdout, Stderr: e.stderr, Version: version, Now: time.Now,
	}, client.NewBundles(client.Env{Environ: e.environ, Stdin: os.Stdin, Stdout: e.stdout, Stderr: e.stderr}))
	quiet(cmd)
	return cmd
}

// quiet makes an error of a command below that has been told one that is not told again.
func quiet(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		quiet(sub)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if errors.Is(err, console.ErrSaid) {
				return errSilent
			}
			return err
		}
	}
}
