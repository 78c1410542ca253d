package trust_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

func now() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

func at(d time.Duration) manifest.Time { return manifest.At(now().Add(d)) }

const day = 24 * time.Hour

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newKey(t testing.TB) sign.SecretKey { return must[sign.SecretKey](t)(sign.Generate(sign.Ed25519)) }

func ids(keys ...sign.SecretKey) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.Public().ID())
	}
	return out
}

// cast is who plays in these tests.
type cast struct{ root, index, alice, bob, carol sign.SecretKey }

func newCast(t testing.TB) cast {
	return cast{newKey(t), newKey(t), newKey(t), newKey(t), newKey(t)}
}

// ring lets Alice sign acme/*, Alice with Bob what is below acme/pay/, and Carol dev.
func (c cast) ring() *trust.KeyRing {
	r := &trust.KeyRing{
		Schema: 1, Version: 1, Expires: at(30 * day),
		Root:  trust.Role{Keys: ids(c.root), Threshold: 1},
		Index: trust.Role{Keys: ids(c.index), Threshold: 1},
		Publishers: []trust.Publisher{
			{Names: []string{"acme/guard", "acme/log"}, Role: trust.Role{Keys: ids(c.alice, c.bob), Threshold: 1}},
			{Names: []string{"acme/pay/*"}, Role: trust.Role{Keys: ids(c.alice, c.bob), Threshold: 2}},
			{Names: []string{"dev"}, Role: trust.Role{Keys: ids(c.carol), Threshold: 1}},
		},
		Epochs: []trust.Epoch{{Names: "acme/log", Epoch: 2}},
	}
	for _, k := range []sign.SecretKey{c.root, c.index, c.alice, c.bob, c.carol} {
		r.Keys = append(r.Keys, trust.Key{ID: k.Public().ID(), SPKI: k.Public().SPKI()})
	}
	return r
}

func parse(t testing.TB, r *trust.KeyRing) *trust.KeyRing {
	return must[*trust.KeyRing](t)(trust.ParseKeyRing(must[[]byte](t)(r.Encode())))
}

func signed(t testing.TB, payloadType string, payload []byte, keys ...sign.SecretKey) sign.Envelope {
	e := sign.NewEnvelope(payloadType, payload)
	for _, k := range keys {
		e = must[sign.Envelope](t)(e.Sign(k))
	}
	return e
}

func release(name string, serial, epoch uint64) manifest.Release {
	return manifest.Release{Name: name, Version: "1.0.0", Serial: serial, Epoch: epoch, Created: manifest.At(now())}
}

func open() *trust.Policy { return &trust.Policy{Version: 1, Rules: []trust.Rule{{Name: "*"}}} }

// vouch is what the pipeline asks in turn.
func vouch(p *trust.Policy, r *trust.KeyRing, s trust.State, name string, e sign.Envelope, rel manifest.Release) error {
	j, err := trust.NewJudge(name, p, r, s, now())
	if err != nil {
		return err
	}
	held, err := e.Verify(j.Keys())
	if err != nil {
		return err
	}
	if _, err := j.Vouch(held, manifest.Time{}); err != nil {
		return err
	}
	if _, err := j.Vouch(held, rel.Created); err != nil {
		return err
	}
	return j.Release(rel, e.Digest())
}

