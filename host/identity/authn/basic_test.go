package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest"
)

// All are hashes of "open sesame": bcrypt by crypt(3), SHA-256 by Python's hashlib, Murmur3 by a transcription of its
// definition in Python.
const sesame = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"

func users() fakeKeys {
	user := func(hash, password string) *identity.Session {
		return &identity.Session{BasicAuth: identity.BasicAuth{Password: password, Hash: hash}}
	}
	return keysOf(map[string]*identity.Session{
		"orgalice": user("bcrypt", sesame), "orgplain": user("", "open sesame"), "old": user("bcrypt", sesame),
		"orgsha":     user("sha256", "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"),
		"orgmurmur":  user("murmur32", "1f0e8994"),
		"orgnone":    user("", ""),
		"orgodd":     user("rot13", "open sesame"),
		"orgbroken":  user("bcrypt", "$2b$04$short"),
		"orgcostly":  user("bcrypt", strings.Replace(sesame, "$04$", "$30$", 1)),
		"orgplainer": user("plain", "open sesame"),
	})
}

func basicMethod() config.AuthMethod {
	return config.AuthMethod{Kind: config.AuthBasic, Basic: config.BasicAuth{Credential: config.Credential{Header: "Authorization"}}}
}

// cheap makes refusals as cheap as the users of these tests.
func cheap(a Authenticator) Authenticator {
	a.(*basic).passwords.cost.Store(int64(bcrypt.MinCost))
	return a
}

func basicHeader(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestBasic(t *testing.T) {
	a := cheap(compile(t, basicMethod(), users()))
	const missing, wrong = "401 Authorization field missing", "401 User not authorised"
	tests := []struct {
		name   string
		header []string
		want   string
	}{
		{"bcrypt", []string{basicHeader("alice", "open sesame")}, "orgalice"},
		{"again, from memory", []string{basicHeader("alice", "open sesame")}, "orgalice"},
		{"wrong after right", []string{basicHeader("alice", "hunter2")}, wrong},
		{"as old stores name users", []string{basicHeader("old", "open sesame")}, "old"},
		{"in clear", []string{basicHeader("plain", "open sesame")}, "orgplain"},
		{"in clear, by that name", []string{basicHeader("plainer", "open sesame")}, "orgplainer"},
		{"sha256", []string{basicHeader("sha", "open sesame")}, "orgsha"},
		{"murmur32", []string{basicHeader("murmur", "open sesame")}, "orgmurmur"},
		{"sha256, wrong", []string{basicHeader("sha", "hunter2")}, wrong},
		{"murmur32, wrong", []string{basicHeader("murmur", "hunter2")}, wrong},
		{"the hash for a password", []string{basicHeader("murmur", "1f0e8994")}, wrong},
		{"no such hash", []string{basicHeader("odd", "open sesame")}, wrong},
		{"broken hash", []string{basicHeader("broken", "open sesame")}, wrong},
		{"hash of years", []string{basicHeader("costly", "open sesame")}, wrong},
		{"no password, none given", []string{basicHeader("none", "")}, wrong},
		{"unknown", []string{basicHeader("bob", "open sesame")}, wrong},
		{"empty password", []string{basicHeader("alice", "")}, wrong},
		{"password with a colon", []string{basicHeader("alice", "open:sesame")}, wrong},
		{"none", nil, missing},
		{"another scheme", []string{"Authorization: Bearer t0ken"}, missing},
		{"scheme alone", []string{"Authorization: Basic"}, missing},
		{"odd case, no padding", []string{"authorization: bASIC  " + base64.RawStdEncoding.EncodeToString([]byte("alice:open sesame"))}, "orgalice"},
		{"no base64", []string{"Authorization: Basic ####"}, missing},
		{"no colon", []string{"Authorization: Basic YWxpY2U="}, missing},
		{"no name", []string{basicHeader("", "open sesame")}, missing},
		{"control character", []string{basicHeader("alice\n", "open sesame")}, missing},
		{"long name", []string{basicHeader(strings.Repeat("a", maxUser+1), "")}, missing},
		{"absurd", []string{basicHeader(strings.Repeat("a", 9000), "")}, missing},
		{"two that differ", []string{basicHeader("alice", "open sesame"), basicHeader("bob", "open sesame")}, missing},
		{"two joined by a comma", []string{basicHeader("alice", "open sesame") + ", Basic YTpi"}, missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x := get("/", test.header...)
			if got := outcome(t, a, x); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			var refusal *sdk.Error
			if _, err := a.Authenticate(t.Context(), x); errors.As(err, &refusal) {
				if want := (sdk.Field{Name: "WWW-Authenticate", Value: `Basic realm="The API"`}); len(refusal.Header) != 1 || refusal.Header[0] != want {
					t.Errorf("got header %q, want %q", refusal.Header, want)
				}
			}
		})
	}
}

func TestRealm(t *testing.T) {
	m := basicMethod()
	a, err := Compile(&m, Facts{Name: "a \"b\" \\ c\r\nX: y"}, users())
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Authenticate(t.Context(), get("/"))
	var refusal *sdk.Error
	if !errors.As(err, &refusal) || refusal.Header[0].Value != `Basic realm="a b  cX: y"` {
		t.Errorf("got %v", refusal.Header)
	}
}

