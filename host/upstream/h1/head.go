package h1

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A head is the part of a reply before its body, and what it says about the connection.
type head struct {
	status  int
	minor   int   // HTTP/1.minor
	length  int64 // Content-Length, -1 without one
	chunked bool
	close   bool   // Connection: close, or HTTP/1.0
	named   bool   // Connection lists fields of its own
	upgrade string // the Upgrade field's value
	fields  []sdk.Field
}

// A scan looks for the end of a head in a buffer that fills up. It keeps its place between calls.
type scan struct {
	line  int // where the current line begins
	first int // length of the first line with its end, 0 before it is complete
	lines int
}

// find returns the length of the head at the start of b, 0 when more is needed. A line that does not end in CRLF is
// refused at once: a bare LF is one of the classic differences between two parsers (RFC 9112 §2.2, §11.1).
func (s *scan) find(b []byte, maxFields int) (int, error) {
	for {
		i := bytes.IndexByte(b[s.line:], '\n')
		if i < 0 {
			return 0, nil
		}
		end := s.line + i
		if i == 0 || b[end-1] != '\r' {
			return 0, fmt.Errorf("line %d ends in a bare LF (RFC 9112 §2.2)", s.lines+1)
		}
		if i == 1 && s.lines > 0 {
			return end + 1, nil
		}
		if s.lines++; s.lines == 1 {
			s.first = i + 1
		} else if s.lines > maxFields+1 {
			return 0, fmt.Errorf("header has more than %d fields", maxFields)
		}
		s.line = end + 1
	}
}

// parse reads a whole head, block, whose first line with its end has the length first. Fields are appended to
// h.fields and share block's memory. Whatever two parsers could read differently is refused (RFC 9112 §11.1, §11.2).
func (h *head) parse(block string, first int) error {
	if err := h.statusLine(block[:first-2]); err != nil {
		return err
	}
	h.length, h.chunked, h.close, h.named, h.upgrade = -1, false, h.minor == 0, false, ""
	coded := false
	for rest := block[first : len(block)-2]; rest != ""; {
		end := strings.IndexByte(rest, '\n')
		line := rest[:end-1]
		rest = rest[end+1:]
		f, err := parseField(line)
		if err != nil {
			return err
		}
		switch len(f.Name) {
		case 7:
			if sdk.EqualFold(f.Name, "Upgrade") {
				if h.upgrade != "" {
					h.upgrade += ","
				}
				h.upgrade += f.Value
			}
		case 10:
			if sdk.EqualFold(f.Name, "Connection") {
				h.connection(f.Value)
			}
		case 14:
			if sdk.EqualFold(f.Name, "Content-Length") {
				if h.length >= 0 {
					return fmt.Errorf("two Content-Length fields (RFC 9112 §6.3)")
				}
				if h.length, err = parseLength(f.Value); err != nil {
					return err
				}
			}
		case 17:
			if sdk.EqualFold(f.Name, "Transfer-Encoding") {
				if coded || !sdk.EqualFold(f.Value, "chunked") {
					return fmt.Errorf("transfer coding %q: only chunked, once, is understood (RFC 9112 §6.1)", clip(f.Value))
				}
				coded = true
			}
		}
		h.fields = append(h.fields, f)
	}
	switch {
	case coded && h.length >= 0:
		return fmt.Errorf("both Transfer-Encoding and Content-Length (RFC 9112 §6.3)")
	case coded && h.minor == 0:
		return fmt.Errorf("Transfer-Encoding in HTTP/1.0 (RFC 9112 §6.1)")
	case h.length > 0 && h.status < 200:
		return fmt.Errorf("Content-Length in a %d (RFC 9110 §8.6)", h.status)
	case coded && (h.status < 200 || h.status == 204):
		return fmt.Errorf("Transfer-Encoding in a %d (RFC 9112 §6.1)", h.status)
	}
	h.chunked = coded
	return nil
}

// statusLine reads HTTP-version SP status-code SP [reason]; the last blank may be missing, as it often is.
func (h *head) statusLine(line string) error {
	ok := len(line) >= 12 && line[:7] == "HTTP/1." && (line[7] == '0' || line[7] == '1') && line[8] == ' ' &&
		(len(line) == 12 || line[12] == ' ')
	if !ok {
		return fmt.Errorf("status line %q is not that of an HTTP/1 reply (RFC 9112 §4)", clip(line))
	}
	status := 0
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return fmt.Errorf("status code %q (RFC 9112 §4)", line[9:12])
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 || status > 599 {
		return fmt.Errorf("status code %d has no class (RFC 9110 §15)", status)
	}
	if !sdk.ValidFieldValue(line[12:]) {
		return fmt.Errorf("control character in reason phrase %q", clip(line[12:]))
	}
	h.status, h.minor = status, int(line[7]-'0')
	return nil
}

// connection notes what a Connection field says (RFC 9110 §7.6.1).
func (h *head) connection(value string) {
	if sdk.EqualFold(value, "keep-alive") {
		return
	}
	for part := range strings.SplitSeq(value, ",") {
		switch part = strings.Trim(part, " \t"); {
		case sdk.EqualFold(part, "close"):
			h.close = true
		case part != "" && !sdk.EqualFold(part, "keep-alive") && !sdk.EqualFold(part, "upgrade"):
			h.named = true
		}
	}
}

// parseField reads one field line without its end. Blanks before the colon and continued lines are refused (RFC 9112
// §5.1, §5.2), as are control characters in the value.
func parseField(line string) (sdk.Field, error) {
	colon := strings.IndexByte(line, ':')
	if colon < 0 {
		return sdk.Field{}, fmt.Errorf("header line %q has no colon", clip(line))
	}
	f := sdk.Field{Name: line[:colon], Value: line[colon+1:]}
	if len(f.Value) > 0 && f.Value[0] == ' ' { // one blank is what everybody writes
		f.Value = f.Value[1:]
	}
	if n := len(f.Value); n > 0 && (f.Value[0] <= ' ' || f.Value[n-1] <= ' ') {
		f.Value = strings.Trim(f.Value, " \t")
	}
	if !sdk.ValidToken(f.Name) {
		return f, fmt.Errorf("header name %q (RFC 9112 §5.1)", clip(f.Name))
	}
	if !sdk.ValidFieldValue(f.Value) {
		return f, fmt.Errorf("control character in the value of %s: %q (RFC 9110 §5.5)", clip(f.Name), clip(f.Value))
	}
	return f, nil
}

// parseLength reads a Content-Length: digits only, no list, no sign (RFC 9110 §8.6).
func parseLength(s string) (int64, error) {
	if s == "" || len(s) > 18 {
		return 0, fmt.Errorf("Content-Length %q (RFC 9110 §8.6)", clip(s))
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, fmt.Errorf("Content-Length %q (RFC 9110 §8.6)", clip(s))
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
