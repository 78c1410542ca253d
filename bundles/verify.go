package bundles

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

// A Verifier judges archives. It does not change once made, and may be used by several goroutines at once: new keys
// or another policy make a new one.
type Verifier struct {
	// Policy and Ring must be given, and State where anything is to run: without it a Verifier looks at what was
	// never seen before. Index may be nil.
	Policy *trust.Policy
	Ring   *trust.KeyRing
	Index  *trust.Index
	State  *trust.StateFile

	Limits archive.Limits
	Host   Host
	// Now is the clock.
	Now func() time.Time
	// Describe reads name and version out of a plugin.yaml, whose form this package does not know. They must be
	// those that were signed; the plugin of a bundle acme/guard is named guard, or acme/guard.
	Describe func(pluginFile []byte) (name, version string, err error)
}

// Host is the gateway that bundles make demands of.
type Host struct {
	// Version is a semantic version; one that is none ("dev") satisfies every demand.
	Version string
	// Platform is GOOS/GOARCH.
	Platform string
	// Sandboxes are the profiles that are enforced here.
	Sandboxes []string
}

// A Request is an archive under the name that a definition asks for.
type Request struct {
	Name    string
	Archive []byte
	// Adoption is the countersignature that lies beside the archive; nil when there is none.
	Adoption []byte
	// PlainHTTP is whether it came over a connection that anybody could change.
	PlainHTTP bool
}

