package host

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Paths that a session allows are compared in every reading, as path lists are: who may call what is under /pub may not
// reach anything else by a spelling that the upstream reads otherwise.
func TestAllowedPathsInEveryReading(t *testing.T) {
	k := newKeyed(t, nil, nil)
	k.load(t, ownAPI+"auth: {all: [token]}\n")
	may := func(url string) string {
		return k.key(t, "", &identity.Session{AccessRights: map[string]identity.Access{"a": {AllowedURLs: []identity.Spec{{URL: url, Methods: []string{"GET"}}}}}})
	}
	below, whole, exact := may("^/pub/"), may("^/a/pub/"), may("^/pub$")
	for _, tt := range []struct {
		token, path string
		in          bool
	}{
		{below, "/a/pub/x", true},
		{below, "/a/pub/", true},
		{below, "/a/pub/x%20y", true},
		{below, "/a/%70ub/x", true},
		{below, "/a/pub/./x", true},
		{below, "/a/pub//x", true},
		{below, "/a/pub/../admin", false},
		{below, "/a/pub/%2e%2e/admin", false},
		{below, "/a/pub/..%2fadmin", false},
		{below, "/a/pub/..;/admin", false},
		{below, "/a/pub/..%5cadmin", false},
		{below, "/a/pub/%252e%252e/admin", false},
		{below, "/a/pub/x%00", false},
		{below, "/a/pub", false},
		{whole, "/a/pub/x", true},
		{whole, "/a/pub/../admin", false},
		{whole, "/a/pub/%2e%2e/%2e%2e/b/x", false},
		{exact, "/a/pub", true},
		{exact, "/a/pub;x", false},
		{exact, "/a/x/../pub", false},
	} {
		_, got := k.ask(t, tt.path, "Authorization: "+tt.token)
		if want := map[bool]string{true: "200 ", false: "403 Access to this resource has been disallowed"}[tt.in]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", tt.path, got, want)
		}
	}
}

// A rate of a path holds however the path is spelled.
func TestEndpointRateInEveryReading(t *testing.T) {
	k := newKeyed(t, nil, nil)
	k.load(t, ownAPI+"auth: {all: [token]}\n")
	once := []identity.Endpoint{{Path: "^/once$", Methods: []identity.EndpointMethod{{Name: "GET", Limit: identity.EndpointRate{Rate: 1, Per: 3600}}}}}
	token := k.key(t, "", &identity.Session{Rate: 1000, Per: 1, AccessRights: map[string]identity.Access{"a": {Endpoints: once}}})
	if _, got := k.ask(t, "/a/once", "Authorization: "+token); got != "200 up:/once" {
		t.Fatal(got)
	}
	for _, path := range []string{"/a/once", "/a/%6fnce", "/a/x/../once", "/a//once", "/a/once;x"} {
		if _, got := k.ask(t, path, "Authorization: "+token); got != "429 Rate Limit Exceeded" {
			t.Errorf("%s: got %s", path, got)
		}
	}
}

