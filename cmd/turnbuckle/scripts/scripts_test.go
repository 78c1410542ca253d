package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	js.BoundPatterns()
	goleak.VerifyTestMain(m)
}

// opened is a Scripts that ends with the test, and a room in it.
func opened(t *testing.T, state State) (*Scripts, *Room) {
	t.Helper()
	s := New(slog.New(slog.DiscardHandler))
	settings := config.DefaultSettings()
	r := NewRoom(&settings, state)
	t.Cleanup(func() {
		if left := s.Status(); len(left) > 0 {
			t.Errorf("%d scripts are still open", len(left))
		}
		r.Close()
		s.Close()
	})
	return s, r
}

func lend(t *testing.T, s *Scripts, r *Room, owner Owner, c config.Script) host.Server {
	t.Helper()
	server, err := s.Get(t.Context(), r, owner, &c)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func identityOf(s host.Server) any { return s.(interface{ Identity() any }).Identity() }

// Whoever names the same script gets the same; what it is made of, and what it may require, makes it another.
func TestShared(t *testing.T) {
	s, r := opened(t, nil)
	dir := t.TempDir()
	lib := filepath.Join(dir, "lib.js")
	if err := os.WriteFile(lib, []byte(`exports.word = "one";`), 0o644); err != nil {
		t.Fatal(err)
	}
	c := config.Script{Name: "a.js", Language: config.JavaScript, Modules: dir, Sources: []config.ScriptSource{{Name: "a.js", Text: `
		const { word } = require("./lib");
		exports.pre = (x) => x.request.headers.set("Word", word);`}}}
	owner := Owner{Name: "shop/a.js", Org: "acme"}
	first, again := lend(t, s, r, owner, c), lend(t, s, r, owner, c)
	other := c
	other.Isolate = config.IsolateCall
	isolated, others := lend(t, s, r, owner, other), lend(t, s, r, Owner{Name: "shop/a.js", Org: "else"}, c)
	if err := os.WriteFile(lib, []byte(`exports.word = "another";`), 0o644); err != nil {
		t.Fatal(err)
	}
	changed := lend(t, s, r, owner, c)
	if identityOf(first) != identityOf(again) {
		t.Error("one script is two")
	}
	for name, one := range map[string]host.Server{"isolation": isolated, "organisation": others, "module": changed} {
		if identityOf(one) == identityOf(first) {
			t.Errorf("another %s is the same script", name)
		}
	}
	run := func(server host.Server) string {
		h, err := server.Hook(sdk.HookUse{Name: "pre", Phase: sdk.Pre, Route: &sdk.Route{ID: "shop"}})
		if err != nil {
			t.Fatal(err)
		}
		x, _ := coprocesstest.NewExchange()
		x.Begin(sdk.Pre, nil, false)
		if err := h.Handle(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		return x.Request().Header().Get("Word")
	}
	if a, b := run(first), run(changed); a != "one" || b != "another" {
		t.Errorf("got %q and %q", a, b)
	}
	if st := s.Status(); len(st) != 4 || st[0].Name != "shop/a.js" || st[0].Calls == 0 {
		t.Errorf("got %+v", st)
	}
	if list := s.List(); len(list) != 1 || list[0].Calls == 0 {
		t.Errorf("got %+v", list)
	}
	for _, one := range []host.Server{first, first, again, isolated, others, changed} { // a lease is given back once
		if err := one.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is wrong with a script is its error, and leaves nothing open.
func TestRefused(t *testing.T) {
	s, r := opened(t, nil)
	for _, tt := range []struct {
		c    config.Script
		want string
	}{
		{config.Script{Language: config.JavaScript, Sources: []config.ScriptSource{{Name: "a.js", Text: "exports.pre = ("}}}, `plugin "p": a.js:1`},
		{config.Script{Language: config.Lua, Sources: []config.ScriptSource{{Name: "a.lua", Text: "\nfunction"}}}, `plugin "p": a.lua`},
		{config.Script{Language: config.Lua, Modules: "/nowhere/at/all", Sources: []config.ScriptSource{{Name: "a.lua"}}}, "/nowhere/at/all"},
	} {
		if _, err := s.Get(t.Context(), r, Owner{Name: "p"}, &tt.c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

// world is a state of its own.
type world struct {
	db      store.Store
	callers *host.Callers
	limiter limit.Limiter
}

func (w *world) Store() (store.Store, error)     { return w.db, nil }
func (w *world) Callers() (*host.Callers, error) { return w.callers, nil }
func (w *world) Limiter() (limit.Limiter, error) { return w.limiter, nil }

// Keys that scripts make are their API's organisation's, last as long as its sessions, and their counters are not written.
func TestKeys(t *testing.T) {
	k, w := newKeys(t, identity.Lifetime{API: time.Hour})
	route := &sdk.Route{ID: "orders", Org: "acme"}
	ctx := t.Context()
	details := `{"rate": 100, "per": 1, "quota_max": 3, "quota_renewal_rate": 60, "quota_remaining": 0, "quota_renews": 1, "org_id": "else",
		"access_rights": {"orders": {"api_id": "orders", "versions": ["Default"]}}}`
	if _, err := k.GetKeyData(ctx, route, "192.0.2.1", "orders"); !errors.Is(err, script.ErrNoKey) {
		t.Errorf("before: %v", err)
	}
	if err := k.SetKeyData(ctx, route, "192.0.2.1", []byte(details), true); err != nil {
		t.Fatal(err)
	}
	caller, err := w.callers.Keys.Lookup(ctx, "acme", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := w.callers.Keys.Get(ctx, identity.Ref{Org: "acme", Key: "192.0.2.1"})
	if err != nil || time.Until(stored.Ends) < 59*time.Minute || time.Until(stored.Ends) > time.Hour {
		t.Errorf("it ends at %v, %v", stored.Ends, err)
	}
	use := func() bool {
		own := caller.Limits("orders")
		ask := limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: caller.ID, Scope: own.Scope}, Max: own.QuotaMax, Renewal: time.Minute}}}
		var v limit.Verdict
		if err := w.limiter.Take(ctx, &ask, &v); err != nil {
			t.Fatal(err)
		}
		return v.Passed()
	}
	left := func() float64 {
		data, err := k.GetKeyData(ctx, route, "192.0.2.1", "orders")
		var s map[string]any
		if err = errors.Join(err, json.Unmarshal(data, &s)); err != nil {
			t.Fatal(err)
		}
		n, _ := s["quota_remaining"].(float64)
		return n
	}
	if !use() || left() != 2 {
		t.Errorf("%v are left of 3 after one", left())
	}
	if err := k.SetKeyData(ctx, route, "192.0.2.1", []byte(details), true); err != nil || left() != 2 {
		t.Errorf("written again, its reset suppressed: %v, %v", left(), err)
	}
	if err := k.SetKeyData(ctx, route, "192.0.2.1", []byte(details), false); err != nil || left() != 3 {
		t.Errorf("written again: %v, %v", left(), err)
	}
	if err := k.SetKeyData(ctx, route, "192.0.2.1", []byte("[]"), true); err == nil {
		t.Error("what is no session is stored")
	}
	if _, err := k.GetKeyData(ctx, &sdk.Route{ID: "x", Org: "else"}, "192.0.2.1", "x"); !errors.Is(err, script.ErrNoKey) {
		t.Errorf("of another organisation: %v", err)
	}
}

func newKeys(t *testing.T, l identity.Lifetime) (*keys, *world) {
	t.Helper()
	db, err := bolt.Open(context.WithoutCancel(t.Context()), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	policies := identity.OpenPolicies(db)
	opened, err := identity.Open(t.Context(), db, policies, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limiter := local.Open(t.Context(), db.Counts(), local.Options{})
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := limiter.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := opened.Close(ctx); err != nil {
			t.Error(err)
		}
		policies.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{db: db, callers: &host.Callers{Keys: opened}, limiter: limiter}
	return &keys{w, l}, w
}
