package sdk

import (
	"maps"
	"slices"
)

// Session is what the gateway knows of a caller: identity, rights and limits. Its fields are those of the coprocess
// message; zero limits mean none.
type Session struct {
	KeyID               string // the token or key; an authenticated exchange has one
	Alias               string
	OrgID               string
	LastCheck           int64
	Allowance           float64
	Rate                float64 // requests
	Per                 float64 // in so many seconds
	Expires             int64   // unix seconds; 0 never
	QuotaMax            int64
	QuotaRenews         int64 // unix seconds
	QuotaRemaining      int64
	QuotaRenewalRate    int64 // seconds
	AccessRights        map[string]AccessDefinition
	OAuthClientID       string
	OAuthKeys           map[string]string
	BasicAuth           *BasicAuth
	JWTSecret           string
	HMACEnabled         bool
	HMACSecret          string
	Inactive            bool
	ApplyPolicyID       string
	ApplyPolicies       []string
	DataExpires         int64
	TriggerLimits       []float64
	DetailedRecording   bool
	Metadata            map[string]string
	Tags                []string
	LastUpdated         string
	IDExtractorDeadline int64 // unix seconds
	Lifetime            int64 // seconds
	Certificate         string
	MaxQueryDepth       int64
	PostExpiryAction    string
	PostExpiryGrace     int64 // seconds
}

// AccessDefinition says what of one API a session may use.
type AccessDefinition struct {
	APIName     string
	APIID       string
	Versions    []string
	AllowedURLs []AccessSpec
}

// AccessSpec allows methods on one path pattern.
type AccessSpec struct {
	URL     string
	Methods []string
}

// BasicAuth is the password of a basic-auth user, hashed as Hash says.
type BasicAuth struct{ Password, Hash string }

// Clone returns a deep copy; of nil, a new empty session.
func (s *Session) Clone() *Session {
	if s == nil {
		return &Session{}
	}
	c := *s
	c.AccessRights = maps.Clone(s.AccessRights)
	for k, a := range c.AccessRights {
		a.Versions = slices.Clone(a.Versions)
		a.AllowedURLs = slices.Clone(a.AllowedURLs)
		for i := range a.AllowedURLs {
			a.AllowedURLs[i].Methods = slices.Clone(a.AllowedURLs[i].Methods)
		}
		c.AccessRights[k] = a
	}
	c.OAuthKeys = maps.Clone(s.OAuthKeys)
	if s.BasicAuth != nil {
		b := *s.BasicAuth
		c.BasicAuth = &b
	}
	c.ApplyPolicies = slices.Clone(s.ApplyPolicies)
	c.TriggerLimits = slices.Clone(s.TriggerLimits)
	c.Metadata = maps.Clone(s.Metadata)
	c.Tags = slices.Clone(s.Tags)
	return &c
}

// Identified reports whether s names a caller. It is safe on nil.
func (s *Session) Identified() bool { return s != nil && s.KeyID != "" }
