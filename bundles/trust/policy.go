package trust

import (
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// A Policy is what this gateway wants of bundles, by name. What no rule covers is refused.
type Policy struct {
	Version int `json:"version"` // 1
	// AcceptExpiredKeys is for how many seconds after its end a key still counts.
	AcceptExpiredKeys int64  `json:"accept_expired_keys,omitempty"`
	Rules             []Rule `json:"rules"`
}

// A Rule holds for one name, for those below a folder (acme/*), or for all (*). An exact rule goes before all others,
// of which the first that covers a name holds.
type Rule struct {
	Name string `json:"name"`
	// Keys, if there are any, are the only ones that count of those in the key ring, and Threshold how many of them
	// are needed; the ring may ask for more.
	Keys      []string `json:"keys,omitempty"`
	Threshold int      `json:"threshold,omitempty"`
	// RequireIndex wants the release to be the one that the index lists.
	RequireIndex bool `json:"require_index,omitempty"`
	// NoTyk refuses bundles of Tyk, countersigned or not.
	NoTyk bool `json:"no_tyk,omitempty"`
	// The rest is for exact names. MinSerial is the lowest release; SHA256 the only archive; AllowUnsigned takes what nobody signed.
	MinSerial     uint64 `json:"min_serial,omitempty"`
	SHA256        string `json:"sha256,omitempty"`
	AllowUnsigned bool   `json:"allow_unsigned,omitempty"`

	Tyk Tyk `json:"tyk,omitzero"`
}

// Tyk is what a rule wants of bundles of Tyk, whose signature covers the files and not the manifest.
type Tyk struct {
	// TrustWiring takes the manifest of a signed bundle as it is: whoever can change the archive can choose which of
	// the signed functions run where.
	TrustWiring bool `json:"trust_wiring,omitempty"`
	// ManifestSHA256 pins manifest.json; exact names only.
	ManifestSHA256 string `json:"manifest_sha256,omitempty"`
	// WeakRSA lets keys of 1024 bits and more verify.
	WeakRSA bool `json:"weak_rsa,omitempty"`
	// ExtraFiles keeps files that the manifest does not list, of unsigned bundles only; else they are left out.
	ExtraFiles bool `json:"extra_files,omitempty"`
}

// ParsePolicy reads a policy in JSON.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > MaxDocument {
		return nil, refusal.New(refusal.PolicyMalformed, "a policy of more than %d bytes", MaxDocument)
	}
	var p Policy
	if err := strict.Decode(data, &p); err != nil {
		return nil, refusal.New(refusal.PolicyMalformed, "the policy: %w", err)
	}
	return &p, p.Check()
}

// Simple is the policy of a gateway without a policy file: every name needs one of the keys it was given; the names
// in unsigned, exact, need none.
func Simple(unsigned []string, trustTykWiring bool) (*Policy, error) {
	p := &Policy{Version: 1}
	for _, name := range unsigned {
		p.Rules = append(p.Rules, Rule{Name: name, AllowUnsigned: true, Tyk: Tyk{TrustWiring: trustTykWiring, ExtraFiles: true}})
	}
	p.Rules = append(p.Rules, Rule{Name: "*", Tyk: Tyk{TrustWiring: trustTykWiring}})
	return p, p.Check()
}

// Check says what is wrong with p. Policies that were not parsed must be checked before use.
func (p *Policy) Check() error {
	if p.Version != 1 {
		return refusal.New(refusal.PolicyMalformed, "the policy: version %d, this gateway knows 1", p.Version)
	}
	if p.AcceptExpiredKeys < 0 || p.AcceptExpiredKeys > int64(365*24*time.Hour/time.Second) || len(p.Rules) > maxRoles {
		return refusal.New(refusal.PolicyMalformed, "the policy: accept_expired_keys is over a year, or there are over %d rules", maxRoles)
	}
	seen := map[string]bool{}
	for _, r := range p.Rules {
		if err := r.check(); err != nil {
			return err
		}
		if seen[r.Name] {
			return refusal.New(refusal.PolicyMalformed, "the policy: two rules for %q", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}

func (r Rule) check() error {
	bad := func(format string, args ...any) error {
		return refusal.New(refusal.PolicyMalformed, "the policy, rule "+r.Name+": "+format, args...)
	}
	if err := checkPattern(refusal.PolicyMalformed, "the policy", r.Name); err != nil {
		return err
	}
	if !exact(r.Name) && (r.AllowUnsigned || r.SHA256 != "" || r.MinSerial != 0 || r.Tyk.ManifestSHA256 != "") {
		return bad("allow_unsigned, min_serial and digests need an exact name")
	}
	for _, digest := range []string{r.SHA256, r.Tyk.ManifestSHA256} {
		if digest != "" && !manifest.IsSHA256(digest) {
			return bad("%.16q is not a SHA-256 in lower-case hex", digest)
		}
	}
	for i, id := range r.Keys {
		if !manifest.IsSHA256(id) || slices.Contains(r.Keys[:i], id) {
			return bad("%.16q is not a key's id, or stands twice", id)
		}
	}
	switch {
	case r.Threshold < 0 || r.Threshold > sign.MaxSignatures || len(r.Keys) > 0 && r.Threshold > len(r.Keys):
		return bad("a threshold of %d with %d keys", r.Threshold, len(r.Keys))
	case r.AllowUnsigned && (len(r.Keys) > 0 || r.Threshold > 0 || r.RequireIndex):
		return bad("allow_unsigned, and yet keys, a threshold or the index is required")
	case r.Tyk.ExtraFiles && !r.AllowUnsigned:
		return bad("tyk.extra_files is for unsigned bundles")
	}
	return nil
}

// Rule returns the rule for what a definition asks for: the one with exactly that name, the one with the name of the
// bundle (manifest.Identity) unless that takes what nobody signed, or the first that covers it.
func (p *Policy) Rule(asked string) (Rule, error) {
	name, _ := manifest.Identity(asked)
	i := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == asked })
	if i < 0 {
		i = slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == name && !r.AllowUnsigned })
	}
	if i < 0 {
		i = slices.IndexFunc(p.Rules, func(r Rule) bool { return matches(r.Name, name) && !r.AllowUnsigned })
	}
	if i < 0 {
		return Rule{}, refusal.New(refusal.NoRule, "no rule of the policy covers %q", name)
	}
	return p.Rules[i], nil
}
