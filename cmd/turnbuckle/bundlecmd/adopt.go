package bundlecmd

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
)

// adoptFlags are those of adopt.
type adoptFlags struct {
	releaseFlags
	keys                  keyFlags
	name, version, output string
	asJSON                bool
}

func adoptCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt FILE",
		Short: "Vouch for a bundle of Tyk as it is, without touching it",
		Long: `Adopt writes a countersignature, FILE.dsse.json, that vouches for every byte of a bundle of Tyk: its files, and which of
them run where, which Tyk's own signature does not cover. Both files go to where the gateway finds the bundle. What you vouch
for is printed: look at it.

Unless --version says otherwise the release's version is the time, like 2026.1123.91803, so that adopting again makes a
newer release.`,
		Example: `  turnbuckle bundle adopt old.zip --key release.key
  turnbuckle bundle adopt old.zip --key release.key --name acme/old --version 2.0.0`,
		Args: cobra.ExactArgs(1),
	}
	f := &adoptFlags{}
	f.releaseFlags.add(cmd)
	f.keys.add(cmd, "key", "secret key `FILE` to sign with, repeated for several")
	_ = cmd.MarkFlagRequired("key")
	cmd.Flags().StringVar(&f.name, "name", "", "`NAME` that definitions ask for (default that of the file)")
	cmd.Flags().StringVar(&f.version, "version", "", "`VERSION` of the release (default that in the file's name, or the time)")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "`FILE` to write (default FILE.dsse.json)")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return f.run(e, args[0]) }
	return cmd
}

// calendarVersion is a time as a version: a later one is a higher one.
func calendarVersion(t time.Time) string {
	t = t.UTC()
	return fmt.Sprintf("%d.%d.%d", t.Year(), int(t.Month())*100+t.Day(), t.Hour()*10000+t.Minute()*100+t.Second())
}

func (f *adoptFlags) run(e console.Env, file string) error {
	got, err := readArchive(file)
	if err != nil {
		return err
	}
	name, version := manifest.Identity(filepath.Base(file))
	if f.name != "" {
		name, _ = manifest.Identity(f.name)
	}
	if f.version != "" {
		version = f.version
	}
	if version == "" {
		version = calendarVersion(e.Now())
	}
	release, err := f.release(e, name, version)
	if err != nil {
		return err
	}
	keys, err := f.keys.read(e)
	if err != nil {
		return err
	}
	adoption, err := bundles.Adopt(got.Archive, release, keys[0], limits())
	if err != nil {
		return err
	}
	envelope, err := sign.DecodeEnvelope(adoption, manifest.AdoptionType, limits().Envelope)
	for _, key := range keys[1:] {
		if err == nil {
			envelope, err = envelope.Sign(key)
		}
	}
	if err == nil {
		adoption, err = envelope.Encode()
	}
	if err != nil {
		return err
	}
	if f.output == "" {
		f.output = file + bundles.AdoptionSuffix
	}
	if err := replaceFile(f.output, adoption); err != nil {
		return err
	}
	seen, err := bundles.Inspect(got.Archive, limits())
	if err != nil {
		return err
	}
	if f.asJSON {
		return e.JSON(map[string]any{
			"file": f.output, "name": name, "version": version, "digest": envelope.Digest(), "archive_sha256": seen.ArchiveSHA256, "tyk": seen.Tyk,
		})
	}
	e.Say("%s vouches for %s as %s %s, with what is in it:", f.output, file, name, version)
	return hooksOf(e, seen)
}
