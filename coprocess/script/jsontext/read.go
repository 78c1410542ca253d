// Package jsontext reads JSON text (RFC 8259) into the values of an interpreter, in one pass and as deep as it is told. It
// takes the place of encoding/json, which hands out each token by itself, and of what interpreters have for it.
package jsontext

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Make is how the values of an interpreter are made.
type Make[V any] struct {
	Null, True, False V
	Whole             func(int64) V
	Number            func(float64) V
	// Text is given bytes, which need not be UTF-8.
	Text func(string) V
	// Units is given the UTF-16 of a string that no UTF-8 has, with half a surrogate pair in it.
	Units  func([]uint16) V
	Object func() V
	// Member defines a member of an object, in place of one of that name.
	Member func(object V, name string, value V) error
	List   func([]V) V
}

// Reader reads JSON. It is not for concurrent use.
type Reader[V any] struct {
	Make[V]
	// Depth is how many lists and objects may be nested.
	Depth int
	// GoOn is called once in a while. Its error ends the reading.
	GoOn func() error

	text   string
	at     int
	depth  int
	values int
}

// Read returns the value of a JSON text. The error says what is wrong with it, and where.
func (r *Reader[V]) Read(text string) (v V, err error) {
	r.text, r.at, r.depth = text, 0, 0
	defer func() { r.text = "" }()
	if v, err = r.value(); err != nil {
		return v, err
	}
	if r.blank(); r.at < len(r.text) {
		err = r.unexpected()
	}
	return v, err
}

// value reads the value that comes next.
func (r *Reader[V]) value() (v V, err error) {
	if r.values++; r.values&1023 == 0 {
		if err := r.GoOn(); err != nil {
			return v, err
		}
	}
	r.blank()
	if r.at == len(r.text) {
		return v, r.unexpected()
	}
	switch c := r.text[r.at]; {
	case c == '{':
		return r.nested(r.object)
	case c == '[':
		return r.nested(r.array)
	case c == '"':
		name, units, err := r.string()
		if units != nil {
			return r.Units(units), err
		}
		return r.Text(name), err
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	case r.word("true"):
		return r.True, nil
	case r.word("false"):
		return r.False, nil
	case r.word("null"):
		return r.Null, nil
	}
	return v, r.unexpected()
}

func (r *Reader[V]) nested(read func() (V, error)) (v V, err error) {
	if r.depth++; r.depth > r.Depth {
		return v, fmt.Errorf("JSON nested more than %d deep", r.Depth)
	}
	r.at++
	v, err = read()
	r.depth--
	return v, err
}

func (r *Reader[V]) object() (V, error) {
	o := r.Object()
	if r.blank(); r.next('}') {
		return o, nil
	}
	for {
		r.blank()
		if r.at == len(r.text) || r.text[r.at] != '"' {
			return o, r.unexpected()
		}
		name, units, err := r.string()
		if err != nil {
			return o, err
		}
		if units != nil {
			name = string(utf16.Decode(units))
		}
		if r.blank(); !r.next(':') {
			return o, r.unexpected()
		}
		v, err := r.value()
		if err != nil {
			return o, err
		}
		if err := r.Member(o, name, v); err != nil {
			return o, err
		}
		if r.blank(); r.next('}') {
			return o, nil
		}
		if !r.next(',') {
			return o, r.unexpected()
		}
	}
}

func (r *Reader[V]) array() (v V, err error) {
	if r.blank(); r.next(']') {
		return r.List(nil), nil
	}
	var items []V
	for {
		item, err := r.value()
		if err != nil {
			return v, err
		}
		items = append(items, item)
		if r.blank(); r.next(']') {
			return r.List(items), nil
		}
		if !r.next(',') {
			return v, r.unexpected()
		}
	}
}

func (r *Reader[V]) number() (v V, err error) {
	begun, whole := r.at, true
	r.next('-')
	if !r.next('0') && !r.digits() {
		return v, r.unexpected()
	}
	if r.next('.') {
		if whole = false; !r.digits() {
			return v, r.unexpected()
		}
	}
	if r.next('e') || r.next('E') {
		if !r.next('+') {
			r.next('-')
		}
		if whole = false; !r.digits() {
			return v, r.unexpected()
		}
	}
	text := r.text[begun:r.at]
	if whole && len(text) <= 15 && text != "-0" { // as many digits as any float has
		n, err := strconv.ParseInt(text, 10, 64)
		return r.Whole(n), err
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return v, err
	}
	return r.Number(f), nil
}

func (r *Reader[V]) digits() bool {
	begun := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > begun
}

// string reads a string: text, or where that cannot be, units. Most have nothing to decode.
func (r *Reader[V]) string() (string, []uint16, error) {
	r.at++
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			s := r.text[r.at:i]
			r.at = i + 1
			return s, nil, nil
		case c == '\\':
			return r.escaped(i)
		case c < ' ':
			r.at = i
			return "", nil, r.unexpected()
		}
	}
	r.at = len(r.text)
	return "", nil, r.unexpected()
}

// escaped reads a string whose first escape is at i.
func (r *Reader[V]) escaped(i int) (string, []uint16, error) {
	b := append(make([]byte, 0, i-r.at+32), r.text[r.at:i]...)
	var units []uint16 // in place of b, from the first half of a pair without the other on
	for r.at = i; r.at < len(r.text); {
		c := r.text[r.at]
		switch {
		case c == '"':
			r.at++
			return string(b), units, nil
		case c < ' ':
			return "", nil, r.unexpected()
		case c != '\\':
			char, size := utf8.DecodeRuneInString(r.text[r.at:])
			if units != nil {
				units = utf16.AppendRune(units, char)
			} else {
				b = append(b, r.text[r.at:r.at+size]...)
			}
			r.at += size
			continue
		}
		char, err := r.character()
		switch {
		case err != nil:
			return "", nil, err
		case units == nil && utf16.IsSurrogate(char):
			units = append(utf16.Encode([]rune(string(b))), uint16(char))
		case utf16.IsSurrogate(char):
			units = append(units, uint16(char))
		case units != nil:
			units = utf16.AppendRune(units, char)
		default:
			b = utf8.AppendRune(b, char)
		}
	}
	return "", nil, r.unexpected()
}

// character reads one escape, or the two of a surrogate pair. Half a pair is returned as it is.
func (r *Reader[V]) character() (rune, error) {
	unit, err := r.escape()
	if err != nil || unit>>10 != 0xD800>>10 || r.at+6 > len(r.text) || r.text[r.at] != '\\' || r.text[r.at+1] != 'u' {
		return rune(unit), err
	}
	if low, ok := r.hex(r.at + 2); ok && low>>10 == 0xDC00>>10 {
		r.at += 6
		return utf16.DecodeRune(rune(unit), rune(low)), nil
	}
	return rune(unit), nil
}

// escape reads one escape and returns its code unit.
func (r *Reader[V]) escape() (uint16, error) {
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

func (r *Reader[V]) hex(at int) (uint16, bool) {
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

func (r *Reader[V]) blank() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

func (r *Reader[V]) next(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *Reader[V]) word(w string) bool {
	if len(r.text)-r.at >= len(w) && r.text[r.at:r.at+len(w)] == w {
		r.at += len(w)
		return true
	}
	return false
}

func (r *Reader[V]) unexpected() error {
	if r.at >= len(r.text) {
		return errors.New("unexpected end of JSON")
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.at:])
	return fmt.Errorf("unexpected %q in JSON at byte %d", c, r.at)
}
