package admin

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

func TestKeyLife(t *testing.T) {
	f := newFixture(t)
	created := f.must(200, "POST", "/tyk/keys", `{"org_id":"acme","alias":"ada","rate":5,"per":60,"quota_max":100,"quota_renewal_rate":3600,"expires":1,`+shopRights+`}`)
	token, id := created.json(t, "key").(string), created.json(t, "key_hash").(string)
	if created.json(t, "action") != "added" || !strings.HasPrefix(token, "acme") || len(token) != len("acme")+32 {
		t.Fatalf("got %s", created.body)
	}
	caller, err := f.state.Keys.Lookup(t.Context(), "acme", token)
	if err != nil || caller.Session.Alias != "ada" || caller.ID != id {
		t.Fatalf("the key lets nobody in: %+v %v", caller, err)
	}

	f.use(id, 3)
	for _, path := range []string{"/tyk/keys/" + token, "/tyk/keys/" + token + "/", "/tyk/keys/" + id + "?hashed=true", "/tyk/keys/" + token + "?api_id=shop", "/tyk/keys/" + strings.TrimPrefix(token, "acme") + "?org_id=acme"} {
		got := f.must(200, "GET", path, "")
		if got.json(t, "quota_remaining") != 97.0 || got.json(t, "alias") != "ada" || got.json(t, "expires") != 1.0 {
			t.Errorf("%s: got %s", path, got.body)
		}
		if renews, _ := got.json(t, "quota_renews").(float64); time.Until(time.Unix(int64(renews), 0)) < 59*time.Minute {
			t.Errorf("%s: the quota renews at %v", path, renews)
		}
	}
	if got := f.must(200, "GET", "/tyk/keys/"+token, "").json(t, "access_rights", "shop", "api_name"); got != "Shop" {
		t.Errorf("got api_name %v", got)
	}
	f.must(404, "GET", "/tyk/keys/"+token+"?org_id=other", "")
	f.must(404, "GET", "/tyk/keys/"+id, "")

	// What is written of counters is nothing; the quota stays when it is asked to, else it begins anew.
	f.must(200, "PUT", "/tyk/keys/"+token+"?suppress_reset=1", `{"alias":"eve","quota_max":50,"quota_remaining":7,"quota_renewal_rate":3600,`+shopRights+`}`)
	got := f.must(200, "GET", "/tyk/keys/"+token, "")
	if got.json(t, "quota_remaining") != 47.0 || got.json(t, "alias") != "eve" || got.json(t, "rate") != nil || got.json(t, "org_id") != "acme" {
		t.Errorf("got %s", got.body)
	}
	modified := f.must(200, "PUT", "/tyk/keys/"+id+"?hashed=1", `{"quota_max":50,"quota_renewal_rate":3600,`+shopRights+`}`)
	if modified.json(t, "action") != "modified" {
		t.Errorf("got %s", modified.body)
	}
	if got := f.must(200, "GET", "/tyk/keys/"+token, "").json(t, "quota_remaining"); got != 50.0 {
		t.Errorf("after an update %v remain", got)
	}

	f.use(id, 2)
	if got := f.must(200, "DELETE", "/tyk/keys/"+token, ""); got.json(t, "action") != "deleted" {
		t.Errorf("got %s", got.body)
	}
	if got := f.must(404, "DELETE", "/tyk/keys/"+token, ""); got.json(t, "message") != "There is no such key found" {
		t.Errorf("got %s", got.body)
	}
	if got := f.must(404, "PUT", "/tyk/keys/"+token, shopSession); got.json(t, "message") != "Key not found" {
		t.Errorf("got %s", got.body)
	}

	// The same token again counts from the start.
	f.must(200, "POST", "/tyk/keys/"+token, `{"org_id":"acme","quota_max":50,"quota_renewal_rate":3600,`+shopRights+`}`)
	if got := f.must(200, "GET", "/tyk/keys/"+token, "").json(t, "quota_remaining"); got != 50.0 {
		t.Errorf("of a new key %v remain", got)
	}
	var types []string
	for _, e := range f.events {
		types = append(types, e.Type)
		if e.Org != "acme" || e.Meta["Key"] != id || strings.Contains(fmt.Sprint(e), token) {
			t.Errorf("got event %+v", e)
		}
	}
	if want := "TokenCreated TokenUpdated TokenUpdated TokenDeleted TokenCreated"; strings.Join(types, " ") != want {
		t.Errorf("got events %v, want %s", types, want)
	}
}

