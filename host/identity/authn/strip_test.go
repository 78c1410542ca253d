package authn

import (
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestStrip(t *testing.T) {
	at := func(header, param, cookie string) config.Credential {
		return config.Credential{Header: header, Param: param, Cookie: cookie}
	}
	a := &config.Auth{Strip: true, Any: []config.AuthMethod{
		{Kind: config.AuthToken, Token: config.TokenAuth{
			Credential: at("X-Key", "key", "session"), Signature: config.SignatureAuth{Algorithm: "MasheryMD5", Header: "X-Sig", Param: "sig"}}},
		{Kind: config.AuthAll, Group: []config.AuthMethod{
			{Kind: config.AuthBasic, Basic: config.BasicAuth{Credential: at("X-Basic", "", "")}},
			{Kind: config.AuthHMAC, HMAC: config.HMACAuth{Credential: at("X-HMAC", "", "")}},
			{Kind: config.AuthJWT, JWT: config.JWTAuth{Credential: at("X-JWT", "jwt", "")}},
			{Kind: config.AuthHook, Hook: config.HookAuth{Extractor: config.IDExtractor{From: config.ExtractHeader, Name: "X-Hook"}}},
			{Kind: config.AuthHook, Hook: config.HookAuth{Extractor: config.IDExtractor{From: config.ExtractQuery, Name: "hook"}}},
			{Kind: config.AuthCertificate},
		}},
	}}
	names := func(s *Strip, target string, header ...string) string {
		x := get(target, header...)
		s.Apply(x)
		var left []string
		for name, value := range x.Request().Header().All() {
			left = append(left, name+": "+value)
		}
		return x.Request().Target() + " " + strings.Join(left, " | ")
	}
	tests := []struct {
		name, target string
		header       []string
		want         string
	}{
		{"nothing there", "/a?b=%2f", []string{"Host-Like: x", "Cookie: a=b;c"}, "/a?b=%2f Host-Like: x | Cookie: a=b;c"},
		{"headers", "/", []string{"x-key: 1", "A: b", "X-KEY: 2", "X-Sig: 3", "X-Basic: 4", "X-HMAC: 5", "X-JWT: 6", "X-Hook: 7", "authorization: 8"}, "/ A: b"},
		{"query", "/?a=%2f&key=1&sig=2&b&jwt=3&k%65y=4&hook=5", nil, "/?a=%2f&b "},
		{"query alone", "/?key=1", nil, "/ "},
		{"cookies", "/", []string{"Cookie: a=b; session=1; c", "cookie: session=2; Session=d"}, "/ Cookie: a=b; c; Session=d"},
		{"cookie alone", "/", []string{"Cookie: session=1"}, "/ "},
	}
	for _, test := range tests {
		if got := names(NewStrip(a, config.Credential{}), test.target, test.header...); got != test.want {
			t.Errorf("%s: left %q, want %q", test.name, got, test.want)
		}
	}
	hooks := NewStrip(&config.Auth{Strip: true, All: []config.AuthMethod{{Kind: config.AuthHook}}}, at("X-Plugin", "plugin", ""))
	if got := names(hooks, "/?plugin=1&a=2", "X-Plugin: 1", "Authorization: 2", "A: b"); got != "/?a=2 A: b" {
		t.Errorf("what hooks look for: left %q", got)
	}
	a.Strip = false
	if got := names(NewStrip(a, config.Credential{}), "/?key=1", "X-Key: 1"); got != "/?key=1 X-Key: 1" {
		t.Errorf("not asked for: left %q", got)
	}
}
