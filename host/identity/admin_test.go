package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func TestCreate(t *testing.T) {
	f := newFixture(t, Options{})
	stored, err := f.Create(t.Context(), org, "", &Session{OrgID: "ignored", Alias: "anna", QuotaRemaining: 5, Expires: 7}, Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := strings.CutPrefix(stored.Token, org); !ok || len(name) != 32 || stored.ID != keyid.SHA256.ID(stored.Token) || !stored.Added {
		t.Errorf("got %+v", stored)
	}
	c := f.must(org, stored.Token)
	if c.Session.Alias != "anna" || c.Session.QuotaRemaining != 0 || c.Session.Expires != 7 || !c.Session.DateCreated.Equal(f.clock.now()) {
		t.Errorf("got %+v", c.Session)
	}
	if raw := f.raw(stored.ID); strings.Contains(raw, "quota_remaining") || !strings.Contains(raw, `"org_id":"`+org+`"`) {
		t.Errorf("stored %s", raw)
	}
	if _, err := f.Create(t.Context(), org, "bob", &Session{}, Lifetime{}); err != nil {
		t.Fatal(err)
	}
	f.must(org, "bob")
	f.must(org, org+"bob")
	if _, err := f.Create(t.Context(), org, "bob", &Session{}, Lifetime{}); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Create(t.Context(), org, "carol", &Session{ApplyPolicyID: "none"}, Lifetime{}); !errors.Is(err, ErrPolicy) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Create(t.Context(), "", "x", &Session{}, Lifetime{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token that is too short: %v", err)
	}
}

func TestCreateEncoded(t *testing.T) {
	f := newFixture(t, Options{Encoded: true, Hash: keyid.Murmur128})
	stored, err := f.Create(t.Context(), org, "anna", &Session{}, Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	if parts, ok := keyid.Decode(stored.Token); !ok || parts != (keyid.Parts{Org: org, Name: "anna", Function: keyid.Murmur128}) {
		t.Errorf("got %+v", parts)
	}
	f.must(org, stored.Token)
	f.must(org, "anna")
}

func TestCreateTakesExpiryFromPolicy(t *testing.T) {
	f := newFixture(t, Options{})
	f.policies.SetFiles([]*Policy{{ID: "p", KeyExpiresIn: 60}, {ID: "q", KeyExpiresIn: 30}})
	stored, err := f.Create(t.Context(), org, "", &Session{ApplyPolicies: []string{"p", "q"}}, Lifetime{})
	if err != nil || stored.Session.Expires != f.clock.now().Unix()+60 {
		t.Fatalf("got %+v, %v", stored.Session, err)
	}
	f.clock.advance(10 * time.Second)
	again, err := f.Put(t.Context(), Ref{Org: org, Key: stored.Token}, &Session{ApplyPolicies: []string{"p"}}, Lifetime{})
	if err != nil || again.Session.Expires != stored.Session.Expires || !again.Session.DateCreated.Equal(stored.Session.DateCreated) || again.Added {
		t.Errorf("got %+v, %v", again.Session, err)
	}
}

func TestPut(t *testing.T) {
	f := newFixture(t, Options{Fallback: []keyid.Function{keyid.Murmur32}})
	ctx := t.Context()
	old := keyid.Murmur32.ID("old-token")
	f.importRaw(old, `{"org_id":"`+org+`","alias":"old","x":1}`)
	stored, err := f.Put(ctx, Ref{Org: org, Key: "old-token"}, &Session{Alias: "new"}, Lifetime{})
	if err != nil || stored.ID != old || stored.Added {
		t.Errorf("a key that another function named: %+v, %v", stored, err)
	}
	if c := f.must(org, "old-token"); c.Session.Alias != "new" || len(c.Session.Unknown) > 0 {
		t.Errorf("got %+v", c.Session)
	}
	if stored, err = f.Put(ctx, Ref{Org: org, Key: "cafe", Hashed: true}, &Session{Alias: "by id"}, Lifetime{}); err != nil || stored.ID != "cafe" || stored.Token != "" || !stored.Added {
		t.Errorf("got %+v, %v", stored, err)
	}
	for _, ref := range []Ref{{Org: "other", Key: "cafe", Hashed: true}, {Org: "other", Key: "cafe", Hashed: true, AnyOrg: true}} {
		if _, err := f.Put(ctx, ref, &Session{OrgID: "other"}, Lifetime{}); !errors.Is(err, ErrForeign) {
			t.Errorf("another organisation's key: %v", err)
		}
	}
	if _, err := f.Put(ctx, Ref{Org: org, Key: "x-y-z"}, &Session{OrgID: "other"}, Lifetime{}); !errors.Is(err, ErrForeign) {
		t.Errorf("another organisation's session: %v", err)
	}
	if _, err := f.Put(ctx, Ref{Org: org, Key: strings.Repeat("x", 2000), Hashed: true}, &Session{}, Lifetime{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a long id: %v", err)
	}
	if _, err := f.Put(ctx, Ref{Org: org, Key: "huge"}, &Session{Alias: strings.Repeat("x", MaxJSON)}, Lifetime{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a huge session: %v", err)
	}
	if stored, err = f.Put(ctx, Ref{Org: org, Key: "ending"}, &Session{}, Lifetime{API: time.Minute}); err != nil || !stored.Ends.Equal(f.clock.now().Add(time.Minute)) {
		t.Errorf("got %v, %v", stored.Ends, err)
	}
}

func TestGetExistsDelete(t *testing.T) {
	f := newFixture(t, Options{})
	ctx := t.Context()
	f.policies.SetFiles([]*Policy{{ID: "p", Rate: 99}})
	stored := f.put("anna", &Session{OrgID: org, Rate: 1, ApplyPolicyID: "p"})
	f.policies.SetFiles(nil) // a key without its policy is still there to be mended
	for _, ref := range []Ref{
		{Org: org, Key: "anna"}, {Org: org, Key: org + "anna"}, {AnyOrg: true, Key: org + "anna"}, {AnyOrg: true, Org: org, Key: "anna"},
		{AnyOrg: true, Key: stored.ID, Hashed: true}, {Org: org, Key: stored.ID, Hashed: true},
	} {
		got, err := f.Get(ctx, ref)
		if err != nil || got.ID != stored.ID || got.Session.Rate != 1 {
			t.Errorf("%+v: %+v, %v", ref, got, err)
		}
		if ok, err := f.Exists(ctx, ref); !ok || err != nil {
			t.Errorf("%+v: %v, %v", ref, ok, err)
		}
	}
	for _, ref := range []Ref{{Org: org, Key: stored.ID}, {Org: "other", Key: "anna"}, {Org: "other", Key: stored.ID, Hashed: true}, {}, {Org: org, Key: "none"}} {
		if _, err := f.Get(ctx, ref); !errors.Is(err, ErrUnknown) {
			t.Errorf("%+v: %v", ref, err)
		}
		if ok, err := f.Exists(ctx, ref); ok || err != nil {
			t.Errorf("%+v: %v, %v", ref, ok, err)
		}
		if err := f.Delete(ctx, ref); !errors.Is(err, ErrUnknown) {
			t.Errorf("%+v: %v", ref, err)
		}
	}
	if err := f.Delete(ctx, Ref{Org: org, Key: "anna"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lookup(ctx, org, "anna"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if raw := f.raw(stored.ID); raw != store.ErrNotFound.Error() {
		t.Error(raw)
	}
}

// Of concurrent puts one holds entirely; of concurrent updates, on two gateways, none is lost.
func TestConcurrentWritesOfOneKey(t *testing.T) {
	a := newFixture(t, Options{})
	b := fixtureOn(t, a.store, a.clock, Options{})
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			text := fmt.Sprint(i)
			for range 5 {
				if _, err := []*fixture{a, b}[i%2].Put(t.Context(), Ref{Org: org, Key: "anna"}, &Session{Alias: text, Tags: []string{text}}, Lifetime{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	for _, f := range []*fixture{a, b} {
		if s := f.must(org, "anna").Session; len(s.Tags) != 1 || s.Alias != s.Tags[0] {
			t.Errorf("a mixture: %+v", s)
		}
	}
	a.put("anna", &Session{OrgID: org})
	for i := range 8 {
		writers.Go(func() {
			for range 5 {
				_, err := []*fixture{a, b}[i%2].Update(t.Context(), Ref{Org: org, Key: "anna"}, Lifetime{}, func(s *Session) error { s.QuotaMax++; return nil })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	for _, f := range []*fixture{a, b} {
		if n := f.must(org, "anna").Session.QuotaMax; n != 40 {
			t.Errorf("%d updates are there of 40", n)
		}
	}
}

func TestUpdate(t *testing.T) {
	f := newFixture(t, Options{})
	stored := f.put("anna", &Session{OrgID: org, Tags: []string{"a"}})
	reason := errors.New("no")
	if _, err := f.Update(t.Context(), Ref{Org: org, Key: "anna"}, Lifetime{}, func(s *Session) error { s.Tags[0] = "b"; return reason }); !errors.Is(err, reason) {
		t.Error(err)
	}
	if s := f.must(org, "anna").Session; s.Tags[0] != "a" {
		t.Error("a refused update changed what is in memory")
	}
	got, err := f.Update(t.Context(), Ref{AnyOrg: true, Key: stored.ID, Hashed: true}, Lifetime{}, func(s *Session) error { s.Tags = nil; return nil })
	if err != nil || got.Session.Tags != nil || got.Added || f.must(org, "anna").Session.Tags != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.Update(t.Context(), Ref{Org: org, Key: "none"}, Lifetime{}, nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	f := newFixture(t, Options{Hash: keyid.Plain})
	var ours, all []string
	for i := range 25 {
		s := &Session{OrgID: org}
		if i%5 == 0 {
			s.AccessRights = rights("a")
		}
		ours = append(ours, f.put(fmt.Sprintf("k%02d", i), s).ID)
		all = append(all, f.put(fmt.Sprintf("k%02d", i), &Session{OrgID: "other"}).ID)
	}
	all = append(all, ours...)
	for _, test := range []struct {
		name string
		q    Query
		want []string
	}{
		{"all", Query{AllOrgs: true, Limit: 7}, all},
		{"all in one page", Query{AllOrgs: true}, all},
		{"ours", Query{Org: org, Limit: 7}, ours},
		{"by prefix", Query{AllOrgs: true, Prefix: org + "k1"}, ours[10:20]},
		{"by API", Query{AllOrgs: true, API: "a", Limit: 3}, []string{ours[0], ours[5], ours[10], ours[15], ours[20]}},
		{"nobody's", Query{Org: "none"}, nil},
	} {
		var got []string
		for pages := 0; ; pages++ {
			page, err := f.List(t.Context(), test.q)
			if err != nil || len(page.IDs) > test.q.limit() || pages > 50 {
				t.Fatalf("%s: %+v, %v", test.name, page, err)
			}
			got = append(got, page.IDs...)
			if test.q.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		want := slices.Clone(test.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", test.name, got, want)
		}
	}
	if _, err := f.List(t.Context(), Query{Cursor: "?"}); !errors.Is(err, store.ErrCursor) {
		t.Error(err)
	}
}

func TestNoTokenInErrors(t *testing.T) {
	for _, hash := range []keyid.Function{keyid.SHA256, keyid.Plain} {
		f := newFixture(t, Options{Hash: hash})
		f.importRaw(f.ID("s3cret-token"), `{"org_id":"`+org+`","apply_policy_id":"none"}`)
		_, lookup := f.Lookup(t.Context(), org, "s3cret-token")
		_, put := f.Put(t.Context(), Ref{Org: org, Key: "s3cret-token"}, &Session{ApplyPolicyID: "none"}, Lifetime{})
		_, foreign := f.Adopt(t.Context(), Adoption{Org: "other", Token: "s3cret-token", Session: &Session{}, Store: true})
		f.store.away.Store(true)
		_, away := f.Lookup(t.Context(), org, "s3cret-other")
		_, deleted := f.Get(t.Context(), Ref{Org: org, Key: "s3cret-other"})
		f.store.away.Store(false)
		for _, err := range []error{lookup, put, foreign, away, deleted} {
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v", hash, err)
			}
		}
	}
}

func TestClosedContext(t *testing.T) {
	f := newFixture(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Lookup(ctx, org, "anna"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
