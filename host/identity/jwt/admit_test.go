package jwt_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
)

func TestAlgorithms(t *testing.T) {
	k := testKeys()
	tests := []struct {
		name   string
		family config.JWTMethod
		source string
		method gojwt.SigningMethod
		key    any
	}{
		{"HS256", config.JWTHMAC, secret, gojwt.SigningMethodHS256, []byte(secret)},
		{"HS384", config.JWTHMAC, secret, gojwt.SigningMethodHS384, []byte(secret)},
		{"HS512", config.JWTHMAC, secret, gojwt.SigningMethodHS512, []byte(secret)},
		{"RS256", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodRS256, k.rsa},
		{"RS384", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodRS384, k.rsa},
		{"RS512", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodRS512, k.rsa},
		{"PS256", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodPS256, k.rsa},
		{"PS384", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodPS384, k.rsa},
		{"PS512", config.JWTRSA, publicPEM(t, &k.rsa.PublicKey), gojwt.SigningMethodPS512, k.rsa},
		{"ES256", config.JWTECDSA, publicPEM(t, &k.p256.PublicKey), gojwt.SigningMethodES256, k.p256},
		{"ES384", config.JWTECDSA, publicPEM(t, &k.p384.PublicKey), gojwt.SigningMethodES384, k.p384},
		{"ES512", config.JWTECDSA, publicPEM(t, &k.p521.PublicKey), gojwt.SigningMethodES512, k.p521},
		{"EdDSA", config.JWTEdDSA, publicPEM(t, k.ed.Public()), gojwt.SigningMethodEdDSA, k.ed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := hmacMethod()
			m.Method, m.Source = test.family, test.source
			a := compile(t, m, newKeyring("base"))
			if c := admit(t, a, sign(t, test.method, test.key, claims{"sub": "ada", "exp": soon()})); c.Session.Alias != "ada" {
				t.Errorf("got %q, want ada", c.Session.Alias)
			}
		})
	}
}

func TestSessionOfAnIdentity(t *testing.T) {
	k := newKeyring("base")
	a := compileWith(t, hmacMethod(), jwt.API{Org: org, Store: true, Lifetime: identity.Lifetime{API: time.Hour, RespectExpiry: true}},
		jwt.Services{Keys: k, Tokens: jwt.NewTokens(0, 0)})
	exp := soon()
	c := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": exp, "cid": "shop"}))
	const id = "acme8c8d357b5e872bbacd45197626bd5759" // of the organisation and the MD5 of "ada"
	if c.Token != id {
		t.Errorf("the session's token is %q, want %q", c.Token, id)
	}
	want := []identity.Adoption{{
		Org: org, Token: id, Store: true, Lifetime: identity.Lifetime{API: time.Hour, RespectExpiry: true},
		Session: &identity.Session{
			OrgID: org, Alias: "ada", Metadata: identity.Metadata{"TykJWTSessionID": id}, ApplyPolicies: []string{"base"},
			Expires: exp, OAuthClientID: "shop",
		},
	}}
	if diff := cmp.Diff(want, k.adopted); diff != "" {
		t.Error(diff)
	}
	if c.Session.Rate != 10 || c.Session.AccessRights["api-of-base"].APIID == "" {
		t.Errorf("the policy is not applied: %+v", c.Session)
	}
}

func TestSessionIsKeptAcrossTokens(t *testing.T) {
	k := newKeyring("base")
	a := compile(t, hmacMethod(), k)
	late := soon()
	first := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": late, "jti": "1"}))
	for _, c := range []claims{{"jti": "2", "exp": late}, {"jti": "3", "exp": late - 60}, {"jti": "4"}} {
		c["sub"] = "ada"
		again := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), c))
		if again.ID != first.ID || again.Session.Expires != late {
			t.Errorf("%v: got %s until %d, want %s until %d", c, again.ID, again.Session.Expires, first.ID, late)
		}
	}
	if n := k.adoptions(); n != 1 {
		t.Errorf("%d sessions were made, want 1", n)
	}
	longer := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": late + 60}))
	if longer.ID != first.ID || longer.Session.Expires != late+60 {
		t.Errorf("got %s until %d, want %s until %d", longer.ID, longer.Session.Expires, first.ID, late+60)
	}
	other := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "bob"}))
	if other.ID == first.ID || other.Session.Alias != "bob" {
		t.Errorf("another identity got the session of the first: %+v", other.Session)
	}
}

func TestSkewOfExpiryHoldsForTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := hmacMethod()
		m.ExpirySkew = 30 * time.Second
		a := compile(t, m, newKeyring("base"))
		c := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": time.Now().Unix() - 10}))
		if left := c.Session.Expires - time.Now().Unix(); left != 20 {
			t.Errorf("the session ends in %d s, want 20", left)
		}
	})
}

func TestWhatAnAdministratorSaidStays(t *testing.T) {
	k := newKeyring("base", "gold")
	m := hmacMethod()
	m.Policy = "pol"
	a := compile(t, m, k)
	c := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": soon()}))
	s := k.sessions[c.Token].Clone()
	s.Inactive, s.Tags, s.Metadata["note"] = true, []string{"vip"}, "paid"
	k.sessions[c.Token] = s
	for _, next := range []claims{{"exp": soon() + 60}, {"pol": "gold"}} {
		next["sub"] = "ada"
		admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), next))
		got := k.sessions[c.Token]
		if !got.Inactive || !slices.Equal(got.Tags, s.Tags) || got.Metadata["note"] != "paid" {
			t.Errorf("after %v: %+v", next, got)
		}
	}
}

func TestWhatPoliciesSaidIsNotStored(t *testing.T) {
	k := newKeyring("base")
	k.policies["base"].Inactive, k.policies["base"].Tags = true, []string{"from policy"}
	a := compile(t, hmacMethod(), k)
	for i := range 2 {
		c := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": soon() + int64(i)}))
		if !c.Session.Inactive {
			t.Fatal("the policy is not applied")
		}
		if s := k.sessions[c.Token]; s.Inactive || len(s.Tags) > 0 || s.Rate != 0 || len(s.AccessRights) > 0 {
			t.Errorf("stored after token %d: %+v", i, s)
		}
	}
}

func TestLaterTokenNamesAnotherPolicy(t *testing.T) {
	k := newKeyring("base", "gold")
	m := hmacMethod()
	m.Policy = "pol"
	a := compile(t, m, k)
	c := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "pol": "base"}))
	s := k.sessions[c.Token].Clone() // as another gateway may have stored it: with what the policy said
	s.Rate, s.Per, s.QuotaMax, s.QuotaRenewalRate, s.AccessRights = 10, 1, 100, 60, c.Session.AccessRights
	k.sessions[c.Token] = s

	next := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "pol": "gold"}))
	if next.ID != c.ID {
		t.Errorf("the counters' name changed from %q to %q", c.ID, next.ID)
	}
	if next.Session.Rate != 20 || next.Session.QuotaMax != 200 {
		t.Errorf("got %v/s and a quota of %d, want those of the new policy", next.Session.Rate, next.Session.QuotaMax)
	}
	if rights := slices.Collect(maps.Keys(next.Session.AccessRights)); !slices.Equal(rights, []string{"api-of-gold"}) {
		t.Errorf("got rights to %v, want those of the new policy alone", rights)
	}
	if s := k.sessions[c.Token]; s.Rate != 0 || len(s.AccessRights) != 0 {
		t.Errorf("what the old policy said is stored still: %+v", s)
	}
}

