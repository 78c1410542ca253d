package bundles_test

import (
	"archive/zip"
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

func rsaKey(t testing.TB, bits int) (*rsa.PrivateKey, sign.SecretKey) {
	t.Helper()
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits))
	return key, must[sign.SecretKey](t)(sign.NewSecretKey(key))
}

func python(key *rsa.PrivateKey) bundlestest.Tyk {
	return bundlestest.Tyk{
		Names: []string{"middleware.py", "lib/helpers.py"}, Contents: []string{"import lib.helpers\n", "x = 1\n"},
		Wiring: bundlestest.Wiring("python", "Pre", "middleware.py"), Key: key,
	}
}

// withPolicy is v with another policy.
func withPolicy(t testing.TB, v *bundles.Verifier, rules ...trust.Rule) *bundles.Verifier {
	t.Helper()
	changed := *v
	changed.Policy = &trust.Policy{Version: 1, Rules: rules}
	if err := changed.Policy.Check(); err != nil {
		t.Fatal(err)
	}
	return &changed
}

var trustWiring = trust.Rule{Name: "*", Tyk: trust.Tyk{TrustWiring: true}}

// What tyk bundle build makes loads as it is, for every driver, with keys of every size and PEM form.
func TestTyk(t *testing.T) {
	for _, bits := range []int{2048, 4096} {
		raw, key := rsaKey(t, bits)
		v := withPolicy(t, newVerifier(t, key), trustWiring)
		for _, driver := range []string{"otto", "javascript", "python", "lua", "grpc", "goplugin"} {
			b := python(raw)
			b.Wiring = bundlestest.Wiring(driver, "Pre", "")
			if driver == "grpc" {
				b.Names, b.Contents = nil, nil
			}
			got, err := v.Verify(bundles.Request{Name: "old.zip", Archive: b.Bytes(t)})
			if err != nil {
				t.Fatalf("%d bits, %s: %v", bits, driver, err)
			}
			verdict := got.Verdict()
			if !verdict.UnsignedWiring || verdict.Unsigned || verdict.Format != bundles.FromTyk || len(got.Files()) != len(b.Names) || got.Tyk().Middleware.Driver != driver {
				t.Errorf("%+v", verdict)
			}
			if err := v.Accept(got); err != nil {
				t.Error(err)
			}
		}
	}
	unsigned := python(nil)
	unsigned.Zip = func(z *bundlestest.Zip) {
		z.Entries = append(z.Entries, bundlestest.Streamed("extra.py", "unlisted"), bundlestest.Stored("lib/", ""))
	}
	policy := must[*trust.Policy](t)(trust.Simple([]string{"old.zip"}, false))
	v := newVerifier(t)
	v.Policy = policy
	got := must[*bundles.Bundle](t)(v.Verify(bundles.Request{Name: "old.zip", Archive: unsigned.Bytes(t)}))
	if !got.Verdict().Unsigned || string(must[[]byte](t)(got.ReadFile("extra.py"))) != "unlisted" {
		t.Errorf("%+v", got.Verdict())
	}
	_, err := v.Verify(bundles.Request{Name: "old2.zip", Archive: unsigned.Bytes(t)})
	wantCode(t, "another name", err, refusal.Unsigned)
}

// The bytes of our builder are those of archive/zip's Writer.Create, which tyk bundle build uses.
func TestTykBytes(t *testing.T) {
	data := python(nil).Bytes(t)
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	reader := must[*zip.Reader](t)(zip.NewReader(bytes.NewReader(data), int64(len(data))))
	for _, f := range reader.File {
		in := must[io.ReadCloser](t)(f.Open())
		out := must[io.Writer](t)(w.Create(f.Name))
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), data) {
		t.Error("other bytes than archive/zip writes: the tests are about something else than tyk bundle build")
	}
}

