package interp

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// format is string.format. Widths and precisions have two digits at most, as in Lua, so that the result is not longer
// than its arguments by more than its format allows.
func (s *State) format(l *lua.LState) int {
	text := l.CheckString(1)
	var b strings.Builder
	arg := 1
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i++; i < len(text) && text[i] == '%' {
			b.WriteByte('%')
			continue
		}
		end := i
		for end < len(text) && strings.IndexByte("-+ #0123456789.", text[end]) >= 0 {
			end++
		}
		if end == len(text) || !validSpec(text[i:end]) {
			l.RaiseError("invalid conversion '%%%s' to 'format'", text[i:min(end+1, len(text))])
		}
		arg++
		s.verb(l, &b, text[i:end], text[end], arg)
		s.room(l, b.Len())
		i = end
	}
	s.room(l, b.Len())
	l.Push(lua.LString(b.String()))
	return 1
}

// validSpec reports whether flags, width and precision are as Lua takes them.
func validSpec(spec string) bool {
	digits := strings.TrimLeft(spec, "-+ #0")
	width, precision, _ := strings.Cut(digits, ".")
	return len(spec)-len(digits) <= 5 && number2(width) && number2(precision)
}

func number2(s string) bool {
	if len(s) > 2 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// verb writes argument n.
func (s *State) verb(l *lua.LState, b *strings.Builder, spec string, verb byte, n int) {
	switch verb {
	case 'd', 'i':
		fmt.Fprintf(b, "%"+spec+"d", whole(l.CheckNumber(n)))
	case 'u':
		fmt.Fprintf(b, "%"+spec+"d", uint64(whole(l.CheckNumber(n))))
	case 'x', 'X', 'o':
		v := whole(l.CheckNumber(n))
		fmt.Fprintf(b, "%"+spec+string(verb), uint64(v))
	case 'c':
		b.WriteByte(byte(l.CheckInt(n)))
	case 'e', 'E', 'f', 'F', 'g', 'G':
		b.WriteString(real(spec, verb, float64(l.CheckNumber(n))))
	case 'q':
		b.WriteString(quoted(l.CheckString(n)))
	case 's':
		text := l.ToStringMeta(l.CheckAny(n)).String()
		s.room(l, b.Len()+len(text))
		fmt.Fprintf(b, "%"+strings.ReplaceAll(spec, "0", zeroOf(spec))+"s", text)
	default:
		l.RaiseError("invalid conversion '%%%s%c' to 'format'", spec, verb)
	}
}

// zeroOf keeps the zeros of a width; only the flag, which text does not have, goes.
func zeroOf(spec string) string {
	if strings.HasPrefix(strings.TrimLeft(spec, "-+ #"), "0") {
		return ""
	}
	return "0"
}

func whole(n lua.LNumber) int64 {
	f := float64(n)
	switch {
	case f != f:
		return 0
	case f >= 1<<63:
		if f < 1<<64 {
			return int64(uint64(f))
		}
		return math.MaxInt64
	case f < -1<<63:
		return math.MinInt64
	}
	return int64(f)
}

// real is a number as C prints it: Go writes exponents and infinities alike but for the sign of the latter.
func real(spec string, verb byte, f float64) string {
	if math.IsInf(f, 0) || f != f {
		text := "nan"
		if math.IsInf(f, 1) {
			text = "inf"
		} else if math.IsInf(f, -1) {
			text = "-inf"
		}
		width, _ := strconv.Atoi(strings.TrimLeft(strings.SplitN(spec, ".", 2)[0], "+ #0-"))
		if strings.Contains(spec, "-") {
			width = -width
		}
		return fmt.Sprintf("%*s", width, text)
	}
	if (verb == 'g' || verb == 'G') && !strings.Contains(spec, ".") {
		spec += ".6"
	}
	return fmt.Sprintf("%"+spec+string(verb), f)
}

// quoted is text as Lua reads it back.
func quoted(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString(`\r`)
		case 0:
			b.WriteString(`\000`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
