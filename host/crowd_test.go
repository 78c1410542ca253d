package host

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const crowdSecret = "0123456789abcdef0123456789abcdef"

// hs256 makes a token of a payload.
func hs256(payload string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(crowdSecret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Many callers by every kind of method at once, while keys are made, revoked and changed: each is who he is, and nobody is
// let in by a key whose removal was acknowledged.
func TestCrowd(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{
		"vouch": fn(func(x *sdk.Exchange) error {
			id := x.Request().Header().Get("X-Id")
			if id == "" {
				return &sdk.Error{Status: 401, Message: "no id"}
			}
			x.SetSession(&sdk.Session{KeyID: "hook-" + id, Alias: id, IDExtractorDeadline: time.Now().Add(time.Hour).Unix()})
			return nil
		}),
		"who": fn(func(x *sdk.Exchange) error {
			x.EditSession().Tags = append(x.Session().Tags, "seen")
			x.Request().Header().Set("X-Who", x.Session().Alias)
			return nil
		}),
	}, nil)
	k.load(t, ownAPI+"auth: {any: [token, {jwt: {header: X-JWT, method: hmac, source: "+crowdSecret+", policies: [gold]}}, "+
		"{hook: {hook: vouch, id_extractor: {from: header, with: value, name: X-Id}}}]}\nhooks: {post_key_auth: [{hook: who}]}\nlimits: {ignore_key_quota: true}\n")
	var crowd sync.WaitGroup
	var wrong atomic.Pointer[string]
	expect := func(what, got, want string) {
		if got != want {
			text := fmt.Sprintf("%s: got %s, want %s", what, got, want)
			wrong.CompareAndSwap(nil, &text)
		}
	}
	ask := func(header string) string {
		f, c := newFlow(t.Context(), "GET", "/a/", "")
		name, value, _ := strings.Cut(header, ": ")
		f.X.Request().Header().Append(name, value)
		k.Serve(f)
		if c.status != 200 {
			return fmt.Sprint(c.status)
		}
		return "200 " + f.X.Request().Header().Get("X-Who")
	}
	for i := range 4 {
		crowd.Go(func() {
			for n := range 60 {
				alias := fmt.Sprint("user", i, "-", n)
				made, err := k.keys.Create(t.Context(), "o", "", &identity.Session{Alias: alias, Rate: 1e6, Per: 1}, identity.Lifetime{})
				if err != nil {
					expect(alias, err.Error(), "")
					return
				}
				token := "Authorization: Bearer " + made.Token
				expect(alias, ask(token), "200 "+alias)
				if _, err := k.keys.Update(t.Context(), identity.Ref{Org: "o", Key: made.Token}, identity.Lifetime{}, func(s *identity.Session) error {
					s.Inactive = true
					return nil
				}); err != nil {
					expect(alias, err.Error(), "")
				}
				expect(alias+", blocked", ask(token), "403")
				if err := k.keys.Delete(t.Context(), identity.Ref{Org: "o", Key: made.Token}); err != nil {
					expect(alias, err.Error(), "")
				}
				expect(alias+", removed", ask(token), "403")
			}
		})
		crowd.Go(func() {
			for n := range 200 {
				name := fmt.Sprint("sub", n%5)
				expect("JWT", ask("X-JWT: "+hs256(`{"sub":"`+name+`"}`)), "200 "+name)
				expect("hook", ask("X-Id: "+name), "200 "+name)
				expect("nobody", ask("X-Other: 1"), "400")
				expect("forged", ask("X-JWT: "+hs256(`{"sub":"`+name+`"}`)+"A"), "403")
			}
		})
	}
	crowd.Wait()
	if text := wrong.Load(); text != nil {
		t.Error(*text)
	}
}
