package admin

import (
	"context"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

// bucket is one set of counters of a key: for one API, or for all that have no limits of their own.
type bucket struct {
	api    string // one of those that it counts for; empty when it counts for all
	limits identity.Limits
}

// buckets are those of a caller, the common ones first.
func buckets(caller *identity.Caller) []bucket {
	list := []bucket{{"", caller.Limits("")}}
	for _, api := range slices.Sorted(maps.Keys(caller.Session.AccessRights)) {
		own := caller.Limits(api)
		same := func(b bucket) bool { return b.limits.Scope == own.Scope }
		if !slices.ContainsFunc(list, same) {
			list = append(list, bucket{api, own})
		}
	}
	return list
}

// quotaKeys are what the quotas of a key are counted by; none of a key that cannot be used.
func (a *api) quotaKeys(ctx context.Context, id string) []limit.Key {
	caller, err := a.o.State.Keys.LookupID(ctx, id)
	if err != nil {
		return nil
	}
	var keys []limit.Key
	for _, b := range buckets(caller) {
		keys = append(keys, limit.Key{Owner: caller.ID, Scope: b.limits.Scope})
	}
	return keys
}

// resetQuotas lets the quotas of a key begin anew, and those that it had before.
func (a *api) resetQuotas(ctx context.Context, id string, before []limit.Key) error {
	keys := a.quotaKeys(ctx, id)
	for _, k := range before {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return a.o.State.Limiter.Reset(ctx, keys...)
}

// peek says how the buckets of a caller are, in their order.
func (a *api) peek(ctx context.Context, caller *identity.Caller, list []bucket) (rates, quotas []limit.State, err error) {
	var ask limit.Ask
	for _, b := range list {
		key := limit.Key{Owner: caller.ID, Scope: b.limits.Scope}
		ask.Rates = append(ask.Rates, limit.RateBucket{Key: key, Rate: limit.Rate{Requests: b.limits.Rate, Per: seconds(b.limits.Per)}})
		ask.Quotas = append(ask.Quotas, limit.QuotaBucket{Key: key, Max: b.limits.QuotaMax, Renewal: seconds(float64(b.limits.QuotaRenewal))})
	}
	var v limit.Verdict
	if err := a.o.State.Limiter.Peek(ctx, &ask, &v); err != nil {
		return nil, nil, err
	}
	return v.Rates, v.Quotas, nil
}

// seconds is a number of seconds, as long as a Duration can be at most.
func seconds(s float64) time.Duration {
	if d := s * float64(time.Second); d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
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
	s := caller.Session.Clone()
	withoutSecrets(s)
	list := buckets(caller)
	_, quotas, err := a.peek(ctx, caller, list)
	if err != nil {
		return nil, err
	}
	byScope := map[string]limit.State{}
	for i, b := range list {
		byScope[b.limits.Scope] = quotas[i]
	}
	s.QuotaRemaining, s.QuotaRenews = left(byScope[""])
	for id, right := range s.AccessRights {
		if own := caller.Limits(id); own.Scope != "" {
			right.Limit.QuotaRemaining, right.Limit.QuotaRenews = left(byScope[own.Scope])
			s.AccessRights[id] = right
		}
	}
	return s, nil
}

// left is what remains of a quota, and when it renews in unix seconds, 0 for never or not begun.
func left(s limit.State) (remaining, renews int64) {
	if !s.Reset.IsZero() {
		renews = s.Reset.Unix()
	}
	return s.Remaining, renews
}

// standing is how a key stands with one of its limits.
type standing struct {
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
	Limits []standing `json:"limits"`
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
	list := buckets(caller)
	rates, quotas, err := a.peek(ctx, caller, list)
	if err != nil {
		return err
	}
	body := standings{Limits: []standing{}}
	for i, b := range list {
		s := standing{API: b.api}
		if b.limits.QuotaMax > 0 {
			remaining, renews := left(quotas[i])
			s.Quota = &quotaLeft{b.limits.QuotaMax, remaining, renews}
		}
		if b.limits.Rate > 0 && b.limits.Per > 0 {
			s.Rate = &rateStanding{b.limits.Rate, b.limits.Per, rates[i].Remaining}
		}
		if s.Quota != nil || s.Rate != nil {
			body.Limits = append(body.Limits, s)
		}
	}
	router.Reply(c.W, http.StatusOK, body)
	return nil
}
