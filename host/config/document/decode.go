package document

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Unmarshaler decodes itself from a node and reports through d.
type Unmarshaler interface {
	UnmarshalNode(n *Node, d *Decoder)
}

// Defaulter fills in the defaults of a value made for a list element or a mapping's value, before
// it is decoded.
type Defaulter interface{ SetDefaults() }

// KeyRefuser says why a key that is not a field is refused, where there is more to say than that
// it is unknown.
type KeyRefuser interface {
	RefusedKey(key string) (why string, ok bool)
}

// Decoder decodes nodes into Go values and collects what is wrong. The zero value is ready.
//
// Struct fields are named by the tag `yaml:"key"`; "-" leaves a field out, the option "inline"
// takes an embedded struct's keys as one's own, "positive" refuses a number or duration that is
// written and not above zero. An unknown key is an error. Values that are absent, and lists and
// mappings that are null, leave the Go value as it was, which is how defaults are given.
type Decoder struct {
	// Problems are all problems met so far: the first hundred errors, and as many others.
	Problems Problems

	errors, others int
}

// Decode decodes n into v, a non-nil pointer, and returns all problems.
func Decode(n *Node, v any) Problems {
	var d Decoder
	d.Decode(n, v)
	return d.Problems
}

// Decode decodes n into v, a non-nil pointer.
func (d *Decoder) Decode(n *Node, v any) { d.value(n, reflect.ValueOf(v).Elem()) }

// Errorf reports an error at a node.
func (d *Decoder) Errorf(n *Node, format string, args ...any) {
	d.Report(n.At(Error, "", format, args...))
}

// Report adds a problem. Errors and others are counted apart, so that no number of warnings hides
// an error.
func (d *Decoder) Report(p Problem) {
	count := &d.others
	if p.Severity == Error {
		count = &d.errors
	}
	*count++
	switch {
	case *count <= maxProblems:
		d.Problems = append(d.Problems, p)
	case *count == maxProblems+1:
		d.Problems = append(d.Problems, Problem{File: p.File, Severity: p.Severity, Message: "too many problems: the rest is not listed"})
	}
}

