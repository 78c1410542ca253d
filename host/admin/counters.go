package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/standing"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

// book is where keys and their counters are.
func (a *api) book() standing.Book {
	return standing.Book{Keys: a.o.State.Keys, Limiter: a.o.State.Limiter}
}

// shown is a session as clients see it: policies applied, with what is left of its quotas, without secrets.
func (a *api) shown(ctx context.Context, stored identity.Stored) (*identity.Session, error) {
	caller, err := a.o.State.Keys.LookupID(ctx, stored.ID)
	if errors.Is(err, identity.ErrPolicy) {
		s := stored.Session.Clone() // it can be shown, if not used
		withoutSecrets(s)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := a.book().Counted(ctx, caller)
	if err != nil {
		return nil, err
	}
	withoutSecrets(s)
	return s, nil
}

// keyLimit is how a key stands with one of its limits.
type keyLimit struct {
	API   string        `json:"api_id,omitempty"` // empty: for all that have none of their own
	Quota *quotaLeft    `json:"quota,omitempty"`
	Rate  *rateStanding `json:"rate_limit,omitempty"`
}

type quotaLeft struct {
	Max       int64 `json:"quota_max"`
	Remaining int64 `json:"quota_remaining"`
	Renews    int64 `json:"quota_renews"` // unix seconds; 0 never, or not begun
}

type rateStanding struct {
	Requests  float64 `json:"requests"`
	Per       float64 `json:"per_unit"` // seconds
	Remaining int64   `json:"remaining"`
}

// standings is the reply to GET /v1/keys/{key}/limits.
type standings struct {
	Limits []keyLimit `json:"limits"`
}

func (a *api) keyLimits(c *router.Call) error {
	ref, err := a.ref(c)
	if err != nil {
		return err
	}
	ctx := c.Context()
	stored, err := a.o.State.Keys.Get(ctx, ref)
	if err != nil {
		return err
	}
	caller, err := a.o.State.Keys.LookupID(ctx, stored.ID)
	if err != nil {
		return err
	}
	list := standing.Buckets(caller)
	rates, quotas, err := a.book().Peek(ctx, caller, list)
	if err != nil {
		return err
	}
	body := standings{Limits: []keyLimit{}}
	for i, b := range list {
		s := keyLimit{API: b.API}
		if b.Limits.QuotaMax > 0 {
			remaining, renews := standing.Left(quotas[i])
			s.Quota = &quotaLeft{b.Limits.QuotaMax, remaining, renews}
		}
		if b.Limits.Rate > 0 && b.Limits.Per > 0 {
			s.Rate = &rateStanding{b.Limits.Rate, b.Limits.Per, rates[i].Remaining}
		}
		if s.Quota != nil || s.Rate != nil {
			body.Limits = append(body.Limits, s)
		}
	}
	router.Reply(c.W, http.StatusOK, body)
	return nil
}