// A body that one method of a group has read reaches the next, and the upstream.
func TestGroupKeepsTheBody(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{"meddle": fn(func(x *sdk.Exchange) error {
		x.Request().SetBody([]byte("other"))
		return &sdk.Error{Status: 401, Message: "no"}
	})}, nil)
	token := k.key(t, "", &identity.Session{})
	k.load(t, ownAPI+"auth: {any: [{basic: {body_user: 'user=(\\w+)', body_password: 'pass=(\\w+)'}}, token]}\n")
	k.w.up["a"].reply = func(f *flow.Flow) {
		sent := f.X.Request().Body()
		if !f.X.Request().Buffered() {
			var err error
			if sent, err = io.ReadAll(f.Body); err != nil {
				t.Error(err)
			}
		}
		upReply(200, -1, fmt.Sprint(f.X.Request().Length(), " ", string(sent)))(f)
	}
	post := func(body string) string {
		f, c := newFlow(t.Context(), "POST", "/a/", body)
		f.X.Request().Header().Append("Authorization", token)
		k.Serve(f)
		return fmt.Sprint(c.status, " ", c.body.String())
	}
	for _, methods := range []string{
		"{basic: {body_user: 'user=(\\w+)', body_password: 'pass=(\\w+)'}}, token", "{hook: {hook: meddle, body: {buffer: 1KiB}}}, token",
		"{hook: {hook: meddle, body: buffer}}, {name: again, hook: {hook: meddle, body: buffer}}, token",
	} {
		k.load(t, ownAPI+"auth: {any: ["+methods+"]}\n")
		if got := post("user=eve&pass=guess"); got != "200 19 user=eve&pass=guess" {
			t.Errorf("%s: got %s", methods, got)
		}
	}
	// One that was read in part is of no use to anybody.
	k.load(t, ownAPI+"auth: {any: [{hook: {hook: meddle, body: {buffer: 1KiB}}}, token]}\n")
	f, c := newFlow(t.Context(), "POST", "/a/", strings.Repeat("x", 4096))
	f.X.Request().Fill(sdk.RequestInit{Method: "POST", Scheme: "http", Host: "h:80", Path: "/a/", URI: "/a/", Proto: "HTTP/1.1", Length: -1})
	f.X.Request().Header().Append("Authorization", token)
	if k.Serve(f); c.status != 413 {
		t.Errorf("a body over the limit: got %d %s", c.status, c.body.String())
	}
}

// A group of which one suffices goes on to the next method when the one before, a group itself, has named nobody.
func TestGroupWantsAName(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{"check": fn(func(*sdk.Exchange) error { return nil })}, nil)
	token := k.key(t, "", &identity.Session{})
	k.load(t, ownAPI+"auth: {any: [{all: [{hook: {hook: check}}]}, token]}\n")
	if _, got := k.ask(t, "/a/", "Authorization: "+token); got != "200 up:/" {
		t.Errorf("a token: got %s", got)
	}
	if _, got := k.ask(t, "/a/"); got != "401 Authentication required" && got != "401 Authorization field missing" {
		t.Errorf("nothing: got %s", got)
	}
	k.load(t, ownAPI+"auth: {all: [token, {any: [{all: [{hook: {hook: check}}]}, basic]}]}\n")
	if _, got := k.ask(t, "/a/", "Authorization: "+token); !strings.HasPrefix(got, "401 ") {
		t.Errorf("a token, and a group that named nobody: got %s", got)
	}
}

// A key that is inactive or has expired lets nobody in, also where the session of another method counts.
func TestEveryKeyIsJudged(t *testing.T) {
	k := newKeyed(t, nil, nil)
	good := k.key(t, "", &identity.Session{})
	tokens := map[string]string{
		"403 Key is inactive, please renew": k.key(t, "", &identity.Session{Inactive: true}),
		"401 Key has expired, please renew": k.key(t, "", &identity.Session{Expires: 1}),
		"200 up:/":                          k.key(t, "", &identity.Session{}),
	}
	for _, identity := range []string{"", "first", "second"} {
		k.load(t, ownAPI+"auth: {all: [{token: {header: X-First}, name: first}, {token: {header: X-Second}, name: second}], identity: '"+identity+"'}\n")
		for want, token := range tokens {
			for _, header := range [][]string{{"X-First: " + token, "X-Second: " + good}, {"X-First: " + good, "X-Second: " + token}} {
				if _, got := k.ask(t, "/a/", header...); got != want {
					t.Errorf("identity %q, %v: got %s, want %s", identity, header, got, want)
				}
			}
		}
	}
}

