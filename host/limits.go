package host

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// limits is the step that asks whether a request is within its rates and quotas: those of the key, of the key on this
// API, of the API, of the path. The limiter answers for all of them at once.
type limits struct {
	limiter limit.Limiter
	route   string // its ID
	owner   string // of what the API as a whole is counted by
	api     limit.Rate
	paths   *rules.Rates
	rates   bool // those of keys hold
	quotas  bool // the same
	pass    bool // when the limiter's store is away
}

// newLimits compiles the limits of a version; nil when nothing is ever to be asked.
func (c *compiler) newLimits(r *config.Rules) (*limits, error) {
	d := c.d
	paths, err := rules.CompileRates(r.PathRates)
	if err != nil {
		return nil, err
	}
	l := &limits{
		route: d.ID, owner: "api:" + d.ID, api: limit.Rate{Requests: d.Limits.Rate.Requests, Per: d.Limits.Rate.Per}, paths: paths,
		rates: !d.Keyless && !d.Limits.IgnoreKeyRate, quotas: !d.Keyless && !d.Limits.IgnoreKeyQuota, pass: c.o.PassUnlimited,
	}
	if !l.rates && !l.quotas && l.paths == nil && l.api.None() {
		return nil, nil
	}
	l.limiter, err = c.o.Shared.Limiter()
	return l, err
}

func (l *limits) run(st *state) error {
	a := &st.ask
	a.Rates, a.Quotas = a.Rates[:0], a.Quotas[:0]
	var own identity.Limits
	if !st.ignored && (l.rates || l.quotas) {
		own = st.limits()
		l.ofKey(st, &own)
	}
	keyed := len(a.Rates)
	if !l.api.None() {
		a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: l.owner}, Rate: l.api})
	}
	if at, rate := l.paths.Find(st.f.X.Request().Method(), st.rest()); at >= 0 {
		a.Rates = append(a.Rates, limit.RateBucket{
			Key:  limit.Key{Owner: l.owner, Scope: st.variant.name + "/" + strconv.Itoa(at)},
			Rate: limit.Rate{Requests: rate.Requests, Per: rate.Per},
		})
	}
	if len(a.Rates)+len(a.Quotas) == 0 {
		return nil
	}
	for try := int64(0); ; try++ {
		err := l.limiter.Take(st.f.Ctx, a, &st.verdict)
		switch {
		case err != nil:
			return l.failed(st, err)
		case st.verdict.Passed():
			st.limited = true
			return nil
		case st.verdict.Refused != limit.ByRate || st.verdict.Index >= keyed || try >= own.ThrottleRetries || own.ThrottleInterval <= 0:
			return l.refused(st, keyed)
		}
		if err := pause(st.f.Ctx, seconds(own.ThrottleInterval)); err != nil {
			return err
		}
	}
}

// ofKey adds what bounds the caller.
func (l *limits) ofKey(st *state, own *identity.Limits) {
	a, owner := &st.ask, st.countedBy()
	per := seconds(own.Per)
	if e, path := st.endpoint(own.Endpoints); e != nil && l.rates {
		a.Rates = append(a.Rates, limit.RateBucket{
			Key:  limit.Key{Owner: owner, Scope: l.route + " " + e.Name + " " + path},
			Rate: limit.Rate{Requests: e.Limit.Rate, Per: seconds(e.Limit.Per)},
		})
	} else if l.rates && own.Rate > 0 && per > 0 {
		a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: owner, Scope: own.Scope}, Rate: limit.Rate{Requests: own.Rate, Per: per}})
	}
	if l.quotas && own.QuotaMax > 0 {
		a.Quotas = append(a.Quotas, limit.QuotaBucket{
			Key: limit.Key{Owner: owner, Scope: own.Scope}, Max: own.QuotaMax, Renewal: time.Duration(min(own.QuotaRenewal, math.MaxInt64/int64(time.Second))) * time.Second,
		})
	}
}

// endpoint returns the first of a session's endpoints with a rate for this request, nil when there is none.
func (st *state) endpoint(list []identity.Endpoint) (*identity.EndpointMethod, string) {
	for i := range list {
		e := &list[i]
		for k := range e.Methods {
			m := &e.Methods[k]
			if m.Limit.Rate > 0 && m.Limit.Per > 0 && sdk.EqualFold(m.Name, st.f.X.Request().Method()) &&
				st.route.patterns.match(e.Path, st.rest()) {
				return m, e.Path
			}
		}
	}
	return nil, ""
}

