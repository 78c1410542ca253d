package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
)

// Without a credential everything looks the same: what is there, what is not, whatever the method and the body.
func TestNoOracle(t *testing.T) {
	f := newFixture(t)
	token, id := f.create(shopSession)
	type reply struct{ status, body, header string }
	var first *reply
	for _, r := range f.routes {
		if r.Access == router.Open {
			continue
		}
		for _, method := range []string{r.Method, "PATCH", "OPTIONS"} {
			for _, header := range [][2]string{{"", ""}, {"X-Tyk-Authorization", secret + "2"}, {"Authorization", "Bearer x"}, {"Authorization", secret}, {"Authorization", "Bearer"}} {
				for _, path := range []string{strings.NewReplacer("{key}", token, "{api}", "shop").Replace(r.Path), "/tyk/nothing/" + token, "/"} {
					w := httptest.NewRecorder()
					q := httptest.NewRequest(method, path, strings.NewReader("{"))
					if header[0] != "" {
						q.Header.Set(header[0], header[1])
					}
					f.handler.ServeHTTP(w, q)
					got := reply{http.StatusText(w.Code), w.Body.String(), strings.Join(w.Header()["Allow"], "")}
					if first == nil {
						first = &got
					}
					if w.Code != 403 || got != *first || w.Header().Get("Content-Type") != "application/json" {
						t.Fatalf("%s %s with %v: got %d %+v, elsewhere %+v", method, path, header, w.Code, got, *first)
					}
				}
			}
		}
	}
	if !strings.Contains(first.body, `"message": "Attempted administrative access with invalid or missing key!"`) {
		t.Errorf("got %s", first.body)
	}
	if log := f.logged(); strings.Contains(log, token) || strings.Contains(log, secret) || !strings.Contains(log, "who=nobody") || !strings.Contains(log, id) {
		t.Errorf("the audit log tells too much, or too little:\n%.2000s", log)
	}
}

func TestRoles(t *testing.T) {
	f := newFixture(t)
	token, id := f.create(shopSession)
	for _, r := range f.routes {
		if r.Access != router.Writes {
			continue
		}
		path := strings.NewReplacer("{key}", token, "{api}", "shop", "{policy}", "gold", "{org}", "acme", "{profile}", "cmdline").Replace(r.Path)
		got := f.must(403, r.Method, path, "{}", "Authorization", "Bearer "+readToken)
		if message := got.json(t, "message").(string); !strings.Contains(message, "dashboard has the role read") {
			t.Errorf("%s %s: got %q", r.Method, r.Path, message)
		}
	}
	f.must(200, "GET", "/tyk/keys/"+token, "", "Authorization", "bearer "+readToken)
	f.must(200, "HEAD", "/v1/openapi.json", "", "X-Tyk-Authorization", readToken)
	f.must(200, "PUT", "/tyk/keys/"+token, shopSession, "Authorization", "Bearer "+writeToken)
	for _, want := range []string{
		"who=dashboard method=GET path=/tyk/keys/{key} ", "who=pipeline method=PUT path=/tyk/keys/{key} ", "who=admin.secret method=POST path=/tyk/keys ",
		"status=403 key=" + id, "status=200 key=" + id,
	} {
		if !strings.Contains(f.logged(), want) {
			t.Errorf("no audit line has %q", want)
		}
	}
	for _, hush := range []string{token, secret, readToken, writeToken} {
		if strings.Contains(f.logged(), hush) {
			t.Errorf("%q is in the audit log", hush)
		}
	}
}

func TestTokensWithoutSecret(t *testing.T) {
	if _, err := New(Options{Gateway: gateway{}}); err == nil || !strings.Contains(err.Error(), "--admin-secret-file") {
		t.Errorf("got %v", err)
	}
	f := newFixture(t)
	for _, empty := range []string{"", " "} {
		f.must(403, "GET", "/v1/routes", "", "X-Tyk-Authorization", empty)
		f.must(403, "GET", "/v1/routes", "", "Authorization", "Bearer "+empty)
	}
}

// One header that is right is enough, whatever the other is for; two that are wrong are not.
func TestEitherHeader(t *testing.T) {
	f := newFixture(t)
	f.must(200, "GET", "/v1/routes", "", "X-Tyk-Authorization", secret, "Authorization", "Bearer of-a-proxy")
	f.must(200, "GET", "/v1/routes", "", "X-Tyk-Authorization", "wrong", "Authorization", "Bearer "+secret)
	f.must(200, "GET", "/v1/routes", "", "X-Tyk-Authorization", secret, "Authorization", "Basic Zm9vOmJhcg==")
	f.must(403, "GET", "/v1/routes", "", "X-Tyk-Authorization", "wrong", "Authorization", "Bearer wrong")
	f.must(403, "PUT", "/tyk/policies/gold", "{}", "X-Tyk-Authorization", "wrong", "Authorization", "Bearer "+readToken)
}

func TestReloadAndCaches(t *testing.T) {
	f := newFixture(t)
	for i, path := range []string{"/tyk/reload", "/tyk/reload/", "/tyk/reload/?block=true", "/tyk/reload/group", "/tyk/reload/group/"} {
		if got := f.must(200, "GET", path, ""); got.json(t, "status") != "ok" || f.reloads != i+1 {
			t.Errorf("%s: got %s, %d reloads", path, got.body, f.reloads)
		}
	}
	f.must(200, "DELETE", "/tyk/cache/jwks", "")
	f.must(200, "DELETE", "/tyk/cache/jwks/shop", "")
	if f.keySets != 2 {
		t.Errorf("key sets were refreshed %d times", f.keySets)
	}
	f.must(200, "GET", "/debug/pprof/", "")
	f.must(200, "GET", "/debug/pprof/goroutine?debug=1", "")
}

// A store that is away is 503 in JSON, and said to be worth another try.
func TestStoreAway(t *testing.T) {
	f := newFixture(t)
	token, id := f.create(shopSession)
	archive := f.must(200, "GET", "/v1/export", "").body
	if err := f.opened.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/tyk/keys", ""}, {"GET", "/v1/keys", ""}, {"GET", "/tyk/keys/nobody", ""}, {"POST", "/tyk/keys", shopSession},
		{"PUT", "/tyk/keys/" + token, shopSession}, {"DELETE", "/tyk/keys/" + token, ""}, {"POST", "/tyk/keys/policy/" + id, `{"policy":"gold"}`},
		{"GET", "/tyk/policies", ""}, {"GET", "/tyk/policies/gold", ""}, {"POST", "/tyk/policies", `{"id":"gold"}`}, {"DELETE", "/tyk/policies/gold", ""},
		{"GET", "/tyk/org/keys", ""}, {"GET", "/tyk/org/keys/acme", ""}, {"POST", "/tyk/org/keys/acme", "{}"}, {"DELETE", "/tyk/org/keys/acme", ""},
		{"GET", "/v1/export", ""}, {"POST", "/v1/import", archive},
	} {
		got := f.do(r.method, r.path, r.body)
		if got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: got %d %s", r.method, r.path, got.status, got.body)
		}
	}
	f.must(200, "GET", "/hello", "")
	f.must(200, "GET", "/v1/routes", "")
}
