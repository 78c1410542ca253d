package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestPluginExample(t *testing.T) {
	plugins, problems := config.LoadPlugins("testdata/plugins.d", nil)
	if problems != nil || len(plugins) != 2 {
		t.Fatalf("%v %v", plugins, problems)
	}
	p := plugins[0]
	if s := plugins[1].Script(); s == nil || s.Language != config.JavaScript || s.Isolate != config.IsolateCall || s.Modules != plugins[1].Dir ||
		len(s.Sources) != 1 || s.Sources[0].Name != "greet.js" || !strings.Contains(s.Sources[0].Text, "exports.greet") {
		t.Errorf("got %+v", s)
	}
	dir, _ := filepath.Abs("testdata/plugins.d/hello")
	if p.Name != "hello" || p.Version != "1.2.0" || p.Dir != dir || p.Server.Address != "unix:"+dir+"/hello.sock" {
		t.Errorf("got %+v", p)
	}
	want := []config.PluginHook{
		{
			Name: "Authenticate", Phase: config.PhaseAuth, Policy: config.Policy{Timeout: 250 * time.Millisecond},
			Needs: config.Needs{
				Headers: config.HeaderNeeds{Names: []string{"Authorization", "X-Request-Id"}}, Query: true, Values: true, Client: true,
				Body: config.BodyPolicy{Mode: config.BodyBuffer, Limit: 16 << 10},
			},
		},
		{
			Name: "Rewrite", Phase: config.PhaseResponse,
			Needs: config.Needs{
				Headers: config.HeaderNeeds{All: true}, ResponseHeaders: config.HeaderNeeds{All: true},
				ResponseBody: config.BodyPolicy{Mode: config.BodyBuffer},
			},
		},
	}
	if diff := cmp.Diff(want, p.Hooks); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A plugin's command is in its folder, where it works too; one without a slash is PATH's.
func TestPluginCommand(t *testing.T) {
	dir := filepath.Join(write(t, map[string]string{
		"own/plugin.yaml": "server: {command: [bin/serve, --fast]}\n", "own/bin/serve": "#!/bin/sh\n",
		"path/plugin.yaml": "server: {command: [python3, main.py], dir: src}\n", "path/src/main.py": "",
	}))
	if err := os.Chmod(filepath.Join(dir, "own/bin/serve"), 0o755); err != nil {
		t.Fatal(err)
	}
	plugins, problems := config.LoadPlugins(dir, nil)
	if problems != nil || len(plugins) != 2 {
		t.Fatal(problems)
	}
	want := config.DefaultStart()
	want.Command, want.Dir, want.Folder = []string{dir + "/own/bin/serve", "--fast"}, dir+"/own", dir+"/own"
	if diff := cmp.Diff(want, plugins[0].Server.Start); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want.Command, want.Dir, want.Folder = []string{"python3", "main.py"}, dir+"/path/src", dir+"/path"
	if diff := cmp.Diff(want, plugins[1].Server.Start); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCheckHooks(t *testing.T) {
	plugins, _ := config.LoadPlugins("testdata/plugins.d", nil)
	settings := config.DefaultSettings()
	settings.Servers = map[string]config.PluginServer{"default": {Address: "h:1"}}
	servers, problems := config.Servers(&settings, plugins)
	if problems != nil || len(servers) != 3 {
		t.Fatalf("%v %v", servers, problems)
	}
	const base = "listen: {path: /a}\nupstream: {url: http://a}\n"
	tests := []struct {
		yaml string
		want []string
	}{
		{"hooks: {pre: [{hook: Any}], auth: [{server: hello, hook: Authenticate, config: {realm: x}}]}\nobservers: [{server: hello, observer: Record}]\n", nil},
		{"config: {realm: 1}\nhooks: {auth: [{server: hello, hook: Authenticate}]}\n", []string{
			`n.yaml: $.config.realm: by the schema of plugin "hello": got number, want string`}},
		{"hooks:\n  auth: [{server: hello, hook: Authenticate, config: {real: x}}]\n  pre: [{server: hello, hook: Authenticate}, {server: nobody, hook: x}]\nobservers: [{server: hello, observer: None}]\n", []string{
			`n.yaml: $.hooks.pre[0]: plugin "hello" has no hook "Authenticate" for phase pre`,
			`n.yaml: $.hooks.pre[1]: there is no plugin server or plugin "nobody": name it under servers in the settings, or put its folder among the plugins`,
			`n.yaml: $.hooks.auth[0].config.real: by the schema of plugin "hello": unknown key "real": did you mean "realm"?`,
			`n.yaml: $.observers[0]: plugin "hello" has no observer "None"`,
		}},
	}
	for _, tt := range tests {
		def, refused := config.Loader{}.Parse("n.yaml", []byte(base+tt.yaml))
		if refused != nil {
			t.Fatal(refused.Problems)
		}
		if diff := cmp.Diff(tt.want, places(def.CheckHooks(servers, plugins))); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
	settings.Servers["hello"] = config.PluginServer{Address: "h:2"}
	if _, problems = config.Servers(&settings, plugins); len(problems) != 1 || !strings.Contains(problems[0].Message, `already have a server named "hello"`) {
		t.Errorf("got %v", problems)
	}
}

func TestPluginProblems(t *testing.T) {
	const good = "server: {address: 'h:1'}\n"
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"no server", "version: 1.0\n", []string{
			`plugin.yaml:1:1: $.server.address: an address or a command is required`,
			`plugin.yaml:1:10: $.version: must be a string, not a number`,
		}},
		{"no such command", "server: {command: [./x]}\n", []string{`plugin.yaml:1:19: $.server.command: cannot use "./x": no such file`}},
		{"a command that is not built yet", "build: [make]\nserver: {command: [./x]}\n", []string{`plugin.yaml:2:19: $.server.command: "./x" is not there yet: build makes it`}},
		{"a command that no build makes", "build: [make]\nserver: {command: [../x]}\n", []string{`plugin.yaml:2:19: $.server.command: cannot use "../x": path escapes from parent`}},
		{"a command outside", "server: {command: [../outside]}\n", []string{`plugin.yaml:1:19: $.server.command: cannot use "../outside": path escapes from parent`}},
		{"a command behind a link", "server: {command: [./link]}\n", []string{`plugin.yaml:1:19: $.server.command: cannot use "./link": path escapes from parent`}},
		{"an absolute command", "server: {command: [/bin/sh]}\n", []string{`plugin.yaml:1:19: $.server.command: cannot use "/bin/sh": /bin/sh: an absolute path is not accepted here`}},
		{"a command that is none", "server: {command: [./plugin.yaml]}\n", []string{`plugin.yaml:1:19: $.server.command: cannot use "./plugin.yaml": it is not executable`}},
		{"a folder outside", "server: {command: [sh], dir: ..}\n", []string{`plugin.yaml:1:30: $.server.dir: cannot use "..": path escapes from parent`}},
		{"a command and an address", "server: {command: [sh], address: 'h:1'}\n", []string{`plugin.yaml:1:19: $.server.command: a server is at an address, or the gateway starts it: say address or command`}},
		{"a command and a runtime", "runtime: js\nmain: plugin.yaml\nserver: {command: [sh]}\n", []string{`plugin.yaml:1:10: $.runtime: a plugin runs inside the gateway or on a server: say runtime or server`}},
		{"started at an address", "server: {address: 'h:1', instances: 2}\n", []string{`plugin.yaml:1:9: $.server: instances, limits, restart and the like are of servers that the gateway starts: they need a command`}},
		{
			"a start that makes no sense",
			"server: {command: [sh, \"a\\0b\"], instances: 300, env: {'a b': c}, pass_env: [A=B], user: a b, tls: {enabled: true}, " +
				"handshake: {mode: plain, tls: required, cookie_key: a b, versions: [-1]}, limits: {memory: 0}}\n",
			[]string{
				`plugin.yaml:1:24: $.server.command[1]: must not have NUL characters`,
				`plugin.yaml:1:44: $.server.instances: must not be more than 256`,
				`plugin.yaml:1:62: $.server.env["a b"]: not the name of an environment variable with a value without NUL characters`,
				`plugin.yaml:1:77: $.server.pass_env[0]: "A=B" is not the name of an environment variable`,
				`plugin.yaml:1:89: $.server.user: "a b" is no user`,
				`plugin.yaml:1:99: $.server.tls: is for servers at an address`,
				`plugin.yaml:1:146: $.server.handshake.tls: a server without handshake has no certificates`,
				`plugin.yaml:1:168: $.server.handshake.cookie_key: "a b" is not the name of an environment variable`,
				`plugin.yaml:1:168: $.server.handshake.cookie_key: cookie_key and cookie_value belong together`,
				`plugin.yaml:1:184: $.server.handshake.versions[0]: must not be negative`,
				`plugin.yaml:1:207: $.server.limits.memory: must be greater than 0`,
			},
		},
		{"hooks", good + "hooks:\n  - {name: a, phase: before}\n  - {name: b, phase: auth, on_error: skip, needs: {response_headers: all, headers: ['x y']}}\n  - {name: b, phase: auth}\n", []string{
			`plugin.yaml:3:22: $.hooks[0].phase: "before": must be pre, auth, post_key_auth, post or response`,
			`plugin.yaml:4:38: $.hooks[1].on_error: an auth hook that fails must fail the request`,
			`plugin.yaml:4:51: $.hooks[1].needs: only a hook of the response phase can need the response`,
			`plugin.yaml:4:85: $.hooks[1].needs.headers[0]: "x y" is not a header name`,
			`plugin.yaml:5:5: $.hooks[2]: hook "b" stands twice for phase auth`,
		}},
		{"schema", good + "config_schema: {type: 5}\n", []string{`plugin.yaml:2:16: $.config_schema: not a JSON Schema: `}},
		{"schema elsewhere", good + "config_schema: {$ref: 'other:///etc/passwd'}\n", []string{`plugin.yaml:2:16: $.config_schema: not a JSON Schema: `}},
		{"schema outside", good + "config_schema: ../x.json\n", []string{`plugin.yaml:2:16: $.config_schema: cannot read "../x.json": path escapes from parent`}},
		{"name", "name: Not OK\n" + good, []string{`plugin.yaml:1:7: $.name: "Not OK" is not a name for a plugin`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(write(t, map[string]string{"p/plugin.yaml": tt.yaml, "outside": "#!/bin/sh\n"}), "p")
			if err := os.Symlink("../outside", filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			_, problems := config.LoadPlugin(dir, nil)
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

func TestSchemaFileAndDoubleNames(t *testing.T) {
	dir := write(t, map[string]string{
		"a/plugin.yaml": "name: same\nserver: {address: 'h:1'}\nconfig_schema: schema.json\n",
		"a/schema.json": `{"required": ["key"]}`,
		"b/plugin.yaml": "name: same\nserver: {address: 'h:1'}\n",
		"c/other":       "",
	})
	plugins, problems := config.LoadPlugins(dir, nil)
	if len(plugins) != 3 || plugins[0].Broken != nil || plugins[1].Broken == nil || plugins[2].Broken == nil ||
		len(problems) != 1 || !strings.Contains(problems[0].Message, `already has the name "same"`) {
		t.Fatalf("%v %v", plugins, problems)
	}
	for config, ok := range map[string]bool{`{"key": 1}`: true, `{}`: false, `nonsense`: false} {
		if got := plugins[0].CheckConfig(json.RawMessage(config)); (got == nil) != ok {
			t.Errorf("%s: %v", config, got)
		}
	}
	if plugins[0].CheckConfig(nil) == nil {
		t.Error("no config satisfies a schema that requires a key")
	}
	if none, problems := config.LoadPlugins(filepath.Join(dir, "gone"), nil); none != nil || problems != nil {
		t.Errorf("a folder that is not there: %v %v", none, problems)
	}
}

// A definition that names a plugin whose folder is broken says so, and what is wrong there.
func TestBrokenPlugins(t *testing.T) {
	dir := write(t, map[string]string{
		"torn/plugin.yaml":   "name: other\nserver: {address: 'h:1'\n",
		"wrong/plugin.yaml":  "name: renamed\nserver: {address: 'h:1', protocoll: tyk}\n",
		"empty/README":       "",
		".hidden/README":     "",
		"second/plugin.yaml": "name: fine\nserver: {address: 'h:2'}\n",
		"fine/plugin.yaml":   "server: {address: 'h:1'}\n",
	})
	plugins, problems := config.LoadPlugins(dir, nil)
	if !problems.Refused() {
		t.Fatal("nothing is wrong with broken folders")
	}
	settings := config.DefaultSettings()
	servers, problems := config.Servers(&settings, plugins)
	if problems != nil || len(servers) != 1 || servers["fine"].Address != "h:1" {
		t.Fatalf("got %v %v", servers, problems)
	}
	for name, want := range map[string]string{
		"torn":    `plugin "torn" cannot be used: ` + dir + "/torn/plugin.yaml:1:1: not YAML",
		"wrong":   `plugin "wrong" cannot be used: ` + dir + "/wrong/plugin.yaml:2:37: $.server.protocoll: unknown key",
		"renamed": `plugin "renamed" cannot be used: ` + dir + "/wrong/plugin.yaml:2:37: $.server.protocoll: unknown key",
		"empty":   `plugin "empty" cannot be used: its folder ` + dir + "/empty has no plugin.yaml",
		"second":  `plugin "second" cannot be used: ` + dir + `/second/plugin.yaml: $.name: the plugin in ` + dir + `/fine already has the name "fine"`,
		"nobody":  `there is no plugin server or plugin "nobody"`,
		"default": "there is no default plugin server: ",
		"fine":    `plugin "fine" has no observer "x"`,
	} {
		text := "listen: {path: /a}\nupstream: {url: http://a}\nobservers: [{server: '" + name + "', observer: x}]\n"
		def, refused := config.Loader{}.Parse("n.yaml", []byte(text))
		if refused != nil {
			t.Fatal(refused.Problems)
		}
		got := def.CheckHooks(servers, plugins)
		if len(got) != 1 || !strings.HasPrefix(got[0].Message, want) {
			t.Errorf("%s: got  %v\nwant %s", name, got, want)
		}
	}
}

func FuzzPlugin(f *testing.F) {
	data, err := os.ReadFile("testdata/plugins.d/hello/plugin.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data), `{"realm": "x"}`)
	f.Add("server: {address: 'h:1'}\nconfig_schema: {$ref: '#'}\n", "{}")
	f.Fuzz(func(t *testing.T, text, value string) {
		p, problems := config.ParsePlugin("/nowhere/p/plugin.yaml", []byte(text), nil)
		if problems.Refused() {
			return
		}
		if ps := p.Validate(); ps.Refused() {
			t.Fatalf("accepted and not valid: %v", ps)
		}
		p.CheckConfig(json.RawMessage(value))
	})
}
