package jwt_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	notAuthorized = "Key not authorized"
	wrongMethod   = "Key not authorized: Unexpected signing method"
)

func TestMissingToken(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	refuse(t, a, "", http.StatusBadRequest, "Authorization field missing", "")
}

func TestBearerIsOptional(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	x := exchange("")
	x.Request().Header().Append("Authorization", sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada"}))
	if _, err := a.Authenticate(t.Context(), x); err != nil {
		t.Error(err)
	}
}

func TestMalformedToken(t *testing.T) {
	good := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada"})
	parts := strings.Split(good, ".")
	const header = `{"alg":"HS256","typ":"JWT"}`
	deep := strings.Repeat(`{"a":`, 70) + "1" + strings.Repeat("}", 70)
	tests := []struct{ name, token, cause string }{
		{"word", "token", "1 parts"},
		{"two parts", parts[0] + "." + parts[1], "2 parts"},
		{"encrypted", "a.b.c.d.e", "5 parts"},
		{"only dots", "..", "header"},
		{"not base64", "!!!." + parts[1] + "." + parts[2], "base64url"},
		{"padded base64", parts[0] + "." + parts[1] + "." + parts[2] + "=", "base64url"},
		{"standard base64", parts[0] + "." + base64.RawStdEncoding.EncodeToString([]byte(`{"sub":"???>>>"}`)) + "." + parts[2], "base64url"},
		{"line break in base64", parts[0] + ".\n" + parts[1] + "." + parts[2], "line break"},
		{"last bits set", good[:len(good)-1] + string(good[len(good)-1]+1), "base64url"},
		{"header is no JSON", forge(t, "{", `{"sub":"ada"}`), "header: not JSON"},
		{"header is a list", forge(t, "[]", `{"sub":"ada"}`), "header: not a JSON object"},
		{"no alg", forge(t, "{}", `{"sub":"ada"}`), `"alg"`},
		{"alg is a list", forge(t, `{"alg":["HS256"]}`, `{"sub":"ada"}`), `"alg"`},
		{"kid is a number", forge(t, `{"alg":"HS256","kid":1}`, `{"sub":"ada"}`), `"kid"`},
		{"kid is long", forge(t, `{"alg":"HS256","kid":"`+strings.Repeat("k", 1025)+`"}`, `{"sub":"ada"}`), `"kid"`},
		{"payload is no JSON", forge(t, header, `{"sub":"ada"`), "payload: not JSON"},
		{"payload is a string", forge(t, header, `"ada"`), "payload: not a JSON object"},
		{"payload is two", forge(t, header, `{"sub":"ada"}{}`), "after the JSON object"},
		{"payload is empty", forge(t, header, ``), "payload: not JSON"},
		{"payload is deep", forge(t, header, deep), "deeper than 64"},
		{"payload is not UTF-8", forge(t, header, "{\"sub\":\"ad\xff\"}"), "not UTF-8"},
		{"exp is text", forge(t, header, `{"sub":"ada","exp":"9999999999"}`), `"exp"`},
		{"exp is null", forge(t, header, `{"sub":"ada","exp":null}`), `"exp"`},
		{"nbf is a list", forge(t, header, `{"sub":"ada","nbf":[1]}`), `"nbf"`},
		{"iat is huge", forge(t, header, `{"sub":"ada","iat":1e300}`), `"iat"`},
		{"exp is beyond numbers", forge(t, header, `{"sub":"ada","exp":1e999}`), `"exp"`},
	}
	a := compile(t, hmacMethod(), newKeyring("base"))
	admit(t, a, good)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refuse(t, a, test.token, http.StatusForbidden, notAuthorized, test.cause) })
	}
}

func TestOversizedToken(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	fits := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "x": strings.Repeat("x", 11<<10)})
	admit(t, a, fits)
	for _, size := range []int{16 << 10, 40 << 10} { // over what a token may have; over what any credential may have
		token := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "x": strings.Repeat("x", size)})
		refuse(t, a, token, http.StatusForbidden, notAuthorized, "")
	}
}

