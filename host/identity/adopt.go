package identity

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Adoption is a session that an authenticator made.
type Adoption struct {
	// Org is the API's organisation, whatever the session says.
	Org string
	// Token names the session: what the hook or JWT identifies the caller by. See Keys.Token for those that are made of
	// an organisation and a name.
	Token string
	// Session is the whole of what was made; it is not changed, and must not be afterwards. Hook is what an auth hook
	// made, which lies over what is stored: hooks cannot say all of a session. One of the two.
	Session *Session
	Hook    *sdk.Session
	// Lifetime is the API's.
	Lifetime Lifetime
	// Store keeps the session, so that later lookups find it. Without, it is good for one request.
	Store bool
}

// given is what a resident was adopted from, so that the same again is known at once.
type given struct {
	session  *Session
	hook     *sdk.Session
	lifetime Lifetime
	renew    int64 // unix milliseconds from which on it is to be written again, so that the store keeps it; 0 never
}

// Adopt takes over a session that an authenticator made, and returns the caller that it makes, policies applied. Later
// lookups on this gateway find it at once; it is written within Options.FlushEvery, with what came meanwhile, and only when it
// differs from what is stored or half of the time that the store keeps it is over. A change that others wrote meanwhile
// is not undone: the next adoption begins from it.
//
// What a session with policies expires by, and when it was made, it keeps from the first time. Errors are ErrPolicy,
// ErrForeign when the token is another organisation's, ErrInvalid and store.ErrUnavailable.
func (k *Keys) Adopt(ctx context.Context, a Adoption) (*Caller, error) {
	if a.Token == "" || len(a.Token) > maxToken || (a.Session == nil) == (a.Hook == nil) {
		return nil, fmt.Errorf("%w session: it needs a token of 1 to %d bytes", ErrInvalid, maxToken)
	}
	if !a.Store {
		return k.borrow(ctx, a)
	}
	if e := k.cache.get(byToken, a.Org, a.Token); e != nil && k.live(e.resident) && k.same(e.resident.given.Load(), a) {
		return e.caller, nil
	}
	ids := k.own(a.Token)
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w session: its token is too long to be stored as it is", ErrInvalid)
	}
	r, err := k.adopt(ctx, a, ids)
	if err != nil {
		return nil, err
	}
	return k.name(r, byToken, a.Org, a.Token), nil
}

// same reports whether adopting a would change nothing.
func (k *Keys) same(g *given, a Adoption) bool {
	if g == nil || g.lifetime != a.Lifetime || g.renew != 0 && k.options.Now().UnixMilli() >= g.renew {
		return false
	}
	if a.Hook != nil {
		return reflect.DeepEqual(g.hook, a.Hook)
	}
	return g.session == a.Session || g.session != nil && reflect.DeepEqual(g.session, a.Session)
}

// borrow makes a caller that is not kept.
func (k *Keys) borrow(ctx context.Context, a Adoption) (*Caller, error) {
	s, policies, err := k.made(ctx, a, nil)
	if err != nil {
		return nil, err
	}
	applied, err := Apply(s, policies)
	if err != nil {
		return nil, err
	}
	return newCaller(a.Token, k.ID(a.Token), applied, nil), nil
}

// made is the session as it shall be stored over what is, which may be nil, and its policies.
func (k *Keys) made(ctx context.Context, a Adoption, stored *Session) (*Session, []*Policy, error) {
	var s Session
	if a.Hook != nil {
		s = *stored.Merge(a.Hook)
	} else {
		s = *a.Session.withoutCounters()
	}
	s.OrgID = a.Org
	policies, err := k.granting(ctx, a.Org, &s)
	if err != nil {
		return nil, nil, err
	}
	s.begin(stored, policies, k.options.Now())
	return &s, policies, nil
}

// begin fills in what a session has from its beginning on: when it was made, and when its policies let it expire.
func (s *Session) begin(stored *Session, policies []*Policy, now time.Time) {
	if s.DateCreated.IsZero() {
		s.DateCreated = now.UTC().Truncate(time.Second)
		if stored != nil {
			s.DateCreated = stored.DateCreated
		}
	}
	if expires := expiry(policies, now); s.Expires == 0 && expires > 0 {
		s.Expires = expires
		if stored != nil && stored.Expires > 0 {
			s.Expires = stored.Expires
		}
	}
}

// adopt returns the resident of what a makes of the stored session.
func (k *Keys) adopt(ctx context.Context, a Adoption, ids []string) (*resident, error) {
	unlock := k.lock(ids[0])
	defer func() { unlock() }()
	note := k.cache.note(ids[0])
	h, err := k.fetchOwn(ctx, a.Org, ids)
	if err == nil && h.id != ids[0] { // stored by another function
		unlock()
		unlock = k.lock(h.id)
		note = k.cache.note(h.id)
		h, err = k.fetchOwn(ctx, a.Org, []string{h.id})
	}
	switch {
	case errors.Is(err, ErrUnknown):
		h = held{id: strings.Clone(ids[0])}
	case err != nil:
		return nil, err
	}
	s, _, err := k.made(ctx, a, h.session)
	if err != nil {
		return nil, err
	}
	data, err := s.bytes()
	if err != nil {
		return nil, err
	}
	now := k.options.Now()
	end, keeps := a.Lifetime.end(s, k.options.ForceLifetime, now)
	next := held{id: h.id, session: s, sum: k.sum(data), size: len(data), ends: millis(end), note: note}
	if h.session != nil && next.sum == h.sum && !longer(next.ends, h.ends, keeps) {
		next = h
	} else if err := k.behind.put(&wait{
		id: strings.Clone(h.id), session: s, value: data, sum: next.sum, base: h.sum, ends: next.ends,
	}); err != nil {
		return nil, err
	}
	r := next.resident
	if r == nil {
		if r, err = k.keep(ctx, next); err != nil {
			return nil, err
		}
	}
	r.given.Store(a.given(next.ends, keeps))
	return r, nil
}

// given remembers a. A hook's session is the exchange's, where later hooks may change it.
func (a Adoption) given(ends int64, keeps time.Duration) *given {
	g := &given{session: a.Session, lifetime: a.Lifetime}
	if a.Hook != nil {
		g.hook = a.Hook.Clone()
	}
	if ends != 0 && keeps > 0 {
		g.renew = ends - keeps.Milliseconds()/2
	}
	return g
}

// longer reports whether an end is so much later that the session is to be written again. 0 is never.
func longer(ends, than int64, keeps time.Duration) bool {
	switch {
	case than == 0:
		return false
	case ends == 0:
		return true
	}
	return ends-than >= max(1, keeps.Milliseconds()/2)
}

// fetchOwn is fetch for the token's own ids, of which the first is where a new session goes.
func (k *Keys) fetchOwn(ctx context.Context, org string, ids []string) (held, error) {
	foreign := false
	h, err := k.fetch(ctx, ids, func(s *Session) bool {
		foreign = foreign || s.OrgID != org
		return s.OrgID == org
	})
	if foreign && errors.Is(err, ErrUnknown) {
		return held{}, ErrForeign
	}
	return h, err
}
