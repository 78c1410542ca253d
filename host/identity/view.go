package identity

import (
	"maps"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// View returns the session as hooks see it, under the name keyID. Metadata that is no string is JSON text. It shares
// what it can with s, so treat it as read-only.
func (s *Session) View(keyID string) *sdk.Session {
	v := s.view(keyID, viewRights(s.AccessRights))
	return &v
}

func (s *Session) view(keyID string, rights map[string]sdk.AccessDefinition) sdk.Session {
	v := sdk.Session{
		KeyID: keyID, Alias: s.Alias, OrgID: s.OrgID, LastCheck: s.LastCheck, Allowance: s.Allowance, Rate: s.Rate, Per: s.Per,
		Expires: s.Expires, QuotaMax: s.QuotaMax, QuotaRenews: s.QuotaRenews, QuotaRemaining: s.QuotaRemaining,
		QuotaRenewalRate: s.QuotaRenewalRate, OAuthClientID: s.OAuthClientID, OAuthKeys: s.OAuthKeys, JWTSecret: s.JWT.Secret,
		HMACEnabled: s.HMACEnabled, HMACSecret: s.HMACSecret, Inactive: s.Inactive, ApplyPolicyID: s.ApplyPolicyID,
		ApplyPolicies: s.ApplyPolicies, DataExpires: s.DataExpires, TriggerLimits: s.Monitor.TriggerLimits,
		DetailedRecording: s.DetailedRecording || s.DetailRecording, Tags: s.Tags, LastUpdated: s.LastUpdated,
		IDExtractorDeadline: s.IDExtractorDeadline, Lifetime: s.Lifetime, Certificate: s.Certificate, MaxQueryDepth: s.MaxQueryDepth,
		PostExpiryAction: s.PostExpiryAction, PostExpiryGrace: s.PostExpiryGrace, AccessRights: rights,
	}
	if s.BasicAuth != (BasicAuth{}) {
		v.BasicAuth = &sdk.BasicAuth{Password: s.BasicAuth.Password, Hash: s.BasicAuth.Hash}
	}
	if len(s.Metadata) > 0 {
		v.Metadata = make(map[string]string, len(s.Metadata))
		for name, value := range s.Metadata {
			v.Metadata[name] = text(value)
		}
	}
	return v
}

func viewRights(rights map[string]Access) map[string]sdk.AccessDefinition {
	if len(rights) == 0 {
		return nil
	}
	view := make(map[string]sdk.AccessDefinition, len(rights))
	for id, a := range rights {
		d := sdk.AccessDefinition{APIName: a.APIName, APIID: a.APIID, Versions: a.Versions}
		for _, u := range a.AllowedURLs {
			d.AllowedURLs = append(d.AllowedURLs, sdk.AccessSpec{URL: u.URL, Methods: u.Methods})
		}
		view[id] = d
	}
	return view
}

// Merge returns s, which may be nil, with what a hook says laid over it. A hook says all that its message has room
// for; what it has no room for stays as it is in s: limits of single APIs, metadata that is no string and whose text is
// the same, secrets of other methods. Entries of allowed_urls that allow nothing are dropped; Tyk's gateway makes such.
// The counters a hook may have sent are not taken over.
func (s *Session) Merge(v *sdk.Session) *Session {
	c := *s.orEmpty()
	c.Alias, c.OrgID, c.Tags, c.LastUpdated, c.Inactive = v.Alias, v.OrgID, slices.Clone(v.Tags), v.LastUpdated, v.Inactive
	c.Rate, c.Per, c.QuotaMax, c.QuotaRenewalRate, c.MaxQueryDepth = v.Rate, v.Per, v.QuotaMax, v.QuotaRenewalRate, v.MaxQueryDepth
	c.ApplyPolicyID, c.ApplyPolicies = v.ApplyPolicyID, slices.Clone(v.ApplyPolicies)
	c.Expires, c.Lifetime, c.IDExtractorDeadline, c.DataExpires = v.Expires, v.Lifetime, v.IDExtractorDeadline, v.DataExpires
	c.PostExpiryAction, c.PostExpiryGrace = v.PostExpiryAction, v.PostExpiryGrace
	c.JWT.Secret, c.HMACEnabled, c.HMACSecret, c.Certificate = v.JWTSecret, v.HMACEnabled, v.HMACSecret, v.Certificate
	c.OAuthClientID, c.OAuthKeys = v.OAuthClientID, maps.Clone(v.OAuthKeys)
	c.BasicAuth = BasicAuth{}
	if v.BasicAuth != nil {
		c.BasicAuth = BasicAuth{Password: v.BasicAuth.Password, Hash: v.BasicAuth.Hash}
	}
	c.Monitor.TriggerLimits = slices.Clone(v.TriggerLimits)
	c.DetailedRecording = v.DetailedRecording
	if !v.DetailedRecording {
		c.DetailRecording = false
	}
	c.Metadata = mergeMetadata(c.Metadata, v.Metadata)
	c.AccessRights = mergeRights(c.AccessRights, v.AccessRights)
	return c.withoutCounters()
}

func (s *Session) orEmpty() *Session {
	if s == nil {
		return &Session{}
	}
	return s
}

func mergeMetadata(stored Metadata, said map[string]string) Metadata {
	if len(said) == 0 {
		return nil
	}
	merged := make(Metadata, len(said))
	for name, value := range said {
		if was, ok := stored[name]; ok && text(was) == value {
			merged[name] = was
		} else {
			merged[name] = value
		}
	}
	return merged
}

func mergeRights(stored map[string]Access, said map[string]sdk.AccessDefinition) map[string]Access {
	if len(said) == 0 {
		return nil
	}
	merged := make(map[string]Access, len(said))
	for id, d := range said {
		a := stored[id]
		a.APIName, a.APIID, a.Versions, a.AllowedURLs = d.APIName, d.APIID, slices.Clone(d.Versions), nil
		for _, u := range d.AllowedURLs {
			if u.URL != "" || len(u.Methods) > 0 {
				a.AllowedURLs = append(a.AllowedURLs, Spec{URL: u.URL, Methods: slices.Clone(u.Methods)})
			}
		}
		merged[id] = a
	}
	return merged
}

// withoutCounters returns s without what is for showing only; s itself when it has none of it.
func (s *Session) withoutCounters() *Session {
	shown := s.QuotaRenews != 0 || s.QuotaRemaining != 0 || s.Allowance != 0 || s.LastCheck != 0
	inRights := false
	for _, a := range s.AccessRights {
		inRights = inRights || a.Limit.QuotaRenews != 0 || a.Limit.QuotaRemaining != 0
	}
	if !shown && !inRights {
		return s
	}
	c := *s
	c.QuotaRenews, c.QuotaRemaining, c.Allowance, c.LastCheck = 0, 0, 0, 0
	if inRights {
		c.AccessRights = maps.Clone(s.AccessRights)
		for id, a := range c.AccessRights {
			a.Limit.QuotaRenews, a.Limit.QuotaRemaining = 0, 0
			c.AccessRights[id] = a
		}
	}
	return &c
}
