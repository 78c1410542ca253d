package tyk

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// The scripts of a classic definition, as hooks name them as their servers. All JavaScript of an API runs in one
// interpreter, as in Tyk, but for event handlers. In Python each folder is a plugin: scriptPython stands for whichever.
const (
	scriptJS     = "tyk.js"
	scriptLua    = "tyk.lua"
	scriptEvents = "tyk-events.js"
	scriptPython = "python"
)

// Options are what a Translator knows beside the definition.
type Options struct {
	// Middleware is the folder in which scripts are found by where they lie (reference §4.2, §6); empty is none.
	Middleware string
	// Prelude is a file that runs before all other JavaScript; empty is none.
	Prelude string
	// NoVirtualText refuses virtual endpoints whose text stands in the definition.
	NoVirtualText bool
	// Bundles open what custom_middleware_bundle names; nil refuses all.
	Bundles config.Bundles
}

// language says in which script hooks are, by the driver; empty for a plugin server.
func (t *translation) language() string {
	m := t.get("custom_middleware")
	driver := get(m, "driver")
	name := ""
	if driver != nil && driver.Kind == document.String {
		name = driver.Text
	}
	switch {
	case name == "otto" || name == "javascript" || name == "" && t.namesJS(m):
		return scriptJS
	case name == "lua":
		s := t.newScript(scriptLua)
		if b := t.bundleOf(driver); b != nil {
			t.bundledLua(&s)
		} else if s.Sources = t.folder("lua", ".lua"); len(s.Sources) > 0 {
			s.Modules = filepath.Join(t.options.Middleware, "lua")
		}
		t.def.Scripts = append(t.def.Scripts, s)
		return scriptLua
	case name == "python":
		return scriptPython
	}
	return ""
}

// entries are those of all hooks that are not disabled.
func (t *translation) entries(m *document.Node) []*document.Node {
	var all []*document.Node
	for _, list := range []string{"pre", "post_key_auth", "post", "response"} {
		all = append(all, items(get(m, list))...)
	}
	return append(all, get(m, "auth_check"))
}

// python adds the folder, or the file, that a hook's entry names, and returns its server. An entry that names none has its
// hook where the others have theirs, if that is one place: Tyk looks at no path, for there a bundle has them all.
func (t *translation) python(entry *document.Node) string {
	if code := get(entry, "code"); t.text(code) != "" {
		t.errorf(code, "a plugin in Python is a folder: name it, or a file in it, under path")
	}
	file := get(entry, "path")
	if b := t.bundleOf(entry); b != nil { // which has them all: Tyk looks at no path
		server, err := t.def.AddBundledPython(b, entry.Path())
		if err != nil {
			t.errorf(entry, "%v", err)
		}
		return server
	}
	if t.text(file) == "" {
		file = t.onlyPath()
	}
	if file == nil {
		t.errorf(entry, "name the plugin's folder, or the file in it that has the hook, under path")
		return scriptPython
	}
	return t.def.AddPython(t.text(file), file.Path())
}

// onlyPath is the one path that entries name; nil when they name several, or none.
func (t *translation) onlyPath() *document.Node {
	var only *document.Node
	for _, e := range t.entries(t.get("custom_middleware")) {
		named := get(e, "path")
		switch {
		case t.text(named) == "":
		case only != nil && path.Clean(t.text(only)) != path.Clean(t.text(named)):
			return nil
		default:
			only = named
		}
	}
	return only
}

// namesJS reports whether a hook's file is JavaScript, which Tyk's own examples name without a driver, or the API's folder
// has any.
func (t *translation) namesJS(m *document.Node) bool {
	for _, e := range t.entries(m) {
		if p := get(e, "path"); p != nil && strings.Contains(p.Text, ".js") {
			return true
		}
	}
	return len(t.placed()) > 0
}

