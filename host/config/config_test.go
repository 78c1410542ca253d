package config_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// place strips the folder from a problem and writes it as a user sees it.
func place(p config.Problem) string {
	if filepath.IsAbs(p.File) {
		p.File = filepath.Base(p.File)
	}
	return p.Error()
}

func places(ps config.Problems) []string {
	var out []string
	for _, p := range ps {
		out = append(out, place(p))
	}
	return out
}

func example(t *testing.T, name string) (string, []byte) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

// TestExamplesAreComplete: the commented examples are the documentation, so each has every key of
// its type.
func TestExamplesAreComplete(t *testing.T) {
	tests := []struct {
		file string
		of   reflect.Type
	}{
		{"definition.yaml", reflect.TypeFor[config.Definition]()},
		{"turnbuckle.yaml", reflect.TypeFor[config.Settings]()},
		{"plugins.d/hello/plugin.yaml", reflect.TypeFor[config.Plugin]()},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			path, data := example(t, tt.file)
			root, problems := document.Parse(path, data)
			if problems != nil {
				t.Fatal(problems)
			}
			for _, leaf := range document.Leaves(tt.of) {
				name := strings.Join(leaf.Keys, ".")
				if slices.Contains([]string{"admin.secret_file", "auth.any", "hooks.auth", "runtime", "main", "isolate", "workers", "threads"}, name) || tt.file != "turnbuckle.yaml" && leaf.Keys[0] == "server" {
					continue // the other of two alternatives; shown under servers
				}
				if said := func(named string) bool {
					n := root
					for _, key := range leaf.Keys {
						if key == "*" {
							key = named
							if leaf.Keys[0] == "limits" {
								key = "bot"
							}
						}
						n = n.Get(key)
					}
					return n != nil
				}; !said("my-auth") && !said("started") { // a server is at an address, or is started
					t.Errorf("%s has no %s", tt.file, name)
				}
			}
		})
	}
}

