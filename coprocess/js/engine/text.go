package engine

import (
	"strings"
	"unicode/utf8"

	"github.com/dop251/goja"
)

// Bytes that are no UTF-8 travel as code units of their own, low surrogates that no text has alone.
const (
	escapeFirst = 0xDC80
	escapeLast  = 0xDCFF
)

// Text makes bytes a JavaScript string: UTF-8 becomes its characters, and each byte of what is none one code unit from
// U+DC80 to U+DCFF, so that [Bytes] gives back every byte.
func (vm *VM) Text(s string) goja.Value {
	if utf8.ValidString(s) {
		return vm.JS.ToValue(s)
	}
	units := make([]uint16, 0, len(s))
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			units = append(units, 0xDC00|uint16(s[0]))
		case r >= 0x10000:
			r -= 0x10000
			units = append(units, 0xD800|uint16(r>>10), 0xDC00|uint16(r&0x3ff))
		default:
			units = append(units, uint16(r))
		}
		s = s[size:]
	}
	return goja.StringFromUTF16(units)
}

// Bytes makes a JavaScript string bytes again; of any other value, what String() makes of it.
func Bytes(v goja.Value) string {
	s, ok := v.(goja.String)
	if !ok {
		if s, ok = v.ToString().(goja.String); !ok {
			return v.String()
		}
	}
	text := s.String()
	n := s.Length()
	if len(text) == n || !strings.Contains(text, "\uFFFD") {
		return text // nothing but ASCII, or nothing that is not text
	}
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < n; i++ {
		switch c := s.CharAt(i); {
		case c >= escapeFirst && c <= escapeLast:
			b.WriteByte(byte(c))
		case c >= 0xD800 && c < 0xDC00 && i+1 < n && s.CharAt(i+1)>>10 == 0xDC00>>10:
			b.WriteRune(0x10000 + rune(c&0x3ff)<<10 + rune(s.CharAt(i+1)&0x3ff))
			i++
		case c >= 0xD800 && c <= 0xDFFF:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(rune(c))
		}
	}
	return b.String()
}

// Data returns the bytes of what an API takes as data: a string, a Uint8Array or another view, or an ArrayBuffer.
// Anything else is a TypeError. nil is for nothing, undefined or null. What the script can still change is copied.
func (vm *VM) Data(v goja.Value) []byte {
	if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
		return nil
	}
	if s, ok := v.(goja.String); ok {
		return []byte(Bytes(s))
	}
	switch b := v.Export().(type) {
	case []byte:
		return append([]byte{}, b...)
	case goja.ArrayBuffer:
		return append([]byte{}, b.Bytes()...)
	case string: // an object around one
		return []byte(Bytes(v))
	}
	panic(vm.JS.NewTypeError("want a string, a Uint8Array or an ArrayBuffer"))
}

// Uint8Array returns bytes, which it copies, as a script's bytes.
func (vm *VM) Uint8Array(b []byte) goja.Value {
	buffer := vm.JS.NewArrayBuffer(append([]byte{}, b...))
	array, err := vm.JS.New(vm.bytesOf, vm.JS.ToValue(buffer))
	if err != nil {
		panic(err)
	}
	return array
}
