package config

import (
	"crypto/tls"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Size is a number of bytes. In files it is a plain number of bytes or a number with a unit: B,
// KB, MB, GB (powers of 1000), KiB, MiB, GiB (powers of 1024).
type Size int64

// UnmarshalText accepts "1048576", "1MiB" and "1 MiB".
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimRight(t, "BKMGi ")
	unit, ok := sizeUnits()[strings.TrimSpace(t[len(number):])]
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || strings.ContainsAny(number, "xXpPnNeE_+") {
		return fmt.Errorf("not a size: write a number of bytes or something like 64KiB or 1MiB")
	}
	bytes := n * unit
	if bytes < 0 || bytes > math.MaxInt64/2 || bytes != math.Trunc(bytes) {
		return fmt.Errorf("size out of range: must be a whole number of bytes, not negative")
	}
	*s = Size(bytes)
	return nil
}

func sizeUnits() map[string]float64 {
	return map[string]float64{
		"": 1, "B": 1,
		"KB": 1e3, "MB": 1e6, "GB": 1e9,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}
}

// String writes the size with the largest binary unit that divides it.
func (s Size) String() string {
	units := []string{"GiB", "MiB", "KiB"}
	for i, unit := range units {
		if n := Size(1) << (10 * (len(units) - i)); s != 0 && s%n == 0 {
			return strconv.FormatInt(int64(s/n), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// TLSVersion is a version number of crypto/tls; 0 means "not said".
type TLSVersion uint16

// UnmarshalText accepts "1.2" and "1.3". Older versions are refused: they are broken.
func (v *TLSVersion) UnmarshalText(text []byte) error {
	switch strings.TrimPrefix(string(text), "TLS") {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return fmt.Errorf("must be 1.2 or 1.3")
	}
	return nil
}

// String writes "1.2" or "1.3", and nothing when nothing is said.
func (v TLSVersion) String() string {
	switch v {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return ""
}

// Pattern chooses paths. It is matched against the path with escapes decoded, "." and ".."
// resolved, doubled slashes joined and the listen path removed, so that no spelling of a path
// slips past it.
//
// A plain pattern is a path in which {name} stands for one whole segment and a last segment "*"
// for the path before it and everything below. A slash at the end makes no difference. A pattern
// that begins with "~" is a regular expression (RE2) for the rest of its text, not anchored.
type Pattern string

// UnmarshalText accepts patterns that compile.
func (p *Pattern) UnmarshalText(text []byte) error {
	*p = Pattern(text)
	_, err := p.Compile(false)
	return err
}

// Compile returns the expression that decides whether a path matches.
func (p Pattern) Compile(ignoreCase bool) (*regexp.Regexp, error) {
	expr, isRegexp := strings.CutPrefix(string(p), "~")
	if !isRegexp {
		var err error
		if expr, err = p.template(); err != nil {
			return nil, err
		}
	}
	if ignoreCase {
		expr = "(?i)" + expr
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("bad path pattern: %w", err)
	}
	return re, nil
}

func (p Pattern) template() (string, error) {
	if !strings.HasPrefix(string(p), "/") {
		return "", fmt.Errorf(`bad path pattern: must begin with "/", or with "~" for a regular expression`)
	}
	rest, below := strings.CutSuffix(string(p), "/*")
	rest = strings.TrimSuffix(rest, "/")
	var b strings.Builder
	b.WriteString("^")
	for i, segment := range strings.Split(rest, "/") {
		if i > 0 {
			b.WriteString("/")
		}
		named := len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}'
		switch {
		case named && !strings.ContainsAny(segment[1:len(segment)-1], "{}"):
			b.WriteString("[^/]+")
		case strings.ContainsAny(segment, "{}*"):
			return "", fmt.Errorf(`bad path pattern: {name} must be a whole segment and "*" the last one`)
		default:
			b.WriteString(regexp.QuoteMeta(segment))
		}
	}
	if below {
		b.WriteString("(?:/.*)?$")
	} else {
		b.WriteString("/?$")
	}
	return b.String(), nil
}

// oneOf sets *v to the text when it is among the allowed values.
func oneOf[T ~string](v *T, text []byte, allowed ...T) error {
	if !slices.Contains(allowed, T(text)) {
		return fmt.Errorf("must be %s", orList(allowed))
	}
	*v = T(text)
	return nil
}

func orList[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}
