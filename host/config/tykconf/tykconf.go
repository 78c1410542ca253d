// Package tykconf reads the settings of a Tyk gateway, tyk.conf and TYK_GW_ variables (reference §3), as far as they
// have a meaning here.
package tykconf

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// EnvPrefix begins the names of Tyk's variables: the prefix and the path of the keys in upper case, without the
// underscores inside a key.
const EnvPrefix = "TYK_GW_"

// EnvOmitFile says that there is no file, when it is true.
const EnvOmitFile = EnvPrefix + "OMITCONFIGFILE"

// Settings are what a tyk.conf amounts to.
type Settings struct {
	// Values are our settings by path, as a flag would say them.
	Values map[string]string
	// Problems list what is wrong, what has no meaning here, and what nobody knows.
	Problems config.Problems
}

// Load reads a tyk.conf, nil when there is none, and the TYK_GW_ variables of an environment, which go before it.
// Settings that protect and are not supported are errors; so is a file that cannot be read.
func Load(file string, data []byte, environ []string) Settings {
	l := &loader{table: table(), said: map[string]said{}, out: map[string]string{}}
	if data != nil {
		root, problems := document.Parse(file, data)
		if l.problems = problems; problems.Refused() {
			return Settings{Problems: problems}
		}
		if root.Kind != document.Mapping {
			l.report(said{node: root}, config.SeverityError, "must be an object")
			return Settings{Problems: l.problems}
		}
		l.walk(root, "")
	}
	l.environment(environ)
	l.translate()
	return Settings{Values: l.out, Problems: l.problems}
}

// said is a value and where it was said.
type said struct {
	text string
	list []string
	node *document.Node // nil: by a variable
	env  string
}

type loader struct {
	table    map[string]*field
	said     map[string]said // by path
	out      map[string]string
	problems config.Problems
}

func (l *loader) report(s said, severity document.Severity, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if s.node == nil {
		l.problems = append(l.problems, config.Problem{File: "environment variable " + s.env, Severity: severity, Message: message})
		return
	}
	l.problems = append(l.problems, s.node.At(severity, "", "%s", message))
}

// walk notes the values of a document by their paths.
func (l *loader) walk(n *document.Node, prefix string) {
	for _, f := range n.Fields {
		path := prefix + strings.ToLower(f.Key)
		known := l.table[path]
		switch {
		case known != nil && (known.status != works || f.Value.Kind != document.Mapping || !l.below(path)):
			l.note(path, said{node: f.Value, text: f.Value.Text, list: texts(f.Value)})
		case f.Value.Kind == document.Mapping && l.below(path):
			l.walk(f.Value, path+".")
		case !empty(f.Value):
			l.report(said{node: f.Value}, config.SeverityWarning, "unknown: it has no effect")
		}
	}
}

// below reports whether the table knows something below a path.
func (l *loader) below(path string) bool {
	for p := range l.table {
		if strings.HasPrefix(p, path+".") {
			return true
		}
	}
	return false
}

func texts(n *document.Node) []string {
	var out []string
	for _, item := range n.Items {
		out = append(out, item.Text)
	}
	for _, f := range n.Fields {
		out = append(out, f.Key+":"+f.Value.Text)
	}
	return out
}

// empty reports whether a value says nothing, as most of a tyk.conf that a program has written does.
func empty(n *document.Node) bool {
	switch n.Kind {
	case document.Sequence:
		return len(n.Items) == 0
	case document.Mapping:
		return !slices.ContainsFunc(n.Fields, func(f document.Field) bool { return !empty(f.Value) })
	}
	return n.Text == "" || n.Text == "false" || n.Text == "0"
}

func (l *loader) note(path string, s said) {
	f := l.table[path]
	switch {
	case s.node != nil && empty(s.node) && f.status != works:
	case f.status == ignored:
		l.report(s, config.SeverityIgnored, "%s", f.note)
	case f.status == refused:
		l.report(s, config.SeverityError, "%s", f.note)
	default:
		l.said[path] = s
	}
}

// environment notes what variables say; they go before the file.
func (l *loader) environment(environ []string) {
	names := map[string]string{} // of variables, to paths
	for path := range l.table {
		var keys []string
		for key := range strings.SplitSeq(path, ".") {
			keys = append(keys, strings.ReplaceAll(strings.ToUpper(key), "_", ""))
		}
		names[EnvPrefix+strings.Join(keys, "_")] = path
	}
	variables := map[string]string{}
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, EnvPrefix) && value != "" && name != EnvOmitFile {
			variables[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		s := said{env: name, text: variables[name], list: strings.Split(variables[name], ",")}
		path, known := names[name]
		if !known {
			l.report(s, config.SeverityWarning, "unknown: it has no effect")
			continue
		}
		if on, err := strconv.ParseBool(s.text); err != nil || on || l.table[path].status == works {
			l.note(path, s)
		}
	}
}

// text returns a value and whether it was said.
func (l *loader) text(path string) (string, bool) {
	s, ok := l.said[path]
	return s.text, ok && s.text != ""
}

func (l *loader) truth(path string) bool {
	s, ok := l.said[path]
	if !ok {
		return false
	}
	b, err := strconv.ParseBool(s.text)
	if err != nil {
		l.report(s, config.SeverityError, "must be true or false")
	}
	return b
}

// number returns a whole number, 0 when nothing was said.
func (l *loader) number(path string) int64 {
	s, ok := l.said[path]
	if !ok || s.text == "" {
		return 0
	}
	n, err := strconv.ParseInt(s.text, 10, 64)
	if err != nil || n < 0 {
		l.report(s, config.SeverityError, "must be a whole number, not negative")
		return 0
	}
	return n
}

// set says one of our settings, unless there is nothing to say.
func (l *loader) set(path, value string) {
	if value != "" {
		l.out[path] = value
	}
}
