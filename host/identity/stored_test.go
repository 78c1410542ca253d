package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func mustDecode(t testing.TB, text string) *Session {
	t.Helper()
	s, err := DecodeSession([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustStore(t testing.TB, s *Session) []byte {
	t.Helper()
	data, err := s.bytes()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asJSON(t testing.TB, s *Session) string {
	t.Helper()
	data, err := s.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What is stored is what was there, in every form; and an older version's JSON is read as it is.
func TestStored(t *testing.T) {
	for _, text := range []string{
		`{}`, plainSession, fullSession, `{"access_rights":{"":{}},"meta_data":{"":""},"tags":[""],"apply_policies":[""]}`,
		`{"rate":-1,"per":0.5,"quota_max":-9223372036854775808,"expires":-1,"date_created":"0000-01-01T00:00:00Z"}`,
		`{"access_rights":{"a":{"versions":["",""],"x":1}},"Unknown":{"Rate":3}}`,
	} {
		want := mustDecode(t, text)
		data := mustStore(t, want)
		for _, stored := range [][]byte{data, []byte(text)} {
			got, _, err := newSharing().decodeStored(stored)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" { // raw values are compacted
				t.Errorf("%s: %s", text, diff)
			}
		}
		if again := mustStore(t, mustDecode(t, asJSON(t, want))); !bytes.Equal(data, again) {
			t.Errorf("%s: equal sessions give %q and %q", text, data, again)
		}
	}
	if compact, text := mustStore(t, mustDecode(t, plainSession)), len(plainSession); 2*len(compact) > text {
		t.Errorf("%d bytes instead of %d: %q", len(compact), text, compact)
	}
}

// What JSON cannot say is refused when it is stored, and not when it is shown.
func TestNotStored(t *testing.T) {
	for name, s := range map[string]*Session{
		"infinite": {Rate: math.Inf(1)}, "no number": {Per: math.NaN()}, "no JSON": {Metadata: Metadata{"a": json.RawMessage("{")}},
		"a year": {DateCreated: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "smoothing": {Smoothing: []byte("x")},
		"of an API": {AccessRights: map[string]Access{"a": {Limit: Limit{Rate: math.Inf(-1)}}}},
		"large":     {Alias: strings.Repeat("a", MaxJSON)}, "large as JSON": {Alias: strings.Repeat("\x01", MaxJSON/6)},
	} {
		if data, err := s.bytes(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
}

func TestDamagedRecord(t *testing.T) {
	whole := mustStore(t, mustDecode(t, fullSession))
	for end := range len(whole) {
		s, _, err := newSharing().decodeStored(whole[:end])
		if err != nil && !errors.Is(err, ErrInvalid) || err == nil && s == nil {
			t.Fatalf("cut at %d: %v", end, err)
		}
	}
	for name, data := range map[string]string{
		"empty": "", "no JSON": "x", "newer": "\x01\x7f", "time": "\x01\x06\x01x", "metadata": "\x01\x05\x00\x01{", "rest": "\x01\x19\x01x",
		"no figure": "\x01\x09\x7f\xf0\x00\x00\x00\x00\x00\x00", "length": "\x01\x01\xff\xff\xff\xff\xff\xff", "rights": "\x01\x0d\x01\x7f",
		"large": "\x01" + strings.Repeat("\x08", MaxJSON),
	} {
		if _, _, err := newSharing().decodeStored([]byte(data)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keys that may do the same share what says so, whether it is stored with each or comes from policies.
func TestShared(t *testing.T) {
	f := newFixture(t, Options{})
	f.policies.SetFiles([]*Policy{
		{ID: "gold", OrgID: org, Rate: 7, Per: 1, AccessRights: map[string]Access{"a": {Versions: []string{"v"}}}},
		{ID: "acl", OrgID: org, AccessRights: map[string]Access{"a": {}}, Partitions: Partitions{ACL: true}},
		{ID: "each", OrgID: org, AccessRights: map[string]Access{"a": {Limit: Limit{Rate: 3, Per: 1}}}, Partitions: Partitions{PerAPI: true}},
		{ID: "limits", OrgID: org, Rate: 9, Per: 1, Partitions: Partitions{RateLimit: true}},
	})
	own := map[string]Access{"a": {Versions: []string{"own"}, Endpoints: []Endpoint{{Path: "/"}}}, "b": {Limit: Limit{Rate: 2, Per: 1}}}
	for name, s := range map[string]Session{
		"own": {AccessRights: own}, "gold": {ApplyPolicies: []string{"gold"}}, "acl": {ApplyPolicies: []string{"acl"}},
		"each": {ApplyPolicies: []string{"each"}}, "two": {ApplyPolicies: []string{"acl", "gold"}}, "limits": {ApplyPolicyID: "limits", AccessRights: own},
	} {
		var found []*Caller
		for i, rate := range []float64{100, 200} {
			key := name + string(rune('0'+i))
			s.OrgID, s.Alias, s.Rate, s.Per = org, key, rate, 1
			f.put(key, &s)
			c, err := f.Lookup(t.Context(), org, key)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, c)
		}
		a, b := found[0], found[1]
		if reflect.ValueOf(a.Session.AccessRights).Pointer() != reflect.ValueOf(b.Session.AccessRights).Pointer() ||
			reflect.ValueOf(a.View.AccessRights).Pointer() != reflect.ValueOf(b.View.AccessRights).Pointer() || len(a.View.AccessRights) == 0 {
			t.Errorf("%s: %v and %v", name, a.Session.AccessRights, b.Session.AccessRights)
		}
		for _, c := range found { // and it is as if nothing was shared
			stored, err := f.Get(t.Context(), Ref{Org: org, Key: c.Session.Alias})
			if err != nil {
				t.Fatal(err)
			}
			applied, err := f.policies.Apply(t.Context(), stored.Session)
			if err != nil {
				t.Fatal(err)
			}
			alone := newCaller(c.Token, c.ID, applied, nil)
			alone.Version = c.Version
			if diff := cmp.Diff(alone, c, cmp.AllowUnexported(Caller{})); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// A key that an older version stored as JSON is let in, counted from, and written in today's form when it changes.
func TestOlderRecord(t *testing.T) {
	f := newFixture(t, Options{})
	id := f.ID(f.Token(org, "old"))
	text := strings.Replace(plainSession, `"default"`, `"`+org+`"`, 1)
	if err := f.store.Store.Apply(t.Context(), store.Write{Key: keyPrefix + id, Entry: store.Entry{Value: []byte(text)}}); err != nil {
		t.Fatal(err)
	}
	c, err := f.Lookup(t.Context(), org, "old")
	if err != nil || c.Session.Alias != "anna" || c.View.AccessRights["orders"].APIName != "Orders" {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := f.Update(t.Context(), Ref{Org: org, Key: "old"}, Lifetime{}, func(s *Session) error { s.Alias = "eve"; return nil }); err != nil {
		t.Fatal(err)
	}
	e, err := f.store.Store.Get(t.Context(), keyPrefix+id)
	if err != nil || e.Value[0] != compact {
		t.Errorf("%q, %v", e.Value, err)
	}
	if c, err := f.Lookup(t.Context(), org, "old"); err != nil || c.Session.Alias != "eve" || c.Session.Rate != 100 {
		t.Errorf("%+v, %v", c, err)
	}
}

// Whatever can be read can be stored, and is the same then.
func FuzzStored(f *testing.F) {
	f.Add(mustStore(f, mustDecode(f, fullSession)))
	f.Add(mustStore(f, mustDecode(f, plainSession)))
	f.Add([]byte(fullSession))
	f.Add([]byte("\x01\x0d\x05\x01a\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		shared := newSharing()
		s, _, err := shared.decodeStored(data)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		stored, err := s.bytes()
		if err != nil {
			return // such as too large
		}
		again, _, err := shared.decodeStored(stored)
		if err != nil {
			t.Fatalf("%q: %v", stored, err)
		}
		if a, b := asJSON(t, s), asJSON(t, again); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
		if twice := mustStore(t, again); !bytes.Equal(stored, twice) {
			t.Fatalf("%q\n%q", stored, twice)
		}
	})
}

func BenchmarkDecodeStored(b *testing.B) {
	for _, test := range []struct{ name, text string }{{"plain", plainSession}, {"full", fullSession}} {
		b.Run(test.name, func(b *testing.B) {
			data, shared := mustStore(b, mustDecode(b, test.text)), newSharing()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := shared.decodeStored(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
