package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrStore marks errors of a limiter whose store did not answer. The request has not been judged; parts of it may have been
// counted. The limiter recovers alone.
var ErrStore = errors.New("limits unavailable")

// Rate is how many requests may pass in how much time. Requests is also the burst, which is never less than one.
type Rate struct {
	Requests float64
	Per      time.Duration
}

// None reports whether the rate bounds nothing: either part is zero or less, or Requests is no finite number.
func (r Rate) None() bool {
	return !(r.Requests > 0) || r.Per <= 0 || math.IsInf(r.Requests, 1)
}

// Burst is how many requests may pass at once.
func (r Rate) Burst() float64 { return max(1, r.Requests) }

// Key names a bucket. Rates and quotas have names of their own: a rate and a quota may have the same key. The caller sees
// to it that two limits that are not one have two keys.
type Key struct {
	// Owner is whose limit it is: a key's hash, an API's id, the gateway. Buckets of one owner are kept together, on one
	// slot of a Redis cluster, and are forgotten together. It should not be a secret: it is visible in the store.
	Owner string
	// Scope tells buckets of one owner apart, such as the API's id, or a path of it; empty is a scope too.
	Scope string
}

// RateBucket is a rate, and what it is counted by. A bucket whose rate is None refuses nothing and counts nothing.
type RateBucket struct {
	Key  Key
	Rate Rate
}

// QuotaBucket is a quota, and what it is counted by.
type QuotaBucket struct {
	Key Key
	// Max is how many requests may pass in a window; 0 or less is unlimited, and counts nothing.
	Max int64
	// Renewal is how long a window lasts; 0 or less is for ever.
	Renewal time.Duration
}

// Ask is one request, under all limits that hold for it. No two buckets of a list may have the same key. A limiter
// reads it during the call only.
type Ask struct {
	Rates  []RateBucket
	Quotas []QuotaBucket
}

// Kind is a kind of bucket.
type Kind uint8

// The kinds. Rates are asked before quotas: a request over both is ByRate.
const (
	ByNone Kind = iota // nothing refused
	ByRate
	ByQuota
)

// String is "none", "rate" or "quota".
func (k Kind) String() string {
	switch k {
	case ByRate:
		return "rate"
	case ByQuota:
		return "quota"
	}
	return "none"
}

// State is how a bucket is after the request was judged, for X-RateLimit headers and session documents. That of a bucket that
// bounds nothing is zero.
type State struct {
	Limit     int64 // Rate.Requests, at least 1, or Max
	Remaining int64 // how many would pass now, at least 0
	// Reset is when all of Limit remains again: for a rate, when the bucket is full; for a quota, when the window ends, zero
	// when it never does or has not begun. It is in this gateway's wall clock.
	Reset time.Time
}

// Verdict is what a limiter answered. Its memory is the caller's and used again in the next call, whole: keep one per
// request in flight, and asking allocates nothing.
type Verdict struct {
	Refused Kind
	// Index is of the bucket that refused, in its list; the first one when several did.
	Index int
	// RetryAfter is how long to wait until no bucket of that kind refuses, if nobody else asks; 0 when it passed, or when
	// waiting does not help.
	RetryAfter time.Duration
	Rates      []State // one for each of Ask.Rates
	Quotas     []State // one for each of Ask.Quotas
}

// Passed reports whether the request may go on.
func (v *Verdict) Passed() bool { return v.Refused == ByNone }

// Begin empties the verdict and makes room for the states of a's buckets. Limiters call it.
func (v *Verdict) Begin(a *Ask) {
	v.Refused, v.Index, v.RetryAfter = ByNone, 0, 0
	v.Rates, v.Quotas = room(v.Rates, len(a.Rates)), room(v.Quotas, len(a.Quotas))
}

func room(s []State, n int) []State {
	if cap(s) < n {
		return make([]State, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// Refuse notes that a bucket refuses, and for how long, 0 if waiting does not help. Limiters call it for each, rates
// before quotas.
func (v *Verdict) Refuse(k Kind, index int, wait time.Duration) {
	switch v.Refused {
	case ByNone:
		v.Refused, v.Index, v.RetryAfter = k, index, wait
	case k:
		if wait <= 0 || v.RetryAfter <= 0 {
			v.RetryAfter = 0
			return
		}
		v.RetryAfter = max(v.RetryAfter, wait)
	}
}

// Limiter judges requests. All methods are safe for concurrent use and bounded by their context; their errors wrap
// ErrStore, or are a context's.
type Limiter interface {
	// Take asks for one request, and takes it from every bucket or from none. v is filled in unless there is an error.
	Take(ctx context.Context, a *Ask, v *Verdict) error
	// Peek fills in v as Take would for a request now, and takes nothing. States are those before the request.
	Peek(ctx context.Context, a *Ask, v *Verdict) error
	// Reset ends the windows of quotas: nothing is used, and the next request begins a new one.
	Reset(ctx context.Context, quotas ...Key) error
	// Forget drops all buckets of an owner, because it is no more.
	Forget(ctx context.Context, owner string) error
}

// Unavailable is an error that wraps ErrStore and err. Limiters use it.
func Unavailable(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrStore, what, err)
}
