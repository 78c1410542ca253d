package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// packed are the files of a bundle that is in memory.
type packed map[string]string

func (p packed) Names() []string { return slices.Sorted(maps.Keys(p)) }
func (p packed) Read(name string) ([]byte, error) {
	text, ok := p[name]
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, fs.ErrNotExist)
	}
	return []byte(text), nil
}
func (p packed) Folder() (string, error) {
	if dir := p["folder"]; dir != "" {
		return dir, nil
	}
	return "", errors.New("no folder here")
}

// shelf has bundles by name.
type shelf map[string]*config.Bundle

func (s shelf) Open(name string) (*config.Bundle, error) {
	b := s[name]
	if b == nil {
		return nil, &config.BundleError{Name: name, Code: "key_unknown", Message: "nobody knows who signed it", Advice: "trust its key"}
	}
	return b, nil
}
func (s shelf) Among(server string) bool { return s[server] != nil }

func (s shelf) add(t *testing.T, name, id string, files packed) {
	t.Helper()
	b := &config.Bundle{Name: name, ID: id, Files: files}
	s[name] = b
	if wiring := files["wiring"]; wiring != "" {
		b.Wiring = []byte(wiring)
		return
	}
	p, problems := config.ParseBundledPlugin(b, nil)
	if problems.Refused() {
		t.Fatal(problems)
	}
	b.Plugin = p
}

const guard = `
name: guard
version: 1.0.0
runtime: js
hooks:
  - {name: first, phase: pre, timeout: 7s}
  - {name: second, phase: pre}
  - {name: door, phase: auth}
  - {name: late, phase: response}
observers: [{name: count}]
`

func stocked(t *testing.T) shelf {
	s := shelf{}
	s.add(t, "acme/guard-1.0.0.zip", "acme/guard", packed{"plugin.yaml": guard, "main.js": "x", "lib/a.js": "y"})
	s.add(t, "greeter", "greeter", packed{"plugin.yaml": "name: greeter\nversion: 1.0.0\nruntime: lua\nhooks: [{name: pre, phase: pre}]\n", "main.lua": "z"})
	s.add(t, "old.zip", "old", packed{"wiring": `{"driver": "otto", "pre": [{"name": "p", "path": "p.js"}]}`, "p.js": "old"})
	s.add(t, "older.zip", "older", packed{"wiring": `{"driver": "otto", "pre": [{"name": "q", "path": "q.js"}], "auth_check": {"name": ""}, "post": null}`, "q.js": "older"})
	s.add(t, "lua.zip", "lua", packed{"wiring": `{"driver": "lua", "pre": [{"name": "l"}]}`, "a.lua": "A", "b.lua": "B"})
	s.add(t, "py.zip", "py", packed{"wiring": `{"driver": "python", "pre": [{"name": "l"}]}`, "middleware.py": "m", "folder": t.TempDir()})
	s.add(t, "logs.zip", "logs", packed{"wiring": `{"driver": "grpc", "traffic_logs": [{"name": "l"}]}`})
	s.add(t, "lost.zip", "lost", packed{"wiring": `{"driver": "otto", "pre": [{"name": "l", "path": "gone.js"}]}`})
	return s
}

func loader(s shelf) config.Loader {
	return config.Loader{Bundles: s, Classic: tyk.New(tyk.Options{Bundles: s}), WorkDir: "/work"}
}

