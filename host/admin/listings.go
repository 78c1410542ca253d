package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// query is the part of the keys that a request asks for.
func (a *api) query(c *router.Call) (q identity.Query, paged bool, err error) {
	if a.o.KeySettings.Hash != config.KeyPlain && !a.o.KeySettings.ListHashed {
		return q, false, router.Refusef(http.StatusNotFound, "listing hashed keys is switched off: set keys.list_hashed in the settings")
	}
	q = identity.Query{Prefix: c.Param("filter"), API: c.Param("api_id"), Org: c.Param("org_id")}
	q.AllOrgs = q.Org == ""
	q.Cursor, q.Limit, paged, err = c.Paging()
	return q, paged, err
}

// listed is the reply to GET /tyk/keys and /tyk/org/keys.
type listed struct {
	Keys []string `json:"keys"`
	Next string   `json:"next,omitempty"` // the cursor of the next page
}

// listKeys answers with one page where a limit or a cursor is said, else with all keys, written as they are read.
func (a *api) listKeys(c *router.Call) error {
	q, paged, err := a.query(c)
	if err != nil {
		return err
	}
	page := func(ctx context.Context, cursor string, limit int) ([]string, string, error) {
		q.Cursor, q.Limit = cursor, limit
		p, err := a.o.State.Keys.List(ctx, q)
		return p.IDs, p.Next, err
	}
	if paged {
		return a.listPage(c, q.Cursor, q.Limit, page)
	}
	return a.listAll(c, page)
}

type pager func(ctx context.Context, cursor string, limit int) (ids []string, next string, err error)

func (a *api) listPage(c *router.Call, cursor string, limit int, page pager) error {
	ids, next, err := page(c.Context(), cursor, limit)
	if err != nil {
		return err
	}
	if ids == nil {
		ids = []string{}
	}
	router.Reply(c.W, http.StatusOK, listed{ids, next})
	return nil
}

// listAll writes {"keys":[...]} in memory that does not grow with what is listed.
func (a *api) listAll(c *router.Call, page pager) error {
	ids, next, err := page(c.Context(), "", router.MaxPage)
	if err != nil {
		return err
	}
	c.W.Header().Set("Content-Type", "application/json")
	c.W.Header().Set("Cache-Control", "no-store")
	if _, err := io.WriteString(c.W, `{"keys":[`); err != nil {
		return err
	}
	separator := ""
	for {
		for _, id := range ids {
			text, err := json.Marshal(id)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(c.W, separator+string(text)); err != nil {
				return err
			}
			separator = ","
		}
		if next == "" {
			break
		}
		if ids, next, err = page(c.Context(), next, router.MaxPage); err != nil {
			return err
		}
	}
	_, err = io.WriteString(c.W, "]}\n")
	return err
}

// summary is a key in a table.
type summary struct {
	ID       string     `json:"id"` // what it is stored under
	Org      string     `json:"org_id,omitempty"`
	Alias    string     `json:"alias,omitempty"`
	APIs     []string   `json:"apis,omitempty"` // that the session itself names
	Policies []string   `json:"policies,omitempty"`
	Rate     float64    `json:"rate,omitempty"`
	Per      float64    `json:"per,omitempty"`
	QuotaMax int64      `json:"quota_max,omitempty"`
	Expires  int64      `json:"expires,omitempty"`
	Inactive bool       `json:"is_inactive,omitempty"`
	Kept     *time.Time `json:"kept_until,omitempty"` // when the store forgets it; never without
	Broken   bool       `json:"broken,omitempty"`     // what is stored cannot be read
}

// summaries is the reply to GET /v1/keys.
type summaries struct {
	Keys []summary `json:"keys"`
	Next string    `json:"next,omitempty"`
}

// summariseKeys answers with a page of keys, each with what a table has room for, as they are stored.
func (a *api) summariseKeys(c *router.Call) error {
	q, _, err := a.query(c)
	if err != nil {
		return err
	}
	page, next, err := a.o.State.Keys.Page(c.Context(), q)
	if err != nil {
		return err
	}
	body := summaries{Keys: []summary{}, Next: next}
	for _, k := range page {
		row := summary{ID: k.ID, Broken: k.Session == nil}
		if !k.Ends.IsZero() {
			ends := k.Ends.UTC()
			row.Kept = &ends
		}
		if s := k.Session; s != nil {
			row.Org, row.Alias, row.Policies = s.OrgID, s.Alias, s.Policies()
			row.Rate, row.Per, row.QuotaMax, row.Expires, row.Inactive = s.Rate, s.Per, s.QuotaMax, s.Expires, s.Inactive
			for id := range s.AccessRights {
				row.APIs = append(row.APIs, id)
			}
			slices.Sort(row.APIs)
		}
		body.Keys = append(body.Keys, row)
	}
	router.Reply(c.W, http.StatusOK, body)
	return nil
}
