package sign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

const testType = "application/vnd.turnbuckle.test+json"

func generate(t testing.TB, algorithm sign.Algorithm) sign.SecretKey {
	t.Helper()
	key, err := sign.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

func TestEnvelope(t *testing.T) {
	for _, algorithm := range []sign.Algorithm{sign.Ed25519, sign.ECDSAP256, sign.RSAPSS} {
		t.Run(string(algorithm), func(t *testing.T) {
			key, other := generate(t, algorithm), generate(t, sign.Ed25519)
			envelope, err := sign.NewEnvelope(testType, []byte(`{"a":1}`)).Sign(key)
			if err != nil {
				t.Fatal(err)
			}
			data, err := envelope.Encode()
			if err != nil {
				t.Fatal(err)
			}
			read, err := sign.DecodeEnvelope(data, testType, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			held, err := read.Verify([]sign.PublicKey{other.Public(), key.Public()})
			if err != nil || len(held) != 1 || held[0].ID() != key.Public().ID() || held[0].Algorithm() != algorithm {
				t.Fatalf("%v %v", held, err)
			}
			_, err = read.Verify([]sign.PublicKey{other.Public()})
			wantCode(t, "other key", err, refusal.KeyUnknown)
			// Every bit of the encoding counts.
			step := 1
			if algorithm != sign.Ed25519 {
				step = 7 // slower ones; the encoding is the same
			}
			for i := 0; i < len(data)*8; i += step {
				changed := bytes.Clone(data)
				changed[i/8] ^= 1 << (i % 8)
				e, err := sign.DecodeEnvelope(changed, testType, 1<<20)
				if err == nil {
					_, err = e.Verify([]sign.PublicKey{key.Public()})
				}
				if err == nil {
					t.Fatalf("bit %d can be flipped: %q", i, changed)
				}
			}
		})
	}
}

func TestTypeConfusion(t *testing.T) {
	key := generate(t, sign.Ed25519)
	envelope, err := sign.NewEnvelope("other", []byte("x")).Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := envelope.Encode()
	_, err = sign.DecodeEnvelope(data, testType, 1<<20)
	wantCode(t, "type", err, refusal.EnvelopeType)
	envelope.PayloadType = testType
	_, err = envelope.Verify([]sign.PublicKey{key.Public()})
	wantCode(t, "type changed", err, refusal.SignatureInvalid)
	if bytes.Equal(sign.PAE("ab", []byte("c")), sign.PAE("a", []byte("bc"))) {
		t.Error("type and payload run into each other")
	}
	if got, want := string(sign.PAE("http://example.com/HelloWorld", []byte("hello world"))), "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("PAE %q", got)
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	a, b := generate(t, sign.Ed25519), generate(t, sign.Ed25519)
	envelope, err := sign.NewEnvelope(testType, []byte("x")).Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := envelope.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(change func(*sign.Envelope)) []byte {
		e := two
		e.Signatures = append([]sign.Signature(nil), two.Signatures...)
		change(&e)
		data, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, test := range []struct {
		name string
		data []byte
		want refusal.Code
	}{
		{"same key twice", encode(func(e *sign.Envelope) { e.Signatures[1] = e.Signatures[0] }), refusal.SignatureTwice},
		{"order", encode(func(e *sign.Envelope) { e.Signatures[0], e.Signatures[1] = e.Signatures[1], e.Signatures[0] }), refusal.SignatureTwice},
		{"key id short", encode(func(e *sign.Envelope) { e.Signatures[0].KeyID = "ab" }), refusal.Envelope},
		{"key id in capitals", encode(func(e *sign.Envelope) { e.Signatures[0].KeyID = strings.Repeat("AB", 32) }), refusal.Envelope},
		{"no key id", encode(func(e *sign.Envelope) { e.Signatures[0].KeyID = "" }), refusal.Envelope},
		{"no bytes", encode(func(e *sign.Envelope) { e.Signatures[0].Sig = nil }), refusal.Envelope},
		{"empty bytes", encode(func(e *sign.Envelope) { e.Signatures[0].Sig = []byte{} }), refusal.Envelope},
		{"huge signature", encode(func(e *sign.Envelope) { e.Signatures[0].Sig = make([]byte, 2000) }), refusal.Envelope},
		{"null list", encode(func(e *sign.Envelope) { e.Signatures = nil }), refusal.Envelope},
		{"no payload", encode(func(e *sign.Envelope) { e.Payload = []byte{} }), refusal.Envelope},
		{"many", encode(func(e *sign.Envelope) { e.Signatures = make([]sign.Signature, 17) }), refusal.LimitSignatures},
		{"large", make([]byte, 1<<20+1), refusal.LimitEnvelope},
		{"algorithm named", []byte(`{"payloadType":"` + testType + `","payload":"eA==","signatures":[],"alg":"none"}`), refusal.Envelope},
	} {
		_, err := sign.DecodeEnvelope(test.data, testType, 1<<20)
		wantCode(t, test.name, err, test.want)
	}
	_, err = sign.NewEnvelope(testType, []byte("x")).Verify([]sign.PublicKey{a.Public()})
	wantCode(t, "unsigned", err, refusal.Unsigned)
	two.Signatures[1].Sig = bytes.Clone(two.Signatures[1].Sig)
	two.Signatures[1].Sig[0] ^= 1
	_, err = two.Verify([]sign.PublicKey{a.Public(), b.Public()})
	wantCode(t, "one of two is wrong", err, refusal.SignatureInvalid)
	_, err = envelope.Add(b.Public(), envelope.Signatures[0].Sig)
	wantCode(t, "added under another key", err, refusal.SignatureInvalid)
}

func TestWeakKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sign.NewSecretKey(p384)
	wantCode(t, "P-384", err, refusal.KeyWeak)
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.NewSecretKey(small)
	if err != nil {
		t.Fatal(err)
	}
	_, err = sign.NewEnvelope(testType, []byte("x")).Sign(key)
	wantCode(t, "RSA 2048 on an envelope", err, refusal.KeyWeak)
	if !key.Public().CanVerifyTyk(false) || generate(t, sign.Ed25519).Public().CanVerifyTyk(true) {
		t.Error("who can verify bundles of Tyk")
	}
}

// Keys of which everybody knows signatures are none. That these are such keys is shown by such a signature.
func TestSmallOrderKeys(t *testing.T) {
	signature := make([]byte, ed25519.SignatureSize)
	signature[0] = 1 // R is the neutral element, S is 0
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign1 := range []byte{0, 0x80} {
			key, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			key[31] |= sign1
			forged := false
			for i := range 255 {
				forged = forged || ed25519.Verify(key, []byte{byte(i)}, signature)
			}
			_, err = sign.NewPublicKey(ed25519.PublicKey(key))
			if forged {
				wantCode(t, text, err, refusal.KeyWeak)
			} else if err == nil {
				t.Errorf("%x is accepted", key)
			}
		}
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, passphrase string
		algorithm        sign.Algorithm
	}{
		{"plain", "", sign.Ed25519}, {"locked", "correct horse", sign.Ed25519}, {"p256", "", sign.ECDSAP256}, {"rsa", "", sign.RSAPSS},
	} {
		key := generate(t, test.algorithm)
		path := filepath.Join(dir, test.name)
		if err := sign.WriteKeyPair(path, key, []byte(test.passphrase)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + ".key")
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v (%v)", test.name, info.Mode(), err)
		}
		read, err := sign.ReadSecretKey(path+".key", func() ([]byte, error) { return []byte(test.passphrase), nil })
		if err != nil || read.Public().ID() != key.Public().ID() {
			t.Errorf("%s: %v", test.name, err)
		}
		public, err := sign.ReadPublicKey(path + ".pub")
		if err != nil || public.ID() != key.Public().ID() {
			t.Errorf("%s: %v", test.name, err)
		}
		wantCode(t, "overwrite", sign.WriteKeyPair(path, key, nil), refusal.KeyFile)
	}
	_, err := sign.ReadSecretKey(filepath.Join(dir, "locked.key"), func() ([]byte, error) { return []byte("wrong"), nil })
	wantCode(t, "wrong passphrase", err, refusal.KeyPassphrase)
	_, err = sign.ReadSecretKey(filepath.Join(dir, "locked.key"), nil)
	wantCode(t, "no passphrase", err, refusal.KeyPassphrase)
	closed := errors.New("no terminal")
	if _, err := sign.ReadSecretKey(filepath.Join(dir, "locked.key"), func() ([]byte, error) { return nil, closed }); !errors.Is(err, closed) {
		t.Errorf("who asks for the passphrase failed: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "plain.key"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err = sign.ReadSecretKey(filepath.Join(dir, "plain.key"), nil)
	wantCode(t, "mode", err, refusal.KeyFileMode)
	_, err = sign.ReadPublicKey(dir)
	wantCode(t, "folder", err, refusal.KeyFile)
	// A key whose public half cannot be written leaves no secret behind.
	if err := os.WriteFile(filepath.Join(dir, "half.pub"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "half", sign.WriteKeyPair(filepath.Join(dir, "half"), generate(t, sign.Ed25519), nil), refusal.KeyFile)
	if _, err := os.Stat(filepath.Join(dir, "half.key")); !os.IsNotExist(err) {
		t.Error("the secret key stayed")
	}
}

func TestKeyFilesRefuse(t *testing.T) {
	key := generate(t, sign.Ed25519)
	secret, err := sign.MarshalSecretKey(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	public := key.Public().PEM()
	block := func(kind string, content []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sign.ParsePublicKey(block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&weak.PublicKey))); err != nil {
		t.Errorf("PKCS #1: %v", err)
	}
	if _, err := sign.ParseSecretKey(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(weak)), nil); err != nil {
		t.Errorf("PKCS #1: %v", err)
	}
	for name, data := range map[string][]byte{
		"secret":       secret,
		"two":          append(bytes.Clone(public), public...),
		"broken first": bytes.Join([][]byte{bytes.Replace(public, []byte("M"), []byte("!"), 1), public}, nil),
		"text between": bytes.Replace(public, []byte("-----\n"), []byte("-----\n!\n"), 1),
		"text before":  append([]byte("hello\n"), public...),
		"text behind":  append(bytes.Clone(public), "hello"...),
		"empty":        nil,
		"other":        block("CERTIFICATE", key.Public().SPKI()),
		"garbage":      block("PUBLIC KEY", []byte("garbage")),
		"rsa garbage":  block("RSA PUBLIC KEY", []byte("garbage")),
		"large":        block("PUBLIC KEY", make([]byte, sign.MaxKeyFile)),
		"with headers": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{"a": "b"}, Bytes: key.Public().SPKI()}),
	} {
		_, err := sign.ParsePublicKey(data)
		wantCode(t, "public, "+name, err, refusal.KeyFile)
	}
	for name, data := range map[string][]byte{
		"public":    public,
		"garbage":   block("PRIVATE KEY", []byte("garbage")),
		"rsa":       block("RSA PRIVATE KEY", []byte("garbage")),
		"cut":       block("TURNBUCKLE ENCRYPTED KEY", []byte{1, 15}),
		"expensive": block("TURNBUCKLE ENCRYPTED KEY", append([]byte{1, 60}, make([]byte, 100)...)),
		"version":   block("TURNBUCKLE ENCRYPTED KEY", append([]byte{2, 15}, make([]byte, 100)...)),
		"other":     block("EC PARAMETERS", nil),
	} {
		_, err := sign.ParseSecretKey(data, func() ([]byte, error) { return nil, nil })
		wantCode(t, "secret, "+name, err, refusal.KeyFile)
	}
	_, err = sign.Generate("md5")
	wantCode(t, "algorithm", err, refusal.KeyFile)
}

