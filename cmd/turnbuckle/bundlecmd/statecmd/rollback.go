package statecmd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// rollbackFlags are those of rollback.
type rollbackFlags struct {
	to, until, reason, data string
	cancel                  bool
}

func rollbackCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Let an older release load for a while, on purpose",
		Long: `Rollback lets the gateway load one older release although it has seen a newer one, until a time, for a reason that status
shows. It still must verify. Put its file to where the gateway finds the bundle; the gateway need not be restarted. After
that time the release is refused when it is to be loaded anew: build the old content with a new version before.`,
		Example: `  turnbuckle bundle rollback guard --to guard-1.2.2.zip --until 72h --reason 'guard 1.2.3 leaks memory'
  turnbuckle bundle rollback guard --cancel`,
		Args: cobra.ExactArgs(1),
	}
	f := &rollbackFlags{}
	cmd.Flags().StringVar(&f.to, "to", "", "`FILE` of the release, or the digest of what is signed in it")
	cmd.Flags().StringVar(&f.until, "until", "24h", "`TIME` at which it ends, or so long from now")
	cmd.Flags().StringVar(&f.reason, "reason", "", "`TEXT` for whoever asks later")
	cmd.Flags().StringVar(&f.data, "data", "data", "the gateway's `FOLDER` of data")
	cmd.Flags().BoolVar(&f.cancel, "cancel", false, "take it back")
	cmd.MarkFlagsOneRequired("to", "cancel")
	cmd.MarkFlagsMutuallyExclusive("to", "cancel")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return f.run(e, args[0]) }
	return cmd
}

func (f *rollbackFlags) run(e console.Env, asked string) error {
	state, err := OpenState(f.data)
	if err != nil {
		return err
	}
	name, _ := manifest.Identity(asked)
	if f.cancel {
		return cancel(e, state, name)
	}
	if f.reason == "" {
		return errors.New("--reason is missing: say why, for whoever asks later")
	}
	until, err := e.Time(f.until)
	if err != nil {
		return err
	}
	to, err := f.target(name)
	if err != nil {
		return err
	}
	seen, err := state.State()
	if err != nil {
		return err
	}
	newest, known := seen.Names[name]
	if !known {
		e.Note("no release of %s was seen yet: it loads without a rollback", name)
	}
	if err := state.Rollback(trust.Override{Name: name, Digest: to, Until: manifest.At(until), Reason: f.reason}, e.Now()); err != nil {
		return err
	}
	e.Say("%s may load %s until %s, although %s was seen", name, console.Short(to), until.UTC().Format("2006-01-02 15:04:05"), newest.Version)
	return nil
}

// target is the digest of what to go back to.
func (f *rollbackFlags) target(name string) (string, error) {
	if manifest.IsSHA256(f.to) {
		return f.to, nil
	}
	got, err := source.ReadFile(f.to, source.DefaultLimits())
	if err != nil {
		return "", hint.New(err, "give the release's file, or its digest: turnbuckle bundle inspect shows it")
	}
	l, err := bundles.List(got.Archive, got.Adoption, archive.DefaultLimits())
	if err != nil {
		return "", err
	}
	if l.Name != name {
		return "", fmt.Errorf("%s is a release of %q, not of %q", f.to, l.Name, name)
	}
	return l.Digest, nil
}

func cancel(e console.Env, state *trust.StateFile, name string) error {
	had := false
	err := state.Update(func(s *trust.State) error {
		n := len(s.Overrides)
		s.Overrides = slices.DeleteFunc(s.Overrides, func(o trust.Override) bool { return o.Name == name })
		had = len(s.Overrides) < n
		return nil
	})
	if err == nil && !had {
		return fmt.Errorf("there is no rollback of %q", name)
	}
	if err == nil {
		e.Say("the rollback of %s is taken back", name)
	}
	return err
}
