package config

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// PythonSettings are about plugins in Python, which run in processes of an interpreter of the operator's. A zero field
// takes the default.
type PythonSettings struct {
	// Interpreter is a CPython with grpcio and protobuf, by name or path. Default: the first of PATH's python3 and
	// /usr/bin/python3 that has them.
	Interpreter string `yaml:"interpreter"`
	// Dir is where the gateway's package for Python lies, with what interpreters compile and virtual environments. Absolute
	// after loading. Default "data/python".
	Dir string `yaml:"dir"`
	// Workers is how many processes run the hooks of a plugin, Threads how many threads of each the hooks that take long.
	// Defaults: as many as there are processors, at most 4; 64.
	Workers int `yaml:"workers,positive"`
	Threads int `yaml:"threads,positive"`
	// Install makes a virtual environment of the requirements.txt in a plugin's folder, from the network. Default false: a
	// module that the interpreter lacks refuses what needs the plugin.
	Install bool `yaml:"install"`
}

// Python is the language of plugins that run beside the gateway, in processes of their own.
const Python Language = "python"

// PythonMain is the file of a plugin in Python that names none.
const PythonMain = "plugin.py"

// The bounds of what is read of a folder to know whether its code has changed. Larger files count by size and time.
const (
	maxPythonFiles = 4096
	maxPythonFile  = 1 << 20
)

// PythonSource is the code of a plugin in Python.
type PythonSource struct {
	// Folder is the plugin's, absolute after loading. Files are loaded of it, by paths relative to it; none means what a
	// plugin of its kind has by itself.
	Folder string
	Files  []string
	// Digest is another whenever the code in the folder is.
	Digest string
	// Bundle is the bundle that the folder is made of; empty for code that nobody signed.
	Bundle string
	// Path is where the source is named in the definition, for messages.
	Path string
}

// PythonStart is a plugin in Python as a server that the gateway starts.
type PythonStart struct {
	PythonSource
	// Tyk says that it is written for Tyk, Org whose it is then; others are nobody's.
	Tyk bool
	Org string
	// Settings are those of all plugins in Python; what the plugin's own file says of workers and threads is in them.
	Settings PythonSettings
}

// PythonServer names the server that a definition's plugin in Python is: definitions of one organisation share that of a
// folder.
func (d *Definition) PythonServer(s *Script) string {
	if d.Org == "" {
		return s.Name
	}
	return s.Name + "@" + d.Org
}

// AddPythonServers adds the servers that the definitions' plugins in Python are. One runs all that they name of its folder.
func AddPythonServers(servers map[string]PluginServer, s *Settings, defs []*Definition) {
	for _, d := range defs {
		for i := range d.Scripts {
			one := &d.Scripts[i]
			if one.Language != Python {
				continue
			}
			name := d.PythonServer(one)
			p := &PythonStart{PythonSource: one.Python, Tyk: one.Tyk, Org: d.Org, Settings: s.Python}
			p.Path = "" // where one of them names it is no difference
			p.Files = union(p.Files, p.Files)
			if others := servers[name].Start.Python; others != nil {
				p.Files = union(p.Files, others.Files)
			}
			server := PluginServer{}
			server.SetDefaults()
			server.Start.RunDir, server.Start.Python = s.RunDir, p
			servers[name] = server
		}
	}
}

// pythonStart is the server that a plugin of a folder is, with runtime: python.
func (p *Plugin) pythonStart(s *Settings) *PythonStart {
	start := &PythonStart{PythonSource: p.script.Python, Settings: s.Python}
	start.Path = ""
	start.Settings.Workers, start.Settings.Threads = cmp.Or(p.Workers, s.Python.Workers), cmp.Or(p.Threads, s.Python.Threads)
	return start
}

// pythonServer checks what a plugin in Python says of its processes.
func (v *validator) pythonServer(path string, p *PluginServer) {
	if p.Start.Dir != "" || p.Start.Handshake.Mode != HandshakeAuto || p.TLS != (PluginTLS{}) {
		v.errorf(path, "dir, handshake and tls are of servers with a command or an address: a plugin in Python works in its folder")
	}
	v.started(path, &p.Start)
}

