package main

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// rounds is how often settings change in a test of what changes leave behind: each change is made several times, in a soak ten.
func rounds() int {
	if soaking() {
		return 100
	}
	return 30
}

// TestStateChangesFailNoRequest: requests of a key with a rate and a quota pass while the store, the way of counting, what
// keys are found by and where spans go change again and again. Each change that cannot work is refused, with the reason,
// and changes nothing. Afterwards nothing is left of the generations before: neither goroutines nor sockets.
func TestStateChangesFailNoRequest(t *testing.T) {
	t.Parallel()
	one, two := redistest.Start(t), redistest.Start(t)
	spans := &spanCollector{tokens: map[string]bool{}}
	collector := spans.serve(t, true)
	endpoint := strings.TrimPrefix(collector[1], "TURNBUCKLE_TRACING_ENDPOINT=")
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "id: a\norg: o\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\nauth: {all: [token]}\n"},
		map[string]string{"UP": up.address})
	write(t, filepath.Join(dir, "turnbuckle.yaml"), "store: {type: redis, redis: {addresses: ["+one.Addr+"], timeout: 1s}}\n")
	tokens := seedRedis(t, one.Addr, &identity.Session{OrgID: "o", Rate: 1e6, Per: 1, QuotaMax: 1e9, QuotaRenewalRate: 3600})
	g := startGateway(t, dir, nil, "--dumpable") // who looks into it need not be root
	archive := filepath.Join(dir, "archive")
	exported, err := spawn(dir, environment("TURNBUCKLE_ADMIN_URL="+g.admin, "TURNBUCKLE_ADMIN_SECRET="+secret), "export", "turnbuckle", "export", archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := exported.Wait(); err != nil {
		t.Fatal(err, exported.Stderr)
	}
	use := func(s *redistest.Server, more string) string {
		return `{"store.redis.addresses":["` + s.Addr + `"]` + more + `}`
	}
	g.patch("200", use(two, ""))
	for range 2 { // it is the same, however often it is restored
		if got := ask(t, "-X", "POST", "-H", "Authorization: Bearer "+secret, "-D", archive, g.admin+"/v1/import"); statusOf(got) != "200" || !strings.Contains(got, `"keys": 1`) {
			t.Fatalf("import into another Redis: %s", got)
		}
	}
	call := func() string { return ask(t, "-H", "Authorization: "+tokens[0], g.url+"/a/x") }
	if got := call(); statusOf(got) != "200" {
		t.Fatalf("the key that was imported: %s", got)
	}
	before, open := g.goroutines(), g.files()

	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() { callUntil(ctx, t, g.url, tokens[0]) })
	}
	changes := []string{
		`{"rate_limits.mode":"exact"}`, `{"rate_limits.mode":"distributed"}`, use(one, ""), `{"rate_limits.mode":"local"}`,
		`{"tracing":{"protocol":"http","endpoint":"` + endpoint + `"}}`, `{"keys.hash_fallback":["murmur64"]}`, `{"store.redis.pool":7}`,
		use(two, `,"rate_limits.mode":"distributed"`), `{"keys":null,"tracing":null}`, `{"store.redis.pool":null,"rate_limits":null}`,
	}
	refused := []string{
		use(one, `,"store.redis.username":"nobody","store.redis.password":"wrong"`), `{"store.redis.addresses":["127.0.0.1:1"]}`, `{"store.redis.master":"nobody"}`,
	}
	for i := range rounds() {
		g.patch("200", changes[i%len(changes)])
		if i == rounds()/2 {
			for _, change := range refused {
				if got := g.patch("409", change); !strings.Contains(got, "nothing has changed") || !strings.Contains(got, "redis") {
					t.Errorf("%s: the refusal does not say why:\n%s", change, got)
				}
			}
		}
	}
	stop()
	workers.Wait()
	g.patch("200", use(two, ""))
	if got := call(); statusOf(got) != "200" {
		t.Errorf("afterwards: %s", got)
	}
	g.atRest(before)
	now := 0
	until(t, "the end of what the changes opened", func() bool { now = g.files(); return now <= open+slack })
	if len(spans.tokens) == 0 {
		t.Error("no span was sent")
	}
	t.Logf("goroutines %d, %d before; files %d, %d before", g.goroutines(), before, now, open)
}

// callUntil sends one request after the other with a key, on one connection; every one must pass.
func callUntil(ctx context.Context, t *testing.T, url, token string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/a/x", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", token)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			return
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("request %d: %s, %v: %s", n, resp.Status, err, text)
			return
		}
	}
}

// TestCountsOutliveTheMode: what is used of a quota stays used when gateways begin to share it in another way, or to look
// for keys in another.
func TestCountsOutliveTheMode(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "org: o\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\nauth: {all: [token]}\n"},
		map[string]string{"UP": up.address})
	tokens := seedRedis(t, server.Addr, &identity.Session{OrgID: "o", QuotaMax: 4, QuotaRenewalRate: 3600})
	g := startGateway(t, dir, []string{"TURNBUCKLE_STORE_TYPE=redis", "TURNBUCKLE_STORE_REDIS_ADDRESSES=" + server.Addr})
	for _, step := range []struct{ change, status, with string }{
		{`{"log.level":"debug"}`, "200", "X-Ratelimit-Remaining: 3"},
		{`{"rate_limits.mode":"distributed"}`, "200", "X-Ratelimit-Remaining: 2"},
		{`{"keys.hash_fallback":["murmur32"]}`, "200", "X-Ratelimit-Remaining: 1"},
		{`{"rate_limits.mode":"exact"}`, "200", "X-Ratelimit-Remaining: 0"},
		{`{"rate_limits.mode":"distributed"}`, "403", "Quota exceeded"},
		{`{"rate_limits.mode":null}`, "403", "Quota exceeded"},
	} {
		g.patch("200", step.change)
		if got := ask(t, "-H", "Authorization: "+tokens[0], g.url+"/a/x"); statusOf(got) != step.status || !strings.Contains(got, step.with) {
			t.Errorf("after %s: want %s and %q, got\n%s", step.change, step.status, step.with, got)
		}
	}
}

// TestChangesFailNoControlRequest: keys are made and read while what they are kept by changes: what was asked of the
// generation before is answered by it.
func TestChangesFailNoControlRequest(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	dir := folder(t, map[string]string{"apis/a.yaml": "id: a\norg: o\nlisten: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\nauth: {all: [token]}\n"}, nil)
	write(t, filepath.Join(dir, "turnbuckle.yaml"), "store: {type: redis, redis: {addresses: ["+server.Addr+"]}}\n")
	g := startGateway(t, dir, nil)
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for ctx.Err() == nil {
				got := ask(t, "-X", "POST", "-H", "Authorization: Bearer "+secret, "-d", `{"org_id":"o","access_rights":{"a":{}}}`, g.admin+"/tyk/keys")
				if statusOf(got) != "200" {
					t.Errorf("a key could not be made: %s", got)
					return
				}
			}
		})
	}
	for i := range rounds() * 2 / 5 {
		g.patch("200", []string{`{"keys.hash_fallback":["murmur64"]}`, `{"store.redis.pool":7}`, `{"rate_limits.mode":"distributed"}`, `{"keys":null,"rate_limits":null,"store":null}`}[i%4])
	}
	stop()
	workers.Wait()
}