func TestPoliciesThatHold(t *testing.T) {
	type want struct {
		policies []string
		text     string // of a refusal
	}
	scoped := map[string]string{"read": "reader", "write": "writer"}
	policies := []string{"base", "second", "gold", "reader", "writer", "client"}
	tests := []struct {
		name   string
		method config.JWTAuth
		claims claims
		want   want
	}{
		{"the API's own", config.JWTAuth{Policies: []string{"base", "second"}}, claims{}, want{policies: []string{"base", "second"}}},
		{"a claim", config.JWTAuth{Policy: "pol", Policies: []string{"base"}}, claims{"pol": "gold"}, want{policies: []string{"gold"}}},
		{"a claim by a path", config.JWTAuth{Policy: "a.pol"}, claims{"a": claims{"pol": "gold"}}, want{policies: []string{"gold"}}},
		{"no such claim", config.JWTAuth{Policy: "pol", Policies: []string{"base"}}, claims{}, want{policies: []string{"base"}}},
		{"an empty claim", config.JWTAuth{Policy: "pol", Policies: []string{"base"}}, claims{"pol": ""}, want{policies: []string{"base"}}},
		{"a claim of another type", config.JWTAuth{Policy: "pol", Policies: []string{"base"}}, claims{"pol": 7}, want{policies: []string{"base"}}},
		{"a policy that is not known", config.JWTAuth{Policy: "pol", Policies: []string{"base"}}, claims{"pol": "root"},
			want{text: "key not authorized: no matching policy"}},
		{"none", config.JWTAuth{Policy: "pol"}, claims{}, want{text: "key not authorized: no matching policy found"}},
		{"a client's key", config.JWTAuth{ClientID: "app", Policies: []string{"base"}}, claims{"app": "app-key"}, want{policies: []string{"client"}}},
		{"an unknown client", config.JWTAuth{ClientID: "app", Policies: []string{"base"}}, claims{"app": "nobody"}, want{policies: []string{"base"}}},
		{"an unknown client and nothing else", config.JWTAuth{ClientID: "app"}, claims{"app": "nobody"},
			want{text: "key not authorized: no matching policy found"}},
		{"a client of another organisation", config.JWTAuth{ClientID: "app", Policies: []string{"base"}}, claims{"app": "foreign"},
			want{policies: []string{"base"}}},
		{"a claim before a client", config.JWTAuth{Policy: "pol", ClientID: "app"}, claims{"pol": "gold", "app": "app-key"},
			want{policies: []string{"gold"}}},
		{"scopes", config.JWTAuth{Scopes: scoped, Policies: []string{"base"}}, claims{"scope": "openid write read write"},
			want{policies: []string{"writer", "reader"}}},
		{"scopes in a list", config.JWTAuth{Scope: "realm.roles", Scopes: scoped}, claims{"realm": claims{"roles": []string{"read", "x"}}},
			want{policies: []string{"reader"}}},
		{"scopes beside a claim", config.JWTAuth{Policy: "pol", Scopes: scoped}, claims{"pol": "gold", "scope": "read"},
			want{policies: []string{"gold", "reader"}}},
		{"scopes beside a client", config.JWTAuth{ClientID: "app", Scopes: scoped}, claims{"app": "app-key", "scope": "read"},
			want{policies: []string{"client", "reader"}}},
		{"scopes nobody knows", config.JWTAuth{Scopes: scoped, Policies: []string{"base"}}, claims{"scope": "openid"},
			want{policies: []string{"base"}}},
		{"scopes nobody knows and nothing else", config.JWTAuth{Scopes: scoped}, claims{"scope": "openid"},
			want{text: "key not authorized: no matching policy found in scope claim"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := newKeyring(policies...)
			k.sessions["app-key"] = &identity.Session{OrgID: org, ApplyPolicies: []string{"client"}}
			k.sessions["foreign"] = &identity.Session{OrgID: "other", ApplyPolicies: []string{"client"}}
			m := test.method
			m.Credential, m.Method, m.Source = config.Credential{Header: "Authorization"}, config.JWTHMAC, secret
			a := compile(t, m, k)
			test.claims["sub"] = "ada"
			token := sign(t, gojwt.SigningMethodHS256, []byte(secret), test.claims)
			if test.want.text != "" {
				refuse(t, a, token, 403, test.want.text, "")
				return
			}
			for range 2 {
				if got := admit(t, a, token).Session.ApplyPolicies; !slices.Equal(got, test.want.policies) {
					t.Errorf("got %v, want %v", got, test.want.policies)
				}
			}
			if n := k.adoptions(); n != 1 {
				t.Errorf("%d sessions were made, want 1", n)
			}
		})
	}
}

func TestPolicyOfAClientsKeyChanges(t *testing.T) {
	k := newKeyring("base", "gold")
	k.sessions["app-key"] = &identity.Session{OrgID: org, ApplyPolicyID: "base"}
	m := hmacMethod()
	m.ClientID, m.Policies = "app", nil
	a := compile(t, m, k)
	token := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "app": "app-key"})
	if c := admit(t, a, token); c.Session.Rate != 10 {
		t.Errorf("got %v/s, want 10", c.Session.Rate)
	}
	k.sessions["app-key"] = &identity.Session{OrgID: org, ApplyPolicyID: "gold"}
	if c := admit(t, a, token); c.Session.Rate != 20 { // the same token, verified before
		t.Errorf("got %v/s, want 20", c.Session.Rate)
	}
}

