package authn

import (
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// Voucher is an auth hook in its place.
type Voucher struct{ API, Hook string }

// Vouch remembers that a hook made the session of a caller, as it is stored now, and stands by it until the session's
// IDExtractorDeadline.
func (m *Memory) Vouch(v Voucher, c *identity.Caller) {
	now, until := time.Now(), time.Unix(c.Session.IDExtractorDeadline, 0)
	if now.Before(until) {
		m.vouched.add(m.vouches(v, c), now, until)
	}
}

// Vouched reports whether a hook stands by the session of a caller as it is stored now. What it said before a restart, or to
// another gateway, it is asked again.
func (m *Memory) Vouched(v Voucher, c *identity.Caller) bool {
	return m.vouched.has(m.vouches(v, c), time.Now())
}

func (m *Memory) vouches(v Voucher, c *identity.Caller) [32]byte {
	return m.digest(v.API, v.Hook, c.ID, strconv.FormatUint(c.Version, 16))
}
