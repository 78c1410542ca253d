package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/archive"
)

// result is what a command did.
type result struct {
	stdout, stderr string
	err            error
}

// runCommand runs a command against a control API.
func runCommand(t *testing.T, url, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr strings.Builder
	e := Env{
		Environ: []string{envURL + "=" + url, envSecret + "=hush"}, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr,
	}
	root := &cobra.Command{Use: "turnbuckle", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(Commands(e)...)
	root.SetArgs(args)
	root.SetOut(io.Discard)
	err := root.ExecuteContext(t.Context())
	return result{stdout.String(), stderr.String(), err}
}

// api answers every request with one reply, and remembers them.
type api struct {
	status   int
	header   http.Header
	body     string
	requests []string
	bodies   []string
	secrets  []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	a.requests = append(a.requests, r.Method+" "+r.RequestURI)
	a.bodies = append(a.bodies, string(body))
	a.secrets = append(a.secrets, r.Header.Get("Authorization"))
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (a *api) serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return s.URL
}

func TestCreateAsksFor(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, stdin   string
		args          []string
		request, body string
	}{
		{"nothing", "", nil, "POST /tyk/keys", `{}`},
		{"limits", "", []string{"--api", "shop,stock", "--rate", "1.5", "--per", "5m", "--quota", "10", "--quota-renewal", "1d", "--lifetime", "2h"},
			"POST /tyk/keys", `{"access_rights":{"shop":{"api_id":"shop"},"stock":{"api_id":"stock"}},"per":300,"quota_max":10,"quota_renewal_rate":86400,"rate":1.5,"session_lifetime":7200}`},
		{"rate in a second", "", []string{"--rate", "5"}, "POST /tyk/keys", `{"per":1,"rate":5}`},
		{"about it", "", []string{"--policy", "gold", "--alias", "a d a", "--org", "acme", "--tag", "x,y", "--meta", "plan=gold", "--hmac", "--inactive", "--expires", "2027-01-31"},
			"POST /tyk/keys", `{"alias":"a d a","apply_policies":["gold"],"expires":1801353600,"hmac_enabled":true,"is_inactive":true,"meta_data":{"plan":"gold"},"org_id":"acme","tags":["x","y"]}`},
		{"user", "", []string{"--user", "a/b", "--password-file", password}, "POST /tyk/keys/a%2Fb?username=true", `{"basic_auth_data":{"password":"correct horse"}}`},
		{"token", "", []string{"--token", "my key"}, "POST /tyk/keys/my%20key", `{}`},
		{"from standard input", `{"alias":"x","colour":"red","rate":1}`, []string{"--from", "-", "--alias", "y"}, "POST /tyk/keys", `{"alias":"y","colour":"red","rate":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &api{status: 200, body: `{"key":"k","status":"ok","action":"added"}`}
			got := runCommand(t, a.serve(t), tt.stdin, append([]string{"key", "create", "-q"}, tt.args...)...)
			if got.err != nil || got.stdout != "k\n" {
				t.Fatalf("got %+v", got)
			}
			if diff := cmp.Diff([]string{tt.request, tt.body, "Bearer hush"}, []string{a.requests[0], a.bodies[0], a.secrets[0]}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCommandsRefuse(t *testing.T) {
	a := &api{status: 200, body: `{}`}
	url := a.serve(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"key", "create", "--rate", "1", "--per", "0s"}, "--per"},
		{[]string{"key", "create", "--quota", "1", "--quota-renewal", "soon"}, "--quota-renewal"},
		{[]string{"key", "create", "--quota", "1", "--quota-renewal", "NaNd"}, "--quota-renewal"},
		{[]string{"key", "create", "--quota", "1", "--quota-renewal", "-1d"}, "--quota-renewal"},
		{[]string{"key", "create", "--expires", "2027-02-30"}, "--expires"},
		{[]string{"key", "create", "--user", "ada"}, "password-file"},
		{[]string{"key", "create", "--user", "ada", "--password-file", "-"}, "the password is empty"},
		{[]string{"key", "create", "--user", "ada", "--password-file", "/nowhere"}, "no such file"},
		{[]string{"key", "create", "--from", "-"}, "JSON object"},
		{[]string{"key", "create", "--json", "--quiet"}, "json quiet"},
		{[]string{"key", "show"}, "arg(s)"},
		{[]string{"key", "delete"}, "arg(s)"},
		{[]string{"key", "list", "--admin", "nonsense"}, "no URL"},
		{[]string{"key", "list", "--admin", "ftp://x"}, "no URL"},
		{[]string{"key", "list", "--admin-secret-file", "/nowhere"}, "no such file"},
		{[]string{"key", "list", "--admin-ca", "/nowhere"}, "no such file"},
		{[]string{"import", "/nowhere"}, "no such file"},
	} {
		if got := runCommand(t, url, "", tt.args...); got.err == nil || !strings.Contains(got.err.Error(), tt.want) {
			t.Errorf("%v: got %v, want it to hold %q", tt.args, got.err, tt.want)
		}
	}
	if len(a.requests) > 0 {
		t.Errorf("the control API was asked: %v", a.requests)
	}
}

func TestRepliesThatRefuse(t *testing.T) {
	elsewhere := &api{status: 200, body: `{"keys":[]}`}
	for _, tt := range []struct {
		name      string
		a         *api
		want, how string
	}{
		{"says why", &api{status: 400, body: `{"status":"error","message":"limit must be a number"}`}, "limit must be a number", ""},
		{"several problems", &api{status: 400, body: `{"status":"error","message":"x","problems":["one","two"]}`}, "refused:\n  one\n  two", ""},
		{"wrong secret", &api{status: 403, body: `{"message":"Attempted administrative access with invalid or missing key!"}`}, "does not know this secret", "--admin-secret-file"},
		{"a role too low", &api{status: 403, body: `{"message":"the token x has the role read"}`}, "the role read", ""},
		{"no control API", &api{status: 404, body: "Not Found"}, "404", "control listener"},
		{"leads elsewhere", &api{status: 307, header: http.Header{"Location": {elsewhere.serve(t)}}}, "307", "control listener"},
		{"no JSON", &api{status: 200, body: "<html>"}, "no reply of a control API", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runCommand(t, tt.a.serve(t), "", "key", "list")
			if got.err == nil || !strings.Contains(got.err.Error(), tt.want) || !strings.Contains(hint.Of(got.err), tt.how) || tt.how == "" && hint.Of(got.err) != "" {
				t.Errorf("got %v (%s)", got.err, hint.Of(got.err))
			}
		})
	}
	if len(elsewhere.requests) > 0 {
		t.Error("the secret was taken elsewhere")
	}
}

// What others wrote into a key does nothing to a terminal.
func TestListing(t *testing.T) {
	a := &api{status: 200, body: `{"keys":[{"id":"00","alias":"\u001b[31mred","rate":10,"per":60,"expires":1},{"id":"01","broken":true},{"id":"02","is_inactive":true}],"next":"c1"}`}
	got := runCommand(t, a.serve(t), "", "key", "list")
	if got.err != nil || strings.Contains(got.stdout, "\x1b") || !strings.Contains(got.stdout, "?[31mred") || !strings.Contains(got.stderr, "--cursor c1") {
		t.Errorf("got %+v", got)
	}
	for _, want := range []string{"10 in 1m0s", "expired", "unreadable", "inactive", "1970-01-01T00:00:01Z"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("%q is not in\n%s", want, got.stdout)
		}
	}
}

func TestExportArrivesWhole(t *testing.T) {
	var b bytes.Buffer
	w, err := archive.NewWriter(&b, archive.Header{Hashes: []string{"sha256"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Put(archive.Record{Kind: archive.KindKey, ID: "00ff", Session: json.RawMessage(`{}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := b.String()
	file := filepath.Join(t.TempDir(), "gateway.ndjson")
	good := &api{status: 200, body: whole}
	if got := runCommand(t, good.serve(t), "", "export", file); got.err != nil || !strings.Contains(got.stderr, "1 keys") {
		t.Fatalf("got %+v", got)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v %v", info, err)
	}
	if got := runCommand(t, good.serve(t), "", "export", "-"); got.err != nil || got.stdout != whole {
		t.Errorf("got %+v", got)
	}
	lacking := strings.Replace(whole, `"counts":{`, `"counts":{"unreadable":2,`, 1)
	if got := runCommand(t, (&api{status: 200, body: lacking}).serve(t), "", "export", "-"); got.err != nil || !strings.Contains(got.stderr, "left out 2 things") {
		t.Errorf("got %+v", got)
	}
	for _, cut := range []int{0, 10, len(whole) / 2, len(whole) - 40} {
		got := runCommand(t, (&api{status: 200, body: whole[:cut]}).serve(t), "", "export", file)
		if !errors.Is(got.err, archive.ErrFormat) {
			t.Errorf("cut after %d bytes: got %+v", cut, got)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != whole {
		t.Errorf("a failed export has changed the file: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("a failed export has left %v %v", entries, err)
	}
	bad := runCommand(t, good.serve(t), "", "export", filepath.Join(t.TempDir(), "no", "folder"))
	if !errors.Is(bad.err, os.ErrNotExist) {
		t.Errorf("got %+v", bad)
	}
}

func TestImportTells(t *testing.T) {
	a := &api{status: 200, body: `{"status":"ok","orgs":0,"apis":1,"policies":2,"keys":3,"ended":4,"kept":5,"message":"reload"}`}
	got := runCommand(t, a.serve(t), "archive", "import", "-", "--only", "api,key")
	if got.err != nil || !strings.Contains(got.stdout, "restored 0 organisations, 1 APIs, 2 policies, 3 keys") || !strings.Contains(got.stdout, "5 policies that stand in files") ||
		!strings.Contains(got.stdout, "4 keys whose time") || !strings.Contains(got.stderr, "reload") {
		t.Errorf("got %+v", got)
	}
	if a.requests[0] != "POST /v1/import?only=api%2Ckey" || a.bodies[0] != "archive" {
		t.Errorf("got %v %v", a.requests, a.bodies)
	}
}

func TestParseWhen(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"90m": now.Add(90 * time.Minute), "1.5d": now.Add(36 * time.Hour), "-1h": now.Add(-time.Hour),
		"2027-01-31": time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC), "2027-01-31T12:00:00+01:00": time.Date(2027, 1, 31, 11, 0, 0, 0, time.UTC),
	} {
		if got, err := parseWhen(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v %v, want %v", text, got, err, want)
		}
	}
}
