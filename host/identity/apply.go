package identity

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Apply returns the session with the policies applied; the session itself, which is not changed, when there are none.
//
// What a policy's partitions cover comes from the policies alone, what none covers from the session. Of several policies
// the highest limit holds, and the rights of one API add up. An API keeps the limits of the policies that grant it,
// counted apart, when several policies with limits grant APIs; with one such policy its limits are the session's,
// counted for all APIs together. ErrPolicy when a policy that takes its limits per API meets one with other partitions.
func Apply(s *Session, policies []*Policy) (*Session, error) {
	if len(policies) == 0 {
		return s, nil
	}
	a, err := combine(policies)
	if err != nil {
		return nil, err
	}
	return a.finished(s, nil), nil
}

// combine returns what policies give together, whoever has them.
func combine(policies []*Policy) (*application, error) {
	a := &application{policies: policies, rights: map[string]granted{}}
	for _, p := range policies {
		if err := a.check(p); err != nil {
			return nil, err
		}
		a.limits(p)
		a.grant(p)
	}
	return a, nil
}

// finished returns the session with what the policies give; access are the rights they give it, if these are known.
func (a *application) finished(s *Session, access map[string]Access) *Session {
	c := *s
	a.root(&c)
	root := c.limit()
	root.replace(a.limit, a.covered)
	c.setLimit(root)
	switch {
	case access != nil:
		c.AccessRights = access
	case len(a.rights) > 0:
		c.AccessRights = a.access(root)
	}
	return &c
}

// application is what policies gave so far.
type application struct {
	policies            []*Policy
	perAPI, partitioned bool
	covered             part
	limit               Limit // the session's, where covered
	rights              map[string]granted
	sources             []string // the policies whose limits are in the rights
}

// granted is the access to one API, and what of its limit policies have set.
type granted struct {
	Access
	covered part
}

type part uint8

const (
	partRate part = 1 << iota
	partQuota
	partComplexity
	partACL
	partWhole = partRate | partQuota | partComplexity | partACL
)

func (p Partitions) parts() part {
	if p == (Partitions{}) {
		return partWhole
	}
	var covered part
	for _, c := range []struct {
		on bool
		is part
	}{{p.RateLimit, partRate}, {p.Quota, partQuota}, {p.Complexity, partComplexity}, {p.ACL, partACL}} {
		if c.on {
			covered |= c.is
		}
	}
	return covered
}

func (a *application) check(p *Policy) error {
	a.perAPI = a.perAPI || p.Partitions.PerAPI
	a.partitioned = a.partitioned || p.Partitions != Partitions{} && p.Partitions.parts() != 0
	if a.perAPI && a.partitioned {
		return fmt.Errorf("%w: %q: partition per_api cannot be used together with other partitions", ErrPolicy, p.ID)
	}
	return nil
}

// grantNothing reports whether it is for the policies to say which APIs a session may use, and they name none.
func grantNothing(policies []*Policy) bool {
	theirs := false
	for _, p := range policies {
		if len(p.AccessRights) > 0 && (p.Partitions.PerAPI || p.Partitions.parts()&partACL != 0) {
			return false
		}
		theirs = theirs || p.Partitions.PerAPI || p.Partitions.parts()&partACL != 0
	}
	return theirs
}

func (p *Policy) limit() Limit {
	return Limit{
		Rate: p.Rate, Per: p.Per, ThrottleInterval: p.ThrottleInterval, ThrottleRetryLimit: p.ThrottleRetryLimit,
		MaxQueryDepth: p.MaxQueryDepth, QuotaMax: p.QuotaMax, QuotaRenewalRate: p.QuotaRenewalRate, Smoothing: p.Smoothing,
	}
}

// limits raises the session's limits to the policy's.
func (a *application) limits(p *Policy) {
	if !p.Partitions.PerAPI {
		a.covered |= a.limit.raise(a.covered, p.limit(), p.Partitions.parts())
	}
}

