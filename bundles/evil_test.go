package bundles_test

import (
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// No evil bundle is accepted, and each is refused for its reason.
func TestCorpus(t *testing.T) {
	key, other := newKey(t, sign.Ed25519), newKey(t, sign.Ed25519)
	v := newVerifier(t, key)
	if _, err := v.Verify(bundles.Request{Name: "guard", Archive: bundlestest.Signed{}.Bytes(t, key, now())}); err != nil {
		t.Fatalf("the corpus starts from what is refused itself: %v", err)
	}
	cases := bundlestest.Corpus(t, key, other, now())
	for _, c := range cases {
		_, err := v.Verify(bundles.Request{Name: "guard", Archive: c.Data})
		if want := c.Want; want == "" {
			t.Errorf("%s: the case expects no code", c.Name)
		} else {
			wantCode(t, c.Name, err, want)
		}
	}
	if len(cases) < 150 {
		t.Errorf("%d cases, 150 are promised", len(cases))
	}
	t.Logf("%d cases", len(cases))
}
