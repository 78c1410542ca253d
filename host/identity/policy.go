package identity

import "github.com/go-json-experiment/json/jsontext"

// Policy fills sessions in: limits, access rights, tags, metadata (reference §9.3). Keys of its JSON that are not listed
// here are kept and written back.
type Policy struct {
	ID    string `json:"id,omitzero"`
	OrgID string `json:"org_id,omitzero"`
	Name  string `json:"name,omitzero"`

	Rate               float64        `json:"rate,omitzero"`
	Per                float64        `json:"per,omitzero"`
	ThrottleInterval   float64        `json:"throttle_interval,omitzero"`
	ThrottleRetryLimit int64          `json:"throttle_retry_limit,omitzero"`
	MaxQueryDepth      int64          `json:"max_query_depth,omitzero"`
	QuotaMax           int64          `json:"quota_max,omitzero"`
	QuotaRenewalRate   int64          `json:"quota_renewal_rate,omitzero"`
	Smoothing          jsontext.Value `json:"smoothing,omitempty"`

	AccessRights   map[string]Access `json:"access_rights,omitempty"`
	HMACEnabled    bool              `json:"hmac_enabled,omitzero"`
	HTTPSignatures bool              `json:"enable_http_signature_validation,omitzero"`
	Active         bool              `json:"active,omitzero"` // for showing; Inactive is what counts
	Inactive       bool              `json:"is_inactive,omitzero"`
	Tags           []string          `json:"tags,omitempty"`
	Metadata       Metadata          `json:"meta_data,omitempty"`
	// KeyExpiresIn is how many seconds after it was made a session expires, unless it says itself.
	KeyExpiresIn     int64          `json:"key_expires_in,omitzero"`
	Partitions       Partitions     `json:"partitions,omitzero"`
	LastUpdated      jsontext.Value `json:"last_updated,omitempty"`
	PostExpiryAction string         `json:"post_expiry_action,omitzero"`
	PostExpiryGrace  int64          `json:"post_expiry_grace_period,omitzero"`

	// Unknown is an object of the keys not listed above, or empty.
	Unknown jsontext.Value `json:",embed"`
}

// Partitions say which part of a session a policy fills in. None of them is all but PerAPI.
type Partitions struct {
	Quota      bool `json:"quota,omitzero"`
	RateLimit  bool `json:"rate_limit,omitzero"`
	Complexity bool `json:"complexity,omitzero"`
	ACL        bool `json:"acl,omitzero"`
	// PerAPI takes the limits out of the access rights, each API its own; the policy's own limits do not count.
	PerAPI bool `json:"per_api,omitzero"`
}
