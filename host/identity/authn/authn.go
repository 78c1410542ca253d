package authn

import (
	"context"
	"errors"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// An Authenticator is one method of one API, compiled. It is immutable and safe for concurrent use.
type Authenticator interface {
	// Authenticate reads the credential from x, without changing it, and returns who calls. A refusal is an *sdk.Error;
	// any other error is a failure, of which store.ErrUnavailable leaves open who calls.
	Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error)
}

// Keys finds callers; identity.Keys is one.
type Keys interface {
	// Lookup returns identity.ErrUnknown or identity.ErrPolicy when the token names nobody who may call.
	Lookup(ctx context.Context, org, token string) (*identity.Caller, error)
	// ByCertificate is Lookup by the lower-case hex of a client certificate's SHA-256.
	ByCertificate(ctx context.Context, org, fingerprint string) (*identity.Caller, error)
	// Adopt makes a caller of a session that is not in the store.
	Adopt(ctx context.Context, a identity.Adoption) (*identity.Caller, error)
	// Token returns the token of the key of that name.
	Token(org, name string) string
}

var _ Keys = (*identity.Keys)(nil)

// Facts are what a method knows of its API.
type Facts struct {
	ID, Name, Org string
	// Memory is what outlives a reload; nil gives the method one of its own.
	Memory *Memory
}

// Compile makes the authenticator of a method of the kinds token, basic, hmac and certificate. Those of other kinds, and
// options that could not do what they promise, are errors.
func Compile(m *config.AuthMethod, api Facts, keys Keys) (Authenticator, error) {
	if api.Memory == nil {
		api.Memory = NewMemory()
	}
	var a Authenticator
	var err error
	switch m.Kind {
	case config.AuthToken:
		a, err = newToken(&m.Token, api, keys)
	case config.AuthBasic:
		a, err = newBasic(&m.Basic, api, keys)
	case config.AuthHMAC:
		a, err = newSigned(&m.HMAC, m.Name, api, keys)
	case config.AuthCertificate:
		a = newCertificate(&m.Certificate, api, keys)
	default:
		err = fmt.Errorf("a method of kind %q is none of the built-in ones", m.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Path, err)
	}
	return a, nil
}

// NeedsBody reports whether the authenticator reads the request's body, which the host then buffers before.
func NeedsBody(a Authenticator) bool {
	b, ok := a.(interface{ needsBody() bool })
	return ok && b.needsBody()
}

// The texts of refusals, as Tyk's clients know them (reference §8.3, §10).
const (
	textMissing    = "Authorization field missing"
	textMalformed  = "Authorization field missing, malformed or invalid"
	textDisallowed = "Access to this API has been disallowed"
	textUser       = "User not authorised"
	textCertNeeded = "Client TLS certificate is required"
)

// Why somebody was refused, for the log.
var (
	errMissing      = errors.New("no credential where the definition says")
	errElse         = fmt.Errorf("%w: what is there is meant for another method", errMissing)
	errAmbiguous    = errors.New("credential given more than once, with different values")
	errTooLong      = errors.New("credential too long")
	errBinding      = errors.New("client certificate is not one that the key is bound to")
	errNoSecretName = errors.New("the key's token is no secret: it is a user of basic authentication, an identity that JWTs name, or an id that was extracted for an auth hook")
	errBody         = errors.New("the body was not buffered for a method that reads it")
)

func refuse(status int, text string, why error) *sdk.Error {
	return &sdk.Error{Status: status, Message: text, Err: why}
}

// unknown reports whether a lookup found nobody, and no fault.
func unknown(err error) bool {
	return errors.Is(err, identity.ErrUnknown) || errors.Is(err, identity.ErrPolicy)
}

// buffered reports whether there is the whole body, or none.
func buffered(r *sdk.Request) bool { return r.Buffered() || r.Length() == 0 }
