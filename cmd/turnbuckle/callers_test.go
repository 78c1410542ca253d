package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

// seed puts keys into the store of a folder that no gateway serves from yet, and returns their tokens.
func seed(t *testing.T, dir string, sessions ...*identity.Session) []string {
	t.Helper()
	opened, err := bolt.Open(t.Context(), filepath.Join(dir, "data"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return seedStore(t, opened, sessions...)
}

// seedStore puts keys into a store, closes it and returns the keys' tokens.
func seedStore(t *testing.T, opened interface {
	store.Store
	io.Closer
}, sessions ...*identity.Session) (tokens []string) {
	t.Helper()
	ctx := t.Context()
	policies := identity.OpenPolicies(opened)
	keys, err := identity.Open(ctx, opened, policies, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		made, err := keys.Create(ctx, s.OrgID, "", s, identity.Lifetime{})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, made.Token)
	}
	if err := keys.Close(ctx); err != nil {
		t.Fatal(err)
	}
	policies.Close()
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	return tokens
}

// signed is an Authorization field by draft-cavage-http-signatures-10.
func signed(keyID, secret, method, path string, date time.Time) (authorization, dateField string) {
	dateField = date.UTC().Format(http.TimeFormat)
	mac := hmac.New(sha512.New, []byte(secret))
	fmt.Fprintf(mac, "(request-target): %s %s\ndate: %s", strings.ToLower(method), path, dateField)
	return fmt.Sprintf(`Signature keyId="%s",algorithm="hmac-sha512",headers="(request-target) date",signature="%s"`,
		keyID, url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))), dateField
}

