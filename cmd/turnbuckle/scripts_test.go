package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// soaking reports whether tests run with their full numbers.
func soaking() bool { return os.Getenv("TURNBUCKLE_SOAK") != "" }

// limitByAddress is the definition of a token-protected API whose tokens are made by its pre hook, one for each address.
const limitByAddress = `{"api_id": "orders", "name": "Orders", "org_id": "acme", "use_standard_auth": true, "session_lifetime": 6,
  "auth_configs": {"authToken": {"auth_header_name": "x-tyk-authorization"}},
  "proxy": {"listen_path": "/orders/", "target_url": "http://${UP}/"},
  "version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}},
  "custom_middleware": {"driver": "otto", "pre": [{"name": "ipLimit", "path": "middleware/ipLimit.js"}]}}`

const ipLimit = `var ipLimit = new TykJS.TykMiddleware.NewMiddleware({});
ipLimit.NewProcessRequest(function (request, session) {
    var ip = request.Headers["X-Real-Ip"][0];
    request.SetHeaders["x-tyk-authorization"] = ip;
    var details = {
        "allowance": 100, "rate": 100, "per": 1, "expires": -1, "quota_max": 100, "quota_renews": 1406121006,
        "quota_remaining": 100, "quota_renewal_rate": ${RENEWAL},
        "access_rights": {"orders": {"api_name": "Orders", "api_id": "orders", "versions": ["Default"]}},
        "org_id": "another"
    };
    TykSetKeyData(ip, JSON.stringify(details), 1);
    return ipLimit.ReturnData(request);
});`

// TestLimitByAddress: what a script of Tyk's did for years it does word for word: it makes a key for each address, which
// limits the address, whatever it writes into counters and organisation on every request.
func TestLimitByAddress(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	renewal := "4"
	if soaking() {
		renewal = "60"
	}
	dir := folder(t, map[string]string{"apis/orders.json": limitByAddress, "middleware/ipLimit.js": ipLimit},
		map[string]string{"UP": up.address, "RENEWAL": renewal})
	g := startGateway(t, dir, nil)
	from := func(address string) int {
		t.Helper()
		return get(t.Context(), t, g.url+"/orders/x", "X-Real-Ip", address).status
	}
	for i := range 100 {
		if got := from("192.0.2.1"); got != 200 {
			t.Fatalf("request %d: %d", i+1, got)
		}
	}
	for range 3 {
		if got := from("192.0.2.1"); got != 403 {
			t.Errorf("over its quota: %d", got)
		}
	}
	if got := from("192.0.2.2"); got != 200 {
		t.Errorf("another address: %d", got)
	}
	key := "/tyk/keys/192.0.2.2?api_id=orders&org_id=acme"
	if got := g.control("GET", key); statusOf(got) != "200" || !strings.Contains(got, `"quota_max": 100`) {
		t.Errorf("the key of an address: %s", got)
	}
	for late := time.Now().Add(time.Minute); soaking() && time.Now().Before(late) && from("192.0.2.1") == 403; {
		<-time.After(time.Second)
	}
	until(t, "the renewal of the quota", func() bool { return from("192.0.2.1") == 200 })
	until(t, "the end of a key after session_lifetime", func() bool { return statusOf(g.control("GET", key)) == "404" })
}

// reply is what get returns.
type reply struct {
	status int
	header http.Header
	body   string
}

