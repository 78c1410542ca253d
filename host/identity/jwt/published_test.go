package jwt_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
)

// provider is an identity provider's endpoint of keys.
type provider struct {
	*httptest.Server
	document atomic.Pointer[[]byte]
	fetches  atomic.Int64
}

func newProvider(t *testing.T, keys ...jose.JSONWebKey) *provider {
	p := &provider{}
	p.publish(t, keys...)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		w.Write(*p.document.Load())
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	p.document.Store(&b)
}

// compileJWKS makes an Authenticator with the key sets at urls, which an unknown key id fetches again every time.
func compileJWKS(t *testing.T, family config.JWTMethod, o jwks.Options, urls ...string) *jwt.Authenticator {
	t.Helper()
	if o.Interval == 0 {
		o.Interval = time.Nanosecond
	}
	o.Wait, o.Retry = time.Hour, time.Hour
	sets := jwks.New(t.Context(), o)
	t.Cleanup(sets.Close)
	m := hmacMethod()
	m.Method, m.Source = family, ""
	for _, url := range urls {
		m.JWKS = append(m.JWKS, config.JWKSSource{URL: url})
	}
	return compileWith(t, m, jwt.API{Org: org, Store: true}, jwt.Services{Keys: newKeyring("base"), Sets: sets, Tokens: jwt.NewTokens(0, 0)})
}

func tokenOf(t *testing.T, key any, method gojwt.SigningMethod, kid string) string {
	t.Helper()
	var header claims
	if kid != "" {
		header = claims{"kid": kid}
	}
	return sign(t, method, key, claims{"sub": "ada", "exp": soon()}, header)
}

func TestKeySetVerifies(t *testing.T) {
	k := testKeys()
	p := newProvider(t,
		jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "e", Key: &k.p256.PublicKey},
		jose.JSONWebKey{KeyID: "d", Key: k.ed.Public()})
	admit(t, compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL), tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "r"))
	admit(t, compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL), tokenOf(t, k.rsa, gojwt.SigningMethodPS512, "r"))
	admit(t, compileJWKS(t, config.JWTECDSA, jwks.Options{}, p.URL), tokenOf(t, k.p256, gojwt.SigningMethodES256, "e"))
	admit(t, compileJWKS(t, config.JWTEdDSA, jwks.Options{}, p.URL), tokenOf(t, k.ed, gojwt.SigningMethodEdDSA, "d"))
}

func TestKeyConfusion(t *testing.T) {
	k := testKeys()
	p := newProvider(t,
		jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "r2", Key: &k.otherRSA.PublicKey},
		jose.JSONWebKey{KeyID: "ps", Key: &k.rsa.PublicKey, Algorithm: "PS256"}, jose.JSONWebKey{KeyID: "e", Key: &k.p256.PublicKey},
		jose.JSONWebKey{KeyID: "e3", Key: &k.p384.PublicKey}, jose.JSONWebKey{KeyID: "weak", Key: &k.weakRSA.PublicKey})
	rs := compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL)
	es := compileJWKS(t, config.JWTECDSA, jwks.Options{}, p.URL)
	admit(t, rs, tokenOf(t, k.rsa, gojwt.SigningMethodPS256, "ps"))
	weak := gojwt.NewWithClaims(gojwt.SigningMethodRS256, gojwt.MapClaims{"sub": "ada"})
	weak.Header["kid"] = "weak"
	weakToken, err := weak.SignedString(k.weakRSA)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		a     *jwt.Authenticator
		token string
		text  string
	}{
		{"another key's id", rs, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "r2"), notAuthorized},
		{"a key of another type", rs, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "e"), notAuthorized},
		{"another curve", es, tokenOf(t, k.p256, gojwt.SigningMethodES256, "e3"), notAuthorized},
		{"not the key's algorithm", rs, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "ps"), notAuthorized},
		{"HMAC", rs, tokenOf(t, k.rsa.N.Bytes(), gojwt.SigningMethodHS256, "r"), wrongMethod},
		{"weak key", rs, weakToken, notAuthorized},
		{"unknown kid", rs, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "nobody's"), notAuthorized},
		{"no kid and several keys", rs, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, ""), notAuthorized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refuse(t, test.a, test.token, 403, test.text, "") })
	}
}

