package authn

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// verified is a backing of a client whose certificate was verified, or not.
type verified struct {
	sdk.Backing
	chain []*x509.Certificate
	by    bool
}

func (v verified) PeerCertificates() []*x509.Certificate { return v.chain }
func (v verified) PeerVerified() bool                    { return v.by }

func TestCertificate(t *testing.T) {
	now := time.Now()
	cert, stranger, old := leaf(t, now), leaf(t, now), leaf(t, now.Add(-2*time.Hour))
	keys := keysOf(map[string]*identity.Session{
		"cert:" + fingerprint(cert): {}, "cert:" + fingerprint(old): {}, "t0ken": {},
		"org" + fingerprint(cert): {Certificate: "org" + fingerprint(cert)}, "s3cret": {Certificate: fingerprint(cert)},
		keyid.Encode("org", strings.ToUpper(fingerprint(cert)), keyid.SHA256): {Certificate: fingerprint(cert)},
		"bound": {MTLSBindings: []string{"org" + strings.ToUpper(fingerprint(cert))}},
	})
	const needed, disallowed = "403 Client TLS certificate is required", "403 Access to this API has been disallowed"
	bound, only := "cert:"+fingerprint(cert), "org"+fingerprint(cert)
	method := func(c config.CertificateAuth) config.AuthMethod {
		return config.AuthMethod{Kind: config.AuthCertificate, Certificate: c}
	}
	instead := config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{Credential: config.Credential{Header: "Key"}, Certificate: true}}
	tests := []struct {
		name     string
		m        config.AuthMethod
		cert     *x509.Certificate
		verified bool
		token    string
		want     string
	}{
		{"bound key", method(config.CertificateAuth{}), cert, false, "", bound},
		{"no key", method(config.CertificateAuth{}), stranger, true, "", disallowed},
		{"none", method(config.CertificateAuth{}), nil, false, "", needed},
		{"expired", method(config.CertificateAuth{}), old, false, "", disallowed},
		{"allowed", method(config.CertificateAuth{Allow: []string{fingerprint(cert)}}), cert, false, "", bound},
		{"not allowed", method(config.CertificateAuth{Allow: []string{fingerprint(stranger)}}), cert, true, "", disallowed},
		{"allowed, no key needed", method(config.CertificateAuth{Allow: []string{fingerprint(cert)}, Only: true}), cert, false, "", only},
		{"verified, no key needed", method(config.CertificateAuth{Only: true}), cert, true, "", only},
		{"nobody vouches", method(config.CertificateAuth{Only: true}), cert, false, "", disallowed},
		{"expired, no key needed", method(config.CertificateAuth{Only: true}), old, true, "", disallowed},
		{"in place of a token", instead, cert, false, "", bound},
		{"in place of a token, expired", instead, old, false, "", disallowed},
		{"not in place of a token that is there", instead, cert, false, "gu3ss", disallowed},
		{"beside a token", instead, stranger, false, "t0ken", "t0ken"},
		{"neither", instead, nil, false, "", "401 Authorization field missing"},
		{"token bound to it", instead, cert, false, "bound", "bound"},
		{"token bound to another", instead, stranger, true, "bound", disallowed},
		{"token named after it", instead, cert, false, only, only},
		{"token named after another", instead, stranger, true, only, disallowed},
		{"token named after a certificate that does not come", instead, nil, false, only, disallowed},
		{"the same in base64", instead, nil, false, keyid.Encode("org", strings.ToUpper(fingerprint(cert)), keyid.SHA256), disallowed},
		{"token of a key with a certificate", instead, nil, false, "s3cret", "s3cret"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := verified{by: test.verified}
			if test.cert != nil {
				v.chain = []*x509.Certificate{test.cert}
			}
			x := &sdk.Exchange{}
			x.Reset(sdk.Init{Route: &sdk.Route{}, Backing: v})
			if test.token != "" {
				x.Request().Header().Append("Key", test.token)
			}
			if got := outcome(t, compile(t, test.m, keys), x); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
