package trust

import (
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// check says what is wrong with a ring by itself, and makes its keys ready.
func (r *KeyRing) check() error {
	bad := func(format string, args ...any) error {
		return refusal.New(refusal.KeyRingMalformed, "the key ring: "+format, args...)
	}
	switch {
	case r.Schema != 1:
		return bad("schema %d, this gateway knows 1", r.Schema)
	case r.Version < 1 || r.Version > manifest.MaxSerial || r.Expires.IsZero():
		return bad("version or expires is missing")
	case len(r.Keys) > maxKeys || len(r.Publishers) > maxRoles || len(r.Epochs) > maxRoles:
		return bad("too many keys, publishers or epochs")
	}
	r.parsed = make(map[string]sign.PublicKey, len(r.Keys))
	for _, k := range r.Keys {
		public, err := sign.ParseSPKI(k.SPKI)
		switch {
		case err != nil:
			return bad("key %.16q: %w", k.ID, err)
		case public.ID() != k.ID:
			return bad("key %.16q: its id is %s", k.ID, public.ID())
		case r.parsed[k.ID].ID() != "":
			return bad("key %s stands twice", k.ID)
		}
		r.parsed[k.ID] = public
	}
	if err := r.checkRole("root", r.Root); err != nil {
		return err
	}
	if r.Index.Threshold != 0 || len(r.Index.Keys) > 0 {
		if err := r.checkRole("index", r.Index); err != nil {
			return err
		}
	}
	for _, p := range r.Publishers {
		if err := r.checkRole("publishers", p.Role); err != nil {
			return err
		}
		if len(p.Names) == 0 {
			return bad("publishers: one without names")
		}
		for _, name := range p.Names {
			if err := checkPattern(refusal.KeyRingMalformed, "the key ring: publishers", name); err != nil {
				return err
			}
		}
	}
	for _, e := range r.Epochs {
		if err := checkPattern(refusal.KeyRingMalformed, "the key ring: epochs", e.Names); err != nil {
			return err
		}
		if e.Epoch < 1 || e.Epoch > manifest.MaxSerial {
			return bad("epochs: %d is none", e.Epoch)
		}
	}
	return r.Revoked.check(refusal.KeyRingMalformed, "the key ring: revoked")
}

func (r *KeyRing) checkRole(name string, role Role) error {
	sorted := slices.Compact(slices.Sorted(slices.Values(role.Keys)))
	switch {
	case len(sorted) != len(role.Keys):
		return refusal.New(refusal.KeyRingMalformed, "the key ring: %s: a key stands twice", name)
	case role.Threshold < 1 || role.Threshold > len(role.Keys):
		return refusal.New(refusal.KeyRingMalformed, "the key ring: %s: a threshold of %d with %d keys", name, role.Threshold, len(role.Keys))
	}
	for _, id := range role.Keys {
		if r.parsed[id].ID() == "" {
			return refusal.New(refusal.KeyRingMalformed, "the key ring: %s: key %.16q is not among the keys", name, id)
		}
	}
	return nil
}

func (r Revoked) check(code refusal.Code, where string) error {
	for _, k := range r.Keys {
		if !manifest.IsSHA256(k.ID) {
			return refusal.New(code, "%s: %.16q is no key's id", where, k.ID)
		}
	}
	for _, digest := range r.Bundles {
		if !manifest.IsSHA256(digest) {
			return refusal.New(code, "%s: %.16q is no digest", where, digest)
		}
	}
	for _, s := range r.Serials {
		if err := manifest.CheckName(s.Name); err != nil {
			return refusal.New(code, "%s: %w", where, err)
		}
		if s.From > s.To {
			return refusal.New(code, "%s: serials from %d to %d are none", where, s.From, s.To)
		}
	}
	return nil
}