// A signature that OpenSSL makes holds.
func TestTykSignedByOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	raw, key := rsaKey(t, 2048)
	dir := t.TempDir()
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(raw)})
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), pemKey, 0o600); err != nil {
		t.Fatal(err)
	}
	b := python(nil)
	command := exec.CommandContext(t.Context(), openssl, "dgst", "-sha256", "-sign", filepath.Join(dir, "key.pem"))
	command.Stdin = strings.NewReader(strings.Join(b.Contents, ""))
	signature := must[[]byte](t)(command.Output())
	b.Manifest = func(m map[string]any) { m["signature"] = base64.StdEncoding.EncodeToString(signature) }
	v := withPolicy(t, newVerifier(t, key), trustWiring)
	if _, err := v.Verify(bundles.Request{Name: "old", Archive: b.Bytes(t)}); err != nil {
		t.Error(err)
	}
}

func setManifest(key string, value any) func(b *bundlestest.Tyk) {
	return func(b *bundlestest.Tyk) { b.Manifest = func(m map[string]any) { m[key] = value } }
}

func setWiring(text string) func(b *bundlestest.Tyk) {
	return func(b *bundlestest.Tyk) { b.Wiring = text }
}

// The holes of Tyk's bundles, closed, each with its reason. The rule trusts wiring, which is the weakest there is for
// signed bundles, unless the case has one.
func TestTykRefuses(t *testing.T) {
	raw, key := rsaKey(t, 2048)
	otherRaw, _ := rsaKey(t, 2048)
	weakRaw := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	weak := must[sign.SecretKey](t)(sign.NewSecretKey(weakRaw))
	v := newVerifier(t, key, weak, newKey(t, sign.Ed25519))
	sum := md5.Sum([]byte("import lib.helpers\n"))
	code := `{"pre":[{"name":"P","path":"","code":"ZXZpbCgp"}],"driver":"otto"}`
	for _, test := range []struct {
		name   string
		change func(b *bundlestest.Tyk)
		rule   trust.Rule
		want   refusal.Code
	}{
		{"good", func(*bundlestest.Tyk) {}, trustWiring, ""},
		{"wiring not vouched for", func(*bundlestest.Tyk) {}, trust.Rule{Name: "*"}, refusal.TykWiring},
		{"not wanted", func(*bundlestest.Tyk) {}, trust.Rule{Name: "*", NoTyk: true, Tyk: trust.Tyk{TrustWiring: true}}, refusal.Downgrade},
		{"no serial", func(*bundlestest.Tyk) {}, trust.Rule{Name: "*", RequireIndex: true, Tyk: trust.Tyk{TrustWiring: true}}, refusal.IndexMissing},
		{"two keys wanted", func(*bundlestest.Tyk) {}, trust.Rule{Name: "*", Threshold: 2, Tyk: trust.Tyk{TrustWiring: true}}, refusal.Threshold},
		{"signature stripped", func(b *bundlestest.Tyk) { b.Key = nil }, trustWiring, refusal.Unsigned},
		{"signature removed", func(b *bundlestest.Tyk) { b.Manifest = func(m map[string]any) { delete(m, "signature") } }, trustWiring, refusal.Unsigned},
		{"signature null", setManifest("signature", nil), trustWiring, refusal.Unsigned},
		{"signature not base64", setManifest("signature", "!!!!"), trustWiring, refusal.TykSignature},
		{"signature with newline", func(b *bundlestest.Tyk) {
			b.Manifest = func(m map[string]any) { m["signature"] = m["signature"].(string) + "\n" }
		}, trustWiring, refusal.TykSignature},
		{"signature cut", func(b *bundlestest.Tyk) {
			b.Manifest = func(m map[string]any) { m["signature"] = m["signature"].(string)[:40] }
		}, trustWiring, refusal.TykSignature},
		{"another key", func(b *bundlestest.Tyk) { b.Key = otherRaw }, trustWiring, refusal.TykSignature},
		{"weak key", func(b *bundlestest.Tyk) { b.Key = weakRaw }, trustWiring, refusal.TykSignature},
		{"weak key allowed", func(b *bundlestest.Tyk) { b.Key = weakRaw }, trust.Rule{Name: "*", Tyk: trust.Tyk{TrustWiring: true, WeakRSA: true}}, ""},
		{"content changed", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries[1] = bundlestest.Streamed("lib/helpers.py", "x = 2\n") }
		}, trustWiring, refusal.TykChecksum},
		{"content and checksum changed", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries[1] = bundlestest.Streamed("lib/helpers.py", "") }
			b.Manifest = func(m map[string]any) { m["checksum"] = hex.EncodeToString(sum[:]) }
		}, trustWiring, refusal.TykSignature},
		{"order of the list", setManifest("file_list", []string{"lib/helpers.py", "middleware.py"}), trustWiring, refusal.TykChecksum},
		{"file left out of the list", setManifest("file_list", []string{"middleware.py"}), trustWiring, refusal.TykChecksum},
		{"file twice in the list", setManifest("file_list", []string{"middleware.py", "lib/helpers.py", "lib/helpers.py"}), trustWiring, refusal.TykManifest},
		{"manifest in the list", setManifest("file_list", []string{"manifest.json"}), trustWiring, refusal.TykManifest},
		{"file missing", setManifest("file_list", []string{"middleware.py", "lib/other.py"}), trustWiring, refusal.FileMissing},
		{"checksum in capitals", setManifest("checksum", strings.ToUpper(hex.EncodeToString(sum[:]))), trustWiring, refusal.TykChecksum},
		{"no checksum", setManifest("checksum", ""), trustWiring, refusal.TykChecksum},
		{"checksum too short", setManifest("checksum", "d41d8c"), trustWiring, refusal.TykChecksum},
		{"no wiring", setManifest("custom_middleware", nil), trustWiring, refusal.TykManifest},
		{"wiring is a list", setWiring(`[]`), trustWiring, refusal.TykManifest},
		{"hook is a number", setWiring(`{"pre":[1]}`), trustWiring, refusal.TykManifest},
		{"hook twice", setWiring(`{"pre":[],"pre":[]}`), trustWiring, refusal.TykManifest},
		{"signature in two cases", setManifest("Signature", "x"), trustWiring, refusal.TykManifest},
		{"driver", setWiring(bundlestest.Wiring("cobol", "Pre", "")), trustWiring, refusal.TykDriver},
		{"hook in an unlisted file", setWiring(bundlestest.Wiring("python", "Pre", "extra.py")), trustWiring, refusal.TykHookPath},
		{"hook above", setWiring(bundlestest.Wiring("python", "Pre", "../middleware.py")), trustWiring, refusal.TykHookPath},
		{"hook at an absolute path", setWiring(bundlestest.Wiring("otto", "Pre", "/etc/passwd")), trustWiring, refusal.TykHookPath},
		{"hook with a dot", setWiring(bundlestest.Wiring("python", "Pre", "./middleware.py")), trustWiring, ""},
		{"code in the manifest", setWiring(code), trustWiring, refusal.TykInlineCode},
		{"manifest pinned to another", func(*bundlestest.Tyk) {}, trust.Rule{Name: "old", Tyk: trust.Tyk{ManifestSHA256: bundlestest.SHA256("x")}}, refusal.PinMismatch},
		{"archive pinned to another", func(*bundlestest.Tyk) {}, trust.Rule{Name: "old", SHA256: bundlestest.SHA256("x")}, refusal.PinMismatch},
		{"no manifest", func(b *bundlestest.Tyk) { b.Zip = func(z *bundlestest.Zip) { z.Entries = z.Entries[:2] } }, trustWiring, refusal.TykManifestMissing},
		{"manifest in capitals", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries[2] = bundlestest.Streamed("Manifest.json", "{}") }
		}, trustWiring, refusal.TykManifestMissing},
		{"manifest twice", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries = append(z.Entries, z.Entries[2]) }
		}, trustWiring, refusal.ZipDuplicate},
		{"manifest is no JSON", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries[2] = bundlestest.Streamed("manifest.json", "hello") }
		}, trustWiring, refusal.TykManifest},
		{"large manifest", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) {
				z.Entries[2] = bundlestest.Stored("manifest.json", strings.Repeat(" ", 1<<20+1))
			}
		}, trustWiring, refusal.TykManifest},
		{"link", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries[1].Central.External = 0o120777 << 16 }
		}, trustWiring, refusal.ZipSymlink},
		{"way out", func(b *bundlestest.Tyk) {
			b.Zip = func(z *bundlestest.Zip) { z.Entries = append(z.Entries, bundlestest.Streamed("../x.py", "x")) }
		}, trustWiring, refusal.ZipName},
	} {
		b := python(raw)
		test.change(&b)
		_, err := withPolicy(t, v, test.rule).Verify(bundles.Request{Name: "old", Archive: b.Bytes(t)})
		wantCode(t, test.name, err, test.want)
	}
	_, err := withPolicy(t, newVerifier(t, newKey(t, sign.Ed25519)), trustWiring).Verify(bundles.Request{Name: "old", Archive: python(raw).Bytes(t)})
	wantCode(t, "no RSA key", err, refusal.KeyUnknown)
}

