package record

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// writer writes one JSON object (RFC 8259), field by field, and of that what is in on.
type writer struct {
	b    []byte
	on   set
	more bool // something stands before in the object
}

// name begins a member, or says that nobody wants it.
func (w *writer) name(f field, name string) bool {
	if !w.on.has(f) {
		return false
	}
	w.member(name)
	return true
}

func (w *writer) member(name string) {
	if w.more {
		w.b = append(w.b, ',')
	}
	w.more = true
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// open begins an object that has the fields from a to b, or says that nobody wants any of it.
func (w *writer) open(a, b field, name string) bool {
	if !w.on.any(a, b) {
		return false
	}
	w.member(name)
	w.b = append(w.b, '{')
	w.more = false
	return true
}

func (w *writer) close() {
	w.b = append(w.b, '}')
	w.more = true
}

// text writes a member; an empty one is left out.
func (w *writer) text(f field, name, value string) {
	if value != "" && w.name(f, name) {
		w.b = appendString(w.b, value)
	}
}

func (w *writer) integer(f field, name string, value int64) {
	if w.name(f, name) {
		w.b = strconv.AppendInt(w.b, value, 10)
	}
}

func (w *writer) moment(f field, name string, t time.Time) {
	if w.name(f, name) {
		w.b = append(w.b, '"')
		w.b = t.UTC().AppendFormat(w.b, "2006-01-02T15:04:05.000000Z")
		w.b = append(w.b, '"')
	}
}

func (w *writer) millis(f field, name string, d time.Duration) {
	if w.name(f, name) {
		w.b = appendMillis(w.b, d)
	}
}

// appendMillis writes a duration in milliseconds with three decimals, the last of which is a microsecond.
func appendMillis(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	if us %= 1000; us > 0 {
		b = append(b, '.', '0'+byte(us/100), '0'+byte(us/10%10), '0'+byte(us%10))
	}
	return b
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			b = append(append(b, s[start:i]...), "\ufffd"...)
		} else {
			b = append(b, s[start:i]...)
			b = appendEscape(b, c)
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
