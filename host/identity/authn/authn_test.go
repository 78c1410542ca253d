package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

// fakeKeys are keys of organisation "org" in a map, by token, and by fingerprint behind "cert:".
type fakeKeys struct {
	sessions map[string]*identity.Caller
	fail     error
}

func (f fakeKeys) Lookup(_ context.Context, org, token string) (*identity.Caller, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	if c := f.sessions[token]; c != nil && org == "org" {
		return c, nil
	}
	return nil, fmt.Errorf("looking up a key: %w", identity.ErrUnknown)
}

func (f fakeKeys) ByCertificate(ctx context.Context, org, fingerprint string) (*identity.Caller, error) {
	return f.Lookup(ctx, org, "cert:"+fingerprint)
}

func (f fakeKeys) Adopt(_ context.Context, a identity.Adoption) (*identity.Caller, error) {
	if a.Org != a.Session.OrgID || a.Store {
		return nil, errors.New("adoption of another organisation, or to be stored")
	}
	return caller(a.Token, a.Session), nil
}

func (f fakeKeys) Token(org, name string) string { return org + name }

func caller(token string, s *identity.Session) *identity.Caller {
	view := &sdk.Session{KeyID: token, OrgID: s.OrgID, Metadata: map[string]string{}}
	for name, value := range s.Metadata {
		view.Metadata[name] = value.(string)
	}
	return &identity.Caller{Token: token, ID: "id-" + token, Session: s, View: view}
}

func keysOf(sessions map[string]*identity.Session) fakeKeys {
	f := fakeKeys{sessions: map[string]*identity.Caller{}}
	for token, s := range sessions {
		s.OrgID = "org"
		f.sessions[token] = caller(token, s)
	}
	return f
}

func facts() Facts { return Facts{ID: "api", Name: "The API", Org: "org"} }

func compile(t testing.TB, m config.AuthMethod, keys Keys) Authenticator {
	t.Helper()
	a, err := Compile(&m, facts(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// outcome is the token of who was let in, or status and text of the refusal.
func outcome(t testing.TB, a Authenticator, x *sdk.Exchange) string {
	t.Helper()
	c, err := a.Authenticate(t.Context(), x)
	if err == nil {
		return c.Token
	}
	var refusal *sdk.Error
	if !errors.As(err, &refusal) {
		return "failed: " + err.Error()
	}
	if refusal.Err == nil {
		t.Error("a refusal says nothing for the log")
	}
	for _, secret := range []string{"hunter2", "open sesame", "s3cret", "t0ken", "shared", "gu3ss"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
	return fmt.Sprintf("%d %s", refusal.Status, refusal.Message)
}

func get(target string, header ...string) *sdk.Exchange { return exchange(request(target, header...)) }

func request(target string, header ...string) *sdktest.Builder {
	b := sdktest.Request("GET", target)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		b.Header(name, value)
	}
	return b
}

func exchange(b *sdktest.Builder) *sdk.Exchange {
	return b.Exchange(sdk.Auth, sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody | sdk.NeedPeer}, nil)
}

func TestToken(t *testing.T) {
	keys := keysOf(map[string]*identity.Session{
		"t0ken": {}, "a, Bearer b": {}, "user": {BasicAuth: identity.BasicAuth{Password: "x"}},
		"jwt":   {Metadata: identity.Metadata{"TykJWTSessionID": "jwt"}},
		"bound": {MTLSBindings: []string{"org" + strings.Repeat("0", 64)}},
	})
	a := compile(t, config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{
		Credential: config.Credential{Header: "Authorization", Param: "key", Cookie: "session"},
	}}, keys)
	const missing, unknown = "401 Authorization field missing", "403 Access to this API has been disallowed"
	tests := []struct {
		name, target string
		header       []string
		want         string
	}{
		{"plain", "/", []string{"Authorization: t0ken"}, "t0ken"},
		{"bearer", "/", []string{"Authorization: Bearer t0ken"}, "t0ken"},
		{"bearer, odd case and blanks", "/", []string{"aUTHORIZATION: bEARER   t0ken \t"}, "t0ken"},
		{"query", "/?a=1&key=t0ken", nil, "t0ken"},
		{"query, escaped", "/?k%65y=t0%6Ben", nil, "t0ken"},
		{"query before header", "/?key=t0ken", []string{"Authorization: other"}, "t0ken"},
		{"cookie", "/", []string{"Cookie: a=b; session=t0ken; c"}, "t0ken"},
		{"cookie in quotes", "/", []string{`Cookie: session="t0ken"`}, "t0ken"},
		{"cookie in the second line", "/", []string{"Cookie: a=b", "cookie: session=t0ken"}, "t0ken"},
		{"cookie before query", "/?key=other", []string{"Cookie: session=t0ken"}, "t0ken"},
		{"empty cookie", "/", []string{"Cookie: session=", "Authorization: t0ken"}, "t0ken"},
		{"none", "/", nil, missing},
		{"empty", "/?key=", []string{"Authorization:  "}, missing},
		{"bearer of nothing", "/", []string{"Authorization: Bearer "}, unknown},
		{"cookie of another case", "/", []string{"Cookie: Session=t0ken"}, missing},
		{"unknown", "/", []string{"Authorization: Bearer gu3ss"}, unknown},
		{"twice the same", "/", []string{"Authorization: t0ken", "Authorization: t0ken"}, "t0ken"},
		{"two that differ", "/", []string{"Authorization: t0ken", "Authorization: gu3ss"}, missing},
		{"two that differ, the first wrong", "/", []string{"Authorization: gu3ss", "Authorization: t0ken"}, missing},
		{"two in the query", "/?key=t0ken&key=gu3ss", nil, missing},
		{"two cookies", "/", []string{"Cookie: session=t0ken; session=gu3ss", "Authorization: t0ken"}, missing},
		{"two joined by a comma are one", "/", []string{"Authorization: Bearer t0ken, Bearer gu3ss"}, unknown},
		{"a key with a comma", "/", []string{"Authorization: Bearer a, Bearer b"}, "a, Bearer b"},
		{"too long", "/", []string{"Authorization: " + strings.Repeat("a", maxToken+1)}, unknown},
		{"absurdly long", "/", []string{"Authorization: " + strings.Repeat("a", maxCredential+1)}, missing},
		{"name of a basic user", "/", []string{"Authorization: user"}, unknown},
		{"identity of a JWT", "/", []string{"Authorization: jwt"}, unknown},
		{"bound to a certificate", "/", []string{"Authorization: bound"}, unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x := get(test.target, test.header...)
			before := x.Snapshot()
			if got := outcome(t, a, x); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !reflect.DeepEqual(before, x.Snapshot()) {
				t.Error("the exchange changed")
			}
		})
	}
}

