package identity

import (
	"testing"
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
