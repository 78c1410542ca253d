package jwt_test

import (
	"testing"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
)

// BenchmarkRSA authenticates the same RS256 token again and again, the session in the memory of the real keys.
func BenchmarkRSA(b *testing.B) {
	k := testKeys()
	token := sign(b, gojwt.SigningMethodRS256, k.rsa, claims{
		"iss": "https://idp.test/", "sub": "ada", "aud": []string{"shop"}, "exp": soon(), "iat": soon() - 7200, "azp": "web",
		"scope": "openid profile email", "email": "ada@example.test", "name": "Ada Lovelace",
		"realm_access": claims{"roles": []string{"reader", "writer", "offline_access"}},
	}, claims{"kid": "2026-01"})
	m := hmacMethod()
	m.Method, m.Source = config.JWTRSA, publicPEM(b, &k.rsa.PublicKey)
	for _, kind := range []struct {
		name   string
		tokens *jwt.Tokens
	}{{"cached", jwt.NewTokens(0, 0)}, {"verified every time", nil}} {
		b.Run(kind.name, func(b *testing.B) {
			keys, end := openKeys(b, b.TempDir())
			defer end()
			a := compileWith(b, m, jwt.API{Org: org, Store: true}, jwt.Services{Keys: keys, Tokens: kind.tokens})
			x := exchange(token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
