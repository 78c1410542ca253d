package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// logService takes what shippers post in lines, unless it is broken.
type logService struct {
	mu     sync.Mutex
	broken bool
	lines  []map[string]any
	paths  map[string]int
}

func (l *logService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	body, err := gzip.NewReader(r.Body)
	if err != nil || l.broken {
		http.Error(w, "broken", http.StatusServiceUnavailable)
		return
	}
	l.paths[r.URL.Path]++
	for lines := bufio.NewScanner(body); lines.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.lines = append(l.lines, line)
	}
}

func (l *logService) set(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = broken
}

func (l *logService) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// A definition turns a ready-made plugin on in three lines; two that say the same share it, a reload keeps it, and an outage
// outlives the gateway.
func TestReadyMadePlugin(t *testing.T) {
	t.Parallel()
	service := &logService{paths: map[string]int{}}
	sink := httptest.NewServer(service)
	defer sink.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer upstream.Close()
	const definition = `
listen: {path: /NAME}
upstream: {url: "${UPSTREAM}"}
use:
  - plugin: loggly
    config: {token: "env:TOKEN", endpoint: "${SINK}", send: {events: none}, batch: {wait: 20ms}, retry: {first: 20ms, max: 100ms}}
`
	dir := folder(t, map[string]string{
		"apis/a.yaml": strings.ReplaceAll(definition, "NAME", "a"), "apis/b.yaml": strings.ReplaceAll(definition, "NAME", "b"),
	}, map[string]string{"UPSTREAM": upstream.URL, "SINK": sink.URL})
	g := startGateway(t, dir, []string{"TOKEN=t0ken"})
	for _, path := range []string{"/a/1?token=s3cret", "/b/2", "/c"} {
		ask(t, g.url+path)
	}
	until(t, "two records", func() bool { return service.count() == 2 })
	if got := g.metric(`turnbuckle_builtin_total\{name="delivered",plugin="loggly"\}`); got != 2 {
		t.Errorf("delivered %v", got)
	}
	record, _ := json.Marshal(service.lines[0])
	for _, want := range []string{`"id":"a"`, `"path":"/a/1"`, `"query":"token=hidden"`, `"status":200`, `"by":"upstream"`} {
		if !strings.Contains(string(record), want) {
			t.Errorf("%s has no %s", record, want)
		}
	}
	if service.paths["/bulk/t0ken/tag/turnbuckle/"] == 0 {
		t.Errorf("posted to %v", service.paths)
	}
	if strings.Contains(g.Stderr.String(), "t0ken") {
		t.Error("the token is in the log")
	}

	service.set(true)
	g.control("POST", "/v1/reload")
	for range 10 {
		if status := statusOf(ask(t, g.url+"/a/")); status != "200" {
			t.Fatalf("status %s while nobody takes records", status)
		}
	}
	until(t, "an outage", func() bool { return g.metric(`turnbuckle_builtin_level\{name="up",plugin="loggly"\}`) == 0 })
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	spools, err := filepath.Glob(filepath.Join(dir, "data/plugins/loggly-*/*.seg"))
	if err != nil || len(spools) == 0 {
		t.Errorf("nothing is left on disk: %v", err)
	}
	before := service.count()
	service.set(false)
	g = startGateway(t, dir, []string{"TOKEN=t0ken"})
	until(t, "what was left", func() bool { return service.count() >= before+10 })
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "data/plugins/loggly-*/*.seg")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// What is wrong with a plugin's configuration is found before anything is opened, and says where it stands.
func TestReadyMadePluginRefused(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"apis/a.yaml": `
listen: {path: /a}
upstream: {url: "http://127.0.0.1:1"}
use:
  - plugin: loggly
    config: {tokn: x}
`, "apis/b.yaml": `
listen: {path: /b}
upstream: {url: "http://127.0.0.1:1"}
use: [{plugin: loggly, config: {token: s3cret, batch: {wait: never}}}]
`}, nil)
	p, err := spawn(dir, environment(), "turnbuckle", "turnbuckle", "check")
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // it finds problems
	out := p.Stdout.String() + p.Stderr.String()
	for _, want := range []string{"apis/a.yaml:6", `unknown key "tokn": did you mean "token"?`, "missing property 'token'", "apis/b.yaml", `"never" is no duration`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "s3cret") {
		t.Errorf("a secret is told:\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("check has made a folder")
	}
}

// classicAPI is a definition of Tyk's form, with keys of its own.
func classicAPI(id, more string) string {
	return strings.NewReplacer("ID", id, "MORE", more).Replace(`{"api_id": "ID", "name": "ID", "use_keyless": true, MORE
	"proxy": {"listen_path": "/ID", "target_url": "${UPSTREAM}", "strip_listen_path": true},
	"version_data": {"not_versioned": true, "versions": {"Default": {"name": "Default"}}}}`)
}

