package jwt

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// identify notes who calls and which policies hold, as far as the token alone says.
func (a *Authenticator) identify(v *verified, t *token) error {
	if o, ok := a.source.(owned); ok {
		v.identity = o.id(t)
		return nil
	}
	v.identity = identityOf(t.claims, a.method.Identity)
	if v.identity == "" {
		return nobody()
	}
	// Tyk's sessions of the same identities are found again: this is a name, and hides nothing.
	sum := md5.Sum([]byte(v.identity))
	v.session = a.keys.Token(a.api.Org, hex.EncodeToString(sum[:]))
	for _, name := range []string{"clientId", "cid", "client_id"} {
		if s, _ := t.claims[name].(string); s != "" && v.client == "" && !a.method.SkipClientID {
			v.client = s
		}
	}
	if v.times.expires.said {
		v.expires = max(1, v.times.expires.unix+a.checker.expirySkew)
	}
	if named := text(t.claims, a.method.Policy); named != "" {
		v.policies = []string{named}
	} else {
		v.clientKey = text(t.claims, a.method.ClientID)
	}
	scoped := false
	for _, s := range scopes(t.claims, a.scope) {
		if id, ok := a.method.Scopes[s]; ok {
			scoped = true
			if !slices.Contains(v.policies, id) {
				v.policies = append(v.policies, id)
			}
		}
	}
	v.defaults = len(v.policies) == 0
	if v.defaults && v.clientKey == "" && len(a.method.Policies) == 0 {
		if len(a.method.Scopes) > 0 && !scoped {
			return noPolicy(" found in scope claim", nil)
		}
		return noPolicy(" found", nil)
	}
	return nil
}

// policies returns the policies that hold: the one the token names or those of the key it names, then those of its
// scopes; the API's own when there are none of these. The slice is not to be changed.
func (a *Authenticator) policies(ctx context.Context, v *verified) ([]string, error) {
	if v.clientKey != "" {
		client, err := a.keys.Lookup(ctx, a.api.Org, v.clientKey)
		switch {
		case err == nil:
			ids := client.Session.Policies()
			if len(v.policies) == 0 && len(ids) > 0 {
				return ids, nil
			}
			if len(ids) > 0 {
				return appendNew(slices.Clone(ids), v.policies), nil
			}
		case errors.Is(err, store.ErrUnavailable) || !errors.Is(err, identity.ErrUnknown) && !errors.Is(err, identity.ErrPolicy):
			return nil, err
		}
	}
	if v.defaults {
		if len(a.method.Policies) == 0 {
			return nil, noPolicy(" found", nil)
		}
		return a.method.Policies, nil
	}
	return v.policies, nil
}

func appendNew(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// caller returns who calls. For an identity, the session kept under it, made or changed when it is not what the token
// asks for.
func (a *Authenticator) caller(ctx context.Context, v *verified) (*identity.Caller, error) {
	if a.oneToOne {
		caller, err := a.keys.Lookup(ctx, a.api.Org, v.identity)
		if err != nil {
			return nil, lookupError(err)
		}
		if caller.Session.JWT.Secret != v.key.secret {
			return nil, unauthorized(errors.New("the key's secret was changed meanwhile"))
		}
		return caller, nil
	}
	policies, err := a.policies(ctx, v)
	if err != nil {
		return nil, err
	}
	caller, err := a.keys.Lookup(ctx, a.api.Org, v.session)
	var stored *identity.Session
	switch {
	case err == nil:
		stored = caller.Session
		if v.suits(stored, policies) {
			return caller, nil
		}
	case errors.Is(err, store.ErrUnavailable) || !errors.Is(err, identity.ErrUnknown) && !errors.Is(err, identity.ErrPolicy):
		return nil, err
	}
	caller, err = a.keys.Adopt(ctx, identity.Adoption{
		Org: a.api.Org, Token: v.session, Session: v.makeSession(a.api.Org, stored, policies),
		Lifetime: a.api.Lifetime, Store: a.api.Store,
	})
	if errors.Is(err, identity.ErrPolicy) {
		return nil, noPolicy("", err)
	}
	return caller, err
}

// suits reports whether a stored session is what the token asks for already.
func (v *verified) suits(s *identity.Session, policies []string) bool {
	id, _ := s.Metadata[SessionMetadata].(string)
	return id == v.session && s.Alias == v.identity && slices.Equal(s.ApplyPolicies, policies) &&
		(v.client == "" || s.OAuthClientID == v.client) && (s.Expires < 1 || v.expires > 0 && v.expires <= s.Expires)
}

// makeSession returns the session that the token asks for, out of the one that is stored, if any. Limits and rights are
// not taken over when other policies hold from now on: those set them. What is left of quotas is not in a session.
func (v *verified) makeSession(org string, stored *identity.Session, policies []string) *identity.Session {
	s := stored.Clone()
	if stored == nil || s.Expires > 0 && (v.expires == 0 || v.expires > s.Expires) {
		s.Expires = v.expires
	}
	if stored != nil && !slices.Equal(s.Policies(), policies) {
		s.Rate, s.Per, s.QuotaMax, s.QuotaRenewalRate = 0, 0, 0, 0
		s.ThrottleInterval, s.ThrottleRetryLimit, s.MaxQueryDepth, s.Smoothing = 0, 0, 0, nil
		s.AccessRights = nil
	}
	s.OrgID, s.Alias = org, v.identity
	s.ApplyPolicyID, s.ApplyPolicies = "", slices.Clone(policies)
	if s.Metadata == nil {
		s.Metadata = identity.Metadata{}
	}
	s.Metadata[SessionMetadata] = v.session
	if v.client != "" {
		s.OAuthClientID = v.client
	}
	return s
}