func TestDuplicateClaim(t *testing.T) {
	const header = `{"alg":"HS256","typ":"JWT"}`
	tests := []struct{ name, token string }{
		{"claim", forge(t, header, `{"sub":"ada","sub":"bob"}`)},
		{"claim written otherwise", forge(t, header, `{"sub":"ada","\u0073ub":"bob"}`)},
		{"deep", forge(t, header, `{"sub":"ada","realm":[{"roles":[],"roles":["admin"]}]}`)},
		{"header", forge(t, `{"alg":"HS256","alg":"none"}`, `{"sub":"ada"}`)},
	}
	a := compile(t, hmacMethod(), newKeyring("base"))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { refuse(t, a, test.token, http.StatusForbidden, notAuthorized, "twice") })
	}
	if c := admit(t, a, forge(t, header, `{"sub":"ada","Sub":"bob"}`)); c.Session.Alias != "ada" {
		t.Errorf("a name in other letters took a claim's place: %q", c.Session.Alias)
	}
}

func TestTokenChangedAfterSigning(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	parts := strings.Split(sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada"}), ".")
	other := strings.Split(sign(t, gojwt.SigningMethodHS256, []byte("another secret"), claims{"sub": "ada"}), ".")
	for name, token := range map[string]string{
		"payload":        parts[0] + "." + encode(`{"sub":"bob"}`) + "." + parts[2],
		"header":         encode(`{"alg":"HS384"}`) + "." + parts[1] + "." + parts[2],
		"signature":      parts[0] + "." + parts[1] + "." + other[2],
		"no signature":   parts[0] + "." + parts[1] + ".",
		"half signature": parts[0] + "." + parts[1] + "." + encode("0123456789abcdef"),
	} {
		t.Run(name, func(t *testing.T) { refuse(t, a, token, http.StatusForbidden, notAuthorized, "signature") })
	}
}

func TestWrongAlgorithm(t *testing.T) {
	k := testKeys()
	public := publicPEM(t, &k.rsa.PublicKey)
	rsaMethod := hmacMethod()
	rsaMethod.Method, rsaMethod.Source = config.JWTRSA, public
	ecMethod := hmacMethod()
	ecMethod.Method, ecMethod.Source = config.JWTECDSA, publicPEM(t, &k.p256.PublicKey)
	ada := claims{"sub": "ada"}
	none := sign(t, gojwt.SigningMethodNone, gojwt.UnsafeAllowNoneSignatureType, ada)
	tests := []struct {
		name   string
		method config.JWTAuth
		token  string
		text   string
	}{
		{"none", rsaMethod, none, wrongMethod},
		{"none with HMAC", hmacMethod(), none, wrongMethod},
		{"None", hmacMethod(), forge(t, `{"alg":"None"}`, `{"sub":"ada"}`), wrongMethod},
		{"empty", hmacMethod(), forge(t, `{"alg":""}`, `{"sub":"ada"}`), wrongMethod},
		{"lower case", hmacMethod(), forge(t, `{"alg":"hs256"}`, `{"sub":"ada"}`), wrongMethod},
		{"HMAC with the public key", rsaMethod, sign(t, gojwt.SigningMethodHS256, []byte(public), ada), wrongMethod},
		{"HMAC with the modulus", rsaMethod, sign(t, gojwt.SigningMethodHS256, k.rsa.N.Bytes(), ada), wrongMethod},
		{"RSA for ECDSA", ecMethod, sign(t, gojwt.SigningMethodRS256, k.rsa, ada), wrongMethod},
		{"ECDSA for RSA", rsaMethod, sign(t, gojwt.SigningMethodES256, k.p256, ada), wrongMethod},
		{"another curve", ecMethod, sign(t, gojwt.SigningMethodES384, k.p384, ada), notAuthorized},
		{"a curve called by a larger one's name", ecMethod, signES512(t, k.p256), notAuthorized},
		{"another RSA key", rsaMethod, sign(t, gojwt.SigningMethodRS256, k.otherRSA, ada), notAuthorized},
		{"PS signature called RS", rsaMethod, swapAlgorithm(t, sign(t, gojwt.SigningMethodPS256, k.rsa, ada), "RS256"), notAuthorized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refuse(t, compile(t, test.method, newKeyring("base")), test.token, http.StatusForbidden, test.text, "")
		})
	}
}

