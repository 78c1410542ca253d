package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fullSession has every key of reference §9.3, and two that this program does not know.
const fullSession = `{
	"last_check": 1790000000, "allowance": 99.5, "rate": 100, "per": 60, "throttle_interval": 2.5, "throttle_retry_limit": 4,
	"max_query_depth": 7, "date_created": "2026-09-01T10:11:12.123456789+02:00", "expires": 1890000000,
	"quota_max": 10000, "quota_renews": 1790003600, "quota_remaining": 9876, "quota_renewal_rate": 3600,
	"access_rights": {
		"41433797848f41a558c1573d3e55a410": {
			"api_name": "Orders", "api_id": "41433797848f41a558c1573d3e55a410", "versions": ["Default", "v2"],
			"allowed_urls": [{"url": "/orders/.*", "methods": ["GET", "POST"]}, {"url": "^/status$", "methods": ["GET"]}],
			"limit": {"rate": 10, "per": 1, "throttle_interval": -1, "throttle_retry_limit": -1, "max_query_depth": -1, "quota_max": 500,
				"quota_renews": 1790003600, "quota_remaining": 480, "quota_renewal_rate": 86400},
			"allowance_scope": "orders-scope",
			"endpoints": [{"path": "/orders", "methods": [{"name": "POST", "limit": {"rate": 2, "per": 10}}]}],
			"field_access_rights": [{"type_name": "Query", "field_name": "orders", "limits": {"max_query_depth": 3}}],
			"restricted_types": [{"name": "Secret", "fields": ["*"]}], "disable_introspection": true
		},
		"b1": {"api_name": "B", "api_id": "b1", "versions": ["Default"]}
	},
	"org_id": "53ac07777cbb8c2d53000002", "oauth_client_id": "client-1", "oauth_keys": {"client-1": "tok"},
	"certificate": "cert-1", "mtls_static_certificate_bindings": ["aa11", "bb22"],
	"basic_auth_data": {"password": "$2a$10$abcdefghijklmnopqrstuv", "hash_type": "bcrypt"},
	"jwt_data": {"secret": "jwt-secret"}, "hmac_enabled": true, "enable_http_signature_validation": true, "hmac_string": "hmac-secret",
	"rsa_certificate_id": "rsa-1", "is_inactive": true, "apply_policy_id": "old", "apply_policies": ["gold", "silver"],
	"data_expires": 1800000000, "monitor": {"trigger_limits": [80, 60.5, 50]}, "enable_detail_recording": true,
	"enable_detailed_recording": true,
	"meta_data": {"plan": "gold", "seats": 12345678901234567890, "nested": {"a": [1, 2, {"b": null}]}, "on": true, "none": null, "empty": ""},
	"tags": ["eu", "beta"], "alias": "anna@example.org", "last_updated": "1790000001", "id_extractor_deadline": 1790000300,
	"session_lifetime": 7200, "post_expiry_action": "retain", "post_expiry_grace_period": 600,
	"smoothing": {"enabled": true, "threshold": 5, "trigger": 0.8, "step": 2, "delay": 30},
	"x_unknown": {"kept": [1, "two"]}, "another": 7
}`

const plainSession = `{"org_id":"default","rate":100,"per":1,"quota_max":10000,"quota_renewal_rate":3600,"alias":"anna",` +
	`"access_rights":{"orders":{"api_name":"Orders","api_id":"orders","versions":["Default"]}},"meta_data":{"plan":"gold","team":"a"},` +
	`"tags":["eu"],"date_created":"2026-09-01T10:11:12Z","last_updated":"1790000001"}`