func TestSessionRemovedOrItsPolicyGone(t *testing.T) {
	k := newKeyring("base", "gold")
	m := hmacMethod()
	m.Policy = "pol"
	a := compile(t, m, k)
	old := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "pol": "base"})
	c := admit(t, a, old)
	delete(k.sessions, c.Token)
	admit(t, a, old) // made anew
	delete(k.policies, "base")
	refuse(t, a, old, 403, "key not authorized: no matching policy", "base")
	next := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "pol": "gold"}))
	if next.Session.Rate != 20 {
		t.Errorf("got %v/s, want 20", next.Session.Rate)
	}
}

func TestIdentityClaim(t *testing.T) {
	tests := []struct {
		name, claim string
		claims      claims
		want        string
	}{
		{"sub when nothing is said", "", claims{"sub": "ada"}, "ada"},
		{"literal", "user", claims{"user": "bob", "sub": "ada"}, "bob"},
		{"literal with dots", "https://x.test/user", claims{"https://x.test/user": "bob", "sub": "ada"}, "bob"},
		{"literal before path", "a.b", claims{"a.b": "bob", "a": claims{"b": "eve"}}, "bob"},
		{"path", "a.b.c", claims{"a": claims{"b": claims{"c": "bob"}}, "sub": "ada"}, "bob"},
		{"path that ends early", "a.b.c", claims{"a": claims{"b": "bob"}, "sub": "ada"}, "ada"},
		{"path through a list", "a.0", claims{"a": []string{"bob"}, "sub": "ada"}, "ada"},
		{"absent", "user", claims{"sub": "ada"}, "ada"},
		{"number", "user", claims{"user": 7, "sub": "ada"}, "ada"},
		{"empty", "user", claims{"user": "", "sub": "ada"}, ""},
		{"none", "user", claims{}, ""},
		{"sub is empty", "", claims{"sub": ""}, ""},
		{"sub is a number", "", claims{"sub": 7}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := hmacMethod()
			m.Identity = test.claim
			a := compile(t, m, newKeyring("base"))
			token := sign(t, gojwt.SigningMethodHS256, []byte(secret), test.claims, claims{"kid": "eve"})
			if test.want == "" {
				refuse(t, a, token, 403, "Key not authorized: no claim says who calls", "")
				return
			}
			if got := admit(t, a, token).Session.Alias; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestClientIDs(t *testing.T) {
	tests := []struct {
		name   string
		claims claims
		skip   bool
		want   string
	}{
		{"clientId", claims{"clientId": "a", "cid": "b", "client_id": "c"}, false, "a"},
		{"cid", claims{"cid": "b", "client_id": "c"}, false, "b"},
		{"client_id", claims{"client_id": "c"}, false, "c"},
		{"number", claims{"clientId": 1, "client_id": "c"}, false, "c"},
		{"none", claims{}, false, ""},
		{"switched off", claims{"client_id": "c"}, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := hmacMethod()
			m.SkipClientID = test.skip
			a := compile(t, m, newKeyring("base"))
			test.claims["sub"] = "ada"
			if got := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), test.claims)).Session.OAuthClientID; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLaterTokenOfAnotherClient(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	for _, step := range []struct{ client, want string }{{"shop", "shop"}, {"stock", "stock"}, {"", "stock"}} {
		c := claims{"sub": "ada"}
		if step.client != "" {
			c["client_id"] = step.client
		}
		if got := admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), c)).Session.OAuthClientID; got != step.want {
			t.Errorf("after a token of %q: got %q, want %q", step.client, got, step.want)
		}
	}
}

func TestClaimsAreLeftForLaterHooks(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	const header, payload = `{ "alg":"HS256","kid":"k" }`, `{"sub":"ada", "n":1.0e0, "big":12345678901234567890,"ü":[null]}`
	token := forge(t, header, payload)
	for _, when := range []string{"first", "verified before"} {
		_, x, err := call(t, a, token)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(x.Value(jwt.ClaimsValue)); got != payload {
			t.Errorf("%s: claims %s, want %s", when, got, payload)
		}
		if got := string(x.Value(jwt.HeaderValue)); got != header {
			t.Errorf("%s: header %s, want %s", when, got, header)
		}
		if got := x.Request().Header().Get("Authorization"); got != "Bearer "+token {
			t.Errorf("%s: the token that goes upstream is %q", when, got)
		}
	}
}