// signES512 signs with a key of a smaller curve than that of ES512; the signature itself is good.
func signES512(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	text := encode(`{"alg":"ES512"}`) + "." + encode(`{"sub":"ada"}`)
	sum := sha512.Sum512([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 132)
	r.FillBytes(signature[:66])
	s.FillBytes(signature[66:])
	if err := gojwt.SigningMethodES512.Verify(text, signature, &key.PublicKey); err != nil {
		t.Fatalf("the library refuses it alone, and there is nothing to test: %v", err)
	}
	return text + "." + encode(string(signature))
}

// swapAlgorithm writes another header, and so breaks the signature as well.
func swapAlgorithm(t *testing.T, token, to string) string {
	t.Helper()
	_, rest, _ := strings.Cut(token, ".")
	return encode(fmt.Sprintf(`{"alg":%q,"typ":"JWT"}`, to)) + "." + rest
}

func TestHeaderThatChangesTheMeaning(t *testing.T) {
	a := compile(t, hmacMethod(), newKeyring("base"))
	for name, header := range map[string]string{
		"crit":       `{"alg":"HS256","crit":["exp"],"exp":1}`,
		"empty crit": `{"alg":"HS256","crit":[]}`,
		"b64 false":  `{"alg":"HS256","b64":false,"crit":["b64"]}`,
		"b64 alone":  `{"alg":"HS256","b64":false}`,
		"nested":     `{"alg":"HS256","cty":"JWT"}`,
		"nested too": `{"alg":"HS256","cty":"application/jwt"}`,
		"zip":        `{"alg":"HS256","zip":"DEF"}`,
		"encrypted":  `{"alg":"HS256","enc":"A128GCM"}`,
	} {
		t.Run(name, func(t *testing.T) {
			refuse(t, a, forge(t, header, `{"sub":"ada"}`), http.StatusForbidden, notAuthorized, "not supported")
		})
	}
	// Keys that the token itself brings are not looked at.
	admit(t, a, forge(t, `{"alg":"HS256","jku":"http://evil.test/","jwk":{"kty":"oct","k":"AA"}}`, `{"sub":"ada"}`))
}

func TestTimes(t *testing.T) {
	tests := []struct {
		name                     string
		issued, notBefore, until time.Duration // from now; 0 is not said
		skew                     time.Duration
		want                     string
	}{
		{name: "good", issued: -time.Minute, notBefore: -time.Minute, until: time.Minute},
		{name: "expired", until: -time.Second, want: "token has expired"},
		{name: "expires now", until: time.Nanosecond, want: "token has expired"},
		{name: "expired within the skew", until: -time.Second, skew: 2 * time.Second},
		{name: "expired beyond the skew", until: -2 * time.Second, skew: 2 * time.Second, want: "token has expired"},
		{name: "not yet valid", notBefore: 2 * time.Second, want: "token is not valid yet"},
		{name: "not yet valid within the skew", notBefore: 2 * time.Second, skew: 2 * time.Second},
		{name: "not yet issued", issued: 2 * time.Second, want: "token used before issued"},
		{name: "not yet issued within the skew", issued: 2 * time.Second, skew: 2 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := hmacMethod()
				m.IssuedSkew, m.NotBeforeSkew, m.ExpirySkew = test.skew, test.skew, test.skew
				a := compile(t, m, newKeyring("base"))
				c := claims{"sub": "ada"}
				for name, d := range map[string]time.Duration{"iat": test.issued, "nbf": test.notBefore, "exp": test.until} {
					if d != 0 {
						c[name] = time.Now().Add(d).Unix()
					}
				}
				token := sign(t, gojwt.SigningMethodHS256, []byte(secret), c)
				if test.want == "" {
					admit(t, a, token)
					return
				}
				refuse(t, a, token, http.StatusUnauthorized, notAuthorized+": "+test.want, "")
			})
		})
	}
}

func TestVerifiedTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := jwt.NewTokens(0, 0)
		a := compileWith(t, hmacMethod(), jwt.API{Org: org, Store: true}, jwt.Services{Keys: newKeyring("base"), Tokens: tokens})
		token := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada", "exp": time.Now().Add(time.Minute).Unix()})
		admit(t, a, token)
		<-time.After(time.Minute - time.Second)
		admit(t, a, token)
		<-time.After(time.Second)
		refuse(t, a, token, http.StatusUnauthorized, notAuthorized+": token has expired", "")
		if n := tokens.Len(); n != 0 {
			t.Errorf("%d tokens kept, want none", n)
		}
	})
}

