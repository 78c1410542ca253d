package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

const parrot = `
name: parrot
version: 1.0.0
hooks:
  - {name: Listen, phase: pre}
  - {name: Repeat, phase: response, on_error: skip}
observers: [{name: Remember}]
config_schema:
  type: object
  additionalProperties: false
  properties: {words: {type: array, items: {type: string}}}
`

func builtins(t *testing.T) []*config.Plugin {
	t.Helper()
	p, problems := config.ParseBuiltin("parrot", parrot)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return []*config.Plugin{p}
}

// A definition turns a plugin on by its name: its hooks come first, under a name that says which use of it they are of.
func TestUse(t *testing.T) {
	loader := config.Loader{Builtins: builtins(t)}
	def, refused := loader.Parse("/apis/a.yaml", []byte(`
listen: {path: /a}
upstream: {url: http://127.0.0.1:1}
hooks: {pre: [{server: other, hook: First}], post: [{server: other, hook: Last}]}
observers: [{server: other, observer: Watch}]
use:
  - plugin: parrot
  - plugin: parrot
    config: {words: [a]}
`))
	if refused != nil {
		t.Fatal(refused.Problems)
	}
	var got []string
	for _, p := range config.Phases() {
		for _, h := range def.HooksIn(p) {
			got = append(got, string(p)+" "+h.Server+" "+h.Name)
		}
	}
	for _, o := range def.Observers {
		got = append(got, "log "+o.Server+" "+o.Name)
	}
	want := []string{
		"pre parrot Listen", "pre parrot-2 Listen", "pre other First", "post other Last", "response parrot Repeat", "response parrot-2 Repeat",
		"log other Watch", "log parrot Remember", "log parrot-2 Remember",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if u := def.Builtin("parrot-2"); u == nil || string(u.Config) != `{"words":["a"]}` || def.Builtin("other") != nil || def.Builtin("") != nil {
		t.Errorf("the second use is %+v", u)
	}
	if bad := def.CheckHooks(map[string]config.PluginServer{"other": {}}, nil); bad != nil {
		t.Error(bad)
	}
}

func TestUseRefused(t *testing.T) {
	const head = "listen: {path: /a}\nupstream: {url: http://127.0.0.1:1}\n"
	for _, test := range []struct{ name, text, want string }{
		{"unknown", "use: [{plugin: parot}]", `a.yaml:3:16: $.use[0].plugin: there is no ready-made plugin "parot": there is parrot`},
		{"no name", "use: [{config: {}}]", `there is no ready-made plugin ""`},
		{"wrong config", "use: [{plugin: parrot, config: {wordz: []}}]", `a.yaml:3:32: $.use[0].config: by the schema of plugin "parrot": additional properties 'wordz' not allowed`},
		{"wrong type", "use: [{plugin: parrot, config: {words: 1}}]", `a.yaml:3:40: $.use[0].config.words: by the schema of plugin "parrot"`},
		{"unknown key", "use: [{plugin: parrot, confg: {}}]", "unknown key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, refused := config.Loader{Builtins: builtins(t)}.Parse("a.yaml", []byte(head+test.text))
			if refused == nil || !strings.Contains(refused.Problems.Err().Error(), test.want) {
				t.Errorf("got %v, want %s", refused, test.want)
			}
		})
	}
	if _, refused := (config.Loader{}).Parse("a.yaml", []byte(head+"use: [{plugin: parrot}]")); refused == nil {
		t.Error("without plugins, one is used")
	}
	if _, problems := config.ParseBuiltin("x", "name: x\nhooks: [{name: Who, phase: auth}]"); !problems.Refused() {
		t.Error("an auth hook is taken")
	}
}
