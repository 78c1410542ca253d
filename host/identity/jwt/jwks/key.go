package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Bounds of what is fetched.
const (
	MaxBytes = 1 << 20 // of a document, after decompression
	MaxKeys  = 1000    // of a set, usable or not
	minRSA   = 2048    // bits, RFC 7518 §3.3
	maxRSA   = 16384   // bits: verification takes time that grows with the square
	maxID    = 1 << 10 // bytes of a key id
)

// Key is a public key of a set. It is immutable, and stays the same pointer for as long as its set publishes it
// unchanged: who compares pointers knows whether a key has been rotated.
type Key struct {
	// ID is its "kid", empty when it has none.
	ID string
	// Algorithm is its "alg", the only one it may be used with; empty when it does not say.
	Algorithm string
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	Public any
}

// equal reports whether two keys are the same in all respects.
func (k *Key) equal(other *Key) bool {
	if k.ID != other.ID || k.Algorithm != other.Algorithm {
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return public.Equal(other.Public)
	case *ecdsa.PublicKey:
		return public.Equal(other.Public)
	case ed25519.PublicKey:
		return public.Equal(other.Public)
	}
	return false
}

// Check returns why public must not verify signatures: it is of no known type, an RSA key of fewer than 2048 bits or with
// an exponent that makes it worthless, an elliptic curve that RFC 7518 does not name.
func Check(public any) error {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return fmt.Errorf("an RSA key of %d bits: it must have %d to %d", bits, minRSA, maxRSA)
		}
		if k.E < 3 || k.E%2 == 0 {
			return fmt.Errorf("an RSA key with exponent %d: it must be odd and at least 3", k.E)
		}
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return fmt.Errorf("a key on curve %s: it must be P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key of %d bytes: it must have %d", len(k), ed25519.PublicKeySize)
		}
	default:
		return fmt.Errorf("a key of type %T: it must be a public RSA, ECDSA or Ed25519 key", public)
	}
	return nil
}

// Parse reads a key set. Keys that cannot verify signatures are left out and counted as RFC 7517 §5 wants it: of a type
// that is not known, symmetric, private (its secret is out), weak, damaged, or for encryption. An error says that the
// whole is no set, or over a bound.
func Parse(document []byte) (keys []*Key, skipped int, err error) {
	if len(document) > MaxBytes {
		return nil, 0, fmt.Errorf("a key set of more than %d bytes", MaxBytes)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, 0, fmt.Errorf("not a key set: %w", err)
	}
	if set.Keys == nil {
		return nil, 0, fmt.Errorf(`not a key set: it has no list "keys"`)
	}
	if len(set.Keys) > MaxKeys {
		return nil, 0, fmt.Errorf("a key set of %d keys: at most %d", len(set.Keys), MaxKeys)
	}
	for _, raw := range set.Keys {
		if k := parseKey(raw); k != nil {
			keys = append(keys, k)
		} else {
			skipped++
		}
	}
	return keys, skipped, nil
}

// parseKey returns nil for a key that cannot verify signatures.
func parseKey(raw []byte) *Key {
	var use struct {
		Operations []string `json:"key_ops"`
	}
	if json.Unmarshal(raw, &use) != nil || use.Operations != nil && !slices.Contains(use.Operations, "verify") {
		return nil
	}
	var k jose.JSONWebKey
	if k.UnmarshalJSON(raw) != nil || k.Use != "" && k.Use != "sig" || len(k.KeyID) > maxID {
		return nil
	}
	if Check(k.Key) != nil {
		return nil
	}
	return &Key{ID: strings.Clone(k.KeyID), Algorithm: k.Algorithm, Public: k.Key}
}
