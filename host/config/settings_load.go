package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// SettingsSource is where settings come from, the weakest first.
type SettingsSource struct {
	// File is the path of the settings file, which relative paths in it are relative to, and
	// Data its content. Nil Data means that there is no file.
	File string
	Data []byte
	// Base maps paths of settings to what holds where the file says nothing, such as another
	// gateway's settings.
	Base map[string]string
	// Changes maps paths of settings to what was changed in the running gateway, which holds before
	// the file: a value as a JSON file would say it, or a string as an environment variable would.
	Changes map[string]json.RawMessage
	// Environ is the environment in the form of os.Environ. Empty values count as absent.
	Environ []string
	// Flags maps the path of a setting ("admin.listen", "servers.default.address") to what a
	// command line flag says.
	Flags map[string]string
	// WorkDir is what relative paths in the environment, in flags and, without a file, in the
	// defaults are relative to. Absolute.
	WorkDir string
	// Builtins returns the ready-made plugins that there are; nil: there are none. It is called when settings use one.
	Builtins func() ([]*Plugin, error)
}

// LoadSettings reads, merges and validates settings. They are usable when the problems do not
// refuse them: paths absolute, the files they name readable, references replaced.
func LoadSettings(src SettingsSource) (Settings, Problems) {
	settings, _, problems := src.load()
	return settings, problems
}

// load also returns the document that the settings amount to.
func (src *SettingsSource) load() (Settings, *document.Node, Problems) {
	settings := DefaultSettings()
	root, problems := &document.Node{Kind: document.Mapping, File: src.File}, Problems(nil)
	if src.Data != nil {
		var parsed *document.Node
		parsed, problems = document.Parse(src.File, src.Data)
		if problems.Refused() {
			return settings, root, problems
		}
		if parsed.Kind != document.Null {
			root = parsed
		}
	}
	problems = append(problems, overlayFlags(root, ofBase, absent(root, src.Base))...)
	problems = append(problems, overlayChanges(root, src.Changes)...)
	problems = append(problems, overlayEnv(root, src.Environ)...)
	problems = append(problems, overlayFlags(root, ofFlag, src.Flags)...)

	base := settingsFolders{work: folder{dir: src.WorkDir, anywhere: true}}
	base.file = base.work
	if src.Data != nil {
		base.file.dir = filepath.Dir(src.File)
		if !filepath.IsAbs(base.file.dir) {
			base.file.dir = filepath.Join(src.WorkDir, base.file.dir)
		}
		base.name = src.File
	}
	problems = append(problems, src.resolve(root, base.file)...)

	problems = append(problems, document.Decode(root, &settings)...)
	problems = problems.And(document.Locate(settings.files(root, base), root.Find))
	problems = problems.And(document.Locate(append(settings.Validate(), src.use(settings.Use)...), root.Find)).Sort()
	root.Redact(problems)
	return settings, root, problems
}

// resolve replaces references. Those of changes may name what those of definitions may, for who may change settings may not
// read whatever the gateway may: no settings of its own, and files in the folders for secrets alone.
func (src *SettingsSource) resolve(root *document.Node, where folder) Problems {
	environ := environMap(src.Environ)
	lookup := func(name string) (string, bool) { v, ok := environ[name]; return v, ok }
	changed := func(n *document.Node) bool { return strings.HasPrefix(n.File, ofChange+" ") }
	listed := folder{}
	if dirs := root.Get("secret_dirs"); dirs != nil && !changed(dirs) {
		for _, dir := range dirs.Items {
			if dir.Kind == document.String && filepath.IsAbs(dir.Text) {
				listed.also = append(listed.also, dir.Text)
			}
		}
	}
	problems := document.Resolver{
		LookupEnv: lookup, Of: changed, Refuse: ownVariable,
		ReadFile: func(path string) ([]byte, error) {
			if base, _ := listed.inside(path); base == "" {
				return nil, fmt.Errorf("%s: a change may only refer to files in the folders that the settings file lists under secret_dirs", path)
			}
			return listed.read(path, document.MaxSecretBytes)
		},
	}.Resolve(root)
	return append(problems, document.Resolver{
		LookupEnv: lookup, Of: func(n *document.Node) bool { return !changed(n) },
		ReadFile: func(path string) ([]byte, error) { return where.read(path, document.MaxSecretBytes) },
	}.Resolve(root)...)
}

// use checks the ready-made plugins that are turned on for every API.
func (src *SettingsSource) use(list []PluginUse) Problems {
	var v useValidator
	if len(list) > 0 && src.Builtins != nil {
		var err error
		if v.builtins, err = src.Builtins(); err != nil {
			v.errorf("$.use", "%s", err.Error())
			return v.problems
		}
	}
	for i := range list {
		v.use(&list[i], document.Index("$.use", i))
	}
	return v.problems
}

