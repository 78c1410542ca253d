package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
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
	for _, want := range []string{"apis/a.yaml:6", "additional properties 'tokn' not allowed", "missing property 'token'", "apis/b.yaml", `"never" is no duration`} {
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
