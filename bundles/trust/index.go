package trust

import (
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// IndexType is the payload type of a signed index.
const IndexType = "application/vnd.turnbuckle.index.v1+json"

// MaxIndexAge bounds how long an index may hold.
const MaxIndexAge = 30 * 24 * time.Hour

const maxListed = 16384

// An Index lists the newest release of every name, all at once and for a while: whoever serves bundles can neither
// hold one back nor mix old ones with new ones.
type Index struct {
	Schema  int           `json:"schema"`
	Version uint64        `json:"version"`
	Expires manifest.Time `json:"expires"`
	// Bundles are sorted by name, each once.
	Bundles []Listed `json:"bundles"`

	digest string
}

// Listed is a release in an index.
type Listed struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Serial  uint64 `json:"serial"`
	Epoch   uint64 `json:"epoch"`
	// Digest is that of what is signed, ArchiveSHA256 and Size are the archive's.
	Digest        string `json:"digest"`
	ArchiveSHA256 string `json:"archive_sha256"`
	Size          int64  `json:"size"`
}

// ParseIndex reads an index's payload. Whether to believe it is for KeyRing.OpenIndex.
func ParseIndex(payload []byte) (*Index, error) {
	if len(payload) > MaxDocument {
		return nil, refusal.New(refusal.IndexMalformed, "an index of more than %d bytes", MaxDocument)
	}
	var x Index
	if err := strict.Canonical(payload, &x); err != nil {
		return nil, refusal.New(refusal.IndexMalformed, "the index: %w", err)
	}
	return &x, x.check()
}

// Encode checks x and returns its one encoding.
func (x *Index) Encode() ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	return strict.Encode(x)
}

func (x *Index) check() error {
	if x.Schema != 1 || x.Version < 1 || x.Version > manifest.MaxSerial || x.Expires.IsZero() || len(x.Bundles) > maxListed {
		return refusal.New(refusal.IndexMalformed, "the index: schema, version or expires is not as it must be, or there are over %d bundles", maxListed)
	}
	for i, l := range x.Bundles {
		if err := manifest.CheckName(l.Name); err != nil {
			return refusal.New(refusal.IndexMalformed, "the index: %w", err)
		}
		if i > 0 && x.Bundles[i-1].Name >= l.Name {
			return refusal.New(refusal.IndexMalformed, "the index: %q is not in the order of names, each once", l.Name)
		}
		if !manifest.IsSHA256(l.Digest) || !manifest.IsSHA256(l.ArchiveSHA256) || l.Size <= 0 || l.Serial < 1 || l.Epoch < 1 {
			return refusal.New(refusal.IndexMalformed, "the index: %q lacks a digest, a size, a serial or an epoch", l.Name)
		}
		if _, err := manifest.ParseVersion(l.Version); err != nil {
			return refusal.New(refusal.IndexMalformed, "the index: %q: %w", l.Name, err)
		}
	}
	return nil
}

// OpenIndex verifies an index and reads it. It must be in force, and end within MaxIndexAge.
func (r *KeyRing) OpenIndex(envelope sign.Envelope, now time.Time) (*Index, error) {
	if err := r.signedBy(r.Index, envelope); err != nil {
		return nil, err
	}
	x, err := ParseIndex(envelope.Payload)
	if err != nil {
		return nil, err
	}
	if x.Expires.Sub(now) > MaxIndexAge {
		return nil, refusal.New(refusal.IndexMalformed, "the index ends %s, more than %d days from now", x.Expires.Format(time.RFC3339), MaxIndexAge/(24*time.Hour))
	}
	x.digest = envelope.Digest()
	return x, x.Current(now)
}

// Current returns an error when the index has ended.
func (x *Index) Current(now time.Time) error {
	if !now.Before(x.Expires.Time) {
		return refusal.New(refusal.IndexExpired, "version %d of the index ended %s", x.Version, x.Expires.Format(time.RFC3339))
	}
	return nil
}

// Find returns what the index lists for a name.
func (x *Index) Find(name string) (Listed, bool) {
	for _, l := range x.Bundles {
		if l.Name == name {
			return l, true
		}
	}
	return Listed{}, false
}
