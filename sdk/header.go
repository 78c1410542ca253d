package sdk

import (
	"fmt"
	"iter"
)

// Field is one header field line: a name and one value.
type Field struct{ Name, Value string }

// Header is an ordered list of field lines (RFC 9110 §5). Names match without regard to case and keep the spelling they
// came with; a name may occur several times. The zero value is empty and ready. Not safe for concurrent use.
type Header struct {
	fields []Field
	ops    []HeaderOp
	record bool
	edited bool
	err    error
}

// HeaderOpKind says what a [HeaderOp] does.
type HeaderOpKind uint8

// The changes a header can undergo. The numbers are those of the native protocol.
const (
	HeaderSet HeaderOpKind = 1 // replace all values of a name by one
	HeaderAdd HeaderOpKind = 2 // append one value
	HeaderDel HeaderOpKind = 3 // remove all values of a name
)

// HeaderOp is one recorded change of a header. Value is empty for HeaderDel.
type HeaderOp struct {
	Kind        HeaderOpKind
	Name, Value string
}

// Len returns the number of field lines.
func (h *Header) Len() int { return len(h.fields) }

// Fields returns the field lines in order. The slice is the header's own: read it, do not change or keep it.
func (h *Header) Fields() []Field { return h.fields }

// All iterates over the field lines in order.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range h.fields {
			if !yield(h.fields[i].Name, h.fields[i].Value) {
				return
			}
		}
	}
}

// Get returns the first value of name, or "".
func (h *Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup returns the first value of name and whether there is one.
func (h *Header) Lookup(name string) (string, bool) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			return h.fields[i].Value, true
		}
	}
	return "", false
}

// Has reports whether a field line of that name exists.
func (h *Header) Has(name string) bool {
	_, ok := h.Lookup(name)
	return ok
}

// Values returns all values of name in order, in a new slice; nil when there is none.
func (h *Header) Values(name string) []string {
	var vs []string
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			vs = append(vs, h.fields[i].Value)
		}
	}
	return vs
}

// Set replaces every value of name by value. The first line of that name keeps its place; without one, the line is
// appended. An invalid name or value (RFC 9110 §5.1, §5.5) changes nothing and makes the hook fail.
func (h *Header) Set(name, value string) {
	if !h.valid(name, value) {
		return
	}
	h.noted(HeaderSet, name, value)
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			h.fields[i] = Field{name, value}
			h.remove(name, i+1)
			return
		}
	}
	h.fields = append(h.fields, Field{name, value})
}

// Add appends a field line. An invalid name or value changes nothing and makes the hook fail.
func (h *Header) Add(name, value string) {
	if !h.valid(name, value) {
		return
	}
	h.noted(HeaderAdd, name, value)
	h.fields = append(h.fields, Field{name, value})
}

// Del removes every field line of that name.
func (h *Header) Del(name string) {
	h.noted(HeaderDel, name, "")
	h.remove(name, 0)
}

// Apply performs a recorded change. It reports an unknown kind; an invalid name or value is kept for [Header.Err].
func (h *Header) Apply(op HeaderOp) error {
	switch op.Kind {
	case HeaderSet:
		h.Set(op.Name, op.Value)
	case HeaderAdd:
		h.Add(op.Name, op.Value)
	case HeaderDel:
		h.Del(op.Name)
	default:
		return fmt.Errorf("unknown header change %d of %q", op.Kind, op.Name)
	}
	return nil
}

// Err returns the first invalid change that was refused since the last [Exchange.Begin], or nil.
func (h *Header) Err() error { return h.err }

// Append adds a line as it came from the network, unchecked and unrecorded. For hosts and decoders.
func (h *Header) Append(name, value string) { h.fields = append(h.fields, Field{name, value}) }

// Remove deletes every line of that name unrecorded. For hosts.
func (h *Header) Remove(name string) { h.remove(name, 0) }

// Replace sets the one value of name unchecked and unrecorded. For hosts.
func (h *Header) Replace(name, value string) {
	h.remove(name, 0)
	h.fields = append(h.fields, Field{name, value})
}

// Filter keeps the lines for which keep returns true, unrecorded. For hosts.
func (h *Header) Filter(keep func(Field) bool) {
	out := h.fields[:0]
	for _, f := range h.fields {
		if keep(f) {
			out = append(out, f)
		}
	}
	clear(h.fields[len(out):])
	h.fields = out
}

// Reset empties the header and keeps its memory. For hosts.
func (h *Header) Reset() {
	clear(h.fields)
	clear(h.ops)
	h.fields, h.ops, h.record, h.edited, h.err = h.fields[:0], h.ops[:0], false, false, nil
}

// Clear removes every line as a hook would, recorded one by one.
func (h *Header) Clear() {
	for len(h.fields) > 0 {
		h.Del(h.fields[0].Name)
	}
}

func (h *Header) remove(name string, from int) {
	out := h.fields[:from]
	for _, f := range h.fields[from:] {
		if !EqualFold(f.Name, name) {
			out = append(out, f)
		}
	}
	clear(h.fields[len(out):])
	h.fields = out
}

func (h *Header) noted(kind HeaderOpKind, name, value string) {
	h.edited = true
	if h.record {
		h.ops = append(h.ops, HeaderOp{kind, name, value})
	}
}

func (h *Header) valid(name, value string) bool {
	var err error
	switch {
	case !ValidToken(name):
		err = fmt.Errorf("invalid header name %q (RFC 9110 §5.1)", clip(name))
	case !ValidFieldValue(value):
		err = fmt.Errorf("invalid value for header %s: %q (RFC 9110 §5.5)", clip(name), clip(value))
	default:
		return true
	}
	if h.err == nil {
		h.err = err
	}
	return false
}

func (h *Header) begin(record bool) {
	clear(h.ops)
	h.ops, h.record, h.edited, h.err = h.ops[:0], record, false, nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
