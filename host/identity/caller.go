package identity

import (
	"cmp"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Caller is who calls: a session with its policies applied, and what names it. It is immutable and shared by requests.
type Caller struct {
	// Token is what the caller presented, empty when it was found by its id.
	Token string
	// ID is what the session is stored under: the token's hash, or the token where tokens are not hashed. Counters and
	// logs use it.
	ID string
	// Version tells what is stored under the ID from what was or will be, on this gateway; 0 when nothing is.
	Version uint64
	// Session has its policies applied. Treat it as read-only.
	Session *Session
	// View is the session as hooks see it; its KeyID is the token, or the id of one without. It goes into an exchange
	// as it is: sdk.Exchange.EditSession makes a copy.
	View *sdk.Session

	base   Limits
	perAPI map[string]Limits // of the APIs whose limits are not base
}

// newCaller makes the caller of a session whose policies are applied. g are its access rights, nil if nobody knows yet what
// comes of them.
func newCaller(token, id string, s *Session, g *grants) *Caller {
	if g == nil {
		g = newGrants(s.AccessRights)
	}
	c := &seen{Caller: Caller{Token: token, ID: id, Session: s, base: s.limit().limits("", nil)}}
	c.view = s.view(cmp.Or(token, id), g.view)
	c.View, c.perAPI = &c.view, g.perAPI(c.base)
	return &c.Caller
}

// seen is a caller and his view, which live and die together.
type seen struct {
	Caller
	view sdk.Session
}

// as returns the caller under a token of its own.
func (c *Caller) as(token string) *Caller {
	if c.Token == token {
		return c
	}
	other := &seen{Caller: *c, view: *c.View}
	other.view.KeyID = cmp.Or(token, c.ID)
	other.Token, other.View = token, &other.view
	return &other.Caller
}

// Limits are what of a session bounds the use of one API. A figure of zero or less is no limit.
type Limits struct {
	Rate             float64 // requests
	Per              float64 // in so many seconds
	ThrottleInterval float64 // seconds between attempts of a request that was over the rate
	ThrottleRetries  int64
	QuotaMax         int64
	QuotaRenewal     int64 // seconds; zero or less never renews
	MaxQueryDepth    int64
	// Scope distinguishes the counters of limits that are not the whole session's; empty for those that are.
	Scope string
	// Endpoints have rates of their own, which hold before Rate.
	Endpoints []Endpoint
}

// Limits returns what bounds the caller's use of an API: the access right's own limits, or the session's.
func (c *Caller) Limits(api string) Limits {
	if own, ok := c.perAPI[api]; ok {
		return own
	}
	return c.base
}
