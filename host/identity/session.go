package identity

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Session is what is stored of a caller, in Tyk's shape (reference §9.3). Keys of its JSON that are not listed here are
// kept and written back. A Session that Keys hands out is shared: Clone it to change it.
type Session struct {
	OrgID       string    `json:"org_id,omitzero"`
	Alias       string    `json:"alias,omitzero"`
	Tags        []string  `json:"tags,omitempty"`
	Metadata    Metadata  `json:"meta_data,omitempty"`
	DateCreated time.Time `json:"date_created,omitzero"`
	LastUpdated string    `json:"last_updated,omitzero"`
	Inactive    bool      `json:"is_inactive,omitzero"`

	// Rate requests in Per seconds, QuotaMax requests in QuotaRenewalRate seconds; a figure of zero or less is no limit.
	Rate               float64 `json:"rate,omitzero"`
	Per                float64 `json:"per,omitzero"`
	ThrottleInterval   float64 `json:"throttle_interval,omitzero"` // seconds
	ThrottleRetryLimit int64   `json:"throttle_retry_limit,omitzero"`
	MaxQueryDepth      int64   `json:"max_query_depth,omitzero"`
	QuotaMax           int64   `json:"quota_max,omitzero"`
	QuotaRenewalRate   int64   `json:"quota_renewal_rate,omitzero"`
	// Smoothing is kept as it is.
	Smoothing jsontext.Value `json:"smoothing,omitempty"`

	// For showing only: Keys drops them from what it writes.
	QuotaRenews    int64   `json:"quota_renews,omitzero"` // unix seconds
	QuotaRemaining int64   `json:"quota_remaining,omitzero"`
	Allowance      float64 `json:"allowance,omitzero"`
	LastCheck      int64   `json:"last_check,omitzero"`

	// AccessRights by API id; a session without any may use every API of its organisation.
	AccessRights  map[string]Access `json:"access_rights,omitempty"`
	ApplyPolicyID string            `json:"apply_policy_id,omitzero"`
	ApplyPolicies []string          `json:"apply_policies,omitempty"`

	Expires             int64  `json:"expires,omitzero"`                  // unix seconds after which it is refused; below 1 never
	Lifetime            int64  `json:"session_lifetime,omitzero"`         // seconds that it is kept
	PostExpiryAction    string `json:"post_expiry_action,omitzero"`       // delete or retain
	PostExpiryGrace     int64  `json:"post_expiry_grace_period,omitzero"` // seconds
	IDExtractorDeadline int64  `json:"id_extractor_deadline,omitzero"`    // unix seconds
	DataExpires         int64  `json:"data_expires,omitzero"`

	BasicAuth      BasicAuth         `json:"basic_auth_data,omitzero"`
	JWT            JWTData           `json:"jwt_data,omitzero"`
	HMACEnabled    bool              `json:"hmac_enabled,omitzero"`
	HTTPSignatures bool              `json:"enable_http_signature_validation,omitzero"`
	HMACSecret     string            `json:"hmac_string,omitzero"`
	RSACertificate string            `json:"rsa_certificate_id,omitzero"`
	Certificate    string            `json:"certificate,omitzero"`
	MTLSBindings   []string          `json:"mtls_static_certificate_bindings,omitempty"`
	OAuthClientID  string            `json:"oauth_client_id,omitzero"`
	OAuthKeys      map[string]string `json:"oauth_keys,omitempty"`

	Monitor           Monitor `json:"monitor,omitzero"`
	DetailRecording   bool    `json:"enable_detail_recording,omitzero"` // the name of old
	DetailedRecording bool    `json:"enable_detailed_recording,omitzero"`

	// Unknown is an object of the keys not listed above, or empty.
	Unknown jsontext.Value `json:",embed"`
}

// Metadata maps names to strings and, where there was another JSON value, to its json.RawMessage. Values are immutable.
type Metadata map[string]any

// Access says what of one API a session may use.
type Access struct {
	APIName     string   `json:"api_name,omitzero"`
	APIID       string   `json:"api_id,omitzero"`
	Versions    []string `json:"versions,omitempty"`
	AllowedURLs []Spec   `json:"allowed_urls,omitempty"`
	// Limit holds for this API instead of the session's, all of it, unless it is zero.
	Limit Limit `json:"limit,omitzero"`
	// AllowanceScope names the counters this API's limit uses; APIs of one scope share them.
	AllowanceScope string     `json:"allowance_scope,omitzero"`
	Endpoints      []Endpoint `json:"endpoints,omitempty"`

	// Unknown is an object of the keys not listed above, or empty.
	Unknown jsontext.Value `json:",embed"`
}

