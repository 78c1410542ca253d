package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "TURNBUCKLE_"

// EnvConfigFile and EnvTykConf name files of settings, for whoever reads them; they are no settings.
const (
	EnvConfigFile = EnvPrefix + "CONFIG"
	EnvTykConf    = EnvPrefix + "TYK_CONF"
)

// Setting is one setting as a file, a flag and the environment name it.
type Setting struct {
	// Path is the keys of the setting joined by "."; "*" stands for the name of a server.
	Path string
	// Env is the environment variable; "*" stands for the name in upper case, "-" as "_".
	Env string
	// Default is what holds when nobody says anything, as a file would say it; empty when that is
	// nothing, or depends.
	Default string

	leaf document.Leaf
}

// AllSettings lists every setting, in the order of the Settings type.
func AllSettings() []Setting {
	var out []Setting
	defaults := DefaultSettings()
	var server PluginServer
	server.SetDefaults()
	defaults.Servers = map[string]PluginServer{"*": server}
	for _, leaf := range document.Leaves(reflect.TypeFor[Settings]()) {
		out = append(out, Setting{
			Path:    strings.Join(leaf.Keys, "."),
			Env:     EnvPrefix + strings.ToUpper(strings.ReplaceAll(strings.Join(leaf.Keys, "_"), "-", "_")),
			Default: written(leaf.In(reflect.ValueOf(defaults))),
			leaf:    leaf,
		})
	}
	return out
}

// written is a value as a file would say it. Nothing is written of a zero, which may stand for what depends, unless it is
// a switch.
func written(v reflect.Value) string {
	if !v.IsValid() || v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	text := fmt.Sprint(v.Interface())
	if v.Type() == reflect.TypeFor[time.Duration]() && strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// alternatives are settings of which the stronger source's wins whichever it names.
func alternatives(path string) []string {
	switch path {
	case "admin.secret":
		return []string{"admin", "secret_file"}
	case "admin.secret_file":
		return []string{"admin", "secret"}
	}
	return nil
}

// overlay puts the values of one source over what root has.
type overlay struct {
	root     *document.Node
	settings []Setting
	problems Problems
	said     []string // paths this source has set
}

func (o *overlay) set(s Setting, keys []string, value, origin string) {
	node := &document.Node{Kind: document.String, Text: value, File: origin, Loose: true}
	if s.leaf.Type.Kind() == reflect.Slice && s.leaf.Type.Elem().Kind() == reflect.Struct && !scalarStruct(s.leaf.Type.Elem()) {
		parsed, problems := document.Parse("value.json", []byte(value))
		for _, p := range problems {
			p.File, p.Line, p.Col = origin, 0, 0
			o.problems = append(o.problems, p)
		}
		if problems.Refused() {
			return
		}
		node = parsed
		node.Stamp(origin)
	}
	o.put(s, keys, node)
}

func (o *overlay) put(s Setting, keys []string, node *document.Node) {
	if other := alternatives(s.Path); other != nil && !slices.Contains(o.said, strings.Join(other, ".")) {
		if parent := o.root.Get(other[0]); parent != nil {
			parent.Remove(other[1])
		}
	}
	o.said = append(o.said, s.Path)
	o.root.Set(node, keys...)
}

// scalarStruct reports whether a struct type is written as one value.
func scalarStruct(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(interface{ UnmarshalText([]byte) error })
	return ok
}

// fill returns the keys of a setting whose "*" matched name.
func (s Setting) fill(name string) []string {
	keys := slices.Clone(s.leaf.Keys)
	if i := slices.Index(keys, "*"); i >= 0 {
		keys[i] = name
	}
	return keys
}

func overlayEnv(root *document.Node, environ []string) Problems {
	o := overlay{root: root, settings: AllSettings()}
	// A cluster tells every pod about services by such variables, one named turnbuckle among them.
	fromCluster := regexp.MustCompile(`^(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)`)
	variables := environMap(environ)
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		short, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || variables[name] == "" || name == EnvConfigFile || name == EnvTykConf || fromCluster.MatchString(short) {
			continue
		}
		origin := ofEnvironment + " " + name
		s, keys := o.byEnv(name)
		if keys == nil {
			o.problems = append(o.problems, Problem{
				File: origin, Severity: SeverityWarning, Message: "not a setting", Hint: suggestEnv(name, o.settings),
			})
			continue
		}
		o.set(s, keys, variables[name], origin)
	}
	return o.problems
}

// byEnv finds the setting of a variable and its keys. Of several that fit, the one that leaves
// the shortest name for "*" is meant.
func (o *overlay) byEnv(variable string) (Setting, []string) {
	var best Setting
	var keys []string
	shortest := len(variable) + 1
	for _, s := range o.settings {
		prefix, suffix, wild := strings.Cut(s.Env, "*")
		switch {
		case s.Env == variable:
			return s, s.leaf.Keys
		case !wild || len(variable) <= len(prefix)+len(suffix):
		case strings.HasPrefix(variable, prefix) && strings.HasSuffix(variable, suffix):
			name := variable[len(prefix) : len(variable)-len(suffix)]
			if len(name) < shortest {
				shortest = len(name)
				best, keys = s, s.fill(strings.ToLower(strings.ReplaceAll(name, "_", "-")))
			}
		}
	}
	return best, keys
}

func suggestEnv(name string, settings []Setting) string {
	known := make([]string, len(settings))
	for i, s := range settings {
		known[i] = s.Env
	}
	return document.Suggest(name, known)
}

func overlayFlags(root *document.Node, from string, flags map[string]string) Problems {
	o := overlay{root: root, settings: AllSettings()}
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		origin := from + " " + path
		if s, keys := o.byPath(path, origin); keys != nil {
			o.set(s, keys, flags[path], origin)
		}
	}
	return o.problems
}

func overlayChanges(root *document.Node, changes map[string]json.RawMessage) Problems {
	o := overlay{root: root, settings: AllSettings()}
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		origin := ofChange + " " + path
		s, keys := o.byPath(path, origin)
		if keys == nil {
			continue
		}
		var text string
		if json.Unmarshal(changes[path], &text) == nil && !bytes.Equal(changes[path], []byte("null")) {
			o.set(s, keys, text, origin)
			continue
		}
		node, problems := document.Parse("change.json", changes[path])
		for _, p := range problems {
			p.File, p.Line, p.Col = origin, 0, 0
			o.problems = append(o.problems, p)
		}
		if !problems.Refused() {
			node.Stamp(origin)
			o.put(s, keys, node)
		}
	}
	return o.problems
}

// byPath finds the setting of a path and its keys; that there is none is noted as a problem.
func (o *overlay) byPath(path, origin string) (Setting, []string) {
	for _, s := range o.settings {
		if keys := s.byPath(path); keys != nil {
			return s, keys
		}
	}
	known := make([]string, len(o.settings))
	for i, s := range o.settings {
		known[i] = s.Path
	}
	o.problems = append(o.problems, Problem{
		File: origin, Severity: SeverityError, Message: fmt.Sprintf("there is no setting %q", path), Hint: document.Suggest(path, known),
	})
	return Setting{}, nil
}

// byPath returns the setting's keys when the path is its own, with a name for "*".
func (s Setting) byPath(path string) []string {
	keys := strings.Split(path, ".")
	if len(keys) != len(s.leaf.Keys) {
		return nil
	}
	for i, key := range keys {
		if s.leaf.Keys[i] != "*" && s.leaf.Keys[i] != key {
			return nil
		}
	}
	return keys
}

func environMap(environ []string) map[string]string {
	out := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			out[name] = value
		}
	}
	return out
}
