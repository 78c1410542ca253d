package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestServeTykConf: a Tyk set-up is served as it is: its definitions, policies and settings, with variables before the file,
// and its ways with paths, keys and headers.
func TestServeTykConf(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{
		"tyk.conf": `{"listen_port": 1, "secret": "of the file", "app_path": "apps/", "hash_keys": true, "hide_generator_header": true,
			"policies": {"policy_source": "file", "policy_record_name": "policies.json"}, "rate_limit_response_headers": "rate_limits",
			"enable_analytics": true, "hash_key_function": "sha256"}`,
		"apps/shop.json": `{"api_id": "shop", "org_id": "acme", "name": "Shop", "auth": {"auth_header_name": "Authorization"}, "definition": {},
			"proxy": {"listen_path": "/shop", "target_url": "http://${UP}/", "strip_listen_path": true},
			"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}}`,
		"policies.json": `{"gold": {"org_id": "acme", "rate": 3, "per": 3600, "access_rights": {"shop": {"api_id": "shop", "versions": ["Default"]}}}}`,
	}, map[string]string{"UP": up.address})
	p := start(t, dir, environment("TYK_GW_SECRET="+secret, "TYK_GW_HASHKEYFUNCTION=murmur64"), "turnbuckle", "serve", "--tyk-conf", "tyk.conf",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
	url, admin := "http://"+p.address, "http://"+p.admin
	if got := ask(t, "-H", "X-Tyk-Authorization: of the file", admin+"/tyk/apis"); statusOf(got) != "403" {
		t.Errorf("the variable does not go before the file: %s", got)
	}
	made := ask(t, "-X", "POST", "-H", "X-Tyk-Authorization: "+secret, "-d", `{"org_id":"acme","apply_policies":["gold"]}`, admin+"/tyk/keys/create")
	key := regexp.MustCompile(`"key": "([^"]+)"`).FindStringSubmatch(made)
	if key == nil || !regexp.MustCompile(`"key_hash": "[0-9a-f]{16}"`).MatchString(made) {
		t.Fatalf("a key with a hash of 64 bits was to be made: %s", made)
	}
	for i, want := range []string{"X-Ratelimit-Remaining: 2", "X-Ratelimit-Remaining: 1", "X-Ratelimit-Remaining: 0", `"error": "Rate limit exceeded"`} {
		got := ask(t, "-H", "Authorization: "+key[1], url+"/shopping/x") // a path that begins with the listen path is the API's
		if !strings.Contains(strings.ToLower(got), strings.ToLower(want)) || strings.Contains(got, "X-Generator") {
			t.Errorf("request %d: want %q, got\n%s", i, want, got)
		}
	}
	if data, err := os.ReadDir(filepath.Join(dir, "data")); err != nil || len(data) == 0 {
		t.Errorf("keys are kept nowhere: %v %v", data, err)
	}
}
