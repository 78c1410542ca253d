package pattern

import "errors"

// itemEnd returns where the single character item at p ends, or -1 for a malformed one.
func (m *Matcher) itemEnd(p int) int {
	c := m.Pattern[p]
	p++
	switch c {
	case '%':
		if p >= len(m.Pattern) {
			return m.fail(errors.New("malformed pattern (ends with '%')"))
		}
		return p + 1
	case '[':
		if p < len(m.Pattern) && m.Pattern[p] == '^' {
			p++
		}
		for first := true; ; first = false {
			if p >= len(m.Pattern) {
				return m.fail(errors.New("malformed pattern (missing ']')"))
			}
			c := m.Pattern[p]
			p++
			switch {
			case c == '%':
				p++ // what follows stands for itself
			case c == ']' && !first:
				return p
			}
		}
	}
	return p
}

// one reports whether the item of the pattern from p to end matches the character at s.
func (m *Matcher) one(s, p, end int) bool {
	if s >= len(m.Subject) {
		return false
	}
	c := m.Subject[s]
	switch m.Pattern[p] {
	case '.':
		return true
	case '%':
		return class(c, m.Pattern[p+1])
	case '[':
		return m.set(c, p, end-1)
	}
	return m.Pattern[p] == c
}

// set reports whether c is in the set of the pattern from its opening bracket at p to its closing one at end.
func (m *Matcher) set(c byte, p, end int) bool {
	in := true
	p++
	if m.Pattern[p] == '^' {
		in = false
		p++
	}
	for p < end {
		switch {
		case m.Pattern[p] == '%' && p+1 < end:
			if class(c, m.Pattern[p+1]) {
				return in
			}
			p += 2
		case p+2 < end && m.Pattern[p+1] == '-':
			if m.Pattern[p] <= c && c <= m.Pattern[p+2] {
				return in
			}
			p += 3
		default:
			if m.Pattern[p] == c {
				return in
			}
			p++
		}
	}
	return !in
}

// class reports whether c is of the class that a letter behind a percent sign names; a capital names its complement,
// any other character itself.
func class(c, name byte) bool {
	lower := name | 0x20
	var is bool
	switch lower {
	case 'a':
		is = letter(c)
	case 'c':
		is = c < ' ' || c == 0x7f
	case 'd':
		is = digit(c)
	case 'l':
		is = 'a' <= c && c <= 'z'
	case 'p':
		is = '!' <= c && c <= '~' && !letter(c) && !digit(c)
	case 's':
		is = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		is = 'A' <= c && c <= 'Z'
	case 'w':
		is = letter(c) || digit(c)
	case 'x':
		is = digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		is = c == 0
	default:
		return name == c
	}
	if !letter(name) {
		return name == c
	}
	return is != (name != lower)
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func digit(c byte) bool { return '0' <= c && c <= '9' }
