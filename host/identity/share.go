package identity

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// grants are access rights, and what callers need of them. They are immutable: sessions that have the same share them,
// which makes a session small where many callers may do the same.
type grants struct {
	rights map[string]Access
	view   map[string]sdk.AccessDefinition
	limits map[string]Limits // of the APIs that have limits of their own; they bound each caller alike
	// endpoints: there are APIs whose limits are the session's, but for endpoints.
	endpoints bool
	met       atomic.Bool // by a second session
}

func newGrants(rights map[string]Access) *grants {
	g := &grants{rights: rights, view: viewRights(rights)}
	for api, a := range rights {
		switch {
		case !a.Limit.zero():
			if g.limits == nil {
				g.limits = map[string]Limits{}
			}
			g.limits[api] = a.Limit.limits(cmp.Or(a.AllowanceScope, api), a.Endpoints)
		case len(a.Endpoints) > 0:
			g.endpoints = true
		}
	}
	return g
}

// perAPI returns the limits of the APIs that are not base.
func (g *grants) perAPI(base Limits) map[string]Limits {
	if !g.endpoints {
		return g.limits
	}
	own := make(map[string]Limits, len(g.rights))
	for api, a := range g.rights {
		if l, is := g.limits[api]; is {
			own[api] = l
		} else if len(a.Endpoints) > 0 {
			l = base
			l.Endpoints = a.Endpoints
			own[api] = l
		}
	}
	return own
}

const (
	shared      = 1 << 10  // places, for rights and for policies
	sharedBytes = 16 << 10 // stored rights that are longer have none
)

// sharing remembers access rights by what is stored of them, and by the policies that they come from. Each has one place,
// and takes it from another that was there: what many sessions have is found most of the time.
type sharing struct {
	seed     maphash.Seed
	stored   [shared]atomic.Pointer[storedRights]
	combined [shared]atomic.Pointer[combined]
}

func newSharing() *sharing { return &sharing{seed: maphash.MakeSeed()} }

type storedRights struct {
	text string
	*grants
}

// rights reads the access rights of a record.
func (g *sharing) rights(r *record) *grants {
	text := r.text()
	if r.err != nil {
		return nil
	}
	at := &g.stored[maphash.String(g.seed, text)%shared]
	if known := at.Load(); known != nil && known.text == text {
		if !known.met.Load() {
			known.met.Store(true)
		}
		return known.grants
	}
	in := record{left: strings.Clone(text)} // apart from the rest of the session, which may be one of many
	found := newGrants(in.rights())
	if in.err != nil {
		r.err, r.left = in.err, ""
		return nil
	}
	if len(text) <= sharedBytes {
		at.Store(&storedRights{strings.Clone(text), found})
	}
	return found
}

// combined is what policies give together.
type combined struct {
	of []*Policy
	application
	*grants // when they are the same for every session
}

// apply is Apply, with what comes of the access rights: own if these are still the session's, nil when nobody shares them.
func (g *sharing) apply(s *Session, own *grants, policies []*Policy) (*Session, *grants, error) {
	if len(policies) == 0 {
		return s, own, nil
	}
	var h maphash.Hash
	h.SetSeed(g.seed)
	for _, p := range policies {
		_, _ = h.WriteString(p.ID) // it never fails
		_ = h.WriteByte(0)
	}
	at := &g.combined[h.Sum64()%shared]
	c := at.Load()
	if c == nil || !slices.Equal(c.of, policies) {
		a, err := combine(policies)
		if err != nil {
			return nil, nil, err
		}
		c = &combined{of: policies, application: *a}
		if len(a.rights) > 0 && a.alike() {
			c.grants = newGrants(a.access(Limit{}))
			c.met.Store(true)
		}
		at.Store(c)
	}
	switch {
	case c.grants != nil:
		return c.finished(s, c.grants.rights), c.grants, nil
	case len(c.application.rights) > 0:
		own = nil
	}
	return c.finished(s, nil), own, nil
}

// rights reads what appendRights wrote.
func (r *record) rights() map[string]Access {
	rights := map[string]Access{}
	for r.left != "" && r.err == nil {
		id := r.text()
		a := Access{APIName: r.text(), APIID: r.text(), AllowanceScope: r.text()}
		n := r.size() // each has a byte at least
		for range n {
			a.Versions = append(a.Versions, r.text())
		}
		if rest := r.text(); rest != "" && r.err == nil {
			r.err = decode("session", []byte(rest), &a)
		}
		rights[id] = a
	}
	return rights
}