// Verify decides whether the archive may run as what it was asked for. Nothing is unpacked, and nothing of it believed,
// before a signature over it holds; for bundles of Tyk, whose signature is inside and over the unpacked files, those
// are hashed first and kept nowhere. The state is read and not changed.
func (v *Verifier) Verify(r Request) (*Bundle, error) {
	var state trust.State
	var err error
	if v.State != nil {
		if state, err = v.State.State(); err != nil {
			return nil, err
		}
	}
	now, back := state.Now(v.Now())
	judge, err := trust.NewJudge(r.Name, v.Policy, v.Ring, state, now)
	if err != nil {
		return nil, err
	}
	if int64(len(r.Archive)) > v.Limits.Archive {
		return nil, refusal.New(refusal.LimitArchive, "an archive of %d bytes, at most %d", len(r.Archive), v.Limits.Archive)
	}
	c := &check{Verifier: v, Request: r, judge: judge, state: state, now: now}
	c.out.verdict = Verdict{Name: r.Name, ArchiveSHA256: digest(r.Archive), Rule: judge.Rule.Name, ClockBack: back}
	if err := judge.Archive(c.out.verdict.ArchiveSHA256); err != nil {
		return nil, err
	}
	if archive.IsCanonical(r.Archive) {
		err = c.native()
	} else {
		err = c.fromTyk()
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(c.out.files, func(a, b file) int { return strings.Compare(a.Path, b.Path) })
	return &c.out, nil
}

// Accept records bundles that are about to run, all or none: from then on older releases of their names are refused.
// It judges them by the state once more, which may have changed since Verify.
func (v *Verifier) Accept(bundles ...*Bundle) error {
	var candidates []trust.Candidate
	for _, b := range bundles {
		if !b.verdict.Unsigned && b.verdict.Release.Serial != 0 {
			candidates = append(candidates, trust.Candidate{Release: b.verdict.Release, Digest: b.verdict.Digest})
		}
	}
	if v.State == nil {
		return refusal.New(refusal.StateMissing, "there is no trust state to record in")
	}
	return v.State.Accept(v.Now(), candidates...)
}

// A check is one Verify under way.
type check struct {
	*Verifier
	Request
	judge *trust.Judge
	state trust.State
	now   time.Time
	out   Bundle
}

// native verifies a bundle of ours.
func (c *check) native() error {
	c.out.verdict.Format = Native
	prefix, envelope, err := open(c.Archive, c.Limits)
	if err != nil {
		return err
	}
	held, err := envelope.Verify(c.judge.Keys())
	if err = c.vouch(held, manifest.Time{}, err); err != nil {
		return err
	}
	m, files, err := openFiles(c.Archive, prefix, envelope, c.Limits)
	if err != nil {
		return err
	}
	c.out.files = files
	if err := c.release(held, m.Release, envelope.Digest()); err != nil {
		return err
	}
	if err := c.demands(m); err != nil {
		return err
	}
	return c.describe(m)
}

// vouch judges what the verification of signatures gave, and takes what nobody signed where the rule says so.
func (c *check) vouch(held []sign.PublicKey, created manifest.Time, err error) error {
	code := refusal.CodeOf(err)
	if c.judge.Rule.AllowUnsigned && (code == refusal.Unsigned || code == refusal.KeyUnknown) {
		if c.PlainHTTP && c.judge.Rule.SHA256 == "" {
			return refusal.New(refusal.PinMissing, "%q may be unsigned, and came over plain http without a pin of its sha256", c.Name)
		}
		c.out.verdict.Unsigned = true
		return nil
	}
	if err != nil {
		return err
	}
	counting, err := c.judge.Vouch(held, created)
	if err != nil {
		return err
	}
	c.out.verdict.Keys = nil
	for _, k := range counting {
		c.out.verdict.Keys = append(c.out.verdict.Keys, k.ID())
	}
	return nil
}

// release judges what was signed about a release, now that it may be read.
func (c *check) release(held []sign.PublicKey, r manifest.Release, digest string) error {
	c.out.verdict.Release, c.out.verdict.Digest = r, digest
	if !c.out.verdict.Unsigned {
		if err := c.vouch(held, r.Created, nil); err != nil {
			return err
		}
	}
	sha := c.out.verdict.ArchiveSHA256
	if err := c.judge.Release(r, digest, sha); err != nil {
		return err
	}
	if c.out.verdict.Unsigned {
		return nil // its serial is anybody's claim
	}
	if err := c.judge.Listed(c.Index, r, digest, sha); err != nil {
		return err
	}
	overridden, err := c.state.Allows(trust.Candidate{Release: r, Digest: digest}, c.now)
	c.out.verdict.Overridden = overridden
	return err
}

// demands judges what the bundle wants of the gateway.
func (c *check) demands(m manifest.Bundle) error {
	host := c.Host
	if len(m.Platforms) > 0 && !slices.Contains(m.Platforms, host.Platform) {
		return refusal.New(refusal.Platform, "made for %s, this is %s", strings.Join(m.Platforms, ", "), host.Platform)
	}
	wanted, err := manifest.ParseVersion(m.Requires.Host)
	have, unknown := manifest.ParseVersion(strings.TrimPrefix(host.Version, "v"))
	if err == nil && unknown == nil && have.Compare(wanted) < 0 {
		return refusal.New(refusal.HostVersion, "it requires gateway %s, this is %s", m.Requires.Host, host.Version)
	}
	if s := m.Requires.Sandbox; s != "" && !slices.Contains(host.Sandboxes, s) {
		return refusal.New(refusal.Sandbox, "it demands the sandbox %q", s)
	}
	return nil
}

// describe compares what is signed with what plugin.yaml says.
func (c *check) describe(m manifest.Bundle) error {
	if c.Describe == nil {
		return nil
	}
	content, err := c.out.ReadFile(manifest.PluginFile)
	if err != nil {
		return err
	}
	name, version, err := c.Describe(content)
	if err != nil {
		return refusal.New(refusal.PluginFile, "%s: %w", manifest.PluginFile, err)
	}
	if name != m.Name && name != path.Base(m.Name) || version != m.Version {
		return refusal.New(refusal.PluginFile, "%s is that of %q %s, signed is %q %s", manifest.PluginFile, name, version, m.Name, m.Version)
	}
	return nil
}

// openFiles reads what an envelope says, and holds the archive to it: the prefix, the directory, and every file's name,
// size and digest. The caller has verified the envelope, or knows that nobody signed it.
func openFiles(data, prefix []byte, envelope sign.Envelope, limits archive.Limits) (manifest.Bundle, []file, error) {
	m, err := manifest.ParseBundle(envelope.Payload)
	if err != nil {
		return m, nil, err
	}
	if m.PrefixSize != int64(len(prefix)) || m.PrefixSHA256 != digest(prefix) {
		return m, nil, refusal.New(refusal.PrefixDigest, "the %d bytes before the envelope are %.16s…, signed are %d bytes, %.16s…",
			len(prefix), digest(prefix), m.PrefixSize, m.PrefixSHA256)
	}
	raw, err := envelope.Encode()
	if err != nil {
		return m, nil, err
	}
	entries, err := archive.Canonical(data, prefix, raw, limits)
	if err != nil {
		return m, nil, err
	}
	var files []file
	var unpacker archive.Unpacker
	for i := range max(len(entries), len(m.Files)) {
		switch {
		case i == len(entries) || i < len(m.Files) && m.Files[i].Path < entries[i].Name:
			return m, nil, refusal.New(refusal.FileMissing, "listed is %q, which is not where it belongs in the archive", m.Files[i].Path)
		case i == len(m.Files) || m.Files[i].Path != entries[i].Name:
			return m, nil, refusal.New(refusal.FileUnlisted, "the archive has %q, which is not listed there", entries[i].Name)
		}
		f := file{File: m.Files[i], entry: entries[i]}
		if err := f.unpackWith(&unpacker, io.Discard); err != nil {
			return m, nil, err
		}
		files = append(files, f)
	}
	return m, files, nil
}

// fromTyk verifies a bundle of Tyk.
func (c *check) fromTyk() error {
	c.out.verdict.Format = FromTyk
	rule := c.judge.Rule
	if rule.NoTyk {
		return refusal.New(refusal.Downgrade, "the policy takes no bundles of Tyk for %q", c.Name)
	}
	var adopted *manifest.Adoption
	if c.Adoption != nil {
		// Before anything of the archive is looked at: the countersignature covers all of it.
		var err error
		if adopted, err = c.adoption(); err != nil {
			return err
		}
	}
	old, err := tyk.Open(c.Archive, c.Limits)
	if err != nil {
		return err
	}
	// What Tyk signs stays the same however it is packed, and so does its revocation.
	if err := c.judge.Revoked(old.Digest()); err != nil {
		return err
	}
	switch {
	case rule.Tyk.ManifestSHA256 != "" && old.ManifestSHA256 != rule.Tyk.ManifestSHA256:
		return refusal.New(refusal.PinMismatch, "the manifest of %q is %s, pinned is %s", c.Name, old.ManifestSHA256, rule.Tyk.ManifestSHA256)
	case adopted != nil && adopted.ManifestSHA256 != old.ManifestSHA256:
		return refusal.New(refusal.PinMismatch, "the manifest is %s, countersigned is %s", old.ManifestSHA256, adopted.ManifestSHA256)
	case adopted == nil:
		if err := c.tykAlone(old); err != nil {
			return err
		}
	}
	c.out.tyk = &old.Manifest
	for i, e := range old.Listed {
		c.out.files = append(c.out.files, file{File: manifest.File{Path: e.Name, Size: e.Size, SHA256: old.Digests[i]}, entry: e})
	}
	return c.extra(old)
}

// adoption verifies the countersignature.
func (c *check) adoption() (*manifest.Adoption, error) {
	envelope, err := sign.DecodeEnvelope(c.Adoption, manifest.AdoptionType, c.Limits.Envelope)
	if err != nil {
		return nil, err
	}
	held, err := envelope.Verify(c.judge.Keys())
	if err != nil {
		return nil, err // not where unsigned ones are allowed either: somebody meant to vouch
	}
	if err := c.vouch(held, manifest.Time{}, nil); err != nil {
		return nil, err
	}
	a, err := manifest.ParseAdoption(envelope.Payload)
	if err != nil {
		return nil, err
	}
	if a.ArchiveSize != int64(len(c.Archive)) || a.ArchiveSHA256 != c.out.verdict.ArchiveSHA256 {
		return nil, refusal.New(refusal.PrefixDigest, "the archive is %.16s…, countersigned is %.16s…", c.out.verdict.ArchiveSHA256, a.ArchiveSHA256)
	}
	return &a, c.release(held, a.Release, envelope.Digest())
}

// tykAlone judges a bundle that has nothing but what Tyk gave it.
func (c *check) tykAlone(old *tyk.Bundle) error {
	rule := c.judge.Rule
	c.out.verdict.Digest = cmp.Or(old.Digest(), c.out.verdict.ArchiveSHA256)
	if err := c.state.AllowsTyk(c.Name); err != nil {
		return err
	}
	if rule.RequireIndex || rule.MinSerial > 0 {
		return refusal.New(refusal.IndexMissing, "a bundle of Tyk has no serial, which the policy requires of %q; adopt it", c.Name)
	}
	held, err := old.Verify(c.judge.Keys(), rule.Tyk.WeakRSA)
	if err == nil {
		_, err = c.judge.VouchUndated(held)
	}
	if err := c.vouch(held, manifest.Time{}, err); err != nil {
		return err
	}
	if c.out.verdict.Unsigned || rule.Tyk.ManifestSHA256 != "" || rule.SHA256 != "" {
		return nil
	}
	if hook := old.Manifest.InlineCode(); hook != "" {
		return refusal.New(refusal.TykInlineCode, "the code of hook %q stands in %s", hook, tyk.ManifestName)
	}
	if !rule.Tyk.TrustWiring {
		return refusal.New(refusal.TykWiring, "the signature of %q covers its files and not which of them run where", c.Name)
	}
	c.out.verdict.UnsignedWiring = true
	return nil
}

// extra adds the files that the manifest does not list where the rule wants them, and names the others.
func (c *check) extra(old *tyk.Bundle) error {
	var unpacker archive.Unpacker
	for _, e := range old.Extra {
		if !c.out.verdict.Unsigned || !c.judge.Rule.Tyk.ExtraFiles {
			c.out.verdict.Unlisted = append(c.out.verdict.Unlisted, e.Name)
			continue
		}
		sum := sha256.New()
		if err := unpacker.Unpack(e, sum); err != nil {
			return err
		}
		c.out.files = append(c.out.files, file{File: manifest.File{Path: e.Name, Size: e.Size, SHA256: hex.EncodeToString(sum.Sum(nil))}, entry: e})
	}
	return nil
}
