package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// flaky is a store whose reads can be made to fail.
type flaky struct {
	store.Store
	away atomic.Bool
}

func (s *flaky) Get(ctx context.Context, key string) (store.Entry, error) {
	if s.away.Load() {
		return store.Entry{}, store.ErrUnavailable
	}
	return s.Store.Get(ctx, key)
}

func (s *flaky) Many(ctx context.Context, keys []string) ([]store.Entry, error) {
	if s.away.Load() {
		return nil, store.ErrUnavailable
	}
	return s.Store.Many(ctx, keys)
}

// keyed is a gateway with keys in a store of its own.
type keyed struct {
	*Gateway
	w     *world
	keys  *identity.Keys
	store *flaky
}

func newKeyed(t testing.TB, hooks map[string]sdk.Hook, change func(*Options)) *keyed {
	t.Helper()
	ctx := context.Background()
	opened, err := bolt.Open(ctx, t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := &keyed{w: newWorld(hooks), store: &flaky{Store: opened}}
	policies := identity.OpenPolicies(k.store)
	policies.SetFiles([]*identity.Policy{
		{ID: "gold", OrgID: "o", Rate: 1000, Per: 1, QuotaMax: 7, QuotaRenewalRate: 60, AccessRights: map[string]identity.Access{"a": {}}},
	})
	if k.keys, err = identity.Open(ctx, k.store, policies, identity.Options{}); err != nil {
		t.Fatal(err)
	}
	sets, limiter := jwks.New(ctx, jwks.Options{}), local.Open(ctx, opened.Counts(), local.Options{})
	k.w.callers = &Callers{Keys: k.keys, Memory: authn.NewMemory(), Sets: sets, Tokens: jwt.NewTokens(0, 0)}
	k.w.limiter = limiter
	replies, err := reply.Compile(config.Errors{}, true)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(), Replies: replies, Drain: time.Minute, Shared: k.w}
	if change != nil {
		change(&o)
	}
	k.Gateway = New(ctx, o)
	t.Cleanup(func() {
		sets.Close()
		err := errors.Join(k.Close(ctx), limiter.Close(ctx), k.keys.Close(ctx))
		policies.Close()
		if err = errors.Join(err, opened.Close()); err != nil {
			t.Error(err)
		}
	})
	return k
}

// key makes a key and returns its token.
func (k *keyed) key(t testing.TB, name string, s *identity.Session) string {
	t.Helper()
	made, err := k.keys.Create(t.Context(), "o", name, s, identity.Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Token
}

func (k *keyed) load(t *testing.T, yaml string) {
	t.Helper()
	if err := load(t, k.Gateway, k.w, definition(t, yaml)); err != nil {
		t.Fatal(err)
	}
}

// ask sends a request with headers "Name: value" and returns its status and the message of its error.
func (k *keyed) ask(t *testing.T, path string, header ...string) (*client, string) {
	t.Helper()
	f, c := newFlow(t.Context(), "GET", path, "")
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		f.X.Request().Header().Append(name, value)
	}
	k.Serve(f)
	message := c.body.String()
	if _, m, ok := strings.Cut(message, `"error": "`); ok {
		message, _, _ = strings.Cut(m, `"`)
	}
	return c, fmt.Sprint(c.status, " ", message)
}

const ownAPI = "id: a\norg: o\nlisten: {path: /a}\nupstream: {url: http://127.0.0.1:1}\n"

