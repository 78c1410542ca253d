package rules

import (
	"bytes"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const (
	decodeRounds = 3       // how often a path is decoded before it is taken for hostile
	maxAmbiguous = 4 << 10 // bytes of a path that is compared in all its readings; a longer one is hostile
)

// plain reports whether the path can be read in one way only.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ', c == 0x7f, c == '%', c == '\\', c == ';', c == '?', c == '#':
			return false
		case c != '/' || i+1 == len(path):
		case path[i+1] == '/', path[i+1] == '.' && dots(firstSegment(path[i+1:]), false) > 0:
			return false
		}
	}
	return path != "" && path[0] == '/'
}

// rooted is the path of a request to the listen path itself, which has nothing left, and any other.
func rooted(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// firstSegment returns what stands before the second slash of "/a/b", or before the first of "a/b".
func firstSegment(path string) string {
	segment, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return segment
}

// readings are the ways in which servers may read one path.
type readings struct {
	forms   []string
	hostile bool // climbs, holds control characters, was escaped again and again, or is long and ambiguous
}

// read lists the readings of a path that is not plain.
func read(path string) readings {
	var r readings
	once, escaped := decode(path, false)
	if len(path) > maxAmbiguous && !plain(once) {
		return readings{[]string{once}, true}
	}
	r.base(once)
	if !escaped {
		return r
	}
	if kept, _ := decode(path, true); kept != once {
		r.base(kept)
	}
	early, climbs := resolve(path, tidying{}) // before decoding, when escaped dots are none
	r.hostile = r.hostile || climbs
	if early, _ = decode(early, false); early != once {
		r.base(early)
	}
	for range decodeRounds - 1 {
		if once, escaped = decode(once, false); !escaped {
			return r
		}
		r.base(once)
	}
	_, escaped = decode(once, false)
	r.hostile = r.hostile || escaped
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
	r.resolved(path)
	if strings.ContainsAny(path, ";?#") {
		r.resolved(stripParameters(path))
	}
}

func (r *readings) resolved(path string) {
	r.add(path)
	clean, climbs := resolve(path, tidying{})
	r.add(clean)
	if clean != path {
		// An empty segment is one that ".." takes away (RFC 3986 §5.2.4), unless slashes were joined before.
		strict, _ := resolve(path, tidying{keepEmpty: true})
		r.add(strict)
		joined, _ := resolve(strict, tidying{})
		r.add(joined)
	}
	r.hostile = r.hostile || climbs
}

func (r *readings) add(path string) {
	if !slices.Contains(r.forms, path) {
		r.forms = append(r.forms, path)
	}
}

// canonical is the reading that patterns are written for: decoded once, dot segments resolved, slashes joined.
func canonical(path string) string {
	path = rooted(path)
	if plain(path) {
		return path
	}
	path, _ = decode(path, false)
	path, _ = resolve(path, tidying{})
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
	hi, ok1 := sdk.HexDigit(s[i+1])
	lo, ok2 := sdk.HexDigit(s[i+2])
	return hi<<4 | lo, ok1 && ok2
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

// tidying says what resolve goes by.
type tidying struct {
	escapes   bool // %2E is a dot
	keepEmpty bool // empty segments stay
}

// resolve removes "." and ".." segments (RFC 3986 §5.2.4) and empty segments, and reports whether the path climbed above
// its root. A slash at the end stays; the result begins with one.
func resolve(path string, t tidying) (clean string, climbs bool) {
	if tidy(path, t) {
		return path, false
	}
	out := make([]byte, 0, len(path)+1)
	rest := strings.TrimPrefix(path, "/")
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		count := dots(segment, t.escapes)
		switch {
		case count == 2:
			i := bytes.LastIndexByte(out, '/')
			climbs = climbs || i < 0
			out = out[:max(i, 0)]
		case count == 0 && (segment != "" || t.keepEmpty && more):
			out = append(append(out, '/'), segment...)
		}
		if !more && (count > 0 || segment == "") {
			out = append(out, '/')
		}
	}
	return string(out), climbs
}

// tidy reports whether there is nothing to resolve.
func tidy(path string, t tidying) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" && more && !t.keepEmpty || dots(segment, t.escapes) > 0 {
			return false
		}
	}
	return true
}

// dots returns 1 for ".", 2 for "..", else 0.
func dots(segment string, escapes bool) int {
	if escapes && len(segment) <= len("%2E%2E") {
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
