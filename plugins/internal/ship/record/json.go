package record

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/internal/instant"
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
	w.b = w.member(name)
	return true
}

// member returns the object with the name of its next member.
func (w *writer) member(name string) []byte {
	b := w.b
	if w.more {
		b = append(b, ',', '"')
	} else {
		b = append(b, '"')
	}
	w.more = true
	b = append(b, name...)
	return append(b, '"', ':')
}

// open begins an object that has the fields from a to b, or says that nobody wants any of it.
func (w *writer) open(a, b field, name string) bool {
	if !w.on.any(a, b) {
		return false
	}
	w.b = append(w.member(name), '{')
	w.more = false
	return true
}

func (w *writer) close() {
	w.b = append(w.b, '}')
	w.more = true
}

// text writes a member; an empty one is left out.
func (w *writer) text(f field, name, value string) {
	if value != "" && w.on.has(f) {
		w.b = appendString(w.member(name), value)
	}
}

func (w *writer) integer(f field, name string, value int64) {
	if w.on.has(f) {
		w.b = strconv.AppendInt(w.member(name), value, 10)
	}
}

func (w *writer) moment(f field, name string, t time.Time) {
	if w.on.has(f) {
		w.b = append(instant.Append(append(w.member(name), '"'), t), '"')
	}
}

func (w *writer) millis(f field, name string, d time.Duration) {
	if w.on.has(f) {
		w.b = appendMillis(w.member(name), d)
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
		if i+8 <= len(s) && plain(s[i:]) {
			i += 8
			continue
		}
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

// plain reports whether each of the first 8 bytes is ASCII that stands in a string as it is, all at once: most of what is
// written are names, paths and addresses.
func plain(s string) bool {
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quotes, slashes := x^ones*'"', x^ones*'\\' // zero where the byte is that
	odd := (x - ones*' ') &^ x                 // the top bit of a byte below a space, or of one above such a byte
	odd |= (quotes-ones)&^quotes | (slashes-ones)&^slashes
	return (odd|x)&tops == 0
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