// Boundaries between files are not under Tyk's signature: a pin or a countersignature ends that.
func TestBoundaryShift(t *testing.T) {
	raw, key := rsaKey(t, 2048)
	good := bundlestest.Tyk{Names: []string{"a.py", "b.py"}, Contents: []string{"ab", "c"}, Wiring: bundlestest.Wiring("python", "P", "a.py"), Key: raw}
	shifted := good
	shifted.Contents = []string{"a", "bc"}
	v := newVerifier(t, key)
	adoption := must[[]byte](t)(bundles.Adopt(good.Bytes(t), bundles.Release{Name: "old", Version: "1.0.0", Created: now()}, rsaSigner(t, v), limits()))
	_, err := withPolicy(t, v, trustWiring).Verify(bundles.Request{Name: "old", Archive: shifted.Bytes(t)})
	wantCode(t, "trusted wiring is what it says", err, "")
	_, err = withPolicy(t, v, trust.Rule{Name: "old", SHA256: bundlestest.SHA256(string(good.Bytes(t)))}).Verify(bundles.Request{Name: "old", Archive: shifted.Bytes(t)})
	wantCode(t, "pinned", err, refusal.PinMismatch)
	_, err = v.Verify(bundles.Request{Name: "old", Archive: shifted.Bytes(t), Adoption: adoption})
	wantCode(t, "countersigned", err, refusal.PrefixDigest)
}