func (t *translation) newScript(name string) config.Script {
	s := config.Script{Name: name, Language: config.LanguageOf(name), Tyk: true}
	if s.Language == config.JavaScript && t.options.Prelude != "" {
		source, err := read(t.options.Prelude)
		if err != nil {
			t.errorf(t.root, "the prelude of scripts: %v", err)
		}
		s.Sources = append(s.Sources, source)
	}
	return s
}

// source adds a source to a script of the API.
func (t *translation) source(script string, source config.ScriptSource) {
	t.def.AddScript(t.newScript(script), source)
}

// entry adds what a hook's entry names to its script.
func (t *translation) entry(entry *document.Node, script string) {
	name, code, file := t.text(get(entry, "name")), get(entry, "code"), get(entry, "path")
	switch {
	case t.text(code) != "":
		t.inline(script, code, name)
	case t.text(file) != "" && t.bundleOf(entry) != nil:
		t.bundled(t.bundleOf(entry), script, file)
	case t.text(file) != "":
		t.source(script, config.ScriptSource{Name: t.text(file), File: t.text(file), Path: file.Path()})
	}
	if t.truth(get(entry, "require_session")) && t.def.Script(script) != nil {
		s := t.def.Script(script)
		s.WithSession = append(s.WithSession, name)
	}
}

// inline adds text that stands in the definition.
func (t *translation) inline(script string, text *document.Node, name string) {
	decoded, err := base64.StdEncoding.DecodeString(t.text(text))
	if err != nil {
		t.errorf(text, "must be the base64 of a script")
		return
	}
	source := config.ScriptSource{Name: name, Text: string(decoded), Path: text.Path()}
	if b := t.bundleOf(text); b != nil {
		source.Bundle = b.Name
	}
	t.source(script, source)
}

// placedHook is a hook that Tyk finds by where its file lies.
type placedHook struct {
	phase       config.Phase
	name        string
	withSession bool
	source      config.ScriptSource
}

