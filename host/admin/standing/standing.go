// Package standing says how keys stand with their limits, and lets their quotas begin anew: for the control API, and for
// scripts that handle keys.
package standing

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

// Book is where keys and their counters are. Both are required. It is safe for concurrent use.
type Book struct {
	Keys    *identity.Keys
	Limiter limit.Limiter
}

// Bucket is one set of counters of a key: for one API, or for all that have no limits of their own.
type Bucket struct {
	API    string // one of those that it counts for; empty when it counts for all
	Limits identity.Limits
}

// Buckets are those of a caller, the common ones first.
func Buckets(caller *identity.Caller) []Bucket {
	list := []Bucket{{"", caller.Limits("")}}
	for _, api := range slices.Sorted(maps.Keys(caller.Session.AccessRights)) {
		own := caller.Limits(api)
		same := func(b Bucket) bool { return b.Limits.Scope == own.Scope }
		if !slices.ContainsFunc(list, same) {
			list = append(list, Bucket{api, own})
		}
	}
	return list
}

// QuotaKeys are what the quotas of the key of that id are counted by; none of a key that cannot be used.
func (b Book) QuotaKeys(ctx context.Context, id string) []limit.Key {
	caller, err := b.Keys.LookupID(ctx, id)
	if err != nil {
		return nil
	}
	var keys []limit.Key
	for _, one := range Buckets(caller) {
		keys = append(keys, limit.Key{Owner: caller.ID, Scope: one.Limits.Scope})
	}
	return keys
}

// ResetQuotas lets the quotas of the key of that id begin anew, and those that it had before.
func (b Book) ResetQuotas(ctx context.Context, id string, before []limit.Key) error {
	keys := b.QuotaKeys(ctx, id)
	for _, k := range before {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return b.Limiter.Reset(ctx, keys...)
}

// Peek says how the buckets of a caller are, in their order.
func (b Book) Peek(ctx context.Context, caller *identity.Caller, list []Bucket) (rates, quotas []limit.State, err error) {
	var ask limit.Ask
	for _, one := range list {
		key := limit.Key{Owner: caller.ID, Scope: one.Limits.Scope}
		ask.Rates = append(ask.Rates, limit.RateBucket{Key: key, Rate: limit.Rate{Requests: one.Limits.Rate, Per: seconds(one.Limits.Per)}})
		ask.Quotas = append(ask.Quotas, limit.QuotaBucket{Key: key, Max: one.Limits.QuotaMax, Renewal: seconds(float64(one.Limits.QuotaRenewal))})
	}
	var v limit.Verdict
	if err := b.Limiter.Peek(ctx, &ask, &v); err != nil {
		return nil, nil, err
	}
	return v.Rates, v.Quotas, nil
}

// Counted is a caller's session, a copy, with what is left of its quotas.
func (b Book) Counted(ctx context.Context, caller *identity.Caller) (*identity.Session, error) {
	s := caller.Session.Clone()
	list := Buckets(caller)
	_, quotas, err := b.Peek(ctx, caller, list)
	if err != nil {
		return nil, err
	}
	byScope := map[string]limit.State{}
	for i, one := range list {
		byScope[one.Limits.Scope] = quotas[i]
	}
	s.QuotaRemaining, s.QuotaRenews = Left(byScope[""])
	for id, right := range s.AccessRights {
		if own := caller.Limits(id); own.Scope != "" {
			right.Limit.QuotaRemaining, right.Limit.QuotaRenews = Left(byScope[own.Scope])
			s.AccessRights[id] = right
		}
	}
	return s, nil
}

// Left is what remains of a quota, and when it renews in unix seconds, 0 for never or not begun.
func Left(s limit.State) (remaining, renews int64) {
	if !s.Reset.IsZero() {
		renews = s.Reset.Unix()
	}
	return s.Remaining, renews
}

// seconds is a number of seconds, as long as a Duration can be at most.
func seconds(s float64) time.Duration {
	if d := s * float64(time.Second); d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
}
