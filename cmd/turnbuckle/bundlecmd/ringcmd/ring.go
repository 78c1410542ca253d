// Package ringcmd has the commands for whoever publishes: they make key rings, rotate keys, and revoke keys and releases.
package ringcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/console"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundlecmd/statecmd"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
)

// Commands are those of this package.
func Commands(e console.Env) []*cobra.Command {
	return []*cobra.Command{keyringCommand(e), rotateCommand(e), revokeCommand(e)}
}

// nextFile is a version of which signatures are missing.
const nextFile = "next.dsse.json"

// A change makes the next version of a key ring.
type change struct {
	e                console.Env
	dir              string
	keys             []string
	passphrase       string
	expires          string
	dryRun           bool
	bundles, policy  string
	asJSON           bool
	expiresByDefault string
}

// add offers the flags of a change.
func (c *change) add(cmd *cobra.Command, defaultExpires string) {
	f := cmd.Flags()
	c.expiresByDefault = defaultExpires
	f.StringArrayVar(&c.keys, "key", nil, "secret key `FILE` of a root of the key ring, repeated for several")
	f.StringVar(&c.passphrase, "passphrase-file", "", "`FILE` with the passphrase of the secret keys ($TURNBUCKLE_KEY_PASSPHRASE; asked for on a terminal)")
	f.StringVar(&c.expires, "expires", defaultExpires, "`TIME` at which the new version ends, or so long from now (default as the one before)")
	f.BoolVar(&c.dryRun, "dry-run", false, "change nothing, and say which bundles would stop loading")
	f.StringVar(&c.bundles, "bundles", "plugins.d", "`FOLDER` of bundles for --dry-run")
	f.StringVar(&c.policy, "policy", "", "`FILE` of the trust policy for --dry-run (default: any signature that counts)")
	f.BoolVar(&c.asJSON, "json", false, "write JSON")
}

// Outcome is what a change did or would do.
type Outcome struct {
	File    string `json:"file,omitempty"`
	Version uint64 `json:"version"`
	Digest  string `json:"digest"`
	// Complete is whether all signatures are there that are needed.
	Complete bool `json:"complete"`
	DryRun   bool `json:"dry_run,omitempty"`
	// Stops are bundles that load and would not any more.
	Stops []bundled.Decision `json:"stops,omitempty"`
}

// run makes the next version: edit changes the newest one.
func (c *change) run(ctx context.Context, edit func(r *trust.KeyRing) error) error {
	now, _, err := bundled.ReadRing(c.dir, "")
	if err != nil {
		return hint.New(err, "turnbuckle bundle keyring init makes one")
	}
	payload, err := now.Encode()
	if err != nil {
		return err
	}
	next, err := trust.ParseKeyRing(payload)
	if err != nil {
		return err
	}
	next.Version++
	if c.expires != "" {
		ends, err := c.e.Time(c.expires)
		if err != nil {
			return err
		}
		next.Expires = manifest.At(ends)
	}
	if err := edit(next); err != nil {
		return err
	}
	if c.dryRun {
		return c.survey(ctx, now, next)
	}
	return c.publish(now, next)
}

// publish signs a version and puts it there, or what is signed of it.
func (c *change) publish(before, next *trust.KeyRing) error {
	payload, err := next.Encode()
	if err != nil {
		return err
	}
	return c.sign(before, sign.NewEnvelope(trust.KeyRingType, payload))
}

// sign adds signatures, and installs the version when they suffice. before is nil for the first version.
func (c *change) sign(before *trust.KeyRing, envelope sign.Envelope) error {
	keys, err := c.e.SecretKeys(c.keys, c.passphrase)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if envelope, err = envelope.Sign(key); err != nil {
			return err
		}
	}
	data, err := envelope.Encode()
	if err != nil {
		return err
	}
	ring, incomplete := accepted(before, envelope)
	if incomplete != nil {
		switch refusal.CodeOf(incomplete) {
		case refusal.Threshold, refusal.Unsigned, refusal.KeyUnknown:
		default:
			return incomplete
		}
		file := filepath.Join(c.dir, nextFile)
		if err := console.WriteFile(file, data, true); err != nil {
			return err
		}
		return c.tell(Outcome{File: file, Version: versionOf(envelope), Digest: envelope.Digest()})
	}
	file := filepath.Join(c.dir, bundled.RingFile(ring.Version))
	if err := console.WriteFile(file, data, false); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, nextFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.tell(Outcome{File: file, Version: ring.Version, Digest: envelope.Digest(), Complete: true})
}