// A store that is away is no refusal, whatever the method.
func TestStoreAway(t *testing.T) {
	keys := fakeKeys{fail: fmt.Errorf("reading a key: %w", store.ErrUnavailable)}
	standard := config.Credential{Header: "Authorization"}
	cert := leaf(t, time.Now())
	tests := []struct {
		m      config.AuthMethod
		header string
	}{
		{config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{Credential: standard}}, "Authorization: t0ken"},
		{config.AuthMethod{Kind: config.AuthBasic, Basic: config.BasicAuth{Credential: standard}}, "Authorization: Basic YTpi"},
		{config.AuthMethod{Kind: config.AuthHMAC, HMAC: config.HMACAuth{Credential: standard, Algorithms: []string{"hmac-sha256"}}},
			`Authorization: Signature keyId="t0ken",algorithm="hmac-sha256",headers="host",signature="AAAA"`},
		{config.AuthMethod{Kind: config.AuthCertificate}, "A: b"},
	}
	for _, test := range tests {
		_, err := compile(t, test.m, keys).Authenticate(t.Context(), exchange(request("/", test.header).Peer(cert)))
		var refusal *sdk.Error
		if !errors.Is(err, store.ErrUnavailable) || errors.As(err, &refusal) {
			t.Errorf("%s: got %v", test.m.Kind, err)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	signature := func(s config.SignatureAuth) config.AuthMethod {
		return config.AuthMethod{Kind: config.AuthToken, Path: "$.auth.all[0].token", Token: config.TokenAuth{Signature: s}}
	}
	hmac := func(c config.HMACAuth) config.AuthMethod { return config.AuthMethod{Kind: config.AuthHMAC, HMAC: c} }
	tests := []struct {
		m    config.AuthMethod
		want string
	}{
		{config.AuthMethod{Kind: config.AuthJWT}, "none of the built-in"},
		{signature(config.SignatureAuth{Algorithm: "MasherySHA1", Secret: "x", Header: "Sig"}), "$.auth.all[0].token: signature.algorithm"},
		{signature(config.SignatureAuth{Algorithm: "MasheryMD5", Header: "Sig"}), "signature.secret"},
		{signature(config.SignatureAuth{Algorithm: "MasheryMD5", Secret: "x"}), "header or query parameter"},
		{signature(config.SignatureAuth{Algorithm: "MasheryMD5", Secret: "x", Header: "Sig", Skew: time.Hour}), "signature.skew"},
		{signature(config.SignatureAuth{Algorithm: "MasheryMD5", Secret: "a$tyk_meta.b", Header: "Sig"}), "$tyk_meta"},
		{hmac(config.HMACAuth{}), "at least one"},
		{hmac(config.HMACAuth{Algorithms: []string{"none"}}), `"none"`},
		{hmac(config.HMACAuth{Algorithms: []string{"hmac-sha256"}, Once: true}), "skew"},
		{hmac(config.HMACAuth{Algorithms: []string{"hmac-sha256"}, Headers: []string{"(created)"}}), "(created)"},
		{config.AuthMethod{Kind: config.AuthBasic, Basic: config.BasicAuth{BodyUser: "a", BodyPassword: "(b)"}}, "group"},
		{config.AuthMethod{Kind: config.AuthBasic, Basic: config.BasicAuth{BodyUser: "(a)", BodyPassword: "("}}, "body_password"},
	}
	for _, test := range tests {
		if _, err := Compile(&test.m, facts(), fakeKeys{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
}

// The signatures are those of Python's hashlib, of "tok" + "shared" + "946684805".
func TestMashery(t *testing.T) {
	const sha = "4d64a7d8c7909135676c35737e9b20b3b1c3fa57fb36fb4eab56cf7fac36b560"
	const md = "283877bd20824e5c808d8411b81f1ab6"
	const wrong = "401 Request signature verification failed"
	tests := []struct {
		name, algorithm, secret, token, signature string
		at                                        time.Duration // after 2000-01-01, second 5 being when it was signed
		want                                      string
	}{
		{"sha256", "MasherySHA256", "shared", "tok", sha, 5, "tok"},
		{"md5", "MasheryMD5", "shared", "tok", md, 5, "tok"},
		{"upper case", "MasheryMD5", "shared", "tok", strings.ToUpper(md), 5, "tok"},
		{"clock behind", "MasheryMD5", "shared", "tok", md, 0, "tok"},
		{"clock ahead", "MasheryMD5", "shared", "tok", md, 10, "tok"},
		{"too old", "MasheryMD5", "shared", "tok", md, 11, wrong},
		{"secret of the key", "MasheryMD5", "$tyk_meta.secret", "tok", md, 5, "tok"},
		{"secret of no key", "MasheryMD5", "$tyk_meta.other", "tok", md, 5, wrong},
		{"wrong secret", "MasheryMD5", "gu3ss", "tok", md, 5, wrong},
		{"the other algorithm's", "MasherySHA256", "shared", "tok", md, 5, wrong},
		{"no hex", "MasheryMD5", "shared", "tok", strings.Repeat("zz", 16), 5, wrong},
		{"odd", "MasheryMD5", "shared", "tok", md + "0", 5, wrong},
		{"none", "MasheryMD5", "shared", "tok", "", 5, wrong},
		{"unknown key, no signature", "MasheryMD5", "shared", "gu3ss", md, 5, wrong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := keysOf(map[string]*identity.Session{"tok": {Metadata: identity.Metadata{"secret": "shared"}}})
				a := compile(t, config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{
					Credential: config.Credential{Header: "Key"}, Certificate: true,
					Signature: config.SignatureAuth{Algorithm: test.algorithm, Header: "Sig", Param: "sig", Secret: test.secret, Skew: 5 * time.Second},
				}}, keys)
				<-time.After(test.at * time.Second)
				if got := outcome(t, a, get("/", "Key: "+test.token, "Sig: "+test.signature)); got != test.want {
					t.Errorf("in the header: got %q, want %q", got, test.want)
				}
				if got := outcome(t, a, get("/?sig="+test.signature, "Key: "+test.token)); got != test.want {
					t.Errorf("in the query: got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// leaf is a certificate that is good from an hour before now to an hour after.
func leaf(t testing.TB, now time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machine 7"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
