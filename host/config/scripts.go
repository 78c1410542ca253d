package config

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// A Script is a plugin whose code a definition, or a plugin's folder, names: text in a scripting language, which runs inside
// the gateway, or a folder in Python. Hooks name it as their server; its name has a dot or a slash in it, which no plugin
// server's name has.
type Script struct {
	Name     string
	Language Language
	// Tyk says that it is written for Tyk's interface.
	Tyk bool
	// Modules is the absolute path of the folder whose files it may require, and none outside of it; empty is none.
	Modules string
	// Files are the texts that it may require in place of Modules, by path; nil is none.
	Files map[string]string
	// Sources are run in this order.
	Sources []ScriptSource
	// WithSession are the hooks of Tyk's that are given a session (require_session).
	WithSession []string
	// Isolate is what calls of its hooks share. All hooks of a script have the strictest that one of them asks for.
	Isolate Isolation
	// Python is its code when Language is Python, in place of all but Name, Language and Tyk.
	Python PythonSource
}

// ScriptSource is the text of a file, or text that stands in the definition.
type ScriptSource struct {
	// Name is what errors call it: a file's path relative to its folder, with slashes.
	Name string
	// Text is whole after loading; File, empty for what stands in the definition, is where it was read.
	File, Text string
	// Bundle is the bundle that it is from; empty for all that nobody signed.
	Bundle string
	// Path is where the source is named in the definition, for messages.
	Path string
}

// MaxScript is how many bytes a script's file may have.
const MaxScript = 4 << 20

// Language is a scripting language.
type Language string

// The languages, by the extensions of their files.
const (
	JavaScript Language = "js"
	Lua        Language = "lua"
)

// UnmarshalText accepts the named languages.
func (l *Language) UnmarshalText(text []byte) error { return oneOf(l, text, JavaScript, Lua, Python) }

// LanguageOf returns the language of a file by its extension; empty for another.
func LanguageOf(file string) Language {
	switch l := Language(strings.TrimPrefix(strings.ToLower(path.Ext(file)), ".")); l {
	case JavaScript, Lua:
		return l
	}
	return ""
}

// Isolation is what the calls of a script's hooks share.
type Isolation string

// The isolations. By default calls share interpreters, one after the other, and what a call leaves in globals is undone;
// with IsolateCall each has one of its own. With IsolateProcess the script runs in a process of its own, where calls share
// interpreters.
const (
	IsolateDefault Isolation = ""
	IsolateCall    Isolation = "call"
	IsolateProcess Isolation = "process"
)

// UnmarshalText accepts the named isolations.
func (i *Isolation) UnmarshalText(text []byte) error {
	return oneOf(i, text, IsolateCall, IsolateProcess)
}

// stricter returns the stricter of two isolations.
func stricter(a, b Isolation) Isolation {
	if a == IsolateProcess || b == IsolateProcess {
		return IsolateProcess
	}
	return cmp.Or(a, b)
}

// ScriptSettings are about all scripts. A zero field takes the default.
type ScriptSettings struct {
	// Middleware is the folder in which Tyk's scripts are found by where they lie (Tyk's middleware_path): ID/PHASE/*.js for
	// the definition of that id, and lua/*.lua for all whose driver is lua. Absolute after loading. Default "middleware".
	Middleware string `yaml:"middleware"`
	// Prelude is a file that runs before the scripts in Tyk's JavaScript (Tyk's tyk_js_path). Absolute after loading.
	Prelude string `yaml:"prelude"`
	// Timeout bounds one call where no hook's policy says another. Default: 1 s, 5 s for Tyk's scripts.
	Timeout time.Duration `yaml:"timeout,positive"`
	// Heap is by how much the process's memory may grow during one call, Size what one built-in function may make, Depth how
	// many calls may be nested. Defaults 128MiB, 16MiB, 512.
	Heap  Size `yaml:"heap,positive"`
	Size  Size `yaml:"size,positive"`
	Depth int  `yaml:"depth,positive"`
	// Idle is how many interpreters of a script are kept while nothing calls it, Most how many there are at all. Defaults 8
	// and 256.
	Idle int `yaml:"idle,positive"`
	Most int `yaml:"most,positive"`
	// Memory bounds the process of a script that is isolated in one. Default 512MiB.
	Memory Size `yaml:"memory,positive"`
	// Allow are libraries of Lua that reach out of the interpreter: os, io, debug, load. Default none.
	Allow []string `yaml:"allow"`
	// Fetch bounds the requests that scripts make.
	Fetch ScriptFetch `yaml:"fetch"`
	// VirtualText lets classic definitions hold the text of virtual endpoints (Tyk's disable_virtual_path_blobs, the other
	// way round). Default true.
	VirtualText bool `yaml:"virtual_text"`
}

