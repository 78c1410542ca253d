package admin

import (
	"errors"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// policyPage is the reply to GET /tyk/policies where a page is asked for.
type policyPage struct {
	Policies []*identity.Policy `json:"policies"`
	Next     string             `json:"next,omitempty"`
}

// listPolicies answers with one page where a limit or a cursor is said, else with a list of all, as Tyk does.
func (a *api) listPolicies(c *router.Call) error {
	cursor, limit, paged, err := c.Paging()
	if err != nil {
		return err
	}
	q := identity.Query{Org: c.Param("org_id"), Prefix: c.Param("filter"), Cursor: cursor, Limit: limit}
	q.AllOrgs = q.Org == ""
	if !paged {
		q.Limit = router.MaxPage
	}
	all := []*identity.Policy{}
	for {
		page, err := a.o.State.Policies.List(c.Context(), q)
		if err != nil {
			return err
		}
		all = append(all, page.Policies...)
		if q.Cursor = page.Next; paged || q.Cursor == "" {
			break
		}
	}
	if paged {
		router.Reply(c.W, http.StatusOK, policyPage{all, q.Cursor})
		return nil
	}
	router.Reply(c.W, http.StatusOK, all)
	return nil
}

// findPolicy returns the policy that a request names, of the organisation it says or of the only one that has it.
func (a *api) findPolicy(c *router.Call) (*identity.Policy, error) {
	id := c.Vars["policy"]
	if c.URL.Query().Has("org_id") {
		p, err := a.o.State.Policies.Get(c.Context(), c.Param("org_id"), id)
		if errors.Is(err, identity.ErrUnknown) {
			return nil, router.Refusef(http.StatusNotFound, "Policy not found")
		}
		return p, err
	}
	found, err := a.o.State.Policies.Find(c.Context(), id)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, router.Refusef(http.StatusNotFound, "Policy not found")
	case len(found) > 1:
		return nil, router.Refusef(http.StatusBadRequest, "%d organisations have a policy %q: say org_id", len(found), id)
	}
	return found[0], nil
}

func (a *api) getPolicy(c *router.Call) error {
	p, err := a.findPolicy(c)
	if err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, p)
	return nil
}

// putPolicy stores a policy, new or not. Sessions that name it have what it says from then on.
func (a *api) putPolicy(c *router.Call) error {
	data, err := c.Content()
	if err != nil {
		return err
	}
	p, err := identity.DecodePolicy(data)
	if err != nil {
		return err
	}
	if id := c.Vars["policy"]; id != "" {
		if p.ID != "" && p.ID != id {
			return router.Refusef(http.StatusBadRequest, "id is %q in the body and %q in the path: they must match", p.ID, id)
		}
		p.ID = id
	}
	if org := c.Param("org_id"); org != "" {
		if p.OrgID != "" && p.OrgID != org {
			return router.Refusef(http.StatusBadRequest, "org_id is %q in the body and %q in the query", p.OrgID, org)
		}
		p.OrgID = org
	}
	if _, err := identity.Apply(&identity.Session{}, []*identity.Policy{p}); err != nil {
		return err
	}
	id, added, err := a.o.State.Policies.Put(c.Context(), p)
	if err != nil {
		return err
	}
	if c.Vars["policy"] == "" {
		c.About("policy", id)
	}
	c.About("org", p.OrgID)
	body := changed{Key: id, Status: "ok", Action: "modified"}
	if added {
		body.Action = "added"
	}
	router.Reply(c.W, http.StatusOK, body)
	return nil
}

func (a *api) deletePolicy(c *router.Call) error {
	p, err := a.findPolicy(c)
	if err != nil {
		return err
	}
	c.About("org", p.OrgID)
	if err := a.o.State.Policies.Delete(c.Context(), p.OrgID, p.ID); err != nil {
		if errors.Is(err, identity.ErrUnknown) {
			return router.Refusef(http.StatusNotFound, "Policy not found")
		}
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: p.ID, Status: "ok", Action: "deleted"})
	return nil
}
