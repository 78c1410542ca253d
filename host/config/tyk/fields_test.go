package tyk_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// minimal is a definition that works, into which tests put one more key.
func minimal(extra string) string {
	if extra != "" {
		extra += ",\n"
	}
	return "{\n" + extra + `"name": "N", "api_id": "a", "use_keyless": true,
"proxy": {"listen_path": "/a/", "target_url": "http://up.internal", "strip_listen_path": true},
"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}
}`
}

// withField writes a document that has a value at the path of a field and nothing else.
func withField(path, value string) string {
	steps := strings.Split(strings.ReplaceAll(path, "[]", ".[]"), ".")
	var open, shut string
	for _, s := range steps {
		switch s {
		case "[]":
			open, shut = open+"[", "]"+shut
		case "*":
			open, shut = open+`{"some": `, "}"+shut
		default:
			open, shut = open+fmt.Sprintf("{%q: ", s), "}"+shut
		}
	}
	doc := open + value + shut
	return `{"api_id": "a", ` + doc[1:]
}

func at(ps config.Problems, s interface{ String() string }, path string) bool {
	return slices.ContainsFunc(ps, func(p config.Problem) bool {
		return p.Severity.String() == s.String() && p.Path == path
	})
}

// TestEveryField holds the table to its word: a refused field that asks for something refuses the
// definition at its own path, an ignored one is listed, one that works is neither, and none is
// unknown.
func TestEveryField(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range tyk.Fields() {
		if seen[f.Path] {
			t.Errorf("%s stands twice in the table", f.Path)
		}
		seen[f.Path] = true
		t.Run(f.Path, func(t *testing.T) {
			path := "$." + strings.ReplaceAll(strings.ReplaceAll(f.Path, "[]", "[0]"), "*", "some")
			for _, value := range []string{"true", "3", `"x"`, `["x"]`, `{"enabled": true, "x": 1}`} {
				_, ps := parse(t, withField(f.Path, value))
				isOAS := f.Path == "x-tyk-api-gateway"
				switch f.Status {
				case tyk.Refused:
					if !at(ps, config.SeverityError, path) && !(isOAS && ps.Refused()) {
						t.Errorf("%s = %s does not refuse: %v", f.Path, value, ps)
					}
				case tyk.Ignored:
					if !at(ps, config.SeverityIgnored, path) {
						t.Errorf("%s = %s is not listed as ignored: %v", f.Path, value, ps)
					}
				case tyk.Works:
					if at(ps, config.SeverityWarning, path) && strings.Contains(fmt.Sprint(ps), path+": unknown field") {
						t.Errorf("%s = %s is unknown: %v", f.Path, value, ps)
					}
				default:
					t.Fatalf("status %q", f.Status)
				}
			}
			for _, value := range []string{"null", "false", "0", `""`, "[]", "{}"} {
				_, ps := parse(t, withField(f.Path, value))
				asked := func(p config.Problem) bool { return p.Path == path && p.Message == f.Note }
				if f.Status == tyk.Refused && slices.ContainsFunc(ps, asked) {
					t.Errorf("%s = %s asks for nothing and refuses: %v", f.Path, value, ps)
				}
			}
		})
	}
}

// TestTableCoversTheReference names the fields of the reference, so that dropping one from the
// table is seen.
func TestTableCoversTheReference(t *testing.T) {
	known := map[string]bool{}
	for _, f := range tyk.Fields() {
		for _, step := range strings.FieldsFunc(f.Path, func(r rune) bool { return strings.ContainsRune(".[]*", r) }) {
			known[step] = true
		}
	}
	const reference = `name api_id org_id use_keyless active auth auth_configs definition location key version_data not_versioned versions
		use_extended_paths extended_paths expires proxy listen_path target_url strip_listen_path custom_middleware pre post post_key_auth
		auth_check traffic_logs response driver id_extractor custom_middleware_bundle custom_middleware_bundle_disabled config_data
		config_data_disabled custom_plugin_auth_enabled enable_coprocess_auth use_go_plugin_auth base_identity_provided_by analytics_plugin
		response_processors event_handlers events handler_name handler_meta virtual go_plugin use_standard_auth use_basic_auth basic_auth
		enable_jwt enable_signature_checking hmac_allowed_clock_skew hmac_allowed_algorithms request_signing use_oauth2 oauth_meta use_openid
		use_mutual_tls_auth client_certificates strip_auth_data upstream_auth disable_strip_slash preserve_host_header enable_load_balancing
		target_list check_host_against_uptime_tests service_discovery transport ssl_insecure_skip_verify ssl_ciphers ssl_min_version
		ssl_max_version ssl_force_common_name_check proxy_url CORS enable allowed_origins allowed_methods allowed_headers exposed_headers
		allow_credentials max_age options_passthrough debug disable_rate_limit disable_quota global_rate_limit disabled rate per
		enable_context_vars enable_ip_whitelisting allowed_ips enable_ip_blacklisting blacklisted_ips cache_options domain internal
		do_not_track tags tag_headers enable_batch_request_support session_lifetime session_lifetime_respects_key_expiration error_overrides
		error_overrides_disabled certificates upstream_certificates pinned_public_keys ignored white_list black_list mock_response cache
		advance_cache_config transform transform_response transform_jq transform_jq_response transform_headers transform_response_headers
		hard_timeouts circuit_breakers url_rewrites size_limits method_transforms track_endpoints do_not_track_endpoints validate_json
		validate_request persist_graphql rate_limit global_headers global_headers_remove global_response_headers
		global_response_headers_remove override_target enabled default fallback_to_default strip_versioning_data external_oauth
		auth_header_name use_param param_name use_cookie cookie_name disable_header use_certificate validate_signature signature
		raw_body_only require_session path code x-tyk-api-gateway`
	for _, name := range strings.Fields(reference) {
		if !known[name] {
			t.Errorf("field %s is not in the table", name)
		}
	}
}

func TestMinimalWorks(t *testing.T) {
	def, notices := parse(t, minimal(""))
	if def == nil || len(notices) > 0 {
		t.Fatalf("problems: %v", notices)
	}
	if !def.Keyless || def.Listen.Path != "/a" || len(def.Versions.List) != 1 {
		t.Errorf("got %+v", def)
	}
}

func TestUnknownFieldWarns(t *testing.T) {
	def, notices := parse(t, minimal(`"use_keylss": true`))
	if def == nil {
		t.Fatalf("refused: %v", notices)
	}
	want := `api.json:2:15: $.use_keylss: unknown field: it has no effect (did you mean "use_keyless"?)`
	if len(notices) != 1 || notices[0].Error() != want {
		t.Errorf("got %v\nwant %s", notices, want)
	}
}