// absent returns the values that the document does not say itself.
func absent(root *document.Node, values map[string]string) map[string]string {
	out := map[string]string{}
	for path, value := range values {
		said := func(keys ...string) bool {
			n := root
			for _, key := range keys {
				if n = n.Get(key); n == nil {
					return false
				}
			}
			return true
		}
		if !said(strings.Split(path, ".")...) && (alternatives(path) == nil || !said(alternatives(path)...)) {
			out[path] = value
		}
	}
	return out
}

// settingsFolders are what relative paths are relative to, by where they were written.
type settingsFolders struct {
	name       string // of the settings file
	file, work folder
}

func (f settingsFolders) of(n *document.Node) folder {
	if n.File == f.name {
		return f.file
	}
	return f.work
}

// files makes the paths in the settings absolute.
func (s *Settings) files(root *document.Node, base settingsFolders) Problems {
	var f fileFields
	at := func(path string) *fileFields {
		n, whole := root.Find(path)
		f.folder = base.file
		if whole {
			f.folder = base.of(n)
		}
		return &f
	}
	s.APIs = at("$.apis").folder.join(s.APIs)
	s.Plugins = at("$.plugins").folder.join(s.Plugins)
	s.Store.Path = at("$.store.path").folder.join(s.Store.Path)
	s.Policies = at("$.policies").folder.join(s.Policies)
	s.Scripts.Middleware = at("$.scripts.middleware").folder.join(s.Scripts.Middleware)
	s.Python.Dir = at("$.python.dir").folder.join(s.Python.Dir)
	if strings.Contains(s.Python.Interpreter, "/") {
		s.Python.Interpreter = at("$.python.interpreter").folder.join(s.Python.Interpreter)
	}
	at("$.scripts.prelude").file("$.scripts.prelude", &s.Scripts.Prelude)
	s.Bundles.files(at)
	s.Store.Redis.TLS.files("$.store.redis.tls", at)
	if p := s.AccessLog.Path; p != "stdout" && p != "stderr" && p != "" {
		s.AccessLog.Path = at("$.access_log.path").folder.join(p)
	}
	for i := range s.Log.Targets {
		path := document.Index("$.log.targets", i) + ".ca"
		at(path).file(path, &s.Log.Targets[i].CAFile)
	}
	if s.RunDir != "" {
		s.RunDir = at("$.run_dir").folder.join(s.RunDir)
	}
	at("$.errors.dir").directory("$.errors.dir", &s.Errors.Dir)
	for path, t := range map[string]*ServerTLS{"$.listen.tls": &s.Listen.TLS, "$.admin.tls": &s.Admin.TLS} {
		for i := range t.CertFiles {
			at(path+".cert").file(path+".cert", &t.CertFiles[i])
		}
		at(path+".client_ca").file(path+".client_ca", &t.ClientCAFile)
		for i := range t.KeyFiles {
			at(path+".key").file(path+".key", &t.KeyFiles[i])
		}
	}
	for _, name := range sortedKeys(s.Servers) {
		path, server := document.Join("$.servers", name), s.Servers[name]
		server.files(path, at)
		s.Servers[name] = server
	}
	if s.Admin.SecretFile != "" {
		s.adminSecret(at("$.admin.secret_file"))
	}
	return f.problems
}

func (s *Settings) adminSecret(f *fileFields) {
	if s.Admin.Secret != "" {
		f.errorf("$.admin.secret_file", "secret and secret_file are both given: give one")
		return
	}
	data, err := f.folder.read(s.Admin.SecretFile, document.MaxSecretBytes)
	s.Admin.SecretFile = f.folder.join(s.Admin.SecretFile)
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case err != nil:
		f.errorf("$.admin.secret_file", "cannot read %s: %s", s.Admin.SecretFile, why(err))
	case secret == "" || len(data) > document.MaxSecretBytes:
		f.errorf("$.admin.secret_file", "%s is empty or too large for a secret", s.Admin.SecretFile)
	default:
		s.Admin.Secret = secret
	}
}

// files makes the paths of a plugin server absolute.
func (p *PluginServer) files(path string, at func(path string) *fileFields) {
	p.TLS.files(path+".tls", at)
	p.Start.files(path, at)
	if socket, ok := unixSocket(p.Address); ok && socket != "" {
		p.Address = "unix:" + at(path+".address").folder.join(socket)
	}
}

// files makes the paths absolute.
func (t *PluginTLS) files(path string, at func(path string) *fileFields) {
	at(path+".ca").file(path+".ca", &t.CAFile)
	at(path+".cert").file(path+".cert", &t.CertFile)
	at(path+".key").file(path+".key", &t.KeyFile)
	if t.CAFile != "" || t.CertFile != "" {
		t.Enabled = true
	}
}

// unixSocket returns the path in a unix: address.
func unixSocket(address string) (path string, ok bool) {
	rest, ok := strings.CutPrefix(address, "unix:")
	return strings.TrimPrefix(rest, "//"), ok
}