// Settings turn a plugin on for every API, of either form, and it runs once; an API can have none of it, or its own. A
// change of the settings in the running gateway holds at once, and no request fails.
func TestUseOfSettings(t *testing.T) {
	t.Parallel()
	service, own := &logService{paths: map[string]int{}}, &logService{paths: map[string]int{}}
	sink, ownSink := httptest.NewServer(service), httptest.NewServer(own)
	defer sink.Close()
	defer ownSink.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Got", fmt.Sprint(n))
		w.Header().Set("X-Id", r.Header.Get("X-Request-Id"))
	}))
	defer upstream.Close()
	const native = "listen: {path: /NAME}\nupstream: {url: \"${UPSTREAM}\"}\n"
	const quick = `send: {events: none}, batch: {wait: 20ms}`
	dir := folder(t, map[string]string{
		"turnbuckle.yaml": `
use:
  - plugin: correlation
  - plugin: loggly
    config: {token: "env:TOKEN", endpoint: "${SINK}", ` + quick + `}
`,
		"apis/a.yaml":   strings.ReplaceAll(native, "NAME", "a"),
		"apis/off.yaml": strings.ReplaceAll(native, "NAME", "off") + "use: [{plugin: loggly, enabled: false}]\n",
		"apis/own.yaml": strings.ReplaceAll(native, "NAME", "own") + `use: [{plugin: loggly, config: {token: other, endpoint: "${OWN}", ` + quick + `}}]` + "\n",
		"apis/tyk.json": classicAPI("tyk", ""),
		"apis/tykown.json": classicAPI("tykown",
			`"x-turnbuckle": {"use": [{"plugin": "loggly", "config": {"token": "other", "endpoint": "${OWN}", "send": {"events": "none"}, "batch": {"wait": "20ms"}}}]},`),
	}, map[string]string{"UPSTREAM": upstream.URL, "SINK": sink.URL, "OWN": ownSink.URL})
	g := startGateway(t, dir, []string{"TOKEN=t0ken"})
	large := strings.Repeat("x", 2<<20) // more than hooks of Tyk's form have read for them
	for _, path := range []string{"/a/", "/off/", "/own/", "/tyk/", "/tykown/"} {
		reply := ask(t, "-d", large, "-H", "Content-Type: text/plain", g.url+path)
		if statusOf(reply) != "200" || !strings.Contains(reply, "X-Got: 2097152") || strings.Contains(reply, "X-Id: \r") {
			t.Errorf("%s: %s", path, reply)
		}
	}
	until(t, "records", func() bool { return service.count() == 2 && own.count() == 2 })
	if got := g.control("GET", "/v1/routes"); strings.Count(got, `"loggly/Ship"`) != 4 {
		t.Errorf("routes do not tell of their observers: %s", got)
	}
	var plugins []struct {
		Plugin string
		Routes int
		Counts map[string]float64
	}
	reply := g.control("GET", "/v1/plugins")
	if err := json.Unmarshal([]byte(reply[strings.IndexByte(reply, '['):]), &plugins); err != nil {
		t.Fatalf("%v: %s", err, reply)
	}
	routes := map[string]int{}
	for _, p := range plugins {
		routes[fmt.Sprintf("%s of %d", p.Plugin, p.Routes)]++
		if p.Plugin == "loggly" && p.Counts["delivered"] != 2 {
			t.Errorf("%+v", p)
		}
	}
	if routes["correlation of 5"] != 1 || routes["loggly of 2"] != 2 || len(plugins) != 3 {
		t.Errorf("plugins are %+v", plugins)
	}

	change := func(patch string) string {
		return ask(t, "-X", "PATCH", "-H", "Authorization: Bearer "+secret, "-d", patch, g.admin+"/v1/settings")
	}
	change(`{"use": []}`)
	before := service.count()
	ask(t, g.url+"/a/")
	ask(t, g.url+"/own/")
	until(t, "the record of the API's own", func() bool { return own.count() == 3 })
	if service.count() != before {
		t.Error("records go where the settings no longer say")
	}
	if reply := change(`{"use": [{"plugin": "loggly", "config": {"token": "s3cret", "batch": {"wait": "never"}}}]}`); statusOf(reply) == "200" || !strings.Contains(reply, "batch.wait") {
		t.Errorf("a configuration that is wrong: %s", reply)
	}
	if got := g.control("GET", "/v1/settings"); strings.Contains(got, "t0ken") {
		t.Errorf("settings tell the token: %s", got)
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}

// What is wrong with a plugin for every API refuses the settings, once.
func TestUseOfSettingsRefused(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"turnbuckle.yaml": "use:\n  - plugin: loggly\n    config: {token: s3cret, batch: {wait: never}}\n",
		"apis/a.yaml":     "listen: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\n",
	}, nil)
	for _, command := range []string{"check", "serve"} {
		p, err := spawn(dir, environment(), "turnbuckle", "turnbuckle", command)
		if err != nil {
			t.Fatal(err)
		}
		if p.Wait() == nil {
			t.Errorf("%s goes on", command)
		}
		out := p.Stdout.String() + p.Stderr.String()
		if want := `turnbuckle.yaml:3:43: $.use[0].config.batch.wait: plugin "loggly": "never" is no duration`; strings.Count(out, want) != 1 {
			t.Errorf("%s: no %q, or more than once, in\n%s", command, want, out)
		}
		if strings.Contains(out, "s3cret") {
			t.Errorf("a secret is told:\n%s", out)
		}
	}
}
