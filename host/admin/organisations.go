package admin

import (
	"context"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// Sessions of organisations are kept and shown; nothing is limited by them, as in a Tyk that does not enforce them, which is
// what it does unless told; reset_quota=1 is taken and has nothing to do.

func (a *api) listOrgs(c *router.Call) error {
	cursor, limit, paged, err := c.Paging()
	if err != nil {
		return err
	}
	page := func(ctx context.Context, cursor string, limit int) ([]string, string, error) {
		p, err := a.orgs.List(ctx, cursor, limit)
		return p.IDs, p.Next, err
	}
	if paged {
		return a.listPage(c, cursor, limit, page)
	}
	return a.listAll(c, page)
}

func (a *api) getOrg(c *router.Call) error {
	s, err := a.orgs.Get(c.Context(), c.Vars["org"])
	if err != nil {
		return err
	}
	s = s.Clone()
	withoutSecrets(s)
	router.Reply(c.W, http.StatusOK, s)
	return nil
}

func (a *api) putOrg(c *router.Call) error { return a.writeOrg(c, "added") }

func (a *api) updateOrg(c *router.Call) error {
	if _, err := a.orgs.Get(c.Context(), c.Vars["org"]); err != nil {
		return err
	}
	return a.writeOrg(c, "modified")
}

func (a *api) writeOrg(c *router.Call, action string) error {
	data, err := c.Content()
	if err != nil {
		return err
	}
	s, err := identity.DecodeSession(data)
	if err != nil {
		return err
	}
	org := c.Vars["org"]
	if s.OrgID != "" && s.OrgID != org {
		return router.Refusef(http.StatusBadRequest, "org_id is %q in the body and %q in the path", s.OrgID, org)
	}
	s.LastUpdated = a.stamp()
	if _, err := a.orgs.Put(c.Context(), org, s); err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: org, Status: "ok", Action: action})
	return nil
}

func (a *api) deleteOrg(c *router.Call) error {
	if err := a.orgs.Delete(c.Context(), c.Vars["org"]); err != nil {
		return err
	}
	router.Reply(c.W, http.StatusOK, changed{Key: c.Vars["org"], Status: "ok", Action: "deleted"})
	return nil
}