// get asks once, with a header field, on the connections that all tests share.
func get(ctx context.Context, t *testing.T, url, name, value string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	req.Header.Set(name, value)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return reply{}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

// Definitions of TestScriptBounds: each script is hostile in another way.
func hostileScripts() map[string]string {
	files := map[string]string{}
	for name, text := range map[string]string{
		"spin.js":   `exports.pre = () => { for (;;); };`,
		"spin.lua":  `function exports.pre() while true do end end`,
		"grow.js":   `exports.pre = () => { const all = []; for (;;) all.push(new Array(1e4).fill(1)); };`,
		"grow.lua":  `function exports.pre() local all = {} while true do all[#all + 1] = string.rep("x", 1e5) .. #all end end`,
		"deep.js":   `exports.pre = function f(x) { f(x); f(x); };`,
		"deep.lua":  `function exports.pre(x) local function f() return f() + 1 end f() end`,
		"throw.js":  `exports.pre = () => { throw { toString() { throw 1; } }; };`,
		"again.js":  `exports.pre = (x) => { const r = fetch("http://" + x.request.host + "/again-js/"); x.answer(r.status, {}, r.text()); };`,
		"again.lua": `function exports.pre(x) local r = fetch("http://" .. x.request.host .. "/again-lua/") x:answer(r.status, {}, r:text()) end`,
	} {
		base := strings.ReplaceAll(name, ".", "-")
		files["apis/"+name] = text
		files["apis/"+base+".yaml"] = fmt.Sprintf("listen: {path: /%s}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{script: %s, timeout: 500ms}]}\n", base, name)
	}
	return files
}

// TestScriptBounds: a script that goes over its bounds fails its own requests alone; others go on meanwhile, and the gateway
// goes on after it. One that does so again and again is not called any more for a while.
func TestScriptBounds(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	files := hostileScripts()
	files["apis/good.js"] = `exports.pre = (x) => x.answer(200, {}, "fine");`
	files["apis/good.yaml"] = "listen: {path: /good}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{script: good.js, timeout: 15s}]}\n"
	dir := folder(t, files, map[string]string{"UP": up.address})
	g := startGateway(t, dir, []string{"TURNBUCKLE_SCRIPTS_HEAP=48MiB"})
	// Of several that run while memory grows, the watch ends the one that has run longest, which may be one that only spins.
	statuses := map[string][]int{
		"spin-js": {504, 503}, "spin-lua": {504, 503}, "grow-js": {503, 504}, "grow-lua": {503, 504}, "deep-js": {503}, "deep-lua": {503, 504}, "throw-js": {503},
		"again-js": {503, 504}, "again-lua": {503, 504},
	}
	var hostile sync.WaitGroup
	for name, want := range statuses {
		hostile.Go(func() {
			got := get(t.Context(), t, g.url+"/"+name+"/", "X-Any", "x").status
			for _, w := range want {
				if got == w {
					return
				}
			}
			t.Errorf("%s: %d, want one of %v", name, got, want)
		})
	}
	for range 50 { // while they are held
		if got := get(t.Context(), t, g.url+"/good/", "X-Any", "x"); got.status != 200 || got.body != "fine" {
			t.Errorf("a good script meanwhile: %+v", got)
		}
	}
	hostile.Wait()
	until(t, "quarantine", func() bool {
		get(t.Context(), t, g.url+"/deep-js/", "X-Any", "x")
		return g.metric(`turnbuckle_script_quarantined\{script="deep-js/deep.js"\}`) == 1
	})
	if n := g.metric(`turnbuckle_script_quarantined\{.*\}`); n != 1 {
		t.Errorf("%v scripts are in quarantine", n)
	}
	if got := get(t.Context(), t, g.url+"/good/", "X-Any", "x"); got.status != 200 {
		t.Errorf("a good script afterwards: %+v", got)
	}
	until(t, "the end of every request", func() bool { return g.metric(`turnbuckle_requests_in_flight\{.*\}`) == 0 })
}

// TestScriptReloads: a script that changes under load is taken up without a failed request; goroutines and memory stay what
// they were.
func TestScriptReloads(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	script := func(n int) string {
		return fmt.Sprintf("exports.pre = (x) => { x.request.headers.set(\"X-Trail\", \"/pre\"); };\nexports.response = (x) => { x.response.headers.set(\"X-Version\", \"%d\"); };\n", n)
	}
	dir := folder(t, map[string]string{
		"apis/a.js":   script(0),
		"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{script: a.js, timeout: 15s}], response: [{script: a.js, timeout: 15s}]}\n",
	}, map[string]string{"UP": up.address})
	g := startGateway(t, dir, []string{"TURNBUCKLE_WATCH=false", "TURNBUCKLE_DRAIN_TIMEOUT=15s"})
	reloads := 25
	if soaking() {
		reloads = 1000
	}
	reload := func(n int) {
		t.Helper()
		write(t, filepath.Join(dir, "apis", "a.js"), script(n))
		if got := g.control("POST", "/v1/reload"); statusOf(got) != "200" {
			t.Fatalf("reload %d: %s", n, got)
		}
		if got := get(t.Context(), t, g.url+"/a/x", "X-Any", "x"); got.header.Get("X-Version") != fmt.Sprint(n) {
			t.Fatalf("reload %d: %+v", n, got)
		}
	}
	reload(1)
	before := g.goroutines()
	heap := g.liveHeap()
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() { askUntil(ctx, t, g.url) })
	}
	for n := 2; n <= reloads; n++ {
		reload(n)
	}
	stop()
	workers.Wait()
	g.atRest(before)
	if grown := g.liveHeap() - heap; grown > 16<<20 {
		t.Errorf("the heap has grown by %d KiB over %d reloads", int(grown)>>10, reloads)
	}
}

// liveHeap is how many bytes are in use after a collection.
func (g *served) liveHeap() float64 {
	g.t.Helper()
	_ = g.control("GET", "/debug/pprof/heap?gc=1&debug=1")
	return g.metric(`go_memstats_heap_alloc_bytes`)
}

// TestScriptShared: a hundred requests at once share one plugin, and none sees what another left.
func TestScriptShared(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"apis/a.js":   "exports.pre = (x) => { if (typeof seen !== \"undefined\") throw new Error(\"left: \" + seen); seen = x.request.headers.get(\"X-Me\"); x.answer(200, {}, seen + store.incr(\"n\")); };\n",
		"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\nhooks: {pre: [{script: a.js, timeout: 15s}]}\n",
		"apis/b.lua":  "function exports.pre(x) if seen then error(\"left: \" .. seen) end seen = x.request.headers:get(\"X-Me\") x:answer(200, nil, seen .. store.incr(\"n\")) end\n",
		"apis/b.yaml": "listen: {path: /b}\nupstream: {url: \"http://127.0.0.1:1\"}\nhooks: {pre: [{script: b.lua, timeout: 15s}]}\n",
	}, nil)
	g := startGateway(t, dir, nil)
	for _, path := range []string{"/a", "/b"} {
		var all sync.WaitGroup
		numbers := make([]string, 100)
		for i := range numbers {
			all.Go(func() {
				me := fmt.Sprintf("client-%d-", i)
				got := get(t.Context(), t, g.url+path, "X-Me", me)
				number, mine := strings.CutPrefix(got.body, me)
				if got.status != 200 || !mine {
					t.Errorf("%s: %+v", path, got)
				}
				numbers[i] = number
			})
		}
		all.Wait()
		seen := map[string]bool{}
		for _, n := range numbers {
			if seen[n] {
				t.Errorf("%s: the store counted %s twice", path, n)
			}
			seen[n] = true
		}
	}
}