func TestWhoMaySign(t *testing.T) {
	c := newCast(t)
	rule := func(r trust.Rule) *trust.Policy { return &trust.Policy{Version: 1, Rules: []trust.Rule{r}} }
	payload := []byte("x")
	revokedDigest := signed(t, "t", payload).Digest()
	for _, test := range []struct {
		what   string
		name   string
		by     []sign.SecretKey
		ring   func(r *trust.KeyRing)
		policy *trust.Policy
		state  trust.State
		want   refusal.Code
	}{
		{what: "Alice", name: "acme/guard", by: []sign.SecretKey{c.alice}},
		{what: "asked as a file", name: "acme/guard-1.0.0.zip", by: []sign.SecretKey{c.alice}},
		{what: "another version", name: "acme/guard-1.0.1.zip", by: []sign.SecretKey{c.alice}, want: refusal.NameMismatch},
		{what: "Carol for Alice", name: "acme/guard", by: []sign.SecretKey{c.carol}, want: refusal.KeyUnknown},
		{what: "the root for Alice", name: "acme/guard", by: []sign.SecretKey{c.root}, want: refusal.KeyUnknown},
		{what: "nobody's name", name: "other", by: []sign.SecretKey{c.alice}, want: refusal.KeyUnknown},
		{what: "one of two", name: "acme/pay/card", by: []sign.SecretKey{c.alice}, want: refusal.Threshold},
		{what: "two of two", name: "acme/pay/card", by: []sign.SecretKey{c.alice, c.bob}},
		{what: "one and a stranger", name: "acme/pay/card", by: []sign.SecretKey{c.alice, c.carol}, want: refusal.Threshold},
		{what: "the policy wants two", name: "acme/guard", by: []sign.SecretKey{c.alice}, policy: rule(trust.Rule{Name: "acme/*", Threshold: 2}), want: refusal.Threshold},
		{what: "the policy wants Bob", name: "acme/guard", by: []sign.SecretKey{c.alice}, policy: rule(trust.Rule{Name: "acme/*", Keys: ids(c.bob)}), want: refusal.KeyUnknown},
		{what: "no rule", name: "dev", by: []sign.SecretKey{c.carol}, policy: rule(trust.Rule{Name: "acme/*"}), want: refusal.NoRule},
		{what: "bad name", name: "../x", by: []sign.SecretKey{c.carol}, want: refusal.SourceName},
		{what: "min serial", name: "acme/guard", by: []sign.SecretKey{c.alice}, policy: rule(trust.Rule{Name: "acme/guard", MinSerial: 8}), want: refusal.MinSerial},
		{what: "ring ended", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Expires = at(0) }, want: refusal.KeyRingExpired},
		{what: "epoch", name: "acme/log", by: []sign.SecretKey{c.alice}, want: refusal.Epoch},
		{what: "key ended", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Keys[2].NotAfter = at(-time.Hour) }, want: refusal.KeyExpired},
		{what: "key ended, grace", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Keys[2].NotAfter = at(-time.Hour) },
			policy: &trust.Policy{Version: 1, AcceptExpiredKeys: 3601, Rules: []trust.Rule{{Name: "*"}}}},
		{what: "key not begun", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Keys[2].NotBefore = at(time.Hour) }, want: refusal.KeyEarly},
		{what: "rotation: old ended, new signed too", name: "acme/guard", by: []sign.SecretKey{c.alice, c.bob}, ring: func(r *trust.KeyRing) { r.Keys[2].NotAfter = at(-time.Hour) }},
		{what: "key revoked", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Revoked = trust.RevokeKey(ids(c.alice)[0], time.Time{}, "") }, want: refusal.KeyRevoked},
		{what: "key revoked here", name: "acme/guard", by: []sign.SecretKey{c.alice}, state: trust.State{Revoked: trust.RevokeKey(ids(c.alice)[0], time.Time{}, "")}, want: refusal.KeyRevoked},
		{what: "key revoked since before", name: "acme/guard", by: []sign.SecretKey{c.alice}, state: trust.State{Revoked: trust.RevokeKey(ids(c.alice)[0], now().Add(-time.Hour), "")}, want: refusal.KeyRevoked},
		{what: "key revoked since later", name: "acme/guard", by: []sign.SecretKey{c.alice}, state: trust.State{Revoked: trust.RevokeKey(ids(c.alice)[0], now().Add(time.Hour), "")}},
		{what: "one of two revoked", name: "acme/pay/card", by: []sign.SecretKey{c.alice, c.bob}, state: trust.State{Revoked: trust.RevokeKey(ids(c.bob)[0], time.Time{}, "")}, want: refusal.KeyRevoked},
		{what: "release revoked", name: "acme/guard", by: []sign.SecretKey{c.alice}, state: trust.State{Revoked: trust.Revoked{Bundles: []string{revokedDigest}}}, want: refusal.BundleRevoked},
		{what: "serials revoked", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Revoked.Serials = []trust.SerialRange{{Name: "acme/guard", From: 1, To: 7}} }, want: refusal.BundleRevoked},
		{what: "other serials revoked", name: "acme/guard", by: []sign.SecretKey{c.alice}, ring: func(r *trust.KeyRing) { r.Revoked.Serials = []trust.SerialRange{{Name: "acme/guard", From: 1, To: 6}} }},
	} {
		r := c.ring()
		if test.ring != nil {
			test.ring(r)
		}
		if test.policy == nil {
			test.policy = open()
		}
		name, _ := manifest.Identity(test.name)
		err := vouch(test.policy, parse(t, r), test.state, test.name, signed(t, "t", payload, test.by...), release(name, 7, 1))
		wantCode(t, test.what, err, test.want)
	}
}