// Spec allows methods on the paths that a regular expression matches.
type Spec struct {
	URL     string   `json:"url"`
	Methods []string `json:"methods"`
}

// Limit is a session's limits, for one API.
type Limit struct {
	Rate               float64        `json:"rate,omitzero"`
	Per                float64        `json:"per,omitzero"`
	ThrottleInterval   float64        `json:"throttle_interval,omitzero"`
	ThrottleRetryLimit int64          `json:"throttle_retry_limit,omitzero"`
	MaxQueryDepth      int64          `json:"max_query_depth,omitzero"`
	QuotaMax           int64          `json:"quota_max,omitzero"`
	QuotaRenews        int64          `json:"quota_renews,omitzero"`    // for showing only
	QuotaRemaining     int64          `json:"quota_remaining,omitzero"` // for showing only
	QuotaRenewalRate   int64          `json:"quota_renewal_rate,omitzero"`
	Smoothing          jsontext.Value `json:"smoothing,omitempty"`
}

// Endpoint limits the rate of methods on one path of an API.
type Endpoint struct {
	Path    string           `json:"path,omitzero"`
	Methods []EndpointMethod `json:"methods,omitempty"`
}

// EndpointMethod is the rate of one method.
type EndpointMethod struct {
	Name  string       `json:"name,omitzero"`
	Limit EndpointRate `json:"limit,omitzero"`
}

// EndpointRate is Rate requests in Per seconds.
type EndpointRate struct {
	Rate float64 `json:"rate,omitzero"`
	Per  float64 `json:"per,omitzero"`
}

// BasicAuth is the password of a basic-auth user, hashed as Hash says: "bcrypt", or empty for a password in clear.
type BasicAuth struct {
	Password string `json:"password,omitzero"`
	Hash     string `json:"hash_type,omitzero"`
}

// JWTData is the secret or public key that verifies the tokens of one key.
type JWTData struct {
	Secret string `json:"secret,omitzero"`
}

// Monitor lists percentages of the quota that raise an event when they are reached.
type Monitor struct {
	TriggerLimits []float64 `json:"trigger_limits,omitempty"`
}

// Policies returns the ids of the policies that fill the session in: apply_policies or, when there are none,
// apply_policy_id.
func (s *Session) Policies() []string {
	if len(s.ApplyPolicies) > 0 || s.ApplyPolicyID == "" {
		return s.ApplyPolicies
	}
	return []string{s.ApplyPolicyID}
}

// Clone returns a deep copy; of nil, a new empty session. Raw JSON values are shared, since nobody changes them.
func (s *Session) Clone() *Session {
	if s == nil {
		return &Session{}
	}
	c := *s
	c.Tags = slices.Clone(s.Tags)
	c.Metadata = maps.Clone(s.Metadata)
	c.AccessRights = cloneRights(s.AccessRights)
	c.ApplyPolicies = slices.Clone(s.ApplyPolicies)
	c.MTLSBindings = slices.Clone(s.MTLSBindings)
	c.OAuthKeys = maps.Clone(s.OAuthKeys)
	c.Monitor.TriggerLimits = slices.Clone(s.Monitor.TriggerLimits)
	return &c
}

func cloneRights(rights map[string]Access) map[string]Access {
	rights = maps.Clone(rights)
	for id, a := range rights {
		rights[id] = a.clone()
	}
	return rights
}

func (a Access) clone() Access {
	a.Versions = slices.Clone(a.Versions)
	a.AllowedURLs = slices.Clone(a.AllowedURLs)
	for i := range a.AllowedURLs {
		a.AllowedURLs[i].Methods = slices.Clone(a.AllowedURLs[i].Methods)
	}
	a.Endpoints = slices.Clone(a.Endpoints)
	for i := range a.Endpoints {
		a.Endpoints[i].Methods = slices.Clone(a.Endpoints[i].Methods)
	}
	return a
}

// text is a metadata value as hooks see it: a string as it is, everything else as JSON.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.RawMessage:
		return string(v)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}
