package authn

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"sync"
)

// Bounds of RSA keys, in bits, and of how many are kept parsed by one method.
const (
	minRSABits    = 2048
	maxRSABits    = 8192
	maxPublicKeys = 1024
)

// publicKeys parses keys that sessions hold and keeps them, failures included. The zero value is ready.
type publicKeys struct {
	mu     sync.RWMutex
	parsed map[string]*rsa.PublicKey // nil: none
}

func (p *publicKeys) get(text string) (*rsa.PublicKey, error) {
	p.mu.RLock()
	key, ok := p.parsed[text]
	p.mu.RUnlock()
	if !ok {
		key = parsePublicKey(text)
		p.mu.Lock()
		if p.parsed == nil || len(p.parsed) >= maxPublicKeys {
			p.parsed = map[string]*rsa.PublicKey{}
		}
		p.parsed[text] = key
		p.mu.Unlock()
	}
	if key == nil {
		return nil, errPublicKey
	}
	return key, nil
}

// parsePublicKey reads a certificate or public key in PEM, or in base64 of PEM or DER; nil when it is none that is good
// enough.
func parsePublicKey(text string) *rsa.PublicKey {
	der := []byte(text)
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		der = decoded
	}
	if block, _ := pem.Decode(bytes.TrimSpace(der)); block != nil {
		der = block.Bytes
	}
	var parsed any
	if cert, err := x509.ParseCertificate(der); err == nil {
		parsed = cert.PublicKey
	} else if parsed, err = x509.ParsePKIXPublicKey(der); err != nil {
		if parsed, err = x509.ParsePKCS1PublicKey(der); err != nil {
			return nil
		}
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSABits || key.N.BitLen() > maxRSABits {
		return nil
	}
	return key
}

// decoyKey is a key that nobody has the private half of, to verify with when there is none.
func decoyKey() *rsa.PublicKey {
	n := make([]byte, minRSABits/8)
	_, _ = rand.Read(n) // never fails (crypto/rand)
	n[0] |= 0x80
	n[len(n)-1] |= 1
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
}