// placed lists what lies in the API's own folder of JavaScript (reference §4.2).
func (t *translation) placed() []placedHook {
	id := t.def.ID
	if t.options.Middleware == "" || id == "" || strings.ContainsAny(id, `/\`) || !filepath.IsLocal(id) {
		return nil
	}
	var all []placedHook
	for _, place := range []struct {
		dir   string
		phase config.Phase
	}{{"pre", config.PhasePre}, {"auth", config.PhaseAuth}, {"post_auth", config.PhasePostKeyAuth}, {"post", config.PhasePost}} {
		for _, source := range t.folder(path.Join(id, place.dir), ".js") {
			name, _, _ := strings.Cut(path.Base(source.Name), ".")
			late := place.phase == config.PhasePostKeyAuth || place.phase == config.PhasePost
			all = append(all, placedHook{place.phase, name, late && strings.HasSuffix(name, "_with_session"), source})
		}
	}
	return all
}

// place adds the hooks that the API's own folder has, after those that the definition lists.
func (t *translation) place() {
	for _, p := range t.placed() {
		ref := config.HookRef{Server: scriptJS, Name: p.name, Path: "$.custom_middleware"}
		switch p.phase {
		case config.PhasePre:
			t.def.Hooks.Pre = append(t.def.Hooks.Pre, ref)
		case config.PhasePost:
			t.def.Hooks.Post = append(t.def.Hooks.Post, ref)
		case config.PhasePostKeyAuth:
			if t.def.Keyless {
				continue
			}
			t.def.Hooks.PostKeyAuth = append(t.def.Hooks.PostKeyAuth, ref)
		case config.PhaseAuth, config.PhaseResponse:
			continue // auth hooks are methods of authentication, see custom
		}
		t.source(scriptJS, p.source)
		if s := t.def.Script(scriptJS); p.withSession {
			s.WithSession = append(s.WithSession, p.name)
		}
	}
}

// folder reads the files below the folder of middlewares with an extension, by name; none when there is no such folder.
func (t *translation) folder(dir, ext string) []config.ScriptSource {
	if t.options.Middleware == "" {
		return nil
	}
	full := filepath.Join(t.options.Middleware, filepath.FromSlash(dir))
	entries, err := os.ReadDir(full)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.errorf(t.root, "the folder of scripts %s: %v", full, err)
		}
		return nil
	}
	var all []config.ScriptSource
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ext {
			continue
		}
		source, err := read(filepath.Join(full, e.Name()))
		if err != nil {
			t.errorf(t.root, "%v", err)
			continue
		}
		source.Name = path.Join(dir, e.Name())
		all = append(all, source)
	}
	return all
}

// read reads a script that the operator's settings lead to.
func read(file string) (config.ScriptSource, error) {
	source := config.ScriptSource{Name: filepath.Base(file), File: file, Path: "$.custom_middleware"}
	info, err := os.Stat(file)
	if err != nil {
		return source, err
	}
	if !info.Mode().IsRegular() {
		return source, fmt.Errorf("%s: not a regular file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return source, err
	}
	text, err := io.ReadAll(io.LimitReader(f, config.MaxScript+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return source, err
	}
	if len(text) > config.MaxScript {
		return source, fmt.Errorf("%s: a script has at most %d bytes", file, config.MaxScript)
	}
	source.Text = string(text)
	return source, nil
}

// sourced refuses hooks in scripts of which there is no text.
func (t *translation) sourced(m *document.Node) {
	s := t.def.Script(t.server)
	if s != nil && len(s.Sources) > 0 || t.decoder.Problems.Refused() {
		return
	}
	where := "name one under path"
	if t.server == scriptLua && t.options.Middleware != "" {
		where += ", or put it into " + filepath.Join(t.options.Middleware, "lua")
	}
	t.errorf(m, "there is no script that has the hooks: %s", where)
}

// virtual reads a version's virtual endpoints (reference §4.11).
func (t *translation) virtual(list *document.Node, r *config.Rules, path string) {
	for _, item := range items(list) {
		at := document.Index(path+".virtual", len(r.Virtual))
		t.from(at, item)
		t.from(at+".function", get(item, "response_function_name"))
		e := config.VirtualEndpoint{
			PathMatch: t.match(item), Script: scriptJS, Function: t.text(get(item, "response_function_name")),
			WithSession: t.truth(get(item, "use_session")), Forward: t.truth(get(item, "proxy_on_error")),
		}
		kind, uri := get(item, "function_source_type"), get(item, "function_source_uri")
		switch name := t.text(kind); {
		case t.text(uri) == "":
			t.errorf(item, "function_source_uri must be the script's path, or its base64")
		case name == "file":
			t.source(scriptJS, config.ScriptSource{Name: t.text(uri), File: t.text(uri), Path: uri.Path()})
		case name == "blob" && t.options.NoVirtualText:
			t.errorf(kind, "virtual endpoints with their text in the definition are switched off (scripts.virtual_text): name a file")
		case name == "blob":
			t.inline(scriptJS, uri, "virtual "+e.Function)
		default:
			t.errorf(t.at(kind), "%q is not where a script can be: file or blob", name)
		}
		r.Virtual = append(r.Virtual, e)
	}
}

// dynamicHandler reads an event handler in JavaScript (reference §4.12).
func (t *translation) dynamicHandler(handler, meta *document.Node, e *config.EventHandler) bool {
	file := get(meta, "path")
	if e.Name = t.text(get(meta, "name")); e.Name == "" || t.text(file) == "" {
		t.errorf(handler, "handler_meta must have the name of the handler and the path of its script")
		return false
	}
	e.Server = scriptEvents
	t.source(scriptEvents, config.ScriptSource{Name: t.text(file), File: t.text(file), Path: file.Path()})
	return true
}

// placedAuth is the auth hook of the API's own folder; nil when there is none.
func (t *translation) placedAuth() *placedHook {
	all := t.placed()
	i := slices.IndexFunc(all, func(p placedHook) bool { return p.phase == config.PhaseAuth })
	if i < 0 {
		return nil
	}
	return &all[i]
}
