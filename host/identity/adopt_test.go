package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// never flushes by itself within a test.
func unhurried() Options { return Options{FlushEvery: time.Hour} }

func (f *fixture) adopt(a Adoption) *Caller {
	f.t.Helper()
	c, err := f.Adopt(f.t.Context(), a)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) flushed() {
	f.t.Helper()
	if left, err := f.behind.flush(f.t.Context()); left > 0 || err != nil {
		f.t.Fatalf("%d sessions left: %v", left, err)
	}
}

func hook(alias string) Adoption {
	return Adoption{Org: org, Token: "hook-token", Store: true, Hook: &sdk.Session{
		OrgID: "ignored", KeyID: "ignored", Alias: alias, QuotaRemaining: 4, Metadata: map[string]string{"token": "hook-token"},
		AccessRights: map[string]sdk.AccessDefinition{"a": {APIID: "a", AllowedURLs: []sdk.AccessSpec{{}, {}}}},
	}}
}

func TestAdoptHook(t *testing.T) {
	f := newFixture(t, unhurried())
	c := f.adopt(hook("anna"))
	if c.Token != "hook-token" || c.ID != keyid.SHA256.ID("hook-token") || c.View.KeyID != "hook-token" || c.Session.OrgID != org ||
		c.Session.Alias != "anna" || c.Session.QuotaRemaining != 0 || len(c.Session.AccessRights["a"].AllowedURLs) != 0 {
		t.Errorf("got %+v", c)
	}
	if f.must(org, "hook-token") != c {
		t.Error("it is not found before it is written")
	}
	f.cache.forgetAll()
	if f.must(org, "hook-token").Session.Alias != "anna" {
		t.Error("without the cache it is not found before it is written")
	}
	if raw := f.raw(c.ID); raw != store.ErrNotFound.Error() {
		t.Errorf("it is written at once: %s", raw)
	}
	f.flushed()
	if raw := f.raw(c.ID); !strings.Contains(raw, `"alias":"anna"`) || strings.Contains(raw, "quota_remaining") {
		t.Errorf("stored %s", raw)
	}
	if _, err := f.Lookup(t.Context(), "other", "hook-token"); !errors.Is(err, ErrUnknown) {
		t.Errorf("another organisation's: %v", err)
	}
	other := hook("mallory")
	other.Org = "other"
	if _, err := f.Adopt(t.Context(), other); !errors.Is(err, ErrForeign) {
		t.Errorf("another organisation takes the key over: %v", err)
	}
}

// What is the same is not written again, however often it comes, in this process and the next.
func TestEqualAdoptionsAreWrittenOnce(t *testing.T) {
	f := newFixture(t, unhurried())
	updates := func() int64 { return f.store.updates.Load() }
	for range 20 {
		f.adopt(hook("anna"))
	}
	f.flushed()
	if n := updates(); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
	next := fixtureOn(t, f.store, f.clock, unhurried())
	for range 20 {
		next.clock.advance(time.Hour)
		next.adopt(hook("anna"))
		next.cache.forgetAll()
	}
	next.flushed()
	if n := updates(); n != 1 {
		t.Errorf("%d writes after the second start, want 1", n)
	}
	for i := range 20 {
		f.adopt(hook(fmt.Sprint(i)))
	}
	f.flushed()
	if n := updates(); n != 2 {
		t.Errorf("%d writes after 20 changes in a row, want 2", n)
	}
	if !strings.Contains(f.raw(f.ID("hook-token")), `"alias":"19"`) {
		t.Errorf("stored %s", f.raw(f.ID("hook-token")))
	}
}

func TestAdoptionsAreFlushedInTime(t *testing.T) {
	f := newFixture(t, Options{FlushEvery: time.Millisecond})
	f.adopt(hook("anna"))
	if key := <-f.store.wrote; key != keyPrefix+f.ID("hook-token") {
		t.Errorf("wrote %q", key)
	}
}

