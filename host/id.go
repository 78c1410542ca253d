package host

import "math/rand/v2"

// newID returns an identifier for an exchange: 128 random bits in hex, which is also what a trace id looks like. It
// identifies, it protects nothing.
func newID() string {
	const digits = "0123456789abcdef"
	var b [32]byte
	for half, n := 0, rand.Uint64(); half < 2; half, n = half+1, rand.Uint64() {
		for i := range 16 {
			b[half*16+i] = digits[n&15]
			n >>= 4
		}
	}
	return string(b[:])
}
