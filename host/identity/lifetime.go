package identity

import "time"

// Lifetime says how long a session is kept whose API makes or admits it (reference §8.4).
type Lifetime struct {
	// API is for sessions that say nothing themselves; 0 keeps them for ever.
	API time.Duration
	// RespectExpiry keeps a session at least until it expires; one that never does, for ever.
	RespectExpiry bool
}

// What a session's post_expiry_action says shall happen to it once it has expired.
const (
	PostExpiryDelete = "delete" // it is kept until it expires and the grace period is over
	PostExpiryRetain = "retain" // the same, but without a grace period it is kept for ever
)

// end returns when the store may forget the session, the zero Time for never, and how long a write keeps it: 0 when the
// end does not move with the time of the write. The first that says something counts: the gateway's forced lifetime,
// what the session says of its expiry, its own lifetime, the API's.
func (l Lifetime) end(s *Session, forced time.Duration, now time.Time) (end time.Time, keeps time.Duration) {
	expires := time.Unix(min(s.Expires, lastSecond), 0)
	grace := time.Duration(max(0, min(s.PostExpiryGrace, maxSeconds))) * time.Second
	switch {
	case forced > 0:
		return now.Add(forced), forced
	case s.PostExpiryAction == PostExpiryDelete && s.Expires > 0, s.PostExpiryAction == PostExpiryRetain && s.Expires > 0 && grace > 0:
		return expires.Add(grace), 0
	case s.PostExpiryAction == PostExpiryRetain:
		return time.Time{}, 0
	case s.Lifetime > 0:
		keeps = time.Duration(min(s.Lifetime, maxSeconds)) * time.Second
	case l.API > 0:
		keeps = l.API
	default:
		return time.Time{}, 0
	}
	end = now.Add(keeps)
	switch {
	case !l.RespectExpiry:
		return end, keeps
	case s.Expires <= 0:
		return time.Time{}, 0
	case end.Before(expires):
		return expires, 0
	}
	return end, keeps
}

// Bounds of what sessions say: more than a century, and the end of the year 9999.
const (
	maxSeconds = 1 << 32
	lastSecond = 253402300799
)
