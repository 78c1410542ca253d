package authn

import (
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func benchmarks() []struct {
	name string
	m    config.AuthMethod
	keys fakeKeys
	x    *sdk.Exchange
} {
	token := config.AuthMethod{Kind: config.AuthToken, Token: config.TokenAuth{Credential: config.Credential{Header: "Authorization", Param: "key", Cookie: "session"}}}
	signed := signedMethod()
	signed.Skew, signed.Once = 0, false
	keys := keysOf(map[string]*identity.Session{"t0ken": {}})
	return []struct {
		name string
		m    config.AuthMethod
		keys fakeKeys
		x    *sdk.Exchange
	}{
		{"token", token, keys, get("/a?b=c&d=e", "Accept: */*", "User-Agent: x", "Authorization: Bearer t0ken")},
		{"cookie", token, keys, get("/a?b=c&d=e", "Accept: */*", "Cookie: a=b; c=d; session=t0ken")},
		{"query", token, keys, get("/a?b=c&key=t0ken", "Accept: */*")},
		{"basic-remembered", basicMethod(), users(), get("/", basicHeader("alice", "open sesame"))},
		{"hmac-sha256", config.AuthMethod{Kind: config.AuthHMAC, HMAC: signed}, signers(),
			get("/orders?a=1&b=%2F", credentials("mac", "hmac-sha256", sha256MAC), "Date: "+date, "X-List: one, two")},
		{"rsa-sha256", config.AuthMethod{Kind: config.AuthHMAC, HMAC: signed}, signers(),
			get("/orders?a=1&b=%2F", credentials("rsa", "rsa-sha256", rsaMAC), "Date: "+date, "X-List: one, two")},
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for _, bench := range benchmarks() {
		b.Run(bench.name, func(b *testing.B) {
			a := compile(b, bench.m, bench.keys)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), bench.x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	m := NewMemory()
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		n++
		if now := 1000 + n/10_000; !m.seen.first(m.digest("api", "hmac", "id", string(rune(n))+"signature"), now, now, 30) && n < 0xd000 {
			b.Fatal("seen")
		}
	}
}

func BenchmarkExtractor(b *testing.B) {
	for _, bench := range []struct {
		name string
		e    config.IDExtractor
	}{
		{"value", extract("header", "value", "X-Id", "", 0)}, {"regex", extract("header", "regex", "X-Id", "[0-9]+", 0)},
		{"xpath", extract("header", "xpath", "X-Id", "//id", 0)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			e, err := CompileExtractor(bench.e)
			if err != nil {
				b.Fatal(err)
			}
			x := get("/", "X-Id: <a><b/><id>abc123</id></a>")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.ID(x); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A token in a header or cookie costs no allocation.
func TestTokenAllocates(t *testing.T) {
	for _, bench := range benchmarks()[:2] {
		a := compile(t, bench.m, bench.keys)
		if n := testing.AllocsPerRun(100, func() { _, _ = a.Authenticate(t.Context(), bench.x) }); n != 0 {
			t.Errorf("%s: %v allocations", bench.name, n)
		}
	}
}