func TestTokens(t *testing.T) {
	k := newKeyed(t, nil, nil)
	k.load(t, ownAPI+"auth: {all: [token], strip: true}\n")
	open := k.key(t, "", &identity.Session{Alias: "ann", OrgID: "o"})
	elsewhere := k.key(t, "", &identity.Session{AccessRights: map[string]identity.Access{"b": {}}})
	here := k.key(t, "", &identity.Session{AccessRights: map[string]identity.Access{"a": {AllowedURLs: []identity.Spec{{URL: "^/ok", Methods: []string{"GET"}}}}}})
	late := k.key(t, "", &identity.Session{Expires: 1})
	idle := k.key(t, "", &identity.Session{Inactive: true})
	tests := []struct{ name, path, token, want string }{
		{"a token", "/a/x", open, "200 up:/x"},
		{"no token", "/a/x", "", "401 Authorization field missing"},
		{"an unknown token", "/a/x", "nonsense", "403 Access to this API has been disallowed"},
		{"another API's", "/a/x", elsewhere, "403 Access to this API has been disallowed"},
		{"an allowed path", "/a/ok", here, "200 up:/ok"},
		{"another path", "/a/no", here, "403 Access to this resource has been disallowed"},
		{"expired", "/a/x", late, "401 Key has expired, please renew"},
		{"inactive", "/a/x", idle, "403 Key is inactive, please renew"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.token != "" {
				header = []string{"Authorization: Bearer " + tt.token}
			}
			if _, got := k.ask(t, tt.path, header...); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	for _, sent := range k.w.up["a"].sent {
		if len(sent.Request.Header) != 0 {
			t.Errorf("the credential reached the upstream: %v", sent.Request.Header)
		}
	}
}

// TestGroups: every method of all, one of any; what a method that does not let the caller in has changed is undone.
func TestGroups(t *testing.T) {
	var asked atomic.Int32
	k := newKeyed(t, map[string]sdk.Hook{
		"vouch": fn(func(x *sdk.Exchange) error {
			asked.Add(1)
			x.Request().Header().Set("X-Vouched", "1")
			if x.Request().Header().Get("X-Friend") == "" {
				return &sdk.Error{Status: 401, Message: "no friend"}
			}
			x.Authenticate("friend", "a friend")
			return nil
		}),
		"who": fn(func(x *sdk.Exchange) error {
			x.Request().Header().Set("X-Who", x.Session().Alias)
			return nil
		}),
	}, nil)
	token := k.key(t, "", &identity.Session{Alias: "ann"})
	pass := "Authorization: " + token
	k.load(t, ownAPI+"auth: {any: [{hook: {hook: vouch}}, token]}\nhooks: {post_key_auth: [{hook: who}]}\n")
	for _, tt := range []struct {
		name, header, want string
		who                []sdk.Field
	}{
		{"the second", pass, "200 up:/", []sdk.Field{{Name: "Authorization", Value: token}, {Name: "X-Who", Value: "ann"}}},
		{"the first", "X-Friend: 1", "200 up:/", []sdk.Field{{Name: "X-Friend", Value: "1"}, {Name: "X-Vouched", Value: "1"}, {Name: "X-Who", Value: "a friend"}}},
		{"neither", "X-Other: 1", "401 no friend", nil},
	} {
		k.w.up["a"].sent = nil
		if _, got := k.ask(t, "/a/", tt.header); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if tt.who != nil && (len(k.w.up["a"].sent) != 1 || !slices.Equal(k.w.up["a"].sent[0].Request.Header, tt.who)) {
			t.Errorf("%s: sent %+v, want %v", tt.name, k.w.up["a"].sent, tt.who)
		}
	}
	for identityOf, want := range map[string]string{"": "a friend", "token": "ann", "vouch": "a friend"} {
		k.load(t, ownAPI+fmt.Sprintf("auth: {all: [token, {hook: {hook: vouch}}], identity: %q}\nhooks: {post_key_auth: [{hook: who}]}\n", identityOf))
		k.w.up["a"].sent = nil
		if _, got := k.ask(t, "/a/", pass); got != "401 no friend" {
			t.Errorf("one of two: got %s", got)
		}
		if _, got := k.ask(t, "/a/", pass, "X-Friend: 1"); got != "200 up:/" {
			t.Errorf("both: got %s", got)
		}
		h := k.w.up["a"].sent[0].Request.Header
		if got := h[len(h)-1].Value; got != want {
			t.Errorf("identity %q: the session is %s's, want %s's", identityOf, got, want)
		}
	}
	before := asked.Load()
	if k.ask(t, "/a/", "X-Friend: 1"); asked.Load() != before {
		t.Error("a method was asked although one before it had refused")
	}
}

func TestLimits(t *testing.T) {
	k := newKeyed(t, nil, nil)
	slow := k.key(t, "", &identity.Session{Rate: 2, Per: 3600})
	few := k.key(t, "", &identity.Session{QuotaMax: 2, QuotaRenewalRate: 3600})
	apiOnly := k.key(t, "", &identity.Session{Rate: 1000, Per: 1, AccessRights: map[string]identity.Access{"a": {Limit: identity.Limit{Rate: 1, Per: 3600}}}})
	k.load(t, ownAPI+"auth: {all: [token]}\npath_rates: [{path: /once, requests: 1, per: 1h}]\n")
	times := func(n int, path, token string) (last string, c *client) {
		for range n {
			c, last = k.ask(t, path, "Authorization: "+token)
		}
		return last, c
	}
	if got, _ := times(2, "/a/", slow); got != "200 up:/" {
		t.Errorf("within the rate: %s", got)
	}
	got, c := times(1, "/a/", slow)
	if got != "429 Rate Limit Exceeded" || len(c.get("Retry-After")) != 1 {
		t.Errorf("over the rate: %s %v", got, c.header)
	}
	got, c = times(2, "/a/", few)
	if remaining := c.get("X-RateLimit-Remaining"); got != "200 up:/" || !slices.Equal(remaining, []string{"0"}) || c.get("X-RateLimit-Limit")[0] != "2" {
		t.Errorf("within the quota: %s %v", got, c.header)
	}
	if got, _ := times(1, "/a/", few); got != "403 Quota exceeded" {
		t.Errorf("over the quota: %s", got)
	}
	if got, _ := times(2, "/a/", apiOnly); got != "429 Rate Limit Exceeded" {
		t.Errorf("over the rate on this API: %s", got)
	}
	other := k.key(t, "", &identity.Session{})
	if got, _ := times(1, "/a/once", other); got != "200 up:/once" {
		t.Errorf("within the path's rate: %s", got)
	}
	if got, _ := times(1, "/a/once", k.key(t, "", &identity.Session{})); got != "429 API Rate Limit Exceeded" {
		t.Errorf("over the path's rate: %s", got)
	}
	k.load(t, ownAPI+"auth: {all: [token]}\nlimits: {rate: {requests: 1, per: 1h}, ignore_key_rate: true, ignore_key_quota: true}\n")
	if got, _ := times(1, "/a/", few); got != "200 up:/" {
		t.Errorf("quotas of keys ignored: %s", got)
	}
	if got, _ := times(1, "/a/", slow); got != "429 API Rate Limit Exceeded" {
		t.Errorf("over the API's rate: %s", got)
	}
}

// TestExtractor: while the session that a hook left is good, the hook is not asked.
func TestExtractor(t *testing.T) {
	var asked atomic.Int32
	deadline := time.Now().Add(time.Hour).Unix()
	k := newKeyed(t, map[string]sdk.Hook{"vouch": fn(func(x *sdk.Exchange) error {
		asked.Add(1)
		x.SetSession(&sdk.Session{KeyID: "theirs", Alias: "ann", IDExtractorDeadline: deadline, ApplyPolicies: []string{"gold"}})
		return nil
	})}, nil)
	k.load(t, ownAPI+"auth: {all: [{hook: {hook: vouch, id_extractor: {from: header, with: value, name: X-Id}}}]}\n")
	if _, got := k.ask(t, "/a/"); got != "400 Authorization field missing" {
		t.Errorf("without an id: %s", got)
	}
	for i := range 8 {
		c, got := k.ask(t, "/a/", "X-Id: 7")
		if want := "200 up:/"; i < 7 && got != want || i == 7 && got != "403 Quota exceeded" {
			t.Errorf("request %d: %s %v", i, got, c.header)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the hook was asked %d times, want once", asked.Load())
	}
	if k.ask(t, "/a/", "X-Id: 8"); asked.Load() != 2 {
		t.Errorf("another id: the hook was asked %d times in all, want 2", asked.Load())
	}
	deadline = 1
	k.ask(t, "/a/", "X-Id: 9")
	if k.ask(t, "/a/", "X-Id: 9"); asked.Load() != 4 {
		t.Errorf("a deadline that has passed: the hook was asked %d times in all, want 4", asked.Load())
	}
}

// TestStoreAway: who is not known to be let in is not; what cannot be counted is refused, or passes if the settings say so.
func TestStoreAway(t *testing.T) {
	for _, pass := range []bool{false, true} {
		k := newKeyed(t, nil, func(o *Options) { o.PassUnlimited = pass })
		token := k.key(t, "", &identity.Session{Rate: 10, Per: 1})
		k.load(t, ownAPI+"auth: {all: [token]}\n")
		k.store.away.Store(true)
		if _, got := k.ask(t, "/a/", "Authorization: "+token+"x"); got != "503 Key store unavailable" {
			t.Errorf("a key that is not known: %s", got)
		}
		k.store.away.Store(false)
		if _, got := k.ask(t, "/a/", "Authorization: "+token); got != "200 up:/" {
			t.Errorf("the store is back: %s", got)
		}
		k.w.limiter = uncounting{}
		k.load(t, ownAPI+"name: again\nauth: {all: [token]}\n")
		want := "503 Limits unavailable"
		if pass {
			want = "200 up:/"
		}
		if _, got := k.ask(t, "/a/", "Authorization: "+token); got != want {
			t.Errorf("pass %v: got %s, want %s", pass, got, want)
		}
	}
}

type uncounting struct{ unlimited }

func (uncounting) Take(context.Context, *limit.Ask, *limit.Verdict) error {
	return limit.Unavailable("take", errors.New("gone"))
}

func TestVariables(t *testing.T) {
	k := newKeyed(t, map[string]sdk.Hook{"vouch": fn(func(x *sdk.Exchange) error {
		x.SetSession(&sdk.Session{KeyID: "k", Metadata: map[string]string{"tier": "gold", "who": `{"name": {"first": "ann"}, "age": 5}`}})
		x.SetValue("jwt_claims", []byte(`{"sub": "s1", "n": 3, "realm": {"roles": ["a"]}}`))
		return nil
	})}, nil)
	names := []string{
		"$tyk_meta.tier", "$tyk_meta.who.name.first", "$tyk_meta.who.age", "$tyk_meta.none", "$tyk_meta.who.none",
		"$tyk_context.path", "$tyk_context.path_parts", "$tyk_context.remote_addr", "$tyk_context.headers_X_One", "$tyk_context.headers_Host",
		"$tyk_context.cookies_c", "$tyk_context.request_data_q", "$tyk_context.jwt_claims_sub", "$tyk_context.jwt_claims_n",
		"$tyk_context.jwt_claims_realm.roles", "$tyk_context.tyk_trace_id", "$tyk_context.token", "$tyk_context.quota_limit", "$tyk_context.none",
	}
	k.load(t, ownAPI+"auth: {all: [{hook: {hook: vouch}}]}\nheaders: {request: {set: {X-All: '"+strings.Join(names, "|")+"'}}}\n")
	_, got := k.ask(t, "/a/b/c?q=1&q=2", "X-One: v\r\nw", "Cookie: b=1; c=2", "Authorization: Bearer tok",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if got != "200 up:/b/c" {
		t.Fatal(got)
	}
	h := k.w.up["a"].sent[0].Request.Header
	want := `gold|ann|5|||/a/b/c|a,b,c|192.0.2.1|v  w|h:80|2|1,2|s1|3|["a"]|0af7651916cd43dd8448eb211c80319c|tok|0|`
	if got := h[len(h)-1]; got.Name != "X-All" || got.Value != want {
		t.Errorf("got  %s\nwant %s", got.Value, want)
	}
}

// TestReadyNeedsTheStore: a gateway whose store is away should get no requests.
func TestReadyNeedsTheStore(t *testing.T) {
	var away atomic.Bool
	k := newKeyed(t, nil, func(o *Options) {
		o.Away = func() error {
			if away.Load() {
				return store.ErrUnavailable
			}
			return nil
		}
	})
	k.load(t, ownAPI)
	for _, is := range []bool{false, true, false} {
		away.Store(is)
		status, body := k.Ready()
		if (status == 503) != is || is != strings.Contains(string(body), "the store is away") || is != strings.Contains(string(k.Hello()), "datastore") {
			t.Errorf("away %v: got %d %s %s", is, status, body, k.Hello())
		}
	}
}
