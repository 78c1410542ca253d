package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// What make bundles packs, a gateway that wants everything signed takes, starts and uses: ids that a plugin of one bundle
// makes reach upstream and client, and the records that a plugin of another ships, whose sink was down at first.
func TestBundles(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	bin := packed(t, "correlation", "loggly")
	in := &intake{}
	in.down.Store(true)
	sink := httptest.NewServer(in)
	defer sink.Close()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", r.Header.Get("X-Request-Id"))
	}))
	defer upstream.Close()

	dir, err := os.MkdirTemp("", "tb")
	fail(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	fail(t, os.Mkdir(filepath.Join(dir, "apis"), 0o700))
	definition := fmt.Sprintf("listen: {path: /}\nupstream: {url: %q}\nbundles: [correlation-1.0.0.zip, loggly-1.0.0.zip]\n", upstream.URL)
	fail(t, os.WriteFile(filepath.Join(dir, "apis", "a.yaml"), []byte(definition), 0o600))
	config := fmt.Sprintf(`{"token":"t","endpoint":%q,"send":{"events":"none"},"batch":{"wait":"10ms"},"retry":{"first":"10ms","max":"50ms"}}`, sink.URL)
	g, err := processtest.Spawn("turnbuckle", dir, processtest.Environment("LOGGLY_PLUGIN_CONFIG="+config, "LOGGLY_PLUGIN_DIR="+filepath.Join(dir, "spool")),
		filepath.Join(bin, "turnbuckle"), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", "s3cret-of-tests", "--bundle-base-url", filepath.Join(bin, "bundles"),
		"--public-key", filepath.Join(bin, "bundles", "release.pub"), "--require-signed")
	fail(t, err)
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Logf("the gateway wrote:\n%s", g.Stderr)
		}
	})
	m, err := g.Await(`msg=serving address=(\S+) took=`)
	fail(t, err)
	for _, name := range []string{"correlation", "loggly"} { // a busy gateway serves before they are ready
		_, err = g.Await(`plugin server is ready" plugin_server=` + name)
		fail(t, err)
	}
	ids := map[string]bool{}
	for range 50 {
		ids[ask(t, "http://"+m[1])] = true
	}
	if len(ids) != 50 {
		t.Errorf("%d ids for 50 requests", len(ids))
	}
	_, err = g.Await("the other side does not take")
	fail(t, err)
	in.down.Store(false)
	if !processtest.Poll(func() bool { return in.lines.Load() >= 50 }) {
		t.Errorf("%d records of 50 requests arrived", in.lines.Load())
	}
	m, err = g.Await(`msg="control listener" address=(\S+)`)
	fail(t, err)
	var counted []string
	if !processtest.Poll(func() bool { counted = counts(t, "http://"+m[1]+"/metrics"); return told(counted) }) {
		t.Errorf("the metrics do not tell what the plugin has delivered and retried, and that nothing waits: %q", counted)
	}
	fail(t, g.Stop())
}

// ask makes a request and returns the id that it was given, which upstream has seen too.
func ask(t *testing.T, url string) string {
	t.Helper()
	reply, err := http.Get(url)
	fail(t, err)
	fail(t, reply.Body.Close())
	id := reply.Header.Get("X-Request-Id")
	if reply.StatusCode != http.StatusOK || len(id) != len("01890a5d-ac96-774b-bcce-b302099a8057") || reply.Header.Get("X-Seen") != id {
		t.Errorf("%d, %v", reply.StatusCode, reply.Header)
	}
	return id
}

// counts are the lines of metrics that say what plugins in processes of their own count.
func counts(t *testing.T, url string) []string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	fail(t, err)
	request.Header.Set("Authorization", "Bearer s3cret-of-tests")
	reply, err := http.DefaultClient.Do(request)
	fail(t, err)
	text, err := io.ReadAll(reply.Body)
	fail(t, errors.Join(err, reply.Body.Close()))
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return !strings.HasPrefix(line, "turnbuckle_plugin_counted_") })
}

// told reports whether the lines say that the records of 50 requests were delivered, after failures, and that none waits.
func told(lines []string) bool {
	line := func(kind, name, value string) string {
		return fmt.Sprintf(`turnbuckle_plugin_counted_%s{address="#0",name=%q,server="loggly"} %s`, kind, name, value)
	}
	return slices.Contains(lines, line("total", "delivered", "50")) && slices.Contains(lines, line("level", "spooled", "0")) &&
		!slices.Contains(lines, line("total", "retries", "0"))
}

// packed builds the gateway and the plugins' program and has the script of make bundles pack the plugins; it returns the
// folder of it all.
func packed(t *testing.T, names ...string) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	fail(t, err)
	dependOnSources(t, root)
	bin := t.TempDir()
	for program, from := range map[string]string{"turnbuckle": "./cmd/turnbuckle", "turnbuckle-plugin": "./cmd/plugin"} {
		run(t, root, nil, "go", "build", "-o", filepath.Join(bin, program), from)
	}
	run(t, root, append(os.Environ(), "BIN="+bin), append([]string{filepath.Join(root, ".ci", "bundles")}, names...)...)
	return bin
}

func run(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// dependOnSources makes go test run the test again when a source file changes, though other programs read it: it looks at
// what a test opens.
func dependOnSources(t *testing.T, root string) {
	t.Helper()
	fail(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".ci" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil // a file that just went
		}
		return err
	}))
}
