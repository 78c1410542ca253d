// Package session makes Lua tables of sessions, and sessions of tables.
package session

import (
	"fmt"
	"math"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Names says by which names the fields go.
type Names int

const (
	JSON Names = iota // those of a session's JSON
	Tyk               // those of the coprocess message
)

// field is one of a session; at points to it.
type field struct {
	json, tyk string
	at        func(*sdk.Session) any
}

func fields() []field {
	return []field{
		{"key_id", "key_id", func(s *sdk.Session) any { return &s.KeyID }},
		{"alias", "alias", func(s *sdk.Session) any { return &s.Alias }},
		{"org_id", "org_id", func(s *sdk.Session) any { return &s.OrgID }},
		{"last_check", "last_check", func(s *sdk.Session) any { return &s.LastCheck }},
		{"allowance", "allowance", func(s *sdk.Session) any { return &s.Allowance }},
		{"rate", "rate", func(s *sdk.Session) any { return &s.Rate }},
		{"per", "per", func(s *sdk.Session) any { return &s.Per }},
		{"expires", "expires", func(s *sdk.Session) any { return &s.Expires }},
		{"quota_max", "quota_max", func(s *sdk.Session) any { return &s.QuotaMax }},
		{"quota_renews", "quota_renews", func(s *sdk.Session) any { return &s.QuotaRenews }},
		{"quota_remaining", "quota_remaining", func(s *sdk.Session) any { return &s.QuotaRemaining }},
		{"quota_renewal_rate", "quota_renewal_rate", func(s *sdk.Session) any { return &s.QuotaRenewalRate }},
		{"access_rights", "access_rights", func(s *sdk.Session) any { return &s.AccessRights }},
		{"oauth_client_id", "oauth_client_id", func(s *sdk.Session) any { return &s.OAuthClientID }},
		{"oauth_keys", "oauth_keys", func(s *sdk.Session) any { return &s.OAuthKeys }},
		{"basic_auth_data", "basic_auth_data", func(s *sdk.Session) any { return &s.BasicAuth }},
		{"hmac_enabled", "hmac_enabled", func(s *sdk.Session) any { return &s.HMACEnabled }},
		{"hmac_string", "hmac_secret", func(s *sdk.Session) any { return &s.HMACSecret }},
		{"is_inactive", "is_inactive", func(s *sdk.Session) any { return &s.Inactive }},
		{"apply_policy_id", "apply_policy_id", func(s *sdk.Session) any { return &s.ApplyPolicyID }},
		{"apply_policies", "apply_policies", func(s *sdk.Session) any { return &s.ApplyPolicies }},
		{"data_expires", "data_expires", func(s *sdk.Session) any { return &s.DataExpires }},
		{"enable_detailed_recording", "enable_detailed_recording", func(s *sdk.Session) any { return &s.DetailedRecording }},
		{"meta_data", "metadata", func(s *sdk.Session) any { return &s.Metadata }},
		{"tags", "tags", func(s *sdk.Session) any { return &s.Tags }},
		{"last_updated", "last_updated", func(s *sdk.Session) any { return &s.LastUpdated }},
		{"id_extractor_deadline", "id_extractor_deadline", func(s *sdk.Session) any { return &s.IDExtractorDeadline }},
		{"session_lifetime", "session_lifetime", func(s *sdk.Session) any { return &s.Lifetime }},
		{"certificate", "certificate", func(s *sdk.Session) any { return &s.Certificate }},
		{"max_query_depth", "max_query_depth", func(s *sdk.Session) any { return &s.MaxQueryDepth }},
		{"post_expiry_action", "post_expiry_action", func(s *sdk.Session) any { return &s.PostExpiryAction }},
		{"post_expiry_grace_period", "post_expiry_grace_period", func(s *sdk.Session) any { return &s.PostExpiryGrace }},
	}
}

func (f *field) name(n Names) string {
	if n == Tyk {
		return f.tyk
	}
	return f.json
}

// hashName is what the kind of a password's hash goes by.
func (n Names) hashName() string {
	if n == Tyk {
		return "hash"
	}
	return "hash_type"
}

// Fill writes v into t: what is zero is left out. A nil session has nothing.
func Fill(s *interp.State, t *lua.LTable, v *sdk.Session, n Names) {
	if v == nil {
		return
	}
	for _, f := range fields() {
		if value := out(s, f.at(v), n); value != nil {
			t.RawSetString(f.name(n), value)
		}
	}
	if v.JWTSecret != "" {
		jwt := s.L.CreateTable(0, 1)
		jwt.RawSetString("secret", lua.LString(v.JWTSecret))
		t.RawSetString("jwt_data", jwt)
	}
	if len(v.TriggerLimits) > 0 {
		limits, monitor := s.L.CreateTable(0, 1), s.L.CreateTable(0, 1)
		for _, l := range v.TriggerLimits {
			limits.Append(lua.LNumber(l))
		}
		monitor.RawSetString("trigger_limits", limits)
		t.RawSetString("monitor", monitor)
	}
}

// out is what a field points to, nil when it is zero.
func out(s *interp.State, at any, n Names) lua.LValue {
	switch p := at.(type) {
	case *string:
		if *p != "" {
			return lua.LString(*p)
		}
	case *int64:
		if *p != 0 {
			return lua.LNumber(*p)
		}
	case *float64:
		if *p != 0 {
			return lua.LNumber(*p)
		}
	case *bool:
		if *p {
			return lua.LTrue
		}
	case *[]string:
		if len(*p) > 0 {
			return Texts(s, *p)
		}
	case *map[string]string:
		if len(*p) > 0 {
			return Map(s, *p)
		}
	case **sdk.BasicAuth:
		if *p != nil {
			return Map(s, map[string]string{"password": (*p).Password, n.hashName(): (*p).Hash})
		}
	case *map[string]sdk.AccessDefinition:
		if len(*p) > 0 {
			return rights(s, *p)
		}
	}
	return nil
}

// Texts makes a list.
func Texts(s *interp.State, list []string) *lua.LTable {
	t := s.Array()
	for _, v := range list {
		t.Append(lua.LString(v))
	}
	return t
}

// Map makes a table of text by name.
func Map(s *interp.State, m map[string]string) *lua.LTable {
	t := s.L.CreateTable(0, len(m))
	for k, v := range m {
		t.RawSetString(k, lua.LString(v))
	}
	return t
}

func rights(s *interp.State, all map[string]sdk.AccessDefinition) *lua.LTable {
	t := s.L.CreateTable(0, len(all))
	for id, a := range all {
		d, urls := s.L.CreateTable(0, 1), s.Array()
		d.RawSetString("api_name", lua.LString(a.APIName))
		d.RawSetString("api_id", lua.LString(a.APIID))
		d.RawSetString("versions", Texts(s, a.Versions))
		for _, u := range a.AllowedURLs {
			spec := s.L.CreateTable(0, 1)
			spec.RawSetString("url", lua.LString(u.URL))
			spec.RawSetString("methods", Texts(s, u.Methods))
			urls.Append(spec)
		}
		d.RawSetString("allowed_urls", urls)
		t.RawSetString(id, d)
	}
	return t
}

// Read makes a session of t, which is a copy of everything. Fields that no session has are passed over; the error names
// the one that is not what it should be.
func Read(s *interp.State, t *lua.LTable, n Names) (*sdk.Session, error) {
	v := &sdk.Session{}
	for _, f := range fields() {
		if err := in(s, f.at(v), t.RawGetString(f.name(n)), n); err != nil {
			return nil, fmt.Errorf("session.%s: %w", f.name(n), err)
		}
	}
	if jwt, ok := t.RawGetString("jwt_data").(*lua.LTable); ok {
		if err := in(s, &v.JWTSecret, jwt.RawGetString("secret"), n); err != nil {
			return nil, fmt.Errorf("session.jwt_data.secret: %w", err)
		}
	}
	if monitor, ok := t.RawGetString("monitor").(*lua.LTable); ok {
		limits, ok := monitor.RawGetString("trigger_limits").(*lua.LTable)
		for i := 1; ok && i <= limits.Len(); i++ {
			var l float64
			if err := in(s, &l, limits.RawGetInt(i), n); err != nil {
				return nil, fmt.Errorf("session.monitor.trigger_limits[%d]: %w", i, err)
			}
			v.TriggerLimits = append(v.TriggerLimits, l)
		}
	}
	return v, nil
}

// in stores value in what at points to; nil and null leave it.
func in(s *interp.State, at any, value lua.LValue, n Names) (err error) {
	if value == lua.LNil || value == s.Null() {
		return nil
	}
	switch p := at.(type) {
	case *string:
		*p, err = Text(value)
	case *int64:
		var f float64
		if f, err = number(value); err == nil && (f != math.Trunc(f) || math.Abs(f) >= 1<<63) {
			err = fmt.Errorf("%v is no whole number", f)
		}
		*p = int64(f)
	case *float64:
		*p, err = number(value)
	case *bool:
		b, ok := value.(lua.LBool)
		if !ok {
			return wrong(value, "true or false")
		}
		*p = bool(b)
	case *[]string:
		*p, err = ReadTexts(value)
	case *map[string]string:
		*p, err = ReadMap(value)
	case **sdk.BasicAuth:
		m, err := ReadMap(value)
		if err != nil {
			return err
		}
		*p = &sdk.BasicAuth{Password: m["password"], Hash: m[n.hashName()]}
	case *map[string]sdk.AccessDefinition:
		*p, err = readRights(s, value)
	}
	return err
}

func wrong(v lua.LValue, want string) error {
	return fmt.Errorf("a %s where %s belongs", v.Type(), want)
}

func number(v lua.LValue) (float64, error) {
	f, ok := v.(lua.LNumber)
	if !ok || math.IsInf(float64(f), 0) || f != f {
		return 0, wrong(v, "a number")
	}
	return float64(f), nil
}

// Text is a value that should be text; a number is taken for what it is written as.
func Text(v lua.LValue) (string, error) {
	if !lua.LVCanConvToString(v) {
		return "", wrong(v, "text")
	}
	return lua.LVAsString(v), nil
}

// ReadTexts is a value that should be a list of text.
func ReadTexts(v lua.LValue) ([]string, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil, wrong(v, "a list")
	}
	var list []string
	for i := 1; i <= t.Len(); i++ {
		text, err := Text(t.RawGetInt(i))
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		list = append(list, text)
	}
	return list, nil
}

