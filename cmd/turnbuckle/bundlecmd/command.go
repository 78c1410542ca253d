// Package bundlecmd is `turnbuckle bundle`: it makes keys, builds, signs, verifies, adopts and distributes bundles, and
// shows and changes what a gateway trusts.
package bundlecmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/ringcmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/statecmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// Command returns the command. An error that is console.ErrSaid has been told. running asks the gateway that runs what it
// has loaded.
func Command(e console.Env, running statecmd.Gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Build, sign, verify and distribute bundles, and say whom the gateway trusts",
		Long: `A bundle is a plugin folder in one file, signed by whoever vouches for it. The gateway loads it only if it verifies.

The exit code is 0 when all is well, 1 when something is refused or fails, 2 when the command is not understood. A refusal
has a code, such as signature_invalid, which does not change from release to release; --json has it as "reason".`,
		Example: `  turnbuckle bundle keygen release
  turnbuckle bundle build ./my-plugin -o my-plugin-1.0.0.zip --sign release.key
  turnbuckle bundle verify my-plugin-1.0.0.zip --public-key release.pub
  turnbuckle bundle adopt old.zip --key release.key
  turnbuckle bundle status`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		keygenCommand(e), buildCommand(e), signCommand(e), verifyCommand(e), inspectCommand(e), adoptCommand(e), pushCommand(e),
		pullCommand(e), indexCommand(e),
	)
	cmd.AddCommand(ringcmd.Commands(e)...)
	cmd.AddCommand(statecmd.Commands(e, running)...)
	advise(cmd)
	return cmd
}

// advise makes refusals of all commands below come with their advice as a hint.
func advise(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		advise(sub)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if err == nil {
				return nil
			}
			text, advice := console.Advised(err)
			if better := hint.Of(err); better != "" {
				advice = better
			}
			if advice == "" {
				return err
			}
			return hint.New(told{err, text}, advice)
		}
	}
}

// told is an error with another text.
type told struct {
	error
	text string
}

func (t told) Error() string { return t.text }

// Unwrap returns the error as it was.
func (t told) Unwrap() error { return t.error }

func limits() archive.Limits { return archive.DefaultLimits() }

// keyFlags are those of commands that sign.
type keyFlags struct {
	files      []string
	passphrase string
}

func (k *keyFlags) add(cmd *cobra.Command, name, help string) {
	cmd.Flags().StringArrayVar(&k.files, name, nil, help)
	cmd.Flags().StringVar(&k.passphrase, "passphrase-file", "", "`FILE` with the passphrase of the secret keys ($TURNBUCKLE_KEY_PASSPHRASE; asked for on a terminal)")
}

func (k *keyFlags) read(e console.Env) ([]sign.SecretKey, error) {
	return e.SecretKeys(k.files, k.passphrase)
}

// readArchive reads an archive and what lies beside it.
func readArchive(path string) (source.Fetched, error) {
	return source.ReadFile(path, source.DefaultLimits())
}

func keygenCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen NAME",
		Short: "Make a key pair: NAME.key, which signs, and NAME.pub, which verifies",
		Long: `Keygen writes NAME.key, readable by you alone, and NAME.pub, and overwrites neither. On a terminal it asks for a
passphrase; keep the secret key where bundles are released, and give the public one to gateways.`,
		Example: `  turnbuckle bundle keygen release
  turnbuckle bundle keygen release --algorithm ecdsa-p256-sha256 --passphrase-file passphrase`,
		Args: cobra.ExactArgs(1),
	}
	algorithm := cmd.Flags().String("algorithm", string(sign.Ed25519), "`ALGORITHM`: ed25519, ecdsa-p256-sha256 or rsa-pss-sha256")
	file := cmd.Flags().String("passphrase-file", "", "`FILE` with the passphrase for the secret key ($TURNBUCKLE_KEY_PASSPHRASE; asked for on a terminal)")
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		phrase, err := e.NewPassphrase(*file)
		if err != nil {
			return err
		}
		key, err := sign.Generate(sign.Algorithm(*algorithm))
		if err != nil {
			return hint.New(err, "ed25519 is what most want; the others are for devices that know no better")
		}
		if err := sign.WriteKeyPair(args[0], key, phrase); err != nil {
			return hint.New(err, "give another NAME in a folder that is there; a secret key that is overwritten is lost")
		}
		if *asJSON {
			return e.JSON(map[string]any{
				"id": key.Public().ID(), "algorithm": key.Public().Algorithm(), "secret": args[0] + ".key", "public": args[0] + ".pub", "passphrase": len(phrase) > 0,
			})
		}
		e.Say("%s.key signs: keep it to yourself", args[0])
		e.Say("%s.pub verifies: give it to gateways", args[0])
		e.Say("key id %s", key.Public().ID())
		if len(phrase) == 0 {
			e.Note("the secret key has no passphrase: whoever can read the file can sign")
		}
		return nil
	}
	return cmd
}

// replaceFile writes a file that may be there already.
func replaceFile(path string, data []byte) error {
	if err := console.WriteFile(path, data, true); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// archivesOf are the archives that arguments name: files, and those below folders.
func archivesOf(args []string) ([]string, error) {
	var all []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() {
			all = append(all, arg)
			continue
		}
		err = filepath.WalkDir(arg, func(path string, entry os.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".zip") {
				all = append(all, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
