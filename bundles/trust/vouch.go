package trust

import (
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// A Judge holds what signatures on bundles of one name are judged by. Make it with NewJudge.
type Judge struct {
	Rule Rule

	name    string
	version string // if one was asked for
	ring    *KeyRing
	revoked Revoked // of the state, besides the ring's
	now     time.Time
	grace   time.Duration
}

// NewJudge returns the judge of what a definition asks for: the policy's rule, the ring's keys, and what the state revoked. now should
// come from State.Now.
func NewJudge(asked string, policy *Policy, ring *KeyRing, state State, now time.Time) (*Judge, error) {
	if err := manifest.CheckName(asked); err != nil {
		return nil, refusal.New(refusal.SourceName, "%w", err)
	}
	rule, err := policy.Rule(asked)
	if err != nil {
		return nil, err
	}
	if err := ring.Current(now); err != nil {
		return nil, err
	}
	grace := time.Duration(policy.AcceptExpiredKeys) * time.Second
	name, version := manifest.Identity(asked)
	return &Judge{Rule: rule, name: name, version: version, ring: ring, revoked: state.Revoked, now: now, grace: grace}, nil
}

// Keys returns the keys that may sign bundles of the name.
func (j *Judge) Keys() []sign.PublicKey {
	var ids []string
	for _, p := range j.roles() {
		ids = append(ids, p.Keys...)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id string) bool {
		return len(j.Rule.Keys) > 0 && !slices.Contains(j.Rule.Keys, id)
	})
	return j.ring.public(ids)
}

func (j *Judge) roles() []Publisher {
	return slices.DeleteFunc(slices.Clone(j.ring.Publishers), func(p Publisher) bool {
		return !slices.ContainsFunc(p.Names, func(pattern string) bool { return matches(pattern, j.name) })
	})
}

// Vouch judges the keys whose signatures held, and returns those that count. created is when the signed says it was
// made; it is zero as long as nothing of it may be read, and Vouch has to be asked again with it.
func (j *Judge) Vouch(held []sign.PublicKey, created manifest.Time) ([]sign.PublicKey, error) {
	var counting []sign.PublicKey
	var why error
	for _, k := range held {
		if err := j.usable(k.ID(), created); err != nil {
			why = err
			continue
		}
		counting = append(counting, k)
	}
	for _, role := range j.roles() {
		n := 0
		for _, k := range counting {
			if slices.Contains(role.Keys, k.ID()) {
				n++
			}
		}
		if n > 0 && n >= max(role.Threshold, j.Rule.Threshold) {
			return counting, nil
		}
	}
	if why == nil {
		why = refusal.New(refusal.Threshold, "%d of the keys for %q have signed, more are needed", len(counting), j.name)
	}
	return nil, why
}

// VouchUndated is Vouch for what has no date and will not have one, such as a bundle of Tyk: keys that are revoked since a
// time do not count for it either.
func (j *Judge) VouchUndated(held []sign.PublicKey) ([]sign.PublicKey, error) {
	for _, k := range held {
		if j.ring.Revoked.undated(k.ID()) || j.revoked.undated(k.ID()) {
			return nil, refusal.New(refusal.KeyRevoked, "key %.16s… was revoked, and when this was signed nobody can say", k.ID())
		}
	}
	return j.Vouch(held, manifest.Time{})
}

func (j *Judge) usable(id string, created manifest.Time) error {
	i := slices.IndexFunc(j.ring.Keys, func(k Key) bool { return k.ID == id })
	if i < 0 {
		return refusal.New(refusal.KeyUnknown, "key %.16s… is not in the key ring", id)
	}
	k := j.ring.Keys[i]
	switch {
	case j.ring.Revoked.key(id, created) || j.revoked.key(id, created):
		return refusal.New(refusal.KeyRevoked, "key %.16s… was revoked", id)
	case !k.NotBefore.IsZero() && j.now.Before(k.NotBefore.Time):
		return refusal.New(refusal.KeyEarly, "key %.16s… is valid from %s", id, k.NotBefore.Format(time.RFC3339))
	case !k.NotAfter.IsZero() && !j.now.Before(k.NotAfter.Add(j.grace)):
		return refusal.New(refusal.KeyExpired, "key %.16s… was valid until %s", id, k.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// futureSlack is how far clocks may differ.
const futureSlack = 24 * time.Hour

// Release judges what a signed release says of itself. Digests are those by which it can be revoked.
func (j *Judge) Release(r manifest.Release, digests ...string) error {
	switch epoch := j.ring.epoch(j.name); {
	case r.Name != j.name:
		return refusal.New(refusal.NameMismatch, "a bundle named %q where %q was asked for", r.Name, j.name)
	case j.version != "" && r.Version != j.version:
		return refusal.New(refusal.NameMismatch, "release %s of %q where %s was asked for", r.Version, j.name, j.version)
	case r.Epoch != epoch:
		return refusal.New(refusal.Epoch, "epoch %d of %q, it must be %d", r.Epoch, j.name, epoch)
	case r.Serial < j.Rule.MinSerial:
		return refusal.New(refusal.MinSerial, "serial %d of %q, the policy wants %d or more", r.Serial, j.name, j.Rule.MinSerial)
	case j.ring.Revoked.release(j.name, r.Serial, digests...) || j.revoked.release(j.name, r.Serial, digests...):
		return refusal.New(refusal.BundleRevoked, "release %s of %q was revoked", r.Version, j.name)
	case r.Created.After(j.now.Add(futureSlack)):
		return refusal.New(refusal.Early, "created %s, more than a day from now", r.Created.Format(time.RFC3339))
	case !r.NotAfter.IsZero() && !j.now.Before(r.NotAfter.Time):
		return refusal.New(refusal.Expired, "release %s of %q ended %s", r.Version, j.name, r.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Archive judges an archive by its digest alone: the rule's pin, and what was revoked.
func (j *Judge) Archive(sha256 string) error {
	if j.Rule.SHA256 != "" && sha256 != j.Rule.SHA256 {
		return refusal.New(refusal.PinMismatch, "the archive of %q is %s, pinned is %s", j.name, sha256, j.Rule.SHA256)
	}
	return j.Revoked(sha256)
}

// Revoked judges by a digest of the archive, or of what is signed in it, whether it was revoked.
func (j *Judge) Revoked(digest string) error {
	if j.ring.Revoked.release(j.name, 0, digest) || j.revoked.release(j.name, 0, digest) {
		return refusal.New(refusal.BundleRevoked, "%s, which is %q, was revoked", digest, j.name)
	}
	return nil
}

// Listed judges a release by the index, which may be nil: where the rule requires it, the release must be the one it
// lists; and where it lists the name, it must be even if the rule does not.
func (j *Judge) Listed(x *Index, r manifest.Release, digest, archiveSHA256 string) error {
	if x == nil {
		if j.Rule.RequireIndex {
			return refusal.New(refusal.IndexMissing, "there is no index, which the policy requires for %q", j.name)
		}
		return nil
	}
	if err := x.Current(j.now); err != nil {
		if j.Rule.RequireIndex {
			return err
		}
		return nil
	}
	l, ok := x.Find(j.name)
	switch {
	case !ok && j.Rule.RequireIndex:
		return refusal.New(refusal.IndexMissing, "the index does not list %q", j.name)
	case ok && (l.Digest != digest || l.ArchiveSHA256 != archiveSHA256 || l.Serial != r.Serial || l.Epoch != r.Epoch):
		return refusal.New(refusal.IndexMismatch, "the index lists release %s of %q (serial %d), this is %s (serial %d)", l.Version, j.name, l.Serial, r.Version, r.Serial)
	}
	return nil
}