// ScriptFetch bounds the requests that scripts make. A zero field takes the default.
type ScriptFetch struct {
	// Timeout bounds one request, its reply's body included, Body that body. Defaults 10 s and 4MiB.
	Timeout time.Duration `yaml:"timeout,positive"`
	Body    Size          `yaml:"body,positive"`
	// Hops is how many scripts may call one another by requests they make. Default 4.
	Hops int `yaml:"hops,positive"`
	// Insecure accepts any certificate. Default false.
	Insecure bool `yaml:"insecure_skip_verify"`
}

// LuaLibraries returns what ScriptSettings.Allow may name.
func LuaLibraries() []string { return []string{"os", "io", "debug", "load"} }

// VirtualEndpoint is a path that a function of a script answers (reference §4.11).
type VirtualEndpoint struct {
	PathMatch
	// Script is the name of one of the definition's scripts, Function that of the function.
	Script, Function string
	// WithSession gives it the caller's session.
	WithSession bool
	// Forward sends the request on when the function fails.
	Forward bool
}

// Script returns the definition's script of that name; nil when there is none.
func (d *Definition) Script(name string) *Script {
	for i := range d.Scripts {
		if d.Scripts[i].Name == name {
			return &d.Scripts[i]
		}
	}
	return nil
}

// AddScript adds a source to the definition's script of that name, which it makes when there is none.
func (d *Definition) AddScript(s Script, source ScriptSource) {
	found := d.Script(s.Name)
	if found == nil {
		d.Scripts = append(d.Scripts, s)
		found = &d.Scripts[len(d.Scripts)-1]
	}
	if !slices.ContainsFunc(found.Sources, func(o ScriptSource) bool { return o.File == source.File && o.Text == source.Text }) {
		found.Sources = append(found.Sources, source)
	}
	found.Isolate = stricter(found.Isolate, s.Isolate)
	for _, name := range s.WithSession {
		if !slices.Contains(found.WithSession, name) {
			found.WithSession = append(found.WithSession, name)
		}
	}
}

// scripts makes servers of the scripts that a native definition's hooks and observers name.
func (v *validator) scripts(d *Definition) {
	for _, p := range Phases() {
		for i, hooks := 0, d.Hooks.In(p); i < len(hooks); i++ {
			v.script(d, &hooks[i], document.Index("$.hooks."+string(p), i), p)
		}
	}
	d.Auth.Walk(func(m *AuthMethod) {
		if m.Kind == AuthHook {
			v.script(d, &m.Hook.HookRef, m.Path, PhaseAuth)
		}
	})
	for i := range d.Observers {
		o := &d.Observers[i]
		if at := document.Index("$.observers", i); o.Script != "" && v.alone(at, o.Server) {
			o.Server = v.source(d, at+".script", o.Script, IsolateDefault)
		}
	}
}

func (v *validator) script(d *Definition, h *HookRef, at string, p Phase) {
	if h.Script == "" {
		if h.Isolate != IsolateDefault {
			v.errorf(at+".isolate", "only scripts can be isolated: name one under script")
		}
		return
	}
	if h.Name == "" {
		h.Name = string(p)
	}
	if v.alone(at, h.Server) {
		h.Server = v.source(d, at+".script", h.Script, h.Isolate)
	}
}

func (v *validator) alone(at, server string) bool {
	if server != "" {
		v.errorf(at+".script", "a hook is in a script or on a server: name one of them")
	}
	return server == ""
}

// source adds a file to the definition's scripts and returns the name of its script.
func (v *validator) source(d *Definition, at, file string, isolate Isolation) string {
	name := path.Clean(filepath.ToSlash(file))
	l := LanguageOf(name)
	if l == "" {
		v.errorf(at, "%q is no script: its name must end in .js or .lua", file)
		return ""
	}
	d.AddScript(Script{Name: name, Language: l, Isolate: isolate}, ScriptSource{Name: name, File: name, Path: at})
	return name
}

// scripts reads the files of a definition's scripts, none of which may lie outside of the folder.
func (f *fileFields) scripts(d *Definition) {
	for i := range d.Scripts {
		s := &d.Scripts[i]
		if s.Language == Python {
			f.python(s)
			continue
		}
		if !s.Tyk {
			s.Modules = f.folder.dir
		}
		for j := range s.Sources {
			if source := &s.Sources[j]; source.File != "" && source.Text == "" {
				f.source(f.folder.dir, source)
			}
		}
	}
}

func (f *fileFields) source(dir string, source *ScriptSource) {
	file := filepath.Clean(filepath.FromSlash(source.File))
	if rel, err := filepath.Rel(dir, file); filepath.IsAbs(file) && err == nil && filepath.IsLocal(rel) {
		file = rel
	}
	text, err := folder{dir: dir, bundle: f.folder.bundle}.read(file, MaxScript)
	switch {
	case err != nil:
		f.errorf(source.Path, "cannot use the script %q: %s", source.File, why(err))
	case len(text) > MaxScript:
		f.errorf(source.Path, "cannot use the script %q: it has more than %d bytes", source.File, MaxScript)
	}
	source.Name, source.File, source.Text = filepath.ToSlash(file), filepath.Join(dir, file), string(text)
}
