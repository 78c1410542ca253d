package bundles_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// Unsigned bundles load under their exact name, and over plain http only if they are pinned.
func TestUnsigned(t *testing.T) {
	data, key := buildGuard(t, guardOptions()), newKey(t, sign.Ed25519)
	bySomebody := buildGuard(t, guardOptions(), key)
	exact := trust.Rule{Name: "guard.zip", AllowUnsigned: true}
	pinned := exact
	pinned.SHA256 = bundlestest.SHA256(string(data))
	for _, test := range []struct {
		what, asked string
		data        []byte
		plain       bool
		rule        trust.Rule
		want        refusal.Code
	}{
		{"by default", "guard.zip", data, false, trust.Rule{Name: "*"}, refusal.Unsigned},
		{"as the definition says it", "guard.zip", data, false, exact, ""},
		{"as it is named otherwise", "guard", data, false, exact, refusal.NoRule},
		{"by a key that is not trusted", "guard.zip", bySomebody, false, exact, ""},
		{"over plain http", "guard.zip", data, true, exact, refusal.PinMissing},
		{"over plain http, pinned", "guard.zip", data, true, pinned, ""},
		{"another one than pinned", "guard.zip", bySomebody, true, pinned, refusal.PinMismatch},
	} {
		v := withPolicy(t, newVerifier(t), test.rule)
		b, err := v.Verify(bundles.Request{Name: test.asked, Archive: test.data, PlainHTTP: test.plain})
		wantCode(t, test.what, err, test.want)
		if err != nil {
			continue
		}
		if !b.Verdict().Unsigned || len(b.Verdict().Keys) > 0 {
			t.Errorf("%s: %+v", test.what, b.Verdict())
		}
		// Its serial is anybody's claim, and is not kept.
		if err := v.Accept(b); err != nil {
			t.Error(err)
		}
		if s := must[trust.State](t)(v.State.State()); len(s.Names) > 0 {
			t.Errorf("%s: kept %+v", test.what, s.Names)
		}
	}
}

func version(v string) bundles.BuildOptions {
	o := guardOptions()
	o.Version = v
	return o
}

// Releases go forward; what is accepted is on disk before it runs, and holds for the next gateway.
func TestReleases(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	v := newVerifier(t, key)
	v.Describe = nil
	path := filepath.Join(t.TempDir(), "trust.json")
	v.State = must[*trust.StateFile](t)(trust.OpenState(path, false, false))
	first, second := buildGuard(t, version("1.0.0"), key), buildGuard(t, version("1.1.0"), key)
	verify := func(data []byte) (*bundles.Bundle, error) {
		return v.Verify(bundles.Request{Name: "guard", Archive: data})
	}
	one := must[*bundles.Bundle](t)(verify(first))
	two := must[*bundles.Bundle](t)(verify(second))
	if err := v.Accept(two); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "overtaken between Verify and Accept", v.Accept(one), refusal.Rollback)
	v.State = must[*trust.StateFile](t)(trust.OpenState(path, true, false))
	_, err := verify(first)
	wantCode(t, "older, after a restart", err, refusal.Rollback)
	o := version("1.1.0")
	o.Created = now().Add(-time.Hour)
	_, err = verify(buildGuard(t, o, key))
	wantCode(t, "the same serial, built again", err, refusal.Republished)

	back := trust.Override{Name: "guard", Digest: one.Verdict().Digest, Until: manifest.At(now().Add(time.Hour)), Reason: "1.1.0 leaks"}
	if err := v.State.Rollback(back, now()); err != nil {
		t.Fatal(err)
	}
	if got := must[*bundles.Bundle](t)(verify(first)); !got.Verdict().Overridden {
		t.Errorf("%+v", got.Verdict())
	}
	if err := v.State.Revoke(trust.Revoked{Bundles: []string{two.Verdict().Digest}}); err != nil {
		t.Fatal(err)
	}
	_, err = verify(second)
	wantCode(t, "revoked", err, refusal.BundleRevoked)
	if err := v.State.Revoke(trust.RevokeKey(key.Public().ID(), time.Time{}, "stolen")); err != nil {
		t.Fatal(err)
	}
	_, err = verify(first)
	wantCode(t, "its key revoked", err, refusal.KeyRevoked)
	v.Now = func() time.Time { return now().Add(-48 * time.Hour) }
	_, err = verify(first)
	wantCode(t, "the clock set back", err, refusal.KeyRevoked)
}

