package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// A definition's scripts are read when it is, from its own folder alone.
func TestScripts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"apis/a.js": "a", "apis/lib/b.lua": "b", "outside.js": "o", "apis/empty.js": "", "apis/large.js": strings.Repeat("x", config.MaxScript+1),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.js", filepath.Join(dir, "apis", "link.js")); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, doc string
		want      []string
	}{
		{"one script for several hooks", `hooks: {pre: [{script: a.js}], post: [{script: ./a.js, hook: last}]}`,
			[]string{"a.js js a.js=a", "pre a.js pre", "post a.js last"}},
		{"both languages, and observers", "hooks: {auth: [{script: lib/b.lua}]}\nobservers: [{script: a.js, observer: seen}]",
			[]string{"lib/b.lua lua lib/b.lua=b", "a.js js a.js=a", "auth lib/b.lua auth", "observer a.js seen"}},
		{"in a group", `auth: {any: [token, {all: [{hook: {script: a.js, hook: door}}]}]}`, []string{"a.js js a.js=a", "auth a.js door"}},
		{"isolation of one hook is the script's", `hooks: {pre: [{script: a.js}, {script: a.js, hook: x, isolate: call}]}`,
			[]string{"a.js js a.js=a isolate call", "pre a.js pre", "pre a.js x"}},
		{"absolute, inside", `hooks: {pre: [{script: "` + filepath.Join(dir, "apis", "a.js") + `"}]}`, nil},
		{"outside", `hooks: {pre: [{script: ../outside.js}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: cannot use the script "../outside.js": path escapes from parent`}},
		{"a link out", `hooks: {pre: [{script: link.js}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: cannot use the script "link.js": path escapes from parent`}},
		{"missing", `hooks: {pre: [{script: none.js}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: cannot use the script "none.js": no such file`}},
		{"a folder", `hooks: {pre: [{script: "lib.js/../lib/.js"}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: cannot use the script "lib/.js": no such file`}},
		{"too large", `hooks: {pre: [{script: large.js}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: cannot use the script "large.js": it has more than 4194304 bytes`}},
		{"another language", `hooks: {pre: [{script: a.py}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: "a.py" is no script: its name must end in .js or .lua`}},
		{"a server besides", `hooks: {pre: [{script: a.js, server: default}]}`, []string{`a.yaml:3:24: $.hooks.pre[0].script: a hook is in a script or on a server: name one of them`}},
		{"isolation of a server", `hooks: {pre: [{hook: x, isolate: call}]}`, []string{`a.yaml:3:34: $.hooks.pre[0].isolate: only scripts can be isolated: name one under script`}},
		{"isolation that there is not", `hooks: {pre: [{script: a.js, isolate: never}]}`, []string{`a.yaml:3:39: $.hooks.pre[0].isolate: "never": must be call or process`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			def, refused := config.Loader{}.Parse(filepath.Join(dir, "apis", "a.yaml"), []byte("listen: {path: /a}\nupstream: {url: http://a}\n"+tt.doc+"\n"))
			got := described(def, refused)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], dir+"/apis/", "")
			}
			if tt.want == nil {
				if refused != nil {
					t.Errorf("got %q", got)
				}
				return
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// described tells a definition's scripts and who names them, a line each, or what refuses it.
func described(def *config.Definition, refused *config.Refused) []string {
	if refused != nil {
		return strings.Split(strings.TrimSpace(refused.Problems.Err().Error()), "\n")
	}
	var got []string
	for _, s := range def.Scripts {
		line := fmt.Sprintf("%s %s", s.Name, s.Language)
		for _, source := range s.Sources {
			line += " " + source.Name + "=" + source.Text
		}
		if s.Isolate != "" {
			line += " isolate " + string(s.Isolate)
		}
		got = append(got, line)
	}
	for _, p := range config.Phases() {
		for _, h := range def.HooksIn(p) {
			got = append(got, fmt.Sprint(p, " ", h.Server, " ", h.Name))
		}
	}
	for _, o := range def.Observers {
		got = append(got, fmt.Sprint("observer ", o.Server, " ", o.Name))
	}
	return got
}
