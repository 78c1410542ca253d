package admin

import (
	"strings"
	"testing"
)

func TestExportAndImport(t *testing.T) {
	from, to := newFixture(t), newFixture(t)
	from.must(200, "POST", "/tyk/policies", `{"id":"gold","org_id":"acme","quota_max":10,"quota_renewal_rate":60,`+shopRights+`}`)
	from.must(200, "POST", "/tyk/org/keys/acme", `{"quota_max":6}`)
	from.must(200, "POST", "/tyk/apis", classicAPI)
	token, id := from.create(`{"org_id":"acme","alias":"ada","apply_policies":["gold"]}`)
	archive := from.must(200, "GET", "/v1/export", "")
	if !strings.Contains(archive.header.Get("Content-Disposition"), "attachment") || strings.Contains(archive.body, token) {
		t.Errorf("got %v %s", archive.header, archive.body)
	}
	got := to.must(200, "POST", "/v1/import", archive.body)
	if got.json(t, "keys") != 1.0 || got.json(t, "apis") != 1.0 || !strings.Contains(got.json(t, "message").(string), "reload") {
		t.Errorf("got %s", got.body)
	}
	shown := to.must(200, "GET", "/tyk/keys/"+token, "")
	if shown.json(t, "alias") != "ada" || shown.json(t, "quota_remaining") != 10.0 {
		t.Errorf("got %s", shown.body)
	}
	to.must(200, "GET", "/tyk/apis/classic", "")
	to.must(200, "GET", "/tyk/org/keys/acme", "")
	if got := to.must(200, "GET", "/tyk/keys", "").json(t, "keys").([]any); len(got) != 1 || got[0] != id {
		t.Errorf("got %v", got)
	}

	part := newFixture(t)
	if got := part.must(200, "POST", "/v1/import?only=org,policy", archive.body); got.json(t, "policies") != 1.0 || got.json(t, "keys") != 0.0 {
		t.Errorf("got %s", got.body)
	}
	part.must(404, "GET", "/tyk/apis/classic", "")
	part.must(400, "POST", "/v1/import?only=secrets", archive.body)
	part.must(400, "POST", "/v1/import", "")
	bad := strings.Replace(archive.body, `"file":"classic.json"`, `"file":"../classic.json"`, 1)
	refused := part.must(400, "POST", "/v1/import", bad)
	if problems, _ := refused.json(t, "problems").([]any); len(problems) != 1 {
		t.Errorf("got %s", refused.body)
	}
	part.must(404, "GET", "/tyk/keys/"+token, "")
}