// What a bundle has becomes the definition's own, in the order of its plugin.yaml and after what the definition says.
func TestBundleHooks(t *testing.T) {
	s := stocked(t)
	def, refused := loader(s).Parse("/work/apis/a.yaml", []byte(`
listen: {path: /a}
upstream: {url: "http://h"}
bundles: [acme/guard-1.0.0.zip]
hooks:
  pre: [{bundle: greeter, hook: pre}, {server: greeter, hook: pre}, {server: other, hook: x}]
`))
	if refused != nil {
		t.Fatal(refused.Problems)
	}
	var got []string
	for _, p := range config.Phases() {
		for _, h := range def.HooksIn(p) {
			got = append(got, fmt.Sprint(p, " ", h.Server, " ", h.Name))
		}
	}
	want := []string{
		"pre greeter pre", "pre greeter pre", "pre other x", "pre acme/guard first", "pre acme/guard second", "auth acme/guard door", "response acme/guard late",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if def.Keyless || len(def.Observers) != 1 || def.Observers[0].Server != "acme/guard" {
		t.Errorf("keyless %v, observers %v", def.Keyless, def.Observers)
	}
	if diff := cmp.Diff([]string{"acme/guard-1.0.0.zip", "greeter"}, def.Bundles); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	plugin := s["acme/guard-1.0.0.zip"].Plugin
	if one := plugin.Script(); one.Files["lib/a.js"] != "y" || one.Modules != "" || one.Sources[0].Text != "x" || one.Sources[0].Bundle == "" || plugin.Dir != "" {
		t.Errorf("script %+v", one)
	}
	if bad := def.Unsigned(); bad != nil {
		t.Errorf("%v", bad)
	}
}

// A classic definition's bundles take the place of its hooks.
func TestClassicBundles(t *testing.T) {
	classic := func(more string) string {
		return `{"name": "c", "api_id": "c", "use_keyless": true, "proxy": {"listen_path": "/c/", "target_url": "http://h"}, ` + more + `}`
	}
	s := stocked(t)
	for _, tt := range []struct {
		name, text string
		hooks      []string
		sources    []string
		problem    string
	}{
		{"one", classic(`"custom_middleware_bundle": "old.zip", "custom_middleware": {"driver": "grpc", "pre": [{"name": "own"}]}`),
			[]string{"tyk.js p"}, []string{"p.js old.zip old"}, ""},
		{"several", classic(`"custom_middleware_bundle": "old.zip, older.zip"`), []string{"tyk.js p", "tyk.js q"}, []string{"p.js old.zip old", "q.js older.zip older"}, ""},
		{"lua is whole", classic(`"custom_middleware_bundle": "lua.zip"`), []string{"tyk.lua l"}, []string{"a.lua lua.zip A", "b.lua lua.zip B"}, ""},
		{"one of ours beside it", classic(`"custom_middleware_bundle": "old.zip,greeter"`), []string{"tyk.js p", "greeter pre"}, []string{"p.js old.zip old"}, ""},
		{"python", classic(`"custom_middleware_bundle": "py.zip"`), []string{"bundle/py l"}, nil, `cannot use the bundle "py.zip"`},
		{"not to be had", classic(`"custom_middleware_bundle": "nobody.zip"`), nil, nil,
			`$.custom_middleware_bundle: bundle "nobody.zip" is refused: nobody knows who signed it [key_unknown] (trust its key)`},
		{"two drivers", classic(`"custom_middleware_bundle": "old.zip,lua.zip"`), nil, nil, "all must have one"},
		{"what is refused in a definition is in a bundle", classic(`"custom_middleware_bundle": "logs.zip"`), nil, nil, "traffic log hooks are not supported"},
		{"a path that is no file", classic(`"custom_middleware_bundle": "lost.zip"`), nil, nil, "hook_path"},
		{"an auth hook that nothing turns on", strings.Replace(classic(`"custom_middleware_bundle": "acme/guard-1.0.0.zip"`), `"use_keyless": true`, `"use_standard_auth": true`, 1), nil, nil,
			"custom_plugin_auth_enabled must turn on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			def, refused := loader(s).Parse("/work/apis/c.json", []byte(tt.text))
			if tt.problem != "" {
				if refused == nil || !strings.Contains(refused.Problems.Err().Error(), tt.problem) {
					t.Fatalf("got %v, want %s", refused, tt.problem)
				}
				return
			}
			if refused != nil {
				t.Fatal(refused.Problems)
			}
			var hooks, sources []string
			for _, h := range def.Hooks.Pre {
				hooks = append(hooks, h.Server+" "+h.Name)
			}
			for _, one := range def.Scripts {
				for _, source := range one.Sources {
					sources = append(sources, source.Name+" "+source.Bundle+" "+source.Text)
				}
			}
			if diff := cmp.Diff(tt.hooks, hooks); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.sources, sources); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if bad := def.Unsigned(); bad != nil {
				t.Errorf("%v", bad)
			}
		})
	}
}