func TestKeyRingUpdates(t *testing.T) {
	c, newRoot := newCast(t), newKey(t)
	first := must[[]byte](t)(c.ring().Encode())
	e := signed(t, trust.KeyRingType, first, c.root)
	r := must[*trust.KeyRing](t)(trust.Pinned(e, e.Digest()))
	_, err := trust.Pinned(e, bundlestest.SHA256("x"))
	wantCode(t, "another pin", err, refusal.KeyRingPin)
	unsigned := signed(t, trust.KeyRingType, first)
	_, err = trust.Pinned(unsigned, unsigned.Digest())
	wantCode(t, "unsigned", err, refusal.Unsigned)

	next := c.ring()
	next.Version, next.Root = 2, trust.Role{Keys: ids(newRoot), Threshold: 1}
	next.Keys = append(next.Keys, trust.Key{ID: ids(newRoot)[0], SPKI: newRoot.Public().SPKI()})
	payload := must[[]byte](t)(next.Encode())
	second := must[*trust.KeyRing](t)(r.Next(signed(t, trust.KeyRingType, payload, c.root, newRoot)))
	_, err = r.Next(signed(t, trust.KeyRingType, payload, c.root))
	wantCode(t, "old root alone", err, refusal.KeyUnknown)
	_, err = r.Next(signed(t, trust.KeyRingType, payload, newRoot))
	wantCode(t, "new root alone", err, refusal.KeyUnknown)
	_, err = second.Next(signed(t, trust.KeyRingType, payload, newRoot))
	wantCode(t, "the same again", err, refusal.KeyRingRollback)
	_, err = second.Next(signed(t, trust.KeyRingType, first, c.root, newRoot))
	wantCode(t, "the first again", err, refusal.KeyRingRollback)
	next.Version = 4
	_, err = second.Next(signed(t, trust.KeyRingType, must[[]byte](t)(next.Encode()), newRoot))
	wantCode(t, "one left out", err, refusal.KeyRingRollback)
	_, err = r.Next(signed(t, trust.KeyRingType, payload, c.alice, newRoot))
	wantCode(t, "a publisher for the root", err, refusal.KeyUnknown)

	file := state(t)
	if err := file.AcceptKeyRing(second, "a"+bundlestest.SHA256("x")[1:], now()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "older", file.AcceptKeyRing(r, bundlestest.SHA256("x"), now()), refusal.KeyRingRollback)
	wantCode(t, "changed under its version", file.AcceptKeyRing(second, bundlestest.SHA256("y"), now()), refusal.KeyRingRollback)
}

