package tykconf_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tykconf"
)

const full = `{
  "listen_port": 9000, "listen_address": "127.0.0.1", "hostname": "", "secret": "352d20ee67be67f6340b4c0605b044b7",
  "control_api_port": 9001, "control_api_hostname": "127.0.0.1", "app_path": "/opt/tyk/apps/", "log_level": "Debug",
  "hide_generator_header": true, "enable_analytics": true, "not_a_field": 1, "not_said": "", "track_404_logs": false,
  "policies": {"policy_source": "file", "policy_record_name": "policies/policies.json"},
  "storage": {"type": "redis", "host": "redis.internal", "port": 6380, "username": "u", "password": "p", "database": 3, "use_ssl": true,
    "optimisation_max_active": 50},
  "hash_keys": true, "hash_key_function": "murmur64", "hash_key_function_fallback": ["murmur32", "murmur128"], "min_token_length": 5,
  "enable_hashed_keys_listing": true, "allow_master_keys": true, "global_session_lifetime": 100, "force_global_session_lifetime": true,
  "session_lifetime_respects_key_expiration": true, "rate_limit_response_headers": "rate_limits",
  "coprocess_options": {"enable_coprocess": true, "coprocess_grpc_server": "tcp://127.0.0.1:5555", "grpc_recv_max_size": 100, "python_version": "3.11"},
  "http_server_options": {"enable_strict_routes": true, "xff_depth": 2, "use_ssl": true, "min_version": 772,
    "certificates": [{"domain_name": "*", "cert_file": "a.pem", "key_file": "a.key"}, {"cert_file": "b.pem", "key_file": "b.key"}]}
}`

