package tyk_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// TestAuthMethods: which methods a classic definition asks for, in the order in which Tyk asks them.
func TestAuthMethods(t *testing.T) {
	authorization := config.Credential{Header: "Authorization"}
	tests := []struct {
		name, extra string
		want        []config.AuthMethod
	}{
		{"auth tokens when nothing else is on", `"auth": {"auth_header_name": "X-Key"}`, []config.AuthMethod{
			{Kind: config.AuthToken, Name: "auth_token", Token: config.TokenAuth{Credential: config.Credential{Header: "X-Key"}}}}},
		{"auth tokens with everything", `"use_standard_auth": true, "auth_configs": {"authToken": {"use_param": true, "use_cookie": true, "cookie_name": "c",
			"use_certificate": true, "validate_signature": true, "signature": {"algorithm": "MasheryMD5", "header": "X-Sig", "use_param": true,
			"param_name": "sig", "secret": "s", "allowed_clock_skew": 4, "error_code": 406, "error_message": "no"}}}`, []config.AuthMethod{
			{Kind: config.AuthToken, Name: "auth_token", Token: config.TokenAuth{
				Credential: config.Credential{Header: "Authorization", Param: "Authorization", Cookie: "c"}, Certificate: true,
				Signature: config.SignatureAuth{Algorithm: "MasheryMD5", Header: "X-Sig", Param: "sig", Secret: "s", Skew: 4 * time.Second,
					Status: 406, Message: "no"}}}}},
		{"everything, in Tyk's order", `"use_standard_auth": true, "enable_coprocess_auth": true, "enable_jwt": true, "jwt_source": "c2VjcmV0",
			"enable_signature_checking": true, "hmac_allowed_clock_skew": 1500, "use_basic_auth": true, "use_mutual_tls_auth": true,
			"client_certificates": ["org1e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
			"custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "form", "extract_with": "regex",
			"extractor_config": {"param_name": "p", "header_name": "h", "regex_expression": "[a-z]+", "regex_match_index": 1}}},
			"base_identity_provided_by": "hmac_key"`, []config.AuthMethod{
			{Kind: config.AuthCertificate, Name: "certificate", Certificate: config.CertificateAuth{Only: true,
				Allow: []string{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}},
			{Kind: config.AuthBasic, Name: "basic_auth_user", Basic: config.BasicAuth{Credential: authorization, CacheFor: time.Minute}},
			{Kind: config.AuthHMAC, Name: "hmac_key", HMAC: config.HMACAuth{Credential: authorization, Skew: 1500 * time.Millisecond,
				Algorithms: []string{"hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512", "rsa-sha256"}}},
			{Kind: config.AuthJWT, Name: "jwt_claim", JWT: config.JWTAuth{Credential: authorization, Method: config.JWTHMAC, Source: "secret",
				Scope: "scope", Scopes: map[string]string{}}},
			{Kind: config.AuthHook, Name: "custom_auth", Hook: config.HookAuth{HookRef: config.HookRef{Name: "A", Path: "$.custom_middleware.auth_check"}, Store: true,
				Extractor: config.IDExtractor{From: config.ExtractForm, With: config.ExtractRegex, Name: "p", Expression: "[a-z]+", Index: 1}}},
			{Kind: config.AuthToken, Name: "auth_token", Token: config.TokenAuth{Credential: authorization}}}},
		{"JWT with a key set and scopes", `"enable_jwt": true, "jwt_signing_method": "ecdsa", "jwt_source": "aHR0cHM6Ly9pZHAvai9rZXlz",
			"jwt_identity_base_field": "uid", "jwt_client_base_field": "cl", "jwt_policy_field_name": "pol", "jwt_default_policies": ["p"],
			"jwt_issued_at_validation_skew": 1, "jwt_expires_at_validation_skew": 2, "jwt_not_before_validation_skew": 3, "jwt_skip_kid": true,
			"jwt_scope_claim_name": "old", "jwt_scope_to_policy_mapping": {"r": "p1"}, "scopes": {"jwt": {"scope_claim_name": "scp", "scope_to_policy": {"w": "p2"}}},
			"idp_client_id_mapping_disabled": true, "auth_configs": {"jwt": {"auth_header_name": "X-JWT", "disable_header": true, "use_cookie": true}}`, []config.AuthMethod{
			{Kind: config.AuthJWT, Name: "jwt_claim", JWT: config.JWTAuth{Credential: config.Credential{Cookie: "X-JWT"}, Method: config.JWTECDSA,
				JWKS: []config.JWKSSource{{URL: "https://idp/j/keys", CacheFor: 5 * time.Minute}}, Identity: "uid", ClientID: "cl", Policy: "pol",
				Policies: []string{"p"}, Scope: "scp", Scopes: map[string]string{"r": "p1", "w": "p2"}, IssuedSkew: time.Second,
				ExpirySkew: 2 * time.Second, NotBeforeSkew: 3 * time.Second, SkipKID: true, SkipClientID: true}}}},
		{"basic from the body", `"use_basic_auth": true, "basic_auth": {"disable_caching": true, "cache_ttl": 5, "extract_from_body": true,
			"body_user_regexp": "u=(.*)", "body_password_regexp": "p=(.*)"}`, []config.AuthMethod{
			{Kind: config.AuthBasic, Name: "basic_auth_user", Basic: config.BasicAuth{Credential: authorization, CacheFor: 5 * time.Second, NoCache: true,
				BodyUser: "u=(.*)", BodyPassword: "p=(.*)"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, problems := parse(t, keyed(tt.extra))
			if def == nil {
				t.Fatalf("refused: %v", problems)
			}
			got := def.Auth.All
			for i := range got {
				got[i].Path = ""
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
