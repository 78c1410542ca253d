package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/crypto/bcrypt"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
)

// maxPassword is how much of a password bcrypt looks at.
const maxPassword = 72

// draft is a session as a request asks for it, completed, before it is stored.
type draft struct {
	session  *identity.Session
	applied  *identity.Session // with its policies
	lifetime identity.Lifetime
	made     string // an HMAC secret, in case that there is none
	notice   string
}

// draft reads a session from a request's body. was is the one that it will replace, nil when it is new.
func (a *api) draft(c *router.Call, was *identity.Session) (*draft, error) {
	data, err := c.Content()
	if err != nil {
		return nil, err
	}
	s, err := identity.DecodeSession(data)
	if err != nil {
		return nil, err
	}
	if err := a.organise(c, s, was); err != nil {
		return nil, err
	}
	a.nameRights(s)
	s.LastUpdated = a.stamp()
	if err := hashPassword(s, was); err != nil {
		return nil, err
	}
	d := &draft{session: s}
	if d.applied, err = a.applied(c.Context(), s); err != nil {
		return nil, err
	}
	d.applied = d.applied.Clone()
	if d.applied.HMACEnabled && s.HMACSecret == "" {
		d.made = keyid.Random()
	}
	if was == nil {
		d.keepSecrets(s, &identity.Session{})
	}
	d.lifetime = a.lifetime(d.applied)
	d.notice = a.unserved(d.applied)
	return d, nil
}

// organise says whose the session is: what it says itself, the parameter org_id, whose it was, or that of the APIs which it
// admits to when they are of one organisation.
func (a *api) organise(c *router.Call, s, was *identity.Session) error {
	said := c.Param("org_id")
	if s.OrgID != "" && said != "" && s.OrgID != said {
		return router.Refusef(http.StatusBadRequest, "org_id is %q in the body and %q in the query", s.OrgID, said)
	}
	s.OrgID = cmp.Or(s.OrgID, said)
	if was != nil {
		if s.OrgID != "" && s.OrgID != was.OrgID {
			return router.Refusef(http.StatusBadRequest, "org_id: the key is of organisation %q, and stays so", was.OrgID)
		}
		s.OrgID = was.OrgID
		return nil
	}
	if s.OrgID != "" {
		return nil
	}
	var orgs []string
	for id := range s.AccessRights {
		if d := a.definition(id); d != nil && !slices.Contains(orgs, d.Org) {
			orgs = append(orgs, d.Org)
		}
	}
	switch len(orgs) {
	case 0:
		return nil
	case 1:
		s.OrgID = orgs[0]
		return nil
	}
	return router.Refusef(http.StatusBadRequest, "the APIs in access_rights are of organisations %q: a key is of one", sorted(orgs))
}

// nameRights fills in what access rights can do without.
func (a *api) nameRights(s *identity.Session) {
	for id, right := range s.AccessRights {
		right.APIID = cmp.Or(right.APIID, id)
		if d := a.definition(id); d != nil {
			right.APIName = cmp.Or(right.APIName, d.Name)
		}
		s.AccessRights[id] = right
	}
}

// hashPassword replaces a password in clear by its hash. What is a hash already, with its hash_type or as it was read before,
// stays.
func hashPassword(s, was *identity.Session) error {
	b := &s.BasicAuth
	if b.Password == "" {
		return nil
	}
	if was != nil && b.Password == was.BasicAuth.Password {
		*b = was.BasicAuth
		return nil
	}
	if b.Hash == "bcrypt" {
		if _, err := bcrypt.Cost([]byte(b.Password)); err == nil {
			return nil
		}
	}
	if len(b.Password) > maxPassword {
		return router.Refusef(http.StatusBadRequest, "basic_auth_data.password has %d bytes, at most %d", len(b.Password), maxPassword)
	}
	sum, err := bcrypt.GenerateFromPassword([]byte(b.Password), bcrypt.DefaultCost)
	if err != nil {
		return fmt.Errorf("basic_auth_data.password: %w", err)
	}
	*b = identity.BasicAuth{Password: string(sum), Hash: "bcrypt"}
	return nil
}

// keepSecrets fills in what next does not say of secrets: what there was, or what was made.
func (d *draft) keepSecrets(next, was *identity.Session) {
	if next.BasicAuth.Password == "" {
		next.BasicAuth = was.BasicAuth
	}
	if next.JWT.Secret == "" {
		next.JWT = was.JWT
	}
	if d.applied.HMACEnabled && next.HMACSecret == "" {
		next.HMACSecret = cmp.Or(was.HMACSecret, d.made)
	}
}

// withoutSecrets takes out what nobody is shown.
func withoutSecrets(s *identity.Session) {
	s.BasicAuth.Password, s.HMACSecret, s.JWT.Secret = "", "", ""
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