func TestAdoptionsSurviveClose(t *testing.T) {
	f := newFixture(t, unhurried())
	next := fixtureOn(t, f.store, f.clock, unhurried())
	for i := range 200 {
		a := hook("anna")
		a.Token = fmt.Sprint("token-", i)
		next.adopt(a)
	}
	if err := next.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		f.must(org, fmt.Sprint("token-", i))
	}
	if _, err := next.Adopt(t.Context(), hook("later")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	f := newFixture(t, unhurried())
	next := fixtureOn(t, f.store, f.clock, unhurried())
	next.adopt(hook("anna"))
	f.store.away.Store(true)
	if err := next.Close(t.Context()); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "1 sessions are lost") {
		t.Errorf("got %v", err)
	}
	f.store.away.Store(false) // the fixture closes it again, and then nothing is lost
}

// With the store away sessions wait, those in memory go on, and all are written when it is back.
func TestAdoptWhileStoreIsAway(t *testing.T) {
	failures := make(chan error, 100)
	f := newFixture(t, Options{FlushEvery: time.Millisecond, Failed: func(err error) {
		select {
		case failures <- err:
		default:
		}
	}})
	f.adopt(hook("before"))
	<-f.store.wrote
	f.adopt(hook("before")) // in memory again, after the write
	f.store.away.Store(true)
	c := f.adopt(hook("anna"))
	if c.Session.Alias != "anna" {
		t.Errorf("got %+v", c.Session)
	}
	if err := <-failures; !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	f.adopt(hook("bob"))
	<-failures
	fresh := hook("carol")
	fresh.Token = "not-in-memory"
	if _, err := f.Adopt(t.Context(), fresh); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	fresh.Store = false
	if c := f.adopt(fresh); c.Session.Alias != "carol" {
		t.Error("what is not to be stored needs no store")
	}
	f.store.away.Store(false)
	<-f.store.wrote
	f.flushed()
	if !strings.Contains(f.raw(c.ID), `"alias":"bob"`) {
		t.Errorf("stored %s", f.raw(c.ID))
	}
}