// AddBundledPython adds a plugin in Python that came in a bundle made for Tyk, and returns the name of its script. Of its files
// middleware.py is loaded alone where it is there, as Tyk does; else all that lie in no folder.
func (d *Definition) AddBundledPython(b *Bundle, at string) (string, error) {
	dir, err := b.Files.Folder()
	if err != nil {
		return "", err
	}
	var files []string
	for _, name := range b.Files.Names() {
		if name == "middleware.py" {
			files = []string{name}
			break
		}
		if path.Ext(name) == ".py" && path.Dir(name) == "." {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		return "", fmt.Errorf("bundle %q has no Python files to load", b.Name)
	}
	name := "bundle/" + b.ID
	if d.Script(name) == nil {
		d.Scripts = append(d.Scripts, Script{Name: name, Language: Python, Tyk: true, Python: PythonSource{Folder: dir, Files: files, Bundle: b.Name, Path: at}})
	}
	return name, nil
}

// union joins what two definitions name of a folder.
func union(a, b []string) []string {
	all := slices.Concat(whole(a), whole(b))
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 1 && all[0] == "." {
		return nil
	}
	return all
}

// whole says of no files that it is all of them.
func whole(files []string) []string {
	if len(files) == 0 {
		return []string{"."}
	}
	return files
}

// AddPython adds a folder, or a file in it (its name ends in .py), to the definition's plugins in Python, of which there is
// one for each folder, and returns the name that hooks know it by. Loading makes the folder absolute.
func (d *Definition) AddPython(name, at string) string {
	dir, file := path.Clean(filepath.ToSlash(name)), "."
	if strings.EqualFold(path.Ext(dir), ".py") {
		dir, file = path.Split(dir)
		dir = path.Clean(cmp.Or(dir, "."))
	}
	server := strings.TrimSuffix(dir, "/") + "/"
	found := d.Script(server)
	if found == nil {
		d.Scripts = append(d.Scripts, Script{Name: server, Language: Python, Tyk: true, Python: PythonSource{Folder: dir, Path: at}})
		found = &d.Scripts[len(d.Scripts)-1]
	}
	if p := &found.Python; !slices.Contains(p.Files, file) {
		p.Files = append(p.Files, file)
	}
	return server
}

// python makes a folder absolute, and looks at what is in it.
func (f *fileFields) python(s *Script) {
	p := &s.Python
	if len(p.Files) == 1 && p.Files[0] == "." {
		p.Files = nil
	}
	if p.Bundle != "" { // it was made of what was verified
		if err := p.Read(); err != nil {
			f.errorf(p.Path, "cannot use the bundle %q: %s", p.Bundle, why(err))
		}
		return
	}
	named := p.Folder
	rel := filepath.FromSlash(named)
	if inside, err := filepath.Rel(f.folder.dir, rel); filepath.IsAbs(rel) && err == nil && filepath.IsLocal(inside) {
		rel = inside
	}
	dir, err := f.folder.directory(rel)
	if err == nil {
		p.Folder = dir
		err = p.Read()
	}
	if err != nil {
		f.errorf(p.Path, "cannot use the folder %q: %s", named, why(err))
	}
}

// Read looks at what is in the folder, whose path is absolute: Files must be there, and Digest is made of the code. Links
// that lead out of the folder are an error for Files, and count for nothing otherwise.
func (p *PythonSource) Read() error {
	root, err := os.OpenRoot(p.Folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range p.Files {
		info, err := root.Stat(filepath.FromSlash(name))
		if err != nil {
			return fmt.Errorf("%s: %s", name, why(err))
		}
		if name != "." && !info.Mode().IsRegular() {
			return fmt.Errorf("%s: not a regular file", name)
		}
	}
	hash := sha256.New()
	seen, code := 0, false
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		seen++
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return fs.SkipDir
		case seen > maxPythonFiles:
			return fs.SkipAll
		case e.IsDir() && skipped(name):
			return fs.SkipDir
		case e.IsDir() || !codeFile(name):
			return nil
		}
		code = code || path.Ext(name) == ".py"
		return note(hash, root, name)
	})
	if err == nil && !code {
		err = errors.New("it has no .py file")
	}
	p.Digest = fmt.Sprintf("%x", hash.Sum(nil)[:16])
	return err
}

// skipped are folders that have no code of the plugin's own.
func skipped(name string) bool {
	base := path.Base(name)
	return name != "." && (strings.HasPrefix(base, ".") || base == "__pycache__" || base == "node_modules")
}

// codeFile reports whether a plugin becomes another when the file changes.
func codeFile(name string) bool {
	switch path.Ext(name) {
	case ".py", ".so", ".json", ".txt", ".toml", ".yaml", ".yml", ".ini", ".cfg":
		return true
	}
	return false
}

// note adds a file to what the digest is over.
func note(hash io.Writer, root *os.Root, name string) error {
	info, err := root.Stat(filepath.FromSlash(name))
	if err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // a link that leads nowhere, or elsewhere, is no code of the plugin's
	}
	fmt.Fprintf(hash, "%q %d\n", name, info.Size())
	if info.Size() > maxPythonFile {
		fmt.Fprintln(hash, info.ModTime().UnixNano())
		return nil
	}
	data, err := root.ReadFile(filepath.FromSlash(name))
	if err != nil {
		return nil //nolint:nilerr // the interpreter will say so, if it wants to read it
	}
	_, err = hash.Write(data)
	return err
}
