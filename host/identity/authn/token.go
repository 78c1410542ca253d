package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// maxToken bounds a token in bytes; those that are made have at most some hundred.
const maxToken = 4 << 10

// jwtSession is in the metadata of sessions that JWTs made (reference §11). Their tokens are made of who calls.
const jwtSession = "TykJWTSessionID"

// token is a key in the store. Keys whose token is no secret are none here: users of basic authentication, who calls
// with JWTs and whose id a hook was told share one store with it, and their names are known or to be guessed.
type token struct {
	credential  Credential
	certificate bool
	signature   *mashery
	org         string
	keys        Keys
}

func newToken(c *config.TokenAuth, api Facts, keys Keys) (*token, error) {
	s, err := newMashery(&c.Signature)
	if err != nil {
		return nil, err
	}
	return &token{NewCredential(c.Credential), c.Certificate, s, api.Org, keys}, nil
}

// Authenticate is Authenticator's.
func (t *token) Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error) {
	found, err := t.credential.Find(x)
	key := TrimBearer(found)
	if err == nil && key == "" {
		err = errMissing
	}
	switch {
	case IsMissing(err) && t.certificate && t.signature == nil && len(x.PeerCertificates()) > 0:
		return bound(ctx, x, t.org, t.keys)
	case err != nil:
		return nil, refuse(401, textMissing, err)
	case len(key) > maxToken:
		return nil, refuse(403, textDisallowed, errTooLong)
	}
	if other := Else(found); other != nil {
		return nil, refuse(403, textDisallowed, other)
	}
	caller, err := t.keys.Lookup(ctx, t.org, key)
	if err != nil && !unknown(err) {
		return nil, err
	}
	if err != nil && strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2 { // a JWT
		err = fmt.Errorf("%w: %w", errElse, err)
	}
	if t.signature != nil { // first, so that who cannot sign does not learn which tokens there are
		if refusal := t.signature.verify(x, key, caller); refusal != nil {
			return nil, refusal
		}
	}
	if err != nil {
		return nil, refuse(403, textDisallowed, err)
	}
	if !secret(caller.Session) {
		return nil, refuse(403, textDisallowed, errNoSecretName)
	}
	if !holds(x, caller.Session.MTLSBindings) || !holds(x, named(key, caller.Session)) {
		return nil, refuse(403, textDisallowed, errBinding)
	}
	return caller, nil
}

// secret reports whether the token of a key can be one. That of a user is his name, that of a JWT's identity and that of a
// session whose id was extracted from a request are made of what others may know.
func secret(s *identity.Session) bool {
	_, virtual := s.Metadata[jwtSession]
	return !virtual && s.BasicAuth.Password == "" && s.IDExtractorDeadline == 0
}

// named returns the certificate that a token is named after, as those of Tyk's keys for certificates are: a certificate is
// public, and so is its fingerprint.
func named(token string, s *identity.Session) []string {
	print := strings.ToLower(s.Certificate[max(0, len(s.Certificate)-2*sha256.Size):])
	if parts, ok := keyid.Decode(token); ok {
		token = parts.Name
	}
	if print == "" || !strings.HasSuffix(strings.ToLower(token), print) {
		return nil
	}
	return []string{print}
}

// holds reports whether the client presented one of the certificates that a key is bound to, which are the SHA-256 of
// certificates in hex, behind the organisation's id or not; a key that is bound to none asks for none.
func holds(x *sdk.Exchange, bindings []string) bool {
	if len(bindings) == 0 {
		return true
	}
	chain := x.PeerCertificates()
	if len(chain) == 0 {
		return false
	}
	print := fingerprint(chain[0])
	return slices.ContainsFunc(bindings, func(b string) bool { return strings.HasSuffix(strings.ToLower(b), print) }) &&
		current(chain[0])
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// current reports whether a certificate is good now: connections live longer than their handshake's judgement.
func current(c *x509.Certificate) bool {
	now := time.Now()
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}
