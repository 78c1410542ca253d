// Package statecmd has the commands that show what a gateway has seen, runs and would load, and those that change what it
// has seen: status and rollback.
package statecmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// Gateway asks the gateway that runs about its bundles.
type Gateway interface {
	// AddFlags offers the flags that say which gateway, and Asked reports whether they name one.
	AddFlags(cmd *cobra.Command)
	Asked() bool
	// Status decodes a shelf.Status, Try what of it would not load by another policy, in JSON: a list of bundled.Decision
	// under bundles.
	Status(ctx context.Context, into any) error
	Try(ctx context.Context, policy []byte, into any) error
}

// Commands are those of this package.
func Commands(e console.Env, running Gateway) []*cobra.Command {
	return []*cobra.Command{statusCommand(e, running), rollbackCommand(e)}
}

// AddTrustFlags offers the flags that say whom to believe, each with prefix before its name.
func AddTrustFlags(cmd *cobra.Command, t *bundled.Trust, prefix string) {
	f := cmd.Flags()
	f.StringArrayVar(&t.PublicKeys, prefix+"public-key", nil, "`FILE` of a key that may sign every name, ed25519, ECDSA or RSA, repeated for several")
	f.StringArrayVar(&t.AllowUnsigned, prefix+"allow-unsigned", nil, "`NAME`, exactly as a definition has it, that nobody need have signed, repeated for several")
	f.BoolVar(&t.TrustTykWiring, prefix+"trust-tyk-wiring", false, "take the manifest of bundles that Tyk signed, which that signature does not cover")
	f.StringVar(&t.Policy, prefix+"policy", "", "`FILE` of a trust policy, in place of the two before (default none)")
	f.StringVar(&t.KeyRing, prefix+"keyring", "", "`FOLDER` of a key ring's versions, or a file, in place of public keys (default none)")
	f.StringVar(&t.KeyRingSHA256, prefix+"keyring-sha256", "", "`DIGEST` of the first key ring that is trusted")
	f.StringVar(&t.Index, prefix+"index", "", "`FILE` or URL of the index (default none)")
}

// Verifier is one that believes whom t says. With a folder of data it also holds bundles to what was seen there.
func Verifier(ctx context.Context, e console.Env, t bundled.Trust, data string) (*bundles.Verifier, error) {
	var state *trust.StateFile
	seen := trust.State{}
	if data != "" {
		var err error
		if state, err = OpenState(data); err != nil {
			return nil, err
		}
		if seen, err = state.State(); err != nil {
			return nil, err
		}
	}
	now, _ := seen.Now(e.Now())
	trusted, err := t.Read(ctx, now, nil)
	if err != nil {
		return nil, err
	}
	return VerifierOf(e, trusted, state), nil
}

// OpenState opens the trust state in a gateway's folder of data, which must be there already: a wrong folder is not
// taken for a new one.
func OpenState(data string) (*trust.StateFile, error) {
	if _, err := os.Stat(bundled.StateFile(data)); errors.Is(err, fs.ErrNotExist) {
		return nil, hint.New(fmt.Errorf("there is no %s", bundled.StateFile(data)), "give the gateway's folder with --data; the gateway makes the file when it first loads a bundle")
	}
	return bundled.OpenState(data, false)
}

// VerifierOf is one with a policy, a key ring and an index. state may be nil.
func VerifierOf(e console.Env, t *bundled.Trusted, state *trust.StateFile) *bundles.Verifier {
	return &bundles.Verifier{
		Policy: t.Policy, Ring: t.Ring, Index: t.Index, State: state,
		Limits: archive.DefaultLimits(), Host: bundled.Host(e.Version), Now: e.Now, Describe: bundled.Describe,
	}
}

// Explain says what a doubt of a Decision means.
func Explain(doubt string) string {
	if text := map[string]string{
		"stale":           "it comes from the cache: its source was of no use",
		"unsigned":        "nobody has signed it: it loads because its name is allowed to be unsigned",
		"unsigned_wiring": "which of its files run where nobody has signed; turnbuckle bundle adopt vouches for that too",
		"overridden":      "an older release than was seen: a rollback on purpose lets it load",
		"clock_back":      "the clock is more than a day behind what was seen, and is not believed",
		"unlisted_files":  "it has files that manifest.json does not list, which are left out",
	}[doubt]; text != "" {
		return text
	}
	return doubt
}
