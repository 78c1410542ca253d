package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func changes(pairs ...string) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return out
}

// TestSettingValues: every value tells who says it, the stronger source wins, and no secret is shown.
func TestSettingValues(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "word"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := config.SettingsSource{
		File: "t.yaml", WorkDir: dir,
		Data: []byte("log: {level: warn, format: json}\nready: strict\nadmin: {listen: ':1', secret_file: word, tokens: {ci: {token: abcdefghij, role: read}}}\n" +
			"tracing: {service_name: 'file:word', headers: {authorization: 'Bearer zzzz'}}\nservers: {a: {address: 'h:1'}}\n"),
		Base:    map[string]string{"log.level": "error", "strict": "true"},
		Environ: []string{"TURNBUCKLE_READY=normal"},
		Flags:   map[string]string{"drain_timeout": "3s"},
		Changes: changes("log.level", `"debug"`, "ready", `"strict"`, "servers.b.address", `"h:2"`, "access_log.fields", `["time","status"]`,
			"listen.max_body", `"1 MiB"`, "servers.a.streams", "4", "hooks.body", `"buffer:2KiB"`, "errors.templates", `[{"status":404,"type":"json","text":"x"}]`),
	}
	_, values, problems := config.LoadSettingValues(src)
	if problems.Refused() {
		t.Fatal(problems)
	}
	want := map[string]string{
		"log.level":                     `"debug" change `,
		"log.format":                    `"json" file t.yaml:1`,
		"ready":                         `"normal" environment TURNBUCKLE_READY`,
		"strict":                        `true tyk.conf `,
		"drain_timeout":                 `"3s" flag `,
		"load_timeout":                  `"8s" default `,
		"admin.secret":                  `"********" file t.yaml:3`,
		"admin.secret_file":             `"` + filepath.Join(dir, "word") + `" file t.yaml:3`,
		"admin.tokens.ci.token":         `"********" file t.yaml:3`,
		"admin.tokens.ci.role":          `"read" file t.yaml:3`,
		"tracing.service_name":          `"file:word" file t.yaml:4`,
		"tracing.headers":               `"********" file t.yaml:4`,
		"servers.a.address":             `"h:1" file t.yaml:5`,
		"servers.a.streams":             `4 change `,
		"servers.b.address":             `"h:2" change `,
		"servers.b.connect_timeout":     `"5s" default `,
		"access_log.fields":             `["time","status"] change `,
		"listen.max_body":               `"1MiB" change `,
		"hooks.body":                    `"buffer:2KiB" change `,
		"errors.templates":              `[{"status":404,"text":"x","type":"json"}] change `,
		"store.redis.password":          `"" default `,
		"listen.tls.min_version":        `"" default `,
		"listen.trusted_proxies":        `null default `,
		"servers.a.tls.enabled":         `false default `,
		"store.redis.sentinel_password": `"" default `,
	}
	got := map[string]string{}
	for _, v := range values {
		data, err := json.Marshal(v.Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, asked := want[v.Path]; asked {
			got[v.Path] = string(data) + " " + string(v.Source) + " " + v.Where
		}
		for _, secret := range []string{"from a file", "abcdefghij", "zzzz"} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s shows %s", v.Path, data)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestChangesRefused: what is wrong with a change is told as such.
func TestChangesRefused(t *testing.T) {
	for _, tt := range []struct{ path, value, want string }{
		{"log.levl", `"debug"`, `change of log.levl: there is no setting "log.levl" (did you mean "log.level"?)`},
		{"log.level", `"loud"`, `change of log.level: $.log.level: "loud": must be debug, info, warn or error`},
		{"strict", `1`, `change of strict: $.strict: must be true or false, not a number`},
		{"log.level", `{"a":1}`, `change of log.level: $.log.level: must be a string, not a mapping`},
		{"log.level", `{`, `change of log.level: `},
		{"servers.a.streams", `"x"`, `change of servers.a.streams: $.servers.a.streams: must be a whole number, not a string`},
	} {
		_, problems := config.LoadSettings(config.SettingsSource{WorkDir: t.TempDir(), Changes: changes(tt.path, tt.value)})
		if !slices.ContainsFunc(places(problems), func(p string) bool { return strings.HasPrefix(p, tt.want) }) {
			t.Errorf("%s = %s: got %v, want %s", tt.path, tt.value, problems, tt.want)
		}
	}
}

// TestChangesRefer: what is changed in the running gateway refers to no more than a definition may.
func TestChangesRefer(t *testing.T) {
	dir, vault := t.TempDir(), t.TempDir()
	for _, name := range []string{filepath.Join(dir, "mine"), filepath.Join(vault, "lent")} {
		if err := os.WriteFile(name, []byte("h:1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "mine"), filepath.Join(vault, "link")); err != nil {
		t.Fatal(err)
	}
	file := "secret_dirs: [" + vault + "]\ntracing: {endpoint: 'file:mine'}\n"
	const only = "a change may only refer to files in the folders that the settings file lists under secret_dirs"
	for _, tt := range []struct{ name, path, value, want string }{
		{"the file's own", "strict", "true", ""},
		{"lent", "tracing.endpoint", `"file:` + vault + `/lent"`, ""},
		{"a variable", "tracing.endpoint", `"env:PLACE"`, ""},
		{"not lent", "tracing.endpoint", `"file:` + dir + `/mine"`, only},
		{"relative", "tracing.endpoint", `"file:mine"`, only},
		{"out of what is lent", "tracing.endpoint", `"file:` + vault + `/../` + filepath.Base(dir) + `/mine"`, only},
		{"by a link", "tracing.endpoint", `"file:` + vault + `/link"`, "escapes"},
		{"deep", "tracing.headers", `{"a": "file:` + dir + `/mine"}`, only},
		{"the gateway's own variable", "tracing.endpoint", `"env:TURNBUCKLE_ADMIN_SECRET"`, "variables that begin with TURNBUCKLE_"},
		{"lending more", "secret_dirs", `["` + dir + `"]`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source := config.SettingsSource{
				File: filepath.Join(dir, "turnbuckle.yaml"), Data: []byte(file), WorkDir: dir, Changes: changes(tt.path, tt.value),
				Environ: []string{"PLACE=h:1", "TURNBUCKLE_ADMIN_SECRET=x"},
			}
			settings, problems := config.LoadSettings(source)
			if err := problems.Err(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if tt.want == "" && settings.Tracing.Endpoint != "h:1" {
				t.Errorf("got %q", settings.Tracing.Endpoint)
			}
		})
	}
	both := changes("secret_dirs", `["`+dir+`"]`, "tracing.endpoint", `"file:`+dir+`/mine"`)
	if _, problems := config.LoadSettings(config.SettingsSource{WorkDir: dir, Changes: both}); !strings.Contains(fmt.Sprint(problems), only) {
		t.Errorf("a change lends itself a folder: %v", problems)
	}
}

// TestSecretsAreMarked: a new setting that sounds like a secret must be one, or say here that it is none.
func TestSecretsAreMarked(t *testing.T) {
	none := []string{"admin.secret_file", "secret_dirs"}
	for _, s := range config.AllSettings() {
		last := s.Path[strings.LastIndexByte(s.Path, '.')+1:]
		sounds := strings.Contains(last, "secret") || strings.Contains(last, "password") || last == "token" || last == "env" || last == "headers" && strings.HasPrefix(s.Path, "tracing") ||
			s.Path == "log.targets" || s.Path == "use" // Sentry's DSN has a key in it, and plugins have tokens
		if sounds != s.IsSecret() && !slices.Contains(none, s.Path) {
			t.Errorf("%s: secret %v", s.Path, s.IsSecret())
		}
	}
}

// Of settings that hold several secrets none is told because another is a reference.
func TestMixedSecretsAreHidden(t *testing.T) {
	_, values, problems := config.LoadSettingValues(config.SettingsSource{
		File: "turnbuckle.yaml", WorkDir: "/", Builtins: parrots(t), Environ: []string{"WORD=hello"},
		Data: []byte("use: [{plugin: parrot, config: {words: ['env:WORD', literal-secret]}}]\ntracing: {endpoint: 'h:1', headers: {a: 'env:WORD', b: literal-secret}}\n"),
	})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, v := range values {
		if v.Path != "use" && v.Path != "tracing.headers" {
			continue
		}
		seen++
		if text := fmt.Sprint(v.Value); strings.Contains(text, "literal-secret") || text == "" {
			t.Errorf("%s: %s", v.Path, text)
		}
	}
	if seen != 2 {
		t.Errorf("%d settings", seen)
	}
}
