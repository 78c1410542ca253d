package bundled_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

// No evil bundle loads, from a folder or a server: each is refused for its reason, the good one from before stays, nothing is
// recorded, and nothing of it is kept.
func TestCorpus(t *testing.T) {
	w := newWorld(t)
	other := must[sign.SecretKey](t)(sign.Generate(sign.Ed25519))
	good := bundlestest.Signed{Payload: func(m *manifest.Bundle) { m.Serial = 6 }}.Bytes(t, w.key, now()) // older than the evil ones
	var served []byte
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/guard.zip" {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = rw.Write(served)
	}))
	defer server.Close()
	overHTTP := w.settings()
	overHTTP.Base, overHTTP.Data = server.URL, w.path("data2")
	loaders := map[string]*bundled.Loader{"folder": w.open(w.settings()), "server": w.open(overHTTP)}
	put := func(data []byte) {
		served = data
		w.write("plugins/guard.zip", data)
	}
	put(good)
	for _, l := range loaders {
		must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))
	}
	before := [][]byte{must[[]byte](t)(os.ReadFile(w.path("data/trust.json"))), must[[]byte](t)(os.ReadFile(w.path("data2/trust.json")))}
	cached := must[[]os.DirEntry](t)(os.ReadDir(w.path("data2/bundles/sha256")))
	cases := bundlestest.Corpus(t, w.key, other, now())
	for _, c := range cases {
		put(c.Data)
		for from, l := range loaders {
			_, err := l.Load(t.Context(), "guard")
			wantCode(t, from+": "+c.Name, err, c.Want)
			if d := l.Check(t.Context(), "guard"); d.OK || d.Reason != c.Want || d.Advice == "" {
				t.Errorf("%s: %s: %+v", from, c.Name, d)
			}
		}
	}
	for from, l := range loaders {
		held := l.Held()
		if len(held) != 1 || !held[0].OK || held[0].Verdict.ArchiveSHA256 != bundlestest.SHA256(string(good)) {
			t.Errorf("%s: %+v", from, held)
		}
		refused := uint64(0)
		for reason, n := range l.Counts() {
			if reason != "loaded" {
				refused += n
			}
		}
		if refused != uint64(len(cases)) {
			t.Errorf("%s: %d of %d refusals are counted", from, refused, len(cases))
		}
	}
	for i, name := range []string{"data/trust.json", "data2/trust.json"} {
		if after := must[[]byte](t)(os.ReadFile(w.path(name))); string(after) != string(before[i]) {
			t.Errorf("%s: %s", name, after)
		}
	}
	if now := must[[]os.DirEntry](t)(os.ReadDir(w.path("data2/bundles/sha256"))); len(now) != len(cached) {
		t.Errorf("the cache went from %d to %d files", len(cached), len(now))
	}
	// Taken away, the good one still comes from the cache.
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	must[*bundles.Bundle](t)(loaders["server"].Load(ctx, "guard"))
}
