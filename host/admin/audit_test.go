package admin

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
)

// The audit line says what was made or changed where the path does not.
func TestAuditTellsWhat(t *testing.T) {
	f := newFixture(t)
	_, id := f.create(shopSession)
	f.must(200, "POST", "/tyk/policies", `{"id":"gold","org_id":"acme"}`)
	f.must(200, "POST", "/tyk/apis", `{"id":"new","listen":{"path":"/new"},"upstream":{"url":"http://127.0.0.1:1"}}`)
	f.must(200, "PATCH", "/v1/settings", `{"log.level":"debug","strict":true}`)
	archive := f.must(200, "GET", "/v1/export", "").body
	f.must(200, "POST", "/v1/import", archive)
	for _, want := range []string{
		"method=POST path=/tyk/keys peer=192.0.2.1:1234 status=200 key=" + id + "\n", "path=/tyk/policies peer=192.0.2.1:1234 status=200 policy=gold org=acme\n",
		"path=/tyk/apis peer=192.0.2.1:1234 status=200 api=new\n", "path=/v1/settings peer=192.0.2.1:1234 status=200 changed=log.level",
		"path=/v1/export peer=192.0.2.1:1234 status=200 orgs=0 apis=1 policies=1 keys=1\n", "path=/v1/import peer=192.0.2.1:1234 status=200 orgs=0 apis=1 policies=1 keys=1\n",
	} {
		if !strings.Contains(f.logged(), want) {
			t.Errorf("no line has %q in\n%s", want, f.logged())
		}
	}
}

// Where ids are not hashed they are the keys: neither log nor events tell them. Nor do they tell a token that somebody takes
// for an id.
func TestAuditOfPlainKeys(t *testing.T) {
	const token = "5e9d9544a1dcd60001d0ed205e9d9544a1dcd60001d0ed20" // as one of Tyk's looks, hexadecimal throughout
	f := newFixture(t)
	f.must(404, "GET", "/tyk/keys/"+token+"?hashed=true", "")
	if strings.Contains(f.logged(), token) {
		t.Errorf("a token that was said to be an id is in the log:\n%s", f.logged())
	}
	keys, err := identity.Open(t.Context(), f.opened, f.state.Policies, identity.Options{Hash: keyid.Plain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	f.state.Keys = keys
	f.settings.Hash = config.KeyPlain
	f.remake(t, nil)
	f.must(200, "POST", "/tyk/keys/"+token+"?hashed=true", shopSession)
	f.must(200, "GET", "/tyk/keys/"+token+"?hashed=true", "")
	f.must(200, "DELETE", "/tyk/keys/"+token, "")
	made := f.must(200, "POST", "/tyk/keys", shopSession).json(t, "key").(string)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, hush := range []string{token, made} {
		if strings.Contains(f.log.String(), hush) {
			t.Errorf("a key is in the log:\n%s", f.log.String())
		}
		for _, e := range f.events {
			if e.Meta["Key"] == hush {
				t.Errorf("a key is in an event: %+v", e)
			}
		}
	}
}

// The audit has a log of its own: no level of the gateway's keeps its lines out.
func TestAuditOfItsOwn(t *testing.T) {
	f := newFixture(t)
	var audit bytes.Buffer
	f.remake(t, slog.New(slog.NewTextHandler(&audit, nil)))
	f.must(200, "GET", "/v1/routes", "")
	if !strings.Contains(audit.String(), "path=/v1/routes") || strings.Contains(f.logged(), "path=/v1/routes") {
		t.Errorf("got %q, and in the other log %q", audit.String(), f.logged())
	}
}

// remake makes the control API anew, from what the fixture has now.
func (f *fixture) remake(t *testing.T, audit *slog.Logger) {
	t.Helper()
	h, err := New(Options{
		Secret: secret, Gateway: f, State: f.state, KeySettings: f.settings, Log: slog.New(slog.NewTextHandler(f, nil)), Audit: audit,
		Definitions: func() []*config.Definition { return []*config.Definition{{ID: "shop", Org: "acme", Name: "Shop"}} },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.handler = h
}

// A line is written of a request that is cut, too.
func TestAuditOfPanic(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	h := router.New(router.Options{Secret: secret, Log: log, Routes: router.Table{
		{Method: "GET", Path: "/bad", Access: router.Reads, Serve: func(*router.Call) error { panic("bug") }},
	}})
	r := httptest.NewRequest("GET", "/bad", nil)
	r.Header.Set("X-Tyk-Authorization", secret)
	func() {
		defer func() { _ = recover() }()
		h.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if !strings.Contains(said.String(), "path=/bad") || !strings.Contains(said.String(), "status=500 cut=true") {
		t.Errorf("got %q", said.String())
	}
}
