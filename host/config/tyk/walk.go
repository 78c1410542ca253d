package tyk

import (
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// walk compares a mapping or list with the table and reports fields that are ignored, refused or
// unknown.
func (t *translation) walk(n *document.Node, r *rule) {
	if n.Kind == document.Sequence {
		if element := r.children["[]"]; element != nil {
			for _, item := range n.Items {
				t.walk(item, element)
			}
		}
		return
	}
	seen := map[string]string{}
	for _, f := range n.Fields {
		// Keys that only "*" matches are names in a mapping, which are compared as they are.
		first, twice := seen[strings.ToLower(f.Key)]
		if twice && r.child(f.Key) != r.children["*"] {
			t.errorf(f.Value, "stands twice: %q and %q are one field", first, f.Key)
		}
		seen[strings.ToLower(f.Key)] = f.Key
		t.field(n, f, r.child(f.Key), r)
	}
}

func (t *translation) field(parent *document.Node, f document.Field, r, above *rule) {
	switch {
	case r == nil:
		const suggestions = 20
		hint := ""
		if t.unknown++; t.unknown <= suggestions {
			hint = document.Suggest(f.Key, above.keys())
		}
		t.report(f.Value, document.Warning, hint, "unknown field: it has no effect")
	case r.field.Status == Ignored:
		if !zero(f.Value) {
			t.report(f.Value, document.Ignored, "", "%s", r.field.Note)
		}
	case r.field.Status == Refused:
		if asks(f.Value) && !t.truth(get(parent, r.field.unless)) {
			t.errorf(f.Value, "%s", r.field.Note)
		}
	case r.children != nil && f.Value.Kind == document.Null:
	case r.children != nil:
		want := document.Mapping
		if r.children["[]"] != nil {
			want = document.Sequence
		}
		if f.Value.Kind != want {
			t.errorf(f.Value, "must be %s, not %s", want, f.Value.Kind)
			return
		}
		t.walk(f.Value, r)
	}
}

// zero reports whether a value says nothing: Go's zero value, or only such values inside.
func zero(n *document.Node) bool {
	switch n.Kind {
	case document.Bool:
		return n.Text == "false"
	case document.Number:
		return strings.Trim(n.Text, "-0.eE+") == ""
	case document.String:
		return n.Text == ""
	case document.Sequence:
		return len(n.Items) == 0
	case document.Mapping:
		for _, f := range n.Fields {
			if !zero(f.Value) {
				return false
			}
		}
	}
	return true
}

// asks reports whether a value is enabled and not zero. Of a list one element is enough.
func asks(n *document.Node) bool {
	switch n.Kind {
	case document.Sequence:
		for _, item := range n.Items {
			if asks(item) {
				return true
			}
		}
		return false
	case document.Mapping:
		if truthy(get(n, "disabled")) {
			return false
		}
		for _, key := range []string{"enabled", "enable", "is_enabled"} {
			if on := get(n, key); on != nil && zero(on) {
				return false
			}
		}
	}
	return !zero(n)
}

func truthy(n *document.Node) bool { return n != nil && n.Kind == document.Bool && n.Text == "true" }

// get returns the value at a chain of keys, compared without regard to case, or nil; null counts
// as absent. It may be called on nil.
func get(n *document.Node, keys ...string) *document.Node {
	for _, key := range keys {
		if n == nil || key == "" {
			return nil
		}
		var found *document.Node
		for _, f := range n.Fields {
			if f.Key == key || found == nil && strings.EqualFold(f.Key, key) {
				found = f.Value
			}
		}
		n = found
	}
	if n != nil && n.Kind == document.Null {
		return nil
	}
	return n
}