// rsaSigner is a new Ed25519 key that v trusts besides those it has.
func rsaSigner(t testing.TB, v *bundles.Verifier) sign.SecretKey {
	key := newKey(t, sign.Ed25519)
	public := []sign.PublicKey{key.Public()}
	for _, k := range v.Ring.Keys {
		public = append(public, must[sign.PublicKey](t)(sign.ParseSPKI(k.SPKI)))
	}
	v.Ring = must[*trust.KeyRing](t)(trust.PlainKeys(public))
	return key
}

func TestAdopt(t *testing.T) {
	key, other := newKey(t, sign.Ed25519), newKey(t, sign.Ed25519)
	v := newVerifier(t, key)
	b := python(nil)
	b.Wiring = `{"pre":[{"name":"P","path":"","code":"ZXZpbCgp"}],"driver":"otto"}` // what nobody else vouches for
	data := b.Bytes(t)
	release := bundles.Release{Name: "old.zip", Version: "2.0.0", Created: now()}
	adoption := must[[]byte](t)(bundles.Adopt(data, release, key, limits()))
	got := must[*bundles.Bundle](t)(v.Verify(bundles.Request{Name: "old.zip", Archive: data, Adoption: adoption}))
	if verdict := got.Verdict(); verdict.Release.Name != "old" || verdict.UnsignedWiring || len(verdict.Keys) != 1 {
		t.Errorf("%+v", verdict)
	}
	if err := v.Accept(got); err != nil {
		t.Fatal(err)
	}
	listed := must[trust.Listed](t)(bundles.List(data, adoption, limits()))
	if listed.Name != "old" || listed.Digest != got.Verdict().Digest {
		t.Errorf("%+v", listed)
	}

	byOther := must[[]byte](t)(bundles.Adopt(data, release, other, limits()))
	release.Version = "1.9.9"
	older := must[[]byte](t)(bundles.Adopt(data, release, key, limits()))
	release.Version, release.Name = "3.0.0", "young"
	forAnother := must[[]byte](t)(bundles.Adopt(data, release, key, limits()))
	changed := bytes.Clone(data)
	changed[len(changed)-30] ^= 1
	for _, test := range []struct {
		name           string
		data, adoption []byte
		want           refusal.Code
	}{
		{"archive changed", changed, adoption, refusal.PrefixDigest},
		{"another key's", data, byOther, refusal.KeyUnknown},
		{"older", data, older, refusal.Rollback},
		{"for another name", data, forAnother, refusal.NameMismatch},
		{"countersignature lost", data, nil, refusal.Downgrade},
		{"countersignature empty", data, []byte{}, refusal.Envelope},
		{"countersignature garbage", data, []byte("hello"), refusal.Envelope},
		{"envelope of a bundle", data, must[[]byte](t)(must[sign.Envelope](t)(sign.NewEnvelope("application/vnd.turnbuckle.bundle.v2+json", []byte("{}")).Sign(key)).Encode()), refusal.EnvelopeType},
		{"payload of nothing", data, must[[]byte](t)(must[sign.Envelope](t)(sign.NewEnvelope("application/vnd.turnbuckle.adoption.v1+json", []byte("{}")).Sign(key)).Encode()), refusal.Payload},
	} {
		_, err := v.Verify(bundles.Request{Name: "old.zip", Archive: test.data, Adoption: test.adoption})
		wantCode(t, test.name, err, test.want)
	}
	// A broken countersignature is an error even where nobody need sign.
	policy := must[*trust.Policy](t)(trust.Simple([]string{"old.zip"}, false))
	v.Policy = policy
	_, err := v.Verify(bundles.Request{Name: "old.zip", Archive: data, Adoption: byOther})
	wantCode(t, "another key's where unsigned is allowed", err, refusal.KeyUnknown)
	_, err = bundles.Adopt(buildGuard(t, guardOptions()), release, key, limits())
	wantCode(t, "adopting ours", err, refusal.EnvelopeType)
	_, err = bundles.Adopt([]byte("x"), release, key, limits())
	wantCode(t, "adopting garbage", err, refusal.ZipTruncated)
	_, err = bundles.List(data, nil, limits())
	wantCode(t, "listing without", err, refusal.Unsigned)
	_, err = bundles.List(changed, adoption, limits())
	if err == nil {
		t.Error("listed with another's countersignature")
	}
}