func TestKeyRingRefuses(t *testing.T) {
	c := newCast(t)
	for what, change := range map[string]func(r *trust.KeyRing){
		"schema":                 func(r *trust.KeyRing) { r.Schema = 2 },
		"version":                func(r *trust.KeyRing) { r.Version = 0 },
		"no end":                 func(r *trust.KeyRing) { r.Expires = manifest.Time{} },
		"no root":                func(r *trust.KeyRing) { r.Root = trust.Role{} },
		"threshold 0":            func(r *trust.KeyRing) { r.Publishers[0].Threshold = 0 },
		"threshold over keys":    func(r *trust.KeyRing) { r.Publishers[0].Threshold = 3 },
		"key twice in a role":    func(r *trust.KeyRing) { r.Publishers[0].Keys = ids(c.alice, c.alice) },
		"unknown key in a role":  func(r *trust.KeyRing) { r.Publishers[0].Keys = ids(c.alice, newKey(t)) },
		"key twice":              func(r *trust.KeyRing) { r.Keys = append(r.Keys, r.Keys[0]) },
		"one key, two ids":       func(r *trust.KeyRing) { r.Keys[0].ID = r.Keys[1].ID },
		"no key":                 func(r *trust.KeyRing) { r.Keys[0].SPKI = nil },
		"publisher of nothing":   func(r *trust.KeyRing) { r.Publishers[0].Names = nil },
		"glob inside":            func(r *trust.KeyRing) { r.Publishers[0].Names = []string{"a*b"} },
		"glob without a folder":  func(r *trust.KeyRing) { r.Publishers[0].Names = []string{"acme*"} },
		"glob above":             func(r *trust.KeyRing) { r.Publishers[0].Names = []string{"../*"} },
		"epoch 0":                func(r *trust.KeyRing) { r.Epochs[0].Epoch = 0 },
		"revoked id":             func(r *trust.KeyRing) { r.Revoked.Keys = []trust.RevokedKey{{ID: "x"}} },
		"revoked digest":         func(r *trust.KeyRing) { r.Revoked.Bundles = []string{"x"} },
		"revoked serials":        func(r *trust.KeyRing) { r.Revoked.Serials = []trust.SerialRange{{Name: "a", From: 2, To: 1}} },
		"revoked serials' name":  func(r *trust.KeyRing) { r.Revoked.Serials = []trust.SerialRange{{Name: "../a"}} },
		"too many":               func(r *trust.KeyRing) { r.Epochs = make([]trust.Epoch, 1025) },
		"index without the keys": func(r *trust.KeyRing) { r.Index = trust.Role{Threshold: 1} },
	} {
		r := c.ring()
		change(r)
		_, err := trust.ParseKeyRing(must[[]byte](t)(strict.Encode(r)))
		wantCode(t, what, err, refusal.KeyRingMalformed)
	}
	_, err := trust.ParseKeyRing([]byte(`{"schema":1}`))
	wantCode(t, "not whole", err, refusal.KeyRingMalformed)
	_, err = trust.PlainKeys([]sign.PublicKey{c.alice.Public(), c.alice.Public()})
	wantCode(t, "a key given twice", err, refusal.KeyRingMalformed)
}

func TestPolicy(t *testing.T) {
	p := must[*trust.Policy](t)(trust.ParsePolicy([]byte(`{
		"version": 1,
		"rules": [
			{"name": "*", "require_index": true},
			{"name": "acme/*", "threshold": 2},
			{"name": "acme/guard", "min_serial": 3},
			{"name": "old.zip", "allow_unsigned": true}
		]}`)))
	for asked, want := range map[string]string{"acme/guard": "acme/guard", "acme/guard-1.2.3.zip": "acme/guard", "old.zip": "old.zip", "old": "*", "acme/x": "*"} {
		if got := must[trust.Rule](t)(p.Rule(asked)); got.Name != want {
			t.Errorf("%s: rule %q, want %q", asked, got.Name, want)
		}
	}
	digest := bundlestest.SHA256("x")
	for what, text := range map[string]string{
		"not JSON":               `rules: []`,
		"version":                `{"version":2,"rules":[]}`,
		"unknown member":         `{"version":1,"rules":[],"default":"allow"}`,
		"unknown in a rule":      `{"version":1,"rules":[{"name":"a","skip":true}]}`,
		"member twice":           `{"version":1,"version":1,"rules":[]}`,
		"rule twice":             `{"version":1,"rules":[{"name":"a"},{"name":"a"}]}`,
		"no name":                `{"version":1,"rules":[{}]}`,
		"unsigned glob":          `{"version":1,"rules":[{"name":"a/*","allow_unsigned":true}]}`,
		"unsigned everything":    `{"version":1,"rules":[{"name":"*","allow_unsigned":true}]}`,
		"pinned glob":            `{"version":1,"rules":[{"name":"a/*","sha256":"` + digest + `"}]}`,
		"serial for a glob":      `{"version":1,"rules":[{"name":"a/*","min_serial":1}]}`,
		"manifest pin of a glob": `{"version":1,"rules":[{"name":"*","tyk":{"manifest_sha256":"` + digest + `"}}]}`,
		"pin in capitals":        `{"version":1,"rules":[{"name":"a","sha256":"` + strings.ToUpper(digest) + `"}]}`,
		"key id":                 `{"version":1,"rules":[{"name":"a","keys":["x"]}]}`,
		"threshold":              `{"version":1,"rules":[{"name":"a","keys":["` + digest + `"],"threshold":2}]}`,
		"negative threshold":     `{"version":1,"rules":[{"name":"a","threshold":-1}]}`,
		"unsigned and keys":      `{"version":1,"rules":[{"name":"a","allow_unsigned":true,"keys":["` + digest + `"]}]}`,
		"unsigned and index":     `{"version":1,"rules":[{"name":"a","allow_unsigned":true,"require_index":true}]}`,
		"extra files signed":     `{"version":1,"rules":[{"name":"a","tyk":{"extra_files":true}}]}`,
		"long grace":             `{"version":1,"accept_expired_keys":99999999999,"rules":[]}`,
	} {
		_, err := trust.ParsePolicy([]byte(text))
		wantCode(t, what, err, refusal.PolicyMalformed)
	}
	_, err := trust.Simple([]string{"a/*"}, false)
	wantCode(t, "a glob of unsigned", err, refusal.PolicyMalformed)
}

