// Package jsontext makes JavaScript values of JSON text (ECMA-262 §25.5.1), in one pass and as deep as it is told. It takes
// the place of goja's own JSON.parse, which reads each token by itself.
package jsontext

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// Reader reads JSON. It is for the one runtime that it makes values in, and not for concurrent use.
type Reader struct {
	JS *goja.Runtime
	// Text makes bytes, which need not be UTF-8, a string of the runtime.
	Text func(string) goja.Value
	// Depth is how many lists and objects may be nested.
	Depth int
	// GoOn is called once in a while, and panics when the script has to end.
	GoOn func()

	text   string
	at     int
	depth  int
	values int
}

// Read returns the value of a JSON text. The error says what is wrong with it, and where.
func (r *Reader) Read(text string) (v goja.Value, err error) {
	r.text, r.at, r.depth = text, 0, 0
	defer func() { r.text = "" }()
	if v, err = r.value(); err != nil {
		return nil, err
	}
	if r.blank(); r.at < len(r.text) {
		return nil, r.unexpected()
	}
	return v, nil
}

// value reads the value that comes next.
func (r *Reader) value() (goja.Value, error) {
	if r.values++; r.values&1023 == 0 {
		r.GoOn()
	}
	r.blank()
	if r.at == len(r.text) {
		return nil, r.unexpected()
	}
	switch c := r.text[r.at]; {
	case c == '{':
		return r.nested(r.object)
	case c == '[':
		return r.nested(r.array)
	case c == '"':
		return r.string()
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	case r.word("true"):
		return r.JS.ToValue(true), nil
	case r.word("false"):
		return r.JS.ToValue(false), nil
	case r.word("null"):
		return goja.Null(), nil
	}
	return nil, r.unexpected()
}

func (r *Reader) nested(read func() (goja.Value, error)) (goja.Value, error) {
	if r.depth++; r.depth > r.Depth {
		return nil, fmt.Errorf("JSON nested more than %d deep", r.Depth)
	}
	r.at++
	v, err := read()
	r.depth--
	return v, err
}

func (r *Reader) object() (goja.Value, error) {
	o := r.JS.NewObject()
	if r.blank(); r.next('}') {
		return o, nil
	}
	for {
		r.blank()
		if r.at == len(r.text) || r.text[r.at] != '"' {
			return nil, r.unexpected()
		}
		name, err := r.string()
		if err != nil {
			return nil, err
		}
		if r.blank(); !r.next(':') {
			return nil, r.unexpected()
		}
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		// Defined and not set: what the prototype has under the name, __proto__ say, has no part in it.
		if err := o.DefineDataProperty(name.String(), v, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE); err != nil {
			return nil, err
		}
		if r.blank(); r.next('}') {
			return o, nil
		}
		if !r.next(',') {
			return nil, r.unexpected()
		}
	}
}

func (r *Reader) array() (goja.Value, error) {
	if r.blank(); r.next(']') {
		return r.JS.NewArray(), nil
	}
	var items []any
	for {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if r.blank(); r.next(']') {
			return r.JS.NewArray(items...), nil
		}
		if !r.next(',') {
			return nil, r.unexpected()
		}
	}
}

func (r *Reader) number() (goja.Value, error) {
	begun, whole := r.at, true
	r.next('-')
	if !r.next('0') && !r.digits() {
		return nil, r.unexpected()
	}
	if r.next('.') {
		if whole = false; !r.digits() {
			return nil, r.unexpected()
		}
	}
	if r.next('e') || r.next('E') {
		if !r.next('+') {
			r.next('-')
		}
		if whole = false; !r.digits() {
			return nil, r.unexpected()
		}
	}
	text := r.text[begun:r.at]
	if whole && len(text) <= 15 && text != "-0" { // as many digits as any float has
		n, err := strconv.ParseInt(text, 10, 64)
		return r.JS.ToValue(n), err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, err
	}
	return r.JS.ToValue(f), nil
}

func (r *Reader) digits() bool {
	begun := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > begun
}

// string reads a string. Most have nothing to decode.
func (r *Reader) string() (goja.Value, error) {
	r.at++
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			s := r.text[r.at:i]
			r.at = i + 1
			return r.Text(s), nil
		case c == '\\':
			return r.escaped(i)
		case c < ' ':
			r.at = i
			return nil, r.unexpected()
		}
	}
	r.at = len(r.text)
	return nil, r.unexpected()
}

// escaped reads a string whose first escape is at i.
func (r *Reader) escaped(i int) (goja.Value, error) {
	b := append(make([]byte, 0, i-r.at+32), r.text[r.at:i]...)
	var units []uint16 // in place of b, from the first half of a pair without the other on
	for r.at = i; r.at < len(r.text); {
		c := r.text[r.at]
		switch {
		case c == '"':
			r.at++
			if units != nil {
				return goja.StringFromUTF16(units), nil
			}
			return r.Text(string(b)), nil
		case c < ' ':
			return nil, r.unexpected()
		case c != '\\':
			_, size := utf8.DecodeRuneInString(r.text[r.at:])
			b, units = r.add(b, units, r.text[r.at:r.at+size])
			r.at += size
			continue
		}
		unit, err := r.escape()
		if err != nil {
			return nil, err
		}
		low := uint16(0)
		if unit>>10 == 0xD800>>10 && r.at+6 <= len(r.text) && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
			if second, ok := r.hex(r.at + 2); ok && second>>10 == 0xDC00>>10 {
				low = second
				r.at += 6
			}
		}
		switch {
		case low != 0:
			b, units = r.add(b, units, string(0x10000+rune(unit&0x3ff)<<10+rune(low&0x3ff)))
		case unit>>11 != 0xD800>>11:
			b, units = r.add(b, units, string(rune(unit)))
		default: // alone: no UTF-8 has it
			if units == nil {
				units = appendUnits([]uint16{}, r.Text(string(b)))
			}
			units = append(units, unit)
		}
	}
	return nil, r.unexpected()
}

func (r *Reader) add(b []byte, units []uint16, s string) ([]byte, []uint16) {
	if units != nil {
		return b, appendUnits(units, r.Text(s))
	}
	return append(b, s...), nil
}

func appendUnits(units []uint16, v goja.Value) []uint16 {
	s, ok := v.(goja.String)
	for i := 0; ok && i < s.Length(); i++ {
		units = append(units, s.CharAt(i))
	}
	return units
}

// escape reads one escape and returns its code unit.
func (r *Reader) escape() (uint16, error) {
	if r.at++; r.at == len(r.text) {
		return 0, r.unexpected()
	}
	c := r.text[r.at]
	switch c {
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case '"', '\\', '/':
	case 'u':
		unit, ok := r.hex(r.at + 1)
		if !ok {
			return 0, r.unexpected()
		}
		r.at += 5
		return unit, nil
	default:
		return 0, r.unexpected()
	}
	r.at++
	return uint16(c), nil
}

func (r *Reader) hex(at int) (uint16, bool) {
	if at+4 > len(r.text) {
		return 0, false
	}
	var n uint16
	for _, c := range []byte(r.text[at : at+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | uint16(c)
	}
	return n, true
}

func (r *Reader) blank() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

func (r *Reader) next(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *Reader) word(w string) bool {
	if len(r.text)-r.at >= len(w) && r.text[r.at:r.at+len(w)] == w {
		r.at += len(w)
		return true
	}
	return false
}

func (r *Reader) unexpected() error {
	if r.at >= len(r.text) {
		return fmt.Errorf("unexpected end of JSON")
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.at:])
	return fmt.Errorf("unexpected %q in JSON at byte %d", c, r.at)
}
