package tyk_test

import (
	"fmt"
	"strings"
	"testing"

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
		{"auth token", keyed(""), "2:44: $.use_keyless: the definition is neither keyless nor has plugin auth, so it asks for auth tokens, which are not supported yet"},
		{"auth method beside keyless", minimal(`"enable_jwt": true`), "2:15: $.enable_jwt: JWT: not supported yet"},
		{"plugin auth without hook", keyed(`"custom_plugin_auth_enabled": true`),
			"2:31: $.custom_plugin_auth_enabled: plugin auth is on, and custom_middleware.auth_check names no hook or is disabled"},
		{"plugin auth with disabled hook", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A", "disabled": true}}`),
			"2:26: $.enable_coprocess_auth: plugin auth is on, and custom_middleware.auth_check names no hook or is disabled"},
		{"flag of the wrong type", minimal(`"enable_jwt": "true"`), "2:15: $.enable_jwt: JWT: not supported yet"},
		{"keyless of the wrong type", strings.Replace(minimal(""), "true", `"true"`, 1), `2:44: $.use_keyless: must be true or false, not a string`},
		{"identity provider", keyed(`"enable_coprocess_auth": true, "base_identity_provided_by": "jwt_claim", "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}}`),
			`2:61: $.base_identity_provided_by: identity from "jwt_claim" is not supported yet: custom_auth is`},
		{"driver python", minimal(`"custom_middleware": {"driver": "python", "pre": [{"name": "P"}]}`),
			`2:33: $.custom_middleware.driver: driver "python" is not supported yet: grpc is`},
		{"no driver", minimal(`"custom_middleware": {"pre": [{"name": "P", "path": "p.js"}]}`),
			`2:22: $.custom_middleware: hooks without a driver are JavaScript, which is not supported yet: grpc is`},
		{"hook without name", minimal(`"custom_middleware": {"driver": "grpc", "pre": [{"path": "p"}]}`),
			`2:49: $.custom_middleware.pre[0]: a name is required`},
		{"id extractor", keyed(`"enable_coprocess_auth": true, "custom_middleware": {"driver": "grpc", "auth_check": {"name": "A"}, "id_extractor": {"extract_from": "header", "extract_with": "value"}}`),
			"2:117: $.custom_middleware.id_extractor: id extractors are not supported yet"},
		{"bundle", minimal(`"custom_middleware_bundle": "b.zip"`), "2:29: $.custom_middleware_bundle: bundles are not supported yet"},
		{"rate", minimal(`"global_rate_limit": {"rate": 5, "per": 1}`), "2:22: $.global_rate_limit: rate limits are not supported yet"},
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
		{"header variable", version(`"global_headers": {"X": "$tyk_meta.name"}`),
			"4:109: $.version_data.versions.Default.global_headers.X: values with $tyk_meta. variables are not supported yet"},
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
  "api_id": "x", "use_basic_auth": true, "enable_jwt": true,
  "custom_middleware": {"driver": "lua", "pre": [{"name": "p"}]},
  "proxy": {"listen_path": 5}
}`)
	var got []string
	for _, p := range problems.Of(config.SeverityError) {
		got = append(got, p.Path)
	}
	want := []string{"$", "$.use_basic_auth", "$.enable_jwt", "$.custom_middleware.driver", "$.proxy", "$.proxy.listen_path"}
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
	def, problems := parse(t, minimal(odd.String()+`"enable_jwt": true`))
	if def != nil || !at(problems, config.SeverityError, "$.enable_jwt") {
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
		{"rate off", minimal(`"global_rate_limit": {"rate": 5, "per": 1, "disabled": true}`),
			get(func(d *config.Definition) any { return d.Keyless }), true},
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
