package bundles

import (
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

// An Inspection is what an archive says of itself. Its parts fit together; nobody's word was asked.
type Inspection struct {
	Format        string `json:"format"`
	ArchiveSHA256 string `json:"archive_sha256"`
	Size          int64  `json:"size"`
	// Digest is that of the manifest that is, or could be, signed; of bundles of Tyk that of their files, one after the
	// other, and "" when those are empty.
	Digest string `json:"digest,omitempty"`
	// Signers are the ids of the keys that are said to have signed.
	Signers []string `json:"signers,omitempty"`
	// Bundle is the manifest of ours, Tyk that of a bundle of Tyk with the digest by which it can be pinned.
	Bundle         *manifest.Bundle `json:"bundle,omitempty"`
	Tyk            *tyk.Manifest    `json:"tyk,omitempty"`
	ManifestSHA256 string           `json:"manifest_sha256,omitempty"`
	Unlisted       []string         `json:"unlisted,omitempty"`
}

// Inspect reads an archive within limits, unpacking its files to compare digests and keeping none.
func Inspect(data []byte, limits archive.Limits) (Inspection, error) {
	out := Inspection{Format: Native, ArchiveSHA256: digest(data), Size: int64(len(data))}
	if !archive.IsCanonical(data) {
		out.Format = FromTyk
		old, err := tyk.Open(data, limits)
		if err != nil {
			return out, err
		}
		out.Tyk, out.ManifestSHA256, out.Digest = &old.Manifest, old.ManifestSHA256, old.Digest()
		for _, e := range old.Extra {
			out.Unlisted = append(out.Unlisted, e.Name)
		}
		return out, nil
	}
	prefix, envelope, err := open(data, limits)
	if err != nil {
		return out, err
	}
	for _, s := range envelope.Signatures {
		out.Signers = append(out.Signers, s.KeyID)
	}
	out.Digest = envelope.Digest()
	m, _, err := openFiles(data, prefix, envelope, limits)
	out.Bundle = &m
	return out, err
}

// List returns what an index says of an archive; adoption is the countersignature of a bundle of Tyk, nil for ours.
func List(data, adoption []byte, limits archive.Limits) (trust.Listed, error) {
	seen, err := Inspect(data, limits)
	if err != nil {
		return trust.Listed{}, err
	}
	listed := trust.Listed{ArchiveSHA256: seen.ArchiveSHA256, Size: seen.Size, Digest: seen.Digest}
	var release manifest.Release
	switch {
	case seen.Bundle != nil:
		release = seen.Bundle.Release
	case adoption == nil:
		return listed, refusal.New(refusal.Unsigned, "a bundle of Tyk without a countersignature has no release to list")
	default:
		envelope, err := sign.DecodeEnvelope(adoption, manifest.AdoptionType, limits.Envelope)
		if err != nil {
			return listed, err
		}
		a, err := manifest.ParseAdoption(envelope.Payload)
		if err != nil {
			return listed, err
		}
		if a.ArchiveSHA256 != seen.ArchiveSHA256 {
			return listed, refusal.New(refusal.PrefixDigest, "the countersignature is of another archive")
		}
		listed.Digest, release = envelope.Digest(), a.Release
	}
	listed.Name, listed.Version, listed.Serial, listed.Epoch = release.Name, release.Version, release.Serial, release.Epoch
	return listed, nil
}
