package jwt_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const org = "acme"

// keyring is identity.Keys without a store.
type keyring struct {
	mu       sync.Mutex
	sessions map[string]*identity.Session
	policies map[string]*identity.Policy
	adopted  []identity.Adoption
	fail     error // of every call
}

func newKeyring(policies ...string) *keyring {
	k := &keyring{sessions: map[string]*identity.Session{}, policies: map[string]*identity.Policy{}}
	for i, id := range policies {
		k.policies[id] = &identity.Policy{
			ID: id, OrgID: org, Rate: float64(10 * (i + 1)), Per: 1, QuotaMax: int64(100 * (i + 1)), QuotaRenewalRate: 60,
			AccessRights: map[string]identity.Access{"api-of-" + id: {APIID: "api-of-" + id}},
		}
	}
	return k
}

func (k *keyring) caller(token string, s *identity.Session) (*identity.Caller, error) {
	var policies []*identity.Policy
	for _, id := range s.Policies() {
		p := k.policies[id]
		if p == nil {
			return nil, fmt.Errorf("%w: %q", identity.ErrPolicy, id)
		}
		policies = append(policies, p)
	}
	applied, err := identity.Apply(s, policies)
	if err != nil {
		return nil, err
	}
	return &identity.Caller{Token: token, ID: "hash of " + token, Session: applied, View: applied.View(token)}, nil
}

func (k *keyring) Lookup(_ context.Context, from, token string) (*identity.Caller, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[token]
	switch {
	case k.fail != nil:
		return nil, k.fail
	case s == nil || s.OrgID != from:
		return nil, identity.ErrUnknown
	}
	return k.caller(token, s)
}

func (k *keyring) Get(_ context.Context, ref identity.Ref) (identity.Stored, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sessions[ref.Key]
	switch {
	case k.fail != nil:
		return identity.Stored{}, k.fail
	case s == nil || s.OrgID != ref.Org:
		return identity.Stored{}, identity.ErrUnknown
	}
	return identity.Stored{Token: ref.Key, Session: s}, nil
}

func (k *keyring) Adopt(_ context.Context, a identity.Adoption) (*identity.Caller, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return nil, k.fail
	}
	c, err := k.caller(a.Token, a.Session)
	if err != nil {
		return nil, err
	}
	k.adopted = append(k.adopted, a)
	if a.Store {
		k.sessions[a.Token] = a.Session
	}
	return c, nil
}

func (k *keyring) Token(org, name string) string { return org + name }

func (k *keyring) adoptions() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.adopted)
}

// The keys of this test, made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() (k struct {
	rsa, otherRSA, weakRSA *rsa.PrivateKey
	p256, p384, p521       *ecdsa.PrivateKey
	ed                     ed25519.PrivateKey
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.otherRSA, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.weakRSA, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	for curve, to := range map[elliptic.Curve]**ecdsa.PrivateKey{elliptic.P256(): &k.p256, elliptic.P384(): &k.p384, elliptic.P521(): &k.p521} {
		*to, err = ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
	}
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

func publicPEM(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

const secret = "a secret of at least thirty-two bytes"

type claims = map[string]any

// sign makes a token by the library that is not under test here; header entries are added.
func sign(t testing.TB, method gojwt.SigningMethod, key any, c claims, header ...claims) string {
	t.Helper()
	token := gojwt.NewWithClaims(method, gojwt.MapClaims(c))
	for _, h := range header {
		maps.Copy(token.Header, h)
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// forge signs header and payload as they are written, with HMAC and the secret of this test.
func forge(t testing.TB, header, payload string) string {
	t.Helper()
	text := encode(header) + "." + encode(payload)
	signature, err := gojwt.SigningMethodHS256.Sign(text, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(string(signature))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func soon() int64 { return time.Now().Add(time.Hour).Unix() }

// hmacMethod is a definition with the secret and one policy.
func hmacMethod() config.JWTAuth {
	return config.JWTAuth{
		Credential: config.Credential{Header: "Authorization"}, Method: config.JWTHMAC, Source: secret,
		Identity: "sub", Policies: []string{"base"},
	}
}

// compile makes an Authenticator with a cache of verified tokens.
func compile(t testing.TB, m config.JWTAuth, k *keyring) *jwt.Authenticator {
	t.Helper()
	return compileWith(t, m, jwt.API{Org: org, Store: true}, jwt.Services{Keys: k, Tokens: jwt.NewTokens(0, 0)})
}

func compileWith(t testing.TB, m config.JWTAuth, api jwt.API, s jwt.Services) *jwt.Authenticator {
	t.Helper()
	a, err := jwt.Compile(&m, api, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// exchange is a request with that token.
func exchange(token string) *sdk.Exchange {
	var x sdk.Exchange
	x.Reset(sdk.Init{Route: &sdk.Route{ID: "api", Org: org}})
	if token != "" {
		x.Request().Header().Append("Authorization", "Bearer "+token)
	}
	return &x
}

// call authenticates one request.
func call(t testing.TB, a *jwt.Authenticator, token string) (*identity.Caller, *sdk.Exchange, error) {
	t.Helper()
	x := exchange(token)
	c, err := a.Authenticate(t.Context(), x)
	return c, x, err
}

// admit wants a request to be let in.
func admit(t testing.TB, a *jwt.Authenticator, token string) *identity.Caller {
	t.Helper()
	c, _, err := call(t, a, token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return c
}

// refuse wants a request to be refused with status and text, for a cause that the log tells and that holds no token.
func refuse(t testing.TB, a *jwt.Authenticator, token string, status int, message, cause string) {
	t.Helper()
	for range 2 { // what is kept of the first must not let the second in
		c, x, err := call(t, a, token)
		var refusal *sdk.Error
		if !errors.As(err, &refusal) {
			t.Fatalf("got %v, %v; want a refusal", c, err)
		}
		if refusal.Status != status || refusal.Message != message {
			t.Errorf("got %d %q, want %d %q", refusal.Status, refusal.Message, status, message)
		}
		if !strings.Contains(err.Error(), cause) {
			t.Errorf("got %v, want the cause %q", err, cause)
		}
		if last := token[strings.LastIndexByte(token, '.')+1:]; len(last) > 20 && strings.Contains(err.Error(), last) {
			t.Errorf("%v shows the token", err)
		}
		if strings.Contains(err.Error(), "hash of ") { // which is the token of the key where tokens are not hashed
			t.Errorf("%v shows the key's id", err)
		}
		if len(x.Values()) > 0 {
			t.Errorf("a refused token left values: %v", x.Values())
		}
	}
}
