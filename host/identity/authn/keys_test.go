package authn

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The methods on keys in a store: what the fakes of the other tests promise, identity.Keys keeps.
func TestStoredKeys(t *testing.T) {
	storage, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := identity.Open(t.Context(), storage, identity.OpenPolicies(storage), identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := keys.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := storage.Close(); err != nil {
			t.Error(err)
		}
	}()
	cert := leaf(t, time.Now())
	create := func(org, name string, s *identity.Session) string {
		stored, err := keys.Create(t.Context(), org, name, s, identity.Lifetime{})
		if err != nil {
			t.Fatal(err)
		}
		return stored.Token
	}
	token := create("org", "", &identity.Session{Certificate: "org" + fingerprint(cert)})
	foreign := create("elsewhere", "", &identity.Session{})
	alice := create("org", "alice", &identity.Session{BasicAuth: identity.BasicAuth{Password: sesame, Hash: "bcrypt"}})
	signer := create("org", "", &identity.Session{HMACEnabled: true, HMACSecret: "s3cret"})

	standard := config.Credential{Header: "Authorization"}
	tokens := compile(t, config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{Credential: standard}}, keys)
	basics := cheap(compile(t, basicMethod(), keys))
	signed := signedMethod()
	signed.Skew, signed.Once = 0, false
	signatures := compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: signed}, keys)
	certificates := compile(t, config.AuthMethod{Kind: config.AuthCertificate}, keys)
	only := compile(t, config.AuthMethod{Kind: config.AuthCertificate, Certificate: config.CertificateAuth{Only: true, Allow: []string{fingerprint(cert)}}}, keys)

	const unknown, user = "403 Access to this API has been disallowed", "401 User not authorised"
	tests := []struct {
		name string
		a    Authenticator
		x    *sdk.Exchange
		want string
	}{
		{"token", tokens, get("/", "Authorization: Bearer "+token), token},
		{"token, cached", tokens, get("/", "Authorization: "+token), token},
		{"token of another organisation", tokens, get("/", "Authorization: "+foreign), unknown},
		{"no such token", tokens, get("/", "Authorization: gu3ss"), unknown},
		{"name of a user", tokens, get("/", "Authorization: alice"), unknown},
		{"user", basics, get("/", basicHeader("alice", "open sesame")), alice},
		{"user, wrong password", basics, get("/", basicHeader("alice", "hunter2")), user},
		{"no such user", basics, get("/", basicHeader("bob", "hunter2")), user},
		{"user of a key", basics, get("/", basicHeader(token, "")), user},
		{"signature", signatures, get("/orders?a=1&b=%2F", credentials(signer, "hmac-sha256", sha256MAC), "Date: "+date, "X-List: one, two"), signer},
		{"signature, no such key", signatures, get("/orders?a=1&b=%2F", credentials("gu3ss", "hmac-sha256", sha256MAC), "Date: "+date, "X-List: one, two"), refused},
		{"no certificate of a key", certificates, exchange(request("/").Peer(leaf(t, time.Now()))), unknown},
	}
	for _, test := range tests {
		if got := outcome(t, test.a, test.x); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, a := range []Authenticator{certificates, only} {
		x := exchange(request("/").Peer([]*x509.Certificate{cert}...))
		c, err := a.Authenticate(t.Context(), x)
		if err != nil || c.Session.OrgID != "org" || c.View.KeyID == "" || c.ID == "" {
			t.Errorf("by certificate: got %+v, %v", c, err)
		}
	}
	if got := outcome(t, tokens, get("/", "Authorization: "+keys.Token("org", fingerprint(cert)))); got != unknown {
		t.Errorf("the fingerprint of a certificate is a token: %q", got)
	}
}
