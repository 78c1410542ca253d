package host

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// A token that was verified is remembered, unless the definition wants each verified every time.
func TestJWTCache(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ann"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	token := signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	for option, remembered := range map[string]int{"": 1, ", no_cache: true": 0} {
		k := newKeyed(t, nil, nil)
		k.load(t, ownAPI+"auth: {all: [jwt: {method: hmac, source: "+secret+", policies: [gold]"+option+"}]}\n")
		for range 2 {
			if _, got := k.ask(t, "/a/x", "Authorization: "+token); !strings.HasPrefix(got, "200 ") {
				t.Errorf("with %q: %s", option, got)
			}
		}
		if n := k.w.callers.Tokens.Len(); n != remembered {
			t.Errorf("with %q: %d tokens are remembered, want %d", option, n, remembered)
		}
	}
}
