package trust

import (
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// KeyRingType is the payload type of a signed key ring.
const KeyRingType = "application/vnd.turnbuckle.keyring.v1+json"

const (
	maxKeys  = 1024
	maxRoles = 1024
)

// A KeyRing says whose signatures count for what.
type KeyRing struct {
	Schema  int    `json:"schema"`
	Version uint64 `json:"version"`
	// Expires is when the ring ends: nothing is loaded by it any more.
	Expires manifest.Time `json:"expires"`
	// Root signs the next version of the ring, Index the index.
	Root  Role `json:"root"`
	Index Role `json:"index,omitzero"`
	// Publishers sign bundles. Of those that cover a name, one has to be satisfied.
	Publishers []Publisher `json:"publishers"`
	// Epochs are the epochs of names, the first that covers a name; 1 without one. A higher one makes serials begin
	// anew, for a name whose publisher's key was stolen.
	Epochs  []Epoch `json:"epochs,omitempty"`
	Revoked Revoked `json:"revoked,omitzero"`
	Keys    []Key   `json:"keys"`

	parsed map[string]sign.PublicKey
}

// A Role is a set of keys, so many of which have to sign.
type Role struct {
	Keys      []string `json:"keys"`
	Threshold int      `json:"threshold"`
}

// A Publisher is the role that signs bundles of some names: exact ones, those below a folder (acme/*), or all (*).
type Publisher struct {
	Names []string `json:"names"`
	Role
}

// An Epoch sets the epoch of names.
type Epoch struct {
	Names string `json:"names"`
	Epoch uint64 `json:"epoch"`
}

// A Key is a public key and when it may be used. Zero times do not limit.
type Key struct {
	ID        string        `json:"id"`
	SPKI      []byte        `json:"spki"`
	NotBefore manifest.Time `json:"not_before,omitzero"`
	NotAfter  manifest.Time `json:"not_after,omitzero"`
	Comment   string        `json:"comment,omitempty"`
}

// Revoked lists what no longer counts.
type Revoked struct {
	Keys []RevokedKey `json:"keys,omitempty"`
	// Bundles are digests of what was signed, or of archives.
	Bundles []string      `json:"bundles,omitempty"`
	Serials []SerialRange `json:"serials,omitempty"`
}

// A RevokedKey does not count any more: at all, or for what says it was created after a time.
type RevokedKey struct {
	ID           string        `json:"id"`
	CreatedAfter manifest.Time `json:"created_after,omitzero"`
	Reason       string        `json:"reason,omitempty"`
}

// A SerialRange is releases of a name, both ends included.
type SerialRange struct {
	Name string `json:"name"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// ParseKeyRing reads a ring's payload. Whether to believe it is for Pinned and Next.
func ParseKeyRing(payload []byte) (*KeyRing, error) {
	if len(payload) > MaxDocument {
		return nil, refusal.New(refusal.KeyRingMalformed, "a key ring of more than %d bytes", MaxDocument)
	}
	var r KeyRing
	if err := strict.Canonical(payload, &r); err != nil {
		return nil, refusal.New(refusal.KeyRingMalformed, "the key ring: %w", err)
	}
	return &r, r.check()
}

// Encode checks r and returns its one encoding.
func (r *KeyRing) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return strict.Encode(r)
}

// PlainKeys is the ring of a gateway that is given public keys and no ring: each may sign every name, alone. It does
// not end, has no roots and no index.
func PlainKeys(keys []sign.PublicKey) (*KeyRing, error) {
	r := &KeyRing{Schema: 1, Version: 1, parsed: map[string]sign.PublicKey{}}
	publisher := Publisher{Names: []string{"*"}, Role: Role{Threshold: 1}}
	for _, k := range keys {
		if _, twice := r.parsed[k.ID()]; twice {
			return nil, refusal.New(refusal.KeyRingMalformed, "key %s is given twice", k.ID())
		}
		r.parsed[k.ID()] = k
		r.Keys = append(r.Keys, Key{ID: k.ID(), SPKI: k.SPKI()})
		publisher.Keys = append(publisher.Keys, k.ID())
	}
	r.Publishers = []Publisher{publisher}
	return r, nil
}

// Pinned reads the first ring a gateway trusts: the operator gives the SHA-256 of its payload. It may have ended, if
// another follows that has not.
func Pinned(envelope sign.Envelope, sha256 string) (*KeyRing, error) {
	if envelope.Digest() != sha256 {
		return nil, refusal.New(refusal.KeyRingPin, "the key ring is %s and not what was pinned", envelope.Digest())
	}
	r, err := ParseKeyRing(envelope.Payload)
	if err != nil {
		return nil, err
	}
	if err := r.signedBy(r.Root, envelope); err != nil {
		return nil, err
	}
	return r, nil
}

// Next reads the ring that follows r: of the next version, and signed by the roots of both. Like r, it may have ended.
func (r *KeyRing) Next(envelope sign.Envelope) (*KeyRing, error) {
	if err := r.signedBy(r.Root, envelope); err != nil {
		return nil, err
	}
	next, err := ParseKeyRing(envelope.Payload)
	if err != nil {
		return nil, err
	}
	if next.Version != r.Version+1 {
		return nil, refusal.New(refusal.KeyRingRollback, "version %d of the key ring, %d is the next", next.Version, r.Version+1)
	}
	if err := next.signedBy(next.Root, envelope); err != nil {
		return nil, err
	}
	return next, nil
}

// Current returns an error when the ring has ended. Rings of PlainKeys do not.
func (r *KeyRing) Current(now time.Time) error {
	if !r.Expires.IsZero() && !now.Before(r.Expires.Time) {
		return refusal.New(refusal.KeyRingExpired, "version %d of the key ring ended %s", r.Version, r.Expires.Format(time.RFC3339))
	}
	return nil
}

// signedBy checks an envelope against a role that does not depend on names.
func (r *KeyRing) signedBy(role Role, envelope sign.Envelope) error {
	if role.Threshold < 1 {
		return refusal.New(refusal.KeyUnknown, "the key ring names no keys for this")
	}
	held, err := envelope.Verify(r.public(role.Keys))
	if err != nil {
		return err
	}
	signed := len(held)
	held = slices.DeleteFunc(held, func(k sign.PublicKey) bool { return r.Revoked.undated(k.ID()) })
	if len(held) < role.Threshold {
		if len(held) < signed {
			return refusal.New(refusal.KeyRevoked, "of the %d keys that signed, %d count no more, and %d are needed", signed, signed-len(held), role.Threshold)
		}
		return refusal.New(refusal.Threshold, "signed by %d of the keys, %d are needed", len(held), role.Threshold)
	}
	return nil
}

func (r *KeyRing) public(ids []string) []sign.PublicKey {
	keys := make([]sign.PublicKey, 0, len(ids))
	for _, id := range ids {
		keys = append(keys, r.parsed[id])
	}
	return keys
}

// epoch returns the epoch that bundles of a name must have.
func (r *KeyRing) epoch(name string) uint64 {
	for _, e := range r.Epochs {
		if matches(e.Names, name) {
			return e.Epoch
		}
	}
	return 1
}

// undated reports whether a key counts no more for what does not say when it was created, as indexes and rings do not: who
// stole the key could have made it since.
func (r Revoked) undated(id string) bool {
	return slices.ContainsFunc(r.Keys, func(k RevokedKey) bool { return k.ID == id })
}

// key reports whether a key counts no more for what was created then. At the zero time only keys that count for nothing
// do not.
func (r Revoked) key(id string, created manifest.Time) bool {
	return slices.ContainsFunc(r.Keys, func(k RevokedKey) bool {
		return k.ID == id && (k.CreatedAfter.IsZero() || created.After(k.CreatedAfter.Time))
	})
}

// release reports whether a release counts no more.
func (r Revoked) release(name string, serial uint64, digests ...string) bool {
	return slices.ContainsFunc(digests, func(d string) bool { return slices.Contains(r.Bundles, d) }) ||
		slices.ContainsFunc(r.Serials, func(s SerialRange) bool { return s.Name == name && s.From <= serial && serial <= s.To })
}
