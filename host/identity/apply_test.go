package identity

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func rights(ids ...string) map[string]Access {
	m := map[string]Access{}
	for _, id := range ids {
		m[id] = Access{APIID: id}
	}
	return m
}

func TestApply(t *testing.T) {
	gold := func() *Policy {
		return &Policy{ID: "gold", Rate: 100, Per: 1, QuotaMax: 1000, QuotaRenewalRate: 60, MaxQueryDepth: 5, AccessRights: rights("a", "b")}
	}
	silver := func() *Policy {
		return &Policy{ID: "silver", Rate: 60, Per: 60, QuotaMax: -1, QuotaRenewalRate: 30, AccessRights: rights("b", "c")}
	}
	part := func(p *Policy, parts Partitions) *Policy { p.Partitions = parts; return p }
	own := func() *Session {
		return &Session{Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 6, AccessRights: rights("own"), Tags: []string{"t"}}
	}
	tests := []struct {
		name     string
		session  *Session
		policies []*Policy
		want     *Session
	}{
		{"none", own(), nil, own()},
		{
			"a whole one replaces limits and rights", own(), []*Policy{gold()},
			&Session{Rate: 100, Per: 1, QuotaMax: 1000, QuotaRenewalRate: 60, MaxQueryDepth: 5, AccessRights: rights("a", "b"), Tags: []string{"t"}},
		},
		{
			"rate alone", own(), []*Policy{part(gold(), Partitions{RateLimit: true})},
			&Session{Rate: 100, Per: 1, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 6, AccessRights: rights("own"), Tags: []string{"t"}},
		},
		{
			"quota alone", own(), []*Policy{part(gold(), Partitions{Quota: true})},
			&Session{Rate: 1, Per: 2, QuotaMax: 1000, QuotaRenewalRate: 60, MaxQueryDepth: 6, AccessRights: rights("own"), Tags: []string{"t"}},
		},
		{
			"complexity alone", own(), []*Policy{part(gold(), Partitions{Complexity: true})},
			&Session{Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 5, AccessRights: rights("own"), Tags: []string{"t"}},
		},
		{
			"rights alone keep the session's limits", own(), []*Policy{part(gold(), Partitions{ACL: true}), part(silver(), Partitions{ACL: true})},
			&Session{Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 6, AccessRights: rights("a", "b", "c"), Tags: []string{"t"}},
		},
		{
			"each partition from another", own(),
			[]*Policy{part(gold(), Partitions{ACL: true}), part(silver(), Partitions{RateLimit: true}), part(gold(), Partitions{Quota: true})},
			&Session{Rate: 60, Per: 60, QuotaMax: 1000, QuotaRenewalRate: 60, MaxQueryDepth: 6, AccessRights: rights("a", "b"), Tags: []string{"t"}},
		},
		{
			"two whole ones: the highest holds, each API has the limits of those that grant it", &Session{}, []*Policy{silver(), gold()},
			&Session{
				Rate: 100, Per: 1, QuotaMax: -1, QuotaRenewalRate: 30, MaxQueryDepth: 5,
				AccessRights: map[string]Access{
					"a": {APIID: "a", AllowanceScope: "gold", Limit: Limit{Rate: 100, Per: 1, QuotaMax: 1000, QuotaRenewalRate: 60, MaxQueryDepth: 5}},
					"b": {APIID: "b", AllowanceScope: "silver", Limit: Limit{Rate: 100, Per: 1, QuotaMax: -1, QuotaRenewalRate: 30, MaxQueryDepth: 5}},
					"c": {APIID: "c", AllowanceScope: "silver", Limit: Limit{Rate: 60, Per: 60, QuotaMax: -1, QuotaRenewalRate: 30}},
				},
			},
		},
		{
			"one with limits and one with rights alone: counted together", &Session{}, []*Policy{gold(), part(silver(), Partitions{ACL: true})},
			nil, // mixed, but of no conflict; checked below
		},
		{
			"per API", own(), []*Policy{{ID: "p", Rate: 9, Partitions: Partitions{PerAPI: true}, AccessRights: map[string]Access{
				"a": {Limit: Limit{Rate: 7, Per: 1, QuotaMax: 70}}, "b": {},
			}}},
			&Session{
				Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 6, Tags: []string{"t"},
				AccessRights: map[string]Access{"a": {APIID: "a", AllowanceScope: "a", Limit: Limit{Rate: 7, Per: 1, QuotaMax: 70}}, "b": {APIID: "b"}},
			},
		},
		{
			"rights add up", &Session{}, []*Policy{
				{ID: "1", Partitions: Partitions{ACL: true}, AccessRights: map[string]Access{
					"a": {Versions: []string{"v1"}, AllowedURLs: []Spec{{URL: "/x", Methods: []string{"GET"}}}}, "all": {Versions: []string{"v1"}, AllowedURLs: []Spec{{URL: "/x"}}}}},
				{ID: "2", Partitions: Partitions{ACL: true}, AccessRights: map[string]Access{
					"a": {Versions: []string{"v1", "v2"}, AllowedURLs: []Spec{{URL: "/x", Methods: []string{"PUT"}}, {URL: "/y"}}}, "all": {}}},
			},
			&Session{AccessRights: map[string]Access{
				"a":   {APIID: "a", Versions: []string{"v1", "v2"}, AllowedURLs: []Spec{{URL: "/x", Methods: []string{"GET", "PUT"}}, {URL: "/y"}}},
				"all": {APIID: "all"},
			}},
		},
		{
			"the rest", &Session{Metadata: Metadata{"a": "own", "b": "own"}, Tags: []string{"t", "u"}, PostExpiryAction: "retain"},
			[]*Policy{{
				ID: "x", Partitions: Partitions{ACL: true}, Metadata: Metadata{"a": "policy"}, Tags: []string{"u", "v"}, Inactive: true, HMACEnabled: true,
				HTTPSignatures: true, PostExpiryAction: "delete", PostExpiryGrace: 5,
			}},
			&Session{
				Metadata: Metadata{"a": "policy", "b": "own"}, Tags: []string{"t", "u", "v"}, Inactive: true, HMACEnabled: true,
				HTTPSignatures: true, PostExpiryAction: "delete", PostExpiryGrace: 5,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := test.session.Clone()
			got, err := Apply(test.session, test.policies)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, test.session, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the session itself changed: %s", diff)
			}
			if test.want == nil {
				if got.Rate != 100 || len(got.AccessRights) != 3 || !got.AccessRights["c"].Limit.zero() || got.AccessRights["c"].AllowanceScope != "" {
					t.Errorf("got %+v", got)
				}
				return
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyRefusesMixedPartitions(t *testing.T) {
	perAPI := &Policy{ID: "p", Partitions: Partitions{PerAPI: true}}
	quota := &Policy{ID: "q", Partitions: Partitions{Quota: true}}
	both := &Policy{ID: "b", Partitions: Partitions{PerAPI: true, ACL: true}}
	for _, list := range [][]*Policy{{perAPI, quota}, {quota, perAPI}, {both}} {
		if _, err := Apply(&Session{}, list); !errors.Is(err, ErrPolicy) {
			t.Errorf("%v", err)
		}
	}
	if _, err := Apply(&Session{}, []*Policy{perAPI, {ID: "whole"}}); err != nil {
		t.Error(err)
	}
}

func TestHigher(t *testing.T) {
	for _, test := range []struct {
		rate, per, than, thanPer float64
		want                     bool
	}{
		{10, 1, 5, 1, true}, {5, 1, 10, 1, false}, {10, 10, 5, 1, false}, {0, 1, 5, 1, false}, {5, 1, 0, 0, true}, {-1, 1, 5, 1, true}, {5, 1, -1, 1, false},
	} {
		if got := higherRate(test.rate, test.per, test.than, test.thanPer); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestCallerLimits(t *testing.T) {
	endpoints := []Endpoint{{Path: "/x"}}
	c := newCaller("t", "id", &Session{
		Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewalRate: 4, MaxQueryDepth: 5, ThrottleInterval: 6, ThrottleRetryLimit: 7,
		AccessRights: map[string]Access{
			"same": {}, "own": {Limit: Limit{Rate: 10}}, "scoped": {Limit: Limit{Rate: 10}, AllowanceScope: "s"},
			"endpoints": {Endpoints: endpoints}, "shown": {Limit: Limit{QuotaRemaining: 5}},
		},
	}, nil)
	base := Limits{Rate: 1, Per: 2, QuotaMax: 3, QuotaRenewal: 4, MaxQueryDepth: 5, ThrottleInterval: 6, ThrottleRetries: 7}
	ends := base
	ends.Endpoints = endpoints
	for api, want := range map[string]Limits{
		"same": base, "unknown": base, "shown": base, "own": {Rate: 10, Scope: "own"}, "scoped": {Rate: 10, Scope: "s"}, "endpoints": ends,
	} {
		if diff := cmp.Diff(want, c.Limits(api)); diff != "" {
			t.Errorf("%s: %s", api, diff)
		}
	}
	if c.View.KeyID != "t" || newCaller("", "id", &Session{}, nil).View.KeyID != "id" {
		t.Error("the view has another name")
	}
}
