package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/folder"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/router"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/standing"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const (
	secret      = "s3cret-of-tests"
	readToken   = "token-that-reads"
	writeToken  = "token-that-writes"
	shopRights  = `"access_rights":{"shop":{"versions":["Default"]}}`
	shopSession = `{"org_id":"acme",` + shopRights + `}`
)

// fixture is a control API over a real store, and what it told.
type fixture struct {
	t        *testing.T
	handler  http.Handler
	routes   router.Table
	state    *State
	limiter  *local.Limiter
	opened   *bolt.Store
	apis     string // the folder of definitions
	schemas  *schemas
	reloads  int
	keySets  int
	mu       sync.Mutex
	log      bytes.Buffer
	events   []sdk.Event
	settings config.KeySettings
	changes  changes
}

func (f *fixture) Status() host.Status { return host.Status{Routes: []host.RouteStatus{}} }
func (f *fixture) Ready() (int, []byte) {
	return 200, []byte(`{"status":"pass"}`)
}
func (f *fixture) Hello() []byte { return []byte(`{"status":"pass"}`) }
func (f *fixture) Publish(e sdk.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

func (f *fixture) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

func (f *fixture) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// newFixture begins with an empty store, an API shop of organisation acme, and one of no organisation.
func newFixture(t *testing.T, change ...func(*config.KeySettings)) *fixture {
	t.Helper()
	f := &fixture{t: t, apis: filepath.Join(t.TempDir(), "apis"), schemas: loadSchemas(t)}
	f.settings = config.DefaultSettings().Keys
	for _, c := range change {
		c(&f.settings)
	}
	var err error
	if f.opened, err = bolt.Open(t.Context(), filepath.Join(t.TempDir(), "data"), bolt.Options{}); err != nil {
		t.Fatal(err)
	}
	policies := identity.OpenPolicies(f.opened)
	keys, err := identity.Open(t.Context(), f.opened, policies, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.limiter = local.Open(t.Context(), f.opened.Counts(), local.Options{})
	f.state = &State{Store: f.opened, Keys: keys, Policies: policies, Limiter: f.limiter}
	t.Cleanup(func() {
		_ = f.limiter.Close(context.WithoutCancel(t.Context())) // closed already where a test has the store go away
		_ = keys.Close(context.WithoutCancel(t.Context()))
		policies.Close()
		_ = f.opened.Close()
	})
	served := []*config.Definition{{ID: "shop", Org: "acme", Name: "Shop"}, {ID: "plain"}}
	o := Options{
		Secret: secret, Gateway: f, Servers: func() any { return []string{} }, Scripts: func() any { return []string{} }, Plugins: func() any { return []string{} },
		Bundles: fakeBundles(), ReplaceServer: func(context.Context, string) error { return nil }, State: f.state, KeySettings: f.settings,
		Tokens: map[string]config.AdminToken{
			"dashboard": {Token: readToken, Role: config.RoleRead}, "pipeline": {Token: writeToken, Role: config.RoleWrite},
		},
		Definitions: func() []*config.Definition { return served },
		Folder: folder.New(folder.Options{
			Dir: f.apis, Loader: config.Loader{Classic: tyk.New(tyk.Options{}), WorkDir: filepath.Dir(f.apis)}, Check: checkTarget,
		}),
		Reload:         func(context.Context) error { f.reloads++; return nil },
		ReloadGroup:    func(context.Context) error { f.reloads++; return nil },
		RefreshKeySets: func() { f.keySets++ },
		Settings:       &f.changes,
		Metrics:        http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Log:            slog.New(slog.NewTextHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if f.handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	a, err := newAPI(o)
	if err != nil {
		t.Fatal(err)
	}
	f.routes = a.routes()
	return f
}

// checkTarget refuses, like a compiler would, what can be read but not served.
func checkTarget(_ context.Context, d *config.Definition) config.Problems {
	if strings.Contains(d.Upstream.Targets[0].URL, "refused") {
		return config.Problems{{Severity: config.SeverityError, Message: "the target cannot be used"}}
	}
	return nil
}

// response is a reply that has been read.
type response struct {
	status int
	header http.Header
	body   string
}

// json returns a field of the reply, by the keys that lead to it; nil when it is not there.
func (r response) json(t *testing.T, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("not JSON: %v in %s", err, r.body)
	}
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// do sends a request with the secret, or with other headers, and holds the reply to the OpenAPI document.
func (f *fixture) do(method, target, body string, header ...string) response {
	f.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	if len(header) == 0 {
		header = []string{"X-Tyk-Authorization", secret}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	got := response{w.Code, w.Header(), w.Body.String()}
	f.schemas.validate(f.t, r, got)
	return got
}

// must is do for what has to end with a status.
func (f *fixture) must(status int, method, target, body string, header ...string) response {
	f.t.Helper()
	got := f.do(method, target, body, header...)
	if got.status != status {
		f.t.Fatalf("%s %s: got %d %s, want %d", method, target, got.status, got.body, status)
	}
	return got
}

// create makes a key and returns its token and its id.
func (f *fixture) create(session string) (token, id string) {
	f.t.Helper()
	got := f.must(200, "POST", "/tyk/keys", session)
	token, _ = got.json(f.t, "key").(string)
	id, _ = got.json(f.t, "key_hash").(string)
	if token == "" || id == "" {
		f.t.Fatalf("no key in %s", got.body)
	}
	return token, id
}

func (f *fixture) file(name, text string) {
	f.t.Helper()
	if err := os.MkdirAll(f.apis, 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.apis, name), []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// use makes n requests of a key with its limits.
func (f *fixture) use(id string, n int) {
	f.t.Helper()
	caller, err := f.state.Keys.LookupID(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	var v limit.Verdict
	for range n {
		ask := limit.Ask{}
		for _, b := range standing.Buckets(caller) {
			ask.Quotas = append(ask.Quotas, limit.QuotaBucket{
				Key: limit.Key{Owner: id, Scope: b.Limits.Scope}, Max: b.Limits.QuotaMax, Renewal: time.Duration(b.Limits.QuotaRenewal) * time.Second,
			})
		}
		if err := f.limiter.Take(f.t.Context(), &ask, &v); err != nil || !v.Passed() {
			f.t.Fatalf("a request was not let pass: %v", err)
		}
	}
}

// schemas are those of the OpenAPI document.
type schemas struct {
	operations router.Table
	document   map[string]any
	compiler   *jsonschema.Compiler
	mu         sync.Mutex
}

func loadSchemas(t *testing.T) *schemas {
	t.Helper()
	text, err := openapiDocument()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s := &schemas{document: document.(map[string]any), compiler: jsonschema.NewCompiler()}
	if err := s.compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	for path, item := range s.document["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			s.operations = append(s.operations, router.Route{Method: strings.ToUpper(method), Path: path})
		}
	}
	return s
}

// validate holds a reply to what the document says of its operation and status. What no operation answers has to be an
// Error.
func (s *schemas) validate(t *testing.T, r *http.Request, got response) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	pointer, media := "/components/schemas/Error", "application/json"
	found, _, _ := s.operations.Find(r.Method, r.URL.EscapedPath())
	if found != nil && got.status != http.StatusMethodNotAllowed {
		pointer, media = s.schema(t, found, got.status)
	}
	if mediaType, _, _ := strings.Cut(got.header.Get("Content-Type"), ";"); media == "application/json" && mediaType != media {
		t.Errorf("%s %s: got %q, want %q", r.Method, r.URL.Path, mediaType, media)
	}
	if media != "application/json" {
		return
	}
	compiled, err := s.compiler.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatalf("%s: %v", pointer, err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	if err != nil {
		t.Fatalf("%s %s: not JSON: %v in %.200s", r.Method, r.URL.Path, err, got.body)
	}
	if err := compiled.Validate(value); err != nil {
		t.Errorf("%s %s: %d %.300s is not as the document says: %v", r.Method, r.URL.Path, got.status, got.body, err)
	}
}

// schema finds where the document describes a reply, and its media type.
func (s *schemas) schema(t *testing.T, r *router.Route, status int) (pointer, media string) {
	t.Helper()
	item := s.document["paths"].(map[string]any)[r.Path].(map[string]any)[strings.ToLower(r.Method)].(map[string]any)
	code := http.StatusText(status)
	responses := item["responses"].(map[string]any)
	reply, ok := responses[strconv.Itoa(status)].(map[string]any)
	if !ok {
		t.Fatalf("%s %s: status %d (%s) is not in the document", r.Method, r.Path, status, code)
	}
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(r.Path)
	pointer = "/paths/" + escaped + "/" + strings.ToLower(r.Method) + "/responses/" + strconv.Itoa(status)
	if ref, ok := reply["$ref"].(string); ok {
		pointer = strings.TrimPrefix(ref, "#")
		reply = s.document["components"].(map[string]any)["responses"].(map[string]any)[strings.TrimPrefix(ref, "#/components/responses/")].(map[string]any)
	}
	for name := range reply["content"].(map[string]any) {
		media = name
	}
	return pointer + "/content/" + strings.ReplaceAll(media, "/", "~1") + "/schema", media
}
