package host

import (
	"math/rand/v2"
	"strings"
)

const (
	idDigits = 32
	idsAhead = 32
)

// nextID returns an identifier for an exchange: 128 random bits in hex, which is also what a trace id looks like. It
// identifies, it protects nothing. Identifiers are made some ahead, in one piece of memory, so that a request allocates
// nothing for its own; whoever keeps one keeps the piece.
func (st *state) nextID() string {
	if len(st.ids) < idDigits {
		st.ids = makeIDs()
	}
	id := st.ids[:idDigits]
	st.ids = st.ids[idDigits:]
	return id
}

func makeIDs() string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.Grow(idDigits * idsAhead)
	for range idsAhead * 2 {
		for n, i := rand.Uint64(), 0; i < 16; i++ {
			b.WriteByte(digits[n&15])
			n >>= 4
		}
	}
	return b.String()
}
