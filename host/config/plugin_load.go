package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// LoadPlugins reads the plugin.yaml of every folder in dir, in the order of their names. A dir that
// does not exist holds no plugins. A plugin with errors, the second of one name, and a folder
// without plugin.yaml (which is no problem until somebody wants a plugin from it) are Broken.
// lookupEnv reads the variables that references name; nil means none is set.
func LoadPlugins(dir string, lookupEnv func(string) (string, bool)) ([]*Plugin, Problems) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Problems{{File: dir, Severity: SeverityError, Message: "cannot read the folder of plugins: " + why(err)}}
	}
	var plugins []*Plugin
	var problems Problems
	names := map[string]string{}
	for _, e := range entries {
		inside := filepath.Join(dir, e.Name())
		if info, err := os.Stat(inside); err != nil || !info.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, err := os.Stat(filepath.Join(inside, PluginFile)); errors.Is(err, fs.ErrNotExist) {
			broken := fmt.Errorf("its folder %s has no %s", inside, PluginFile)
			plugins = append(plugins, &Plugin{Name: e.Name(), Dir: inside, Broken: broken})
			continue
		}
		plugin, found := LoadPlugin(inside, lookupEnv)
		if first := claim(names, plugin.Name, inside); first != "" {
			found = append(found, Problem{
				File: filepath.Join(inside, PluginFile), Path: "$.name", Severity: SeverityError,
				Message: fmt.Sprintf("the plugin in %s already has the name %q", first, plugin.Name),
			})
		}
		problems = append(problems, found...)
		if err := found.Err(); err != nil {
			plugin = &Plugin{Name: plugin.Name, Dir: inside, Broken: err}
		}
		plugins = append(plugins, plugin)
	}
	return plugins, problems.Sort()
}

// LoadPlugin reads the plugin.yaml of a plugin's folder. The plugin can be used when the problems
// do not refuse it.
func LoadPlugin(dir string, lookupEnv func(string) (string, bool)) (*Plugin, Problems) {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	file := filepath.Join(dir, PluginFile)
	data, err := folder{dir: dir}.read(PluginFile, document.MaxYAMLBytes)
	if err != nil {
		p := &Plugin{Name: filepath.Base(dir), Dir: dir}
		return p, Problems{{File: file, Severity: SeverityError, Message: "cannot read the file: " + why(err)}}
	}
	return ParsePlugin(file, data, lookupEnv)
}

// ParsePlugin makes a plugin of the content of its plugin.yaml; file, an absolute path, says
// where the files that it names are.
func ParsePlugin(file string, data []byte, lookupEnv func(string) (string, bool)) (*Plugin, Problems) {
	return parsePlugin(file, data, folder{dir: filepath.Dir(file)}, lookupEnv)
}

func parsePlugin(file string, data []byte, where folder, lookupEnv func(string) (string, bool)) (*Plugin, Problems) {
	p := &Plugin{Name: filepath.Base(where.dir), Dir: where.dir}
	p.Server.SetDefaults()
	root, problems := document.Parse(file, data)
	if problems.Refused() {
		return p, problems
	}
	problems = append(problems, Loader{LookupEnv: lookupEnv}.resolver(where, false).Resolve(root)...)
	problems = append(problems, document.Decode(root, p)...)
	f := fileFields{folder: where, built: len(p.Build) > 0 && where.bundle == nil}
	if where.bundle != nil && p.Runtime != JavaScript && p.Runtime != Lua { // what another process reads is read from its folder here, too
		dir, err := where.bundle.Folder()
		if err != nil {
			return p, append(problems, Problem{File: file, Severity: SeverityError, Message: err.Error()})
		}
		where = folder{dir: dir}
		f.folder, p.Dir = where, dir
	}
	if p.Runtime != "" {
		p.script = p.code(&f)
	}
	p.Server.files("$.server", func(string) *fileFields { return &f })
	if len(p.Server.Start.Command) > 0 {
		p.Server.Start.Folder = where.dir
	}
	p.compileSchema(&f)
	problems = problems.And(document.Locate(append(f.problems, p.Validate()...), root.Find))
	for _, hook := range p.Hooks {
		canonical(hook.Needs.Headers.Names)
		canonical(hook.Needs.ResponseHeaders.Names)
	}
	problems = problems.Sort()
	root.Redact(problems)
	return p, problems
}