func TestNoKidAndOneKey(t *testing.T) {
	k := testKeys()
	p := newProvider(t, jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "e", Key: &k.p256.PublicKey})
	a := compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL)
	admit(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, ""))
}

func TestRotationEndsVerifiedTokens(t *testing.T) {
	k := testKeys()
	p := newProvider(t, jose.JSONWebKey{KeyID: "old", Key: &k.rsa.PublicKey})
	a := compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL)
	old := tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "old")
	admit(t, a, old)
	admit(t, a, old)

	p.publish(t, jose.JSONWebKey{KeyID: "old", Key: &k.rsa.PublicKey}, jose.JSONWebKey{KeyID: "new", Key: &k.otherRSA.PublicKey})
	admit(t, a, tokenOf(t, k.otherRSA, gojwt.SigningMethodRS256, "new"))
	admit(t, a, old) // its key is published still

	p.publish(t, jose.JSONWebKey{KeyID: "new", Key: &k.otherRSA.PublicKey})
	refuse(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "next"), 403, notAuthorized, "next") // fetches
	refuse(t, a, old, 403, notAuthorized, "old")

	p.publish(t, jose.JSONWebKey{KeyID: "new", Key: &k.rsa.PublicKey}) // another key under the same id
	refuse(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "next"), 403, notAuthorized, "next")
	refuse(t, a, tokenOf(t, k.otherRSA, gojwt.SigningMethodRS256, "new"), 403, notAuthorized, "signature")
}

func TestVerifiedTokensOutliveTheEndpoint(t *testing.T) {
	k := testKeys()
	p := newProvider(t, jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey})
	a := compileJWKS(t, config.JWTRSA, jwks.Options{}, p.URL)
	token := tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "r")
	admit(t, a, token)
	p.Close()
	refuse(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "other"), 403, notAuthorized, "other") // tries, in vain
	admit(t, a, token)
	admit(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS512, "r"))
}

func TestEndpointDownFromTheBeginning(t *testing.T) {
	k := testKeys()
	p := newProvider(t)
	p.Close()
	told := make(chan jwks.Attempt, 10)
	a := compileJWKS(t, config.JWTRSA, jwks.Options{Interval: time.Hour, Report: func(a jwks.Attempt) { told <- a }}, p.URL)
	<-told
	refuse(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "r"), 503, "Key not authorized: key set unavailable", p.URL)
}

func TestForgedKidsDoNotFetch(t *testing.T) {
	k := testKeys()
	p := newProvider(t, jose.JSONWebKey{KeyID: "r", Key: &k.rsa.PublicKey})
	a := compileJWKS(t, config.JWTRSA, jwks.Options{Interval: time.Hour}, p.URL)
	admit(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "r"))
	for i := range 100 {
		refuse(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, strings.Repeat("x", i+1)), 403, notAuthorized, "")
	}
	if n := p.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestSeveralKeySets(t *testing.T) {
	k := testKeys()
	// The same id in both, as independent providers may choose it.
	first := newProvider(t, jose.JSONWebKey{KeyID: "1", Key: &k.rsa.PublicKey})
	second := newProvider(t, jose.JSONWebKey{KeyID: "1", Key: &k.otherRSA.PublicKey})
	told := make(chan jwks.Attempt, 10)
	a := compileJWKS(t, config.JWTRSA, jwks.Options{Report: func(a jwks.Attempt) { told <- a }}, first.URL, second.URL)
	<-told // while one is not there yet, its key counts for nothing
	<-told
	for range 2 {
		admit(t, a, tokenOf(t, k.otherRSA, gojwt.SigningMethodRS256, "1"))
		admit(t, a, tokenOf(t, k.rsa, gojwt.SigningMethodRS256, "1"))
	}
}
