package callers

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Policy is the id of the policy that a token's caller has.
const Policy = "bench"

// policy is what stands in its file.
const policy = `{"id": "` + Policy + `", "org_id": "` + Org + `", "access_rights": {"` + API + `": {"api_id": "` + API + `"}}}`

// KeyFile is the public key's, beside the definitions.
const KeyFile = "jwt.pem"

// JWT makes an RSA key of 2048 bits, writes its public part and the policy into their folders, and returns a token that the
// key has signed (RS256) with the claims that identity providers send.
func JWT(definitions, policies string) (token string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	if err := os.WriteFile(filepath.Join(definitions, KeyFile), text, 0o644); err != nil {
		return "", err
	}
	if err := os.MkdirAll(policies, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(policies, Policy+".json"), []byte(policy), 0o644); err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://idp.example.com/", "sub": "4f6b1c52-8f0e-4d7a-9d2b-0a5c3f1e7b90", "aud": "orders", "azp": "web",
		"iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(), "email": "ann@example.com", "scope": "openid profile orders:read",
	}).SignedString(key)
}
