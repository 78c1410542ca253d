package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// A key that counts only for what was made before a time counts for nothing that does not say when it was made: who
// stole it would sign that.
func TestRevokedSinceCountsForNothingUndated(t *testing.T) {
	c := newCast(t)
	since := now().Add(time.Hour) // even before it: nobody says so
	revoke := func(k sign.SecretKey) trust.Revoked { return trust.RevokeKey(ids(k)[0], since, "stolen") }

	r := c.ring()
	r.Revoked = revoke(c.index)
	index := must[[]byte](t)((&trust.Index{Schema: 1, Version: 1, Expires: at(day), Bundles: []trust.Listed{}}).Encode())
	_, err := parse(t, r).OpenIndex(signed(t, trust.IndexType, index, c.index), now())
	wantCode(t, "an index", err, refusal.KeyRevoked)

	r = c.ring()
	r.Revoked = revoke(c.root)
	ring := parse(t, r)
	r.Version = 2
	_, err = ring.Next(signed(t, trust.KeyRingType, must[[]byte](t)(r.Encode()), c.root))
	wantCode(t, "a key ring", err, refusal.KeyRevoked)

	r = c.ring()
	r.Revoked = revoke(c.alice)
	j := must[*trust.Judge](t)(trust.NewJudge("acme/guard", open(), parse(t, r), trust.State{}, now()))
	_, err = j.VouchUndated([]sign.PublicKey{c.alice.Public()})
	wantCode(t, "a bundle of Tyk", err, refusal.KeyRevoked)
	_, err = j.VouchUndated([]sign.PublicKey{c.bob.Public()})
	wantCode(t, "a bundle of Tyk by another", err, "")
	_, err = j.Vouch([]sign.PublicKey{c.alice.Public()}, manifest.At(now()))
	wantCode(t, "a bundle of ours from before", err, "")
}

// No change leaves a state behind that cannot be read again: that would stop every bundle.
func TestStateStaysReadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trust.json")
	file := must[*trust.StateFile](t)(trust.OpenState(path, false, false))
	if err := file.Accept(now(), candidate("acme/guard", 1, 1, "a")); err != nil {
		t.Fatal(err)
	}
	before := must[[]byte](t)(os.ReadFile(path))
	digest := bundlestest.SHA256("x")
	many := trust.Revoked{}
	for range 70_000 {
		many.Bundles = append(many.Bundles, digest)
	}
	for what, test := range map[string]struct {
		err  error
		want refusal.Code
	}{
		"a name in another case": {file.Accept(now(), candidate("acme/Guard", 1, 1, "b")), refusal.NameMismatch},
		"a long reason":          {file.Rollback(trust.Override{Name: "a", Digest: digest, Until: at(day), Reason: strings.Repeat("x", 70_000)}, now()), refusal.StateMalformed},
		"another long reason":    {file.Revoke(trust.RevokeKey(digest, time.Time{}, strings.Repeat("x", 70_000))), refusal.StateMalformed},
		"too much":               {file.Revoke(many), refusal.StateMalformed},
	} {
		wantCode(t, what, test.err, test.want)
	}
	if after := must[[]byte](t)(os.ReadFile(path)); string(after) != string(before) {
		t.Errorf("the state became %.300s", after)
	}
	wantCode(t, "the next one", file.Accept(now(), candidate("acme/guard", 1, 2, "b")), "")
}
