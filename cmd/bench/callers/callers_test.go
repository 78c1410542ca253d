package callers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// Every token that a load generator can come to is that of a key.
func TestFill(t *testing.T) {
	const keys, batch = 201, 100
	var told []int
	s, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(t.Context(), s, keys, batch, func(done int) { told = append(told, done) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int{100, 200, 201}) {
		t.Errorf("told %v", told)
	}
	policies := identity.OpenPolicies(s)
	k, err := identity.Open(t.Context(), s, policies, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, batch, keys - 1} {
		c, err := k.Lookup(t.Context(), Org, Token(i))
		if err != nil || c.Limits(API).QuotaMax <= 0 || c.Limits(API).Rate <= 0 {
			t.Errorf("key %d: %+v, %v", i, c, err)
		}
	}
	if _, err := k.Lookup(t.Context(), Org, Token(keys)); err == nil {
		t.Error("there is one more")
	}
	if err := k.Close(t.Context()); err != nil {
		t.Error(err)
	}
	policies.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestJWT(t *testing.T) {
	definitions, policies := t.TempDir(), filepath.Join(t.TempDir(), "policies")
	token, err := JWT(definitions, policies)
	if err != nil || strings.Count(token, ".") != 2 {
		t.Fatal(token, err)
	}
	key, err := os.ReadFile(filepath.Join(definitions, KeyFile))
	if err != nil || !strings.HasPrefix(string(key), "-----BEGIN PUBLIC KEY") {
		t.Errorf("%.20s, %v", key, err)
	}
	all, err := identity.LoadPolicies(policies)
	if err != nil || len(all) != 1 || all[0].ID != Policy || all[0].OrgID != Org {
		t.Errorf("%v, %v", all, err)
	}
}
