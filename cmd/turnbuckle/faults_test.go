package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// fault is one thing a plugin server can do wrong, and what the client gets.
type fault struct {
	hook, phase    string
	status, body   string
	timeout        string // of the hook; long unless the fault is to take time
	breaksSessions bool   // other calls on the stream fail with it
}

// definitions of an API for each fault, one with a hook that is fine, and one without any.
func faultFiles(faults []fault) map[string]string {
	files := map[string]string{
		"apis/plain.yaml": "listen: {path: /plain}\nupstream: {url: \"http://${UP}\"}\n",
		"apis/fine.yaml":  "listen: {path: /fine}\nupstream: {url: \"http://${UP}\"}\nhooks: {pre: [{hook: fine, timeout: 15s}]}\n",
	}
	for i, f := range faults {
		timeout := f.timeout
		if timeout == "" {
			timeout = "15s"
		}
		hook := fmt.Sprintf("{hook: %q, timeout: %s, body: {buffer: 64KiB}}", f.hook, timeout)
		files[fmt.Sprintf("apis/f%d.yaml", i)] = fmt.Sprintf(
			"listen: {path: /f%d}\nupstream: {url: \"http://${UP}\"}\nhooks: {%s: [%s]}\n", i, f.phase, hook)
	}
	return files
}

// hurt asks for each fault and checks that nothing else is harmed.
func hurt(t *testing.T, faults []fault, hostileFlags ...string) {
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, faultFiles(faults), map[string]string{"UP": up.address})
	socket := filepath.Join(dir, "p.sock")
	start(t, dir, environment(), append([]string{"hostile", "-listen", socket}, hostileFlags...)...)
	g := startGateway(t, dir, nil, "--plugin-server", "unix:"+socket)
	if got := ask(t, g.url+"/fine"); statusOf(got) != "200" || !strings.Contains(got, "X-Fine: yes") {
		t.Fatalf("before all: %s", got)
	}
	before := g.goroutines()
	for i, f := range faults {
		t.Run(f.phase+" "+f.hook, func(t *testing.T) {
			got := ask(t, "-d", "body", fmt.Sprintf("%s/f%d/x", g.url, i))
			if statusOf(got) != f.status || !strings.Contains(got, f.body) {
				t.Errorf("got %s, want %s with %q", got, f.status, f.body)
			}
			if strings.Contains(got, "Smuggled") {
				t.Errorf("a header was smuggled in: %s", got)
			}
			if got := ask(t, g.url+"/plain"); statusOf(got) != "200" {
				t.Errorf("a route without hooks: %s", got)
			}
			if f.breaksSessions {
				until(t, "a new session", func() bool { return statusOf(ask(t, g.url+"/fine")) == "200" })
			} else if got := ask(t, g.url+"/fine"); statusOf(got) != "200" {
				t.Errorf("another hook of the server: %s", got)
			}
		})
	}
	if strings.Contains(up.Stdout.String(), "muggled") {
		t.Errorf("the upstream saw a smuggled request:\n%s", up.Stdout)
	}
	g.atRest(before)
}

func TestHostileTykServer(t *testing.T) {
	t.Parallel()
	const failed, key = "Middleware error", "Key not authorised"
	hurt(t, []fault{
		{hook: "hang", phase: "pre", status: "500", body: failed, timeout: "100ms"},
		{hook: "garbage", phase: "pre", status: "500", body: failed},
		{hook: "truncated", phase: "post", status: "500", body: failed},
		{hook: "nothing", phase: "pre", status: "500", body: failed},
		{hook: "nil-request", phase: "pre", status: "200"}, // asks for no change
		{hook: "oversized", phase: "pre", status: "500", body: failed},
		{hook: "header-name", phase: "pre", status: "500", body: failed},
		{hook: "header-value", phase: "pre", status: "500", body: failed},
		{hook: "nul", phase: "pre", status: "500", body: failed},
		{hook: "bad-url", phase: "pre", status: "500", body: failed},
		{hook: "url-crlf", phase: "pre", status: "500", body: failed},
		{hook: "bad-method", phase: "pre", status: "500", body: failed},
		{hook: "many-headers", phase: "pre", status: "500", body: failed},
		{hook: "status=99", phase: "pre", status: "500", body: failed},
		{hook: "status=1000", phase: "pre", status: "500", body: failed},
		{hook: "status=-5", phase: "pre", status: "200"}, // not positive: the request goes on
		{hook: "unknown", phase: "pre", status: "500", body: failed},
		{hook: "response-crlf", phase: "response", status: "500", body: failed},
		{hook: "response-status", phase: "response", status: "500", body: failed},
		{hook: "response-nil", phase: "response", status: "500", body: failed},
		{hook: "garbage", phase: "response", status: "500", body: failed},
		{hook: "hang", phase: "auth", status: "403", body: key, timeout: "100ms"},
		{hook: "garbage", phase: "auth", status: "403", body: key},
		{hook: "header-value", phase: "auth", status: "403", body: key},
		{hook: "status=99", phase: "auth", status: "403", body: key},
		{hook: "nil-request", phase: "auth", status: "403", body: "Forbidden"},
		{hook: "fine", phase: "auth", status: "200", body: "X-Fine: yes"},
	})
}