// grant adds the policy's rights.
func (a *application) grant(p *Policy) {
	parts := p.Partitions.parts()
	if !p.Partitions.PerAPI && parts&partACL == 0 {
		return
	}
	for id, right := range p.AccessRights {
		right.APIID = cmp.Or(right.APIID, id)
		limit, covers, scope := p.limit(), parts&^partACL, p.ID
		if p.Partitions.PerAPI {
			limit, covers, scope = right.Limit, 0, id
			if !right.Limit.zero() {
				covers = partRate | partQuota | partComplexity
			}
		}
		if covers != 0 && !slices.Contains(a.sources, p.ID) {
			a.sources = append(a.sources, p.ID)
		}
		g, again := a.rights[id]
		if again {
			g.Access = g.union(right)
		} else {
			g.Access = right.clone()
			g.Limit, g.AllowanceScope = Limit{}, ""
		}
		if covers != 0 && (g.AllowanceScope == "" || higherQuota(limit.QuotaMax, g.Limit.QuotaMax)) {
			g.AllowanceScope = scope
		}
		g.covered |= g.Limit.raise(g.covered, limit, covers)
		a.rights[id] = g
	}
}

// union returns the rights of both. No versions, or no paths, means all of them.
func (a Access) union(b Access) Access {
	if len(a.Versions) == 0 || len(b.Versions) == 0 {
		a.Versions = nil
	} else {
		a.Versions = addNew(a.Versions, b.Versions)
	}
	if len(a.AllowedURLs) == 0 || len(b.AllowedURLs) == 0 {
		a.AllowedURLs = nil
		return a.endpoints(b)
	}
	for _, u := range b.AllowedURLs {
		i := slices.IndexFunc(a.AllowedURLs, func(have Spec) bool { return have.URL == u.URL })
		if i < 0 {
			a.AllowedURLs = append(a.AllowedURLs, Spec{URL: u.URL, Methods: slices.Clone(u.Methods)})
		} else {
			a.AllowedURLs[i].Methods = addNew(a.AllowedURLs[i].Methods, u.Methods)
		}
	}
	return a.endpoints(b)
}

// endpoints takes over the endpoints of b that a does not have.
func (a Access) endpoints(b Access) Access {
	for _, e := range b.Endpoints {
		if !slices.ContainsFunc(a.Endpoints, func(have Endpoint) bool { return have.Path == e.Path }) {
			a.Endpoints = append(a.Endpoints, Endpoint{Path: e.Path, Methods: slices.Clone(e.Methods)})
		}
	}
	return a
}

// root fills in what is neither limit nor right.
func (a *application) root(s *Session) {
	s.Tags = slices.Clip(s.Tags) // so that it is a copy to which something is added
	if slices.ContainsFunc(a.policies, func(p *Policy) bool { return len(p.Metadata) > 0 }) {
		s.Metadata = maps.Clone(s.Metadata)
	}
	for _, p := range a.policies {
		s.Tags = addNew(s.Tags, p.Tags)
		if s.Metadata == nil && len(p.Metadata) > 0 {
			s.Metadata = Metadata{}
		}
		maps.Copy(s.Metadata, p.Metadata)
		s.Inactive = s.Inactive || p.Inactive
		s.HMACEnabled = s.HMACEnabled || p.HMACEnabled
		s.HTTPSignatures = s.HTTPSignatures || p.HTTPSignatures
		if p.PostExpiryAction != "" {
			s.PostExpiryAction, s.PostExpiryGrace = p.PostExpiryAction, p.PostExpiryGrace
		}
	}
}

// alike reports whether the rights are the same whatever the session's own limits are.
func (a *application) alike() bool {
	const whole = partRate | partQuota | partComplexity
	for _, g := range a.rights {
		if a.apart() && g.covered != 0 && g.covered&whole != whole {
			return false
		}
	}
	return true
}

func (a *application) apart() bool { return a.perAPI || len(a.sources) > 1 }

// access returns the rights, given the session's limits.
func (a *application) access(root Limit) map[string]Access {
	rights := make(map[string]Access, len(a.rights))
	for id, g := range a.rights {
		if a.apart() && g.covered != 0 {
			own := root
			own.replace(g.Limit, g.covered)
			g.Limit = own
		} else {
			g.Limit, g.AllowanceScope = Limit{}, ""
		}
		rights[id] = g.Access
	}
	return rights
}

func addNew(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
