package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const org = "53ac07777cbb8c2d53000002"

// importRaw stores a session under an id that another program made.
func (f *fixture) importRaw(id, text string) {
	f.t.Helper()
	if err := f.store.Apply(f.t.Context(), store.Write{Key: keyPrefix + id, Entry: store.Entry{Value: []byte(text)}}); err != nil {
		f.t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	session := func(alias string) string { return `{"org_id":"` + org + `","alias":"` + alias + `"}` }
	token := org + "0123456789abcdef0123456789abcdef"
	encoded := keyid.Encode(org, "anna", keyid.Murmur64)
	legacy := Options{Fallback: []keyid.Function{keyid.Murmur32, keyid.Murmur64, keyid.Murmur128}}
	tests := []struct {
		name    string
		options Options
		stored  string // id
		token   string
		found   bool
	}{
		{"sha256", Options{}, keyid.SHA256.ID(token), token, true},
		{"unknown", Options{}, keyid.SHA256.ID(token), token + "0", false},
		{"murmur32 by fallback", legacy, keyid.Murmur32.ID(token), token, true},
		{"murmur64 by fallback", legacy, keyid.Murmur64.ID(token), token, true},
		{"murmur128 by fallback", legacy, keyid.Murmur128.ID(token), token, true},
		{"murmur32 without fallback", Options{}, keyid.Murmur32.ID(token), token, false},
		{"murmur32 as the function", Options{Hash: keyid.Murmur32}, keyid.Murmur32.ID(token), token, true},
		{"not hashed", Options{Hash: keyid.Plain}, token, token, true},
		{"an id is no token", Options{}, keyid.SHA256.ID(token), keyid.SHA256.ID(token), false},
		{"a base64 token says its function", Options{}, keyid.Murmur64.ID(encoded), encoded, true},
		{"a base64 token by the current function", Options{}, keyid.SHA256.ID(encoded), encoded, true},
		{"a base64 token that is not hashed", Options{Hash: keyid.Plain}, encoded, encoded, true},
		{"by name", Options{}, keyid.SHA256.ID(org + "anna"), "anna", true},
		{"by name, fallback", legacy, keyid.Murmur32.ID(org + "anna"), "anna", true},
		{"by name, base64", legacy, keyid.Murmur64.ID(encoded), "anna", true},
		{"by name, not hashed", Options{Hash: keyid.Plain}, org + "anna", "anna", true},
		{"by name with the organisation", Options{}, keyid.SHA256.ID(org + "anna"), org + "anna", true},
		{"without an organisation before it", Options{}, keyid.SHA256.ID("free-form"), "free-form", true},
		{"too short", Options{}, keyid.SHA256.ID("ab"), "ab", false},
		{"short, but allowed", Options{MinToken: 2}, keyid.SHA256.ID("ab"), "ab", true},
		{"empty", Options{}, keyid.SHA256.ID(""), "", false},
		{"long", Options{}, keyid.SHA256.ID(strings.Repeat("x", maxToken)), strings.Repeat("x", maxToken), true},
		{"too long", Options{}, keyid.SHA256.ID(strings.Repeat("x", maxToken+1)), strings.Repeat("x", maxToken+1), false},
		{"too long to be an id", Options{Hash: keyid.Plain}, token, strings.Repeat("x", 5000), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, test.options)
			f.importRaw(test.stored, session("anna"))
			for range 2 { // from the store, and from memory
				c, err := f.Lookup(t.Context(), org, test.token)
				if !test.found {
					if !errors.Is(err, ErrUnknown) {
						t.Errorf("got %v, %v", c, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if c.ID != test.stored || c.Token != test.token || c.Session.Alias != "anna" || c.View.KeyID != test.token || c.View.Alias != "anna" {
					t.Errorf("got %+v", c)
				}
			}
			if _, err := f.Lookup(t.Context(), "another", test.token); !errors.Is(err, ErrUnknown) {
				t.Errorf("another organisation: %v", err)
			}
		})
	}
}

// A token that is known elsewhere does not hide the key of that name here.
func TestLookupNameBehindForeignToken(t *testing.T) {
	f := newFixture(t, Options{})
	f.importRaw(keyid.SHA256.ID("anna"), `{"org_id":"theirs","alias":"their anna"}`)
	f.importRaw(keyid.SHA256.ID("oursanna"), `{"org_id":"ours","alias":"our anna"}`)
	if c := f.must("ours", "anna"); c.Session.Alias != "our anna" {
		t.Errorf("found %q", c.Session.Alias)
	}
	if c := f.must("theirs", "anna"); c.Session.Alias != "their anna" {
		t.Errorf("found %q", c.Session.Alias)
	}
}

func TestPlainFallbackIsRefused(t *testing.T) {
	f := newFixture(t, Options{})
	for _, options := range []Options{{Fallback: []keyid.Function{keyid.Plain}}, {Hash: "md5"}, {Fallback: []keyid.Function{"md5"}}} {
		if _, err := Open(t.Context(), f.store, f.policies, options); err == nil {
			t.Errorf("%+v is accepted", options)
		}
	}
}

func TestLookupID(t *testing.T) {
	f := newFixture(t, Options{})
	stored := f.put("anna", &Session{OrgID: org, Alias: "anna"})
	for range 2 {
		c, err := f.LookupID(t.Context(), stored.ID)
		if err != nil || c.ID != stored.ID || c.Token != "" || c.View.KeyID != stored.ID || c.Session.Alias != "anna" {
			t.Errorf("got %+v, %v", c, err)
		}
	}
	for _, id := range []string{"", "none", strings.Repeat("x", 2000)} {
		if _, err := f.LookupID(t.Context(), id); !errors.Is(err, ErrUnknown) {
			t.Errorf("%.10q: %v", id, err)
		}
	}
}

func TestByCertificate(t *testing.T) {
	f := newFixture(t, Options{})
	find := func(org, fingerprint string) string {
		t.Helper()
		c, err := f.ByCertificate(t.Context(), org, fingerprint)
		if err != nil {
			return err.Error()
		}
		return c.Session.Alias
	}
	expect := func(org, fingerprint, want string) {
		t.Helper()
		for range 2 {
			if got := find(org, fingerprint); got != want {
				t.Errorf("%s: %s, want %s", fingerprint, got, want)
			}
		}
	}
	f.put("first", &Session{OrgID: org, Alias: "first", Certificate: "AA11"})
	f.put("tyk", &Session{OrgID: org, Alias: "tyk", Certificate: org + "bb22"})
	expect(org, "aa11", "first")
	expect(org, "bb22", "tyk")
	expect(org, "cc33", ErrUnknown.Error())
	expect(org, "", ErrUnknown.Error())
	expect("other", "aa11", ErrUnknown.Error())
	f.put("first", &Session{OrgID: org, Alias: "first", Certificate: "cc33"})
	expect(org, "aa11", ErrUnknown.Error())
	expect(org, "cc33", "first")
	f.put("second", &Session{OrgID: org, Alias: "second", Certificate: "cc33"})
	expect(org, "cc33", "second")
	if err := f.Delete(t.Context(), Ref{Org: org, Key: "second"}); err != nil {
		t.Fatal(err)
	}
	expect(org, "cc33", ErrUnknown.Error())
	f.store.away.Store(true)
	defer f.store.away.Store(false)
	if _, err := f.ByCertificate(t.Context(), org, "dd44"); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

func TestStoreAway(t *testing.T) {
	f := newFixture(t, Options{})
	f.put("cached", &Session{OrgID: org})
	f.put("cold", &Session{OrgID: org})
	f.must(org, "cached")
	f.store.away.Store(true)
	f.must(org, "cached")
	if _, err := f.Lookup(t.Context(), org, "cold"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Put(t.Context(), Ref{Org: org, Key: "new"}, &Session{}, Lifetime{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	f.store.away.Store(false)
	f.must(org, "cold")
}

// With Stale, who was known goes on while the store is away, and nobody else: a change that cannot be read may have been
// missed. When it is back, what it says holds, also if it goes away again.
func TestStale(t *testing.T) {
	for _, stale := range []bool{false, true} {
		f := newFixture(t, Options{Stale: stale})
		f.put("anna", &Session{OrgID: org, Alias: "before"})
		f.put("bob", &Session{OrgID: org})
		for _, name := range []string{"anna", "bob"} {
			if f.must(org, name); f.store.reads.Load() == 0 {
				t.Fatal("nothing was read")
			}
		}
		f.Keys.told(store.Change{All: true}) // the connection that tells of changes is gone
		f.store.away.Store(true)
		for range 2 {
			c, err := f.Lookup(t.Context(), org, "anna")
			if (err == nil) != stale || stale && c.Session.Alias != "before" || !stale && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("stale %v: got %v", stale, err)
			}
		}
		if _, err := f.Lookup(t.Context(), org, "carl"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("somebody new: %v", err)
		}
		f.store.away.Store(false)
		f.importRaw(f.ID("anna"), `{"org_id": "`+org+`", "alias": "after"}`)
		if err := f.store.Store.Apply(t.Context(), store.Write{Key: keyPrefix + f.ID(f.Token(org, "bob")), Delete: true, Quiet: true}); err != nil {
			t.Fatal(err)
		}
		f.Keys.told(store.Change{All: true}) // it is back
		if c := f.must(org, "anna"); c.Session.Alias != "after" {
			t.Errorf("stale %v: what the store says does not hold: %+v", stale, c.Session)
		}
		if _, err := f.Lookup(t.Context(), org, "bob"); !errors.Is(err, ErrUnknown) {
			t.Errorf("stale %v: a key that was deleted meanwhile: %v", stale, err)
		}
		f.store.away.Store(true)
		if c, err := f.Lookup(t.Context(), org, "anna"); err != nil || c.Session.Alias != "after" {
			t.Errorf("away again, known: %v", err)
		}
		if _, err := f.Lookup(t.Context(), org, "bob"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("away again, deleted: %v", err)
		}
		f.store.away.Store(false)
	}
}

// What the store says that it is not a session neither panics nor lets anybody in.
func TestDamagedSession(t *testing.T) {
	f := newFixture(t, Options{})
	id := f.ID("damaged")
	f.importRaw(id, `{"rate": "s3cret"}`)
	if _, err := f.Lookup(t.Context(), org, "damaged"); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	if err := f.Delete(t.Context(), Ref{Key: id, Hashed: true, AnyOrg: true}); err != nil {
		t.Error(err)
	}
	if _, err := f.Lookup(t.Context(), org, "damaged"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// Sessions end in memory when they end in the store, and a clock that goes back does no harm.
func TestSessionsEndInMemory(t *testing.T) {
	f := newFixture(t, Options{})
	if _, err := f.Put(t.Context(), Ref{Org: org, Key: "anna"}, &Session{Lifetime: 60}, Lifetime{}); err != nil {
		t.Fatal(err)
	}
	f.put("stays", &Session{OrgID: org})
	f.must(org, "anna")
	f.must(org, "stays")
	f.clock.advance(-time.Hour)
	f.must(org, "anna")
	f.clock.advance(time.Hour + 59*time.Second)
	f.must(org, "anna")
	f.clock.advance(time.Second)
	if _, err := f.Lookup(t.Context(), org, "anna"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	f.must(org, "stays")
}

func TestLookupAppliesPolicies(t *testing.T) {
	f := newFixture(t, Options{})
	f.policies.SetFiles([]*Policy{{ID: "file", Rate: 5, Per: 1, AccessRights: rights("a")}, {ID: "theirs", OrgID: "theirs"}})
	put := func(p *Policy) {
		t.Helper()
		if _, _, err := f.policies.Put(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	put(&Policy{ID: "gold", OrgID: org, Rate: 10, Per: 1, AccessRights: rights("a")})
	put(&Policy{ID: "gold", OrgID: "other", Rate: 99, Per: 1})
	for i, test := range []struct {
		policies string
		rate     float64
		err      error
	}{
		{`"apply_policy_id":"gold"`, 10, nil},
		{`"apply_policies":["gold"],"apply_policy_id":"none"`, 10, nil},
		{`"apply_policies":["none","gold"]`, 10, nil},
		{`"apply_policies":["file","gold"]`, 10, nil},
		{`"apply_policy_id":"file"`, 5, nil},
		{`"apply_policy_id":"none"`, 0, ErrPolicy},
		{`"apply_policies":["none","neither"]`, 0, ErrPolicy},
		{`"apply_policies":["gold","theirs"]`, 0, ErrPolicy},
	} {
		token := fmt.Sprint("token", i)
		f.importRaw(f.ID(token), `{"org_id":"`+org+`","rate":1,`+test.policies+`}`)
		c, err := f.Lookup(t.Context(), org, token)
		if !errors.Is(err, test.err) || err == nil && (c.Session.Rate != test.rate || c.View.Rate != test.rate || c.Limits("x").Rate != test.rate) {
			t.Errorf("%s: %+v, %v", test.policies, c, err)
		}
	}
	put(&Policy{ID: "gold", OrgID: org, Rate: 20, Per: 1, AccessRights: rights("a")})
	if c := f.must(org, "token0"); c.Session.Rate != 20 {
		t.Errorf("after the policy changed: %v", c.Session.Rate)
	}
	f.policies.SetFiles([]*Policy{{ID: "file", Rate: 6, Per: 1, AccessRights: rights("a")}, {ID: "none", Rate: 7, Per: 1, AccessRights: rights("a")}})
	for token, want := range map[string]float64{"token4": 6, "token5": 7} {
		if c := f.must(org, token); c.Session.Rate != want {
			t.Errorf("after the files changed: %s has %v", token, c.Session.Rate)
		}
	}
	if err := f.policies.Delete(t.Context(), org, "gold"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lookup(t.Context(), org, "token0"); !errors.Is(err, ErrPolicy) {
		t.Errorf("after the policy went: %v", err)
	}
}

// What one gateway writes the other sees: both watch the same store.
func TestTwoGateways(t *testing.T) {
	a := newFixture(t, Options{})
	b := fixtureOn(t, a.store, a.clock, Options{})
	for i := range 3 {
		want := fmt.Sprint("version ", i)
		a.put("anna", &Session{OrgID: org, Alias: want})
		for _, f := range []*fixture{a, b} {
			for range 2 {
				if c := f.must(org, "anna"); c.Session.Alias != want {
					t.Errorf("got %q, want %q", c.Session.Alias, want)
				}
			}
		}
	}
	if err := b.Delete(t.Context(), Ref{Org: org, Key: "anna"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Lookup(t.Context(), org, "anna"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// A store that lost sight of what others did makes us read everything again.
func TestAllChanged(t *testing.T) {
	f := newFixture(t, Options{})
	f.put("anna", &Session{OrgID: org})
	f.must(org, "anna")
	before := f.store.reads.Load()
	f.must(org, "anna")
	if f.store.reads.Load() != before {
		t.Fatal("a hit reads the store")
	}
	f.told(store.Change{All: true})
	f.must(org, "anna")
	if f.store.reads.Load() == before {
		t.Error("the store was not asked")
	}
}

func TestCacheIsBounded(t *testing.T) {
	const cached = 64
	f := newFixture(t, Options{Cached: cached})
	for i := range 10 * cached {
		id := fmt.Sprintf("%s%032x", org, i)
		f.importRaw(f.ID(id), `{"org_id":"`+org+`"}`)
		f.must(org, id)
	}
	residents, names := f.cache.held()
	if residents > cached || residents < cached/2 || names > 4*cached || int64(residents) != f.cache.count.Load() {
		t.Errorf("%d residents, counted %d, and %d names are held, want about %d and twice that", residents, f.cache.count.Load(), names, cached)
	}
	small := newFixture(t, Options{CachedBytes: 64 << 10})
	for i := range 200 {
		id := fmt.Sprintf("%s%032x", org, i)
		small.importRaw(small.ID(id), `{"org_id":"`+org+`","alias":"`+strings.Repeat("x", 1000)+`"}`)
		small.must(org, id)
		if w := small.cache.weight.Load(); w > 64<<10 {
			t.Fatalf("%d bytes are held", w)
		}
	}
	small.told(store.Change{All: true})
	if w, n := small.cache.weight.Load(), small.cache.count.Load(); w != 0 || n != 0 {
		t.Errorf("an empty cache weighs %d and counts %d", w, n)
	}
}

func (c *cache) held() (residents, names int) {
	for i := range c.places {
		for slot := range c.places[i].entries {
			if e := c.places[i].entries[slot].Load(); e != nil && e.kind == byID {
				residents++
			} else if e != nil {
				names++
			}
		}
	}
	return residents, names
}

// Reading while writing never shows what a finished write replaced.
func TestConcurrentReadersSeeFinishedWrites(t *testing.T) {
	f := newFixture(t, Options{Cached: 8})
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var mu sync.RWMutex // held for reading while looking: latest is what had been written before
	latest := int64(0)
	f.put("anna", &Session{OrgID: org})
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				mu.RLock()
				finished := latest
				mu.RUnlock()
				c, err := f.Lookup(t.Context(), org, "anna")
				if err != nil || c.Session.Expires < finished {
					t.Errorf("got %v, %v, want at least %d", c, err, finished)
					return
				}
			}
		})
	}
	for i := int64(1); i <= 200; i++ {
		f.put("anna", &Session{OrgID: org, Expires: i})
		mu.Lock()
		latest = i
		mu.Unlock()
	}
	stop()
	readers.Wait()
}

func TestLookupAllocatesNothing(t *testing.T) {
	f := newFixture(t, Options{})
	f.put("anna", &Session{OrgID: org})
	f.must(org, "anna")
	if n := testing.AllocsPerRun(100, func() { f.must(org, "anna") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Callers who come once, be they ever so many, do not take the place of those who come again; one who begins to come gets it.
func TestAdmission(t *testing.T) {
	const cached, strangers = 64, 1000
	f := newFixture(t, Options{Cached: cached})
	look := func(prefix string, n int) {
		t.Helper()
		for i := range n {
			if _, err := f.Lookup(t.Context(), org, fmt.Sprint(prefix, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, prefix := range []string{"known", "stranger"} {
		for i := range map[string]int{"known": cached, "stranger": strangers}[prefix] {
			for _, w := range mustWrite(t, f.ID(f.Token(org, fmt.Sprint(prefix, i))), &Session{OrgID: org}) {
				if err := f.store.Store.Apply(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	look("known", cached)
	look("known", cached)
	before := f.store.reads.Load()
	look("known", cached)
	misses := f.store.reads.Load() - before // names are not spread evenly over the places
	look("stranger", strangers)
	before = f.store.reads.Load()
	look("known", cached)
	if now := f.store.reads.Load() - before; now > misses+cached { // each that is not kept is two
		t.Errorf("%d reads for %d keys, %d before strangers came", now, cached, misses)
	}
	for range 8 {
		look("stranger", 1)
	}
	before = f.store.reads.Load()
	look("stranger", 1)
	if f.store.reads.Load() != before {
		t.Error("who comes again is not kept")
	}
}

func mustWrite(t *testing.T, id string, s *Session) []store.Write {
	t.Helper()
	writes, err := WriteKey(id, s, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return writes
}
