package sdk

// EqualFold reports whether two ASCII names are equal without regard to case, as header names compare.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	if a == b {
		return true
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// ValidToken reports whether s is a token (RFC 9110 §5.6.2), as header names and methods must be.
func ValidToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return true
}

// ValidFieldValue reports whether s may be a field value (RFC 9110 §5.5): no control character but tab, and so no CR,
// LF or NUL. Bytes from 0x80 up are allowed as they are.
func ValidFieldValue(s string) bool {
	for i := 0; i < len(s); {
		if i+8 <= len(s) && noControl(s[i:]) {
			i += 8
			continue
		}
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		i++
	}
	return true
}

// noControl reports whether none of the first 8 bytes is a control character, all at once. When one is, or follows one in
// a way that looks so, it says no.
func noControl(s string) bool {
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	deletes := x ^ ones*0x7f // zero where the byte is that
	return ((x-ones*' ')&^x|(deletes-ones)&^deletes)&tops == 0
}

// ValidPath reports whether s may be the path of a request target in origin form (RFC 9112 §3.2.1): it begins with a
// slash and holds no control character, blank, "?", "#" or broken percent escape.
func ValidPath(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c == 0x7f || c == '?' || c == '#':
			return false
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			i += 2
		}
	}
	return true
}

// ValidQuery reports whether s may stand behind the "?" of a request target.
func ValidQuery(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// HexDigit returns the value of a hexadecimal digit of either case, and whether c is one.
func HexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

func isHex(c byte) bool {
	_, ok := HexDigit(c)
	return ok
}

var tokenByte = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()