func state(t testing.TB) *trust.StateFile {
	return must[*trust.StateFile](t)(trust.OpenState(filepath.Join(t.TempDir(), "trust.json"), false, false))
}

func candidate(name string, epoch, serial uint64, digest string) trust.Candidate {
	return trust.Candidate{Release: release(name, serial, epoch), Digest: bundlestest.SHA256(digest)}
}

// What may be unsigned is named as definitions name it, and no other spelling of it may.
func TestUnsignedIsExact(t *testing.T) {
	p := must[*trust.Policy](t)(trust.Simple([]string{"guard", "old.zip"}, false))
	for asked, want := range map[string]bool{
		"guard": true, "guard.zip": false, "guard-1.2.3": false, "guard-1.2.3.zip": false, "old.zip": true, "old": false, "old-1.0.0.zip": false, "guards": false,
	} {
		if rule := must[trust.Rule](t)(p.Rule(asked)); rule.AllowUnsigned != want {
			t.Errorf("%s: rule %q, unsigned %v", asked, rule.Name, rule.AllowUnsigned)
		}
	}
}

func TestAntiRollback(t *testing.T) {
	file := state(t)
	for _, step := range []struct {
		what          string
		epoch, serial uint64
		digest        string
		want          refusal.Code
	}{
		{"first", 1, 5, "five", ""}, {"the same", 1, 5, "five", ""}, {"older", 1, 4, "four", refusal.Rollback},
		{"the same serial, other content", 1, 5, "evil", refusal.Republished}, {"newer", 1, 7, "seven", ""}, {"back", 1, 5, "five", refusal.Rollback},
		{"far ahead, by a thief", 1, 1 << 50, "evil", ""}, {"nothing reaches it", 1, 8, "eight", refusal.Rollback},
		{"but a new epoch", 2, 8, "eight", ""}, {"old epoch", 1, 1 << 51, "evil", refusal.Rollback},
	} {
		wantCode(t, step.what, file.Accept(now(), candidate("a", step.epoch, step.serial, step.digest)), step.want)
	}
	if err := file.Accept(now(), candidate("b", 1, 1, "b")); err != nil {
		t.Error(err)
	}
	wantCode(t, "all or none", file.Accept(now(), candidate("c", 1, 1, "c"), candidate("a", 1, 1, "x")), refusal.Rollback)
	s := must[trust.State](t)(file.State())
	if len(s.Names) != 2 || s.Names["a"].Serial != 8 {
		t.Errorf("%+v", s.Names)
	}
	wantCode(t, "Tyk for a known name", s.AllowsTyk("a"), refusal.Downgrade)
	wantCode(t, "Tyk for a known name's file", s.AllowsTyk("a-1.0.0.zip"), refusal.Downgrade)
	wantCode(t, "Tyk for another", s.AllowsTyk("ab"), "")
}