// code is what a plugin with a Runtime is made of.
func (p *Plugin) code(f *fileFields) *Script {
	if p.Runtime == Python {
		s := &Script{Name: p.Name, Language: Python, Python: PythonSource{
			Folder: p.Dir, Files: []string{filepath.ToSlash(cmp.Or(p.Main, PythonMain))}, Path: "$.main",
		}}
		if err := s.Python.Read(); err != nil {
			f.errorf("$.main", "cannot use the plugin's code: %s", why(err))
		}
		return s
	}
	main := cmp.Or(p.Main, "main."+string(p.Runtime))
	source := ScriptSource{Name: main, File: main, Path: "$.main"}
	f.source(p.Dir, &source)
	return &Script{Name: p.Name, Language: p.Runtime, Modules: p.Dir, Sources: []ScriptSource{source}, Isolate: p.Isolate}
}

func canonical(names []string) {
	for i, n := range names {
		names[i] = textproto.CanonicalMIMEHeaderKey(n)
	}
}

// Validate returns what is wrong with a plugin, apart from the files it names.
func (p *Plugin) Validate() Problems {
	var v validator
	if !serverName.MatchString(p.Name) {
		v.errorf("$.name", "%q is not a name for a plugin: lower-case letters, digits and - between them", p.Name)
	}
	if p.Runtime == "" && !p.builtin {
		v.pluginServer("$.server", &p.Server)
	}
	if p.Runtime != "" && (p.Server.Address != "" || len(p.Server.Start.Command) > 0) {
		v.errorf("$.runtime", "a plugin runs inside the gateway or on a server: say runtime or server")
	}
	if p.Runtime == Python {
		v.pythonServer("$.server", &p.Server)
	}
	if p.Runtime != Python && (p.Workers != 0 || p.Threads != 0) {
		v.errorf("$.workers", "workers and threads are of plugins in Python: say runtime: python")
	}
	if p.Runtime == Python && p.Isolate != IsolateDefault {
		v.errorf("$.isolate", "plugins in Python run in processes of their own: only js and lua are isolated so")
	}
	if p.Runtime == "" && (p.Main != "" || p.Isolate != IsolateDefault) {
		v.errorf("$.runtime", "main and isolate are of plugins that the gateway runs: say runtime: js, lua or python")
	}
	if len(p.Build) > 0 && p.Build[0] == "" {
		v.errorf("$.build", "must be a list of a program and its arguments")
	}
	seen := map[string]bool{}
	for i, h := range p.Hooks {
		at := document.Index("$.hooks", i)
		v.hookName(at+".name", h.Name)
		if h.Phase == "" {
			v.errorf(at+".phase", "must be %s", orList(Phases()))
		}
		key := string(h.Phase) + " " + h.Name
		if seen[key] {
			v.errorf(at, "hook %q stands twice for phase %s", h.Name, h.Phase)
		}
		seen[key] = true
		v.policy(at, &h.Policy)
		if h.Phase == PhaseAuth && p.builtin {
			v.errorf(at+".phase", "a ready-made plugin has no auth hooks: definitions say who may call under auth")
		}
		if h.Phase == PhaseAuth && h.OnError == OnErrorSkip {
			v.errorf(at+".on_error", "an auth hook that fails must fail the request: skip would let everyone in")
		}
		v.needs(at+".needs", &h.Needs, h.Phase)
	}
	for i, o := range p.Observers {
		v.hookName(document.Index("$.observers", i)+".name", o.Name)
	}
	return v.problems
}

func (v *validator) needs(path string, n *Needs, phase Phase) {
	for _, list := range []struct {
		key   string
		names []string
	}{{".headers", n.Headers.Names}, {".response_headers", n.ResponseHeaders.Names}} {
		for i, name := range list.names {
			if !isToken(name) {
				v.errorf(document.Index(path+list.key, i), "%q is not a header name", name)
			}
		}
	}
	response := n.ResponseHeaders.All || len(n.ResponseHeaders.Names) > 0 || n.ResponseBody.Mode == BodyBuffer
	if response && phase != PhaseResponse {
		v.errorf(path, "only a hook of the response phase can need the response")
	}
}

