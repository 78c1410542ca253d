package authn

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

// What was signed with the secret "s3cret" by Python's hmac (that of SHA-256 with openssl dgst too), and by openssl with
// the private half of signer:
//
//	(request-target): get /orders?a=1&b=%2F
//	host: example.test
//	date: Sat, 01 Jan 2000 00:00:05 GMT
//	x-list: one, two
const (
	sha1MAC   = "W2Eyp5zZ8f89bQvInoXt4lazhuA="
	sha256MAC = "vulvuY7x4cSJ5zWjAT1NyLZUbG7Hss+cqBaGkr6U7/o="
	sha384MAC = "tk6nZUE64OAbKD3dKDWWP8OYYnMv4SPz7gL5noN7iX/dNIXMJSnphIg7XOikfRkn"
	sha512MAC = "BpxF32EuzlhC6PKhyc0WMw6X1rWOGknT7eGYXyRCMqTMgLeC5wW5sAJ3ClTtaxYml4O71pOb39hAGJEqzR9Pyg=="
	rsaMAC    = "CkqW/ywmxQhWFt2GGhjab/smD3mpoBZJcHQTn3pBNyxRoXKOYN9F0TIsEAWNdlShiXS3OfMTBR4wR5tHqUKRk+CS7skvmoNNzPFarZPab2gGVl9dsIC7YlYb0QLr" +
		"JxyEtw+NUY4hKHdA8iDTqpw85OP56AT5eW1ws+krUYSESx5YfxZFqC4iuQ8Mwu//XXCbl/XecblRD6Vqacji+CYDYimDAVJGo19cUcL0tmS1rF4ARs6VBZVtx8rR5so7" +
		"urTBQVC3YF3TO4KTdRU1boObmGo5nQ0+zlWJXrh8yZMOmJd9/SWxY8m2Ss7BLJImSipiGeafszq7S1O9pDvB2c/P7w=="
	dateMAC = "h/4f7yRxr2YX5H4nxdXCYe3UZUQvcolWIsNE9GEvoFA=" // of the date's line alone
	date    = "Sat, 01 Jan 2000 00:00:05 GMT"

	signer = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAl5G/IO6ISUwBgkvG4q1p
3//8XO4Bny0XPYm+B7A+SYmHVn2G2XcH2qSCYUPsVAohedGyB+tUARNY4qFU2LpD
H4LBjpy+vr6lD8y3pskfgsirqdO5tEPmnc7aSVLb4gBKXcqiyB5XX4MwVWoG+zsu
IeqJUltdxaCo5cyw77kl4cB9GhI0JLndXRXSuy6VJmBw8e9ubV4g3ypkekUbMHKr
q+WfLhT1Xn1xVeEpP7xAIxkvW4+Qx2hS0SQia/6UlJ2MaNXUuhtO+cbhz98nFIYq
ghqXFY1YL9v2L6ah00l+dkd2TSPdck+mPl8jEsFsDnDcM2zYCVeRsoxdLhAHb6JQ
dQIDAQAB
-----END PUBLIC KEY-----
`
)

func signers() fakeKeys {
	block, _ := pem.Decode([]byte(signer))
	return keysOf(map[string]*identity.Session{
		"mac":  {HMACEnabled: true, HMACSecret: "s3cret"},
		"mac2": {HMACEnabled: true, HMACSecret: "s3cret"},
		"off":  {HMACSecret: "s3cret"},
		"void": {HMACEnabled: true},
		"rsa":  {HTTPSignatures: true, RSACertificate: signer},
		"der":  {HTTPSignatures: true, RSACertificate: base64.StdEncoding.EncodeToString(block.Bytes)},
		"roff": {RSACertificate: signer},
		"rbad": {HTTPSignatures: true, RSACertificate: "orgdeadbeef"},
		// The public key as secret is what confuses a verifier that lets the request choose the algorithm.
		"both": {HTTPSignatures: true, RSACertificate: signer, HMACEnabled: true, HMACSecret: "s3cret"},
	})
}

func signedMethod() config.HMACAuth {
	return config.HMACAuth{
		Credential: config.Credential{Header: "Authorization", Param: "sig"},
		Algorithms: []string{"hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512", "rsa-sha256"},
		Skew:       30 * time.Second, Headers: []string{"(request-target)", "Date"}, Once: true,
	}
}

// credentials are those of the Signature scheme, over the headers of the vectors.
func credentials(key, algorithm, mac string) string {
	return `Authorization: Signature keyId="` + key + `",algorithm="` + algorithm + `",headers="(request-target) host date x-list",signature="` + mac + `"`
}

const refused = "400 Authorization field missing, malformed or invalid"

func TestSigned(t *testing.T) {
	encoded := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3d").Replace
	tests := []struct {
		name, authorization, date string
		want                      string
	}{
		{"hmac-sha1", credentials("mac", "hmac-sha1", sha1MAC), "", "mac"},
		{"hmac-sha256", credentials("mac", "hmac-sha256", sha256MAC), "", "mac"},
		{"hmac-sha384", credentials("mac", "hmac-sha384", sha384MAC), "", "mac"},
		{"hmac-sha512", credentials("mac", "hmac-sha512", sha512MAC), "", "mac"},
		{"rsa-sha256", credentials("rsa", "rsa-sha256", rsaMAC), "", "rsa"},
		{"rsa-sha256, key in base64", credentials("der", "rsa-sha256", rsaMAC), "", "der"},
		{"URL-encoded", credentials("mac", "hmac-sha256", encoded(sha256MAC)), "", "mac"},
		{"upper case", credentials("mac", "HMAC-SHA256", sha256MAC), "", "mac"},
		{"blanks, unknown parameter, odd case, not quoted", `authorization: signature KEYID=mac , foo="b, c" , Algorithm="hmac-sha256",` +
			`headers="(Request-Target)  HOST date X-List", signature="` + sha256MAC + `"`, "", "mac"},
		{"aux date under the name date", credentials("mac", "hmac-sha256", sha256MAC), "X-Aux-Date: " + date, "mac"},
		{"the date without headers", `Authorization: Signature keyId="mac",algorithm="hmac-sha256",signature="` + dateMAC + `"`, "", refused},
		{"unknown key", credentials("gu3ss", "hmac-sha256", sha256MAC), "", refused},
		{"unknown key, rsa", credentials("gu3ss", "rsa-sha256", rsaMAC), "", refused},
		{"wrong signature", credentials("mac", "hmac-sha256", sha512MAC), "", refused},
		{"cut signature", credentials("mac", "hmac-sha256", "vulv"), "", refused},
		{"wrong signature, rsa", credentials("rsa", "rsa-sha256", sha512MAC), "", refused},
		{"not enabled", credentials("off", "hmac-sha256", sha256MAC), "", refused},
		{"no secret", credentials("void", "hmac-sha256", sha256MAC), "", refused},
		{"not enabled, rsa", credentials("roff", "rsa-sha256", rsaMAC), "", refused},
		{"no key, rsa", credentials("rbad", "rsa-sha256", rsaMAC), "", refused},
		{"hmac with a key for rsa", credentials("rsa", "hmac-sha256", sha256MAC), "", refused},
		{"rsa with a key for hmac", credentials("mac", "rsa-sha256", rsaMAC), "", refused},
		{"no such algorithm", credentials("mac", "none", sha256MAC), "", refused},
		{"hs2019", credentials("mac", "hs2019", sha256MAC), "", refused},
		{"no algorithm", strings.Replace(credentials("mac", "hmac-sha256", sha256MAC), `algorithm="hmac-sha256",`, "", 1), "", refused},
		{"another date", credentials("mac", "hmac-sha256", sha256MAC), "Date: Sat, 01 Jan 2000 00:00:06 GMT", refused},
		{"two dates", credentials("mac", "hmac-sha256", sha256MAC), "Date: " + date + ", " + date, refused},
		{"no date", credentials("mac", "hmac-sha256", sha256MAC), "None: ", refused},
		{"date of a zone of whoever reads it", credentials("mac", "hmac-sha256", sha256MAC), "Date: Sat, 01 Jan 2000 00:00:05 EST", refused},
		{"required header not signed", `Authorization: Signature keyId="mac",algorithm="hmac-sha256",headers="date",signature="` + dateMAC + `"`, "", refused},
		{"signed header not there", strings.Replace(credentials("mac", "hmac-sha256", sha256MAC), "x-list", "x-none", 1), "", refused},
		{"comma-joined", credentials("mac", "hmac-sha256", sha256MAC) + ", " + credentials("mac", "hmac-sha256", sha256MAC)[15:], "", refused},
		{"another scheme", "Authorization: Bearer t0ken", "", refused},
		{"none", "A: b", "", refused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: signedMethod()}, signers())
				when := test.date
				if when == "" {
					when = "Date: " + date
				}
				send := func() *sdk.Exchange {
					return get("/orders?a=1&b=%2F", test.authorization, when, "X-List:  one", "x-list: two ")
				}
				if got := outcome(t, a, send()); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				if got := outcome(t, a, send()); got != refused {
					t.Errorf("again: got %q, want a refusal", got)
				}
			})
		})
	}
}

// A request that differs in anything that was signed is refused; in anything else, it is not looked at.
func TestSignedChanged(t *testing.T) {
	tests := []struct {
		name   string
		change func(b *sdktest.Builder) *sdktest.Builder
		target string
		method string
		want   string
	}{
		{"nothing", nil, "/orders?a=1&b=%2F", "GET", "mac"},
		{"host", func(b *sdktest.Builder) *sdktest.Builder { return b.Host("other.test") }, "/orders?a=1&b=%2F", "GET", refused},
		{"method", nil, "/orders?a=1&b=%2F", "DELETE", refused},
		{"path", nil, "/order?a=1&b=%2F", "GET", refused},
		{"query", nil, "/orders?a=1&b=/", "GET", refused},
		{"value", func(b *sdktest.Builder) *sdktest.Builder { return b.Header("X-List", "three") }, "/orders?a=1&b=%2F", "GET", refused},
		{"another header", func(b *sdktest.Builder) *sdktest.Builder { return b.Header("X-Other", "three") }, "/orders?a=1&b=%2F", "GET", "mac"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: signedMethod()}, signers())
				b := sdktest.Request(test.method, test.target).Header("Date", date).Header("X-List", "one").Header("X-List", "two").
					Header("Authorization", credentials("mac", "hmac-sha256", sha256MAC)[len("Authorization: "):])
				if test.change != nil {
					b = test.change(b)
				}
				if got := outcome(t, a, exchange(b)); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestSignedSkew(t *testing.T) {
	tests := []struct {
		name  string
		after time.Duration // since 2000-01-01; signed at 5 s
		skew  time.Duration
		want  string
	}{
		{"at the time", 5 * time.Second, time.Second, "mac"},
		{"clock ahead, at the bound", 4 * time.Second, time.Second, "mac"},
		{"clock ahead, over it", 4*time.Second - 1, time.Second, refused},
		{"clock behind, at the bound", 6 * time.Second, time.Second, "mac"},
		{"clock behind, over it", 6*time.Second + 1, time.Second, refused},
		{"nobody looks", 24 * time.Hour, 0, "mac"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := signedMethod()
				m.Skew, m.Once, m.Headers, m.Algorithms = test.skew, false, nil, []string{"hmac-sha256"}
				a := compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: m}, signers())
				<-time.After(test.after)
				// One admitted algorithm need not be named, nor the header when it is the date alone.
				x := get("/", "Date: "+date, `Authorization: Signature keyId="mac",signature="`+dateMAC+`"`)
				if got := outcome(t, a, x); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A signature seen is refused while its date is good: across a reload, and for its own key and API only.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := facts()
		api.Memory = NewMemory()
		method := config.AuthMethod{Kind: config.AuthHMAC, HMAC: signedMethod()}
		reload := func(id string) Authenticator {
			api.ID = id
			a, err := Compile(&method, api, signers())
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		send := func(a Authenticator, key string) string {
			return outcome(t, a, get("/orders?a=1&b=%2F", credentials(key, "hmac-sha256", sha256MAC), "Date: "+date, "X-List: one, two"))
		}
		a := reload("api")
		for i, test := range []struct {
			a     Authenticator
			key   string
			after time.Duration
			want  string
		}{
			{a, "off", 0, refused}, // one that is refused is not remembered
			{a, "mac", 0, "mac"},
			{a, "mac", 0, refused},
			{a, "mac2", 0, "mac2"},
			{reload("other"), "mac", 0, "mac"},
			{reload("api"), "mac", 20 * time.Second, refused},
			{a, "mac", 15 * time.Second, refused}, // the last moment of the date
			{a, "mac", time.Second, refused},      // too late for it
		} {
			<-time.After(test.after)
			if got := send(test.a, test.key); got != test.want {
				t.Errorf("%d: got %q, want %q", i, got, test.want)
			}
		}
	})
}

func TestSignedNeedsBody(t *testing.T) {
	m := signedMethod()
	m.Headers = append(m.Headers, "Digest")
	a := compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: m}, signers())
	if !NeedsBody(a) || NeedsBody(compile(t, config.AuthMethod{Kind: config.AuthHMAC, HMAC: signedMethod()}, signers())) {
		t.Error("the body is needed where its digest must be signed, and nowhere else")
	}
}

func TestPublicKeys(t *testing.T) {
	var p publicKeys
	for range maxPublicKeys + 10 {
		if _, err := p.get(signer); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxPublicKeys + 10 {
		if _, err := p.get(strings.Repeat("x", i)); err != errPublicKey {
			t.Fatal(err)
		}
	}
	if len(p.parsed) > maxPublicKeys {
		t.Errorf("%d keys are kept", len(p.parsed))
	}
	// A certificate of an elliptic curve is none for RSA.
	ec := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf(t, time.Now()).Raw})
	key := parsePublicKey(signer)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)})
	if parsePublicKey(string(ec)) != nil || parsePublicKey(string(pkcs1)) == nil || !slices.Equal(parsePublicKey(string(pkcs1)).N.Bytes(), key.N.Bytes()) {
		t.Error("keys are not told apart")
	}
}
