package bundles_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// What describes a plugin is read whole and parsed: it is bounded, whoever signed it.
func TestLargePluginFile(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	files := guardFiles()
	files["plugin.yaml"] += strings.Repeat("# more\n", 1<<20/7)
	_, err := bundles.Build(writeFiles(t, files), guardOptions())
	wantCode(t, "built", err, refusal.PluginFile)
	called := false
	v := newVerifier(t, key)
	v.Describe = func([]byte) (string, string, error) { called = true; return "guard", "1.2.3", nil }
	data := bundlestest.Signed{Files: files}.Bytes(t, key, now())
	_, err = v.Verify(bundles.Request{Name: "guard", Archive: data})
	wantCode(t, "verified", err, refusal.PluginFile)
	if called {
		t.Error("it was parsed")
	}
}

// A revoked bundle of Tyk cannot come back packed anew: its archive is under nobody's signature.
func TestTykRevokedHoweverPacked(t *testing.T) {
	raw, key := rsaKey(t, 2048)
	b := python(raw)
	seen := must[bundles.Inspection](t)(bundles.Inspect(b.Bytes(t), limits()))
	v := withPolicy(t, newVerifier(t, key), trustWiring)
	request := bundles.Request{Name: "old", Archive: b.Bytes(t)}
	must[*bundles.Bundle](t)(v.Verify(request))
	if err := v.State.Revoke(trust.Revoked{Bundles: []string{seen.Digest}}); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(request)
	wantCode(t, "as it was", err, refusal.BundleRevoked)
	b.Manifest = func(m map[string]any) { m["x"] = "y" }
	b.Zip = func(z *bundlestest.Zip) {
		z.Entries[0] = z.Entries[0].Both(func(h *bundlestest.Header) { h.Date = 0x5555 })
		z.Entries = append(z.Entries, bundlestest.Streamed("more.txt", "x"))
	}
	request.Archive = b.Bytes(t)
	_, err = v.Verify(request)
	wantCode(t, "packed anew", err, refusal.BundleRevoked)

	// The name of nothing is that of every bundle without files: it revokes none.
	b = bundlestest.Tyk{Wiring: bundlestest.Wiring("grpc", "Pre", ""), Key: raw}
	if seen := must[bundles.Inspection](t)(bundles.Inspect(b.Bytes(t), limits())); seen.Digest != "" {
		t.Errorf("a bundle without files has the digest %s", seen.Digest)
	}
}

// A key that was revoked since a time signs no bundle of Tyk, which has no date.
func TestTykKeyRevokedSince(t *testing.T) {
	raw, key := rsaKey(t, 2048)
	v := withPolicy(t, newVerifier(t, key), trustWiring)
	if err := v.State.Revoke(trust.RevokeKey(key.Public().ID(), now().Add(-time.Hour), "stolen")); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(bundles.Request{Name: "old", Archive: python(raw).Bytes(t)})
	wantCode(t, "revoked since", err, refusal.KeyRevoked)
}

// A plugin's folder with a secret key in it is packed for nobody.
func TestBuildLeavesNoSecretIn(t *testing.T) {
	phrase := []byte("secret")
	for name, text := range map[string][]byte{
		"key":       must[[]byte](t)(sign.MarshalSecretKey(newKey(t, sign.Ed25519), nil)),
		"encrypted": must[[]byte](t)(sign.MarshalSecretKey(newKey(t, sign.Ed25519), phrase)),
		"openssh":   []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n"),
		"RSA":       []byte("\n-----BEGIN RSA PRIVATE KEY-----\nb3Bl\n-----END RSA PRIVATE KEY-----\n"),
	} {
		dir := writeFiles(t, guardFiles())
		if err := os.WriteFile(filepath.Join(dir, "lib", "release.key"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := bundles.Build(dir, guardOptions())
		wantCode(t, name, err, refusal.BuildFolder)
	}
	dir := writeFiles(t, guardFiles())
	public := newKey(t, sign.Ed25519).Public().PEM()
	if err := os.WriteFile(filepath.Join(dir, "issuer.pub"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	must[[]byte](t)(bundles.Build(dir, guardOptions()))
	if err := os.WriteFile(filepath.Join(dir, "guard-1.2.2.zip"), buildGuard(t, guardOptions()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := bundles.Build(dir, guardOptions())
	wantCode(t, "a bundle in the bundle", err, refusal.BuildFolder)
}
