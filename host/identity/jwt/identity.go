package jwt

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
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
	for _, s := range scopes(t.claims, cmp.Or(a.method.Scope, "scope")) {
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
		case !unknown(err):
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
	if _, ok := a.source.(owned); ok {
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
	if err == nil && v.suits(caller.Session, policies) {
		return caller, nil
	}
	if err != nil && !unknown(err) {
		return nil, err
	}
	stored, err := a.stored(ctx, v, err)
	if err != nil {
		return nil, err
	}
	caller, err = a.keys.Adopt(ctx, identity.Adoption{
		Org: a.api.Org, Token: v.session, Session: v.makeSession(a.api.Org, stored, policies),
		Lifetime: a.api.Lifetime, Store: a.api.Store,
	})
	switch {
	case errors.Is(err, identity.ErrPolicy):
		return nil, noPolicy("", err)
	case errors.Is(err, identity.ErrForeign):
		return nil, unauthorized(err)
	}
	return caller, err
}

// stored returns the session under which the identity is kept, nil when there is none, after a lookup of it ended with
// looked. It is not the caller's: what policies put there is not to be stored as if it were the session's own. Nor is it what an
// auth hook has said of an id, which may lie in the same place: that is no word on who a token names.
func (a *Authenticator) stored(ctx context.Context, v *verified, looked error) (*identity.Session, error) {
	if errors.Is(looked, identity.ErrUnknown) {
		return nil, nil
	}
	kept, err := a.keys.Get(ctx, identity.Ref{Org: a.api.Org, Key: v.session})
	if err != nil && !unknown(err) {
		return nil, err
	}
	if s := kept.Session; s != nil && s.IDExtractorDeadline != 0 && s.Metadata[SessionMetadata] == nil {
		return nil, nil
	}
	return kept.Session, nil
}

// suits reports whether a stored session is what the token asks for already.
func (v *verified) suits(s *identity.Session, policies []string) bool {
	id, _ := s.Metadata[SessionMetadata].(string)
	return id == v.session && s.Alias == v.identity && slices.Equal(s.ApplyPolicies, policies) &&
		(v.client == "" || s.OAuthClientID == v.client) && (s.Expires < 1 || v.expires <= s.Expires)
}

// makeSession returns the session that the token asks for, out of the one that is stored, if any. Limits and rights are
// not taken over when other policies hold from now on: those set them. What is left of quotas is not in a session.
func (v *verified) makeSession(org string, stored *identity.Session, policies []string) *identity.Session {
	s := stored.Clone()
	if stored == nil || s.Expires > 0 && v.expires > s.Expires {
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