func TestBasicFromBody(t *testing.T) {
	m := basicMethod()
	m.Basic.BodyUser, m.Basic.BodyPassword = `<user>(.*?)</user>`, `<pass>(.*?)</pass>`
	a := cheap(compile(t, m, users()))
	if !NeedsBody(a) || NeedsBody(compile(t, basicMethod(), users())) {
		t.Error("the body is needed with the expressions, and not without")
	}
	const missing, wrong = "401 Authorization field missing", "401 User not authorised"
	tests := []struct{ name, body, header, want string }{
		{"right", "<user>alice</user><pass>open sesame</pass>", "", "orgalice"},
		{"wrong", "<user>alice</user><pass>hunter2</pass>", "", wrong},
		{"no password", "<user>alice</user>", "", missing},
		{"no name", "<user></user><pass>open sesame</pass>", "", missing},
		{"empty", "", "", missing},
		{"long", "<user>" + strings.Repeat("a", maxUser+1) + "</user><pass></pass>", "", missing},
		{"header first", "<user>alice</user><pass>hunter2</pass>", basicHeader("alice", "open sesame"), "orgalice"},
		{"broken header", "<user>alice</user><pass>open sesame</pass>", "Authorization: Basic #", missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := sdktest.Request("POST", "/").Body(test.body)
			if test.header != "" {
				b.Header("Authorization", strings.TrimPrefix(test.header, "Authorization: "))
			}
			if got := outcome(t, a, exchange(b)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("not buffered", func(t *testing.T) {
		x := sdktest.Request("POST", "/").Body("<user>").Exchange(sdk.Auth, sdk.Needs{}, nil)
		if _, err := a.Authenticate(t.Context(), x); !errors.Is(err, errBody) {
			t.Errorf("got %v", err)
		}
	})
}

// While no password may be hashed, who is told from whom: only a password that is remembered is right without hashing,
// and every refusal waits, whether or not there is such a user.
func TestPasswordWork(t *testing.T) {
	memory := NewMemory()
	m := basicMethod()
	api := facts()
	api.Memory = memory
	a, err := Compile(&m, api, users())
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, a, get("/", basicHeader("alice", "open sesame"))); got != "orgalice" {
		t.Fatal(got)
	}
	for range cap(memory.hashing) {
		memory.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, user := range []string{"alice", "old", "plain", "sha", "murmur", "none", "odd", "broken", "bob"} {
		if _, err := a.Authenticate(ctx, get("/", basicHeader(user, "hunter2"))); !errors.Is(err, context.Canceled) {
			t.Errorf("%s was refused without hashing: %v", user, err)
		}
	}
	if c, err := a.Authenticate(ctx, get("/", basicHeader("alice", "open sesame"))); err != nil || c.Token != "orgalice" {
		t.Errorf("the remembered password was hashed: %v", err)
	}
	for range cap(memory.hashing) {
		<-memory.hashing
	}
}

// What is compared for an unknown user is a hash: a malformed one would be refused at once.
func TestDecoy(t *testing.T) {
	if err := bcrypt.CompareHashAndPassword([]byte("$2a$04$"+decoy), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Error(err)
	}
	c := newChecker(NewMemory(), "api", time.Minute)
	c.cost.Store(int64(bcrypt.MinCost))
	costly := caller("x", &identity.Session{BasicAuth: identity.BasicAuth{Password: strings.Replace(sesame, "$04$", "$05$", 1), Hash: "bcrypt"}})
	if refused, err := c.check(t.Context(), costly, "x"); refused == nil || err != nil {
		t.Error(refused, err)
	}
	if c.cost.Load() != 5 {
		t.Errorf("unknown users cost %d, users 5", c.cost.Load())
	}
}

// A password is remembered for its time, and not when the stored one has changed, for another API or without cache.
func TestPasswordMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, ctx := NewMemory(), t.Context()
		remembered := func(api string, cache time.Duration, stored, password string) bool {
			c := newChecker(memory, api, cache)
			for range cap(memory.hashing) {
				memory.hashing <- struct{}{}
			}
			ended, cancel := context.WithCancel(ctx)
			cancel()
			refused, err := c.check(ended, caller("x", &identity.Session{BasicAuth: identity.BasicAuth{Password: stored, Hash: "bcrypt"}}), password)
			for range cap(memory.hashing) {
				<-memory.hashing
			}
			return refused == nil && err == nil
		}
		alice := caller("x", &identity.Session{BasicAuth: identity.BasicAuth{Password: sesame, Hash: "bcrypt"}})
		if refused, err := newChecker(memory, "api", time.Minute).check(ctx, alice, "open sesame"); refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		other := strings.Replace(sesame, "cy", "cz", 1)
		for _, test := range []struct {
			name, api, stored, password string
			cache, after                time.Duration
			want                        bool
		}{
			{"same", "api", sesame, "open sesame", time.Minute, 59 * time.Second, true},
			{"another password", "api", sesame, "open sesam", time.Minute, 0, false},
			{"changed", "api", other, "open sesame", time.Minute, 0, false},
			{"another API", "other", sesame, "open sesame", time.Minute, 0, false},
			{"no cache", "api", sesame, "open sesame", 0, 0, false},
			{"over", "api", sesame, "open sesame", time.Minute, time.Second, false},
		} {
			<-time.After(test.after)
			if got := remembered(test.api, test.cache, test.stored, test.password); got != test.want {
				t.Errorf("%s: remembered %v", test.name, got)
			}
		}
	})
}
