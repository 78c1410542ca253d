package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// An Algorithm is how a key signs.
type Algorithm string

// The algorithms.
const (
	Ed25519   Algorithm = "ed25519"
	ECDSAP256 Algorithm = "ecdsa-p256-sha256"
	RSAPSS    Algorithm = "rsa-pss-sha256"
)

// Sizes of RSA keys, in bits. Below MinRSATyk a key verifies bundles of Tyk only where the policy allows weak keys.
const (
	MinRSA     = 3072
	MinRSATyk  = 2048
	minRSAWeak = 1024
	maxRSA     = 8192
)

// A PublicKey verifies. It does not change and may be used by several goroutines at once.
type PublicKey struct {
	id   string
	spki []byte
	key  crypto.PublicKey
}

// ID is the SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 §4.1) in lower-case hex. "" for the zero key.
func (k PublicKey) ID() string { return k.id }

// SPKI returns the key in DER. It belongs to the key.
func (k PublicKey) SPKI() []byte { return k.spki }

// Algorithm is how the key's signatures on our envelopes are made.
func (k PublicKey) Algorithm() Algorithm {
	switch k.key.(type) {
	case ed25519.PublicKey:
		return Ed25519
	case *ecdsa.PublicKey:
		return ECDSAP256
	}
	return RSAPSS
}

// PEM returns the key as a PUBLIC KEY block.
func (k PublicKey) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.spki})
}

// NewPublicKey takes a key of crypto/ed25519, ecdsa or rsa. RSA keys of 1024 bits and more are taken; what they may
// verify is judged then.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if useless(k) {
			return PublicKey{}, refusal.New(refusal.KeyWeak, "an Ed25519 key with which anybody can sign, or in another encoding than its own")
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, refusal.New(refusal.KeyWeak, "an ECDSA key on another curve than P-256")
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSAWeak || bits > maxRSA {
			return PublicKey{}, refusal.New(refusal.KeyWeak, "an RSA key of %d bits", bits)
		}
		if k.E < 3 || k.E > 1<<31-1 || k.E%2 == 0 {
			return PublicKey{}, refusal.New(refusal.KeyWeak, "an RSA key with exponent %d", k.E)
		}
	default:
		return PublicKey{}, refusal.New(refusal.KeyFile, "a key of type %T", key)
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, refusal.New(refusal.KeyFile, "a public key: %w", err)
	}
	sum := sha256.Sum256(spki)
	return PublicKey{id: hex.EncodeToString(sum[:]), spki: spki, key: key}, nil
}

// ParseSPKI reads a key in DER that has no other encoding.
func ParseSPKI(der []byte) (PublicKey, error) {
	if len(der) > MaxKeyFile {
		return PublicKey{}, refusal.New(refusal.KeyFile, "a public key of %d bytes", len(der))
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, refusal.New(refusal.KeyFile, "a public key: %w", err)
	}
	key, err := NewPublicKey(parsed)
	if err == nil && !bytes.Equal(key.spki, der) {
		return PublicKey{}, refusal.New(refusal.KeyFile, "a public key in an encoding of its own")
	}
	return key, err
}

// ParsePublicKey reads a PEM file with exactly one key: PUBLIC KEY (PKIX) or RSA PUBLIC KEY (PKCS #1).
func ParsePublicKey(data []byte) (PublicKey, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return PublicKey{}, err
	}
	switch block.Type {
	case "PUBLIC KEY":
		return ParseSPKI(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return PublicKey{}, refusal.New(refusal.KeyFile, "an RSA public key: %w", err)
		}
		return NewPublicKey(key)
	case "PRIVATE KEY", "RSA PRIVATE KEY", encryptedType:
		return PublicKey{}, refusal.New(refusal.KeyFile, "this is a secret key, give the public one")
	}
	return PublicKey{}, refusal.New(refusal.KeyFile, "a PEM block %.40q where PUBLIC KEY is wanted", block.Type)
}

// onlyBlock returns the one PEM block (RFC 7468) of a file.
func onlyBlock(data []byte) (*pem.Block, error) {
	if len(data) > MaxKeyFile {
		return nil, refusal.New(refusal.KeyFile, "a key file of more than %d bytes", MaxKeyFile)
	}
	block, rest := pem.Decode(data)
	if block == nil || !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN ")) {
		return nil, refusal.New(refusal.KeyFile, "no key in PEM form")
	}
	// pem.Decode passes over a block that is broken and takes the next.
	if len(bytes.TrimSpace(rest)) > 0 || bytes.Count(data, []byte("-----BEGIN ")) != 1 {
		return nil, refusal.New(refusal.KeyFile, "something follows the key: one file is one key")
	}
	if len(block.Headers) > 0 {
		return nil, refusal.New(refusal.KeyFile, "a PEM block with headers")
	}
	return block, nil
}

// verify checks a signature of our envelopes.
func (k PublicKey) verify(message, signature []byte) bool {
	sum := sha256.Sum256(message)
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, sum[:], signature)
	case *rsa.PublicKey:
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		return key.N.BitLen() >= MinRSA && rsa.VerifyPSS(key, crypto.SHA256, sum[:], signature, options) == nil
	}
	return false
}

// VerifyTyk checks the signature of a bundle of Tyk: RSASSA-PKCS1-v1_5 (RFC 8017 §8.2) over the digest of its
// files. False for keys that are not RSA; weak lets keys below MinRSATyk bits verify.
func (k PublicKey) VerifyTyk(digest [sha256.Size]byte, signature []byte, weak bool) bool {
	key, ok := k.key.(*rsa.PublicKey)
	return ok && (weak || key.N.BitLen() >= MinRSATyk) && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature) == nil
}

// CanVerifyTyk reports whether VerifyTyk could be true.
func (k PublicKey) CanVerifyTyk(weak bool) bool {
	key, ok := k.key.(*rsa.PublicKey)
	return ok && (weak || key.N.BitLen() >= MinRSATyk)
}

// A SecretKey signs. It may be used by several goroutines at once.
type SecretKey struct {
	signer crypto.Signer
	public PublicKey
}

// Generate makes a key for an algorithm.
func Generate(algorithm Algorithm) (SecretKey, error) {
	var signer crypto.Signer
	var err error
	switch algorithm {
	case Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	case ECDSAP256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSAPSS:
		signer, err = rsa.GenerateKey(rand.Reader, MinRSA)
	default:
		return SecretKey{}, refusal.New(refusal.KeyFile, "no algorithm %q: there are %s, %s and %s", algorithm, Ed25519, ECDSAP256, RSAPSS)
	}
	if err != nil {
		return SecretKey{}, fmt.Errorf("make a key: %w", err)
	}
	return NewSecretKey(signer)
}

// NewSecretKey takes any signer whose public key NewPublicKey takes: a key in memory, or one that a device keeps.
func NewSecretKey(signer crypto.Signer) (SecretKey, error) {
	public, err := NewPublicKey(signer.Public())
	return SecretKey{signer: signer, public: public}, err
}

// Public returns the key that verifies.
func (k SecretKey) Public() PublicKey { return k.public }

// sign signs a message for an envelope.
func (k SecretKey) sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	switch key := k.public.key.(type) {
	case ed25519.PublicKey:
		return k.signer.Sign(rand.Reader, message, crypto.Hash(0))
	case *rsa.PublicKey:
		if key.N.BitLen() < MinRSA {
			return nil, refusal.New(refusal.KeyWeak, "an RSA key of %d bits", key.N.BitLen())
		}
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
		return k.signer.Sign(rand.Reader, sum[:], options)
	}
	return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}
