package gatewaytest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// CheckNative runs the definition of an example behind the gateway with the server that start starts at an address, and holds
// both to what the hooks of examples/native-node do. mark is what the Tell hook appends to bodies.
func CheckNative(t *testing.T, program, definition, mark string, start func(t *testing.T, address string) *Process) {
	t.Helper()
	up := Upstream(t)
	const placeholder = "http://127.0.0.1:9000"
	if !strings.Contains(definition, placeholder) {
		t.Fatalf("the definition has no upstream %s", placeholder)
	}
	address := Socket(t)
	plugin := start(t, address)
	g := Serve(t, Config{
		Program: program, Server: address,
		APIs: map[string]string{"native.yaml": strings.ReplaceAll(definition, placeholder, up.URL)},
	})
	t.Run("hooks", func(t *testing.T) { CheckHooks(t, g, plugin, "native", mark) })
	t.Run("slow", func(t *testing.T) { nativeSlow(t, g) })
	t.Run("stop", func(t *testing.T) {
		plugin.Terminate()
		if err := plugin.Stop(); err != nil {
			t.Error(err)
		}
		wantReply(t, g.Do(t, "GET", "/native/x", "", key), 503, "")
	})
}

const sesame = "Authorization: open-sesame" // what the hooks of the examples let in

// CheckHooks holds the hooks of an example behind an API to what those of examples/native-node do. mark is what the hook that
// edits appends to bodies.
func CheckHooks(t *testing.T, g *Gateway, plugin *Process, api, mark string) {
	t.Helper()
	path := "/" + api
	seen := g.Do(t, "POST", path+"/old/x?a=1", "body", sesame, "X-Many: 1", "X-Many: 2", "X-Remove: me", "X-Edit: append").Seen(t)
	if seen.URI != "/new/x?a=1&b=2" || string(seen.Body) != "body"+mark {
		t.Errorf("the upstream saw %s with %q", seen.URI, seen.Body)
	}
	wantHeader(t, seen.Header, http.Header{
		"X-Greeting": {"hello " + strings.TrimPrefix(g.URL, "http://")}, "X-Many": {"1", "2", "3"}, "X-Remove": nil, "X-Alias": {"ali"}, "X-Plan": {"gold"},
	})
	if r := g.Do(t, "POST", path+"/bytes/x", binary, sesame); string(r.Body) != binary {
		t.Errorf("binary body: %q", r.Body)
	}
	if r := g.Do(t, "POST", path+"/bytes/x", binary, sesame, "X-Edit: append"); string(r.Body) != binary+mark {
		t.Errorf("binary body that is edited: %q", r.Body)
	}
	r := g.Do(t, "PUT", path+"/text/x", "", sesame)
	wantReply(t, r, 201, "plain\nsigned\n")
	wantHeader(t, r.Header, http.Header{"X-Signed": {"one", "two"}, "X-Internal": nil, "Set-Cookie": {"a=1", "b=2"}})
	plugin.Await(t, `^record PUT `+path+`/text/x 201 ali$`)
	r = g.Do(t, "GET", path+"/teapot", "")
	wantReply(t, r, 418, "short and stout\n")
	wantHeader(t, r.Header, http.Header{"X-Pot": {"1", "2"}, "Content-Type": {"text/x-tea"}})
	wantReply(t, g.Do(t, "GET", path+"/x", ""), 401, "")
	r = g.Do(t, "GET", path+"/x", "", "Authorization: guess")
	wantReply(t, r, 403, "unknown key")
	wantHeader(t, r.Header, http.Header{"X-Reason": {"key"}})
	plugin.Await(t, `^event AuthFailure `+api+`$`)
	wantReply(t, g.Do(t, "GET", path+"/broken", "", sesame), 503, "")
}

