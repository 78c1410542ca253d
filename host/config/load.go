package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Identity is what a definition is known by.
type Identity struct {
	ID string `json:"id"`
	// ListenPath and Host are as in Listen; empty when the file does not say.
	ListenPath string `json:"listen_path,omitempty"`
	Host       string `json:"host,omitempty"`
}

// A Translator turns definitions of another form into ours. Package tyk has the one for Tyk's
// classic form.
type Translator interface {
	// Recognises reports whether a document has the other form.
	Recognises(root *document.Node) bool
	// Identify reads what a document is known by, however broken the rest is.
	Identify(root *document.Node) Identity
	// Translate makes a definition of a document whose references are resolved. The problems
	// have the places of the document. The definition is used only when they do not refuse it.
	Translate(file string, root *document.Node) (Definition, Problems)
	// UsePath is where such a document has what is Definition.Use in ours.
	UsePath() string
}

// A Loader reads definitions.
type Loader struct {
	// Classic translates definitions of Tyk's form; nil refuses them.
	Classic Translator
	// WorkDir is the folder that files named by classic definitions are relative to.
	WorkDir string
	// LookupEnv reads the variables that references name; nil means that none is set.
	LookupEnv func(name string) (string, bool)
	// SecretDirs is Settings.SecretDirs.
	SecretDirs []string
	// Builtins are the ready-made plugins that there are, Use is Settings.Use.
	Builtins []*Plugin
	Use      []PluginUse
	// Bundles open the bundles that native definitions name; nil is none. A Translator has its own.
	Bundles Bundles
}

// Set is a folder of definitions.
type Set struct {
	// Definitions can be served, in the order of their file names. No two share an id, nor,
	// when both are active, a listen path on a host.
	Definitions []*Definition
	// Refused cannot be served.
	Refused []Refused
	// Withdrawn are ids of definitions of which what served before must not go on, when the new form is refused.
	Withdrawn []string
}

// Refused is a file that gave no definition.
type Refused struct {
	File string `json:"file"`
	// Identity holds what is known of it all the same; a listen path in it answers 503.
	Identity
	// Problems has at least one error.
	Problems Problems `json:"problems"`
}

// LoadDir reads every *.json, *.yaml and *.yml file of a folder in the order of their names, those
// whose name begins with "." apart. The problems are those of all files, warnings and ignored
// fields included; the errors among them are also in Set.Refused, unless the folder itself cannot
// be read.
func (l Loader) LoadDir(dir string) (Set, Problems) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		p := Problem{File: dir, Severity: SeverityError, Message: "cannot read the folder of definitions: " + why(err)}
		if errors.Is(err, fs.ErrNotExist) {
			p.Message, p.Hint = "the folder of definitions does not exist", "make it, or name another with --apis or apis in the settings"
		}
		return Set{}, Problems{p}
	}
	c := collector{ids: map[string]string{}, places: map[string]string{}}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !slices.Contains([]string{".json", ".yaml", ".yml"}, strings.ToLower(filepath.Ext(name))) {
			continue
		}
		file := filepath.Join(dir, name)
		if pair := oasPair(name, names); pair != "" {
			c.oas(l, file, pair)
			continue
		}
		data, err := folder{anywhere: true}.read(file, document.MaxBytes)
		if err != nil {
			c.refuse(file, Identity{}, Problems{{File: file, Severity: SeverityError, Message: "cannot read the file: " + why(err)}})
			continue
		}
		c.add(l.parse(file, data))
	}
	return c.set, c.problems.Sort()
}

// Parse makes one definition of the content of a file; file also says where the files that it
// names are looked for. Refused is nil when the definition can be served.
func (l Loader) Parse(file string, data []byte) (*Definition, *Refused) {
	p := l.parse(file, data)
	if p.problems.Refused() {
		return nil, &Refused{File: file, Identity: p.identity, Problems: p.problems}
	}
	return &p.def, nil
}

// parsed is what one file gave.
type parsed struct {
	file     string
	def      Definition
	identity Identity
	problems Problems
}

func (l Loader) parse(file string, data []byte) parsed {
	root, problems := document.Parse(file, data)
	if root == nil {
		return parsed{file: file, identity: Identity{ID: baseName(file)}, problems: problems}
	}
	classic := l.Classic != nil && l.Classic.Recognises(root)
	if root.Kind != document.Mapping && len(problems) == 0 {
		problems = Problems{root.At(SeverityError, "", "a definition must be a mapping, not %s", root.Kind)}
	}
	where := folder{dir: l.WorkDir, also: l.SecretDirs}
	if !classic {
		where.dir = filepath.Dir(file)
	}
	if abs, err := filepath.Abs(where.dir); err == nil {
		where.dir = abs
	}
	problems = append(problems, l.resolver(where, classic).Resolve(root)...)
	p := parsed{file: file, identity: identify(root)}
	if classic {
		p.identity = l.Classic.Identify(root)
	}
	if p.identity.ID == "" {
		p.identity.ID = baseName(file)
	}
	if len(problems) == 0 {
		p.def, problems = l.decode(file, root, classic, where)
	}
	p.problems = problems.Sort()
	root.Redact(p.problems)
	p.def.Notices = slices.Concat(p.problems.Of(SeverityWarning), p.problems.Of(SeverityIgnored))
	return p
}