// Settings about bundles mean what they mean in Tyk, with its holes closed.
func TestBundles(t *testing.T) {
	tests := []struct {
		name, doc string
		want      map[string]string
		problems  []string
	}{
		{"all", `{"enable_bundle_downloader": true, "bundle_base_url": "https://b/x/", "public_key_path": "keys/p.pem",
			"bundle_insecure_skip_verify": true, "skip_verify_existing_plugin_bundle": true}`,
			map[string]string{"bundles.base_url": "https://b/x/", "bundles.public_keys": "keys/p.pem", "bundles.tls.insecure_skip_verify": "true"},
			[]string{"ignored $.skip_verify_existing_plugin_bundle", "warning $.public_key_path", "warning $.bundle_insecure_skip_verify"}},
		{"no key", `{"enable_bundle_downloader": true, "bundle_base_url": "http://b/"}`,
			map[string]string{"bundles.base_url": "http://b/"}, []string{"warning $.bundle_base_url"}},
		{"off", `{"bundle_base_url": "http://b/"}`, map[string]string{}, []string{"warning $.bundle_base_url"}},
		{"nothing", `{}`, map[string]string{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tykconf.Load("tyk.conf", []byte(tt.doc), nil)
			values := map[string]string{}
			for path, value := range got.Values {
				if strings.HasPrefix(path, "bundles.") {
					values[path] = value
				}
			}
			if diff := cmp.Diff(tt.want, values); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			var listed []string
			for _, p := range got.Problems {
				listed = append(listed, p.Severity.String()+" "+p.Path)
			}
			if diff := cmp.Diff(tt.problems, listed); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	got := tykconf.Load("tyk.conf", []byte(full), nil)
	want := map[string]string{
		"listen.address": "127.0.0.1:9000", "listen.xff_depth": "2", "listen.tls.cert": "a.pem,b.pem", "listen.tls.key": "a.key,b.key",
		"listen.tls.min_version": "1.3", "admin.secret": "352d20ee67be67f6340b4c0605b044b7", "admin.listen": "127.0.0.1:9001",
		"apis": "/opt/tyk/apps/", "policies": "policies/policies.json", "log.level": "debug", "hide_generator": "true", "routing.match": "segments",
		"store.type": "redis", "store.redis.addresses": "redis.internal:6380", "store.redis.username": "u", "store.redis.password": "p",
		"store.redis.database": "3", "store.redis.tls.enabled": "true", "store.redis.pool": "50",
		"keys.hash": "murmur64", "keys.hash_fallback": "murmur32,murmur128", "keys.list_hashed": "true", "keys.min_length": "5",
		"keys.master": "true", "keys.lifetime": "100s", "keys.force_lifetime": "true", "keys.lifetime_respects_expiry": "true",
		"rate_limits.mode": "distributed", "rate_limits.headers": "rates", "python.interpreter": "python3.11",
		"servers.default.address": "tcp://127.0.0.1:5555", "servers.default.max_recv": "100",
	}
	if diff := cmp.Diff(want, got.Values); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var listed []string
	for _, p := range got.Problems {
		listed = append(listed, p.Severity.String()+" "+p.Path)
	}
	if diff := cmp.Diff([]string{"ignored $.enable_analytics", "warning $.not_a_field", "warning $.storage.type"}, listed); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestUsable: what comes of a tyk.conf are settings.
func TestUsable(t *testing.T) {
	for _, doc := range []string{strings.Replace(full, `"use_ssl": true, "min_version"`, `"min_version"`, 1), `{}`, `{"secret": "12345678"}`} {
		conf := tykconf.Load("tyk.conf", []byte(doc), nil)
		settings, problems := config.LoadSettings(config.SettingsSource{Base: conf.Values, WorkDir: "/work"})
		if problems.Refused() {
			t.Errorf("%.40s: %v", doc, problems)
		}
		if settings.Keys.Hash == config.KeySHA256 {
			t.Errorf("%.40s: keys are hashed as Tyk does not", doc)
		}
	}
}

// TestWorksMeansSomething: each setting that is said to work changes what comes of a tyk.conf, or is answered with a problem.
func TestWorksMeansSomething(t *testing.T) {
	const base = `"secret": "long enough", "control_api_port": 9001, "storage": {"type": "redis", "host": "h"}, "hash_keys": true,
		"global_session_lifetime": 9, "coprocess_options": {"coprocess_grpc_server": "h:1"}`
	env := []string{"TYK_GW_SECRET=long enough", "TYK_GW_CONTROLAPIPORT=9001", "TYK_GW_STORAGE_TYPE=redis", "TYK_GW_STORAGE_HOST=h", "TYK_GW_HASHKEYS=true",
		"TYK_GW_GLOBALSESSIONLIFETIME=9", "TYK_GW_COPROCESSOPTIONS_COPROCESSGRPCSERVER=h:1"}
	was := tykconf.Load("tyk.conf", nil, env)
	if same := tykconf.Load("tyk.conf", []byte("{"+base+"}"), nil); !cmp.Equal(was.Values, same.Values) {
		t.Fatalf("file and variables differ:\n%s", cmp.Diff(same.Values, was.Values))
	}
	for _, path := range tykconf.Working() {
		changed := false
		for _, value := range []string{"true", "false", "7", "772", "rates", "mongo"} {
			var keys []string
			for key := range strings.SplitSeq(path, ".") {
				keys = append(keys, strings.ReplaceAll(strings.ToUpper(key), "_", ""))
			}
			got := tykconf.Load("tyk.conf", nil, append(env[:len(env):len(env)], tykconf.EnvPrefix+strings.Join(keys, "_")+"="+value))
			changed = changed || !cmp.Equal(got.Values, was.Values) || len(got.Problems) != len(was.Problems)
		}
		if tls := path == "http_server_options.certificates" || path == "http_server_options.min_version"; !changed && !tls { // which TestLoad has
			t.Errorf("%s is said to work and has no effect", path)
		}
	}
}

func TestEnvironmentAndFaults(t *testing.T) {
	tests := []struct {
		name, doc string
		env       []string
		values    map[string]string // among others
		problem   string
	}{
		{"a variable goes before the file", `{"listen_port": 1}`, []string{"TYK_GW_LISTENPORT=2"}, map[string]string{"listen.address": ":2"}, ""},
		{"nested", `{}`, []string{"TYK_GW_COPROCESSOPTIONS_COPROCESSGRPCSERVER=h:1", "TYK_GW_HASHKEYS=true", "TYK_GW_HTTPSERVEROPTIONS_ENABLESTRICTROUTES=true"},
			map[string]string{"servers.default.address": "h:1", "keys.hash": "murmur32", "routing.match": "segments"}, ""},
		{"a list", `{}`, []string{"TYK_GW_STORAGE_TYPE=redis", "TYK_GW_STORAGE_ADDRS=a:1,b:2", "TYK_GW_STORAGE_ENABLECLUSTER=true"},
			map[string]string{"store.redis.addresses": "a:1,b:2", "store.redis.cluster": "true"}, "environment variable TYK_GW_STORAGE_TYPE"},
		{"an old spelling of hosts", `{"storage": {"type": "redis", "hosts": {"a": "1"}}}`, nil, map[string]string{"store.redis.addresses": "a:1"}, ""},
		{"not omitted", `{}`, []string{"TYK_GW_OMITCONFIGFILE=true"}, nil, ""},
		{"unknown variable", `{}`, []string{"TYK_GW_NOTHING=1"}, nil, "TYK_GW_NOTHING: unknown"},
		{"a wrong number", `{"listen_port": "x"}`, nil, nil, "$.listen_port: must be a whole number"},
		{"a wrong truth", `{"hash_keys": "maybe"}`, nil, nil, "$.hash_keys: must be true or false"},
		{"what protects", `{"enforce_org_quotas": true}`, nil, nil, "$.enforce_org_quotas: quotas of organisations are not enforced"},
		{"matching that narrows lists of paths", `{"http_server_options": {"enable_path_prefix_matching": true}}`, nil, nil, "begin its pattern with ^"},
		{"off by a variable", `{}`, []string{"TYK_GW_ENFORCEORGQUOTAS=0", "TYK_GW_EVENTHANDLERS=False"}, nil, ""},
		{"what does not, when off", `{"enforce_org_quotas": false, "secrets": {}}`, nil, nil, ""},
		{"another storage", `{"storage": {"type": "mongo"}}`, nil, nil, `$.storage.type: "mongo" is not supported`},
		{"policies of a service", `{"policies": {"policy_source": "service"}}`, nil, nil, "$.policies.policy_source: policies come from files"},
		{"TLS without certificates", `{"http_server_options": {"use_ssl": true}}`, nil, nil, "$.http_server_options.use_ssl: use_ssl is on, and certificates"},
		{"a secret without a port", `{"secret": "long enough"}`, nil, map[string]string{"admin.secret": "long enough"}, "$.secret: the control API has a listener of its own"},
		{"coprocess off", `{"coprocess_options": {"enable_coprocess": false}}`, nil, nil, "hooks are called all the same"},
		{"scripts", `{"enable_jsvm": true, "middleware_path": "mw", "jsvm_timeout": 3, "disable_virtual_path_blobs": true, "tyk_js_path": "tykconf_test.go"}`, nil,
			map[string]string{"scripts.middleware": "mw", "scripts.timeout": "3s", "scripts.virtual_text": "false", "scripts.prelude": "tykconf_test.go"}, ""},
		{"scripts off", `{"enable_jsvm": false}`, nil, nil, "scripts run all the same"},
		{"prelude that is not there", `{"tyk_js_path": "js/tyk.js"}`, nil, nil, "$.tyk_js_path: there is no file js/tyk.js"},
		{"not JSON", `{`, nil, nil, "tyk.conf"},
		{"no object", `[]`, nil, nil, "must be an object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tykconf.Load("tyk.conf", []byte(tt.doc), tt.env)
			for path, want := range tt.values {
				if got.Values[path] != want {
					t.Errorf("%s: got %q, want %q", path, got.Values[path], want)
				}
			}
			text := ""
			for _, p := range got.Problems {
				text += p.Error() + "\n"
			}
			if tt.problem != "" && !strings.Contains(text, tt.problem) {
				t.Errorf("got %q, want %q", text, tt.problem)
			}
			if bad := got.Problems.Of(config.SeverityError); tt.problem == "" && len(bad) > 0 {
				t.Errorf("got %v", bad)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(full), "TYK_GW_LISTENPORT=2")
	f.Add([]byte(`{"storage": [1, {"a": null}], "policies": "x"}`), "TYK_GW_STORAGE_PORT=-1")
	f.Fuzz(func(t *testing.T, data []byte, env string) {
		got := tykconf.Load("tyk.conf", data, []string{env})
		for path := range got.Values {
			if path == "" {
				t.Error("a setting without a path")
			}
		}
	})
}