// CheckTakeover: a second instance takes the socket over from first while requests run, and none fails. First is told to end
// twice, as programs often are: timeout sends its signal to a process and to its group.
func CheckTakeover(t *testing.T, g *Gateway, first *Process, api string, second func()) {
	t.Helper()
	path := "/" + api + "/x"
	wantReply(t, g.Do(t, "GET", path, "", sesame), 200, "")
	stop, failed := make(chan struct{}), make(chan error, 4)
	for range cap(failed) {
		go func() {
			for {
				select {
				case <-stop:
					failed <- nil
					return
				default:
				}
				r, err := g.Try(t.Context(), "GET", path, "", sesame, "X-Wait: 20")
				if err == nil {
					err = r.Check(200)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	second()
	first.Terminate()
	for range 3 { // it has heard of it, and has calls
		wantReply(t, g.Do(t, "GET", path, "", sesame, "X-Wait: 20"), 200, "")
	}
	first.Terminate()
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
	for range 20 {
		wantReply(t, g.Do(t, "GET", path, "", sesame), 200, "")
	}
	close(stop)
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// A call that waits holds no other: those behind it are answered while it does.
func nativeSlow(t *testing.T, g *Gateway) {
	slow := make(chan error, 1)
	go func() {
		r, err := g.Try(t.Context(), "GET", "/native/slow", "", sesame, "X-Wait: 3000")
		if err == nil {
			err = r.Check(200)
		}
		slow <- err
	}()
	for range 10 {
		wantReply(t, g.Do(t, "GET", "/native/x", "", sesame), 200, "")
	}
	select {
	case err := <-slow:
		t.Errorf("the slow call ended first: %v", err)
	default:
		if err := <-slow; err != nil {
			t.Error(err)
		}
	}
}

func wantReply(t *testing.T, r *Reply, status int, text string) {
	t.Helper()
	if r.Status != status || !strings.Contains(string(r.Body), text) {
		t.Errorf("status %d with %q, want %d %q", r.Status, r.Body, status, text)
	}
}

// Socket returns the address of a socket that nobody listens on. The paths of sockets are short.
func Socket(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "turnbuckle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return "unix:" + filepath.Join(dir, "s")
}

// Conform holds a plugin server with the hooks of proto/CONFORMANCE.md to the specification. At least so many cases have to pass.
// Those in known may warn, and have to: what a gRPC library does and no server can help.
func Conform(t *testing.T, program string, env []string, least int, known []string, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"plugin", "conform", "--json", "--hooks"}, command...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var report struct {
		Passed int
		Cases  []struct {
			ID, Protocol, Result string
			Details              []string
		}
	}
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil || report.Passed < least {
		t.Errorf("plugin conform: %v, %v: %d passed, want %d\n%s", err, jsonErr, report.Passed, least, &stderr)
	}
	warned := map[string]bool{}
	for _, c := range report.Cases {
		if c.Result == "fail" || c.Result == "warn" && !slices.Contains(known, c.ID) {
			t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
		}
		warned[c.ID] = c.Result == "warn"
	}
	for _, id := range known {
		if !warned[id] {
			t.Errorf("%s: does not warn any more: take it off the list", id)
		}
	}
}

// New returns a plugin that `turnbuckle plugin new` makes, called made.
func New(t testing.TB, program, lang string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	out, err := exec.CommandContext(t.Context(), program, "plugin", "new", "--lang", lang, "--dir", dir, "made").CombinedOutput()
	if err != nil {
		t.Fatalf("plugin new: %v\n%s", err, out)
	}
	return dir
}

// CheckMade has the gateway start a plugin that New made and that was built, and calls its hooks; and holds the command that starts it to as
// much of the specification as can be seen from outside.
func CheckMade(t *testing.T, program, folder string, command ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, append([]string{"plugin", "conform", "--quick"}, command...)...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("made 0.1.0")) || !bytes.Contains(out, []byte(" 0 failed, ")) {
		t.Errorf("plugin conform: %v\n%s", err, out)
	}
	plugins := t.TempDir()
	if err := os.Symlink(folder, filepath.Join(plugins, "made")); err != nil {
		t.Fatal(err)
	}
	g := Serve(t, Config{Program: program, Plugins: plugins, APIs: map[string]string{"made.yaml": `
listen: {path: /made}
upstream: {url: "` + Upstream(t).URL + `"}
config: {greeting: good day}
hooks:
  pre: [{hook: Greet, server: made, timeout: 15s}]
  response: [{hook: Stamp, server: made}]
`}})
	r := g.Do(t, "GET", "/made/x", "")
	wantHeader(t, r.Header, http.Header{"X-Stamped-By": {"made"}})
	wantHeader(t, r.Seen(t).Header, http.Header{"X-Greeting": {"good day 127.0.0.1"}})
}

// CheckRun runs a plugin that New made with `turnbuckle plugin run`, for one request. The program that its build command starts
// is stood in for by a shell script, which has to get these arguments.
func CheckRun(t *testing.T, program, folder, builder, args, script string) {
	t.Helper()
	tools := t.TempDir()
	script = "#!/bin/sh\nset -e\n[ \"$*\" = '" + args + "' ]\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(tools, builder), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "plugin", "run", folder, "--json", "--request", "GET /x", "--config", `{"greeting": "good day"}`)
	cmd.Env = processtest.Environment("PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("plugin run: %v\n%s", err, out)
	}
	for _, want := range []string{`"event":"build"`, `X-Greeting`, `good day 127.0.0.1`, `"X-Stamped-By"`, `"status":200`} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("plugin run does not tell of %s:\n%s", want, out)
		}
	}
}
