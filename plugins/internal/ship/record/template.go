package record

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Template is a text with fields of a record or an event in it, such as "gateway.{api}.{class}". It is immutable.
type Template struct{ parts []part }

// part is text as it stands, or a field.
type part struct {
	text  string
	field string
}

// Placeholders lists what may stand between braces in a template.
func Placeholders() []string {
	return []string{"kind", "type", "api", "org", "method", "status", "class", "key"}
}

// ParseTemplate reads a template.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{}
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		if !found {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		known := false
		for _, p := range Placeholders() {
			known = known || p == name
		}
		if !closed || !known {
			return nil, fmt.Errorf("template %q: {%s}: between braces stands one of %s", text, name, strings.Join(Placeholders(), ", "))
		}
		t.parts = append(t.parts, part{field: name})
		rest = behind
	}
	return t, nil
}

// AppendRecord writes the template for a record behind b. What a record has not is "none".
func (t *Template) AppendRecord(b []byte, r *sdk.Record) []byte {
	for _, p := range t.parts {
		switch p.field {
		case "":
			b = append(b, p.text...)
		case "kind", "type":
			b = append(b, "request"...)
		case "status":
			b = strconv.AppendInt(b, int64(r.Status), 10)
		case "class":
			b = append(b, Class(r.Status)...)
		case "api":
			b = appendWord(b, r.Route)
		case "org":
			b = appendWord(b, r.Org)
		case "method":
			b = appendWord(b, r.Method)
		case "key":
			b = appendWord(b, r.KeyHash)
		}
	}
	return b
}

// AppendEvent writes the template for an event behind b. What an event has not is "none".
func (t *Template) AppendEvent(b []byte, e *sdk.Event) []byte {
	for _, p := range t.parts {
		switch p.field {
		case "":
			b = append(b, p.text...)
		case "kind":
			b = append(b, "event"...)
		case "type":
			b = appendWord(b, e.Type)
		case "api":
			b = appendWord(b, e.Route)
		case "org":
			b = appendWord(b, e.Org)
		default:
			b = append(b, "none"...)
		}
	}
	return b
}

// appendWord writes a value as one word: what separates words in routing keys and subjects, and what no broker takes in
// them, becomes an underscore.
func appendWord(b []byte, s string) []byte {
	if s == "" {
		return append(b, "none"...)
	}
	const longest = 64
	for i := range min(len(s), longest) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || c == '.' || c == '*' || c == '#' || c == '>' || c == '/' {
			c = '_'
		}
		b = append(b, c)
	}
	return b
}
