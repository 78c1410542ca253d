package rules

import (
	"strings"
)

// Variables looks up what values name: of a session's metadata, or of the request's context (reference §11). What is
// not there is empty.
type Variables interface {
	Meta(name string) string
	Context(name string) string
}

// Template is a value that may name variables: $tyk_meta.NAME and $tyk_context.NAME. Names are of letters, digits, "_",
// "-" and ".". The zero Template is the empty value.
type Template struct {
	text  string // the whole, when it names nothing
	parts []part
}

// part is text, or a variable.
type part struct {
	text string
	kind byte // 0 text, 'm' meta, 'c' context
}

const (
	metaVariable    = "$tyk_meta."
	contextVariable = "$tyk_context."
)

// CompileTemplate compiles a value.
func CompileTemplate(value string) Template {
	t := Template{text: value}
	rest := value
	for {
		at, kind, prefix := nextVariable(rest)
		if at < 0 {
			break
		}
		name := rest[at+len(prefix):]
		end := strings.IndexFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.", r))
		})
		if end < 0 {
			end = len(name)
		}
		if at > 0 {
			t.parts = append(t.parts, part{text: rest[:at]})
		}
		t.parts = append(t.parts, part{text: name[:end], kind: kind})
		rest = name[end:]
	}
	if t.parts != nil && rest != "" {
		t.parts = append(t.parts, part{text: rest})
	}
	return t
}

func nextVariable(s string) (at int, kind byte, prefix string) {
	m, c := strings.Index(s, metaVariable), strings.Index(s, contextVariable)
	if m >= 0 && (c < 0 || m < c) {
		return m, 'm', metaVariable
	}
	return c, 'c', contextVariable
}

// Fixed reports whether the value names no variable.
func (t *Template) Fixed() bool { return t.parts == nil }

// Expand returns the value with its variables looked up. Bytes that no header value can hold (RFC 9110 §5.5) become
// spaces in what was looked up. Without v, variables are empty.
func (t *Template) Expand(v Variables) string {
	if t.parts == nil {
		return t.text
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.kind == 0:
			b.WriteString(p.text)
		case v == nil:
		case p.kind == 'm':
			b.WriteString(oneLine(v.Meta(p.text)))
		default:
			b.WriteString(oneLine(v.Context(p.text)))
		}
	}
	return b.String()
}

func oneLine(s string) string {
	const bad = "\r\n\x00"
	if !strings.ContainsAny(s, bad) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(bad, r) {
			return ' '
		}
		return r
	}, s)
}
