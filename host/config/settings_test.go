package config_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

var prefixes = cmpopts.EquateComparable(netip.Prefix{})

func TestSettingsExample(t *testing.T) {
	path, data := example(t, "turnbuckle.yaml")
	got, problems := config.LoadSettings(config.SettingsSource{
		File: path, Data: data, Environ: []string{"ADMIN=correct horse battery"}, WorkDir: "/work", Builtins: parrots(t),
	})
	if problems != nil {
		t.Fatal(problems)
	}
	dir := filepath.Dir(path)
	if got.Admin.Secret != "correct horse battery" || got.Tracing.Headers["x-token"] != "correct horse battery" {
		t.Errorf("references are not replaced: %+v", got.Admin)
	}
	server := config.PluginServer{
		Address: "unix:" + dir + "/run/auth.sock", Start: config.DefaultStart(), Protocol: config.ServerNative,
		TLS: config.PluginTLS{
			Enabled: true, CAFile: dir + "/tls/ca.pem", CertFile: dir + "/tls/client.pem", KeyFile: dir + "/tls/client.key", ServerName: "auth.internal",
		},
		MaxRecv: 8 << 20, MaxSend: 8 << 20, Authority: "auth.internal", Streams: 2, Window: 2, ConnectTimeout: time.Second, Health: "auth",
	}
	if diff := cmp.Diff(server, got.Servers["my-auth"]); diff != "" {
		t.Errorf("server (-want +got)\n%s", diff)
	}
	byDefault := config.PluginServer{
		Address: "tcp://127.0.0.1:5555", Start: config.DefaultStart(), Protocol: config.ServerAuto, MaxRecv: 4 << 20, MaxSend: 4 << 20, ConnectTimeout: 5 * time.Second,
	}
	if diff := cmp.Diff(byDefault, got.Servers["default"]); diff != "" {
		t.Errorf("server (-want +got)\n%s", diff)
	}
	byDefault.Address, byDefault.Start = "", config.PluginStart{
		Command: []string{dir + "/started/greeter", "--greeting", "hello"}, Instances: 2, Dir: dir + "/started",
		Env: map[string]string{"LEVEL": "debug"}, PassEnv: []string{"SSL_CERT_FILE"}, User: "nobody",
		Limits:       config.StartLimits{Memory: 256 << 20, Files: 1024, Processes: 16},
		StartTimeout: 5 * time.Second, StopTimeout: 2 * time.Second, DrainTimeout: 10 * time.Second,
		HealthCheck: config.StartHealth{Every: 5 * time.Second, Timeout: 500 * time.Millisecond, Misses: 2},
		Restart: config.StartRestart{
			Backoff: 100 * time.Millisecond, MaxBackoff: 10 * time.Second, Stable: 30 * time.Second,
			Crashes: 3, Window: 30 * time.Second, Quarantine: 30 * time.Second, MaxQuarantine: 5 * time.Minute,
		},
		Output: config.StartOutput{Line: 4 << 10, Rate: 256 << 10, Lines: 20},
		Handshake: config.StartHandshake{
			Mode: config.HandshakeGoPlugin, TLS: config.HandshakeTLSRequired, CookieKey: "THEIR_PLUGIN", CookieValue: "biscuit", Versions: []int{5}, TCP: true,
		},
	}
	if diff := cmp.Diff(byDefault, got.Servers["started"]); diff != "" {
		t.Errorf("server (-want +got)\n%s", diff)
	}
	if got.Listen.TLS.KeyFiles[0] != dir+"/tls/server.key" || got.APIs != dir+"/apis" || got.AccessLog.Path != dir+"/access.log" {
		t.Errorf("paths: %+v %s %s", got.Listen.TLS, got.APIs, got.AccessLog.Path)
	}
	if len(got.Use) != 1 || !got.Use[0].Enabled || string(got.Use[0].Config) != `{"words":["hello"]}` {
		t.Errorf("use: %+v", got.Use)
	}
	if len(got.Listen.TrustedProxies) != 2 || got.Routing.Match != config.MatchPrefix || got.Watch || got.Hooks.Body.Limit != 2<<20 {
		t.Errorf("got %+v", got)
	}
}