func TestRollbackOnPurpose(t *testing.T) {
	file := state(t)
	if err := file.Accept(now(), candidate("a", 1, 7, "seven")); err != nil {
		t.Fatal(err)
	}
	old := candidate("a", 1, 5, "five")
	wantCode(t, "no end", file.Rollback(trust.Override{Name: "a", Digest: old.Digest, Until: at(0), Reason: "x"}, now()), refusal.StateMalformed)
	wantCode(t, "no reason", file.Rollback(trust.Override{Name: "a", Digest: old.Digest, Until: at(day)}, now()), refusal.StateMalformed)
	wantCode(t, "no digest", file.Rollback(trust.Override{Name: "a", Until: at(day), Reason: "x"}, now()), refusal.StateMalformed)
	if err := file.Rollback(trust.Override{Name: "a", Digest: old.Digest, Until: at(day), Reason: "seven is broken"}, now()); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "as decided", file.Accept(now(), old), "")
	wantCode(t, "another old one", file.Accept(now(), candidate("a", 1, 5, "other")), refusal.Rollback)
	wantCode(t, "another name", file.Accept(now(), candidate("a", 1, 4, "four")), refusal.Rollback)
	wantCode(t, "the newest still", file.Accept(now(), candidate("a", 1, 7, "seven")), "")
	wantCode(t, "over", file.Accept(now().Add(day), old), refusal.Rollback)
	s := must[trust.State](t)(file.State())
	if over, err := s.Allows(old, now()); !over || err != nil || s.Names["a"].Serial != 7 {
		t.Errorf("%v %v %+v", over, err, s.Names)
	}
	// Ended overrides are dropped with the next one.
	if err := file.Rollback(trust.Override{Name: "b", Digest: old.Digest, Until: at(9 * day), Reason: "x"}, now().Add(2*day)); err != nil {
		t.Fatal(err)
	}
	if s := must[trust.State](t)(file.State()); len(s.Overrides) != 1 || s.Overrides[0].Name != "b" {
		t.Errorf("%+v", s.Overrides)
	}
}

func TestClock(t *testing.T) {
	file := state(t)
	if err := file.Accept(now(), candidate("a", 1, 1, "a")); err != nil {
		t.Fatal(err)
	}
	s := must[trust.State](t)(file.State())
	for back, want := range map[time.Duration]time.Duration{-time.Hour: -time.Hour, -day: -day, -day - time.Second: 0, -100 * day: 0, day: day} {
		got, alarm := s.Now(now().Add(back))
		if !got.Equal(now().Add(want)) || alarm != (want != back) {
			t.Errorf("clock %v: judged by %v, alarm %v", back, got, alarm)
		}
	}
	if err := file.Accept(now().Add(-day), candidate("a", 1, 2, "b")); err != nil {
		t.Fatal(err)
	}
	if s := must[trust.State](t)(file.State()); !s.Seen.Equal(now()) {
		t.Errorf("the latest time went back to %v", s.Seen)
	}
}

