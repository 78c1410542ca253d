// Package nativepython_test runs the Python server of this folder behind the gateway.
package nativepython_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
)

// Program, stubs and packages are made ready once.
func TestPlugin(t *testing.T) {
	f := prepare(t)
	t.Run("hooks", f.hooks)
	t.Run("held call", f.heldCall)
	t.Run("ended call", f.endedCall)
	t.Run("gateway stops", f.gatewayStops)
	t.Run("rolling restart", f.rollingRestart)
	t.Run("takeover", f.takeover)
	t.Run("drained", f.drained)
	t.Run("killed", f.killed)
}

// fixture is what every test here needs: programs, stubs, and a socket's path.
type fixture struct {
	python, program, stubs, socket, script, definition string

	wrap []string // what the gateway's command stands behind
}

func prepare(t *testing.T) fixture {
	t.Helper()
	python := gatewaytest.Python(t, "requirements.txt")
	program := gatewaytest.Program(t)
	script, err := filepath.Abs("server.py")
	if err != nil {
		t.Fatal(err)
	}
	definition, err := os.ReadFile("native.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stubs := gatewaytest.Stubs(t, python, gatewaytest.Export(t, program), "plugin/v1/*.proto")
	return fixture{python: python, program: program, stubs: stubs, script: script, definition: string(definition)}
}

// socket returns a path for a socket, which must be short.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "turnbuckle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// plugin starts an instance of the plugin server on the socket.
func (f fixture) plugin(t *testing.T) *gatewaytest.Process {
	t.Helper()
	return f.listen(t, "unix:"+f.socket)
}

func (f fixture) listen(t *testing.T, address string, more ...string) *gatewaytest.Process {
	t.Helper()
	p, _ := gatewaytest.Start(t, "server.py", `^listening on (\S+)$`, []string{"PYTHONPATH=" + f.stubs, "PYTHONDONTWRITEBYTECODE=1"},
		append([]string{f.python, f.script, "--listen", address}, more...)...)
	return p
}

// gateway serves a definition with the server on the socket.
func (f fixture) gateway(t *testing.T, definition string) *gatewaytest.Gateway {
	t.Helper()
	return f.serve(t, "unix:"+f.socket, definition)
}

func (f fixture) serve(t *testing.T, server, definition string) *gatewaytest.Gateway {
	t.Helper()
	up := gatewaytest.Upstream(t)
	return gatewaytest.Serve(t, gatewaytest.Config{
		Program: f.program, Server: server, Wrap: f.wrap,
		APIs: map[string]string{"native.yaml": strings.ReplaceAll(definition, "http://127.0.0.1:9000", up.URL)},
	})
}

const key = "Authorization: open-sesame"

func (f fixture) hooks(t *testing.T) {
	f.socket = socket(t)
	plugin := f.plugin(t)
	g := f.gateway(t, f.definition)

	seen := g.Do(t, "POST", "/native/old/x?a=1", "body", key, "X-Many: 1", "X-Many: 2", "X-Remove: me", "X-Edit: append").Seen(t)
	if seen.URI != "/new/x?b=2" || string(seen.Body) != "body+native" {
		t.Errorf("the upstream saw %s with %q", seen.URI, seen.Body)
	}
	want := http.Header{
		"X-Greeting": {"hello " + strings.TrimPrefix(g.URL, "http://")}, "X-Many": {"1", "2", "3"}, "X-Remove": nil,
		"X-Alias": {"ali"}, "X-Plan": {"gold"}, "Authorization": {"open-sesame"},
	}
	wantHeader(t, seen.Header, want)

	const binary = "\x00\xff\xfe binary \x80\x00"
	if r := g.Do(t, "POST", "/native/bytes/x", binary, key); string(r.Body) != binary {
		t.Errorf("binary body: %q", r.Body)
	}
	r := g.Do(t, "PUT", "/native/text/x", "", key)
	wantReply(t, r, 201, "plain\nsigned\n")
	wantHeader(t, r.Header, http.Header{"X-Signed": {"one", "two"}, "X-Internal": nil, "Set-Cookie": {"a=1", "b=2"}})
	plugin.Await(t, `^record PUT /native/text/x 201 ali$`)

	r = g.Do(t, "GET", "/native/teapot", "")
	wantReply(t, r, 418, "short and stout\n")
	wantHeader(t, r.Header, http.Header{"X-Pot": {"1", "2"}, "Content-Type": {"text/x-tea"}})
	wantReply(t, g.Do(t, "GET", "/native/x", ""), 401, "")
	r = g.Do(t, "GET", "/native/x", "", "Authorization: guess")
	wantReply(t, r, 403, "unknown key")
	wantHeader(t, r.Header, http.Header{"X-Reason": {"key"}})
	plugin.Await(t, `^event AuthFailure native$`)
	for _, path := range []string{"/native/broken", "/native/split"} {
		r := g.Do(t, "GET", path, "", key)
		wantReply(t, r, 503, "")
		wantHeader(t, r.Header, http.Header{"X-Injected": nil})
	}
	wantMetric(t, g, "welcomed")
}

// wantMetric checks that a counter of the plugin arrived.
func wantMetric(t *testing.T, g *gatewaytest.Gateway, name string) {
	t.Helper()
	admin := &gatewaytest.Gateway{Process: g.Process, URL: g.Admin}
	r := admin.Do(t, "GET", "/metrics", "", "Authorization: Bearer "+gatewaytest.AdminSecret)
	if r.Status != 200 || !strings.Contains(string(r.Body), name) {
		t.Errorf("status %d, the metrics do not have %s:\n%s", r.Status, name, r.Body)
	}
}

func wantReply(t *testing.T, r *gatewaytest.Reply, status int, text string) {
	t.Helper()
	if r.Status != status || !strings.Contains(string(r.Body), text) {
		t.Errorf("status %d with %q, want %d %q", r.Status, r.Body, status, text)
	}
}

func wantHeader(t *testing.T, got, want http.Header) {
	t.Helper()
	for name, lines := range want {
		if !slices.Equal(got[name], lines) {
			t.Errorf("%s is %q, want %q", name, got[name], lines)
		}
	}
}