func FuzzEnvelope(f *testing.F) {
	key := generate(f, sign.Ed25519)
	envelope, err := sign.NewEnvelope(testType, []byte("x")).Sign(key)
	if err != nil {
		f.Fatal(err)
	}
	data, _ := envelope.Encode()
	f.Add(data)
	f.Add([]byte(`{"payloadType":"` + testType + `","payload":"eA==","signatures":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := sign.DecodeEnvelope(data, testType, 1<<16)
		if err != nil {
			if refusal.CodeOf(err) == refusal.Internal {
				t.Errorf("no refusal: %v", err)
			}
			return
		}
		if again, err := e.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q", data, again)
		}
		if held, err := e.Verify([]sign.PublicKey{key.Public()}); err == nil && !bytes.Equal(e.Payload, envelope.Payload) {
			t.Errorf("verified by %v: %q", held, data)
		}
	})
}

func FuzzKeyFile(f *testing.F) {
	key := generate(f, sign.Ed25519)
	secret, _ := sign.MarshalSecretKey(key, nil)
	f.Add(secret)
	f.Add(key.Public().PEM())
	f.Fuzz(func(t *testing.T, data []byte) {
		if public, err := sign.ParsePublicKey(data); err == nil {
			if again, err := sign.ParsePublicKey(public.PEM()); err != nil || again.ID() != public.ID() {
				t.Errorf("%q does not read back: %v", data, err)
			}
		}
		// Encrypted keys cost what they cost, so none are tried.
		if key, err := sign.ParseSecretKey(data, nil); err == nil {
			if _, err := sign.MarshalSecretKey(key, nil); err != nil {
				t.Errorf("%q: %v", data, err)
			}
		}
	})
}