func TestBundleProblems(t *testing.T) {
	s := stocked(t)
	for _, tt := range []struct{ name, text, want string }{
		{"refused", "bundles: [nobody]", `$.bundles[0]: bundle "nobody" is refused: nobody knows who signed it [key_unknown] (trust its key)`},
		{"twice", "bundles: [greeter, greeter]", `$.bundles[1]: bundle "greeter" is named twice`},
		{"of Tyk", "bundles: [old.zip]", `$.bundles[0]: bundle "old.zip" was made for Tyk: name it as custom_middleware_bundle`},
		{"two places", "hooks: {pre: [{bundle: greeter, server: x, hook: pre}]}", `$.hooks.pre[0].bundle: a hook is in a bundle, in a script or on a server: name one of them`},
		{"an auth hook among alternatives", "bundles: [acme/guard-1.0.0.zip]\nauth: {any: [token, basic]}", `name the hook there, with bundle: acme/guard-1.0.0.zip`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, refused := loader(s).Parse("/work/apis/a.yaml", []byte("listen: {path: /a}\nupstream: {url: \"http://h\"}\n"+tt.text+"\n"))
			if refused == nil || !strings.Contains(refused.Problems.Err().Error(), tt.want) {
				t.Errorf("got %v, want %s", refused, tt.want)
			}
		})
	}
	_, refused := config.Loader{}.Parse("/work/apis/a.yaml", []byte("listen: {path: /a}\nupstream: {url: \"http://h\"}\nbundles: [x]\n"))
	if refused == nil || !strings.Contains(refused.Problems.Err().Error(), "it is not said where bundles are") {
		t.Errorf("got %v", refused)
	}
}

// Code that is in no bundle is named: in files, and in the definition itself.
func TestUnsigned(t *testing.T) {
	s := stocked(t)
	for name, text := range map[string]string{
		"a.json": `{"name": "c", "api_id": "c", "use_keyless": true, "proxy": {"listen_path": "/c/", "target_url": "http://h"},
			"custom_middleware_bundle": "old.zip", "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default", "use_extended_paths": true,
			"extended_paths": {"virtual": [{"response_function_name": "f", "function_source_type": "blob", "function_source_uri": "eA==", "path": "/v", "method": "GET"}]}}}}}`,
		"b.json": `{"name": "c", "api_id": "c", "use_keyless": true, "proxy": {"listen_path": "/c/", "target_url": "http://h"},
			"custom_middleware": {"driver": "javascript", "pre": [{"name": "p", "code": "eA=="}]}}`,
	} {
		def, refused := loader(s).Parse("/work/apis/"+name, []byte(text))
		if refused != nil {
			t.Fatal(refused.Problems)
		}
		if bad := def.Unsigned(); len(bad) != 1 || !strings.Contains(bad.Err().Error(), "is in no bundle") {
			t.Errorf("%s: %v", name, bad)
		}
	}
}

// A plugin that is yet to be built is no plugin in a bundle: gateways build nothing.
func TestUnbuiltBundle(t *testing.T) {
	files := packed{"plugin.yaml": "name: go\nversion: 1.0.0\nbuild: [go, build]\nserver: {command: [./go]}\nhooks: [{name: h, phase: pre}]\n", "folder": t.TempDir()}
	_, problems := config.ParseBundledPlugin(&config.Bundle{Name: "go.zip", ID: "go", Files: files}, nil)
	if !problems.Refused() || !strings.Contains(problems.Err().Error(), `cannot use "./go": no such file`) {
		t.Errorf("%v", problems)
	}
}