func TestIndex(t *testing.T) {
	c := newCast(t)
	r := parse(t, c.ring())
	listed := trust.Listed{Name: "acme/guard", Version: "1.0.0", Serial: 7, Epoch: 1, Digest: bundlestest.SHA256("d"), ArchiveSHA256: bundlestest.SHA256("a"), Size: 1}
	index := func(version uint64, expires time.Duration, l ...trust.Listed) []byte {
		return must[[]byte](t)((&trust.Index{Schema: 1, Version: version, Expires: at(expires), Bundles: l}).Encode())
	}
	good := signed(t, trust.IndexType, index(3, 7*day, listed), c.index)
	x := must[*trust.Index](t)(r.OpenIndex(good, now()))
	for what, test := range map[string]struct {
		e    sign.Envelope
		want refusal.Code
	}{
		"publisher's":  {signed(t, trust.IndexType, index(3, 7*day), c.alice), refusal.KeyUnknown},
		"unsigned":     {signed(t, trust.IndexType, index(3, 7*day)), refusal.Unsigned},
		"ended":        {signed(t, trust.IndexType, index(3, 0), c.index), refusal.IndexExpired},
		"forever":      {signed(t, trust.IndexType, index(3, 31*day), c.index), refusal.IndexMalformed},
		"not an index": {signed(t, trust.IndexType, []byte("{}"), c.index), refusal.IndexMalformed},
	} {
		_, err := r.OpenIndex(test.e, now())
		wantCode(t, what, err, test.want)
	}
	judge := func(require bool) *trust.Judge {
		p := &trust.Policy{Version: 1, Rules: []trust.Rule{{Name: "*", RequireIndex: require}}}
		return must[*trust.Judge](t)(trust.NewJudge("acme/guard", p, r, trust.State{}, now()))
	}
	rel := release("acme/guard", 7, 1)
	older := release("acme/guard", 6, 1)
	wantCode(t, "listed", judge(true).Listed(x, rel, listed.Digest, listed.ArchiveSHA256), "")
	wantCode(t, "held back", judge(true).Listed(x, older, listed.Digest, listed.ArchiveSHA256), refusal.IndexMismatch)
	wantCode(t, "another archive", judge(false).Listed(x, rel, listed.Digest, listed.Digest), refusal.IndexMismatch)
	wantCode(t, "another manifest", judge(false).Listed(x, rel, listed.ArchiveSHA256, listed.ArchiveSHA256), refusal.IndexMismatch)
	wantCode(t, "no index", judge(true).Listed(nil, rel, "", ""), refusal.IndexMissing)
	wantCode(t, "no index needed", judge(false).Listed(nil, rel, "", ""), "")
	empty := must[*trust.Index](t)(r.OpenIndex(signed(t, trust.IndexType, index(4, day), c.index), now()))
	wantCode(t, "not listed", judge(true).Listed(empty, rel, "", ""), refusal.IndexMissing)
	wantCode(t, "not listed, not needed", judge(false).Listed(empty, rel, "", ""), "")
	x.Expires = at(0) // it ends while the gateway runs
	wantCode(t, "ended meanwhile", judge(true).Listed(x, rel, listed.Digest, listed.ArchiveSHA256), refusal.IndexExpired)
	wantCode(t, "ended, not needed", judge(false).Listed(x, older, "", ""), "")

	file := state(t)
	wantCode(t, "first", file.AcceptIndex(empty, now()), "")
	wantCode(t, "again", file.AcceptIndex(empty, now()), "")
	wantCode(t, "older", file.AcceptIndex(x, now()), refusal.IndexRollback)
	other := must[*trust.Index](t)(r.OpenIndex(signed(t, trust.IndexType, index(4, day, listed), c.index), now()))
	wantCode(t, "changed under its version", file.AcceptIndex(other, now()), refusal.IndexRollback)

	for what, change := range map[string]func(x *trust.Index){
		"order":      func(x *trust.Index) { x.Bundles = []trust.Listed{listed, listed} },
		"name":       func(x *trust.Index) { x.Bundles[0].Name = "../x" },
		"digest":     func(x *trust.Index) { x.Bundles[0].Digest = "" },
		"size":       func(x *trust.Index) { x.Bundles[0].Size = 0 },
		"serial":     func(x *trust.Index) { x.Bundles[0].Serial = 0 },
		"version":    func(x *trust.Index) { x.Bundles[0].Version = "new" },
		"no version": func(x *trust.Index) { x.Version = 0 },
		"no end":     func(x *trust.Index) { x.Expires = manifest.Time{} },
	} {
		x := &trust.Index{Schema: 1, Version: 1, Expires: at(day), Bundles: []trust.Listed{listed}}
		change(x)
		_, err := trust.ParseIndex(must[[]byte](t)(strict.Encode(x)))
		wantCode(t, what, err, refusal.IndexMalformed)
	}
}

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.json")
	_, err := trust.OpenState(path, true, false)
	wantCode(t, "gone", err, refusal.StateMissing)
	file := must[*trust.StateFile](t)(trust.OpenState(path, true, true))
	if err := file.Accept(now(), candidate("a", 1, 1, "a")); err != nil {
		t.Fatal(err)
	}
	if err := file.Revoke(trust.RevokeKey(bundlestest.SHA256("k"), time.Time{}, "lost")); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "revoking nonsense", file.Revoke(trust.Revoked{Bundles: []string{"x"}}), refusal.StateMalformed)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".trust-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	again := must[*trust.StateFile](t)(trust.OpenState(path, true, false))
	s := must[trust.State](t)(again.State())
	if s.Names["a"].Serial != 1 || len(s.Revoked.Keys) != 1 {
		t.Errorf("%+v", s)
	}
	failed := errors.New("failed")
	if err := file.Update(func(s *trust.State) error { s.Names["b"] = trust.Record{}; return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
	wantCode(t, "a change that is not whole", file.Update(func(s *trust.State) error { s.Names["b"] = trust.Record{}; return nil }), refusal.StateMalformed)
	if s := must[trust.State](t)(file.State()); len(s.Names) != 1 {
		t.Errorf("%+v", s)
	}
	for what, text := range map[string]string{"cut": `{"schema":1`, "empty": "", "other": `{"schema":2,"names":{}}`, "no names": `{"schema":1}`, "unknown": `{"schema":1,"names":{},"x":1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := trust.OpenState(path, true, true)
		wantCode(t, what, err, refusal.StateMalformed)
		wantCode(t, what, file.Accept(now(), candidate("a", 1, 1, "a")), refusal.StateMalformed)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = file.State()
	wantCode(t, "removed meanwhile", err, refusal.StateMissing)
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	_, err = file.State()
	wantCode(t, "a link", err, refusal.StateMalformed)
}

// Changes by several holders of one file do not undo one another.
func TestStateConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.json")
	var group sync.WaitGroup
	for worker := range 4 {
		file := must[*trust.StateFile](t)(trust.OpenState(path, false, false))
		group.Go(func() {
			for i := range uint64(10) {
				if err := file.Accept(now(), candidate(string(rune('a'+worker)), 1, i+1, "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	s := must[trust.State](t)(must[*trust.StateFile](t)(trust.OpenState(path, true, false)).State())
	for name, r := range s.Names {
		if r.Serial != 10 {
			t.Errorf("%s is at %d", name, r.Serial)
		}
	}
	if len(s.Names) != 4 {
		t.Errorf("%d names", len(s.Names))
	}
}

func fuzz[T interface{ Encode() ([]byte, error) }](f *testing.F, parse func([]byte) (T, error), seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parse(data)
		if err != nil {
			if refusal.CodeOf(err) == refusal.Internal {
				t.Errorf("no refusal: %v", err)
			}
			return
		}
		if again, err := v.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}

func FuzzKeyRing(f *testing.F) {
	fuzz(f, trust.ParseKeyRing, must[[]byte](f)(newCast(f).ring().Encode()), []byte(`{"schema":1,"version":1}`))
}

func FuzzIndex(f *testing.F) {
	x := &trust.Index{Schema: 1, Version: 1, Expires: at(day), Bundles: []trust.Listed{{Name: "a", Version: "1.0.0", Serial: 1, Epoch: 1, Digest: bundlestest.SHA256("d"), ArchiveSHA256: bundlestest.SHA256("a"), Size: 1}}}
	fuzz(f, trust.ParseIndex, must[[]byte](f)(x.Encode()))
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"version":1,"rules":[{"name":"*"},{"name":"a","allow_unsigned":true}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := trust.ParsePolicy(data)
		if err != nil {
			return
		}
		for _, r := range p.Rules {
			if r.AllowUnsigned && strings.Contains(r.Name, "*") {
				t.Errorf("unsigned for %q", r.Name)
			}
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"schema":1,"names":{"a":{"epoch":1,"serial":1,"digest":"` + bundlestest.SHA256("x") + `","version":"1.0.0"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := trust.ParseState(data)
		if err != nil {
			return
		}
		again, err := trust.ParseState(must[[]byte](t)(strict.Encode(s)))
		if err != nil || len(again.Names) != len(s.Names) || !slices.Equal(again.Revoked.Bundles, s.Revoked.Bundles) {
			t.Errorf("%q does not read back: %v", data, err)
		}
	})
}