func (l Loader) decode(file string, root *document.Node, classic bool, where folder) (Definition, Problems) {
	f := fileFields{folder: where}
	if classic {
		return l.translate(file, root, &f)
	}
	def, problems := decodeNative(file, root, l.Bundles)
	problems = problems.And(document.Locate(l.use(&def, "$.use"), root.Find))
	f.scripts(&def)
	f.file("$.upstream.tls.ca", &def.Upstream.TLS.CAFile)
	f.file("$.upstream.tls.cert", &def.Upstream.TLS.CertFile)
	f.file("$.upstream.tls.key", &def.Upstream.TLS.KeyFile)
	f.directory("$.errors.dir", &def.Errors.Dir)
	return def, append(problems, document.Locate(f.problems, root.Find)...)
}

// translate decodes a classic definition, whose scripts lie below the working directory.
func (l Loader) translate(file string, root *document.Node, f *fileFields) (Definition, Problems) {
	def, problems := l.Classic.Translate(file, root)
	f.scripts(&def)
	used := l.use(&def, l.Classic.UsePath())
	return def, problems.And(document.Locate(append(f.problems, used...), root.Find))
}

func (l Loader) resolver(where folder, classic bool) document.Resolver {
	lookup := l.LookupEnv
	if lookup == nil {
		lookup = func(string) (string, bool) { return "", false }
	}
	return document.Resolver{
		LookupEnv: lookup,
		ReadFile:  func(path string) ([]byte, error) { return where.read(path, document.MaxSecretBytes) },
		URLs:      classic,
		Refuse:    ownVariable,
	}
}

// ownVariable says why a variable is not for who may not say all settings.
func ownVariable(name string) string {
	if strings.HasPrefix(name, EnvPrefix) {
		return "variables that begin with " + EnvPrefix + " are settings of the gateway"
	}
	return ""
}

// identify reads what a native definition is known by.
func identify(root *document.Node) Identity {
	text := func(n *document.Node) string {
		if n == nil || n.Kind != document.String {
			return ""
		}
		return n.Text
	}
	listen := root.Get("listen")
	return Identity{ID: text(root.Get("id")), ListenPath: text(listen.Get("path")), Host: text(listen.Get("host"))}
}

func baseName(file string) string {
	base := filepath.Base(file)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// collector puts the files of a folder together.
type collector struct {
	set      Set
	problems Problems
	ids      map[string]string // id -> file that has it
	places   map[string]string // host and listen path -> file that has it
}

func (c *collector) add(p parsed) {
	refused := p.problems.Refused()
	id := p.identity
	if !refused {
		id = Identity{ID: p.def.ID, ListenPath: p.def.Listen.Path, Host: p.def.Listen.Host}
	}
	if first := claim(c.ids, id.ID, p.file); first != "" {
		p.problems = append(p.problems, Problem{
			File: p.file, Severity: SeverityError,
			Message: fmt.Sprintf("id %q is already that of %s, which stands", id.ID, first),
		})
	}
	// A file that is refused still holds its place: otherwise a slip in it would put another
	// definition, perhaps an open one, in its stead.
	if refused || p.def.Active {
		if first := claim(c.places, id.place(), p.file); first != "" {
			p.problems = append(p.problems, Problem{
				File: p.file, Severity: SeverityError,
				Message: fmt.Sprintf("listen path %s%s is already that of %s, which stands", id.Host, id.ListenPath, first),
			})
		}
	}
	if p.problems.Refused() {
		c.refuse(p.file, id, p.problems)
		return
	}
	c.problems = append(c.problems, p.problems...)
	c.set.Definitions = append(c.set.Definitions, &p.def)
}

// claim gives a key to a file, or returns the file that has it.
func claim(taken map[string]string, key, file string) (first string) {
	if first, ok := taken[key]; ok || key == "" {
		return first
	}
	taken[key] = file
	return ""
}

// place is what no two definitions may share; empty when the listen path is not known.
func (i Identity) place() string {
	if i.ListenPath == "" {
		return ""
	}
	return strings.ToLower(i.Host) + " /" + strings.Trim(i.ListenPath, "/")
}

func (c *collector) refuse(file string, id Identity, ps Problems) {
	if id.ID == "" {
		id.ID = baseName(file)
	}
	c.set.Refused = append(c.set.Refused, Refused{File: file, Identity: id, Problems: ps})
	c.problems = append(c.problems, ps...)
}

// oasPair returns the name of the file that makes name one half of an OAS or MCP definition.
func oasPair(name string, names map[string]bool) string {
	base := strings.TrimSuffix(name, ".json")
	if base == name {
		return ""
	}
	for _, suffix := range []string{"-oas", "-mcp"} {
		if id, ok := strings.CutSuffix(base, suffix); ok && names[id+".json"] {
			return id + ".json"
		}
		if names[base+suffix+".json"] {
			return base + suffix + ".json"
		}
	}
	return ""
}

// oas refuses one half of a pair, holding the place that it names.
func (c *collector) oas(l Loader, file, pair string) {
	p := parsed{file: file}
	data, err := folder{anywhere: true}.read(file, document.MaxBytes)
	if err == nil {
		root, _ := document.Parse(file, data)
		if root != nil && l.Classic != nil {
			p.identity = l.Classic.Identify(root)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		return // taken away since the folder was listed
	}
	p.problems = Problems{{
		File: file, Severity: SeverityError,
		Message: "Tyk OAS definitions are not supported, and this file is one half of a pair with " + pair,
		Hint:    "export the API as a classic definition, or write a native one",
	}}
	claim(c.places, p.identity.place(), file)
	c.refuse(file, p.identity, p.problems)
}
