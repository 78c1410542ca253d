package jwt

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The values that an Authenticator leaves in an exchange for later hooks.
const (
	// ClaimsValue is the token's payload, the JSON object as it stands in the token.
	ClaimsValue = "jwt_claims"
	// HeaderValue is the token's header, the JSON object as it stands in the token: alg, kid and what else the issuer
	// put there. It is apart from the claims, so that a claim and a header parameter of one name are both to be had.
	HeaderValue = "jwt_header"
)

// SessionMetadata is the name under which the metadata of a virtual session holds the session's own token.
const SessionMetadata = "TykJWTSessionID"

var _ authn.Authenticator = (*Authenticator)(nil)

// Keys is what an Authenticator wants of identity.Keys.
type Keys interface {
	Lookup(ctx context.Context, org, token string) (*identity.Caller, error)
	Get(ctx context.Context, ref identity.Ref) (identity.Stored, error)
	Adopt(ctx context.Context, a identity.Adoption) (*identity.Caller, error)
	Token(org, name string) string
}

var _ Keys = (*identity.Keys)(nil)

// API is what an Authenticator wants to know of the API it is for.
type API struct {
	Org string
	// Lifetime is of the sessions that it makes.
	Lifetime identity.Lifetime
	// Store keeps them. Without, because another method says who calls, they are good for one request.
	Store bool
}

// Services are what Authenticators share.
type Services struct {
	Keys Keys
	// Sets fetches key sets.
	Sets *jwks.Cache
	// Tokens are the tokens verified before; nil verifies each every time.
	Tokens *Tokens
}

// Authenticator says who calls by a JSON Web Token. It is safe for concurrent use until it is closed.
type Authenticator struct {
	api        API
	method     *config.JWTAuth
	credential authn.Credential
	keys       Keys
	source     source
	checker    checker
	tokens     *Tokens
	number     uint64 // among those of tokens
}

// Compile makes the Authenticator of a method, which is read only from now on. It begins to fetch key sets and does not
// wait for them. An error says what of the definition cannot work. Close the Authenticator when no request has it.
func Compile(m *config.JWTAuth, api API, s Services) (*Authenticator, error) {
	a := &Authenticator{
		api: api, method: m, credential: authn.NewCredential(m.Credential), keys: s.Keys, checker: newChecker(m), tokens: s.Tokens,
	}
	if a.tokens != nil {
		a.number = a.tokens.last.Add(1)
	}
	switch {
	case len(m.JWKS) > 0:
		var p published
		for _, set := range m.JWKS {
			p.sets = append(p.sets, s.Sets.Use(set.URL, set.CacheFor))
		}
		a.source = p
	case m.Source != "":
		key, err := readKey(m.Method, m.Source)
		if err != nil {
			return nil, fmt.Errorf("the source of JWT keys: %w", err)
		}
		a.source = fixed{candidate{material: key}}
	default:
		a.source = owned{org: api.Org, store: s.Keys, family: m.Method, skipKID: m.SkipKID, claim: m.Identity}
	}
	return a, nil
}

// Close lets go of the key sets.
func (a *Authenticator) Close() { a.source.close() }

// Authenticate returns who calls, and leaves in x what the token says: see ClaimsValue and HeaderValue. These bytes are
// shared with later requests: nobody may change them. The request is left as it is, token included.
//
// A refusal is an *sdk.Error with the status and text of reference §11; a key set that could not be fetched is one with
// status 503. Any other error is the store's, wrapped, or that of ctx.
func (a *Authenticator) Authenticate(ctx context.Context, x *sdk.Exchange) (*identity.Caller, error) {
	found, err := a.credential.Find(x)
	text := authn.TrimBearer(found)
	switch {
	case authn.IsMissing(err), err == nil && text == "":
		return nil, missing(err)
	case err != nil:
		return nil, unauthorized(err)
	}
	if err := authn.Else(found); err != nil {
		return nil, unauthorized(err)
	}
	v, err := a.verified(ctx, text, time.Now())
	if err != nil {
		return nil, err
	}
	caller, err := a.caller(ctx, v)
	if err != nil {
		return nil, err
	}
	x.SetValue(ClaimsValue, v.payload)
	x.SetValue(HeaderValue, v.header)
	return caller, nil
}

// verified returns what a token says, from memory if it was verified before and its key holds still.
func (a *Authenticator) verified(ctx context.Context, text string, now time.Time) (*verified, error) {
	if a.tokens == nil {
		return a.verify(ctx, text, now)
	}
	if len(text) > MaxToken { // before it is hashed
		_, err := parse(text)
		return nil, unauthorized(err)
	}
	key := tokenKey{api: a.number, digest: a.tokens.digest(text)}
	if v := a.tokens.get(&key, now); v != nil {
		if err := a.checker.now(&v.times, now); err != nil {
			a.tokens.drop(&key, v)
			return nil, err
		}
		held, err := a.source.holds(ctx, v, now)
		if held && err == nil {
			return v, nil
		}
		a.tokens.drop(&key, v)
		if err != nil {
			return nil, err
		}
	}
	v, err := a.verify(ctx, text, now)
	if err == nil {
		a.tokens.put(&key, v, now)
	}
	return v, err
}

// verify looks at a token as if it had never been seen.
func (a *Authenticator) verify(ctx context.Context, text string, now time.Time) (*verified, error) {
	t, err := parse(text)
	if err != nil {
		return nil, unauthorized(err)
	}
	algorithm, ok := algorithmOf(t.algorithm)
	if !ok || algorithm.family != a.method.Method {
		return nil, unexpectedMethod(fmt.Errorf("alg %.20q, and the API takes %s", t.algorithm, a.method.Method))
	}
	candidates, err := a.source.keys(ctx, t)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(candidates, func(c candidate) bool {
		return algorithm.takes(c.material) && algorithm.method.Verify(t.signed, t.signature, c.material) == nil
	})
	if i < 0 {
		return nil, unauthorized(errSignature)
	}
	v := &verified{header: slices.Clip(t.header), payload: slices.Clip(t.payload), key: candidates[i]}
	if v.times, err = timesOf(t.claims); err != nil {
		return nil, unauthorized(err)
	}
	if err := a.checker.now(&v.times, now); err != nil {
		return nil, err
	}
	if err := a.checker.parties(t.claims); err != nil {
		return nil, err
	}
	return v, a.identify(v, t)
}
