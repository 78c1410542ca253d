package admin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
)

func TestPolicies(t *testing.T) {
	f := newFixture(t)
	if got := f.must(200, "GET", "/tyk/policies", ""); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("got %s", got.body)
	}
	made := f.must(200, "POST", "/tyk/policies", `{"org_id":"acme","rate":5,"per":1,"colour":"red",`+shopRights+`}`)
	id := made.json(t, "key").(string)
	if len(id) != 32 || made.json(t, "action") != "added" {
		t.Errorf("got %s", made.body)
	}
	if got := f.must(200, "GET", "/tyk/policies/"+id, ""); got.json(t, "colour") != "red" || got.json(t, "id") != id || got.json(t, "rate") != 5.0 {
		t.Errorf("got %s", got.body)
	}
	if got := f.must(200, "PUT", "/tyk/policies/"+id, `{"org_id":"acme","rate":6,"per":1}`); got.json(t, "action") != "modified" {
		t.Errorf("got %s", got.body)
	}
	f.must(200, "POST", "/tyk/policies/"+id+"?org_id=other", `{"rate":7,"per":1}`)
	f.must(400, "GET", "/tyk/policies/"+id, "")
	if got := f.must(200, "GET", "/tyk/policies/"+id+"?org_id=other", ""); got.json(t, "rate") != 7.0 {
		t.Errorf("got %s", got.body)
	}
	f.must(200, "DELETE", "/tyk/policies/"+id+"?org_id=other", "")
	f.must(200, "GET", "/tyk/policies/"+id, "")
	f.state.Policies.SetFiles([]*identity.Policy{{ID: "filed", OrgID: "acme"}})
	for _, r := range []struct {
		status             int
		method, path, body string
	}{
		{400, "PUT", "/tyk/policies/" + id, `{"id":"other"}`},
		{400, "PUT", "/tyk/policies/" + id + "?org_id=acme", `{"org_id":"other"}`},
		{400, "POST", "/tyk/policies", `{"id":"x","partitions":{"per_api":true,"quota":true}}`},
		{400, "POST", "/tyk/policies", `{"id":"` + strings.Repeat("x", 300) + `"}`},
		{400, "POST", "/tyk/policies", `nonsense`},
		{404, "GET", "/tyk/policies/nothing", ""},
		{404, "GET", "/tyk/policies/nothing?org_id=acme", ""},
		{404, "DELETE", "/tyk/policies/nothing", ""},
		{409, "DELETE", "/tyk/policies/filed", ""},
		{409, "PUT", "/tyk/policies/filed", `{"org_id":"acme"}`},
	} {
		f.must(r.status, r.method, r.path, r.body)
	}
	if got := f.must(200, "GET", "/tyk/policies", "").json(t).([]any); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	seen, cursor := 0, ""
	for range 10 {
		page := f.must(200, "GET", "/tyk/policies?limit=1&cursor="+cursor, "")
		seen += len(page.json(t, "policies").([]any))
		if cursor, _ = page.json(t, "next").(string); cursor == "" {
			break
		}
	}
	if seen != 2 || cursor != "" {
		t.Errorf("the pages have %d policies, and end at %q", seen, cursor)
	}
}

func TestOrganisations(t *testing.T) {
	f := newFixture(t)
	f.must(404, "PUT", "/tyk/org/keys/acme", `{"quota_max":5}`)
	f.must(200, "POST", "/tyk/org/keys/acme?reset_quota=1", `{"quota_max":5,"quota_remaining":3}`)
	f.must(200, "PUT", "/tyk/org/keys/acme", `{"quota_max":6,"org_id":"acme","quota_remaining":3}`)
	got := f.must(200, "GET", "/tyk/org/keys/acme", "")
	if got.json(t, "quota_max") != 6.0 || got.json(t, "org_id") != "acme" || got.json(t, "quota_remaining") != nil {
		t.Errorf("got %s", got.body)
	}
	f.must(400, "POST", "/tyk/org/keys/acme", `{"org_id":"other"}`)
	f.must(400, "POST", "/tyk/org/keys/acme", `[]`)
	f.must(200, "POST", "/tyk/org/keys/a%2Fb", `{}`)
	if got := f.must(200, "GET", "/tyk/org/keys", "").json(t, "keys").([]any); len(got) != 2 {
		t.Errorf("got %v", got)
	}
	f.must(200, "GET", "/tyk/org/keys?limit=1", "")
	f.must(200, "DELETE", "/tyk/org/keys/acme", "")
	f.must(404, "DELETE", "/tyk/org/keys/acme", "")
	f.must(404, "GET", "/tyk/org/keys/acme", "")
}

const classicAPI = `{"name":"Classic","api_id":"classic","org_id":"acme","use_keyless":true,"version_data":{"not_versioned":true},
	"proxy":{"listen_path":"/classic/","target_url":"http://127.0.0.1:1"}}`

func nativeAPI(id, path string) string {
	return `{"id":"` + id + `","listen":{"path":"` + path + `"},"upstream":{"url":"http://127.0.0.1:1"}}`
}

