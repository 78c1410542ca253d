package bundlecmd

import (
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/registry"
)

const addresses = `An ADDRESS is oci://REGISTRY/REPOSITORY with perhaps :TAG or @sha256:DIGEST behind it, or oci-layout:FOLDER[:TAG], a
folder in OCI's image layout for places without a network. Passwords are those that docker login, podman login or skopeo
login stored ($DOCKER_CONFIG); each registry gets its own.`

func registryOptions(e console.Env, plainHTTP bool, what string) registry.Options {
	return registry.Options{Limits: source.DefaultLimits(), PlainHTTP: plainHTTP, Progress: e.Progress(what)}
}

func pushCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push FILE ADDRESS",
		Short: "Put a bundle into an OCI registry",
		Long: `Push puts a bundle, unchanged, into an OCI registry, and the countersignature that lies beside a bundle of Tyk with it.
Without a TAG it gets its version as a tag, and latest, unless it is a pre-release. A version that is there with other
content is refused.

` + addresses,
		Example: `  turnbuckle bundle push guard-1.2.3.zip oci://registry.example/acme/guard
  turnbuckle bundle push old.zip oci-layout:./bundles`,
		Args: cobra.ExactArgs(2),
	}
	plain := cmd.Flags().Bool("plain-http", false, "speak http, which anybody on the way can change")
	replace := cmd.Flags().Bool("replace", false, "let a version's tag name other content from now on")
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		release, err := releaseOf(args[0])
		if err != nil {
			return err
		}
		pushed, err := registry.Push(cmd.Context(), args[1], release, *replace, registryOptions(e, *plain, "push"))
		if err != nil {
			return err
		}
		if *asJSON {
			return e.JSON(pushed)
		}
		e.Say("%s", pushed.Address)
		for _, tag := range pushed.Tags {
			e.Say("tag %s", tag)
		}
		return nil
	}
	return cmd
}

// releaseOf reads an archive and says what it is. Nobody is asked whether that is true.
func releaseOf(file string) (registry.Release, error) {
	got, err := readArchive(file)
	if err != nil {
		return registry.Release{}, err
	}
	out := registry.Release{Archive: got.Archive, Adoption: got.Adoption}
	seen, err := bundles.Inspect(got.Archive, limits())
	if err != nil {
		return out, err
	}
	var release manifest.Release
	switch {
	case seen.Bundle != nil:
		release = seen.Bundle.Release
	case got.Adoption == nil:
		out.Name, out.Version = manifest.Identity(path.Base(file))
		return out, nil
	default:
		e, err := sign.DecodeEnvelope(got.Adoption, manifest.AdoptionType, limits().Envelope)
		if err != nil {
			return out, err
		}
		a, err := manifest.ParseAdoption(e.Payload)
		if err != nil {
			return out, err
		}
		release = a.Release
	}
	out.Name, out.Version, out.Created = release.Name, release.Version, release.Created.Time
	return out, nil
}

func pullCommand(e console.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull ADDRESS",
		Short: "Fetch a bundle out of an OCI registry",
		Long: `Pull fetches a bundle and writes it, and its countersignature if it has one. A tag is asked once; what came is named by its
digest. Whether to believe it, verify says.

` + addresses,
		Example: `  turnbuckle bundle pull oci://registry.example/acme/guard:1.2.3 -o guard-1.2.3.zip
  turnbuckle bundle pull oci-layout:./bundles:acme/guard:1.2.3`,
		Args: cobra.ExactArgs(1),
	}
	output := cmd.Flags().StringP("output", "o", "", "`FILE` to write (default NAME-VERSION.zip)")
	force := cmd.Flags().BoolP("force", "f", false, "overwrite the file")
	plain := cmd.Flags().Bool("plain-http", false, "speak http, which anybody on the way can change")
	asJSON := cmd.Flags().Bool("json", false, "write JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pulled, err := registry.Pull(cmd.Context(), args[0], registryOptions(e, *plain, "pull"))
		if err != nil {
			return err
		}
		file := *output
		if file == "" {
			if file, err = fileName(pulled.Fetched); err != nil {
				return err
			}
		}
		if err := console.WriteFile(file, pulled.Archive, *force); err != nil {
			return hint.New(err, "--force overwrites it, -o names another file")
		}
		if pulled.Adoption != nil {
			if err := console.WriteFile(file+bundles.AdoptionSuffix, pulled.Adoption, *force); err != nil {
				return err
			}
		}
		if *asJSON {
			return e.JSON(map[string]any{"file": file, "address": pulled.Origin, "digest": pulled.Digest, "adopted": pulled.Adoption != nil})
		}
		e.Say("%s: %s", file, pulled.Origin)
		return nil
	}
	return cmd
}

// fileName is what a bundle is called as a file: it has been checked to be no path.
func fileName(got source.Fetched) (string, error) {
	seen, err := bundles.Inspect(got.Archive, limits())
	if err != nil {
		return "", err
	}
	if seen.Bundle == nil {
		return "", hint.New(fmt.Errorf("a bundle of Tyk does not say its name"), "name the file with -o")
	}
	return path.Base(seen.Bundle.Name) + "-" + seen.Bundle.Version + ".zip", nil
}