// compileSchema reads the config schema and makes it ready.
func (p *Plugin) compileSchema(f *fileFields) {
	const path = "$.config_schema"
	var name string
	if len(p.ConfigSchema) == 0 {
		return
	}
	if json.Unmarshal(p.ConfigSchema, &name) == nil {
		data, err := f.folder.read(name, document.MaxBytes)
		if err != nil {
			f.errorf(path, "cannot read %q: %s", name, why(err))
			return
		}
		p.ConfigSchema = data
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(p.ConfigSchema))
	if err != nil {
		f.errorf(path, "not JSON: %s", err)
		return
	}
	compiler := jsonschema.NewCompiler()
	// A schema stands alone: it may name neither files nor addresses.
	compiler.UseLoader(jsonschema.SchemeURLLoader{})
	const url = "config:schema"
	if err = compiler.AddResource(url, doc); err == nil {
		p.schema, err = compiler.Compile(url)
	}
	if err != nil {
		f.errorf(path, "not a JSON Schema: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// Servers joins the servers of the settings and those of the plugins, by name. A plugin that has
// the name of a server in the settings is an error.
func Servers(s *Settings, plugins []*Plugin) (map[string]PluginServer, Problems) {
	out := make(map[string]PluginServer, len(s.Servers)+len(plugins))
	for name, server := range s.Servers {
		server.Start.RunDir = s.RunDir
		out[name] = server
	}
	var problems Problems
	for _, p := range plugins {
		if p.Broken != nil {
			continue
		}
		if _, taken := s.Servers[p.Name]; taken {
			problems = append(problems, Problem{
				File: filepath.Join(p.Dir, PluginFile), Path: "$.name", Severity: SeverityError,
				Message: fmt.Sprintf("the settings already have a server named %q", p.Name),
			})
			continue
		}
		server := p.Server
		server.Start.RunDir = s.RunDir
		if p.Runtime == Python {
			server.Start.Python = p.pythonStart(s)
		}
		out[p.Name] = server
	}
	return out, problems
}

// CheckHooks returns what is wrong between a definition and the plugins that it names: servers
// that there are not, hooks that a plugin has not, configs that break a schema.
func (d *Definition) CheckHooks(servers map[string]PluginServer, plugins []*Plugin) Problems {
	var v validator
	server := func(path, name string) *Plugin {
		if d.Script(name) != nil || d.Builtin(name) != nil {
			return nil
		}
		if name == "" {
			name = DefaultServer
		}
		if _, ok := servers[name]; !ok {
			v.errorf(path, "%s", noServer(name, plugins))
			return nil
		}
		if i := slices.IndexFunc(plugins, func(p *Plugin) bool { return p.Name == name && p.Broken == nil }); i >= 0 {
			return plugins[i]
		}
		return nil
	}
	for _, phase := range Phases() {
		for _, h := range d.HooksIn(phase) {
			p := server(h.Path, h.Server)
			if p == nil {
				continue
			}
			if !slices.ContainsFunc(p.Hooks, func(ph PluginHook) bool { return ph.Name == h.Name && ph.Phase == phase }) {
				v.errorf(h.Path, "plugin %q has no hook %q for phase %s", p.Name, h.Name, phase)
			}
			config, at := h.Config, h.Path+".config"
			if config == nil {
				config, at = d.Config, "$.config"
			}
			for _, problem := range p.CheckConfig(config) {
				v.errorf(at+strings.TrimPrefix(problem.Path, "$"), "by the schema of plugin %q: %s", p.Name, problem.Message)
			}
		}
	}
	for i, o := range d.Observers {
		path := document.Index("$.observers", i)
		if p := server(path, o.Server); p != nil && !slices.Contains(p.Observers, PluginObserver{Name: o.Name}) {
			v.errorf(path, "plugin %q has no observer %q", p.Name, o.Name)
		}
	}
	for i := range v.problems {
		v.problems[i].File = d.Source.File
	}
	return v.problems
}

// noServer says why there is no plugin server of that name, and what to do about it.
func noServer(name string, plugins []*Plugin) string {
	for _, p := range plugins {
		if p.Broken != nil && (p.Name == name || filepath.Base(p.Dir) == name) {
			return fmt.Sprintf("plugin %q cannot be used: %s", name, strings.ReplaceAll(p.Broken.Error(), "\n", "; "))
		}
	}
	if name == DefaultServer {
		return "there is no default plugin server: give servers.default.address or servers.default.command in the settings or --plugin-server, " +
			"or name another with server: NAME"
	}
	return fmt.Sprintf("there is no plugin server or plugin %q: name it under servers in the settings, or put its folder among the plugins", name)
}