// What one API's hook has said of an id lets nobody into another, whose hook was not asked; nor is the key under which the
// session lies, which is made of the id, a token.
func TestExtractedSessionsStayTheirHooks(t *testing.T) {
	var asked [2]atomic.Int32
	deadline := time.Now().Add(time.Hour).Unix()
	vouch := func(i int, alias string, fail bool) sdk.Hook {
		return fn(func(x *sdk.Exchange) error {
			asked[i].Add(1)
			if fail {
				return &sdk.Error{Status: 401, Message: "not here"}
			}
			x.SetSession(&sdk.Session{KeyID: "theirs", Alias: alias, IDExtractorDeadline: deadline})
			return nil
		})
	}
	k := newKeyed(t, map[string]sdk.Hook{"lax": vouch(0, "ann", false), "strict": vouch(1, "", true), "who": fn(func(x *sdk.Exchange) error {
		x.Request().Header().Set("X-Who", x.Session().Alias)
		return nil
	})}, nil)
	api := func(id, hook string) string {
		return fmt.Sprintf("id: %s\norg: o\nlisten: {path: /%s}\nupstream: {url: http://127.0.0.1:1}\n"+
			"auth: {all: [{hook: {hook: %s, id_extractor: {from: header, with: value, name: X-Id}}}]}\nhooks: {post_key_auth: [{hook: who}]}\n", id, id, hook)
	}
	both := func() {
		if err := load(t, k.Gateway, k.w, definition(t, api("a", "lax")), definition(t, api("b", "strict")),
			definition(t, "id: c\norg: o\nlisten: {path: /c}\nupstream: {url: http://127.0.0.1:1}\nauth: {all: [token]}\n")); err != nil {
			t.Fatal(err)
		}
	}
	both()
	for range 3 {
		if _, got := k.ask(t, "/a/", "X-Id: 7"); got != "200 up:/" {
			t.Fatal(got)
		}
		if _, got := k.ask(t, "/b/", "X-Id: 7"); got != "401 not here" {
			t.Errorf("another API: got %s", got)
		}
	}
	if got := [2]int32{asked[0].Load(), asked[1].Load()}; got != [2]int32{1, 3} {
		t.Errorf("the hooks were asked %v times, want 1 and 3", got)
	}
	id := k.keys.Token("o", "8f14e45fceea167a5a36dedd4bea2543") // MD5 of 7
	if _, err := k.keys.Lookup(t.Context(), "o", id); err != nil {
		t.Fatal(err)
	}
	if _, got := k.ask(t, "/c/", "Authorization: "+id); got != "403 Access to this API has been disallowed" {
		t.Errorf("the id's key as a token: got %s", got)
	}
	// What somebody else has made of the session since is not what the hook has vouched for.
	if _, err := k.keys.Update(t.Context(), identity.Ref{Org: "o", Key: id}, identity.Lifetime{}, func(s *identity.Session) error {
		s.Alias = "eve"
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, got := k.ask(t, "/a/", "X-Id: 7"); got != "200 up:/" || asked[0].Load() != 2 {
		t.Errorf("a session that was changed: got %s, the hook was asked %d times", got, asked[0].Load())
	}
	h := k.w.up["a"].sent[len(k.w.up["a"].sent)-1].Request.Header
	if !slices.Contains(h, sdk.Field{Name: "X-Who", Value: "ann"}) {
		t.Errorf("got %v", h)
	}
	// But for a block, which holds as long as what it was put on.
	if _, err := k.keys.Update(t.Context(), identity.Ref{Org: "o", Key: id}, identity.Lifetime{}, func(s *identity.Session) error {
		s.Inactive = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, got := k.ask(t, "/a/", "X-Id: 7"); got != "403 Key is inactive, please renew" {
		t.Errorf("a session that was blocked: got %s", got)
	}
}

// A hook behind authentication that touches the session leaves the limits that it did not touch.
func TestTouchedSessionKeepsItsLimits(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{
		"touch": fn(func(x *sdk.Exchange) error { x.EditSession().Alias = "touched"; return nil }),
		"raise": fn(func(x *sdk.Exchange) error { x.EditSession().QuotaMax = 3; return nil }),
		"become": fn(func(x *sdk.Exchange) error {
			x.SetSession(&sdk.Session{KeyID: "other", QuotaMax: 1, QuotaRenewalRate: 60})
			return nil
		}),
	}, nil)
	once := []identity.Endpoint{{Path: "^/once$", Methods: []identity.EndpointMethod{{Name: "GET", Limit: identity.EndpointRate{Rate: 1, Per: 3600}}}}}
	session := func() string {
		return "Authorization: " + k.key(t, "", &identity.Session{QuotaMax: 2, QuotaRenewalRate: 60, AccessRights: map[string]identity.Access{"a": {Endpoints: once}}})
	}
	ask := func(pass string, wants ...string) {
		t.Helper()
		for i, want := range wants {
			path, want, _ := strings.Cut(want, " ")
			if _, got := k.ask(t, path, pass); got != want {
				t.Errorf("request %d: got %s, want %s", i, got, want)
			}
		}
	}
	k.load(t, ownAPI+"auth: {all: [token]}\nhooks: {post_key_auth: [{hook: touch}]}\n")
	ask(session(), "/a/once 200 up:/once", "/a/once 429 Rate Limit Exceeded", "/a/ 200 up:/", "/a/ 403 Quota exceeded")
	k.load(t, ownAPI+"auth: {all: [token]}\nhooks: {post_key_auth: [{hook: raise}]}\n")
	ask(session(), "/a/ 200 up:/", "/a/ 200 up:/", "/a/ 200 up:/", "/a/ 403 Quota exceeded")
	// Who calls by another name is counted by that one.
	k.load(t, ownAPI+"auth: {all: [token]}\nhooks: {post_key_auth: [{hook: become}]}\n")
	ask(session(), "/a/ 200 up:/", "/a/ 403 Quota exceeded")
	ask(session(), "/a/ 403 Quota exceeded")
}

// $tyk_context.token is the token that let the caller in, whatever else looks like one.
func TestTokenVariable(t *testing.T) {
	k := newKeyed(t, nil, nil)
	token := k.key(t, "", &identity.Session{})
	k.load(t, ownAPI+"auth: {all: [{token: {header: X-Key, cookie: key}}]}\nheaders: {request: {set: {X-Token: $tyk_context.token}}}\n")
	for _, header := range [][]string{{"X-Key: " + token}, {"X-Key: " + token, "Authorization: forged"}, {"Cookie: key=" + token, "X-Key: forged"}} {
		if _, got := k.ask(t, "/a/", header...); got != "200 up:/" {
			t.Fatal(got)
		}
		h := k.w.up["a"].sent[len(k.w.up["a"].sent)-1].Request.Header
		if !slices.Contains(h, sdk.Field{Name: "X-Token", Value: token}) {
			t.Errorf("%v: sent %v", header, h)
		}
	}
}

// Credentials are taken off where nobody was asked for them, too.
func TestStripOnIgnoredPaths(t *testing.T) {
	k := newKeyed(t, nil, nil)
	k.load(t, ownAPI+"auth: {all: [token], strip: true}\npaths: {ignored: [{path: /free}]}\n")
	if _, got := k.ask(t, "/a/free", "Authorization: mine"); got != "200 up:/free" {
		t.Fatal(got)
	}
	if h := k.w.up["a"].sent[0].Request.Header; len(h) != 0 {
		t.Errorf("sent %v", h)
	}
}

// Callers of two organisations are never counted together, whatever names hooks and patterns give them.
func TestOrganisationsAreCountedApart(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{
		"ann": fn(func(x *sdk.Exchange) error {
			x.SetSession(&sdk.Session{KeyID: "ann", QuotaMax: 1, QuotaRenewalRate: 60})
			return nil
		}),
		"tier": fn(func(x *sdk.Exchange) error {
			x.SetSession(&sdk.Session{KeyID: "bob", QuotaMax: 1, QuotaRenewalRate: 60, Metadata: map[string]string{"rate_limit_pattern": "tier"}})
			return nil
		}),
	}, nil)
	api := func(id, org, hook string) *config.Definition {
		return definition(t, fmt.Sprintf("id: %[1]s\norg: '%[2]s'\nlisten: {path: /%[1]s}\nupstream: {url: http://127.0.0.1:1}\nauth: {all: [{hook: {hook: %[3]s}}]}\n", id, org, hook))
	}
	if err := load(t, k.Gateway, k.w, api("a", "o", "ann"), api("b", "o", "ann"), api("c", "p", "ann"), api("d", "", "ann"),
		api("e", "o", "tier"), api("f", "o", "tier"), api("g", "p", "tier")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"/a/", "200 up:/"}, {"/b/", "403 Quota exceeded"}, {"/c/", "200 up:/"}, {"/d/", "200 up:/"}, {"/d/", "403 Quota exceeded"},
		{"/e/", "200 up:/"}, {"/f/", "403 Quota exceeded"}, {"/g/", "200 up:/"},
	} {
		if _, got := k.ask(t, tt.path); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.path, got, tt.want)
		}
	}
}