func TestNoFileIsTheDefaults(t *testing.T) {
	got, problems := config.LoadSettings(config.SettingsSource{WorkDir: "/work"})
	want := config.DefaultSettings()
	want.APIs, want.Plugins = "/work/apis", "/work/plugins.d"
	want.Store.Path, want.Policies, want.Scripts.Middleware = "/work/data", "/work/policies", "/work/middleware"
	want.Python.Dir = "/work/data/python"
	if diff := cmp.Diff(want, got, prefixes); diff != "" || problems != nil {
		t.Errorf("%v (-want +got)\n%s", problems, diff)
	}
}

// sample returns a value for a setting that differs from every default.
func sample(t *testing.T, s config.Setting, dir string) string {
	t.Helper()
	byPath := map[string]string{
		"listen.address": "127.0.0.1:1", "admin.listen": "127.0.0.1:2", "admin.secret_file": dir + "/tls/admin-secret",
		"listen.trusted_proxies": "10.0.0.0/8, 192.0.2.1", "listen.tls.min_version": "1.3", "admin.tls.min_version": "1.3",
		"servers.*.address": "host:1", "servers.*.protocol": "tyk", "hooks.on_error": "fail", "hooks.body": "buffer:3KiB",
		"servers.*.command": dir + "/started/greeter,two", "servers.*.dir": dir + "/started", "servers.*.env": "a=b,c=d=e", "servers.*.limits.memory": "77KiB",
		"servers.*.health_check.every": "77s", "servers.*.health_check.misses": "7", "servers.*.output.line": "77KiB", "servers.*.output.rate": "77KiB",
		"servers.*.handshake.mode": "plain", "servers.*.handshake.tls": "off", "servers.*.handshake.versions": "7,8", "servers.*.handshake.tcp": "true",
		"servers.*.restart.backoff": "77s", "servers.*.restart.max_backoff": "77s", "servers.*.restart.stable": "77s", "servers.*.restart.crashes": "7",
		"servers.*.restart.window": "77s", "servers.*.restart.quarantine": "77s", "servers.*.restart.max_quarantine": "77s",
		"access_log.format": "text", "access_log.fields": "time,status", "log.level": "debug", "log.format": "json", "log.targets": `[{"type": "gelf", "address": "udp://host:1"}]`,
		"tracing.endpoint": "host:4317", "tracing.protocol": "http", "tracing.headers": "a=b,c=d=e", "ready": "strict", "routing.match": "prefix",
		"errors.dir": dir + "/errors", "errors.templates": `[{"status": 404, "type": "xml", "text": "x"}]`, "secret_dirs": "/run/a,/run/b",
		"access_log.enabled": "false", "metrics.enabled": "false", "watch": "false", "listen.h2c": "false",
		"hooks.breaker.error_rate": "0.25", "tracing.sample_ratio": "0.25",
		"listen.tls.cert": dir + "/tls/server.pem", "listen.tls.key": dir + "/tls/server.key",
		"admin.tls.cert": dir + "/tls/server.pem", "admin.tls.key": dir + "/tls/server.key",
		"listen.tls.client_ca": dir + "/tls/ca.pem", "admin.tls.client_ca": dir + "/tls/ca.pem",
		"listen.tls.client_required": "true", "admin.tls.client_required": "true",
		"admin.tokens.*.role": "read", "admin.settings": "false",
		"store.type": "redis", "store.on_error": "continue", "store.redis.addresses": "10.0.0.1:1,10.0.0.2:2",
		"store.redis.cluster": "true", "store.redis.database": "7", "store.redis.pool": "7",
		"keys.hash": "murmur128", "keys.hash_fallback": "murmur32,none", "keys.list_hashed": "false", "keys.min_length": "7",
		"keys.master": "true", "keys.lifetime": "77s", "keys.force_lifetime": "true", "keys.lifetime_respects_expiry": "true",
		"scripts.prelude": dir + "/scripts/prelude.js", "scripts.heap": "77KiB", "scripts.size": "77KiB", "scripts.depth": "77", "scripts.memory": "77KiB",
		"python.workers": "7", "python.threads": "7", "python.install": "true", "python.interpreter": "/usr/bin/python3", "python.dir": dir + "/py",
		"scripts.idle": "7", "scripts.most": "77", "scripts.allow": "io,os", "scripts.virtual_text": "false",
		"use": `[{"plugin": "parrot"}]`, "scripts.fetch.body": "77KiB", "scripts.fetch.hops": "7", "scripts.fetch.insecure_skip_verify": "true",
		"rate_limits.mode": "exact", "rate_limits.headers": "rates",
		"bundles.poll": "77s", "bundles.plain_http": "true", "bundles.trust_tyk_wiring": "true", "bundles.accept_new_state": "true",
		"bundles.require_signed": "true", "bundles.tls.insecure_skip_verify": "true",
	}
	if v, ok := byPath[s.Path]; ok {
		return v
	}
	switch last := s.Path[strings.LastIndexByte(s.Path, '.')+1:]; {
	case (strings.HasPrefix(s.Path, "servers.*.tls.") || strings.HasPrefix(s.Path, "bundles.tls.") || strings.HasPrefix(s.Path, "store.redis.tls.")) && slices.Contains([]string{"ca", "cert", "key"}, last):
		return dir + "/tls/ca.pem"
	case strings.HasSuffix(last, "timeout"), strings.HasSuffix(last, "delay"), last == "window" && strings.Contains(s.Path, "breaker"), last == "open_for":
		return "77s"
	case strings.HasPrefix(last, "max_"), last == "streams", last == "instances", last == "files", last == "processes", last == "lines", last == "window", last == "xff_depth", last == "min_calls":
		return "77"
	case slices.Contains([]string{"strict", "hide_generator", "proxy_protocol", "enabled", "insecure"}, last):
		return "true"
	}
	return "seventy-seven"
}