func TestSessionThatIsNotKept(t *testing.T) {
	k := newKeyring("base")
	a := compileWith(t, hmacMethod(), jwt.API{Org: org}, jwt.Services{Keys: k, Tokens: jwt.NewTokens(0, 0)})
	admit(t, a, sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada"}))
	if len(k.sessions) > 0 || len(k.adopted) != 1 || k.adopted[0].Store {
		t.Errorf("kept %v, adopted %+v", k.sessions, k.adopted)
	}
}

func TestKeysWithSecretsOfTheirOwn(t *testing.T) {
	keys := testKeys()
	owned := func(method config.JWTMethod) config.JWTAuth {
		return config.JWTAuth{Credential: config.Credential{Header: "Authorization"}, Method: method}
	}
	k := newKeyring()
	set := func(id, secret string) {
		k.sessions[id] = &identity.Session{OrgID: org, Alias: "owner of " + id, JWT: identity.JWTData{Secret: secret}}
	}
	set("key-1", secret)
	set("key-2", "the secret of another key")
	set("key-3", "")
	set("key-4", publicPEM(t, &keys.rsa.PublicKey))
	k.sessions["key-5"] = &identity.Session{OrgID: "other", JWT: identity.JWTData{Secret: secret}}
	hs := func(secret, sub string, header claims) string {
		return sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": sub}, header)
	}
	a := compile(t, owned(config.JWTHMAC), k)
	skip := owned(config.JWTHMAC)
	skip.SkipKID = true
	skipping := compile(t, skip, k)
	rs := compile(t, owned(config.JWTRSA), k)

	for name, test := range map[string]struct {
		a     *jwt.Authenticator
		token string
	}{
		"kid":         {a, hs(secret, "key-2", claims{"kid": "key-1"})},
		"sub":         {a, hs(secret, "key-1", nil)},
		"kid skipped": {skipping, hs(secret, "key-1", claims{"kid": "key-2"})},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if c := admit(t, test.a, test.token); c.Session.Alias != "owner of key-1" {
					t.Errorf("got the session of %s", c.Session.Alias)
				}
			}
		})
	}
	t.Run("RSA", func(t *testing.T) {
		admit(t, rs, sign(t, gojwt.SigningMethodRS256, keys.rsa, claims{"sub": "x"}, claims{"kid": "key-4"}))
	})
	for name, test := range map[string]struct {
		a           *jwt.Authenticator
		token, text string
	}{
		"secret of another key": {a, hs(secret, "x", claims{"kid": "key-2"}), notAuthorized},
		"unknown key":           {a, hs(secret, "x", claims{"kid": "nobody"}), notAuthorized},
		"key without secret":    {a, hs("x", "x", claims{"kid": "key-3"}), notAuthorized},
		"other organisation":    {a, hs(secret, "x", claims{"kid": "key-5"}), notAuthorized},
		"public key as secret":  {a, hs(publicPEM(t, &keys.rsa.PublicKey), "x", claims{"kid": "key-4"}), notAuthorized},
		"HMAC for RSA":          {rs, hs(publicPEM(t, &keys.rsa.PublicKey), "x", claims{"kid": "key-4"}), wrongMethod},
		"secret is no key":      {rs, sign(t, gojwt.SigningMethodRS256, keys.rsa, claims{}, claims{"kid": "key-1"}), notAuthorized},
		"nobody":                {a, hs(secret, "", nil), "Key not authorized: no claim says who calls"},
	} {
		t.Run(name, func(t *testing.T) { refuse(t, test.a, test.token, 403, test.text, "") })
	}
	if n := k.adoptions(); n != 0 {
		t.Errorf("%d sessions were made, want none", n)
	}
	t.Run("rotated", func(t *testing.T) {
		token := hs(secret, "x", claims{"kid": "key-1"})
		admit(t, a, token)
		set("key-1", "a new secret")
		refuse(t, a, token, 403, notAuthorized, "signature")
		admit(t, a, hs("a new secret", "x", claims{"kid": "key-1"}))
		delete(k.sessions, "key-1")
		_, _, err := call(t, a, hs("a new secret", "x", claims{"kid": "key-1"}))
		if !errors.Is(err, identity.ErrUnknown) {
			t.Errorf("got %v, want %v", err, identity.ErrUnknown)
		}
	})
}
