package tyk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

// pythonic parses a definition beside folders with plugins in Python.
func pythonic(t *testing.T, dir, middleware string) (*config.Definition, []string) {
	t.Helper()
	for name, text := range map[string]string{
		"one.py": "", "mw/auth/middleware.py": "a", "mw/auth/lib/deep.py": "d", "mw/pre/first.py": "1", "mw/pre/second.py": "2", "empty/notes.md": "",
		"mw/auth/__pycache__/x.py": "", "mw/auth/.git/x.py": "",
	} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc := `{"api_id": "x", "name": "x", "enable_coprocess_auth": true, "proxy": {"listen_path": "/x/", "target_url": "http://u/"},
		"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}, "custom_middleware": ` + middleware + `}`
	def, refused := config.Loader{Classic: tyk.New(tyk.Options{}), WorkDir: dir}.Parse("a.json", []byte(doc))
	if refused != nil {
		return nil, strings.Split(strings.TrimSpace(refused.Problems.Err().Error()), "\n")
	}
	var got []string
	for _, s := range def.Scripts {
		rel, err := filepath.Rel(dir, s.Python.Folder)
		got = append(got, fmt.Sprintf("%s %s %t: %s %q %v", s.Name, s.Language, s.Tyk, rel, s.Python.Files, err))
	}
	for _, p := range config.Phases() {
		for _, h := range def.HooksIn(p) {
			got = append(got, fmt.Sprint(p, " ", h.Server, " ", h.Name))
		}
	}
	return def, got
}

// A plugin in Python is a folder, of which a path names all or files; hooks of one folder are one plugin's.
func TestPython(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		middleware string
		want       []string
	}{
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/auth"}, "pre": [{"name": "P"}], "post": [{"name": "Q", "path": "./mw/auth/"}]}`,
			[]string{`mw/auth/ python true: mw/auth [] <nil>`, `pre mw/auth/ P`, `auth mw/auth/ A`, `post mw/auth/ Q`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "one.py"}, "pre": [{"name": "P", "path": "mw/pre/first.py"}],
			"response": [{"name": "R", "path": "mw/pre/second.py"}, {"name": "X", "disabled": true, "path": "nowhere"}]}`,
			[]string{`./ python true: . ["one.py"] <nil>`, `mw/pre/ python true: mw/pre ["first.py" "second.py"] <nil>`, `pre mw/pre/ P`, `auth ./ A`, `response mw/pre/ R`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/pre"}, "pre": [{"name": "P", "path": "mw/pre/first.py"}]}`,
			[]string{`mw/pre/ python true: mw/pre ["." "first.py"] <nil>`, `pre mw/pre/ P`, `auth mw/pre/ A`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/auth/none.py"}}`, []string{`cannot use the folder "mw/auth": none.py: no such file`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/none"}}`, []string{`cannot use the folder "mw/none": no such file`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "empty"}}`, []string{`cannot use the folder "empty": it has no .py file`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "../"}}`, []string{`cannot use the folder "..": path escapes from parent`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "/etc"}}`, []string{`cannot use the folder "/etc": /etc: an absolute path is not accepted here`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/auth"}, "pre": [{"name": "P", "path": "mw/pre"}, {"name": "Q"}]}`,
			[]string{`name the plugin's folder, or the file in it that has the hook, under path`}},
		{`{"driver": "python", "auth_check": {"name": "A", "path": "mw/auth", "code": "eA=="}}`, []string{`a plugin in Python is a folder`}},
	} {
		_, got := pythonic(t, dir, tt.middleware)
		if len(got) == len(tt.want) && len(got) == 1 && strings.Contains(got[0], tt.want[0]) {
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.middleware, diff)
		}
	}
}

// Definitions are equal as long as the code is, whatever else lies beside it.
func TestPythonDigest(t *testing.T) {
	dir := t.TempDir()
	const middleware = `{"driver": "python", "auth_check": {"name": "A", "path": "mw/auth"}}`
	digest := func() string {
		def, got := pythonic(t, dir, middleware)
		if def == nil {
			t.Fatal(got)
		}
		return def.Scripts[0].Python.Digest
	}
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := digest()
	for name, text := range map[string]string{"mw/auth/__pycache__/x.py": "x", "mw/auth/.git/x.py": "x", "mw/auth/README.md": "x", "mw/pre/first.py": "x", "mw/auth/lib/deep.py": "d"} {
		if put(name, text); digest() != before {
			t.Errorf("%s is no code of the plugin's", name)
		}
	}
	for name, text := range map[string]string{"mw/auth/lib/deep.py": "e", "mw/auth/requirements.txt": "x", "mw/auth/middleware.py": "b", "mw/auth/new.py": ""} {
		now := digest()
		if put(name, text); digest() == now {
			t.Errorf("%s has changed", name)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "mw/auth/out.py")); err != nil {
		t.Fatal(err)
	}
	digest()
}