// seconds is a number of seconds, as long as a Duration can be at most.
func seconds(s float64) time.Duration {
	if d := s * float64(time.Second); d < math.MaxInt64 {
		return time.Duration(d)
	}
	return math.MaxInt64
}

// limits returns what bounds the caller on this API. A hook that has changed the session has changed its limits.
func (st *state) limits() identity.Limits {
	s := st.f.X.Session()
	if st.caller != nil {
		own := st.caller.Limits(st.route.info.ID)
		if s == st.caller.View || own.Scope != "" {
			return own
		}
	}
	if s == nil {
		return identity.Limits{}
	}
	return identity.Limits{Rate: s.Rate, Per: s.Per, QuotaMax: s.QuotaMax, QuotaRenewal: s.QuotaRenewalRate}
}

// patternKey is the metadata by which a session is counted with others (reference §2.5).
const patternKey = "rate_limit_pattern"

// countedBy is whose counters the caller's requests count in.
func (st *state) countedBy() string {
	s := st.f.X.Session()
	if pattern := s.Metadata[patternKey]; pattern != "" {
		t := rules.CompileTemplate(pattern)
		return "pattern:" + t.Expand(st)
	}
	if st.caller != nil {
		return st.caller.ID
	}
	return keyHash(s.KeyID)
}

func (l *limits) failed(st *state, err error) error {
	if errors.Is(err, context.Canceled) && st.f.Ctx.Err() != nil {
		return err
	}
	if l.pass && errors.Is(err, limit.ErrStore) {
		st.failure = "not counted: " + firstLine(err.Error())
		return nil
	}
	if errors.Is(err, limit.ErrStore) {
		return &sdk.Error{Status: 503, Message: "Limits unavailable", Err: err}
	}
	return &sdk.Error{Status: 500, Message: "Internal Server Error", Err: err}
}

// refused ends a request that is over one of its limits (reference §12).
func (l *limits) refused(st *state, keyed int) error {
	v := &st.verdict
	st.limited = true
	refusal := &sdk.Error{Status: 429, Message: "Rate Limit Exceeded"}
	kind := sdk.EventRateLimitExceeded
	switch {
	case v.Refused == limit.ByQuota:
		refusal = &sdk.Error{Status: 403, Message: "Quota exceeded"}
		kind = sdk.EventQuotaExceeded
	case v.Index >= keyed:
		refusal.Message = "API Rate Limit Exceeded"
	}
	st.event(kind, refusal.Message)
	if v.RetryAfter > 0 {
		st.retryAfter = int64(math.Ceil(v.RetryAfter.Seconds()))
	}
	return refusal
}

// pause waits, unless the client leaves.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// limitHeaders tells the client how it stands. In classic definitions the fields are always there, zero where nothing is
// counted, and replace the upstream's (reference §12).
func (st *state) limitHeaders(h *sdk.Header) {
	if st.retryAfter > 0 {
		h.Replace("Retry-After", strconv.FormatInt(st.retryAfter, 10))
	}
	var s limit.State
	switch st.gate.options.LimitHeaders {
	case config.LimitHeadersNone:
		return
	case config.LimitHeadersRates:
		if st.limited && len(st.verdict.Rates) > 0 {
			s = st.verdict.Rates[0]
		}
	default:
		if st.limited && len(st.verdict.Quotas) > 0 {
			s = st.verdict.Quotas[0]
		}
	}
	if s == (limit.State{}) && (st.route.definition.Dialect != config.DialectTyk || st.answeredBy != "upstream") {
		return
	}
	reset := int64(0)
	if !s.Reset.IsZero() {
		reset = s.Reset.Unix()
	}
	// The names as net/http spells them, which would otherwise be spelled anew for each reply; the values in one piece.
	var digits [60]byte
	all := strconv.AppendInt(digits[:0], s.Limit, 10)
	one := len(all)
	all = strconv.AppendInt(all, s.Remaining, 10)
	two := len(all)
	values := string(strconv.AppendInt(all, reset, 10))
	h.Replace("X-Ratelimit-Limit", values[:one])
	h.Replace("X-Ratelimit-Remaining", values[one:two])
	h.Replace("X-Ratelimit-Reset", values[two:])
}