func BenchmarkDecodeSession(b *testing.B) {
	for _, test := range []struct{ name, text string }{{"plain", plainSession}, {"full", fullSession}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeSession([]byte(test.text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Every key of the JSON survives, at whatever depth, and the values stay what they were.
func TestSessionRoundTrip(t *testing.T) {
	for _, text := range []string{fullSession, plainSession, `{}`} {
		s, err := DecodeSession([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		data, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tree(t, text), tree(t, string(data))); diff != "" {
			t.Errorf("lost or changed (-was +is):\n%s", diff)
		}
		again, err := DecodeSession(data)
		if err != nil {
			t.Fatal(err)
		}
		compact := cmp.Transformer("compact", func(v jsontext.Value) string {
			v = v.Clone()
			return fmt.Sprint(v.Compact(), string(v))
		})
		if diff := cmp.Diff(s, again, compact); diff != "" {
			t.Errorf("decoded again (-was +is):\n%s", diff)
		}
	}
}

func TestPolicyRoundTrip(t *testing.T) {
	const text = `{"_id": {"$oid": "5ead"}, "id": "gold", "name": "Gold", "org_id": "o", "rate": 10, "per": 1, "quota_max": 5,
		"quota_renewal_rate": 60, "throttle_interval": 1, "throttle_retry_limit": 2, "max_query_depth": 3, "smoothing": {"step": 1},
		"access_rights": {"a": {"api_id": "a", "versions": ["v1"], "limit": {"rate": 1, "per": 1}, "odd": 1}}, "hmac_enabled": true,
		"active": true, "is_inactive": true, "tags": ["x"], "key_expires_in": 60, "partitions": {"quota": true, "rate_limit": true,
		"complexity": true, "acl": true, "per_api": true}, "last_updated": "1", "meta_data": {"k": [1]}, "post_expiry_action": "delete",
		"post_expiry_grace_period": 9, "graphql_access_rights": {}, "enable_http_signature_validation": true}`
	p, err := DecodePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, text), tree(t, string(data))); diff != "" {
		t.Errorf("lost or changed (-was +is):\n%s", diff)
	}
}

func tree(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDecodeLeniently(t *testing.T) {
	tests := []struct {
		text string
		want Session
	}{
		{`{"RATE": 5, "Alias": "a", "Org_ID": "o"}`, Session{Rate: 5, Alias: "a", OrgID: "o"}},
		{`{"_alias": "o"}`, Session{Unknown: []byte(`{"_alias":"o"}`)}},
		{`{"alias": "a", "alias": "b"}`, Session{Alias: "b"}},
		{`{"tags": null, "meta_data": null, "access_rights": null, "expires": null, "basic_auth_data": null}`, Session{}},
		{` {"meta_data": {"a": "x\u00e9", "b": 1.50, "c": [ ]}} `, Session{Metadata: Metadata{"a": "xé", "b": rawMessage("1.50"), "c": rawMessage("[]")}}},
		{`{"quota_max": -1, "expires": -1}`, Session{QuotaMax: -1, Expires: -1}},
	}
	for _, test := range tests {
		got, err := DecodeSession([]byte(test.text))
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		if diff := cmp.Diff(&test.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", ``, "not JSON"},
		{"cut off", `{"rate": 1`, "not JSON at byte"},
		{"no object", `["s3cret"]`, "must be a JSON object"},
		{"wrong type", `{"jwt_data": "s3cret"}`, "/jwt_data: a JSON string cannot stand there"},
		{"wrong type inside", `{"access_rights": {"a": {"limit": {"rate": "s3cret"}}}}`, "/access_rights/a/limit/rate"},
		{"metadata", `{"meta_data": "s3cret"}`, "/meta_data"},
		{"number too large", `{"quota_max": 99999999999999999999}`, "/quota_max"},
		{"behind", `{} s3cret`, "not JSON at byte"},
		{"deep", `{"meta_data": {"a": ` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}`, "deeper than 64"},
		{"deep behind a string", `{"alias": "\"[[", "x": ` + strings.Repeat(`{"x":`, 100) + "1" + strings.Repeat("}", 101), "deeper than 64"},
		{"huge", `{"alias": "` + strings.Repeat("s3cret", MaxJSON/6) + `"}`, "at most 1048576"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := DecodeSession([]byte(test.text))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want it to say %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error has a value in it: %v", err)
			}
		})
	}
	flat := `{"meta_data": {"a": [` + strings.Repeat("[],", 1000) + `[]]}}`
	if _, err := DecodeSession([]byte(flat)); err != nil {
		t.Errorf("many brackets on one level: %v", err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(fullSession))
	f.Add([]byte(plainSession))
	f.Add([]byte(`{"x":{"Y":[1e400,"\ud800"]},"x":2,"meta_data":{"a":1,"a":"b"},"smoothing":{"a":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeSession(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		once, err := s.MarshalJSON()
		if err != nil {
			t.Fatalf("cannot be encoded: %v", err)
		}
		again, err := DecodeSession(once)
		if err != nil {
			if len(once) > MaxJSON {
				return
			}
			t.Fatalf("%s cannot be decoded: %v", once, err)
		}
		twice, err := again.MarshalJSON()
		if err != nil || string(once) != string(twice) {
			t.Fatalf("%s became %s, %v", once, twice, err)
		}
		(*Session)(nil).Merge(s.View("k"))
		newCaller("t", "i", s, nil).Limits("a")
	})
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"id":"a","access_rights":{"a":{"allowed_urls":[{"url":"/a"}],"endpoints":[{"path":"/"}]}},"partitions":{"acl":true}}`))
	f.Add([]byte(`{"rate":-1,"per":0,"quota_max":-9223372036854775808,"tags":["a",""],"meta_data":{"a":null},"last_updated":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := DecodePolicy(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		once, err := p.MarshalJSON()
		if err != nil {
			t.Fatalf("cannot be encoded: %v", err)
		}
		again, err := DecodePolicy(once)
		if err != nil && len(once) <= MaxJSON {
			t.Fatalf("%s cannot be decoded: %v", once, err)
		}
		if err == nil {
			if _, err := Apply(&Session{}, []*Policy{p, again}); err != nil && !errors.Is(err, ErrPolicy) {
				t.Fatal(err)
			}
		}
	})
}
