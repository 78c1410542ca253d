package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"
)

// tellEvery is how often it is told that something goes on being lost.
const tellEvery = 10 * time.Second

// logWriter writes whole lines to a writer that may fail, and says what was lost. It belongs to one goroutine.
type logWriter struct {
	w    io.Writer
	fail func(error)

	torn  bool  // what was written last did not end its line
	cause error // of the latest failure, until it is told
	told  time.Time
	known uint64 // lost lines that fail was told of
}

var errSlowWriter = errors.New("the writer is too slow")

// write writes some lines and returns how many were lost. It does not try again: what comes is newer.
func (o *logWriter) write(p []byte, lines uint64) (lost uint64) {
	if o.torn {
		if _, err := io.WriteString(o.w, "\n"); err != nil {
			o.cause = err
			return lines
		}
		o.torn = false
	}
	n, err := o.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err == nil {
		return 0
	}
	o.cause = err
	n = min(max(n, 0), len(p))
	o.torn = n > 0 && p[n-1] != '\n'
	return lines - uint64(bytes.Count(p[:n], []byte{'\n'}))
}

// tell tells of what was lost since it last did, when that is not too short ago. dropped counts all that ever was.
func (o *logWriter) tell(dropped uint64, last bool) {
	if o.fail == nil || dropped == o.known && o.cause == nil {
		return
	}
	now := time.Now()
	if !last && !o.told.IsZero() && now.Sub(o.told) < tellEvery {
		return
	}
	cause := o.cause
	if cause == nil {
		cause = errSlowWriter
	}
	o.fail(fmt.Errorf("access log: %d lines lost: %w", dropped-o.known, cause))
	o.told, o.known, o.cause = now, dropped, nil
}

func text(b []byte, s string, present bool) ([]byte, bool) {
	if !present {
		return b, false
	}
	b = append(b, '"')
	return append(quote(b, cut(s)), '"'), true
}

// cut bounds a value.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

const hexDigits = "0123456789abcdef"

// quote appends s as the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD; all control characters are
// escaped, those above ASCII too, so that a line does nothing to a terminal.
func quote(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		if len(s)-i >= 8 && plain(s[i:i+8]) {
			i += 8
			continue
		}
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
			if r > 0x9f && (r != utf8.RuneError || n > 1) {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch {
		case r == utf8.RuneError:
			b = append(b, "\ufffd"...)
		case r == '"' || r == '\\':
			b = append(b, '\\', c)
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		}
		i += n
		start = i
	}
	return append(b, s[start:]...)
}

// plain reports whether none of 8 bytes needs escaping, all at once: most values are paths and names that never do.
func plain(s string) bool {
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quotes, slashes, deletes := x^ones*'"', x^ones*'\\', x^ones*0x7f // zero where the byte is that
	odd := (x - ones*' ') &^ x                                       // the top bit of a byte below a space
	odd |= (quotes-ones)&^quotes | (slashes-ones)&^slashes | (deletes-ones)&^deletes
	return (odd|x)&tops == 0
}
