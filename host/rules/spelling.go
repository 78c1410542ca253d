package rules

import (
	"slices"
	"strings"
)

// decodeRounds is how often a path is decoded before it is taken for hostile.
const decodeRounds = 3

// plain reports whether the path can be read in one way only.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ', c == 0x7f, c == '%', c == '\\', c == ';', c == '?', c == '#':
			return false
		case c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.'):
			return false
		}
	}
	return path != ""
}

// readings are the ways in which servers may read one path.
type readings struct {
	forms   []string
	hostile bool // climbs, holds control characters, or was escaped again and again
}

// read lists the readings of a path that is not plain.
func read(path string) readings {
	var r readings
	if path == "" {
		path = "/"
	}
	once, escaped := decode(path, false)
	r.base(once)
	if kept, _ := decode(path, true); escaped && kept != once {
		r.base(kept)
	}
	for round := 1; escaped; round++ {
		again, more := decode(once, false)
		if !more {
			break
		}
		if round == decodeRounds {
			r.hostile = true
			break
		}
		r.base(again)
		once, escaped = again, more
	}
	return r
}

// base adds a decoded path and what can be made of it.
func (r *readings) base(path string) {
	r.hostile = r.hostile || hasControl(path)
	r.slashed(path)
	if strings.Contains(path, `\`) {
		r.slashed(strings.ReplaceAll(path, `\`, "/"))
	}
}

func (r *readings) slashed(path string) {
	r.cleaned(path)
	if strings.ContainsAny(path, ";?#") {
		r.cleaned(stripParameters(path))
	}
}

func (r *readings) cleaned(path string) {
	r.add(path)
	clean, climbs := resolve(path, false)
	r.hostile = r.hostile || climbs
	r.add(clean)
}

func (r *readings) add(path string) {
	if !slices.Contains(r.forms, path) {
		r.forms = append(r.forms, path)
	}
}

// canonical is the reading that patterns are written for: decoded once, dot segments resolved, slashes joined.
func canonical(path string) string {
	if plain(path) {
		return path
	}
	if path == "" {
		return "/"
	}
	path, _ = decode(path, false)
	path, _ = resolve(path, false)
	return path
}

// decode resolves the valid percent escapes of s once (RFC 3986 §2.1) and reports whether there were any. With
// keepSlash, %2F stays, in upper case.
func decode(s string, keepSlash bool) (string, bool) {
	i := strings.IndexByte(s, '%')
	if i < 0 {
		return s, false
	}
	escaped := false
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		c, ok := escape(s, i)
		switch {
		case !ok:
			b = append(b, s[i])
			continue
		case c == '/' && keepSlash:
			b = append(b, "%2F"...)
		default:
			b = append(b, c)
		}
		escaped = true
		i += 2
	}
	if !escaped {
		return s, false
	}
	return string(b), true
}

// escape returns the byte that the escape at s[i] stands for.
func escape(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	hi, ok1 := hexDigit(s[i+1])
	lo, ok2 := hexDigit(s[i+2])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// stripParameters removes from every segment what follows a ";" (RFC 3986 §3.3), and what follows a "?" or "#" that had
// been escaped.
func stripParameters(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	var b strings.Builder
	skip := false
	for i := range len(path) {
		switch path[i] {
		case '/':
			skip = false
		case ';':
			skip = true
		}
		if !skip {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}

// resolve removes "." and ".." segments (RFC 3986 §5.2.4) and empty segments, and reports whether the path climbed above
// its root. A slash at the end stays. With escapes, %2E counts as a dot.
func resolve(path string, escapes bool) (clean string, climbs bool) {
	if !untidy(path, escapes) {
		return path, false
	}
	out := make([]byte, 0, len(path)+1)
	directory := true // whether the path ends in a directory: in a slash or a dot segment
	for rest := path; rest != ""; {
		var segment string
		segment, rest, directory = strings.Cut(rest, "/")
		switch dots(segment, escapes) {
		case 1:
			directory = true
			continue
		case 2:
			directory = true
			i := strings.LastIndexByte(string(out), '/')
			climbs = climbs || i < 0
			out = out[:max(i, 0)]
			continue
		}
		if segment != "" {
			out = append(append(out, '/'), segment...)
		}
	}
	if directory {
		out = append(out, '/')
	}
	return string(out), climbs
}

// untidy reports whether there is something to resolve.
func untidy(path string, escapes bool) bool {
	for i := range len(path) {
		if path[i] != '/' && i > 0 {
			continue
		}
		segment := path[i:]
		if path[i] == '/' {
			segment = path[i+1:]
		}
		if strings.HasPrefix(segment, "/") {
			return true
		}
		if segment, _, _ = strings.Cut(segment, "/"); dots(segment, escapes) > 0 {
			return true
		}
	}
	return path == "" || path[0] != '/'
}

// dots returns 1 for ".", 2 for "..", else 0.
func dots(segment string, escapes bool) int {
	if escapes && strings.Contains(segment, "%") && len(segment) <= len("%2e%2e") {
		segment, _ = decode(segment, true)
	}
	switch segment {
	case ".":
		return 1
	case "..":
		return 2
	}
	return 0
}