func TestIssuersAndAudiences(t *testing.T) {
	m := hmacMethod()
	m.Issuers, m.Audiences = []string{"https://a.test", "https://b.test"}, []string{"shop", "stock"}
	a := compile(t, m, newKeyring("base"))
	tests := []struct {
		name string
		iss  any
		aud  any
		want string
	}{
		{"first", "https://a.test", "shop", ""},
		{"second", "https://b.test", []string{"other", "stock"}, ""},
		{"no issuer", nil, "shop", "issuer is not admitted"},
		{"another issuer", "https://a.test/", "shop", "issuer is not admitted"},
		{"a list of issuers", []string{"https://a.test"}, "shop", "issuer is not admitted"},
		{"no audience", "https://a.test", nil, "audience is not admitted"},
		{"another audience", "https://a.test", []string{"other"}, "audience is not admitted"},
		{"an odd audience", "https://a.test", []any{"shop", 1}, "audience is not admitted"},
		{"an object", "https://a.test", claims{"shop": true}, "audience is not admitted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := claims{"sub": "ada"}
			if test.iss != nil {
				c["iss"] = test.iss
			}
			if test.aud != nil {
				c["aud"] = test.aud
			}
			token := sign(t, gojwt.SigningMethodHS256, []byte(secret), c)
			if test.want == "" {
				admit(t, a, token)
				return
			}
			refuse(t, a, token, http.StatusUnauthorized, notAuthorized+": "+test.want, "")
		})
	}
}

func TestKeysOfDefinitionsThatCannotWork(t *testing.T) {
	k := testKeys()
	private, err := x509.MarshalPKCS8PrivateKey(k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		method config.JWTMethod
		source string
		want   string
	}{
		{"weak RSA", config.JWTRSA, publicPEM(t, &k.weakRSA.PublicKey), "1024 bits"},
		{"public key for HMAC", config.JWTHMAC, publicPEM(t, &k.rsa.PublicKey), "could sign tokens"},
		{"ECDSA for RSA", config.JWTRSA, publicPEM(t, &k.p256.PublicKey), "method ecdsa, not rsa"},
		{"EdDSA for ECDSA", config.JWTECDSA, publicPEM(t, k.ed.Public()), "method eddsa, not ecdsa"},
		{"private", config.JWTRSA, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "must be a public key"},
		{"no PEM", config.JWTRSA, "secret", "not in PEM"},
		{"broken", config.JWTRSA, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "asn1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := hmacMethod()
			m.Method, m.Source = test.method, test.source
			_, err := jwt.Compile(&m, jwt.API{Org: org}, jwt.Services{Keys: newKeyring()})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestKeysOfDefinitions(t *testing.T) {
	k := testKeys()
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}},
		&x509.Certificate{}, &k.rsa.PublicKey, k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, source := range map[string]string{
		"PKIX":        publicPEM(t, &k.rsa.PublicKey),
		"PKCS #1":     block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)),
		"certificate": block("CERTIFICATE", cert),
		"base64":      base64.StdEncoding.EncodeToString([]byte(publicPEM(t, &k.rsa.PublicKey))),
	} {
		t.Run(name, func(t *testing.T) {
			m := hmacMethod()
			m.Method, m.Source = config.JWTRSA, source
			admit(t, compile(t, m, newKeyring("base")), sign(t, gojwt.SigningMethodRS256, k.rsa, claims{"sub": "ada"}))
		})
	}
}

func TestStoreAway(t *testing.T) {
	away := fmt.Errorf("redis: %w", store.ErrUnavailable)
	k := newKeyring("base")
	a := compile(t, hmacMethod(), k)
	token := sign(t, gojwt.SigningMethodHS256, []byte(secret), claims{"sub": "ada"})
	k.fail = away
	if _, _, err := call(t, a, token); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, store.ErrUnavailable)
	}
	k.fail = nil
	admit(t, a, token)
	k.fail = away
	if _, _, err := call(t, a, token); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("for a token known already: got %v, want %v", err, store.ErrUnavailable)
	}
}
