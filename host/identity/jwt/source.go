package jwt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
)

// candidate is a key that may have signed a token.
type candidate struct {
	material  any       // a []byte, or what jwks.Key.Public may be
	algorithm string    // the only one it may be used with, if not empty
	published *jwks.Key // where it is from, when from a key set
	secret    string    // the text it was made of, when from a key in the store
}

// source knows which keys may have signed a token.
type source interface {
	// keys returns candidates. Its errors are what the client gets.
	keys(ctx context.Context, t *token) ([]candidate, error)
	// holds reports whether a key that verified a token earlier would be a candidate still. It never waits for more
	// than the store.
	holds(ctx context.Context, v *verified, now time.Time) (bool, error)
	close()
}

// fixed is the key of a definition.
type fixed struct{ key candidate }

func (f fixed) keys(context.Context, *token) ([]candidate, error) { return []candidate{f.key}, nil }

func (f fixed) holds(context.Context, *verified, time.Time) (bool, error) { return true, nil }

func (f fixed) close() {}

// published are key sets.
type published struct{ sets jwks.Sets }

// maxCandidates bounds the signatures that are checked when a set has several keys of one id.
const maxCandidates = 4

func (p published) keys(ctx context.Context, t *token) ([]candidate, error) {
	found, err := p.sets.Find(ctx, t.id)
	switch {
	case errors.Is(err, jwks.ErrUnavailable):
		return nil, noKeySet(err)
	case errors.Is(err, jwks.ErrUnknown):
		return nil, unauthorized(fmt.Errorf("%w: kid %.80q", err, t.id))
	case err != nil:
		return nil, err // the client left
	}
	var fit []candidate
	algorithm, _ := algorithmOf(t.algorithm)
	for _, k := range found {
		if (k.Algorithm == "" || k.Algorithm == t.algorithm) && algorithm.takes(k.Public) {
			fit = append(fit, candidate{material: k.Public, algorithm: k.Algorithm, published: k})
		}
	}
	if t.id == "" && len(fit) > 1 {
		return nil, unauthorized(errors.New("a token without kid, and the key set has several keys for it"))
	}
	return fit[:min(len(fit), maxCandidates)], nil
}

func (p published) holds(_ context.Context, v *verified, now time.Time) (bool, error) {
	return p.sets.Has(v.key.published, now), nil
}

func (p published) close() { p.sets.Close() }

// owned are keys in the store that hold the secret of their own tokens.
type owned struct {
	org     string
	store   Keys
	family  config.JWTMethod
	skipKID bool
	claim   string
}

// id returns the key that a token says is its own.
func (o owned) id(t *token) string {
	if t.id != "" && !o.skipKID {
		return t.id
	}
	return identityOf(t.claims, o.claim)
}

func (o owned) keys(ctx context.Context, t *token) ([]candidate, error) {
	id := o.id(t)
	if id == "" {
		return nil, nobody()
	}
	caller, err := o.store.Lookup(ctx, o.org, id)
	if err != nil {
		return nil, lookupError(err)
	}
	secret := caller.Session.JWT.Secret
	key, err := readKey(o.family, secret)
	if err != nil {
		return nil, unauthorized(fmt.Errorf("jwt_data of the key that the token names: %w", err))
	}
	return []candidate{{material: key, secret: secret}}, nil
}

func (o owned) holds(ctx context.Context, v *verified, _ time.Time) (bool, error) {
	caller, err := o.store.Lookup(ctx, o.org, v.identity)
	if err != nil {
		return false, lookupError(err)
	}
	return caller.Session.JWT.Secret == v.key.secret, nil
}

func (o owned) close() {}

// lookupError makes a refusal of what says that there is no such key, and leaves alone what says that nobody knows.
func lookupError(err error) error {
	if unknown(err) {
		return unauthorized(err)
	}
	return err
}

// unknown reports whether a lookup found nobody who may call, and no fault.
func unknown(err error) bool {
	return errors.Is(err, identity.ErrUnknown) || errors.Is(err, identity.ErrPolicy)
}

// identityOf returns who calls: the claim of that name, or else "sub". Claims that are no text do not count.
func identityOf(claims map[string]any, claim string) string {
	if v, _ := find(claims, claim); claim != "" {
		if s, ok := v.(string); ok {
			return s
		}
	}
	s, _ := claims["sub"].(string)
	return s
}
