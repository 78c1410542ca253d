package limit_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

func TestRateNone(t *testing.T) {
	for _, test := range []struct {
		rate limit.Rate
		none bool
	}{
		{limit.Rate{}, true},
		{limit.Rate{Requests: 1}, true},
		{limit.Rate{Per: time.Second}, true},
		{limit.Rate{Requests: -1, Per: time.Second}, true},
		{limit.Rate{Requests: math.NaN(), Per: time.Second}, true},
		{limit.Rate{Requests: math.Inf(1), Per: time.Second}, true},
		{limit.Rate{Requests: 1e-9, Per: 1}, false},
	} {
		if got := test.rate.None(); got != test.none {
			t.Errorf("%v: none %v", test.rate, got)
		}
	}
}

func TestVerdictRefuse(t *testing.T) {
	v := limit.Verdict{Refused: limit.ByQuota, Index: 3, RetryAfter: 1, Rates: []limit.State{{Limit: 1}}}
	v.Begin(&limit.Ask{Rates: make([]limit.RateBucket, 2), Quotas: make([]limit.QuotaBucket, 1)})
	if !v.Passed() || v.RetryAfter != 0 || len(v.Rates) != 2 || len(v.Quotas) != 1 || v.Rates[0] != (limit.State{}) {
		t.Fatalf("begun: %+v", v)
	}
	v.Refuse(limit.ByRate, 1, time.Second)
	v.Refuse(limit.ByRate, 2, time.Minute)
	v.Refuse(limit.ByQuota, 0, time.Hour)
	if v.Refused != limit.ByRate || v.Index != 1 || v.RetryAfter != time.Minute {
		t.Errorf("%+v", v)
	}
	v.Begin(&limit.Ask{})
	v.Refuse(limit.ByQuota, 0, 0) // for ever
	v.Refuse(limit.ByQuota, 1, time.Hour)
	if v.Index != 0 || v.RetryAfter != 0 {
		t.Errorf("waiting does not help: %+v", v)
	}
	if errors.Is(limit.Unavailable("x", errors.New("y")), limit.ErrStore) != true {
		t.Error("not marked")
	}
}
