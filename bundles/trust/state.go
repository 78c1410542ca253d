package trust

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// State is what a gateway has seen, and what its operator decided on the spot. It is the content of trust.json.
type State struct {
	Schema int `json:"schema"`
	// Seen is the latest time at which something was accepted.
	Seen manifest.Time `json:"seen,omitzero"`
	// Names holds the highest release that was accepted of each name.
	Names   map[string]Record `json:"names"`
	Index   Seen              `json:"index,omitzero"`
	KeyRing Seen              `json:"key_ring,omitzero"`
	// Revoked is what the operator of this gateway revoked, besides what the key ring does.
	Revoked   Revoked    `json:"revoked,omitzero"`
	Overrides []Override `json:"overrides,omitempty"`
}

// A Record is a release that was accepted.
type Record struct {
	Epoch   uint64 `json:"epoch"`
	Serial  uint64 `json:"serial"`
	Digest  string `json:"digest"`
	Version string `json:"version"`
}

// Seen is the newest version of a document.
type Seen struct {
	Version uint64 `json:"version"`
	Digest  string `json:"digest"`
}

// An Override lets one release load although a newer one was seen: a rollback on purpose.
type Override struct {
	Name   string        `json:"name"`
	Digest string        `json:"digest"`
	Until  manifest.Time `json:"until"`
	Reason string        `json:"reason"`
}

// A Candidate is a release about to be accepted.
type Candidate struct {
	manifest.Release
	Digest string
}

const maxOverrides = 1024

func (s *State) check() error {
	bad := func(format string, args ...any) error { return refusal.New(refusal.StateMalformed, format, args...) }
	if s.Schema != 1 || s.Names == nil {
		return bad("schema %d of the trust state, this gateway knows 1", s.Schema)
	}
	for name, r := range s.Names {
		if manifest.CheckName(name) != nil || !manifest.IsSHA256(r.Digest) || r.Serial < 1 || r.Epoch < 1 {
			return bad("what the trust state says of %.40q is not whole", name)
		}
	}
	for _, seen := range []Seen{s.Index, s.KeyRing} {
		if seen != (Seen{}) && !manifest.IsSHA256(seen.Digest) {
			return bad("the trust state has a version of index or key ring without its digest")
		}
	}
	for _, o := range s.Overrides {
		if manifest.CheckName(o.Name) != nil || !manifest.IsSHA256(o.Digest) || o.Until.IsZero() {
			return bad("an override of the trust state is not whole")
		}
	}
	if len(s.Overrides) > maxOverrides {
		return bad("over %d overrides", maxOverrides)
	}
	return s.Revoked.check(refusal.StateMalformed, "the trust state: revoked")
}

// ParseState reads the content of trust.json.
func ParseState(data []byte) (State, error) {
	var s State
	if len(data) > MaxDocument {
		return State{}, refusal.New(refusal.StateMalformed, "a trust state of more than %d bytes", MaxDocument)
	}
	if err := strict.Decode(data, &s); err != nil {
		return State{}, refusal.New(refusal.StateMalformed, "the trust state: %w", err)
	}
	return s, s.check()
}

// clockSlack is how far back a clock may go before it is not believed.
const clockSlack = 24 * time.Hour

// Now returns the time to judge by: clock, or what was seen last when the clock is more than a day behind it. back
// says that it is, which is worth an alarm.
func (s State) Now(clock time.Time) (now time.Time, back bool) {
	if !s.Seen.IsZero() && clock.Before(s.Seen.Add(-clockSlack)) {
		return s.Seen.Time, true
	}
	return clock, false
}

// Allows judges a candidate by what was seen of its name: nothing goes back, and one serial is one content.
// overridden is whether only an override allows it.
func (s State) Allows(c Candidate, now time.Time) (overridden bool, err error) {
	r, seen := s.Names[c.Name]
	if !seen {
		return false, s.otherCase(c.Name)
	}
	override := slices.ContainsFunc(s.Overrides, func(o Override) bool {
		return o.Name == c.Name && o.Digest == c.Digest && now.Before(o.Until.Time)
	})
	order := cmp.Or(cmp.Compare(c.Epoch, r.Epoch), cmp.Compare(c.Serial, r.Serial))
	switch {
	case override:
		return order < 0, nil
	case order < 0:
		return false, refusal.New(refusal.Rollback, "release %s of %q (epoch %d, serial %d) after %s (epoch %d, serial %d)",
			c.Version, c.Name, c.Epoch, c.Serial, r.Version, r.Epoch, r.Serial)
	case order == 0 && c.Digest != r.Digest:
		return false, refusal.New(refusal.Republished, "serial %d of %q was %s, now it is %s", c.Serial, c.Name, r.Digest, c.Digest)
	}
	return false, nil
}

// otherCase refuses a name that is another one's but for case: in the file the two would be one member, and as files or
// repositories one as well.
func (s State) otherCase(name string) error {
	for known := range s.Names {
		if strings.EqualFold(known, name) {
			return refusal.New(refusal.NameMismatch, "%q differs only in case from %q, which was loaded here", name, known)
		}
	}
	return nil
}

// AllowsTyk refuses a bundle of Tyk without a countersignature for a name that once had a signed release in our form,
// or a countersigned one: stripped of what we signed, it would still be one.
func (s State) AllowsTyk(asked string) error {
	name, _ := manifest.Identity(asked)
	if r, seen := s.Names[name]; seen {
		return refusal.New(refusal.Downgrade, "%q was release %s, vouched for in our format", name, r.Version)
	}
	return nil
}

// accept records a candidate that Allows allowed.
func (s *State) accept(c Candidate, clock time.Time) {
	r := s.Names[c.Name]
	if order := cmp.Or(cmp.Compare(c.Epoch, r.Epoch), cmp.Compare(c.Serial, r.Serial)); order >= 0 {
		s.Names[c.Name] = Record{Epoch: c.Epoch, Serial: c.Serial, Digest: c.Digest, Version: c.Version}
	}
	s.see(clock)
}

func (s *State) see(clock time.Time) {
	if clock.After(s.Seen.Time) {
		s.Seen = manifest.At(clock)
	}
}

// newer records a version of a document, which may not go back nor change under its version.
func (seen *Seen) newer(code refusal.Code, what string, version uint64, digest string) error {
	if version < seen.Version || version == seen.Version && digest != seen.Digest {
		return refusal.New(code, "version %d (%.16s…) of the %s, version %d (%.16s…) was seen", version, digest, what, seen.Version, seen.Digest)
	}
	*seen = Seen{Version: version, Digest: digest}
	return nil
}