// A dry run by another policy says what would stop loading, and changes nothing.
func TestDryRun(t *testing.T) {
	key, next := newKey(t, sign.Ed25519), newKey(t, sign.Ed25519)
	v := newVerifier(t, key)
	both := buildGuard(t, guardOptions(), key, next)
	afterwards := newVerifier(t, next)
	for what, test := range map[string]struct {
		data []byte
		want refusal.Code
	}{"signed by the old key": {buildGuard(t, guardOptions(), key), refusal.KeyUnknown}, "signed by both": {both, ""}} {
		if _, err := v.Verify(bundles.Request{Name: "guard", Archive: test.data}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		_, err := afterwards.Verify(bundles.Request{Name: "guard", Archive: test.data})
		wantCode(t, what, err, test.want)
	}
	if s := must[trust.State](t)(v.State.State()); len(s.Names) > 0 {
		t.Errorf("Verify changed the state: %+v", s)
	}
}

func TestHostDemands(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	o := guardOptions()
	o.Platforms, o.Requires = []string{"linux/arm64", "linux/amd64"}, manifest.Requires{Host: "1.4.0", Sandbox: "strict"}
	data := buildGuard(t, o, key)
	for _, test := range []struct {
		host bundles.Host
		want refusal.Code
	}{
		{bundles.Host{Version: "1.4.0", Platform: "linux/amd64", Sandboxes: []string{"basic", "strict"}}, ""},
		{bundles.Host{Version: "v2.0.0", Platform: "linux/arm64", Sandboxes: []string{"strict"}}, ""},
		{bundles.Host{Version: "unknown", Platform: "linux/amd64", Sandboxes: []string{"strict"}}, ""},
		{bundles.Host{Version: "1.4.0", Platform: "linux/amd64"}, refusal.Sandbox},
		{bundles.Host{Version: "1.4.0", Platform: "darwin/arm64", Sandboxes: []string{"strict"}}, refusal.Platform},
		{bundles.Host{Version: "1.4.0-rc.1", Platform: "linux/amd64", Sandboxes: []string{"strict"}}, refusal.HostVersion},
	} {
		v := newVerifier(t, key)
		v.Host = test.host
		_, err := v.Verify(bundles.Request{Name: "guard", Archive: data})
		wantCode(t, fmt.Sprint(test.host), err, test.want)
	}
	v := newVerifier(t, key)
	v.Describe = func([]byte) (string, string, error) { return "", "", errors.New("line 3: no") }
	_, err := v.Verify(bundles.Request{Name: "guard", Archive: buildGuard(t, guardOptions(), key)})
	wantCode(t, "plugin.yaml that cannot be read", err, refusal.PluginFile)
	v.Limits.Archive = 100
	_, err = v.Verify(bundles.Request{Name: "guard", Archive: data})
	wantCode(t, "large", err, refusal.LimitArchive)
	v.State = nil
	wantCode(t, "no state", v.Accept(), refusal.StateMissing)
}

// The index: the release that it lists, and no other.
func TestIndexed(t *testing.T) {
	key, indexKey := newKey(t, sign.Ed25519), newKey(t, sign.Ed25519)
	v := withPolicy(t, newVerifier(t, key), trust.Rule{Name: "*", RequireIndex: true})
	ring := *v.Ring
	ring.Version, ring.Expires = 1, manifest.At(now().Add(time.Hour))
	ring.Keys = append(ring.Keys, trust.Key{ID: indexKey.Public().ID(), SPKI: indexKey.Public().SPKI()})
	ring.Index = trust.Role{Keys: []string{indexKey.Public().ID()}, Threshold: 1}
	ring.Root = ring.Index
	v.Ring = must[*trust.KeyRing](t)(trust.ParseKeyRing(must[[]byte](t)(ring.Encode())))
	v.Describe = nil
	held, newest := buildGuard(t, version("1.0.0"), key), buildGuard(t, version("1.1.0"), key)
	_, err := v.Verify(bundles.Request{Name: "guard", Archive: newest})
	wantCode(t, "no index", err, refusal.IndexMissing)
	x := &trust.Index{Schema: 1, Version: 1, Expires: manifest.At(now().Add(time.Hour)), Bundles: []trust.Listed{must[trust.Listed](t)(bundles.List(newest, nil, limits()))}}
	envelope := must[sign.Envelope](t)(sign.NewEnvelope(trust.IndexType, must[[]byte](t)(x.Encode())).Sign(indexKey))
	v.Index = must[*trust.Index](t)(v.Ring.OpenIndex(envelope, now()))
	_, err = v.Verify(bundles.Request{Name: "guard", Archive: newest})
	wantCode(t, "listed", err, "")
	_, err = v.Verify(bundles.Request{Name: "guard", Archive: held})
	wantCode(t, "held back", err, refusal.IndexMismatch)
}

// Files that deflate, and files that do not: the target is 150 ms for 16 MiB.
func BenchmarkVerify(b *testing.B) {
	const size = 16 << 20
	noise := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	words := make([]byte, 0, size)
	for i := 0; len(words) < size; i++ {
		words = fmt.Appendf(words, "-- line %d of some code, %x\n", i, noise[i%4096])
	}
	key := newKey(b, sign.Ed25519)
	for name, content := range map[string][]byte{"stored": noise, "deflated": words[:size]} {
		dir := writeFiles(b, map[string]string{"plugin.yaml": bundlestest.GuardFile, "data.bin": string(content)})
		data := must[[]byte](b)(bundles.Sign(must[[]byte](b)(bundles.Build(dir, guardOptions())), key, limits()))
		b.Run(name, func(b *testing.B) { benchmark(b, newVerifier(b, key), "guard", data, size) })
	}
}

// A bundle of Tyk with 1 KiB of code: the target is 1 ms.
func BenchmarkVerifyTyk(b *testing.B) {
	raw, key := rsaKey(b, 2048)
	old := python(raw)
	old.Contents = []string{strings.Repeat("def f(): pass # a line of 31 bytes\n", 15)[:512], strings.Repeat("x = 1\n", 86)[:512]}
	benchmark(b, withPolicy(b, newVerifier(b, key), trustWiring), "old", old.Bytes(b), 1<<10)
}

func benchmark(b *testing.B, v *bundles.Verifier, name string, data []byte, size int64) {
	b.ReportAllocs()
	b.SetBytes(size)
	for b.Loop() {
		if _, err := v.Verify(bundles.Request{Name: name, Archive: data}); err != nil {
			b.Fatal(err)
		}
	}
}
