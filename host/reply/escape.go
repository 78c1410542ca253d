package reply

import (
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendEscaped appends s as it may stand in a document of that format. Bytes that are no UTF-8 become U+FFFD.
func appendEscaped(b []byte, f format, s string) []byte {
	escape := escapeJSON
	if f == formatXML {
		escape = escapeXML
	}
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf && c >= ' ' && c != 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != '\'' {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		b = append(b, s[start:i]...)
		if r == utf8.RuneError && size == 1 {
			b = append(b, "\ufffd"...)
		} else {
			b = escape(b, r)
		}
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

// escapeJSON appends a rune of a JSON string (RFC 8259 §7). What HTML knows is escaped too, for readers that sniff, and
// the line separators that JavaScript once did not allow in strings.
func escapeJSON(b []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(b, '\\', byte(r))
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	case '<', '>', '&', 0x7f, '\u2028', '\u2029':
	case '\'':
		return append(b, '\'')
	default:
		if r >= ' ' {
			return utf8.AppendRune(b, r)
		}
	}
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// escapeXML appends a rune of XML text or of an attribute. What XML 1.0 §2.2 does not allow becomes U+FFFD.
func escapeXML(b []byte, r rune) []byte {
	switch r {
	case '"':
		return append(b, "&#34;"...)
	case '\'':
		return append(b, "&#39;"...)
	case '<':
		return append(b, "&lt;"...)
	case '>':
		return append(b, "&gt;"...)
	case '&':
		return append(b, "&amp;"...)
	case '\t':
		return append(b, "&#x9;"...)
	case '\n':
		return append(b, "&#xA;"...)
	case '\r':
		return append(b, "&#xD;"...)
	case '\ufffe', '\uffff':
		r = utf8.RuneError
	}
	if r < ' ' {
		r = utf8.RuneError
	}
	return utf8.AppendRune(b, r)
}
