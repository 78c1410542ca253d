package admin

import (
	"errors"
	"strings"
	"testing"
)

// fakeBundles runs one bundle, which any policy with "strict" in it refuses.
func fakeBundles() *Bundles {
	return &Bundles{
		Status: func() any {
			return map[string]any{
				"require_signed": true, "decisions": map[string]int{"loaded": 2},
				"bundles": []any{map[string]any{"name": "acme/guard", "running": map[string]any{"name": "acme/guard", "ok": true}, "definitions": []string{"shop"}}},
			}
		},
		Would: func(policy []byte) (any, error) {
			if !strings.HasPrefix(string(policy), "{") {
				return nil, errors.New("the policy: not JSON")
			}
			ok := !strings.Contains(string(policy), "strict")
			return map[string]any{"bundles": []any{map[string]any{"name": "acme/guard", "ok": ok}}}, nil
		},
	}
}

func TestBundles(t *testing.T) {
	f := newFixture(t)
	if got := f.must(200, "GET", "/v1/bundles", ""); got.json(t, "require_signed") != true || !strings.Contains(string(got.body), `"shop"`) {
		t.Errorf("%s", got.body)
	}
	if got := f.must(200, "POST", "/v1/bundles/policy", `{"strict": 1}`); !strings.Contains(string(got.body), `"ok": false`) {
		t.Errorf("%s", got.body)
	}
	if got := f.must(400, "POST", "/v1/bundles/policy", `x`); !strings.Contains(string(got.body), "not JSON") {
		t.Errorf("%s", got.body)
	}
	f.must(400, "POST", "/v1/bundles/policy", "")
	before := f.reloads
	f.must(200, "POST", "/v1/bundles/reload", "")
	if f.reloads != before+1 {
		t.Errorf("%d reloads, there were %d before", f.reloads, before)
	}
}
