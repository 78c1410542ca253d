package authn

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn/httpsig"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var (
	errAlgorithm = errors.New("the algorithm is not among those that the definition admits")
	errRequired  = errors.New("a header that must be signed is not")
	errDate      = errors.New("the date is missing, not signed, or no date")
	errSkew      = errors.New("the date is too far off")
	errSeen      = errors.New("the signature has been seen before, or its date is among those forgotten")
	errNoSecret  = errors.New("the key has no secret for this algorithm, or signatures are not enabled for it")
	errMAC       = errors.New("wrong signature")
	errPublicKey = errors.New("the key's rsa_certificate_id is no RSA key or certificate of 2048 bits or more, in PEM or base64")
)

const rsaSHA256 = "rsa-sha256"

// signed is a signature of the request's header.
type signed struct {
	credential Credential
	algorithms []string
	required   []string
	skew       time.Duration
	once       bool
	digest     bool // a digest of the body must be signed, and so is verified
	name       string
	api        Facts
	keys       Keys
	decoy      *rsa.PublicKey
	public     publicKeys
}

func newSigned(c *config.HMACAuth, name string, api Facts, keys Keys) (*signed, error) {
	s := &signed{
		credential: NewCredential(c.Credential), algorithms: c.Algorithms, skew: c.Skew, once: c.Once,
		name: name, api: api, keys: keys, decoy: decoyKey(),
	}
	for _, a := range c.Algorithms {
		if a != rsaSHA256 && newHash(a) == nil {
			return nil, fmt.Errorf("algorithms: there is no %q", a)
		}
	}
	if len(c.Algorithms) == 0 {
		return nil, errors.New("algorithms: name at least one")
	}
	if c.Once && c.Skew <= 0 {
		return nil, errors.New("once: a signature without a date that is looked at can be replayed for ever: set skew")
	}
	for _, name := range c.Headers {
		name = strings.ToLower(name)
		if name != httpsig.RequestTarget && !sdk.ValidToken(name) {
			return nil, fmt.Errorf("headers: %q is no name of a header", name)
		}
		s.required = append(s.required, name)
		s.digest = s.digest || httpsig.IsDigest(name)
	}
	return s, nil
}

// needsBody is NeedsBody's.
func (s *signed) needsBody() bool { return s.digest }

// Authenticate is Authenticator's. Every refusal has the same status and text.
func (s *signed) Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error) {
	found, err := s.credential.Find(x)
	if err != nil {
		return nil, refuse(400, textMalformed, err)
	}
	parameters, ok := scheme(found, "Signature")
	if !ok {
		return nil, refuse(400, textMalformed, errMissing)
	}
	sig, err := httpsig.Parse(parameters)
	if err != nil {
		return nil, refuse(400, textMalformed, err)
	}
	now := time.Now()
	date, err := s.admit(x.Request(), sig, now)
	if err != nil {
		return nil, refuse(400, textMalformed, err)
	}
	text, err := httpsig.Message(x.Request(), sig.Headers)
	if err != nil {
		return nil, refuse(400, textMalformed, err)
	}
	caller, err := s.keys.Lookup(ctx, s.api.Org, sig.KeyID)
	if err != nil && !unknown(err) {
		return nil, err
	}
	if wrong := s.verify(caller, sig, text); err == nil {
		err = wrong
	}
	if err == nil && s.digest {
		if !buffered(x.Request()) {
			return nil, errBody
		}
		err = httpsig.VerifyDigests(x.Request(), sig.Headers)
	}
	if err == nil && s.once && !s.first(caller, sig, date, now) {
		err = errSeen
	}
	if err != nil {
		return nil, refuse(400, textMalformed, err)
	}
	return caller, nil
}

// admit judges what does not depend on the key, and returns the date.
func (s *signed) admit(r *sdk.Request, sig *httpsig.Signature, now time.Time) (date time.Time, err error) {
	if sig.Algorithm == "" && len(s.algorithms) == 1 {
		sig.Algorithm = s.algorithms[0]
	}
	sig.Algorithm = strings.ToLower(sig.Algorithm)
	if !slices.Contains(s.algorithms, sig.Algorithm) {
		return date, errAlgorithm
	}
	for _, name := range s.required {
		if !slices.Contains(sig.Headers, name) && !(name == httpsig.DateName && slices.Contains(sig.Headers, httpsig.AuxDateName)) {
			return date, errRequired
		}
	}
	if s.skew <= 0 {
		return date, nil
	}
	date, ok := httpsig.Date(r, sig.Headers)
	switch {
	case !ok:
		return date, errDate
	case now.Sub(date).Abs() > s.skew:
		return date, errSkew
	}
	return date, nil
}

// first reports whether the signature comes for the first time. Its date is good for another skew.
func (s *signed) first(c *identity.Caller, sig *httpsig.Signature, date, now time.Time) bool {
	d := s.api.Memory.digest(s.api.ID, s.name, c.ID, string(sig.MAC))
	keep := int64((s.skew + time.Second - 1) / time.Second)
	return s.api.Memory.seen.first(d, date.Unix(), now.Unix(), keep)
}

// verify verifies the signature with what the session holds; for no caller, or one that holds nothing, it does the same
// work in vain.
func (s *signed) verify(c *identity.Caller, sig *httpsig.Signature, text []byte) error {
	if sig.Algorithm == rsaSHA256 {
		return s.verifyRSA(c, sig, text)
	}
	secret := "\x00"
	can := c != nil && c.Session.HMACEnabled && c.Session.HMACSecret != ""
	if can {
		secret = c.Session.HMACSecret
	}
	mac := hmac.New(newHash(sig.Algorithm), []byte(secret))
	mac.Write(text)
	right := hmac.Equal(mac.Sum(nil), sig.MAC)
	switch {
	case !can:
		return errNoSecret
	case !right:
		return errMAC
	}
	return nil
}

func (s *signed) verifyRSA(c *identity.Caller, sig *httpsig.Signature, text []byte) error {
	key, err := s.decoy, errNoSecret
	if c != nil && c.Session.HTTPSignatures && c.Session.RSACertificate != "" {
		var public *rsa.PublicKey
		if public, err = s.public.get(c.Session.RSACertificate); err == nil {
			key = public
		}
	}
	sum := sha256.Sum256(text)
	if wrong := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig.MAC); wrong != nil && err == nil {
		return errMAC
	}
	return err
}

// newHash returns the hash of an hmac algorithm; nil when there is none of that name.
func newHash(algorithm string) func() hash.Hash {
	switch algorithm {
	case "hmac-sha1":
		return sha1.New
	case "hmac-sha256":
		return sha256.New
	case "hmac-sha384":
		return sha512.New384
	case "hmac-sha512":
		return sha512.New
	}
	return nil
}
