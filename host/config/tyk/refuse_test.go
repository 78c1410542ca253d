package tyk_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// version returns a definition whose one version has these keys.
func version(keys string) string {
	return strings.Replace(minimal(""), `{"name": "Default"}`, `{"name": "Default", `+keys+`}`, 1)
}

func extended(keys string) string {
	return version(`"use_extended_paths": true, "extended_paths": {` + keys + `}`)
}

func proxy(keys string) string {
	return strings.Replace(minimal(""), `"strip_listen_path": true`, keys, 1)
}

func keyed(extra string) string {
	return strings.Replace(minimal(extra), `"use_keyless": true`, `"use_keyless": false`, 1)
}

func TestRefusals(t *testing.T) {
	tests := []struct{ name, doc, want string }{
		{"OAuth", minimal(`"use_oauth2": true`), "2:15: $.use_oauth2: OAuth 2 is not supported: use JWTs of its provider"},
		{"mutual TLS beside keyless", minimal(`"use_mutual_tls_auth": true`), "2:24: $.use_mutual_tls_auth: client certificates without any key are not supported: write"},
		{"mutual TLS that admits nobody", keyed(`"use_mutual_tls_auth": true`), "2:24: $.use_mutual_tls_auth: mutual TLS is on, and client_certificates admits nobody"},
		{"certificate id", keyed(`"use_mutual_tls_auth": true, "client_certificates": ["abc"]`), "2:24: $.use_mutual_tls_auth: must be the SHA-256 of a certificate"},
		{"JWT source", keyed(`"enable_jwt": true, "jwt_source": "not base64!"`), "2:35: $.jwt_source: must be the URL of a key set, or base64 of a URL, key or secret"},
		{"JWT method", keyed(`"enable_jwt": true, "jwt_signing_method": "none"`), `2:43: $.jwt_signing_method: "none": must be hmac, rsa, ecdsa or eddsa`},
		{"JWT key set for hmac", keyed(`"enable_jwt": true, "jwt_source": "https://idp/keys"`), "2:15: $.enable_jwt: key sets hold public keys, and hmac needs a secret: set source"},
		{"JWT times", keyed(`"enable_jwt": true, "jwt_disable_expires_at_validation": true`), "2:58: $.jwt_disable_expires_at_validation: times in tokens are always looked at"},
		{"signature without algorithm", keyed(`"auth_configs": {"authToken": {"validate_signature": true}}`), "2:31: $.auth_configs.authToken: validate_signature is on, and no signature.algorithm is named"},
		{"signature of a JWT", keyed(`"enable_jwt": true, "auth_configs": {"jwt": {"validate_signature": true}}`), "2:68: $.auth_configs.jwt.validate_signature: signatures of credentials are for auth tokens"},
		{"basic body", keyed(`"use_basic_auth": true, "basic_auth": {"extract_from_body": true, "body_user_regexp": "(a)"}`), "2:39: $.basic_auth: extract_from_body is on, and body_user_regexp or body_password_regexp is missing"},
		{"HMAC algorithm", keyed(`"enable_signature_checking": true, "hmac_allowed_algorithms": ["md5"]`), `2:30: $.enable_signature_checking: "md5" must be one of hmac-sha1`},
		{"plugin auth without hook", keyed(`"custom_plugin_auth_enabled": true`),
			"2:31: $.custom_plugin_auth_enabled: plugin auth is on, and custom_middleware.auth_check names no hook or is disabled"},
		{"plugin auth with disabled hook", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A", "disabled": true}}`),
			"2:26: $.enable_coprocess_auth: plugin auth is on, and custom_middleware.auth_check names no hook or is disabled"},
		{"flag of the wrong type", minimal(`"enable_jwt": "true"`), "2:15: $.enable_jwt: must be true or false, not a string"},
		{"keyless of the wrong type", strings.Replace(minimal(""), "true", `"true"`, 1), `2:44: $.use_keyless: must be true or false, not a string`},
		{"identity provider", keyed(`"enable_coprocess_auth": true, "base_identity_provided_by": "jwt_claim", "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}}`),
			`2:61: $.base_identity_provided_by: no method is named "jwt_claim"`},
		{"python without a path", minimal(`"custom_middleware": {"driver": "python", "pre": [{"name": "P"}]}`),
			`2:51: $.custom_middleware.pre[0]: name the plugin's folder, or the file in it that has the hook, under path`},
		{"no driver", minimal(`"custom_middleware": {"pre": [{"name": "P"}]}`),
			`2:22: $.custom_middleware: hooks without a driver are JavaScript, and no path of a .js file is named: for a plugin server, the driver is grpc`},
		{"script that is not there", minimal(`"custom_middleware": {"pre": [{"name": "P", "path": "p.js"}]}`),
			`2:53: $.custom_middleware.pre[0].path: cannot use the script "p.js": no such file`},
		{"script outside", minimal(`"custom_middleware": {"driver": "lua", "pre": [{"name": "P", "path": "../p.lua"}]}`),
			`2:70: $.custom_middleware.pre[0].path: cannot use the script "../p.lua": path escapes from parent`},
		{"hooks without a script", minimal(`"custom_middleware": {"driver": "otto", "pre": [{"name": "P"}]}`),
			`2:22: $.custom_middleware: there is no script that has the hooks: name one under path`},
		{"code that is no base64", minimal(`"custom_middleware": {"driver": "javascript", "pre": [{"name": "P", "code": "?"}]}`),
			`2:77: $.custom_middleware.pre[0].code: must be the base64 of a script`},
		{"hook without name", minimal(`"custom_middleware": {"driver": "grpc", "pre": [{"path": "p"}]}`),
			`2:49: $.custom_middleware.pre[0]: a name is required`},
		{"id extractor", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "header", "extract_with": "value"}}`),
			"2:117: $.custom_middleware.id_extractor: the name of the header is required"},
		{"id extractor of a query string", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "querystring", "extract_with": "value", "extractor_config": {"param_name": "x"}}}`),
			"2:134: $.custom_middleware.id_extractor.extract_from: Tyk extracts nothing from a query string"},
		{"id extractor of a body as it is", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "body", "extract_with": "value"}}`),
			"2:117: $.custom_middleware.id_extractor: a whole body is no id"},
		{"bundle", minimal(`"custom_middleware_bundle": "b.zip"`), "2:29: $.custom_middleware_bundle: bundles cannot be opened here"},
		{"empty allow list", minimal(`"enable_ip_whitelisting": true, "allowed_ips": []`),
			"2:27: $.enable_ip_whitelisting: enable_ip_whitelisting is on and allowed_ips is empty: name the addresses, or turn it off"},
		{"bad address", minimal(`"enable_ip_blacklisting": true, "blacklisted_ips": ["10.0.0.0/8", "lan"]`),
			`2:67: $.blacklisted_ips[1]: "lan" is not an address or a prefix like 10.0.0.0/8`},
		{"webhook", minimal(`"event_handlers": {"events": {"AuthFailure": [{"handler_name": "eh_web_hook_handler"}]}}`),
			"2:47: $.event_handlers.events.AuthFailure[0]: web hooks are not supported: use cp_dynamic_handler"},
		{"processor", minimal(`"response_processors": [{"name": "header_transform"}]`),
			`2:25: $.response_processors[0]: response processor "header_transform" is not supported`},
		{"new versioning", minimal(`"definition": {"enabled": true, "versions": {"v2": "b"}}`),
			"2:27: $.definition.enabled: versions that are APIs of their own are not supported: use version_data"},
		{"mock reply", extended(`"white_list": [{"path": "/m", "method_actions": {"GET": {"action": "reply", "code": 200, "data": "x"}}}]`),
			`4:199: $.version_data.versions.Default.extended_paths.white_list[0].method_actions.GET.action: method action "reply" is not supported: mock replies are not`},
		{"rewrite", extended(`"url_rewrites": [{"path": "/m"}]`), "4:148: $.version_data.versions.Default.extended_paths.url_rewrites: URL rewrites are not supported"},
		{"header variable", version(`"global_headers": {"X": "$tyk_context.path"}`),
			"4:109: $.version_data.versions.Default.global_headers.X: the value names a context variable, and enable_context_vars is off"},
		{"header secret", version(`"global_headers": {"X": "$secret_env.NAME"}`),
			"4:109: $.version_data.versions.Default.global_headers.X: values with $secret_ variables are not supported: write env:NAME"},
		{"header smuggling", version(`"global_headers": {"Transfer-Encoding": "chunked"}`),
			"4:103: $.version_data.versions.Default.global_headers: header Transfer-Encoding belongs to the gateway and cannot be set"},
		{"bad pattern", extended(`"black_list": [{"path": "/a("}]`),
			"4:147: $.version_data.versions.Default.extended_paths.black_list[0]: bad path pattern: error parsing regexp: missing closing ): `/a(`"},
		{"expiry", version(`"expires": "tomorrow"`), `4:96: $.version_data.versions.Default.expires: "tomorrow" is not a time like "2006-01-02 15:04"`},
		{"negative size", version(`"global_size_limit": -5`), "4:106: $.version_data.versions.Default.global_size_limit: must not be negative"},
		{"loop", strings.Replace(minimal(""), "http://up.internal", "tyk://other", 1), "3:47: $.proxy.target_url: loops to other APIs (tyk://) are not supported"},
		{"target", strings.Replace(minimal(""), "http://up.internal", "http://", 1), `3:47: $.proxy.target_url: "http://" has no host`},
		{"no targets", proxy(`"enable_load_balancing": true`), "3:94: $.proxy.enable_load_balancing: load balancing needs a target_list"},
		{"old TLS at most", proxy(`"transport": {"ssl_max_version": 769}`), "3:102: $.proxy.transport.ssl_max_version: TLS below 1.2 is not supported"},
		{"listen path", strings.Replace(minimal(""), `"/a/"`, `"/a b/"`, 1),
			`3:26: $.proxy.listen_path: "/a b" must be a plain path: no spaces, escapes, wildcards, query or control characters`},
		{"domain pattern", minimal(`"domain": "{sub:.*}.example.com"`),
			`2:11: $.domain: "{sub:.*}.example.com" is not a host name (api.example.com) or a suffix (*.example.com), without port`},
		{"case twice", minimal(`"Use_Keyless": false`), `3:44: $.use_keyless: stands twice: "Use_Keyless" and "use_keyless" are one field`},
		{"wrong shape", minimal(`"event_handlers": []`), `2:19: $.event_handlers: must be a mapping, not a list`},
		{"vault", minimal(`"org_id": "vault://secret/x"`), "2:11: $.org_id: references to vault:// are not supported (use env:NAME or file:PATH)"},
		{"missing variable", minimal(`"org_id": "env://NOPE"`), "2:11: $.org_id: environment variable NOPE is not set"},
		{"a setting's variable", minimal(`"org_id": "env:TURNBUCKLE_ADMIN_SECRET"`),
			"2:11: $.org_id: environment variable TURNBUCKLE_ADMIN_SECRET cannot be read here: variables that begin with TURNBUCKLE_ are settings of the gateway"},
		{"outside file", minimal(`"org_id": "file:///etc/hostname"`), "2:11: $.org_id: cannot read the file that the value refers to"},
		{"dashboard export", `{"api_definition": {"api_id": "x"}}`,
			"1:20: $.api_definition: this is a dashboard's export: put what stands under api_definition into the file by itself"},
		{"OAS", `{"openapi": "3.0.3", "x-tyk-api-gateway": {"info": {"id": "o"}}}`,
			`1:43: $.x-tyk-api-gateway: OAS definitions are not supported`},
		{"half-written", `{"api_id": "a", "proxy": {"listen_path": "/a/",`, "1:48: not JSON: file ends in the middle of the JSON value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, problems := parse(t, tt.doc)
			if def != nil {
				t.Fatal("not refused")
			}
			var got []string
			for _, p := range problems.Of(config.SeverityError) {
				got = append(got, strings.TrimPrefix(p.Error(), "api.json:"))
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), tt.want)
			}
		})
	}
}

// TestAllProblemsAtOnce: one look at a file is enough.
func TestAllProblemsAtOnce(t *testing.T) {
	_, problems := parse(t, `{
  "api_id": "x", "use_oauth2": true, "use_openid": true,
  "custom_middleware": {"driver": "goplugin", "pre": [{"name": "p"}]},
  "proxy": {"listen_path": 5}
}`)
	var got []string
	for _, p := range problems.Of(config.SeverityError) {
		got = append(got, p.Path)
	}
	want := []string{"$.use_oauth2", "$.use_openid", "$.custom_middleware.driver", "$.proxy", "$.proxy.listen_path"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestManyWarningsHideNothing: a definition that asks for protection is refused however much else
// is odd about it.
func TestManyWarningsHideNothing(t *testing.T) {
	var odd strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&odd, "\"odd_%d\": 1,\n", i)
	}
	def, problems := parse(t, minimal(odd.String()+`"use_openid": true`))
	if def != nil || !at(problems, config.SeverityError, "$.use_openid") {
		t.Errorf("not refused: %v", problems.Of(config.SeverityError))
	}
	if len(problems) > 300 {
		t.Errorf("%d problems", len(problems))
	}
}

func TestWorks(t *testing.T) {
	get := func(f func(d *config.Definition) any) func(*config.Definition) any { return f }
	tests := []struct {
		name, doc string
		of        func(*config.Definition) any
		want      any
	}{
		{"keys in any case", strings.Replace(minimal(""), `"listen_path"`, `"Listen_Path"`, 1),
			get(func(d *config.Definition) any { return d.Listen.Path }), "/a"},
		{"listen path without slash", strings.Replace(minimal(""), `"/a/"`, `"a"`, 1),
			get(func(d *config.Definition) any { return d.Listen.Path }), "/a"},
		{"active false is served as in Tyk", minimal(`"active": false`), get(func(d *config.Definition) any { return d.Active }), true},
		{"env reference", strings.Replace(minimal(""), "http://up.internal", "env://TARGET", 1),
			get(func(d *config.Definition) any { return d.Upstream.Targets[0].URL }), "http://from-env.internal"},
		{"env reference inside", version(`"global_headers": {"Authorization": "Bearer env://TOKEN"}`),
			get(func(d *config.Definition) any { return d.Versions.List[0].Headers.Request.Set }),
			config.Headers{{Name: "Authorization", Value: "Bearer s3cret-token"}}},
		{"target without scheme", strings.Replace(minimal(""), "http://up.internal", "up.internal:81", 1),
			get(func(d *config.Definition) any { return d.Upstream.Targets[0].URL }), "http://up.internal:81"},
		{"h2c", strings.Replace(minimal(""), "http://up.internal", "h2c://up.internal", 1),
			get(func(d *config.Definition) any { return d.Upstream.Protocol }), config.ProtocolH2C},
		{"keyless removes hooks", minimal(`"custom_plugin_auth_enabled": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "post_key_auth": [{"name": "B"}], "post": [{"name": "C"}]}`),
			get(func(d *config.Definition) any {
				return []int{len(d.Auth.All), len(d.Hooks.PostKeyAuth), len(d.Hooks.Post)}
			}), []int{0, 0, 1}},
		{"another driver without hooks", minimal(`"custom_middleware": {"driver": "otto", "pre": []}`),
			get(func(d *config.Definition) any { return len(d.Hooks.Pre) }), 0},
		{"disabled bundle", minimal(`"custom_middleware_bundle": "b", "custom_middleware_bundle_disabled": true`),
			get(func(d *config.Definition) any { return d.BundleHash }), "92eb5ffee6ae2fec3ad71c777531578f"},
		{"config data disabled", minimal(`"config_data": {"a": 1}, "config_data_disabled": true`),
			get(func(d *config.Definition) any { return []any{len(d.Config), d.ConfigDisabled} }), []any{0, true}},
		{"rate", minimal(`"global_rate_limit": {"rate": 5, "per": 2.5}`),
			get(func(d *config.Definition) any { return d.Limits.Rate }), config.Rate{Requests: 5, Per: 2500 * time.Millisecond}},
		{"rate off", minimal(`"global_rate_limit": {"rate": 5, "per": 1, "disabled": true}`),
			get(func(d *config.Definition) any { return d.Limits.Rate }), config.Rate{}},
		{"path rate", extended(`"rate_limit": [{"path": "/m", "method": "get", "rate": 5, "per": 1}, {"path": "/n", "rate": 0, "per": 1}]`),
			get(func(d *config.Definition) any { return d.Versions.List[0].PathRates }),
			[]config.PathRate{{PathMatch: config.PathMatch{Path: "~/m", Methods: []string{"GET"}}, Rate: config.Rate{Requests: 5, Per: time.Second}}}},
		{"limits of keys off", minimal(`"disable_rate_limit": true, "disable_quota": true`),
			get(func(d *config.Definition) any { return []bool{d.Limits.IgnoreKeyRate, d.Limits.IgnoreKeyQuota} }), []bool{true, true}},
		{"version in the path", strings.Replace(minimal(`"definition": {"location": "url", "strip_path": true}`), `"not_versioned": true`, `"not_versioned": false`, 1),
			get(func(d *config.Definition) any { return []any{d.Versions.In, d.Versions.Strip, d.Versions.Key} }),
			[]any{config.VersionInPath, true, ""}},
		{"plain lists beside unused extended ones", version(`"paths": {"black_list": ["/b"]}, "extended_paths": {"cache": []}`),
			get(func(d *config.Definition) any { return d.Versions.List[0].Paths.Block }),
			[]config.PathMatch{{Path: "~/b"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, problems := parse(t, tt.doc)
			if def == nil {
				t.Fatalf("refused: %v", problems)
			}
			if diff := cmp.Diff(tt.want, tt.of(def)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestSecretsStayOut: what a reference was resolved to is in no message.
func TestSecretsStayOut(t *testing.T) {
	_, problems := parse(t, minimal(`"domain": "env:TOKEN bad", "protocol": "env:TOKEN"`))
	text := ""
	for _, p := range problems {
		text += p.Error()
	}
	if !strings.Contains(text, `listen protocol "env:TOKEN"`) || strings.Contains(text, "s3cret-token") {
		t.Errorf("got %s", text)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, seed := range []string{minimal(""), keyed(""), extended(`"white_list": [{"path": "/{a}"}]`), withField("proxy.transport", "3"), "{", "[]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		def, problems := parse(t, text)
		if def == nil {
			if !problems.Refused() {
				t.Fatal("refused without a reason")
			}
			return
		}
		if ps := def.Validate(); ps.Refused() {
			t.Fatalf("translated into an invalid definition: %v", ps)
		}
	})
}