// ReadMap is a value that should be a table of text by name.
func ReadMap(v lua.LValue) (map[string]string, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil, wrong(v, "a table")
	}
	m := map[string]string{}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, err := Text(k)
		if err != nil {
			return nil, err
		}
		if m[name], err = Text(v); err != nil {
			return nil, fmt.Errorf("[%q]: %w", name, err)
		}
	}
	return m, nil
}

func readRights(s *interp.State, v lua.LValue) (map[string]sdk.AccessDefinition, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil, wrong(v, "a table")
	}
	all := map[string]sdk.AccessDefinition{}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		d, ok := v.(*lua.LTable)
		if !ok {
			return nil, fmt.Errorf("[%q]: %w", k.String(), wrong(v, "a table"))
		}
		var a sdk.AccessDefinition
		for name, at := range map[string]any{"api_name": &a.APIName, "api_id": &a.APIID, "versions": &a.Versions} {
			if err := in(s, at, d.RawGetString(name), JSON); err != nil {
				return nil, fmt.Errorf("[%q].%s: %w", k.String(), name, err)
			}
		}
		urls, _ := d.RawGetString("allowed_urls").(*lua.LTable)
		for i := 1; urls != nil && i <= urls.Len(); i++ {
			var u sdk.AccessSpec
			spec, ok := urls.RawGetInt(i).(*lua.LTable)
			if !ok {
				return nil, fmt.Errorf("[%q].allowed_urls[%d]: %w", k.String(), i, wrong(urls.RawGetInt(i), "a table"))
			}
			for name, at := range map[string]any{"url": &u.URL, "methods": &u.Methods} {
				if err := in(s, at, spec.RawGetString(name), JSON); err != nil {
					return nil, fmt.Errorf("[%q].allowed_urls[%d].%s: %w", k.String(), i, name, err)
				}
			}
			a.AllowedURLs = append(a.AllowedURLs, u)
		}
		all[k.String()] = a
	}
	return all, nil
}
