package bundlecmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// releaseFlags say what a release is besides its name and version.
type releaseFlags struct {
	serial, epoch     uint64
	created, notAfter string
}

func (r *releaseFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Uint64Var(&r.serial, "serial", 0, "`NUMBER` that orders the releases of a name (default: of the version)")
	flags.Uint64Var(&r.epoch, "epoch", 1, "`NUMBER` that the key ring says for the name")
	flags.StringVar(&r.created, "created", "", "`TIME` the release was made ($SOURCE_DATE_EPOCH) (default now)")
	flags.StringVar(&r.notAfter, "not-after", "", "`TIME` from which on it is not loaded any more, or so long from now, like 8760h (default never)")
}

func (r *releaseFlags) release(e console.Env, name, version string) (bundles.Release, error) {
	out := bundles.Release{Name: name, Version: version, Serial: r.serial, Epoch: r.epoch, Created: e.Now()}
	var err error
	if out.NotAfter, err = e.Time(r.notAfter); err != nil {
		return out, err
	}
	if r.created != "" {
		out.Created, err = e.Time(r.created)
		return out, err
	}
	if text := e.Lookup("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return out, fmt.Errorf("$SOURCE_DATE_EPOCH: %w", err)
		}
		out.Created = time.Unix(seconds, 0)
	}
	return out, nil
}

// buildFlags are those of build.
type buildFlags struct {
	releaseFlags
	keys         keyFlags
	output, name string
	platforms    []string
	requires     manifest.Requires
	force        bool
	asJSON       bool
}

func buildCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "build FOLDER",
		Short: "Pack a plugin's folder into a bundle, and sign it",
		Long: `Build packs a folder with a plugin.yaml that says name and version into one file. Files and folders whose names begin
with a dot are left out, links are refused. What it wrote has been verified: with the keys that signed it, it loads. The same
files, options and --created give the same bytes.`,
		Example: `  turnbuckle bundle build ./my-plugin -o my-plugin-1.0.0.zip --sign release.key
  turnbuckle bundle build ./my-plugin --name acme/my-plugin --sign release.key --sign security.key
  turnbuckle bundle build ./my-plugin --platform linux/amd64 --requires-host 1.2.0 --sign release.key`,
		Args: cobra.ExactArgs(1),
	}
	f := &buildFlags{}
	f.releaseFlags.add(cmd)
	f.keys.add(cmd, "sign", "secret key `FILE` to sign with, repeated for several (default none: nobody vouches for it)")
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "`FILE` to write (default NAME-VERSION.zip)")
	flags.StringVar(&f.name, "name", "", "`NAME` of the bundle: that of plugin.yaml, or one of a folder like acme/guard (default that of plugin.yaml)")
	flags.StringSliceVar(&f.platforms, "platform", nil, "`PLATFORMS` like linux/amd64 that it is for (default all)")
	flags.StringVar(&f.requires.Host, "requires-host", "", "lowest `VERSION` of the gateway (default any)")
	flags.StringVar(&f.requires.Sandbox, "requires-sandbox", "", "sandbox `PROFILE` without which it must not run (default none)")
	flags.BoolVarP(&f.force, "force", "f", false, "overwrite the file")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return f.run(e, args[0]) }
	return cmd
}

func (f *buildFlags) run(e console.Env, folder string) error {
	name, version, err := f.describe(e, folder)
	if err != nil {
		return err
	}
	if f.output == "" {
		f.output = strings.ReplaceAll(name, "/", "-") + "-" + version + ".zip"
	}
	if within(folder, f.output) {
		return hint.New(refusal.New(refusal.BuildFolder, "%s would be in the folder that is packed, and the next build would pack it", f.output), "-o names another place")
	}
	release, err := f.release(e, name, version)
	if err != nil {
		return err
	}
	keys, err := f.keys.read(e)
	if err != nil {
		return err
	}
	data, err := bundles.Build(folder, bundles.BuildOptions{Release: release, Platforms: f.platforms, Requires: f.requires, Limits: limits()})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if data, err = bundles.Sign(data, key, limits()); err != nil {
			return err
		}
	}
	built, err := bundles.Inspect(data, limits())
	if err != nil {
		return fmt.Errorf("what was built does not verify, which is our fault: %w", err)
	}
	if err := console.WriteFile(f.output, data, f.force); errors.Is(err, fs.ErrNotExist) {
		return hint.New(err, "make its folder")
	} else if err != nil {
		return hint.New(err, "--force overwrites it; a released version should keep its content")
	}
	if f.asJSON {
		return e.JSON(map[string]any{"file": f.output, "bundle": built})
	}
	e.Say("%s: %s %s, %d files, %d bytes, %s", f.output, name, version, len(built.Bundle.Files), len(data), signers(built.Signers))
	if len(keys) == 0 {
		e.Note("nobody has signed it: --sign, or turnbuckle bundle sign")
	}
	return nil
}

// within reports whether a file is below a folder, links followed where they can be.
func within(folder, file string) bool {
	real := func(path string) string {
		if followed, err := filepath.EvalSymlinks(path); err == nil {
			path = followed
		}
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute
		}
		return path
	}
	to, err := filepath.Rel(real(folder), filepath.Join(real(filepath.Dir(file)), filepath.Base(file)))
	return err == nil && filepath.IsLocal(to)
}

func signers(ids []string) string {
	if len(ids) == 0 {
		return "not signed"
	}
	return "signed by " + console.Shorts(ids)
}