func TestKeysRefused(t *testing.T) {
	f := newFixture(t)
	token, _ := f.create(shopSession)
	tests := []struct {
		name, method, path, body string
		status                   int
		message                  string
	}{
		{"no body", "POST", "/tyk/keys", "", 400, "no body"},
		{"no JSON", "POST", "/tyk/keys", "{", 400, "not JSON"},
		{"no object", "POST", "/tyk/keys", "[1]", 400, "JSON object"},
		{"two values", "POST", "/tyk/keys", shopSession + shopSession, 400, "not JSON"},
		{"wrong kind", "POST", "/tyk/keys", `{"rate":"fast"}`, 400, "/rate"},
		{"huge", "POST", "/tyk/keys", `{"alias":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "1048576 bytes"},
		{"deep", "POST", "/tyk/keys", `{"meta_data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, 400, "deeper than 64"},
		{"master", "POST", "/tyk/keys", `{"org_id":"acme"}`, 400, "keys.master"},
		{"master by update", "PUT", "/tyk/keys/" + token, `{}`, 400, "keys.master"},
		{"unknown policy", "POST", "/tyk/keys", `{"org_id":"acme","apply_policies":["gold"]}`, 400, "no policy"},
		{"two organisations", "POST", "/tyk/keys?org_id=other", shopSession, 400, "in the query"},
		{"APIs of two organisations", "POST", "/tyk/keys", `{"access_rights":{"shop":{},"plain":{}}}`, 400, "a key is of one"},
		{"moved", "PUT", "/tyk/keys/" + token, `{"org_id":"other",` + shopRights + `}`, 400, "stays so"},
		{"short", "POST", "/tyk/keys/ab?org_id=", `{"access_rights":{"plain":{}}}`, 400, "at least 3"},
		{"unknown API", "GET", "/tyk/keys/" + token + "?api_id=nothing", "", 400, "no API"},
		{"user without password", "POST", "/tyk/keys/ada?username=true", shopSession, 400, "password"},
		{"user without name", "POST", "/tyk/keys?username=true", shopSession, 400, "NAME"},
		{"long password", "POST", "/tyk/keys/ada?username=true", `{"org_id":"acme","basic_auth_data":{"password":"` + strings.Repeat("p", 73) + `"},` + shopRights + `}`, 400, "at most 72"},
		{"limit", "GET", "/tyk/keys?limit=0", "", 400, "from 1 to 1000"},
		{"limit no number", "GET", "/v1/keys?limit=many", "", 400, "from 1 to 1000"},
		{"cursor", "GET", "/tyk/keys?cursor=nonsense", "", 400, "without cursor"},
		{"policy of nobody", "POST", "/tyk/keys/policy/nobody", `{"policy":"gold"}`, 404, "Key not found"},
		{"policy unknown", "POST", "/tyk/keys/policy/" + token, `{"policy":"gold"}`, 400, "no policy"},
		{"policy misspelled", "POST", "/tyk/keys/policy/" + token, `{"polisy":"gold"}`, 400, "polisy"},
		{"policy of none", "POST", "/tyk/keys/policy/" + token, `{}`, 400, "say policy"},
		{"method", "PATCH", "/tyk/keys/" + token, "", 405, "DELETE, GET, POST, PUT"},
		{"path", "GET", "/tyk/keyz", "", 404, "openapi.json"},
		{"empty segment", "GET", "/tyk/keys//limits", "", 404, "no such path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.must(tt.status, tt.method, tt.path, tt.body)
			if message, _ := got.json(t, "message").(string); !strings.Contains(message, tt.message) {
				t.Errorf("got %q, want it to hold %q", message, tt.message)
			}
		})
	}
	if got := f.must(405, "PATCH", "/tyk/keys", "").header.Get("Allow"); got != "GET, POST" {
		t.Errorf("got Allow %q", got)
	}
	if got := f.must(200, "GET", "/tyk/keys", "").json(t, "keys").([]any); len(got) != 1 {
		t.Errorf("a refused key has been stored: %v", got)
	}
}

func TestMasterKeysAndUnservedAPIs(t *testing.T) {
	f := newFixture(t, func(k *config.KeySettings) { k.Master = true })
	f.must(200, "POST", "/tyk/keys/create", `{"org_id":"acme"}`)
	got := f.must(200, "POST", "/tyk/keys/create", `{"org_id":"acme","access_rights":{"gone":{},"shop":{}}}`)
	if message := got.json(t, "message"); message != `not served here: API "gone"` {
		t.Errorf("got %v", message)
	}
	org := f.must(200, "POST", "/tyk/keys", `{`+shopRights+`}`).json(t, "key").(string)
	if !strings.HasPrefix(org, "acme") {
		t.Errorf("the key is of no organisation: %s", org)
	}
}

func TestBasicUsers(t *testing.T) {
	f := newFixture(t)
	user := func(password string) string {
		return `{"org_id":"acme","basic_auth_data":{"password":"` + password + `"},` + shopRights + `}`
	}
	made := f.must(200, "POST", "/tyk/keys/ada?username=true", user("correct horse"))
	if made.json(t, "key") != "acmeada" {
		t.Errorf("got %s", made.body)
	}
	password := func() string {
		t.Helper()
		caller, err := f.state.Keys.Lookup(t.Context(), "acme", "ada")
		if err != nil {
			t.Fatal(err)
		}
		return caller.Session.BasicAuth.Password
	}
	first := password()
	if bcrypt.CompareHashAndPassword([]byte(first), []byte("correct horse")) != nil {
		t.Errorf("the password is not kept as a hash of it: %s", first)
	}
	got := f.must(200, "GET", "/tyk/keys/ada?username=true&org_id=acme", "")
	if strings.Contains(got.body, "$2") || got.json(t, "basic_auth_data", "hash_type") != "bcrypt" {
		t.Errorf("got %s", got.body)
	}
	// What was read can be written: the password stays. It can be replaced, by itself or by a hash.
	f.must(200, "PUT", "/tyk/keys/ada?org_id=acme", strings.Replace(got.body, `"org_id"`, `"alias": "Ada", "org_id"`, 1))
	if password() != first {
		t.Error("an update that says no password has changed it")
	}
	f.must(200, "POST", "/tyk/keys/ada?username=true&org_id=acme", shopSession)
	if password() != first {
		t.Error("a user who is posted again without a password has lost it")
	}
	f.must(200, "PUT", "/tyk/keys/acmeada", user("battery staple"))
	if bcrypt.CompareHashAndPassword([]byte(password()), []byte("battery staple")) != nil {
		t.Error("the password has not been changed")
	}
	f.must(200, "PUT", "/tyk/keys/acmeada", `{"basic_auth_data":{"password":"`+first+`","hash_type":"bcrypt"},`+shopRights+`}`)
	if password() != first {
		t.Error("a hash was hashed")
	}
}

func TestHMACSecrets(t *testing.T) {
	f := newFixture(t)
	made := f.must(200, "POST", "/tyk/keys", `{"org_id":"acme","hmac_enabled":true,`+shopRights+`}`)
	token, generated := made.json(t, "key").(string), made.json(t, "hmac_string").(string)
	kept := func() string {
		t.Helper()
		caller, err := f.state.Keys.Lookup(t.Context(), "acme", token)
		if err != nil {
			t.Fatal(err)
		}
		return caller.Session.HMACSecret
	}
	if len(generated) != 32 || kept() != generated {
		t.Fatalf("got %q, stored %q", generated, kept())
	}
	got := f.must(200, "GET", "/tyk/keys/"+token, "")
	if strings.Contains(got.body, generated) {
		t.Errorf("the secret is told again: %s", got.body)
	}
	again := f.must(200, "PUT", "/tyk/keys/"+token, got.body)
	if again.json(t, "hmac_string") != nil || kept() != generated {
		t.Errorf("an update has changed the secret: %s", again.body)
	}
	f.must(200, "PUT", "/tyk/keys/"+token, `{"hmac_enabled":true,"hmac_string":"mine",`+shopRights+`}`)
	if kept() != "mine" {
		t.Errorf("got %q", kept())
	}
	// A key that has none, and signs from now on, gets one.
	plain, _ := f.create(shopSession)
	later := f.must(200, "PUT", "/tyk/keys/"+plain, `{"hmac_enabled":true,`+shopRights+`}`)
	if secret, _ := later.json(t, "hmac_string").(string); len(secret) != 32 {
		t.Errorf("got %s", later.body)
	}
}

func TestKeyListings(t *testing.T) {
	f := newFixture(t)
	if got := f.must(200, "GET", "/tyk/keys", ""); strings.TrimSpace(got.body) != `{"keys":[]}` {
		t.Errorf("got %s", got.body)
	}
	ids := map[string]bool{}
	for range 7 {
		_, id := f.create(shopSession)
		ids[id] = true
	}
	_, other := f.create(`{"access_rights":{"plain":{}}}`)
	count := func(path string) int {
		t.Helper()
		return len(f.must(200, "GET", path, "").json(t, "keys").([]any))
	}
	for path, want := range map[string]int{
		"/tyk/keys": 8, "/tyk/keys/": 8, "/tyk/keys?api_id=shop": 7, "/tyk/keys?org_id=acme": 7, "/tyk/keys?filter=" + other[:20]: 1, "/v1/keys?api_id=plain": 1,
	} {
		if got := count(path); got != want {
			t.Errorf("%s: got %d keys, want %d", path, got, want)
		}
	}
	seen, cursor := 0, ""
	for pages := 0; ; pages++ {
		got := f.must(200, "GET", "/tyk/keys?limit=3&cursor="+cursor, "")
		seen += len(got.json(t, "keys").([]any))
		if cursor, _ = got.json(t, "next").(string); cursor == "" {
			break
		}
		if pages > 10 {
			t.Fatal("the pages do not end")
		}
	}
	if seen != 8 {
		t.Errorf("the pages have %d keys", seen)
	}
	hidden := newFixture(t, func(k *config.KeySettings) { k.ListHashed = false })
	hidden.must(404, "GET", "/tyk/keys", "")
	hidden.must(404, "GET", "/v1/keys", "")
}

func TestPoliciesOfKeys(t *testing.T) {
	f := newFixture(t)
	f.must(200, "POST", "/tyk/policies", `{"id":"gold","org_id":"acme","quota_max":10,"quota_renewal_rate":60,`+shopRights+`}`)
	f.must(200, "POST", "/tyk/policies", `{"id":"platinum","org_id":"acme","quota_max":20,"quota_renewal_rate":60,`+shopRights+`}`)
	token, id := f.create(`{"org_id":"acme","apply_policies":["gold"]}`)
	f.use(id, 4)
	if got := f.must(200, "GET", "/tyk/keys/"+token, ""); got.json(t, "quota_remaining") != 6.0 || got.json(t, "quota_max") != 10.0 {
		t.Errorf("got %s", got.body)
	}
	got := f.must(200, "POST", "/tyk/keys/policy/"+id, `{"apply_policies":["platinum"]}`)
	if got.json(t, "action") != "updated" || got.json(t, "key") != id {
		t.Errorf("got %s", got.body)
	}
	if got := f.must(200, "GET", "/tyk/keys/"+token, ""); got.json(t, "quota_remaining") != 16.0 {
		t.Errorf("other policies have not kept what was used: %s", got.body)
	}
	f.must(200, "POST", "/tyk/keys/policy/"+token, `{"policy":"gold"}`)

	// A policy that goes leaves the key readable, and of no use.
	f.must(200, "DELETE", "/tyk/policies/gold", "")
	if got := f.must(200, "GET", "/tyk/keys/"+token, ""); got.json(t, "apply_policy_id") != "gold" {
		t.Errorf("got %s", got.body)
	}
	f.must(400, "GET", "/v1/keys/"+token+"/limits", "")
	preview := f.must(200, "POST", "/tyk/keys/preview", `{"org_id":"acme","apply_policies":["platinum"],"hmac_string":"hush"}`)
	if preview.json(t, "quota_max") != 20.0 || strings.Contains(preview.body, "hush") {
		t.Errorf("got %s", preview.body)
	}
	if got := f.must(200, "GET", "/tyk/keys", "").json(t, "keys").([]any); len(got) != 1 {
		t.Errorf("a preview has been stored: %v", got)
	}
}

func TestLimitsOfKeys(t *testing.T) {
	f := newFixture(t)
	token, id := f.create(`{"org_id":"acme","rate":5,"per":60,"quota_max":100,"quota_renewal_rate":3600,
		"access_rights":{"shop":{"limit":{"quota_max":10,"quota_renewal_rate":60}},"other":{}}}`)
	f.use(id, 2)
	got := f.must(200, "GET", "/v1/keys/"+token+"/limits", "")
	limits := got.json(t, "limits").([]any)
	if len(limits) != 2 || !strings.Contains(got.body, `"api_id": "shop"`) || !strings.Contains(got.body, `"quota_remaining": 8`) ||
		!strings.Contains(got.body, `"quota_remaining": 98`) || !strings.Contains(got.body, `"requests": 5`) {
		t.Errorf("got %s", got.body)
	}
	shown := f.must(200, "GET", "/tyk/keys/"+token, "")
	if shown.json(t, "access_rights", "shop", "limit", "quota_remaining") != 8.0 || shown.json(t, "quota_remaining") != 98.0 {
		t.Errorf("got %s", shown.body)
	}
	f.must(200, "PUT", "/tyk/keys/"+token, shopSession) // the counters of limits that are gone begin anew too
	f.must(200, "PUT", "/tyk/keys/"+token+"?suppress_reset=1", `{"access_rights":{"shop":{"limit":{"quota_max":10,"quota_renewal_rate":60}}}}`)
	if got := f.must(200, "GET", "/tyk/keys/"+token, "").json(t, "access_rights", "shop", "limit", "quota_remaining"); got != 10.0 {
		t.Errorf("got %v", got)
	}
}

// The store keeps a key as its session, its APIs and the settings say, not as long as it may be used.
func TestKeptUntil(t *testing.T) {
	f := newFixture(t, func(k *config.KeySettings) { k.Lifetime = time.Hour })
	ends := func(session string) time.Duration {
		t.Helper()
		_, id := f.create(session)
		stored, err := f.state.Keys.Get(t.Context(), identity.Ref{Key: id, Hashed: true, AnyOrg: true})
		if err != nil {
			t.Fatal(err)
		}
		if stored.Ends.IsZero() {
			return 0
		}
		return time.Until(stored.Ends).Round(time.Minute)
	}
	past := time.Now().Add(-time.Hour).Unix()
	for session, want := range map[string]time.Duration{
		`{"org_id":"acme",` + shopRights + `}`:                                           time.Hour,
		`{"org_id":"acme","session_lifetime":7200,` + shopRights + `}`:                   2 * time.Hour,
		fmt.Sprintf(`{"org_id":"acme","expires":%d,%s}`, past, shopRights):               time.Hour,
		`{"org_id":"acme","post_expiry_action":"retain","expires":1,` + shopRights + `}`: 0,
	} {
		if got := ends(session); got != want {
			t.Errorf("%s: kept for %s, want %s", session, got, want)
		}
	}
}

func TestConcurrentUpdates(t *testing.T) {
	f := newFixture(t)
	token, _ := f.create(shopSession)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			f.do("PUT", "/tyk/keys/"+token, fmt.Sprintf(`{"alias":"a%d","tags":["a%d"],%s}`, i, i, shopRights))
		})
	}
	wg.Wait()
	got := f.must(200, "GET", "/tyk/keys/"+token, "")
	tags, _ := got.json(t, "tags").([]any)
	if len(tags) != 1 || tags[0] != got.json(t, "alias") {
		t.Errorf("the key is of two updates: %s", got.body)
	}
}

// Tokens in their base64 form, with what paths escape, name their key.
func TestEscapedTokens(t *testing.T) {
	f := newFixture(t)
	token := base64.StdEncoding.EncodeToString([]byte(`{"org":"acme","id":"a/b?c","h":"murmur64"}`))
	f.must(200, "POST", "/tyk/keys/"+url.PathEscape(token), shopSession)
	f.must(200, "GET", "/tyk/keys/"+url.PathEscape(token), "")
	f.must(200, "POST", "/tyk/keys/acme%2Fslash%20and", shopSession)
	if got := f.must(200, "GET", "/tyk/keys/acme%2Fslash%20and", ""); got.json(t, "org_id") != "acme" {
		t.Errorf("got %s", got.body)
	}
}