func TestHostileNativeServer(t *testing.T) {
	t.Parallel()
	const failed = "Plugin unavailable"
	hurt(t, []fault{
		{hook: "hang", phase: "pre", status: "504", timeout: "100ms"},
		{hook: "unknown-ids", phase: "pre", status: "504", timeout: "100ms"},
		{hook: "garbage", phase: "pre", status: "503", body: failed, breaksSessions: true},
		{hook: "end", phase: "pre", status: "503", body: failed, breaksSessions: true},
		{hook: "abort", phase: "pre", status: "503", body: failed, breaksSessions: true},
		{hook: "twice", phase: "pre", status: "200", body: "X-Fine: yes"},
		{hook: "oversized", phase: "pre", status: "503", body: failed},
		{hook: "header-name", phase: "pre", status: "503", body: failed},
		{hook: "header-value", phase: "pre", status: "503", body: failed},
		{hook: "nul", phase: "pre", status: "503", body: failed},
		{hook: "bad-url", phase: "pre", status: "503", body: failed},
		{hook: "url-crlf", phase: "pre", status: "503", body: failed},
		{hook: "bad-method", phase: "pre", status: "503", body: failed},
		{hook: "no-effects", phase: "pre", status: "200"},
		{hook: "many-headers", phase: "pre", status: "503", body: failed},
		{hook: "answer-crlf", phase: "pre", status: "503", body: failed},
		{hook: "status=99", phase: "pre", status: "503", body: failed},
		{hook: "status=1000", phase: "pre", status: "503", body: failed},
		{hook: "status=-5", phase: "pre", status: "503", body: failed},
		{hook: "status=0", phase: "pre", status: "503", body: failed},
		{hook: "error=99", phase: "pre", status: "503", body: failed},
		{hook: "error=1000", phase: "pre", status: "503", body: failed},
		{hook: "unimplemented", phase: "pre", status: "503", body: failed},
		{hook: "garbage", phase: "auth", status: "503", body: failed, breaksSessions: true},
		{hook: "no-effects", phase: "auth", status: "401"},
		{hook: "header-value", phase: "response", status: "503", body: failed},
		{hook: "fine", phase: "auth", status: "200", body: "X-Fine: yes"},
	}, "-native")
}

// TestNoCredit: a server that takes no calls gets none, and requests do not wait past their deadline.
func TestNoCredit(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, faultFiles([]fault{{hook: "fine", phase: "pre", timeout: "100ms"}}), map[string]string{"UP": up.address})
	socket := filepath.Join(dir, "p.sock")
	p := start(t, dir, environment(), "hostile", "-native", "-no-credit", "-listen", socket)
	g := startGateway(t, dir, nil, "--plugin-server", "unix:"+socket)
	before := g.goroutines()
	for range 3 {
		if got := ask(t, g.url+"/f0"); statusOf(got) != "503" {
			t.Errorf("got %s, want 503", got)
		}
	}
	if got := ask(t, g.url+"/plain"); statusOf(got) != "200" {
		t.Errorf("a route without hooks: %s", got)
	}
	if strings.Contains(p.Stdout.String(), "called") {
		t.Error("the server was called without having granted credit")
	}
	g.atRest(before)
}

// TestNoAcknowledgement: a server that acknowledges what was never sent, and not what was, is sent nothing more. Its hooks
// time out, and nobody else's.
func TestNoAcknowledgement(t *testing.T) {
	t.Parallel()
	up := start(t, t.TempDir(), environment(), "upstream")
	dir := folder(t, faultFiles([]fault{{hook: "wrong-ack", phase: "pre", timeout: "100ms"}}), map[string]string{"UP": up.address})
	socket := filepath.Join(dir, "p.sock")
	start(t, dir, environment(), "hostile", "-native", "-listen", socket)
	g := startGateway(t, dir, nil, "--plugin-server", "unix:"+socket)
	before := g.goroutines()
	for range 3 {
		if got := ask(t, g.url+"/f0"); statusOf(got) != "504" {
			t.Errorf("got %s, want 504", got)
		}
		if got := ask(t, g.url+"/plain"); statusOf(got) != "200" {
			t.Errorf("a route without hooks: %s", got)
		}
	}
	g.atRest(before)
}

// TestHostileServerDies: the call that was under way fails, and a new process takes over.
func TestHostileServerDies(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"tyk": nil, "native": {"-native"}} {
		t.Run(name, func(t *testing.T) {
			up := start(t, t.TempDir(), environment(), "upstream")
			dir := folder(t, faultFiles([]fault{{hook: "die", phase: "pre"}, {hook: "die", phase: "auth"}}), map[string]string{"UP": up.address})
			args := append([]string{"hostile", "-listen", filepath.Join(dir, "p.sock")}, flags...)
			want := map[string][2]string{"tyk": {"500", "403"}, "native": {"503", "503"}}[name]
			var g *served
			for i := range want {
				p, err := launch(dir, environment(), "hostile", args...)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Kill)
				if g == nil {
					g = startGateway(t, dir, nil, "--plugin-server", "unix:"+args[2])
				}
				until(t, "a working hook", func() bool { return statusOf(ask(t, g.url+"/fine")) == "200" })
				if got := ask(t, fmt.Sprintf("%s/f%d", g.url, i)); statusOf(got) != want[i] {
					t.Errorf("got %s, want %s", got, want[i])
				}
				<-p.Ended()
				if got := ask(t, g.url+"/plain"); statusOf(got) != "200" {
					t.Errorf("a route without hooks: %s", got)
				}
			}
		})
	}
}
