package document

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxSecretBytes is the largest file that a file: reference may name.
const MaxSecretBytes = 64 << 10

// minSecret is the length from which a value is looked for in messages: shorter ones would be
// found in every word, and are no secret.
const minSecret = 4

// A Resolver replaces references in string values by what they name.
type Resolver struct {
	// LookupEnv reads an environment variable.
	LookupEnv func(name string) (string, bool)
	// ReadFile reads a file; the resolver bounds neither its size nor its place.
	ReadFile func(path string) ([]byte, error)
	// Refuse, if it is not nil, says why a variable may not be read, or "".
	Refuse func(name string) string
	// URLs also accepts Tyk's env://NAME and file://PATH, and refuses secrets://, consul:// and
	// vault:// by name.
	URLs bool
	// Of, if it is not nil, says which values may be references; the others stay as they are.
	Of func(n *Node) bool
}

// Resolve replaces the references of a whole tree in place. What cannot be resolved stays and is
// a problem.
func (r Resolver) Resolve(n *Node) Problems {
	p := resolving{Resolver: r, room: MaxBytes}
	p.walk(n)
	return p.d.Problems
}

// resolving is one tree on its way.
type resolving struct {
	Resolver
	d Decoder
	// room is how many bytes references may still add: a small file that names a large one many
	// times must not fill the memory.
	room int
}

func (r *resolving) walk(n *Node) {
	for _, item := range n.Items {
		r.walk(item)
	}
	for _, f := range n.Fields {
		r.walk(f.Value)
	}
	if n.Kind == String && (r.Of == nil || r.Of(n)) {
		r.resolve(n)
	}
}

func (r *resolving) resolve(n *Node) {
	scheme, name, found := strings.Cut(n.Text, ":")
	if !found {
		return
	}
	before := ""
	if r.URLs {
		if i := strings.Index(n.Text, "env://"); i >= 0 {
			// Tyk replaces this one inside a string too, up to its end.
			before, scheme, name = n.Text[:i], "env", n.Text[i+len("env:"):]
		}
		switch scheme {
		case "secrets", "consul", "vault":
			if strings.HasPrefix(name, "//") {
				r.d.Report(n.At(Error, "use env:NAME or file:PATH", "references to %s:// are not supported", scheme))
			}
			return
		}
		name = strings.TrimPrefix(name, "//")
	}
	var value string
	var err error
	switch {
	case scheme == "env" && isVariable(name):
		value, err = r.env(name)
	case scheme == "file" && name != "":
		value, err = r.file(name)
	default:
		return
	}
	if r.room -= len(value); r.room < 0 && err == nil {
		err = fmt.Errorf("the references of the file add up to more than %d bytes", MaxBytes)
	}
	if err != nil {
		r.d.Errorf(n, "%s", err)
		n.unresolved = true
		return
	}
	n.secret = n.Text
	n.Text, n.Loose = before+value, true
}

func isVariable(name string) bool {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

func (r Resolver) env(name string) (string, error) {
	if r.Refuse != nil {
		if why := r.Refuse(name); why != "" {
			return "", fmt.Errorf("environment variable %s cannot be read here: %s", name, why)
		}
	}
	value, ok := r.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("environment variable %s is not set", name)
	}
	return value, nil
}

func (r Resolver) file(path string) (string, error) {
	data, err := r.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the file that the value refers to: %w", err)
	}
	if len(data) > MaxSecretBytes {
		return "", fmt.Errorf("the file that the value refers to is larger than %d bytes", MaxSecretBytes)
	}
	text := strings.TrimSuffix(string(data), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// Quote returns a scalar in quotes for a message; of a resolved reference it returns the
// reference, so that secrets stay out of logs.
func (n *Node) Quote() string {
	text := n.Text
	if n.secret != "" {
		text = n.secret
	}
	if len(text) > 80 {
		text = text[:80] + "..."
	}
	return strconv.Quote(text)
}

// Redact replaces, in the messages of problems, the values that references of the tree were
// resolved to by the references.
func (n *Node) Redact(ps Problems) {
	if n == nil || len(ps) == 0 {
		return
	}
	secrets := map[string]string{}
	n.secrets(secrets)
	for value, reference := range secrets {
		quoted := strconv.Quote(value)
		r := strings.NewReplacer(value, reference, quoted[1:len(quoted)-1], reference)
		for i := range ps {
			ps[i].Message, ps[i].Hint = r.Replace(ps[i].Message), r.Replace(ps[i].Hint)
		}
	}
}

// secrets collects the values that come from references.
func (n *Node) secrets(found map[string]string) {
	for _, item := range n.Items {
		item.secrets(found)
	}
	for _, f := range n.Fields {
		f.Value.secrets(found)
	}
	if n.secret != "" && len(n.Text) >= minSecret {
		found[n.Text] = n.secret
	}
}
