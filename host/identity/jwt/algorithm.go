package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // the hash of the 384 and 512 algorithms
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
)

// algorithm is one of RFC 7518 §3.1 or RFC 8037 §3.1.
type algorithm struct {
	method gojwt.SigningMethod
	family config.JWTMethod
	curve  elliptic.Curve // of ECDSA
}

// algorithmOf returns the algorithm of that name. There is none called "none".
func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "HS256":
		return algorithm{method: gojwt.SigningMethodHS256, family: config.JWTHMAC}, true
	case "HS384":
		return algorithm{method: gojwt.SigningMethodHS384, family: config.JWTHMAC}, true
	case "HS512":
		return algorithm{method: gojwt.SigningMethodHS512, family: config.JWTHMAC}, true
	case "RS256":
		return algorithm{method: gojwt.SigningMethodRS256, family: config.JWTRSA}, true
	case "RS384":
		return algorithm{method: gojwt.SigningMethodRS384, family: config.JWTRSA}, true
	case "RS512":
		return algorithm{method: gojwt.SigningMethodRS512, family: config.JWTRSA}, true
	case "PS256":
		return algorithm{method: gojwt.SigningMethodPS256, family: config.JWTRSA}, true
	case "PS384":
		return algorithm{method: gojwt.SigningMethodPS384, family: config.JWTRSA}, true
	case "PS512":
		return algorithm{method: gojwt.SigningMethodPS512, family: config.JWTRSA}, true
	case "ES256":
		return algorithm{gojwt.SigningMethodES256, config.JWTECDSA, elliptic.P256()}, true
	case "ES384":
		return algorithm{gojwt.SigningMethodES384, config.JWTECDSA, elliptic.P384()}, true
	case "ES512":
		return algorithm{gojwt.SigningMethodES512, config.JWTECDSA, elliptic.P521()}, true
	case "EdDSA":
		return algorithm{method: gojwt.SigningMethodEdDSA, family: config.JWTEdDSA}, true
	}
	return algorithm{}, false
}

// takes reports whether the algorithm verifies with a key of that type: a []byte is a secret.
func (a algorithm) takes(key any) bool {
	switch k := key.(type) {
	case []byte:
		return a.family == config.JWTHMAC && len(k) > 0
	case *rsa.PublicKey:
		return a.family == config.JWTRSA
	case *ecdsa.PublicKey:
		return a.family == config.JWTECDSA && k.Curve == a.curve
	case ed25519.PublicKey:
		return a.family == config.JWTEdDSA
	}
	return false
}

// readKey makes a key of what a definition or a session holds: for HMAC the text is the secret, otherwise it is PEM or
// base64 of PEM. The key is a []byte or what jwks.Key.Public may be. Errors do not show the text.
func readKey(family config.JWTMethod, text string) (any, error) {
	if family == config.JWTHMAC {
		if text == "" {
			return nil, errors.New("the secret is empty")
		}
		if block, _ := pem.Decode([]byte(text)); block != nil {
			return nil, fmt.Errorf("the secret is a %s in PEM: whoever has it could sign tokens; say the method of its family", block.Type)
		}
		return []byte(text), nil
	}
	if !strings.Contains(text, "-----BEGIN") {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			text = string(decoded)
		}
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the key is not in PEM, nor base64 of that")
	}
	public, err := publicKey(block)
	if err != nil {
		return nil, err
	}
	if err := jwks.Check(public); err != nil {
		return nil, err
	}
	if got := familyOf(public); got != family {
		return nil, fmt.Errorf("the key is for the method %s, not %s", got, family)
	}
	return public, nil
}

// publicKey reads the kinds of blocks that public keys come in.
func publicKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("the PEM block is a %q: it must be a public key or a certificate", block.Type)
}

func familyOf(public any) config.JWTMethod {
	switch public.(type) {
	case *rsa.PublicKey:
		return config.JWTRSA
	case *ecdsa.PublicKey:
		return config.JWTECDSA
	}
	return config.JWTEdDSA
}