// TestChainedAuthentication: a signature and a token and a plugin must all let the caller in; identity says whose session
// counts.
func TestChainedAuthentication(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": `
org: o
listen: {path: /a}
upstream: {url: "http://${UP}"}
auth:
  all:
    - hmac: {algorithms: [hmac-sha512]}
    - token: {header: X-Api-Key}
    - hook: {hook: Vouch}
  identity: ${IDENTITY}
hooks: {post_key_auth: [{hook: Trail}]}
`}, map[string]string{"UP": up.address, "IDENTITY": "token"})
	tokens := seed(t, dir,
		&identity.Session{OrgID: "o", Alias: "signer", HMACEnabled: true, HMACSecret: "s3cret"},
		&identity.Session{OrgID: "o", Alias: "holder"})
	start(t, dir, environment(), "plugin", "-listen", "unix:"+dir+"/p.sock")
	g := startGateway(t, dir, nil, "--plugin-server", "unix:"+dir+"/p.sock")
	now := time.Now()
	good, date := signed(tokens[0], "s3cret", "GET", "/a/x", now)
	again, _ := signed(tokens[0], "s3cret", "GET", "/a/x", now.Add(time.Second))
	forged, _ := signed(tokens[0], "wrong", "GET", "/a/x", now)
	later, laterDate := signed(tokens[0], "s3cret", "GET", "/a/x", now.Add(2*time.Second))
	old, oldDate := signed(tokens[0], "s3cret", "GET", "/a/x", now.Add(-time.Hour))
	tests := []struct {
		name, authorization, date, key, friend, want string
	}{
		{"all three", good, date, tokens[1], "friend", "200"},
		{"a signature that was used", good, date, tokens[1], "friend", "400"},
		{"no token", again, now.Add(time.Second).UTC().Format(http.TimeFormat), "", "friend", "401"},
		{"a forged signature", forged, date, tokens[1], "friend", "400"},
		{"a skewed one", old, oldDate, tokens[1], "friend", "400"},
		{"no signature", "", date, tokens[1], "friend", "400"},
		{"the plugin says no", later, laterDate, tokens[1], "foe", "403"},
	}
	for _, tt := range tests {
		args := []string{"-H", "Date: " + tt.date, "-H", "X-Word: " + tt.friend}
		if tt.key != "" {
			args = append(args, "-H", "X-Api-Key: "+tt.key)
		}
		if tt.authorization != "" {
			args = append(args, "-H", "Authorization: "+tt.authorization)
		}
		got := ask(t, append(args, g.url+"/a/x")...)
		if statusOf(got) != tt.want {
			t.Errorf("%s: want %s, got\n%s", tt.name, tt.want, got)
		}
		if tt.want == "200" && !strings.Contains(got, "X-Alias: holder") {
			t.Errorf("%s: the session is not the token's:\n%s", tt.name, got)
		}
	}
}

// provider is an identity provider: it publishes keys and makes tokens.
type provider struct {
	*httptest.Server
	key     atomic.Pointer[rsa.PrivateKey]
	kid     atomic.Int32
	fetches atomic.Int32
}

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.rotate(t)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		pub := p.key.Load().PublicKey
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": fmt.Sprint(p.kid.Load()),
			"n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
		}}})
	}))
	t.Cleanup(p.Close)
	return p
}

// rotate replaces the key.
func (p *provider) rotate(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.key.Store(key)
	p.kid.Add(1)
}

func (p *provider) token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	made := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	made.Header["kid"] = fmt.Sprint(p.kid.Load())
	text, err := made.SignedString(p.key.Load())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTokensOfAProvider: identity and policy come from claims, limits hold for the identity and not for the token, a
// rotated key is picked up.
func TestTokensOfAProvider(t *testing.T) {
	t.Parallel()
	idp := newProvider(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"apis/a.json": `{"api_id": "a", "org_id": "o", "name": "a", "use_keyless": false, "enable_jwt": true, "jwt_signing_method": "rsa",
			"jwt_source": "${JWKS}", "jwt_identity_base_field": "user", "jwt_policy_field_name": "pol", "jwt_default_policies": ["few"],
			"enable_context_vars": true, "proxy": {"listen_path": "/a/", "target_url": "http://${UP}/", "strip_listen_path": true},
			"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default", "global_headers":
			{"X-Session": "$tyk_meta.TykJWTSessionID", "X-Claim": "$tyk_context.jwt_claims_realm.role"}}}}}`,
		"policies/few.json":  `{"id": "few", "org_id": "o", "quota_max": 3, "quota_renewal_rate": 3600, "rate": 1000, "per": 1, "access_rights": {"a": {}}}`,
		"policies/more.json": `{"id": "more", "org_id": "o", "quota_max": 5, "quota_renewal_rate": 3600, "rate": 1000, "per": 1, "access_rights": {"a": {}}}`,
		"policies/else.json": `{"id": "else", "org_id": "o", "rate": 1000, "per": 1, "access_rights": {"b": {}}}`,
	}, map[string]string{"UP": up.address, "JWKS": idp.URL, "tyk_meta": "$tyk_meta", "tyk_context": "$tyk_context"})
	g := startGateway(t, dir, nil)
	asked := 0
	token := func(user, policy string) string {
		asked++ // no two tokens are the same
		claims := jwt.MapClaims{"user": user, "exp": time.Now().Add(time.Hour).Unix(), "jti": fmt.Sprint(asked), "realm": map[string]any{"role": "boss"}}
		if policy != "" {
			claims["pol"] = policy
		}
		return idp.token(t, claims)
	}
	call := func(token string) string { return ask(t, "-H", "Authorization: Bearer "+token, g.url+"/a/x") }
	steps := []struct {
		name, user, policy, want, with string
	}{
		{"the default policy", "ann", "", "200", "X-Claim: boss"},
		{"another token of hers", "ann", "", "200", "X-Session: o"},
		{"her last", "ann", "", "200", "X-Ratelimit-Remaining: 0"},
		{"her quota is used up", "ann", "", "403", "Quota exceeded"},
		{"somebody else has his own", "bob", "", "200", "X-Ratelimit-Remaining: 2"},
		{"a policy with more, at once; what was used stays used", "ann", "more", "200", "X-Ratelimit-Remaining: 1"},
		{"her fifth", "ann", "more", "200", "X-Ratelimit-Remaining: 0"},
		{"and no more", "ann", "more", "403", "Quota exceeded"},
		{"access rights are replaced", "ann", "else", "403", "Access to this API has been disallowed"},
		{"an unknown policy", "ann", "none", "403", "key not authorized"},
	}
	for _, s := range steps {
		if got := call(token(s.user, s.policy)); statusOf(got) != s.want || !strings.Contains(got, s.with) {
			t.Errorf("%s: want %s and %q, got\n%s", s.name, s.want, s.with, got)
		}
	}
	if got := call(idp.token(t, jwt.MapClaims{"user": "ann", "exp": time.Now().Add(-time.Hour).Unix()})); statusOf(got) != "401" {
		t.Errorf("an expired token: %s", got)
	}
	before := token("carl", "")
	idp.rotate(t)
	after := token("carl", "")
	until(t, "the new key", func() bool { return statusOf(call(after)) == "200" })
	if got := call(before); statusOf(got) != "403" {
		t.Errorf("a token of the key that was withdrawn: %s", got)
	}
	if n := idp.fetches.Load(); n > 20 {
		t.Errorf("the key set was fetched %d times", n)
	}
}