// unbuilt says so when a plugin's program is not there: gateways build nothing, and refuse the bundle.
func (f *buildFlags) unbuilt(e console.Env, p *config.Plugin) {
	if len(p.Build) == 0 || len(p.Server.Start.Command) == 0 {
		return
	}
	program := p.Server.Start.Command[0]
	if _, err := os.Stat(program); strings.Contains(program, "/") && errors.Is(err, fs.ErrNotExist) {
		e.Note("its program %s is not packed, and no gateway will start it: run %q in the folder, and build the bundle again", filepath.Base(program), strings.Join(p.Build, " "))
	}
}

// describe reads what the bundle will be called, and checks the plugin as the gateway would.
func (f *buildFlags) describe(e console.Env, folder string) (name, version string, err error) {
	text, err := source.ReadDocument(filepath.Join(folder, manifest.PluginFile), manifest.MaxPluginFile)
	if refusal.CodeOf(err) == refusal.SourceMissing {
		return "", "", hint.New(refusal.New(refusal.PluginFile, "there is no %s", filepath.Join(folder, manifest.PluginFile)),
			"give a plugin's folder; turnbuckle plugin new makes one")
	}
	if err != nil {
		return "", "", err
	}
	plugin, version, err := bundled.Describe(text)
	if err != nil {
		return "", "", refusal.New(refusal.PluginFile, "%w", err)
	}
	if plugin == "" || version == "" {
		return "", "", hint.New(refusal.New(refusal.PluginFile, "%s in %s does not say both name and version", manifest.PluginFile, folder),
			"write lines like name: my-plugin and version: 1.0.0")
	}
	whole, problems := config.LoadPlugin(folder, func(key string) (string, bool) { v := e.Lookup(key); return v, v != "" })
	for _, p := range problems {
		if p.Severity != config.SeverityError {
			e.Note("%s", p.Error())
		}
	}
	if err := problems.Err(); err != nil {
		return "", "", refusal.New(refusal.PluginFile, "the plugin is not whole:\n%w", err)
	}
	f.unbuilt(e, whole)
	if f.name == "" {
		return plugin, version, nil
	}
	if name, _ = manifest.Identity(f.name); path.Base(name) != plugin {
		return "", "", refusal.New(refusal.PluginFile, "a bundle %q has a plugin named %q, %s says %q", name, path.Base(name), manifest.PluginFile, plugin)
	}
	return name, version, nil
}

// signFlags are those of sign.
type signFlags struct {
	keys                      keyFlags
	output                    string
	pae, signature, publicKey string
	asJSON                    bool
}

func signCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Add a signature to a bundle",
		Long: `Sign adds signatures to a bundle of ours and keeps those it has; one of the same key is replaced. A key that a device
keeps signs in two steps: --pae-out writes what is to be signed, --signature adds what the device made of it. The device
signs these bytes with Ed25519, ECDSA P-256 with SHA-256 (ASN.1), or RSA-PSS with SHA-256 and a salt of 32 bytes.
A bundle of Tyk is vouched for with adopt.`,
		Example: `  turnbuckle bundle sign my-plugin-1.0.0.zip --key release.key
  turnbuckle bundle sign my-plugin-1.0.0.zip --pae-out message
  openssl dgst -sha256 -sign ecdsa.pem -out signature message
  turnbuckle bundle sign my-plugin-1.0.0.zip --signature signature --public-key ecdsa.pub`,
		Args: cobra.ExactArgs(1),
	}
	f := &signFlags{}
	f.keys.add(cmd, "key", "secret key `FILE` to sign with, repeated for several")
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "`FILE` to write (default the same)")
	flags.StringVar(&f.pae, "pae-out", "", "write what a device has to sign into `FILE`, - for standard output, and nothing else")
	flags.StringVar(&f.signature, "signature", "", "`FILE` with the signature that a device made")
	flags.StringVar(&f.publicKey, "public-key", "", "`FILE` of the key that the device has")
	flags.BoolVar(&f.asJSON, "json", false, "write JSON")
	cmd.MarkFlagsOneRequired("key", "pae-out", "signature")
	cmd.MarkFlagsMutuallyExclusive("key", "pae-out", "signature")
	cmd.MarkFlagsRequiredTogether("signature", "public-key")
	cmd.RunE = func(_ *cobra.Command, args []string) error { return f.run(e, args[0]) }
	return cmd
}

func (f *signFlags) run(e console.Env, file string) error {
	from, err := readArchive(file)
	if err != nil {
		return err
	}
	if f.pae != "" {
		message, err := bundles.ToSign(from.Archive, limits())
		if err != nil {
			return err
		}
		if f.pae == "-" {
			_, err = e.Stdout.Write(message)
			return err
		}
		return replaceFile(f.pae, message)
	}
	data, err := f.signed(e, from.Archive)
	if err != nil {
		return err
	}
	if f.output == "" {
		f.output = file
	}
	if err := replaceFile(f.output, data); err != nil {
		return err
	}
	seen, err := bundles.Inspect(data, limits())
	if err != nil {
		return err
	}
	if f.asJSON {
		return e.JSON(map[string]any{"file": f.output, "signers": seen.Signers, "archive_sha256": seen.ArchiveSHA256})
	}
	e.Say("%s: %s", f.output, signers(seen.Signers))
	return nil
}

func (f *signFlags) signed(e console.Env, data []byte) ([]byte, error) {
	if f.signature != "" {
		key, err := sign.ReadPublicKey(f.publicKey)
		if err != nil {
			return nil, err
		}
		signature, err := readSmall(f.signature)
		if err != nil {
			return nil, err
		}
		return bundles.AddSignature(data, key, signature, limits())
	}
	keys, err := f.keys.read(e)
	for _, key := range keys {
		if err == nil {
			data, err = bundles.Sign(data, key, limits())
		}
	}
	return data, err
}

// readSmall reads a file that cannot be long.
func readSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, 64<<10))
	return data, errors.Join(err, file.Close())
}
