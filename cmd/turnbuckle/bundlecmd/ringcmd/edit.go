package ringcmd

import (
	"fmt"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// addKey puts a key among those of a ring, unless it is there.
func addKey(r *trust.KeyRing, k trust.Key) {
	if !slices.ContainsFunc(r.Keys, func(old trust.Key) bool { return old.ID == k.ID }) {
		r.Keys = append(r.Keys, k)
	}
}

// roles are pointers to all roles of a ring that have keys.
func roles(r *trust.KeyRing) []*trust.Role {
	all := []*trust.Role{&r.Root}
	if len(r.Index.Keys) > 0 {
		all = append(all, &r.Index)
	}
	for i := range r.Publishers {
		all = append(all, &r.Publishers[i].Role)
	}
	return all
}

func addToRole(role *trust.Role, id string) {
	if !slices.Contains(role.Keys, id) {
		role.Keys = append(role.Keys, id)
	}
	role.Threshold = max(role.Threshold, 1)
}

// addPublisher lets a key sign some names, besides those that do.
func addPublisher(r *trust.KeyRing, id string, names []string) {
	i := slices.IndexFunc(r.Publishers, func(p trust.Publisher) bool { return slices.Equal(p.Names, names) })
	if i < 0 {
		r.Publishers = append(r.Publishers, trust.Publisher{Names: names})
		i = len(r.Publishers) - 1
	}
	addToRole(&r.Publishers[i].Role, id)
}

// removeKey takes a key out of all roles and out of the ring. A publisher without keys is gone; root must keep as many
// as have to sign.
func removeKey(r *trust.KeyRing, id string) error {
	had := len(r.Keys)
	r.Keys = slices.DeleteFunc(r.Keys, func(k trust.Key) bool { return k.ID == id })
	if len(r.Keys) == had {
		return fmt.Errorf("key %.12s is not in the key ring", id)
	}
	for _, role := range roles(r) {
		role.Keys = slices.DeleteFunc(role.Keys, func(k string) bool { return k == id })
	}
	if len(r.Root.Keys) < r.Root.Threshold {
		return fmt.Errorf("root needs %d keys to sign and would have %d: add another before, keyring add --root", r.Root.Threshold, len(r.Root.Keys))
	}
	if len(r.Index.Keys) == 0 {
		r.Index = trust.Role{}
	}
	r.Publishers = slices.DeleteFunc(r.Publishers, func(p trust.Publisher) bool { return len(p.Keys) == 0 })
	for _, role := range roles(r) {
		if role.Threshold > len(role.Keys) {
			return fmt.Errorf("a role needs %d keys to sign and would have %d: add another before, keyring add", role.Threshold, len(role.Keys))
		}
	}
	return nil
}

// rotate gives all roles of a key to another as well, and lets the first one end.
func rotate(r *trust.KeyRing, from string, to trust.Key, ends time.Time) error {
	i := slices.IndexFunc(r.Keys, func(k trust.Key) bool { return k.ID == from })
	if i < 0 {
		return fmt.Errorf("key %.12s is not in the key ring", from)
	}
	if from == to.ID {
		return fmt.Errorf("the two keys are the same")
	}
	if old := r.Keys[i].NotAfter; old.IsZero() || ends.Before(old.Time) {
		r.Keys[i].NotAfter = manifest.At(ends)
	}
	addKey(r, to)
	for _, role := range roles(r) {
		if slices.Contains(role.Keys, from) {
			addToRole(role, to.ID)
		}
	}
	return nil
}
