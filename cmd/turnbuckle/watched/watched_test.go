package watched

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestConcerned(t *testing.T) {
	f := New(&config.Settings{APIs: "/etc/tb/apis/", Plugins: "plugins.d", Policies: "/var/policies.json"}, []string{"/etc/main/turnbuckle.yaml"}, nil, nil)
	for path, want := range map[string]bool{
		"/etc/tb/apis": true, "/etc/tb/apis/a.yaml": true, "/etc/tb/access.log": false, "/etc/tb/apis.old/a": false,
		"/etc": true, "/etc/tb": true, "/": true, "/et": false, "/etc/tbx": false,
		"./plugins.d": true, "plugins.d/p": true, "plugins.d/p/plugin.yaml": true, "./access.log": false,
		"/var/policies.json": true, "/var/other": false, "/etc/main/turnbuckle.yaml": true, "/etc/main/..data": true, "/etc/main/x": false,
	} {
		if f.Concerned(path) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}

// Of scripts, those folders are watched that they are in, and those that they may require files of.
func TestScripts(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"apis/lib/deep", "apis/.git", "apis/node_modules/x", "mw/shop/pre", "classic", "py"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := config.DefaultSettings()
	s.APIs, s.Scripts.Middleware = dir+"/apis", dir+"/mw"
	f := New(&s, nil, []*config.Definition{{Scripts: []config.Script{
		{Name: "a.js", Modules: dir + "/apis", Sources: []config.ScriptSource{{File: dir + "/apis/a.js"}}},
		{Name: "tyk.js", Sources: []config.ScriptSource{{File: dir + "/classic/b.js"}, {Name: "inline", Text: "1"}}},
		{Name: "py/", Language: config.Python, Python: config.PythonSource{Folder: dir + "/py"}},
	}}}, nil)
	for path, want := range map[string]bool{
		"/apis/lib/x.js": true, "/apis/lib/deep/x.json": true, "/apis/lib/new": true, "/apis/lib/x.log": false, "/apis/.git/x.js": false,
		"/apis/node_modules/x/y.js": false, "/mw/shop/pre/p.js": true, "/mw/lua": true, "/classic/b.js": true, "/classic/c.txt": false, "/py/m.py": true, "/py/requirements.txt": true, "/py/notes.txt": false, "/other/b.js": false,
	} {
		if f.Concerned(dir+path) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}

// Of plugin servers that are started, the code in their folders is watched, and the program that settings name; not what they
// write.
func TestStarted(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"plugins.d/own/lib/deep", "plugins.d/own/__pycache__", "plugins.d/beside/lib", "bin"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := config.DefaultSettings()
	s.Plugins = dir + "/plugins.d"
	s.Servers = map[string]config.PluginServer{
		"a": {Start: config.PluginStart{Command: []string{dir + "/bin/a"}}}, "b": {Start: config.PluginStart{Command: []string{"python3"}}},
	}
	own := &config.Plugin{Name: "own", Server: config.PluginServer{Start: config.PluginStart{Command: []string{"python3"}, Folder: dir + "/plugins.d/own"}}}
	f := New(&s, nil, nil, []*config.Plugin{own, {Name: "beside"}})
	for path, want := range map[string]bool{
		"/plugins.d/own/plugin.yaml": true, "/plugins.d/own/serve": true, "/plugins.d/own/main.py": true, "/plugins.d/own/lib/a.py": true,
		"/plugins.d/own/lib/deep/a.mjs": true, "/plugins.d/own/plugin.log": false, "/plugins.d/own/lib/state.db": false,
		"/plugins.d/own/__pycache__/a.py": false, "/plugins.d/beside/lib/a.py": false, "/plugins.d/beside/plugin.yaml": true,
		"/bin/a": true, "/bin/b": false,
	} {
		if f.Concerned(dir+path) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}