// accepted is the ring as a gateway takes it that has before.
func accepted(before *trust.KeyRing, envelope sign.Envelope) (*trust.KeyRing, error) {
	if before == nil {
		return trust.Pinned(envelope, envelope.Digest())
	}
	return before.Next(envelope)
}

func versionOf(envelope sign.Envelope) uint64 {
	r, err := trust.ParseKeyRing(envelope.Payload)
	if err != nil {
		return 0
	}
	return r.Version
}

func (c *change) tell(o Outcome) error {
	if c.asJSON {
		return c.e.JSON(o)
	}
	if !o.Complete {
		c.e.Say("%s: version %d needs more signatures: turnbuckle bundle keyring sign %s --key FILE", o.File, o.Version, c.dir)
		return nil
	}
	c.e.Say("%s: version %d", o.File, o.Version)
	if o.Version == 1 {
		c.e.Say("gateways trust it by its digest: --keyring %s --keyring-sha256 %s", c.dir, o.Digest)
		return nil
	}
	c.e.Say("put it beside the others where gateways have them; they read it when they reload")
	return nil
}

// survey says what a new version would stop.
func (c *change) survey(ctx context.Context, now, next *trust.KeyRing) error {
	payload, err := next.Encode()
	if err != nil {
		return err
	}
	if next, err = trust.ParseKeyRing(payload); err != nil {
		return err
	}
	believed, err := bundled.Trust{Policy: c.policy}.Read(ctx, c.e.Now(), nil)
	if err != nil {
		return err
	}
	judge := func(ring *trust.KeyRing) ([]bundled.Decision, error) {
		return bundled.Survey(ctx, c.bundles, statecmd.VerifierOf(c.e, &bundled.Trusted{Policy: believed.Policy, Ring: ring}, nil))
	}
	before, err := judge(now)
	if err != nil {
		return err
	}
	after, err := judge(next)
	if err != nil {
		return err
	}
	out := Outcome{Version: next.Version, Digest: sign.NewEnvelope(trust.KeyRingType, payload).Digest(), DryRun: true, Stops: []bundled.Decision{}}
	for i, d := range after {
		if before[i].OK && !d.OK {
			out.Stops = append(out.Stops, d)
		}
	}
	if c.asJSON {
		err = c.e.JSON(out)
	} else {
		for _, d := range out.Stops {
			c.e.Say("%s would stop loading: %s (%s)", d.Name, d.Message, d.Reason)
		}
		c.e.Say("%d of %d bundles in %s would stop loading; nothing was changed", len(out.Stops), len(after), c.bundles)
	}
	if err == nil && len(out.Stops) > 0 {
		err = console.ErrSaid
	}
	return err
}

// publicKey is a file's key as a ring has it.
func publicKey(file string) (trust.Key, error) {
	key, err := sign.ReadPublicKey(file)
	if err != nil {
		return trust.Key{}, err
	}
	return trust.Key{ID: key.ID(), SPKI: key.SPKI(), Comment: comment(file)}, nil
}

// comment is a file's name, which is for people.
func comment(file string) string {
	base := filepath.Base(file)
	return console.Printable(base[:min(len(base), 64)])
}

// keyID is the id that an argument names: a public key's file, or the id itself.
func keyID(arg string) (string, error) {
	if manifest.IsSHA256(arg) {
		return arg, nil
	}
	key, err := sign.ReadPublicKey(arg)
	if err != nil {
		return "", fmt.Errorf("%w; or give the key's id, 64 hex digits", err)
	}
	return key.ID(), nil
}
