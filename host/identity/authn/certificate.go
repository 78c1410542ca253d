package authn

import (
	"context"
	"errors"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var (
	errNoCertificate = fmt.Errorf("%w: the client presented no certificate", errMissing)
	errNotAllowed    = errors.New("client certificate is not among those allowed")
	errNotCurrent    = errors.New("client certificate has expired or is not yet valid")
	errNotVerified   = errors.New("nobody vouches for the client certificate: the listener has no CA for clients, or the host does not say")
)

// certificate lets clients in by their certificate. The handshake has proved that they hold its private key.
type certificate struct {
	allow map[string]struct{}
	only  bool
	org   string
	keys  Keys
}

func newCertificate(c *config.CertificateAuth, api Facts, keys Keys) *certificate {
	allow := make(map[string]struct{}, len(c.Allow))
	for _, print := range c.Allow {
		allow[print] = struct{}{}
	}
	return &certificate{allow: allow, only: c.Only, org: api.Org, keys: keys}
}

// A verifier is an exchange's backing that knows whether the client's certificate was verified against the listener's
// CA. Where the backing is none, no certificate was.
type verifier interface{ PeerVerified() bool }

// Authenticate is Authenticator's.
func (c *certificate) Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error) {
	chain := x.PeerCertificates()
	if len(chain) == 0 {
		return nil, refuse(403, textCertNeeded, errNoCertificate)
	}
	print := fingerprint(chain[0])
	if len(c.allow) > 0 {
		if _, ok := c.allow[print]; !ok {
			return nil, refuse(403, textDisallowed, errNotAllowed)
		}
	}
	if !c.only {
		return bound(ctx, x, c.org, c.keys)
	}
	if v, ok := x.Backing().(verifier); len(c.allow) == 0 && !(ok && v.PeerVerified()) {
		return nil, refuse(403, textDisallowed, errNotVerified)
	}
	if !current(chain[0]) {
		return nil, refuse(403, textDisallowed, errNotCurrent)
	}
	return c.keys.Adopt(ctx, identity.Adoption{
		Org:     c.org,
		Token:   c.keys.Token(c.org, print),
		Session: &identity.Session{OrgID: c.org, Alias: chain[0].Subject.CommonName, Certificate: print},
	})
}

// bound returns whose key the client's certificate, which must be there, is bound to.
func bound(ctx context.Context, x *sdk.Exchange, org string, keys Keys) (*identity.Caller, error) {
	leaf := x.PeerCertificates()[0]
	if !current(leaf) {
		return nil, refuse(403, textDisallowed, errNotCurrent)
	}
	caller, err := keys.ByCertificate(ctx, org, fingerprint(leaf))
	switch {
	case err == nil:
		return caller, nil
	case unknown(err):
		return nil, refuse(403, textDisallowed, err)
	}
	return nil, err
}
