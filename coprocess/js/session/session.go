// Package session turns sessions into the JSON that scripts see, in Tyk's shape (reference §9.3), and back.
package session

import (
	"encoding/json"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// body is a session's JSON. Names match without regard to case when it is read, as Tyk's scripts rely on.
type body struct {
	KeyID               string               `json:"key_id,omitempty"`
	Alias               string               `json:"alias"`
	OrgID               string               `json:"org_id"`
	LastCheck           int64                `json:"last_check"`
	Allowance           float64              `json:"allowance"`
	Rate                float64              `json:"rate"`
	Per                 float64              `json:"per"`
	Expires             int64                `json:"expires"`
	QuotaMax            int64                `json:"quota_max"`
	QuotaRenews         int64                `json:"quota_renews"`
	QuotaRemaining      int64                `json:"quota_remaining"`
	QuotaRenewalRate    int64                `json:"quota_renewal_rate"`
	AccessRights        map[string]access    `json:"access_rights"`
	OAuthClientID       string               `json:"oauth_client_id"`
	OAuthKeys           map[string]string    `json:"oauth_keys"`
	BasicAuth           basicAuth            `json:"basic_auth_data"`
	JWT                 jwt                  `json:"jwt_data"`
	HMACEnabled         bool                 `json:"hmac_enabled"`
	HMACSecret          string               `json:"hmac_string"`
	Inactive            bool                 `json:"is_inactive"`
	ApplyPolicyID       string               `json:"apply_policy_id"`
	ApplyPolicies       []string             `json:"apply_policies"`
	DataExpires         int64                `json:"data_expires"`
	Monitor             monitor              `json:"monitor"`
	DetailedRecording   bool                 `json:"enable_detailed_recording"`
	DetailRecording     bool                 `json:"enable_detail_recording,omitempty"` // the name of old
	Metadata            map[string]metaValue `json:"meta_data"`
	Tags                []string             `json:"tags"`
	LastUpdated         string               `json:"last_updated"`
	IDExtractorDeadline int64                `json:"id_extractor_deadline"`
	Lifetime            int64                `json:"session_lifetime"`
	Certificate         string               `json:"certificate"`
	MaxQueryDepth       int64                `json:"max_query_depth"`
	PostExpiryAction    string               `json:"post_expiry_action"`
	PostExpiryGrace     int64                `json:"post_expiry_grace_period"`
}

// metaValue is a value of metadata: text, or any other JSON as its text.
type metaValue string

// UnmarshalJSON takes any value.
func (v *metaValue) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(v))
	}
	*v = metaValue(b)
	return nil
}

type access struct {
	APIName     string   `json:"api_name"`
	APIID       string   `json:"api_id"`
	Versions    []string `json:"versions"`
	AllowedURLs []spec   `json:"allowed_urls"`
}

type spec struct {
	URL     string   `json:"url"`
	Methods []string `json:"methods"`
}

type basicAuth struct {
	Password string `json:"password"`
	Hash     string `json:"hash_type"`
}

type jwt struct {
	Secret string `json:"secret"`
}

type monitor struct {
	TriggerLimits []float64 `json:"trigger_limits"`
}

