package host

import (
	"context"
	"errors"
	"math"
	"net/url"
	"slices"
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
	tags    map[string]limit.Rate // by what hooks left; nil when none is bounded
	rates   bool                  // those of keys hold
	quotas  bool                  // the same
	pass    bool                  // when the limiter's store is away
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
	for tag, r := range d.Limits.Tags {
		if l.tags == nil {
			l.tags = make(map[string]limit.Rate, len(d.Limits.Tags))
		}
		if rate := (limit.Rate{Requests: r.Requests, Per: r.Per}); !rate.None() {
			l.tags[tag] = rate
		}
	}
	if !l.rates && !l.quotas && l.paths == nil && l.tags == nil && l.api.None() {
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
	if l.paths != nil {
		l.ofPath(st)
	}
	if l.tags != nil {
		l.ofTags(st)
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

// ofPath adds what bounds the path, in every reading of it: none is a way around the rate of another.
func (l *limits) ofPath(st *state) {
	rules.Readings(st.rest(), func(reading string) {
		at, rate := l.paths.Find(st.f.X.Request().Method(), reading)
		if at < 0 {
			return
		}
		st.ask.Rates = withRate(st.ask.Rates, limit.RateBucket{
			Key:  limit.Key{Owner: l.owner, Scope: st.variant.name + "/" + strconv.Itoa(at)},
			Rate: limit.Rate{Requests: rate.Requests, Per: rate.Per},
		})
	})
}

// ofTags adds what bounds requests with the tags that hooks have left.
func (l *limits) ofTags(st *state) {
	for _, tag := range st.f.X.Tags() {
		if rate, ok := l.tags[tag]; ok {
			st.ask.Rates = withRate(st.ask.Rates, limit.RateBucket{Key: limit.Key{Owner: "tag:" + l.route, Scope: tag}, Rate: rate})
		}
	}
}

// withRate adds a bucket that is not among the others.
func withRate(list []limit.RateBucket, b limit.RateBucket) []limit.RateBucket {
	if slices.ContainsFunc(list, func(have limit.RateBucket) bool { return have.Key == b.Key }) {
		return list
	}
	return append(list, b)
}

// ofKey adds what bounds the caller.
func (l *limits) ofKey(st *state, own *identity.Limits) {
	a, owner := &st.ask, st.countedBy()
	if l.rates {
		l.ratesOfKey(st, own, owner)
	}
	if l.quotas && own.QuotaMax > 0 {
		a.Quotas = append(a.Quotas, limit.QuotaBucket{
			Key: limit.Key{Owner: owner, Scope: own.Scope}, Max: own.QuotaMax, Renewal: time.Duration(min(own.QuotaRenewal, math.MaxInt64/int64(time.Second))) * time.Second,
		})
	}
}

// ratesOfKey adds the rate of the endpoint that is asked for, else that of the session; of a path with several readings, the
// rates of all.
func (l *limits) ratesOfKey(st *state, own *identity.Limits, owner string) {
	a, per := &st.ask, seconds(own.Per)
	session := func() {
		if own.Rate > 0 && per > 0 {
			a.Rates = withRate(a.Rates, limit.RateBucket{Key: limit.Key{Owner: owner, Scope: own.Scope}, Rate: limit.Rate{Requests: own.Rate, Per: per}})
		}
	}
	if len(own.Endpoints) == 0 {
		session()
		return
	}
	rules.Readings(st.rest(), func(reading string) {
		e, path := st.endpoint(own.Endpoints, reading)
		if e == nil {
			session()
			return
		}
		a.Rates = withRate(a.Rates, limit.RateBucket{
			Key:  limit.Key{Owner: owner, Scope: l.route + " " + e.Name + " " + path},
			Rate: limit.Rate{Requests: e.Limit.Rate, Per: seconds(e.Limit.Per)},
		})
	})
}

// endpoint returns the first of a session's endpoints with a rate for a request of that path, nil when there is none.
func (st *state) endpoint(list []identity.Endpoint, reading string) (*identity.EndpointMethod, string) {
	for i := range list {
		e := &list[i]
		for k := range e.Methods {
			m := &e.Methods[k]
			if m.Limit.Rate > 0 && m.Limit.Per > 0 && sdk.EqualFold(m.Name, st.f.X.Request().Method()) &&
				st.route.patterns.match(e.Path, reading) {
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

// limits returns what bounds the caller on this API. A hook that has changed the session's limits has changed them where they
// are the session's; those that an API has of its own stay.
func (st *state) limits() identity.Limits {
	s := st.f.X.Session()
	if s == nil {
		return identity.Limits{}
	}
	var own identity.Limits
	if st.sameCaller() {
		own = st.caller.Limits(st.route.info.ID)
		if s == st.caller.View || own.Scope != "" {
			return own
		}
	}
	own.Rate, own.Per, own.QuotaMax, own.QuotaRenewal = s.Rate, s.Per, s.QuotaMax, s.QuotaRenewalRate
	return own
}

// sameCaller reports whether the session is that of who came in, and no hook has put another's in its place since.
func (st *state) sameCaller() bool {
	s := st.f.X.Session()
	return st.caller != nil && (s == st.caller.View || s != nil && s.KeyID == st.caller.View.KeyID)
}

// patternKey is the metadata by which a session is counted with others (reference §2.5).
const patternKey = "rate_limit_pattern"

// countedBy is whose counters the caller's requests count in. What hooks and patterns name is one's organisation's own.
func (st *state) countedBy() string {
	s := st.f.X.Session()
	if pattern := s.Metadata[patternKey]; pattern != "" {
		t := rules.CompileTemplate(pattern)
		return "pattern:" + st.ofOrg(t.Expand(st))
	}
	if st.sameCaller() {
		return st.caller.ID
	}
	return keyHash(st.ofOrg(s.KeyID))
}

// ofOrg makes of a name one that no other organisation has.
func (st *state) ofOrg(name string) string {
	return url.PathEscape(st.route.info.Org) + "/" + name
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