func TestDefinitionExample(t *testing.T) {
	path, data := example(t, "definition.yaml")
	def, refused := config.Loader{Builtins: builtins(t)}.Parse(path, data)
	if refused != nil {
		t.Fatal(refused.Problems)
	}
	dir := filepath.Dir(path)
	want := config.Upstream{
		Targets:          []config.Target{{URL: "http://a.internal:8000", Weight: 3}, {URL: "http://b.internal:8000/base", Weight: 1}},
		Host:             config.HostKeep,
		Protocol:         config.ProtocolAuto,
		MaxIdlePerTarget: 64,
		Timeouts:         config.Timeouts{Dial: 2 * time.Second, Header: 30 * time.Second, Idle: time.Minute, Body: 20 * time.Second, Total: 5 * time.Minute},
		TLS: config.ClientTLS{
			CAFile: filepath.Join(dir, "tls/ca.pem"), CertFile: filepath.Join(dir, "tls/client.pem"), KeyFile: filepath.Join(dir, "tls/client.key"),
			ServerName: "orders.internal", MinVersion: 0x303, MaxVersion: 0x304, CipherSuites: []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		},
		Retry:    config.Retry{Attempts: 3},
		Ejection: config.Ejection{Failures: 4, For: 15 * time.Second},
		Health: config.Health{
			Method: "HEAD", Path: "/healthz", Headers: config.Headers{{Name: "X-Probe", Value: "turnbuckle"}}, Status: []int{200, 204},
			Interval: 5 * time.Second, Timeout: time.Second, Healthy: 2, Unhealthy: 3,
		},
	}
	if diff := cmp.Diff(want, def.Upstream); diff != "" {
		t.Errorf("upstream (-want +got)\n%s", diff)
	}
	auth := []config.HookRef{{Server: "scripts/door.lua", Script: "scripts/door.lua", Name: "auth", Path: "$.auth.all[0].hook"}, {
		Server: "hello", Name: "Authenticate", Path: "$.auth.all[1].hook",
		Policy: config.Policy{
			Timeout: 500 * time.Millisecond, OnError: config.OnErrorFail, Body: config.BodyPolicy{Mode: config.BodyNone}, MaxInFlight: 100,
			Breaker: config.Breaker{ErrorRate: 0.5, Window: 10 * time.Second, MinCalls: 20, OpenFor: 5 * time.Second},
		},
		Config: json.RawMessage(`{"realm":"orders","deep":{"list":[1,2.5,null,true]}}`),
	}}
	if diff := cmp.Diff(auth, def.HooksIn(config.PhaseAuth)); diff != "" {
		t.Errorf("auth (-want +got)\n%s", diff)
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("127.0.0.1/32")}
	if !slices.Equal(allow, def.IP.Allow) {
		t.Errorf("allow %v", def.IP.Allow)
	}
	if diff := cmp.Diff([]string{"GET", "POST"}, def.CORS.Methods); diff != "" {
		t.Errorf("methods are not upper case: %s", diff)
	}
	set := config.Headers{{Name: "X-Gateway", Value: "turnbuckle"}, {Name: "X-List", Value: "a"}, {Name: "X-List", Value: "b"}}
	if diff := cmp.Diff(set, def.Headers.Request.Set); diff != "" {
		t.Errorf("headers (-want +got)\n%s", diff)
	}
	v2 := def.RulesFor(&def.Versions.List[1])
	if got := v2.PathLimits[0].Body; got != 2<<20 || len(v2.PathLimits) != 2 {
		t.Errorf("a version's own limit does not come first: %v", v2.PathLimits)
	}
	if got := v2.Headers.Request.Set[len(set)]; got.Value != "v2" {
		t.Errorf("a version's own header does not come last: %v", v2.Headers.Request.Set)
	}
	if def.Keyless || def.Errors.Dir != filepath.Join(dir, "errors") || def.Limits.Body != 10<<20 || !def.Listen.KeepSlash {
		t.Errorf("got %+v", def)
	}
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern    string
		match, not []string
	}{
		{"/admin", []string{"/admin", "/admin/"}, []string{"/admin/x", "/administrator", "/x/admin"}},
		{"/admin/*", []string{"/admin", "/admin/", "/admin/x/y"}, []string{"/administrator", "/"}},
		{"/o/{id}/x", []string{"/o/1/x", "/o/a.b/x/"}, []string{"/o//x", "/o/1/2/x", "/o/1/xy"}},
		{"/", []string{"/", ""}, []string{"/a"}},
		{"/*", []string{"/", "/a", "/a/b"}, nil},
		{"/a.b", []string{"/a.b"}, []string{"/axb"}},
		{"~^/v[0-9]+/x", []string{"/v1/x", "/v12/xyz"}, []string{"/a/v1/x"}},
	}
	for _, tt := range tests {
		re, err := config.Pattern(tt.pattern).Compile(false)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range tt.match {
			if !re.MatchString(path) {
				t.Errorf("%s does not match %q", tt.pattern, path)
			}
		}
		for _, path := range tt.not {
			if re.MatchString(path) {
				t.Errorf("%s matches %q", tt.pattern, path)
			}
		}
	}
	for _, bad := range []string{"", "admin", "/a/{x}y", "/a/*/b", "/{a}{b}", "~(", "/a*"} {
		if _, err := config.Pattern(bad).Compile(false); err == nil {
			t.Errorf("%q is a pattern", bad)
		}
	}
	if re, err := config.Pattern("/Admin").Compile(true); err != nil || !re.MatchString("/aDMIN") {
		t.Errorf("case is regarded: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "17": 17, "1B": 1, "1KiB": 1024, "1 MiB": 1 << 20, "1.5KiB": 1536, "2GB": 2e9, "3KB": 3000, "1GiB": 1 << 30,
	} {
		var s config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d, %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "KiB", "1k", "1kb", "-1", "1e3", "0x10", "1.5", "9999999999GiB", "1 KiB x", "inf", "nan", "1iB"} {
		var s config.Size
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is %d bytes", bad, s)
		}
	}
	for size, want := range map[config.Size]string{0: "0", 1000: "1000", 1024: "1KiB", 3 << 20: "3MiB", 1<<30 + 1024: "1048577KiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %s", int64(size), got)
		}
	}
}

func TestPolicyDefaults(t *testing.T) {
	said := config.Policy{Timeout: time.Second / 4, Body: config.BodyPolicy{Mode: config.BodyBuffer}}
	settings := config.Policy{Timeout: 2 * time.Second, MaxInFlight: 7, Breaker: config.Breaker{ErrorRate: 0.5, MinCalls: 3}}
	got := said.WithDefaults(settings).WithDefaults(config.DefaultPolicy(config.DialectTyk))
	want := config.Policy{
		Timeout: time.Second / 4, OnError: config.OnErrorFail, Body: config.BodyPolicy{Mode: config.BodyBuffer, Limit: 1 << 20}, MaxInFlight: 7,
		Breaker: config.Breaker{ErrorRate: 0.5, MinCalls: 3, Window: 10 * time.Second, OpenFor: 5 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p := (config.Policy{}).WithDefaults(config.DefaultPolicy(config.DialectNative)); p.Timeout != time.Second || p.Body.Mode != config.BodyNone {
		t.Errorf("native: %+v", p)
	}
	if p := (config.Policy{}).WithDefaults(config.DefaultPolicy(config.DialectTyk)); p.Timeout != 5*time.Second || p.Body.Limit != 1<<20 {
		t.Errorf("tyk: %+v", p)
	}
}
