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

// scripted parses a definition in a folder of its own with scripts around it, and says what came of it, a line each.
func scripted(t *testing.T, o tyk.Options, doc string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"mw/a.js": "a", "mw/b.js": "b", "mw/l.lua": "l", "prelude.js": "p",
		"middleware/x/pre/first.js": "1", "middleware/x/pre/notes.txt": "", "middleware/x/post/late_with_session.v2.js": "2",
		"middleware/x/post_auth/after.js": "3", "middleware/x/auth/door.js": "4", "middleware/y/pre/other.js": "5",
		"middleware/lua/one.lua": "one", "middleware/lua/two.lua": "two",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []*string{&o.Middleware, &o.Prelude} {
		if *path != "" {
			*path = filepath.Join(dir, *path)
		}
	}
	def, refused := config.Loader{Classic: tyk.New(o), WorkDir: dir}.Parse("a.json", []byte(doc))
	if refused != nil {
		return strings.Split(strings.TrimSpace(refused.Problems.Err().Error()), "\n")
	}
	var got []string
	for _, s := range def.Scripts {
		line := fmt.Sprintf("%s %s", s.Name, s.Language)
		for _, source := range s.Sources {
			line += " " + source.Name + "=" + source.Text
		}
		if s.Modules != "" {
			rel, _ := filepath.Rel(dir, s.Modules)
			line += " modules " + rel
		}
		if len(s.WithSession) > 0 {
			line += fmt.Sprint(" sessions ", s.WithSession)
		}
		got = append(got, line)
	}
	for _, p := range config.Phases() {
		for _, h := range def.HooksIn(p) {
			got = append(got, fmt.Sprint(p, " ", h.Server, " ", h.Name))
		}
	}
	for _, v := range def.Versions.List {
		for _, e := range v.Virtual {
			got = append(got, fmt.Sprint("virtual ", e.Path, " ", e.Methods, " ", e.Script, " ", e.Function, " ", e.WithSession, " ", e.Forward))
		}
	}
	for _, e := range def.Events {
		got = append(got, fmt.Sprint("event ", e.Event, " ", e.Server, " ", e.Name))
	}
	return got
}