func TestDefinitions(t *testing.T) {
	f := newFixture(t)
	if got := f.must(200, "GET", "/tyk/apis", ""); strings.TrimSpace(got.body) != "[]" {
		t.Errorf("got %s", got.body)
	}
	made := f.must(200, "POST", "/tyk/apis", classicAPI)
	if made.json(t, "key") != "classic" || made.json(t, "action") != "added" || !strings.Contains(made.json(t, "message").(string), "/tyk/reload") {
		t.Errorf("got %s", made.body)
	}
	if text, err := os.ReadFile(filepath.Join(f.apis, "classic.json")); err != nil || string(text) != classicAPI {
		t.Errorf("got %q %v", text, err)
	}
	f.must(200, "POST", "/tyk/apis/native", nativeAPI("native", "/native"))
	named := f.must(200, "POST", "/tyk/apis", `{"listen":{"path":"/named"},"upstream":{"url":"http://127.0.0.1:1"}}`).json(t, "key").(string)
	if got := f.must(200, "GET", "/tyk/apis/"+named, ""); got.json(t, "id") != named {
		t.Errorf("got %s", got.body)
	}
	f.file("hand.yaml", "id: hand # a comment\nlisten: {path: /hand}\nupstream: {url: \"http://127.0.0.1:1\"}\n")
	f.file("broken.yaml", "id: broken\nlisten: [\n")
	f.file(".hidden.json", "{}")
	if got := f.must(200, "GET", "/tyk/apis/hand", ""); got.json(t, "listen", "path") != "/hand" {
		t.Errorf("got %s", got.body)
	}
	if got := f.must(200, "GET", "/tyk/apis", "").json(t).([]any); len(got) != 4 {
		t.Errorf("got %d definitions", len(got))
	}
	if got := f.must(200, "PUT", "/tyk/apis/native", nativeAPI("native", "/moved")); got.json(t, "action") != "modified" {
		t.Errorf("got %s", got.body)
	}
	f.must(200, "PUT", "/tyk/apis/native", `{"listen":{"path":"/moved"},"upstream":{"url":"http://127.0.0.1:2"}}`)
	before := listFolder(t, f.apis)
	for _, r := range []struct {
		status                      int
		method, path, body, message string
	}{
		{409, "POST", "/tyk/apis", classicAPI, "PUT /tyk/apis/classic"},
		{409, "PUT", "/tyk/apis/hand", nativeAPI("hand", "/hand"), "hand.yaml"},
		{404, "PUT", "/tyk/apis/nothing", nativeAPI("nothing", "/nothing"), "API not found"},
		{404, "GET", "/tyk/apis/nothing", "", "API not found"},
		{404, "DELETE", "/tyk/apis/nothing", "", "API not found"},
		{400, "PUT", "/tyk/apis/native", nativeAPI("other", "/x"), "must match"},
		{400, "POST", "/tyk/apis/x", nativeAPI("y", "/x"), "must match"},
		{400, "POST", "/tyk/apis", nativeAPI("x", "/hand"), "already that of API \"hand\""},
		{400, "POST", "/tyk/apis", nativeAPI("x", "/classic"), "already that of API \"classic\""},
		{400, "PUT", "/tyk/apis/native", nativeAPI("native", "/hand"), "already that of"},
		{400, "POST", "/tyk/apis", strings.Replace(nativeAPI("x", "/x"), `"upstream"`, `"upstreem"`, 1), "upstreem"},
		{400, "POST", "/tyk/apis", strings.Replace(nativeAPI("x", "/x"), "127.0.0.1:1", "refused:1", 1), "the target cannot be used"},
		{400, "PUT", "/tyk/apis/classic", strings.Replace(classicAPI, `"use_keyless"`, `"enable_batch_request_support":true,"use_keyless"`, 1), "batch"},
		{400, "POST", "/tyk/apis", nativeAPI("../x", "/x"), "an id has"},
		{400, "POST", "/tyk/apis", nativeAPI(".x", "/x"), "an id has"},
		{400, "POST", "/tyk/apis", nativeAPI("x-oas", "/x"), "an id has"},
		{400, "POST", "/tyk/apis", nativeAPI("CLASSIC", "/x"), "no file of that name"},
		{400, "POST", "/tyk/apis", `[]`, "object"},
		{400, "POST", "/tyk/apis", strings.Repeat("[", 9000), "object"},
		{400, "POST", "/tyk/apis", ``, "no body"},
		{413, "POST", "/tyk/apis", `"` + strings.Repeat("x", 1<<20) + `"`, "1048576"},
	} {
		got := f.must(r.status, r.method, r.path, r.body)
		if message, _ := got.json(t, "message").(string); !strings.Contains(message, r.message) {
			t.Errorf("%s %s: got %q, want it to hold %q", r.method, r.path, message, r.message)
		}
	}
	if after := listFolder(t, f.apis); after != before {
		t.Errorf("what was refused has left something:\n%s\n%s", before, after)
	}
	f.must(200, "DELETE", "/tyk/apis/hand", "")
	f.must(404, "GET", "/tyk/apis/hand", "")
	f.must(200, "POST", "/tyk/apis", nativeAPI("x", "/hand"))
}

func listFolder(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}