// Every bit of a signed file's content counts, and every byte of an archive that is countersigned.
func TestTykBitFlips(t *testing.T) {
	raw, key := rsaKey(t, 2048)
	v := withPolicy(t, newVerifier(t, key), trustWiring)
	b := python(raw)
	data := b.Bytes(t)
	good := must[*bundles.Bundle](t)(v.Verify(bundles.Request{Name: "old", Archive: data}))
	content := map[string]string{}
	for _, f := range good.Files() {
		content[f.Path] = string(must[[]byte](t)(good.ReadFile(f.Path)))
	}
	strictly := newVerifier(t)
	adoption := must[[]byte](t)(bundles.Adopt(data, bundles.Release{Name: "old", Version: "1.0.0", Created: now()}, rsaSigner(t, strictly), limits()))
	for i := 0; i < len(data)*8; i += sample(37) {
		changed := bytes.Clone(data)
		changed[i/8] ^= 1 << (i % 8)
		if _, err := strictly.Verify(bundles.Request{Name: "old", Archive: changed, Adoption: adoption}); err == nil {
			t.Fatalf("bit %d of a countersigned archive can be flipped", i)
		}
		got, err := v.Verify(bundles.Request{Name: "old", Archive: changed})
		if err != nil {
			continue // whatever it was
		}
		for _, f := range got.Files() {
			if string(must[[]byte](t)(got.ReadFile(f.Path))) != content[f.Path] && strings.HasSuffix(f.Path, ".py") {
				t.Fatalf("bit %d changes %s", i, f.Path)
			}
		}
	}
}