// at walks the keys of a setting in a Settings value.
func at(t *testing.T, settings config.Settings, path string) any {
	t.Helper()
	v := reflect.ValueOf(settings)
	for key := range strings.SplitSeq(path, ".") {
		if v.Kind() == reflect.Map {
			v = v.MapIndex(reflect.ValueOf("my-auth"))
			continue
		}
		found := false
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name == key {
				v, found = v.Field(i), true
				break
			}
			if start, ok := v.Field(i).Interface().(config.PluginStart); ok && !found {
				if inner := field(reflect.ValueOf(start), key); inner.IsValid() {
					v, found = inner, true
					break
				}
			}
		}
		if !found {
			t.Fatalf("no field for %s", path)
		}
	}
	return v.Interface()
}

// field returns the field with that key; not valid when there is none.
func field(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// What a setting says of its default is what a file could say, and means the default.
func TestDefaultsAsAFileSaysThem(t *testing.T) {
	want, _ := config.LoadSettings(config.SettingsSource{WorkDir: "/work"})
	texts := map[string]string{}
	for _, s := range config.AllSettings() {
		texts[s.Path] = s.Default
		if s.Default == "" || strings.Contains(s.Path, "*") {
			continue
		}
		got, problems := config.LoadSettings(config.SettingsSource{WorkDir: "/work", Flags: map[string]string{s.Path: s.Default}})
		if diff := cmp.Diff(want, got, prefixes); diff != "" || problems.Refused() {
			t.Errorf("%s = %s: %v (-want +got)\n%s", s.Path, s.Default, problems, diff)
		}
	}
	for path, want := range map[string]string{
		"listen.address": ":8080", "apis": "apis", "drain_timeout": "30s", "listen.idle_timeout": "2m", "listen.max_header": "64KiB",
		"listen.h2c": "true", "strict": "false", "admin.listen": "", "listen.trusted_proxies": "", "tracing.sample_ratio": "1",
		"servers.*.max_recv": "4MiB", "servers.*.address": "", "hooks.timeout": "", "log.level": "info", "shutdown_delay": "",
	} {
		if got, ok := texts[path]; !ok || got != want {
			t.Errorf("the default of %s is %q, want %q", path, got, want)
		}
	}
}

// TestEverySettingHasAVariable sets each setting by its environment variable, and by a flag, and
// looks whether it arrived.
func TestEverySettingHasAVariable(t *testing.T) {
	dir, _ := filepath.Abs("testdata")
	all := config.AllSettings()
	if len(all) < 60 {
		t.Fatalf("only %d settings", len(all))
	}
	names := map[string]bool{}
	for _, s := range all {
		if names[s.Env] {
			t.Errorf("two settings have the variable %s", s.Env)
		}
		names[s.Env] = true
		path := strings.Replace(s.Path, "*", "my-auth", 1)
		value := sample(t, s, dir)
		byEnv := config.SettingsSource{Environ: []string{strings.Replace(s.Env, "*", "MY_AUTH", 1) + "=" + value}, WorkDir: dir}
		byFlag := config.SettingsSource{Flags: map[string]string{path: value}, WorkDir: dir}
		without, _ := config.LoadSettings(config.SettingsSource{WorkDir: dir, Flags: map[string]string{
			"servers.my-auth.authority": "other", "admin.tokens.my-auth.token": "something else"}})
		for _, src := range []config.SettingsSource{byEnv, byFlag} {
			got, problems := config.LoadSettings(src)
			for _, p := range problems {
				if strings.Contains(p.Message, "not a setting") || strings.HasPrefix(p.Message, "must be") {
					t.Errorf("%s = %s: %v", s.Env, value, p)
				}
			}
			before, after := at(t, without, s.Path), at(t, got, s.Path)
			if s.Path != "hooks.on_error" && cmp.Equal(before, after, prefixes) {
				t.Errorf("%s = %s: still %v", s.Env, value, after)
			}
		}
	}
}

func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	src := config.SettingsSource{
		File: filepath.Join(dir, "turnbuckle.yaml"), WorkDir: "/cwd",
		Data:    []byte("apis: file\nplugins: file\nlog: {level: warn, format: json}\ndrain_timeout: 1s\nadmin: {listen: ':1', secret: from-file}\n"),
		Environ: []string{"TURNBUCKLE_PLUGINS=env", "TURNBUCKLE_LOG_LEVEL=error", "TURNBUCKLE_DRAIN_TIMEOUT=2s", "TURNBUCKLE_ADMIN_SECRET=from-environment"},
		Flags:   map[string]string{"log.level": "debug", "drain_timeout": "3s"},
	}
	got, problems := config.LoadSettings(src)
	if problems != nil {
		t.Fatal(problems)
	}
	type picked struct {
		APIs, Plugins, Secret string
		Level                 config.LogLevel
		Format                config.LogFormat
		Drain, Load           time.Duration
	}
	want := picked{filepath.Join(dir, "file"), "/cwd/env", "from-environment", config.LevelDebug, config.LogJSON, 3 * time.Second, 8 * time.Second}
	if diff := cmp.Diff(want, picked{got.APIs, got.Plugins, got.Admin.Secret, got.Log.Level, got.Log.Format, got.DrainTimeout, got.LoadTimeout}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSecretFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("long enough\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := config.SettingsSource{
		WorkDir: dir, File: filepath.Join(dir, "turnbuckle.yaml"), Data: []byte("admin: {listen: ':1', secret: from-the-file}\n"),
		Flags: map[string]string{"admin.secret_file": "secret"},
	}
	got, problems := config.LoadSettings(src)
	if problems != nil || got.Admin.Secret != "long enough" {
		t.Errorf("a stronger secret_file does not replace a weaker secret: %q %v", got.Admin.Secret, problems)
	}
	src.Flags["admin.secret"] = "both"
	if _, problems = config.LoadSettings(src); !problems.Refused() {
		t.Error("secret and secret_file from one source are accepted")
	}
}

func TestSettingsProblems(t *testing.T) {
	tests := []struct {
		name, yaml string
		environ    []string
		flags      map[string]string
		want       []string
	}{
		{"unknown keys", "lisen: {}\nlog: {levl: info}\nadmin:\n  secrets: x\n", nil, nil, []string{
			`t.yaml:1:8: $.lisen: unknown key (did you mean "listen"?)`,
			`t.yaml:2:13: $.log.levl: unknown key (did you mean "level"?)`,
			`t.yaml:4:12: $.admin.secrets: unknown key (did you mean "secret"?)`,
		}},
		{"all at once", "strict: maybe\nready: often\ndrain_timeout: 5\nlisten: {xff_depth: -1, max_header: 0, address: nowhere}\n", nil, nil, []string{
			`t.yaml:1:9: $.strict: must be true or false, not a string`,
			`t.yaml:2:8: $.ready: "often": must be normal or strict`,
			`t.yaml:3:16: $.drain_timeout: "5" is not a duration: write a number with a unit, like 250ms, 5s or 2m`,
			`t.yaml:4:21: $.listen.xff_depth: must not be negative`,
			`t.yaml:4:37: $.listen.max_header: must be greater than 0`,
			`t.yaml:4:49: $.listen.address: "nowhere" is not an address: write host:port or :port`,
		}},
		{"a delay that is none", "shutdown_delay: -1s\n", nil, nil, []string{`t.yaml:1:17: $.shutdown_delay: a duration must not be negative`}},
		{"admin without secret", "admin: {listen: ':9'}\n", nil, nil, []string{
			`t.yaml:1:8: $.admin.secret: the control listener needs a secret or a secret_file`}},
		{"PROXY from strangers", "listen: {proxy_protocol: true}\n", nil, nil, []string{
			`t.yaml:1:26: $.listen.proxy_protocol: needs trusted_proxies: PROXY headers of strangers are not believed`}},
		{"servers", "servers:\n  Bad_Name: {address: 'ftp://x'}\n  gone: {}\n  run: {command: [x]}\n  half: {address: 'h:1', tls: {cert: nope.pem}}\n", nil, nil, []string{
			`t.yaml:2:13: $.servers.Bad_Name: "Bad_Name" is not a server name: lower-case letters, digits and - between them`,
			`t.yaml:2:23: $.servers.Bad_Name.address: "ftp://x" is not an address: write unix:PATH, tcp://host:port, host:port or dns:///host:port`,
			`t.yaml:3:9: $.servers.gone.address: an address or a command is required`,
			`t.yaml:5:31: $.servers.half.tls.key: required with cert`,
			`t.yaml:5:38: $.servers.half.tls.cert: cannot use "nope.pem": no such file`,
		}},
		{"skip as the default", "hooks: {on_error: skip}\n", nil, nil, []string{
			`t.yaml:1:19: $.hooks.on_error: skip cannot be the default, for auth hooks would let everyone in: say it at each hook`}},
		{"environment", "", []string{"TURNBUCKLE_LOG_LEVEL=loud", "TURNBUCKLE_LOG_LEVL=info", "TURNBUCKLE_PORT_80_TCP=x", "TURNBUCKLE_STRICT=", "OTHER=1", "TURNBUCKLE_CONFIG=t.yaml"}, nil, []string{
			`environment variable TURNBUCKLE_LOG_LEVEL: $.log.level: "loud": must be debug, info, warn or error`,
			`environment variable TURNBUCKLE_LOG_LEVL: not a setting (did you mean "TURNBUCKLE_LOG_LEVEL"?)`,
		}},
		{"flags", "", nil, map[string]string{"strict": "perhaps", "nonsense": "1"}, []string{
			`flag for nonsense: there is no setting "nonsense"`,
			`flag for strict: $.strict: must be true or false, not a string`,
		}},
		{"missing references", "log: {level: 'env:NOPE'}\nadmin: {secret: 'file:nope'}\n", nil, nil, []string{
			`t.yaml:1:14: $.log.level: environment variable NOPE is not set`,
			`t.yaml:2:17: $.admin.secret: cannot read the file that the value refers to`,
		}},
		{"not YAML", "listen:\n  address: [\n", nil, nil, []string{`t.yaml:2:1: not YAML: `}},
		{"a list", "[]", nil, nil, []string{`t.yaml:1:1: $: must be a mapping, not a list`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := config.SettingsSource{File: "t.yaml", Environ: tt.environ, Flags: tt.flags, WorkDir: t.TempDir()}
			if tt.yaml != "" {
				src.Data = []byte(tt.yaml)
			}
			_, problems := config.LoadSettings(src)
			got := places(problems)
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.want[i])
				}
			}
		})
	}
}

func FuzzSettings(f *testing.F) {
	data, err := os.ReadFile("testdata/turnbuckle.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data), "strict", "true")
	f.Add("listen: {address: ':1'}", "servers.a.address", "h:1")
	f.Add("admin: ~", "admin.secret", "x")
	f.Fuzz(func(t *testing.T, text, flag, value string) {
		src := config.SettingsSource{
			File: "testdata/t.yaml", Data: []byte(text), Flags: map[string]string{flag: value},
			Environ: []string{"TURNBUCKLE_" + flag + "=" + value}, WorkDir: "/nowhere",
		}
		got, problems := config.LoadSettings(src)
		if ps := got.Validate(); !problems.Refused() && ps.Refused() {
			t.Fatalf("accepted and not valid: %v", ps)
		}
	})
}