func (d *Decoder) value(n *Node, v reflect.Value) {
	if n.unresolved && v.Type() != reflect.TypeFor[string]() {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case Unmarshaler:
		target.UnmarshalNode(n, d)
		return
	case *json.RawMessage:
		d.raw(n, target)
		return
	case *time.Duration:
		d.duration(n, target)
		return
	case *time.Time:
		d.time(n, target)
		return
	case *netip.Prefix:
		d.prefix(n, target)
		return
	case encoding.TextUnmarshaler:
		if d.scalar(n, "a string") {
			if err := target.UnmarshalText([]byte(n.Text)); err != nil {
				d.Errorf(n, "%s: %s", n.Quote(), err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Slice:
		d.slice(n, v)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.String:
		if n.Kind != String {
			d.wrong(n, "a string")
			return
		}
		v.SetString(n.Text)
	case reflect.Bool:
		d.boolean(n, v)
	case reflect.Int, reflect.Int64:
		d.integer(n, v)
	case reflect.Float64:
		d.float(n, v)
	default:
		panic(fmt.Sprintf("document: no decoding into %s", v.Type()))
	}
}

func (d *Decoder) wrong(n *Node, want string) {
	if n.Kind == Null {
		d.Errorf(n, "must be %s, and there is nothing", want)
		return
	}
	d.Errorf(n, "must be %s, not %s", want, n.Kind)
}

// scalar reports whether n is one value, and the problem when it is not.
func (d *Decoder) scalar(n *Node, want string) bool {
	if n.Kind == String || n.Kind == Number || n.Kind == Bool {
		return true
	}
	d.wrong(n, want)
	return false
}

func (d *Decoder) boolean(n *Node, v reflect.Value) {
	switch text := strings.ToLower(n.Text); {
	case n.Kind != Bool && !n.Loose, text != "true" && text != "false":
		d.wrong(n, "true or false")
	default:
		v.SetBool(text == "true")
	}
}

func (d *Decoder) integer(n *Node, v reflect.Value) {
	i, err := strconv.ParseInt(n.Text, 0, 64)
	if n.Kind != Number && !n.Loose || err != nil || v.OverflowInt(i) {
		d.wrong(n, "a whole number")
		return
	}
	v.SetInt(i)
}

func (d *Decoder) float(n *Node, v reflect.Value) {
	f, err := strconv.ParseFloat(n.Text, 64)
	if n.Kind != Number && !n.Loose || err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.wrong(n, "a number")
		return
	}
	v.SetFloat(f)
}

func (d *Decoder) duration(n *Node, target *time.Duration) {
	if !d.scalar(n, "a duration") {
		return
	}
	parsed, err := time.ParseDuration(n.Text)
	switch {
	case err != nil:
		d.Errorf(n, "%s is not a duration: write a number with a unit, like 250ms, 5s or 2m", n.Quote())
	case parsed < 0:
		d.Errorf(n, "a duration must not be negative")
	default:
		*target = parsed
	}
}

func (d *Decoder) time(n *Node, target *time.Time) {
	if !d.scalar(n, "a time") {
		return
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if parsed, err := time.Parse(layout, n.Text); err == nil {
			*target = parsed.UTC()
			return
		}
	}
	d.Errorf(n, "%s is not a time: write 2006-01-02T15:04:05Z or 2006-01-02", n.Quote())
}

// prefix reads an address block, or an address as the block of itself alone.
func (d *Decoder) prefix(n *Node, target *netip.Prefix) {
	if !d.scalar(n, "an address or a prefix") {
		return
	}
	prefix, err := ParsePrefix(n.Text)
	if err != nil {
		d.Errorf(n, "%s is not an address or a prefix like 10.0.0.0/8", n.Quote())
		return
	}
	*target = prefix
}

// ParsePrefix reads "10.0.0.0/8", or "10.0.0.1" as "10.0.0.1/32". The result is masked, and IPv4
// when the address is IPv4 written as IPv6.
func ParsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if !strings.Contains(s, "/") {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(s); err == nil && addr.Zone() != "" {
			err = fmt.Errorf("a zone has no meaning here")
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("prefix spans more than IPv4")
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

func (d *Decoder) slice(n *Node, v reflect.Value) {
	items := n.Items
	switch {
	case n.Kind == Null:
		return
	case n.Loose:
		items = n.split()
	case n.Kind != Sequence && n.Kind != Mapping && v.Type().Elem().Kind() != reflect.Struct:
		items = []*Node{n}
	case n.Kind != Sequence:
		d.wrong(n, "a list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		setDefaults(out.Index(i))
		d.value(item, out.Index(i))
	}
	v.Set(out)
}

func (d *Decoder) mapping(n *Node, v reflect.Value) {
	fields := n.Fields
	switch {
	case n.Kind == Null:
		return
	case n.Loose:
		for _, item := range n.split() {
			key, value, ok := strings.Cut(item.Text, "=")
			if !ok {
				d.Errorf(n, "must be key=value pairs separated by commas")
				return
			}
			item.Text = value
			fields = append(fields, Field{Key: key, Value: item})
		}
	case n.Kind != Mapping:
		d.wrong(n, "a mapping")
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(fields))
	for _, f := range fields {
		value := reflect.New(v.Type().Elem()).Elem()
		setDefaults(value)
		d.value(f.Value, value)
		out.SetMapIndex(reflect.ValueOf(f.Key), value)
	}
	v.Set(out)
}

func setDefaults(v reflect.Value) {
	if def, ok := v.Addr().Interface().(Defaulter); ok {
		def.SetDefaults()
	}
}

// split makes the elements of a list out of a loose string.
func (n *Node) split() []*Node {
	var out []*Node
	for part := range strings.SplitSeq(n.Text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			item := *n
			item.Text = part
			out = append(out, &item)
		}
	}
	return out
}
