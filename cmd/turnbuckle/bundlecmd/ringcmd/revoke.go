package ringcmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/statecmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

func rotateCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate OLD NEW",
		Short: "Let a new key take over from an old one, with both counting for a while",
		Long: `Rotate publishes a key ring in which the new key signs everything that the old one does, and the old one ends after
the overlap. Until then sign with both, or sign what runs again: --dry-run says what would not load if the old key ended at
once, which --overlap 0 does.

Gateways that have no key ring are given both keys, --public-key old.pub --public-key new.pub, and later the new one alone.`,
		Example: `  turnbuckle bundle rotate release.pub release-2027.pub --keyring ring --key root.key
  turnbuckle bundle rotate release.pub release-2027.pub --keyring ring --dry-run --overlap 0s --bundles plugins.d`,
		Args: cobra.ExactArgs(2),
	}
	c := &change{e: e}
	c.add(cmd, "")
	overlap := cmd.Flags().Duration("overlap", 30*24*time.Hour, "`TIME` for which the old key still counts")
	cmd.Flags().StringVar(&c.dir, "keyring", "", "`FOLDER` of the key ring")
	_ = cmd.MarkFlagRequired("keyring")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		old, err := keyID(args[0])
		if err != nil {
			return err
		}
		next, err := publicKey(args[1])
		if err != nil {
			return err
		}
		return c.run(cmd.Context(), func(r *trust.KeyRing) error { return rotate(r, old, next, e.Now().Add(*overlap)) })
	}
	return cmd
}

func revokeCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Let a key or a release count no more",
		Long: `Revoke publishes a new key ring without what is revoked (--keyring), or tells one gateway alone (--data). A gateway
refuses what is revoked from then on, without a restart.`,
		Example: "  turnbuckle bundle revoke key --help\n  turnbuckle bundle revoke release --help",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(revokeKeyCommand(e), revokeReleaseCommand(e))
	return cmd
}

// revokeFlags are those of both.
type revokeFlags struct {
	change
	data string
}

func (f *revokeFlags) add(cmd *cobra.Command) {
	f.change.add(cmd, "")
	cmd.Flags().StringVar(&f.dir, "keyring", "", "`FOLDER` of the key ring that says so to all gateways")
	cmd.Flags().StringVar(&f.data, "data", "", "`FOLDER` of data of the one gateway that is told")
	cmd.MarkFlagsOneRequired("keyring", "data")
	cmd.MarkFlagsMutuallyExclusive("keyring", "data")
}

// revoke does it where the flags say.
func (f *revokeFlags) revoke(cmd *cobra.Command, what trust.Revoked, told string) error {
	if f.dir != "" {
		return f.run(cmd.Context(), func(r *trust.KeyRing) error {
			r.Revoked.Keys = append(r.Revoked.Keys, what.Keys...)
			r.Revoked.Bundles = append(r.Revoked.Bundles, what.Bundles...)
			r.Revoked.Serials = append(r.Revoked.Serials, what.Serials...)
			return nil
		})
	}
	if f.dryRun {
		return hint.New(errors.New("--dry-run is for key rings"), "turnbuckle bundle status shows which keys vouch for what")
	}
	state, err := statecmd.OpenState(f.data)
	if err != nil {
		return err
	}
	if err := state.Revoke(what); err != nil {
		return err
	}
	if f.asJSON {
		return f.e.JSON(what)
	}
	f.e.Say("%s", told)
	return nil
}

func revokeKeyCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key KEY",
		Short: "Let a key count no more, given as a file or by its id",
		Long: `Key revokes a key: whatever it signed, or with --created-after only what says that it was made after a time. Whoever
stole a key can lie about that time: use it where the key is known to be lost since, and what matters is signed again.`,
		Example: `  turnbuckle bundle revoke key release.pub --reason stolen --keyring ring --key root.key
  turnbuckle bundle revoke key release.pub --reason stolen --keyring ring --dry-run
  turnbuckle bundle revoke key release.pub --reason stolen --data data`,
		Args: cobra.ExactArgs(1),
	}
	f := &revokeFlags{change: change{e: e}}
	f.add(cmd)
	after := cmd.Flags().String("created-after", "", "`TIME` until which what it signed still counts (default: nothing counts)")
	reason := cmd.Flags().String("reason", "", "`TEXT` for whoever asks later")
	_ = cmd.MarkFlagRequired("reason")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := keyID(args[0])
		if err != nil {
			return err
		}
		at, err := e.Time(*after)
		if err != nil {
			return err
		}
		return f.revoke(cmd, trust.RevokeKey(id, at, *reason), fmt.Sprintf("key %s counts no more for this gateway", console.Short(id)))
	}
	return cmd
}

func revokeReleaseCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release RELEASE...",
		Short: "Let releases count no more",
		Long: `Release revokes releases: a bundle's file, the digest of a bundle or of an archive, NAME@VERSION, or
NAME@VERSION..VERSION for all between two versions. Versions stand for the serials that build gives them.`,
		Example: `  turnbuckle bundle revoke release guard-1.2.3.zip --keyring ring --key root.key
  turnbuckle bundle revoke release guard@1.0.0..1.2.3 --data data`,
		Args: cobra.MinimumNArgs(1),
	}
	f := &revokeFlags{change: change{e: e}}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var what trust.Revoked
		for _, arg := range args {
			if err := parseRelease(&what, arg); err != nil {
				return err
			}
		}
		slices.Sort(what.Bundles)
		what.Bundles = slices.Compact(what.Bundles)
		return f.revoke(cmd, what, strings.Join(args, ", ")+" is refused by this gateway from now on")
	}
	return cmd
}

// parseRelease adds what an argument names.
func parseRelease(what *trust.Revoked, arg string) error {
	if manifest.IsSHA256(arg) {
		what.Bundles = append(what.Bundles, arg)
		return nil
	}
	if name, versions, ok := strings.Cut(arg, "@"); ok {
		from, to, isRange := strings.Cut(versions, "..")
		if !isRange {
			to = from
		}
		first, err := manifest.SerialOf(from)
		if err != nil {
			return err
		}
		last, err := manifest.SerialOf(to)
		if err != nil {
			return err
		}
		what.Serials = append(what.Serials, trust.SerialRange{Name: name, From: first, To: last})
		return nil
	}
	got, err := source.ReadFile(arg, source.DefaultLimits())
	if err != nil {
		return hint.New(err, "name a bundle's file, a digest, NAME@VERSION or NAME@VERSION..VERSION")
	}
	seen, err := bundles.Inspect(got.Archive, archive.DefaultLimits())
	if err != nil {
		return err
	}
	what.Bundles = append(what.Bundles, seen.ArchiveSHA256)
	if seen.Digest != "" {
		what.Bundles = append(what.Bundles, seen.Digest)
	}
	return nil
}
