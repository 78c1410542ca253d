package jwt_test

import (
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// openKeys returns the service over a store in a folder, and a way to end both in good order.
func openKeys(t testing.TB, folder string) (*identity.Keys, func()) {
	t.Helper()
	st, err := bolt.Open(t.Context(), folder, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policies := identity.OpenPolicies(st)
	policies.SetFiles([]*identity.Policy{
		{ID: "base", OrgID: org, Rate: 10, Per: 1, QuotaMax: 100, QuotaRenewalRate: 60, AccessRights: map[string]identity.Access{"a": {APIID: "a"}}},
		{ID: "gold", OrgID: org, Rate: 20, Per: 1, QuotaMax: 200, QuotaRenewalRate: 60, AccessRights: map[string]identity.Access{"b": {APIID: "b"}}},
		{ID: "foreign", OrgID: "other", Rate: 99, Per: 1},
	})
	keys, err := identity.Open(t.Context(), st, policies, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return keys, func() {
		if err := keys.Close(t.Context()); err != nil {
			t.Error(err)
		}
		policies.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}

// With the real keys and store: the session outlives the gateway, changes with the policy, keeps what was said of it.
func TestSessionsInTheStore(t *testing.T) {
	folder := t.TempDir()
	m := hmacMethod()
	m.Policy = "pol"
	exp := soon()
	token := func(c claims) string {
		c["sub"] = "ada"
		return sign(t, gojwt.SigningMethodHS256, []byte(secret), c)
	}
	var id string
	for _, step := range []struct {
		name    string
		claims  claims
		rate    float64
		right   string
		expires int64
	}{
		{"first", claims{"exp": exp}, 10, "a", exp},
		{"the same after a restart", claims{"exp": exp}, 10, "a", exp},
		{"later", claims{"exp": exp + 60}, 10, "a", exp + 60},
		{"another policy", claims{"exp": exp, "pol": "gold"}, 20, "b", exp + 60},
		{"without end", claims{"pol": "gold"}, 20, "b", exp + 60},
	} {
		t.Run(step.name, func(t *testing.T) {
			keys, end := openKeys(t, folder)
			defer end()
			a := compileWith(t, m, jwt.API{Org: org, Store: true}, jwt.Services{Keys: keys, Tokens: jwt.NewTokens(0, 0)})
			for range 2 {
				c := admit(t, a, token(step.claims))
				if id == "" {
					id = c.ID
				}
				if c.ID != id || c.Session.Rate != step.rate || len(c.Session.AccessRights) != 1 || c.Session.AccessRights[step.right].APIID == "" ||
					c.Session.Expires != step.expires {
					t.Errorf("got %s: %+v", c.ID, c.Session)
				}
			}
			kept, err := keys.Get(t.Context(), identity.Ref{Org: org, Key: admit(t, a, token(step.claims)).Token})
			if err != nil || kept.Session.Rate != 0 || kept.Session.Alias != "ada" {
				t.Errorf("stored: %+v, %v", kept.Session, err)
			}
			refuse(t, a, token(claims{"pol": "foreign"}), 403, "key not authorized: no matching policy", "foreign")
		})
	}
}
