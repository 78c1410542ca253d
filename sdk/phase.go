package sdk

import "fmt"

// Phase is a point in an exchange at which hooks run.
type Phase uint8

// The phases, in the order in which an exchange passes them. Log is not a phase of hooks but of observers: it comes
// after the reply and off the request's path.
const (
	PhaseUnknown  Phase = iota
	Pre                 // before authentication
	Auth                // decides who calls; must leave an identity or end the exchange
	PostKeyAuth         // after authentication, before expiry, access rights, limits and quota
	Post                // last before the upstream
	ResponsePhase       // after the upstream's reply, before it reaches the client
	Log                 // after the reply; observers only
	phaseEnd
)

var phaseNames = [phaseEnd]string{"unknown", "pre", "auth", "post_key_auth", "post", "response", "log"}

// String returns the phase's name as definitions, metrics and logs spell it.
func (p Phase) String() string {
	if p >= phaseEnd {
		return fmt.Sprintf("phase(%d)", uint8(p))
	}
	return phaseNames[p]
}

// ParsePhase is the inverse of [Phase.String].
func ParsePhase(s string) (Phase, error) {
	for p := Pre; p < phaseEnd; p++ {
		if phaseNames[p] == s {
			return p, nil
		}
	}
	return PhaseUnknown, fmt.Errorf("unknown phase %q: want pre, auth, post_key_auth, post, response or log", s)
}

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a phase's name.
func (p *Phase) UnmarshalText(b []byte) error {
	q, err := ParsePhase(string(b))
	if err == nil {
		*p = q
	}
	return err
}
