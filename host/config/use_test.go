package config_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
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

// checkParrot refuses what a schema cannot.
func checkParrot(config json.RawMessage) error {
	if strings.Contains(string(config), "polly") {
		return errors.New("parrot: words[0]: everybody says that")
	}
	return nil
}

func builtins(t *testing.T) []*config.Plugin {
	t.Helper()
	p, problems := config.ParseBuiltin("parrot", parrot, checkParrot)
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
		{"wrong config", "use: [{plugin: parrot, config: {wordz: []}}]", `a.yaml:3:40: $.use[0].config.wordz: by the schema of plugin "parrot": unknown key "wordz": did you mean "words"?`},
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
	if _, problems := config.ParseBuiltin("x", "name: x\nhooks: [{name: Who, phase: auth}]", nil); !problems.Refused() {
		t.Error("an auth hook is taken")
	}
}

func parrots(t *testing.T) func() ([]*config.Plugin, error) {
	return func() ([]*config.Plugin, error) { return builtins(t), nil }
}

func used(d *config.Definition) []string {
	var got []string
	for _, p := range config.Phases() {
		for _, h := range d.HooksIn(p) {
			u := d.Builtin(h.Server)
			got = append(got, string(p)+" "+h.Server+" "+h.Name+" "+string(u.Config))
		}
	}
	return got
}

// Settings turn a plugin on for every API, of either form; a definition's own word on a plugin takes the place of theirs.
func TestUseOfSettings(t *testing.T) {
	settings, problems := config.LoadSettings(config.SettingsSource{
		File: "turnbuckle.yaml", WorkDir: "/", Builtins: parrots(t), Environ: []string{"WORD=hello"},
		Data: []byte("use: [{plugin: parrot, config: {words: ['env:WORD']}}, {plugin: parrot, enabled: false, config: {words: 7}}]\n"),
	})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	loader := config.Loader{Builtins: builtins(t), Use: settings.Use, Classic: tyk.New(tyk.Options{})}
	const native = "listen: {path: /a}\nupstream: {url: http://127.0.0.1:1}\n"
	const classic = `{"api_id": "a", "use_keyless": true, "proxy": {"listen_path": "/a", "target_url": "http://127.0.0.1:1"}, "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}%}`
	of := func(more string) string { return strings.Replace(classic, "%", more, 1) }
	for _, test := range []struct {
		name, file, text string
		want             []string
	}{
		{"native", "a.yaml", native, []string{`pre parrot Listen {"words":["hello"]}`, `response parrot Repeat {"words":["hello"]}`}},
		{"native, off", "a.yaml", native + "use: [{plugin: parrot, enabled: false}]", nil},
		{"native, its own", "a.yaml", native + "use: [{plugin: parrot, config: {words: [a]}}]", []string{`pre parrot Listen {"words":["a"]}`, `response parrot Repeat {"words":["a"]}`}},
		{"classic", "a.json", of(""), []string{`pre parrot Listen {"words":["hello"]}`, `response parrot Repeat {"words":["hello"]}`}},
		{"classic, off", "a.json", of(`, "x-turnbuckle": {"use": [{"plugin": "parrot", "enabled": false}]}`), nil},
		{"classic, its own", "a.json", of(`, "x-turnbuckle": {"use": [{"plugin": "parrot", "config": {"words": ["a"]}}, {"plugin": "parrot"}]}`),
			[]string{`pre parrot Listen {"words":["a"]}`, `pre parrot-2 Listen `, `response parrot Repeat {"words":["a"]}`, `response parrot-2 Repeat `}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, refused := loader.Parse("/apis/"+test.file, []byte(test.text))
			if refused != nil {
				t.Fatal(refused.Problems)
			}
			if diff := cmp.Diff(test.want, used(d)); diff != "" {
				t.Error(diff)
			}
			if bad := d.CheckHooks(nil, nil); bad != nil {
				t.Error(bad)
			}
			if len(d.Notices) > 0 {
				t.Error(d.Notices)
			}
		})
	}
	for _, test := range []struct{ name, file, text, want string }{
		{"native", "a.yaml", native + "use: [{plugin: parrot, config: {words: [polly]}}]", `a.yaml:3:41: $.use[0].config.words[0]: plugin "parrot": everybody says that`},
		{"classic", "a.json", of(`, "x-turnbuckle": {"use": [{"plugin": "parrot", "config": {"words": ["polly"]}}]}`), `$.x-turnbuckle.use[0].config.words[0]: plugin "parrot": everybody says that`},
		{"classic, unknown", "a.json", of(`, "x-turnbuckle": {"use": [{"plugin": "parot"}]}`), `$.x-turnbuckle.use[0].plugin: there is no ready-made plugin "parot": there is parrot`},
		{"classic, no list", "a.json", of(`, "x-turnbuckle": {"use": {"parrot": {}}}`), `$.x-turnbuckle.use: must be a list`},
		{"unknown and off", "a.yaml", native + "use: [{plugin: parot, enabled: false}]", `there is no ready-made plugin "parot"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, refused := loader.Parse("/apis/"+test.file, []byte(test.text))
			if refused == nil || !strings.Contains(refused.Problems.Err().Error(), test.want) {
				t.Errorf("got %v, want %s", refused, test.want)
			}
		})
	}
}

func TestUseOfSettingsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"use: [{plugin: parot}]":                            `turnbuckle.yaml:1:16: $.use[0].plugin: there is no ready-made plugin "parot": there is parrot`,
		"use: [{plugin: parrot, config: {words: 1}}]":       `turnbuckle.yaml:1:40: $.use[0].config.words: by the schema of plugin "parrot"`,
		"use: [{plugin: parrot, config: {words: [polly]}}]": `turnbuckle.yaml:1:41: $.use[0].config.words[0]: plugin "parrot": everybody says that`,
		"use: {plugin: parrot}":                             `$.use: must be a list`,
		"use: [{plugin: parrot, confg: {}}]":                `unknown key`,
	} {
		_, problems := config.LoadSettings(config.SettingsSource{File: "turnbuckle.yaml", Data: []byte(text), WorkDir: "/", Builtins: parrots(t)})
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, problems := config.LoadSettings(config.SettingsSource{File: "turnbuckle.yaml", Data: []byte("use: [{plugin: parrot}]"), WorkDir: "/"}); !problems.Refused() {
		t.Error("without plugins, one is used")
	}
}
