package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// patch changes settings and fails the test unless it is answered so.
func (g *served) patch(status, change string) string {
	g.t.Helper()
	got := ask(g.t, "-X", "PATCH", "-H", "Authorization: Bearer "+secret, "-d", change, g.admin+"/v1/settings")
	if statusOf(got) != status {
		g.t.Errorf("%s: got %s", change, got)
	}
	return got
}

// files is how many files and sockets the process has open.
func (g *served) files() int {
	g.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid()))
	if err != nil {
		g.t.Skip(err) // not on this system
	}
	return len(entries)
}

// TestSettingsChangeFailsNoRequest: requests run on kept connections and on new ones, through hooks, while settings of every
// kind change again and again, those of the listener among them. Afterwards nothing is left of the generations before.
func TestSettingsChangeFailsNoRequest(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": definition(up, 0)}, nil)
	for _, name := range []string{"one", "two"} {
		start(t, dir, environment("PLUGIN_NAME="+name), "plugin", "-listen", "unix:"+dir+"/"+name+".sock")
	}
	g := startGateway(t, dir, nil, "--dumpable") // who looks into it need not be root
	g.patch("200", `{"servers.default.address":"unix:`+dir+`/one.sock"}`)
	ask(t, g.url+"/a/x")
	before, open := g.goroutines(), g.files()
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() { askUntil(ctx, t, g.url) })
		workers.Go(func() { askAnew(ctx, t, g.url) })
	}
	changes := []string{
		`{"log.level":"debug"}`, `{"access_log":{"fields":["time","status"]}}`, `{"hooks":{"timeout":"9s"}}`, `{"rate_limits.headers":"none"}`,
		`{"servers.default.address":"unix:` + dir + `/two.sock"}`, `{"listen.max_body":"1MiB"}`, `{"listen.header_timeout":"9s"}`,
		`{"listen.h2c":false,"keys.min_length":4}`, `{"log":{"level":null},"access_log":null,"hooks":null,"listen":null,"keys":null,"rate_limits":null}`,
		`{"servers.default.address":"unix:` + dir + `/one.sock","hide_generator":true}`,
	}
	for i := range rounds() {
		g.patch("200", changes[i%len(changes)])
	}
	stop()
	workers.Wait()
	g.atRest(before)
	now := 0
	until(t, "the end of what the changes opened", func() bool { now = g.files(); return now <= open+slack })
	if n := g.metric(`turnbuckle_requests_total\{code="200",route="a"\}`); n < 100 {
		t.Errorf("counted %v requests: counters did not go on", n)
	}
}

// askAnew asks on a new connection each time; every one must get its reply.
func askAnew(ctx context.Context, t *testing.T, url string) {
	transport := &http.Transport{DisableKeepAlives: true}
	for n := 0; ctx.Err() == nil; n++ {
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/a/x", strings.NewReader("body"))
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("new connection %d: %v", n, err)
			return
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("new connection %d: %s", n, resp.Status)
			return
		}
	}
}

// TestStreamsAcrossSettingsChange: a reply that goes on when settings change has the drain timeout to end, then it is cut;
// what connects meanwhile meets the new settings at once. The listener's own settings keep to it, too.
func TestStreamsAcrossSettingsChange(t *testing.T) {
	t.Parallel()
	for _, change := range []string{`{"hide_generator":true}`, `{"listen.idle_timeout":"1m"}`} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			up := start(t, t.TempDir(), environment(), "upstream")
			dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n"}, map[string]string{"UP": up.address})
			g := startGateway(t, dir, []string{"TURNBUCKLE_DRAIN_TIMEOUT=400ms"})
			before := g.goroutines()
			ended := g.holdEvents(up)
			g.patch("200", change)
			if got := ask(t, g.url+"/a/x"); statusOf(got) != "200" {
				t.Errorf("after the change: %s", got)
			}
			ended()
			g.atRest(before)
		})
	}
}

// TestListenerTurnsToTLS: the data listener speaks TLS from a change on, on the same port; connections in the clear that
// were there end with their next reply.
func TestListenerTurnsToTLS(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://${UP}\"}\n"}, map[string]string{"UP": up.address})
	writeCert(t, dir, 1)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	g := startGateway(t, dir, nil)
	kept := &http.Transport{}
	defer kept.CloseIdleConnections()
	get := func() *http.Response {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", g.url+"/a/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := kept.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		buffer := make([]byte, 1<<16)
		for err == nil {
			_, err = resp.Body.Read(buffer)
		}
		return resp
	}
	if get().Close {
		t.Error("the connection is not kept")
	}
	g.patch("409", `{"listen":{"tls":{"cert":["`+key+`"],"key":["`+cert+`"]}}}`) // the wrong way round
	g.patch("200", `{"listen":{"tls":{"cert":["`+cert+`"],"key":["`+key+`"]}}}`)
	if resp := get(); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("on the kept connection: %s, close %v", resp.Status, resp.Close)
	}
	if got := ask(t, strings.Replace(g.url, "http:", "https:", 1)+"/a/x"); statusOf(got) != "200" {
		t.Errorf("over TLS: %s", got)
	}
}

// TestChangesSurviveKill: a change that was acknowledged is there after a crash at once.
func TestChangesSurviveKill(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\n"}, nil)
	p, err := launch(dir, environment(), "turnbuckle", "turnbuckle", "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", secret)
	if err != nil {
		t.Fatal(err)
	}
	crashing := &served{process: p, t: t, admin: "http://" + p.admin}
	crashing.patch("200", `{"listen.max_body":10}`)
	p.Kill()
	g := startGateway(t, dir, nil)
	if got := ask(t, "-X", "POST", "-d", "more than ten bytes", g.url+"/a/x"); statusOf(got) != "413" {
		t.Errorf("got %s", got)
	}
}

// TestTargetsStayDown: what is known of targets goes on over a change.
func TestTargetsStayDown(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {targets: [{url: \"http://127.0.0.1:1\"}, {url: \"http://127.0.0.1:2\"}], " +
		"ejection: {failures: 1, for: 10m}}\n"}, nil)
	g := startGateway(t, dir, nil)
	down := func() bool { return g.metric(`turnbuckle_upstream_target_up\{.*\}`) == 1 }
	until(t, "an ejection", func() bool { ask(t, g.url+"/a/x"); return down() })
	g.patch("200", `{"hide_generator":true}`)
	until(t, "the end of the upstream before", func() bool { return strings.Count(g.control("GET", "/v1/routes"), `"up": false`) == 1 })
	if !down() {
		t.Error("the target is up again")
	}
}

// TestAuditWhateverTheLevel: who may change settings cannot hide what they do behind the level of the log.
func TestAuditWhateverTheLevel(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"apis/a.yaml": "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\n"}, nil)
	g := startGateway(t, dir, nil)
	g.patch("200", `{"log.level":"error"}`)
	g.control("GET", "/v1/routes")
	until(t, "an audit line", func() bool { return strings.Contains(g.Stderr.String(), "path=/v1/routes") })
	if said := g.Stderr.String(); !strings.Contains(said, "path=/v1/settings") || !strings.Contains(said, "changed=log.level") {
		t.Errorf("the change itself is not told:\n%s", said)
	}
}
