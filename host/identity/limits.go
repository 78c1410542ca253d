package identity

// zero reports whether nothing is limited; counters that are for showing do not count.
func (l Limit) zero() bool {
	return l.Rate == 0 && l.Per == 0 && l.ThrottleInterval == 0 && l.ThrottleRetryLimit == 0 && l.MaxQueryDepth == 0 &&
		l.QuotaMax == 0 && l.QuotaRenewalRate == 0 && len(l.Smoothing) == 0
}

// raise makes l the higher of both in the parts, and returns the parts; what l does not cover yet is replaced. A
// negative figure is no limit and highest, zero says nothing and is lowest.
func (l *Limit) raise(covered part, by Limit, parts part) part {
	if parts&partRate != 0 && (covered&partRate == 0 || higherRate(by.Rate, by.Per, l.Rate, l.Per)) {
		l.replaceRate(by)
	}
	if parts&partQuota != 0 && (covered&partQuota == 0 || higherQuota(by.QuotaMax, l.QuotaMax)) {
		l.QuotaMax, l.QuotaRenewalRate = by.QuotaMax, by.QuotaRenewalRate
	}
	if parts&partComplexity != 0 && (covered&partComplexity == 0 || higherQuota(by.MaxQueryDepth, l.MaxQueryDepth)) {
		l.MaxQueryDepth = by.MaxQueryDepth
	}
	return parts &^ partACL
}

// replace takes the parts over.
func (l *Limit) replace(by Limit, parts part) {
	if parts&partRate != 0 {
		l.replaceRate(by)
	}
	if parts&partQuota != 0 {
		l.QuotaMax, l.QuotaRenewalRate = by.QuotaMax, by.QuotaRenewalRate
	}
	if parts&partComplexity != 0 {
		l.MaxQueryDepth = by.MaxQueryDepth
	}
}

func (l *Limit) replaceRate(by Limit) {
	l.Rate, l.Per, l.Smoothing = by.Rate, by.Per, by.Smoothing
	l.ThrottleInterval, l.ThrottleRetryLimit = by.ThrottleInterval, by.ThrottleRetryLimit
}

func higherRate(rate, per, than, thanPer float64) bool {
	switch {
	case than < 0 || rate == 0:
		return false
	case rate < 0 || than == 0:
		return true
	}
	return rate*thanPer > than*per
}

func higherQuota(quota, than int64) bool {
	switch {
	case than < 0 || quota == 0:
		return false
	case quota < 0:
		return true
	}
	return quota > than
}

func (s *Session) limit() Limit {
	return Limit{
		Rate: s.Rate, Per: s.Per, ThrottleInterval: s.ThrottleInterval, ThrottleRetryLimit: s.ThrottleRetryLimit,
		MaxQueryDepth: s.MaxQueryDepth, QuotaMax: s.QuotaMax, QuotaRenewalRate: s.QuotaRenewalRate, Smoothing: s.Smoothing,
	}
}

func (s *Session) setLimit(l Limit) {
	s.Rate, s.Per, s.ThrottleInterval, s.ThrottleRetryLimit = l.Rate, l.Per, l.ThrottleInterval, l.ThrottleRetryLimit
	s.MaxQueryDepth, s.QuotaMax, s.QuotaRenewalRate, s.Smoothing = l.MaxQueryDepth, l.QuotaMax, l.QuotaRenewalRate, l.Smoothing
}

// limits is l as it bounds an API.
func (l Limit) limits(scope string, endpoints []Endpoint) Limits {
	return Limits{
		Rate: l.Rate, Per: l.Per, ThrottleInterval: l.ThrottleInterval, ThrottleRetries: l.ThrottleRetryLimit, QuotaMax: l.QuotaMax,
		QuotaRenewal: l.QuotaRenewalRate, MaxQueryDepth: l.MaxQueryDepth, Scope: scope, Endpoints: endpoints,
	}
}