func TestScripts(t *testing.T) {
	head := `{"api_id": "%s", "name": "x", "use_keyless": true, "proxy": {"listen_path": "/x/", "target_url": "http://a"}, %s,
		"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"%s}}}}`
	of := func(middleware string) string { return fmt.Sprintf(head, "z", `"custom_middleware": `+middleware, "") }
	folder := tyk.Options{Middleware: "middleware"}
	virtual := func(entry string) string {
		return fmt.Sprintf(head, "z", `"active": true`, `, "use_extended_paths": true, "extended_paths": {"virtual": [`+entry+`]}`)
	}
	tests := []struct {
		name, doc string
		options   tyk.Options
		want      []string
	}{
		{"otto", of(`{"driver": "otto", "pre": [{"name": "A", "path": "mw/a.js"}], "post": [{"name": "B", "path": "./mw/b.js", "require_session": true}, {"name": "A2", "path": "mw/a.js"}]}`),
			tyk.Options{}, []string{"tyk.js js mw/a.js=a mw/b.js=b sessions [B]", "pre tyk.js A", "post tyk.js B", "post tyk.js A2"}},
		{"javascript with code", of(`{"driver": "javascript", "response": [{"name": "A", "code": "Y29kZQ=="}]}`),
			tyk.Options{}, []string{"tyk.js js A=code", "response tyk.js A"}},
		{"no driver", of(`{"pre": [{"name": "A", "path": "mw/a.js"}]}`), tyk.Options{Prelude: "prelude.js"},
			[]string{"tyk.js js prelude.js=p mw/a.js=a", "pre tyk.js A"}},
		{"disabled", of(`{"driver": "otto", "pre": [{"name": "A", "path": "mw/none.js", "disabled": true}, {"name": "B", "path": "mw/b.js"}]}`),
			tyk.Options{}, []string{"tyk.js js mw/b.js=b", "pre tyk.js B"}},
		{"grpc keeps its server", of(`{"driver": "grpc", "pre": [{"name": "A", "path": "mw/none.js"}]}`), folder, []string{"pre  A"}},
		{"lua", of(`{"driver": "lua", "pre": [{"name": "A", "path": "mw/l.lua"}, {"name": "B"}]}`), folder,
			[]string{"tyk.lua lua lua/one.lua=one lua/two.lua=two mw/l.lua=l modules middleware/lua", "pre tyk.lua A", "pre tyk.lua B"}},
		{"lua without the folder", of(`{"driver": "lua", "pre": [{"name": "A", "path": "mw/l.lua"}]}`), tyk.Options{Middleware: "none"},
			[]string{"tyk.lua lua mw/l.lua=l", "pre tyk.lua A"}},
		{"the API's own folder", fmt.Sprintf(head, "x", `"custom_middleware": {"pre": [{"name": "A", "path": "mw/a.js"}]}`, ""), folder,
			[]string{"tyk.js js mw/a.js=a x/pre/first.js=1 x/post/late_with_session.v2.js=2 sessions [late_with_session]",
				"pre tyk.js A", "pre tyk.js first", "post tyk.js late_with_session"}},
		{"its auth hook", strings.Replace(fmt.Sprintf(head, "x", `"custom_plugin_auth_enabled": true`, ""), `"use_keyless": true, `, "", 1), folder,
			[]string{"tyk.js js x/auth/door.js=4 x/pre/first.js=1 x/post_auth/after.js=3 x/post/late_with_session.v2.js=2 sessions [late_with_session]",
				"pre tyk.js first", "auth tyk.js door", "post_key_auth tyk.js after", "post tyk.js late_with_session"}},
		{"virtual endpoint in a file", virtual(`{"response_function_name": "f", "function_source_type": "file", "function_source_uri": "mw/a.js", "path": "v", "method": "GET", "use_session": true}`),
			tyk.Options{}, []string{"tyk.js js mw/a.js=a", "virtual ~v [GET] tyk.js f true false"}},
		{"virtual endpoint in the definition", virtual(`{"response_function_name": "f", "function_source_type": "blob", "function_source_uri": "Y29kZQ==", "path": "v", "method": "GET", "proxy_on_error": true}`),
			tyk.Options{}, []string{"tyk.js js virtual f=code", "virtual ~v [GET] tyk.js f false true"}},
		{"which the operator forbids", virtual(`{"response_function_name": "f", "function_source_type": "blob", "function_source_uri": "Y29kZQ==", "path": "v", "method": "GET"}`),
			tyk.Options{NoVirtualText: true}, []string{`a.json:2:202: $.version_data.versions.Default.extended_paths.virtual[0].function_source_type: virtual endpoints with their text in the definition are switched off (scripts.virtual_text): name a file`}},
		{"event handler", fmt.Sprintf(head, "z", `"event_handlers": {"events": {"AuthFailure": [{"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "tell", "path": "mw/a.js"}}]}}`, ""),
			tyk.Options{Prelude: "prelude.js"}, []string{"tyk-events.js js prelude.js=p mw/a.js=a", "event AuthFailure tyk-events.js tell"}},
		{"event handler without a path", fmt.Sprintf(head, "z", `"event_handlers": {"events": {"AuthFailure": [{"handler_name": "eh_dynamic_handler", "handler_meta": {"name": "tell"}}]}}`, ""),
			tyk.Options{}, []string{`a.json:1:156: $.event_handlers.events.AuthFailure[0]: handler_meta must have the name of the handler and the path of its script`}},
		{"prelude that is not there", of(`{"pre": [{"name": "A", "path": "mw/a.js"}]}`), tyk.Options{Prelude: "none.js"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := scripted(t, tt.options, tt.doc)
			if tt.want == nil {
				if len(got) == 0 || !strings.Contains(got[0], "none.js: no such file") {
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