func TestWaitingIsBounded(t *testing.T) {
	f := newFixture(t, unhurried())
	f.behind.mu.Lock()
	f.behind.bytes = maxWaitBytes
	f.behind.mu.Unlock()
	if _, err := f.Adopt(t.Context(), hook("anna")); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// What an operator writes or deletes is not undone by a session that was adopted before.
func TestOperatorsWriteWins(t *testing.T) {
	t.Run("while it waits", func(t *testing.T) {
		f := newFixture(t, unhurried())
		f.adopt(hook("anna"))
		f.put("hook-token", &Session{OrgID: org, Alias: "operator"}) // by its name: another key
		if _, err := f.Put(t.Context(), Ref{Org: org, Key: f.ID("hook-token"), Hashed: true}, &Session{Alias: "operator"}, Lifetime{}); err != nil {
			t.Fatal(err)
		}
		if c := f.must(org, "hook-token"); c.Session.Alias != "operator" {
			t.Errorf("got %q", c.Session.Alias)
		}
		f.flushed()
		if !strings.Contains(f.raw(f.ID("hook-token")), "operator") {
			t.Errorf("stored %s", f.raw(f.ID("hook-token")))
		}
	})
	t.Run("deleted while it waits", func(t *testing.T) {
		f := newFixture(t, unhurried())
		c := f.adopt(hook("anna"))
		if err := f.Delete(t.Context(), Ref{Org: org, Key: c.ID, Hashed: true}); err != nil {
			t.Fatal(err)
		}
		f.flushed()
		if raw := f.raw(c.ID); raw != store.ErrNotFound.Error() {
			t.Errorf("it is back: %s", raw)
		}
		if _, err := f.Lookup(t.Context(), org, "hook-token"); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("on another gateway, while it is being written", func(t *testing.T) {
		f := newFixture(t, unhurried())
		other := fixtureOn(t, f.store, f.clock, unhurried())
		c := f.adopt(hook("anna"))
		f.flushed()
		f.adopt(hook("bob"))
		var done atomic.Bool
		f.store.mu.Lock()
		f.store.hold = func(string) {
			if !done.CompareAndSwap(false, true) {
				return
			}
			if _, err := other.Put(context.WithoutCancel(t.Context()), Ref{Org: org, Key: c.ID, Hashed: true}, &Session{Alias: "operator"}, Lifetime{}); err != nil {
				t.Error(err)
			}
		}
		f.store.mu.Unlock()
		f.flushed()
		for _, g := range []*fixture{f, other} {
			if got := g.must(org, "hook-token").Session.Alias; got != "operator" {
				t.Errorf("got %q", got)
			}
		}
		if f.adopt(hook("bob")).Session.Alias != "bob" {
			t.Error("the next adoption does not count")
		}
		f.flushed()
		if !strings.Contains(f.raw(c.ID), "bob") {
			t.Errorf("stored %s", f.raw(c.ID))
		}
	})
}

// A key's limits of single APIs stay when a hook speaks of it; policies come on top and are not stored.
func TestAdoptOverStored(t *testing.T) {
	f := newFixture(t, unhurried())
	f.policies.SetFiles([]*Policy{{ID: "p", Rate: 50, Per: 1, Partitions: Partitions{RateLimit: true}, KeyExpiresIn: 60}})
	id := f.ID("hook-token")
	f.importRaw(id, `{"org_id":"`+org+`","access_rights":{"a":{"limit":{"rate":3,"per":1}}},"rsa_certificate_id":"r","date_created":"2020-01-01T00:00:00Z","x":1}`)
	a := hook("anna")
	a.Hook.ApplyPolicies = []string{"p"}
	c := f.adopt(a)
	if c.Limits("a").Rate != 3 || c.Limits("b").Rate != 50 || c.Session.Expires != f.clock.now().Unix()+60 {
		t.Errorf("got %+v", c.Session)
	}
	f.clock.advance(10 * time.Second)
	if again := f.adopt(a); again != c {
		t.Error("the same again is not the same caller")
	}
	f.flushed()
	stored, err := DecodeSession([]byte(f.raw(id)))
	if err != nil || stored.Rate != 0 || stored.RSACertificate != "r" || stored.DateCreated.Year() != 2020 || string(stored.Unknown) != `{"x":1}` {
		t.Errorf("stored %s, %v", f.raw(id), err)
	}
}

// A session that is made whole, as from a JWT: another policy replaces rights and maxima at once.
func TestAdoptWhole(t *testing.T) {
	f := newFixture(t, unhurried())
	f.policies.SetFiles([]*Policy{
		{ID: "gold", QuotaMax: 100, AccessRights: rights("a")}, {ID: "silver", QuotaMax: 10, AccessRights: rights("b")}, {ID: "theirs", OrgID: "theirs"},
	})
	jwt := func(policy string) Adoption {
		return Adoption{Org: org, Token: f.Token(org, "0123"), Store: true, Session: &Session{ApplyPolicies: []string{policy}, Alias: "anna"}}
	}
	c := f.adopt(jwt("gold"))
	if c.Session.QuotaMax != 100 || len(c.View.AccessRights) != 1 {
		t.Errorf("got %+v", c.Session)
	}
	if f.adopt(jwt("gold")) != c {
		t.Error("the same again is not the same caller")
	}
	d := f.adopt(jwt("silver"))
	if _, ok := d.Session.AccessRights["b"]; d.ID != c.ID || d.Session.QuotaMax != 10 || !ok || len(d.Session.AccessRights) != 1 || !d.Session.DateCreated.Equal(c.Session.DateCreated) {
		t.Errorf("got %+v", d.Session)
	}
	for _, policy := range []string{"none", "theirs"} {
		if _, err := f.Adopt(t.Context(), jwt(policy)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", policy, err)
		}
	}
	if got := f.must(org, c.Token).Session.QuotaMax; got != 10 {
		t.Errorf("a refused adoption changed the session: %v", got)
	}
	f.policies.SetFiles([]*Policy{{ID: "silver", QuotaMax: 20, AccessRights: rights("b")}})
	if got := f.adopt(jwt("silver")).Session.QuotaMax; got != 20 {
		t.Errorf("after the policy changed: %v", got)
	}
}

// A session that is not to be kept leaves nothing behind that a token would find.
func TestAdoptWithoutStoring(t *testing.T) {
	f := newFixture(t, unhurried())
	a := hook("anna")
	a.Store = false
	c := f.adopt(a)
	if c.Token != "hook-token" || c.ID != f.ID("hook-token") || c.Session.Alias != "anna" || c.Session.OrgID != org {
		t.Errorf("got %+v", c)
	}
	if _, err := f.Lookup(t.Context(), org, "hook-token"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// The name of a basic-auth user is not the token of a hook: the user's key stays as it is.
func TestAdoptLeavesNamedKeysAlone(t *testing.T) {
	f := newFixture(t, unhurried())
	f.put("hook-token", &Session{OrgID: org, BasicAuth: BasicAuth{Password: "hash", Hash: "bcrypt"}})
	f.adopt(hook("anna"))
	f.flushed()
	if !strings.Contains(f.raw(f.ID(org+"hook-token")), "bcrypt") {
		t.Error("the user's key has been overwritten")
	}
}

func TestAdoptRefuses(t *testing.T) {
	f := newFixture(t, unhurried())
	for _, a := range []Adoption{
		{Org: org, Session: &Session{}}, {Org: org, Token: "t"}, {Org: org, Token: "t", Session: &Session{}, Hook: &sdk.Session{}},
		{Org: org, Token: strings.Repeat("x", maxToken+1), Session: &Session{}},
		{Org: org, Token: "t", Store: true, Session: &Session{Alias: strings.Repeat("x", MaxJSON)}},
	} {
		if _, err := f.Adopt(t.Context(), a); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
}

// The store keeps a session in use although it does not change, without a write each time.
func TestAdoptionsRenewTheirLifetime(t *testing.T) {
	f := newFixture(t, unhurried())
	a := hook("anna")
	a.Lifetime.API = 10 * time.Minute
	for range 60 {
		f.adopt(a)
		f.flushed()
		f.clock.advance(time.Minute)
	}
	if _, err := f.Lookup(t.Context(), org, "hook-token"); err != nil {
		t.Errorf("it ended while in use: %v", err)
	}
	if n := f.store.updates.Load(); n < 6 || n > 13 {
		t.Errorf("%d writes in six lifetimes, want about 12", n)
	}
	f.clock.advance(time.Hour)
	if _, err := f.Lookup(t.Context(), org, "hook-token"); !errors.Is(err, ErrUnknown) {
		t.Errorf("it does not end: %v", err)
	}
	f.clock.advance(-2 * time.Hour) // back before it was made
	f.adopt(a)
	f.flushed()
	f.must(org, "hook-token")
}

func TestConcurrentAdoptions(t *testing.T) {
	f := newFixture(t, Options{FlushEvery: time.Millisecond, Cached: 8})
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range 100 {
				a := hook(fmt.Sprint(w, "-", i))
				a.Token = fmt.Sprint("token-", i%10)
				if c, err := f.Adopt(t.Context(), a); err != nil || c.Session.Alias != a.Hook.Alias {
					t.Errorf("got %+v, %v", c, err)
				}
			}
		})
	}
	workers.Wait()
	f.flushed()
	for i := range 10 {
		token := fmt.Sprint("token-", i)
		stored, err := DecodeSession([]byte(f.raw(f.ID(token))))
		if err != nil || f.must(org, token).Session.Alias != stored.Alias {
			t.Errorf("%s: memory and store differ: %v", token, err)
		}
	}
}

// What a later hook does to the exchange's session does not reach the one that was adopted.
func TestAdoptedSessionIsItsOwn(t *testing.T) {
	f := newFixture(t, unhurried())
	a := hook("anna")
	a.Hook.Tags = []string{"a"}
	c := f.adopt(a)
	a.Hook.Tags[0], a.Hook.Metadata["token"] = "changed", "changed"
	if diff := cmp.Diff([]string{"a"}, c.Session.Tags); diff != "" || c.Session.Metadata["token"] != "hook-token" {
		t.Error("the caller changed with the hook's session")
	}
	if again := f.adopt(a); again == c || again.Session.Tags[0] != "changed" {
		t.Error("the change is not seen as one")
	}
}
