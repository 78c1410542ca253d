package document

import (
	"encoding"
	"fmt"
	"reflect"
	"time"
)

// Plain returns a decoded value in the types that encoding/json writes as a document would say it: what the Decoder
// reads back into the same value. A zero mapping or list is nil.
func Plain(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return value.String()
	case encoding.TextMarshaler:
		if text, err := value.MarshalText(); err == nil {
			return string(text)
		}
	case fmt.Stringer:
		return value.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		fields := map[string]any{}
		for _, f := range fieldsOf(v.Type()) {
			fields[f.key] = Plain(v.FieldByIndex(f.index))
		}
		return fields
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = Plain(v.Index(i))
		}
		return list
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		entries := map[string]any{}
		for _, k := range v.MapKeys() {
			entries[k.String()] = Plain(v.MapIndex(k))
		}
		return entries
	case reflect.String:
		return v.String()
	default:
		return v.Interface()
	}
}

// Written returns the node in the types that encoding/json writes, with references as they were written and not as what
// they were resolved to, and whether there are any.
func (n *Node) Written() (value any, references bool) {
	switch n.Kind {
	case Sequence:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			v, has := item.Written()
			list[i], references = v, references || has
		}
		return list, references
	case Mapping:
		entries := map[string]any{}
		for _, f := range n.Fields {
			v, has := f.Value.Written()
			entries[f.Key], references = v, references || has
		}
		return entries, references
	case Null:
		return nil, false
	}
	if n.secret != "" {
		return n.secret, true
	}
	return n.Text, false
}

// Stamp says that the whole of a node comes from a place that has no lines.
func (n *Node) Stamp(file string) {
	n.File, n.Line, n.Col = file, 0, 0
	for _, item := range n.Items {
		item.Stamp(file)
	}
	for _, f := range n.Fields {
		f.Value.Stamp(file)
	}
}