// An identity that JWTs name and an id that a hook is told lie in one place when they have one name: neither takes over what the
// other is, and who is blocked as one is not let in by way of the other.
func TestIdentitiesAndExtractedIDsStayApart(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{"lax": fn(func(x *sdk.Exchange) error {
		x.SetSession(&sdk.Session{KeyID: "theirs", Alias: "hook", Rate: 1e6, Per: 1, IDExtractorDeadline: time.Now().Add(time.Hour).Unix()})
		return nil
	})}, nil)
	if err := load(t, k.Gateway, k.w,
		definition(t, ownAPI+"auth: {all: [{jwt: {method: hmac, source: "+crowdSecret+", policies: [gold]}}]}\nheaders: {request: {set: {X-Who: $tyk_context.token}}}\n"),
		definition(t, "id: b\norg: o\nlisten: {path: /b}\nupstream: {url: http://127.0.0.1:1}\nauth: {all: [{hook: {hook: lax, id_extractor: {from: header, with: value, name: X-Id}}}]}\n")); err != nil {
		t.Fatal(err)
	}
	jwt := func(sub string) string { return "Authorization: " + hs256(`{"sub":"`+sub+`"}`) }
	ask := func(path, header, want string) {
		t.Helper()
		if _, got := k.ask(t, path, header); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	ref := func(sum string) identity.Ref { return identity.Ref{Org: "o", Key: k.keys.Token("o", sum)} }
	const seven, eight = "8f14e45fceea167a5a36dedd4bea2543", "c9f0f895fb98ab9159f51fd0297e236d" // MD5 of 7 and 8
	ask("/a/", jwt("7"), "200 up:/")
	if _, err := k.keys.Update(t.Context(), ref(seven), identity.Lifetime{}, func(s *identity.Session) error { s.Inactive = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ask("/a/", jwt("7"), "403 Key is inactive, please renew")
		ask("/b/", "X-Id: 7", "200 up:/")
	}
	ask("/b/", "X-Id: 8", "200 up:/")
	ask("/a/", jwt("8"), "200 up:/")
	if s, err := k.keys.Get(t.Context(), ref(eight)); err != nil || s.Session.Rate != 0 || s.Session.Alias != "8" || s.Session.IDExtractorDeadline != 0 {
		t.Errorf("a session begun by a hook: %+v, %v", s.Session, err)
	}
}

// In a group of which one suffices, the client reads the refusal of the method that its credential was meant for.
func TestGroupTellsWhatWasMeant(t *testing.T) {
	k := newKeyed(t, nil, nil)
	jwt := "{jwt: {method: hmac, source: " + crowdSecret + ", policies: [gold]}}"
	for _, tt := range []struct{ methods, header, want string }{
		{"token, basic", "Authorization: Basic YW5uOnB3", "401 User not authorised"},
		{"token, basic", "Authorization: unknown", "403 Access to this API has been disallowed"},
		{"token, " + jwt, "Authorization: Bearer " + hs256(`{"sub":"ann","exp":1}`), "401 Key not authorized: token has expired"},
		{"token, " + jwt, "Authorization: Bearer unknown", "403 Access to this API has been disallowed"},
		{"token, {hmac: {}}", "Authorization: Signature keyId=\"a\"", "400 Authorization field missing, malformed or invalid"},
		{"certificate, basic", "Authorization: Basic YW5uOnB3", "401 User not authorised"},
		{"certificate, token", "Authorization: unknown", "403 Access to this API has been disallowed"},
		{"certificate", "A: b", "403 Client TLS certificate is required"},
		{jwt + ", basic", "Authorization: Basic YW5uOnB3", "401 User not authorised"},
		{"token", "Authorization: Basic YW5uOnB3", "403 Access to this API has been disallowed"},
	} {
		k.load(t, ownAPI+"auth: {any: ["+tt.methods+"]}\n")
		if _, got := k.ask(t, "/a/", tt.header); got != tt.want {
			t.Errorf("%s, %.40s: got %s, want %s", tt.methods, tt.header, got, tt.want)
		}
	}
}
