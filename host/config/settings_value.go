package config

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// Origin is where the value of a setting comes from.
type Origin string

// The origins of settings, the weakest first.
const (
	OriginDefault     Origin = "default"
	OriginTykConf     Origin = "tyk.conf"
	OriginFile        Origin = "file"
	OriginChange      Origin = "change" // in the running gateway
	OriginEnvironment Origin = "environment"
	OriginFlag        Origin = "flag"
)

// What the places of values that stand in no file begin with.
const (
	ofBase        = "base for"
	ofChange      = "change of"
	ofEnvironment = "environment variable"
	ofFlag        = "flag for"
)

// SettingValue is one setting as it holds.
type SettingValue struct {
	// Path is that of the setting, with the name of a server or token in place of "*".
	Path string `json:"path"`
	// Value is what a JSON file would say; nil when nothing is said. Of a secret it shows that there is one, and a value
	// that was written as a reference is shown as such.
	Value  any    `json:"value"`
	Source Origin `json:"source"`
	// Where is the place of the value: file:line, the environment variable; empty for defaults, changes and flags.
	Where  string `json:"where,omitempty"`
	Secret bool   `json:"secret,omitempty"`
}

// redacted stands for a secret.
const redacted = "********"

// IsSecret reports whether the setting's value must not be shown.
func (s Setting) IsSecret() bool {
	switch s.Path {
	case "admin.secret", "admin.tokens.*.token", "store.redis.password", "store.redis.sentinel_password", "tracing.headers", "servers.*.env", "log.targets", "use":
		return true
	}
	return false
}

// StartsPrograms reports whether whoever says the setting decides which programs the gateway starts, as whom, or whose
// bundles it believes: that is for those who have the machine, not for callers of the control API.
func (s Setting) StartsPrograms() bool {
	if strings.HasPrefix(s.Path, "bundles.") {
		return s.Path != "bundles.poll"
	}
	switch s.Path {
	case "plugins", "python.interpreter", "python.dir", "python.install", "servers.*.command", "servers.*.dir", "servers.*.env", "servers.*.pass_env", "servers.*.user":
		return true
	}
	return false
}

// Alternative is the setting that one of the same source takes the place of, such as a secret's file that of the secret;
// empty when there is none.
func (s Setting) Alternative() string { return strings.Join(alternatives(s.Path), ".") }

// LoadSettingValues reads settings as LoadSettings does, and tells of every one what holds and who says so. Settings of
// servers and tokens are listed for those that there are.
func LoadSettingValues(src SettingsSource) (Settings, []SettingValue, Problems) {
	settings, root, problems := src.load()
	var values []SettingValue
	for _, s := range AllSettings() {
		for _, keys := range s.named(&settings) {
			leaf := s.leaf
			leaf.Keys = keys
			values = append(values, valueOf(s, keys, leaf.In(reflect.ValueOf(settings)), root, src.File))
		}
	}
	return settings, values, problems
}

// named returns the setting's keys, once for each name that "*" stands for.
func (s Setting) named(all *Settings) [][]string {
	if !slices.Contains(s.leaf.Keys, "*") {
		return [][]string{s.leaf.Keys}
	}
	names := sortedKeys(all.Servers)
	if s.leaf.Keys[0] == "admin" {
		names = sortedKeys(all.Admin.Tokens)
	}
	out := make([][]string, len(names))
	for i, name := range names {
		out[i] = s.fill(name)
	}
	return out
}

func valueOf(s Setting, keys []string, v reflect.Value, root *document.Node, file string) SettingValue {
	out := SettingValue{Path: strings.Join(keys, "."), Value: document.Plain(v), Source: OriginDefault, Secret: s.IsSecret()}
	n := root
	for _, key := range keys {
		n = n.Get(key)
	}
	exact := n
	if other := alternatives(s.Path); n == nil && other != nil && !v.IsZero() { // the value was read from a file
		n = root.Get(other[0]).Get(other[1])
	}
	if n != nil && n.Kind != document.Null {
		out.Source, out.Where = sourceOf(n)
		if out.Where == "" && out.Source == OriginFile {
			out.Where = file
		}
		// Of a list or mapping with secrets in it some may be references and others not.
		whole := !out.Secret || n.Kind != document.Mapping && n.Kind != document.Sequence
		if written, references := n.Written(); references && n == exact && whole {
			out.Value = written
			return out
		}
	}
	if out.Secret && !v.IsZero() {
		out.Value = redacted
	}
	return out
}

// sourceOf tells who says a value.
func sourceOf(n *document.Node) (source Origin, where string) {
	for prefix, source := range map[string]Origin{ofBase: OriginTykConf, ofChange: OriginChange, ofFlag: OriginFlag} {
		if strings.HasPrefix(n.File, prefix+" ") {
			return source, ""
		}
	}
	if variable, ok := strings.CutPrefix(n.File, ofEnvironment+" "); ok {
		return OriginEnvironment, variable
	}
	if n.Line == 0 {
		return OriginFile, n.File
	}
	return OriginFile, n.File + ":" + strconv.Itoa(n.Line)
}