// Encode returns the JSON of s, of nil that of a session without anything. Every key is there, and objects and lists are
// never null, so that a script may look into them without asking. named says whether key_id is among the keys.
func Encode(s *sdk.Session, named bool) (string, error) {
	if s == nil {
		s = &sdk.Session{}
	}
	b := body{
		Alias: s.Alias, OrgID: s.OrgID, LastCheck: s.LastCheck, Allowance: s.Allowance, Rate: s.Rate, Per: s.Per, Expires: s.Expires,
		QuotaMax: s.QuotaMax, QuotaRenews: s.QuotaRenews, QuotaRemaining: s.QuotaRemaining, QuotaRenewalRate: s.QuotaRenewalRate,
		AccessRights: map[string]access{}, OAuthClientID: s.OAuthClientID, OAuthKeys: orEmpty(s.OAuthKeys), JWT: jwt{s.JWTSecret},
		HMACEnabled: s.HMACEnabled, HMACSecret: s.HMACSecret, Inactive: s.Inactive, ApplyPolicyID: s.ApplyPolicyID,
		ApplyPolicies: list(s.ApplyPolicies), DataExpires: s.DataExpires, Monitor: monitor{append([]float64{}, s.TriggerLimits...)},
		DetailedRecording: s.DetailedRecording, Metadata: map[string]metaValue{}, Tags: list(s.Tags), LastUpdated: s.LastUpdated,
		IDExtractorDeadline: s.IDExtractorDeadline, Lifetime: s.Lifetime, Certificate: s.Certificate, MaxQueryDepth: s.MaxQueryDepth,
		PostExpiryAction: s.PostExpiryAction, PostExpiryGrace: s.PostExpiryGrace,
	}
	if named {
		b.KeyID = s.KeyID
	}
	if s.BasicAuth != nil {
		b.BasicAuth = basicAuth(*s.BasicAuth)
	}
	for name, value := range s.Metadata {
		b.Metadata[name] = metaValue(value)
	}
	for id, a := range s.AccessRights {
		made := access{APIName: a.APIName, APIID: a.APIID, Versions: list(a.Versions), AllowedURLs: []spec{}}
		for _, u := range a.AllowedURLs {
			made.AllowedURLs = append(made.AllowedURLs, spec{u.URL, list(u.Methods)})
		}
		b.AccessRights[id] = made
	}
	text, err := json.Marshal(&b)
	if err != nil {
		return "", fmt.Errorf("session: %w", err)
	}
	return string(text), nil
}

// Decode reads a session's JSON. Keys it does not know are passed over, a value of the wrong type is an error.
func Decode(text string) (*sdk.Session, error) {
	var b body
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	s := &sdk.Session{
		KeyID: b.KeyID, Alias: b.Alias, OrgID: b.OrgID, LastCheck: b.LastCheck, Allowance: b.Allowance, Rate: b.Rate, Per: b.Per,
		Expires: b.Expires, QuotaMax: b.QuotaMax, QuotaRenews: b.QuotaRenews, QuotaRemaining: b.QuotaRemaining,
		QuotaRenewalRate: b.QuotaRenewalRate, OAuthClientID: b.OAuthClientID, JWTSecret: b.JWT.Secret, HMACEnabled: b.HMACEnabled,
		HMACSecret: b.HMACSecret, Inactive: b.Inactive, ApplyPolicyID: b.ApplyPolicyID, DataExpires: b.DataExpires,
		DetailedRecording: b.DetailedRecording || b.DetailRecording, LastUpdated: b.LastUpdated, IDExtractorDeadline: b.IDExtractorDeadline,
		Lifetime: b.Lifetime, Certificate: b.Certificate, MaxQueryDepth: b.MaxQueryDepth, PostExpiryAction: b.PostExpiryAction,
		PostExpiryGrace: b.PostExpiryGrace,
	}
	s.ApplyPolicies, s.Tags, s.TriggerLimits = some(b.ApplyPolicies), some(b.Tags), some(b.Monitor.TriggerLimits)
	if len(b.OAuthKeys) > 0 {
		s.OAuthKeys = b.OAuthKeys
	}
	if b.BasicAuth != (basicAuth{}) {
		made := sdk.BasicAuth(b.BasicAuth)
		s.BasicAuth = &made
	}
	if len(b.Metadata) > 0 {
		s.Metadata = make(map[string]string, len(b.Metadata))
		for name, value := range b.Metadata {
			s.Metadata[name] = string(value)
		}
	}
	if len(b.AccessRights) > 0 {
		s.AccessRights = make(map[string]sdk.AccessDefinition, len(b.AccessRights))
	}
	for id, a := range b.AccessRights {
		made := sdk.AccessDefinition{APIName: a.APIName, APIID: a.APIID, Versions: some(a.Versions)}
		for _, u := range a.AllowedURLs {
			made.AllowedURLs = append(made.AllowedURLs, sdk.AccessSpec{URL: u.URL, Methods: some(u.Methods)})
		}
		s.AccessRights[id] = made
	}
	return s, nil
}

func list(l []string) []string { return append([]string{}, l...) }

func some[T any](l []T) []T {
	if len(l) == 0 {
		return nil
	}
	return l
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
