package admin

import (
	"strings"
	"testing"
)

// A chosen key that is posted again without its organisation is the same key: it keeps what the request does not say, and what
// happens to it is that it was updated.
func TestPostAgain(t *testing.T) {
	f := newFixture(t)
	session := `{"hmac_enabled":true,` + shopRights + `}`
	first := f.must(200, "POST", "/tyk/keys/chosen", session)
	if made, _ := first.json(t, "hmac_string").(string); first.json(t, "key") != "acmechosen" || made == "" {
		t.Fatalf("got %s", first.body)
	}
	again := f.must(200, "POST", "/tyk/keys/chosen", session)
	if again.json(t, "hmac_string") != nil || again.json(t, "key") != "acmechosen" || again.json(t, "action") != "added" {
		t.Errorf("got %s: the secret was to stay", again.body)
	}
	f.must(200, "POST", "/tyk/keys/eve?username=true", `{"basic_auth_data":{"password":"correct horse"},`+shopRights+`}`)
	f.must(200, "POST", "/tyk/keys/eve?username=true", `{"alias":"Eve",`+shopRights+`}`) // her password stays
	var happened []string
	for _, e := range f.events {
		happened = append(happened, e.Type)
	}
	if got := strings.Join(happened, " "); got != "TokenCreated TokenUpdated TokenCreated TokenUpdated" {
		t.Errorf("got %s", got)
	}
}

// A token that no request could be found by is not made.
func TestTooLongAToken(t *testing.T) {
	f := newFixture(t)
	f.must(400, "POST", "/tyk/keys/"+strings.Repeat("x", 16<<10), shopSession)
	f.must(400, "POST", "/tyk/keys/"+strings.Repeat("x", 20<<10)+"?username=true", `{"basic_auth_data":{"password":"correct horse"},`+shopRights+`}`)
	if got := f.must(200, "GET", "/v1/keys", "").json(t, "keys").([]any); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	whole := f.must(200, "POST", "/tyk/keys/"+strings.Repeat("x", 4000), shopSession).json(t, "key").(string)
	f.must(200, "GET", "/tyk/keys/"+whole, "")
	f.must(200, "DELETE", "/tyk/keys/"+whole, "")
}

// A definition that gets its id from the path, or a new one, is read as strictly as another.
func TestDefinitionsWithoutID(t *testing.T) {
	f := newFixture(t)
	twice := `{"listen":{"path":"/x"},"listen":{"path":"/z"},"upstream":{"url":"http://127.0.0.1:1"}}`
	for _, path := range []string{"/tyk/apis", "/tyk/apis/x"} {
		if got := f.must(400, "POST", path, twice); !strings.Contains(got.body, "twice") {
			t.Errorf("%s: got %s", path, got.body)
		}
	}
	f.must(200, "POST", "/tyk/apis/x", strings.Replace(twice, `"listen":{"path":"/z"},`, "", 1))
	f.must(400, "PUT", "/tyk/apis/x", twice)
	for _, deep := range []string{strings.Repeat("[", 1000), `{"config":` + strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 101)} {
		if got := f.must(400, "POST", "/tyk/apis", deep); !strings.Contains(got.body, "deep") {
			t.Errorf("got %s", got.body)
		}
	}
}
