// Package nativenode_test runs the server of this folder behind the gateway, and holds the Node SDK to the specification.
package nativenode_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/examples/internal/gatewaytest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/node"
)

// TestNode makes what needs Node ready once.
func TestNode(t *testing.T) {
	program, modules := gatewaytest.Node(t, filepath.FromSlash("../../sdk/node"))
	f := fixture{node: program, dir: install(t, modules), gateway: gatewaytest.Program(t)}
	t.Run("sdk", f.tests("turnbuckle"))
	t.Run("example", f.tests("example"))
	t.Run("packed", f.packed)
	t.Run("conforms", f.conforms)
	t.Run("template", f.template)
	t.Run("stock host", f.stockHost)
	t.Run("hooks", f.hooks)
	t.Run("takeover", f.takeover)
}

type fixture struct{ node, dir, gateway string }

// install lays the SDK, as npm would from its tarball, beside what it depends on, and the example.
func install(t *testing.T, modules string) string {
	t.Helper()
	dir := t.TempDir()
	sdk := filepath.Join(dir, "node_modules", "turnbuckle")
	if err := os.CopyFS(sdk, node.Files); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"test", "conformance"} {
		if err := os.CopyFS(filepath.Join(sdk, part), os.DirFS(filepath.FromSlash("../../sdk/node/"+part))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(modules, "@grpc"), filepath.Join(dir, "node_modules", "@grpc")); err != nil {
		t.Fatal(err)
	}
	example := filepath.Join(dir, "example")
	if err := os.Mkdir(example, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plugin.js", "server.js", "plugin.test.js", "package.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(example, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(sdk, filepath.Join(dir, "turnbuckle")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tests runs Node's own, which name what failed.
func (f fixture) tests(folder string) func(*testing.T) {
	return func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(f.dir, folder, "test", "*.test.js"))
		more, err2 := filepath.Glob(filepath.Join(f.dir, folder, "*.test.js"))
		if files = append(files, more...); err != nil || err2 != nil || len(files) == 0 {
			t.Fatalf("no tests in %s: %v, %v", folder, err, err2)
		}
		out, err := exec.CommandContext(t.Context(), f.node, append([]string{"--test", "--test-reporter=tap"}, files...)...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("\n# tests 0\n")) {
			t.Errorf("node --test: %v\n%s", err, out)
		}
	}
}

// npm packs the same files as the gateway's program carries.
func (f fixture) packed(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip(err)
	}
	pack := exec.CommandContext(t.Context(), npm, "pack", "--json", "--dry-run", "--offline", "--ignore-scripts")
	pack.Dir = filepath.FromSlash("../../sdk/node")
	out, err := pack.Output()
	if err != nil {
		t.Fatalf("npm pack: %v\n%s", err, out)
	}
	var list []struct{ Files []struct{ Path string } }
	if err := json.Unmarshal(out, &list); err != nil || len(list) != 1 {
		// npm 11 and later: by the package's name
		var byName map[string]struct{ Files []struct{ Path string } }
		if err2 := json.Unmarshal(out, &byName); err2 != nil {
			t.Fatalf("npm pack: %v, %v\n%s", err, err2, out)
		}
		list = append(list[:0], byName["turnbuckle"])
	}
	var want []string
	for _, file := range list[0].Files {
		want = append(want, "package/"+file.Path)
	}
	tarball, err := node.Tarball()
	if err != nil {
		t.Fatal(err)
	}
	names := exec.CommandContext(t.Context(), "tar", "-tz")
	names.Stdin = bytes.NewReader(tarball)
	listed, err := names.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(listed))
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the tarball has\n%q, npm packs\n%q", got, want)
	}
	again, err := node.Tarball()
	if err != nil || !bytes.Equal(again, tarball) {
		t.Errorf("the tarball is another the second time: %v", err)
	}
}

func (f fixture) conforms(t *testing.T) {
	server := filepath.Join(f.dir, "turnbuckle", "conformance", "server.js")
	cmd := exec.CommandContext(t.Context(), f.gateway, "plugin", "conform", "--json", "--hooks", f.node, server)
	out, err := cmd.Output()
	var report struct {
		Passed int
		Cases  []struct {
			ID, Result string
			Details    []string
		}
	}
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil || report.Passed < 150 {
		t.Errorf("plugin conform: %v, %v, %d passed", err, jsonErr, report.Passed)
	}
	for _, c := range report.Cases {
		if c.Result != "pass" {
			t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
		}
	}
}

// template holds what turnbuckle plugin new writes to the specification.
func (f fixture) template(t *testing.T) {
	made := filepath.Join(f.dir, "made") // beside node_modules
	if out, err := exec.CommandContext(t.Context(), f.gateway, "plugin", "new", "--lang", "node", "--dir", made, "made").CombinedOutput(); err != nil {
		t.Fatalf("plugin new: %v\n%s", err, out)
	}
	f.started(t)
}

func (f fixture) plugin(t *testing.T, address string, more ...string) *gatewaytest.Process {
	t.Helper()
	args := append([]string{f.node, filepath.Join(f.dir, "example", "server.js")}, more...)
	p, _ := gatewaytest.Start(t, "server.js", `^listening on (\S+)$`, []string{"TURNBUCKLE_LISTEN=" + address}, args...)
	return p
}

func (f fixture) serve(t *testing.T, address string) *gatewaytest.Gateway {
	t.Helper()
	definition, err := os.ReadFile("native.yaml")
	if err != nil {
		t.Fatal(err)
	}
	up := gatewaytest.Upstream(t)
	return gatewaytest.Serve(t, gatewaytest.Config{
		Program: f.gateway, Server: address,
		APIs: map[string]string{"native.yaml": strings.ReplaceAll(string(definition), "http://127.0.0.1:9000", up.URL)},
	})
}

func (f fixture) hooks(t *testing.T) {
	address := gatewaytest.Socket(t)
	plugin := f.plugin(t, address)
	gatewaytest.CheckHooks(t, f.serve(t, address), plugin, "native", "+node")
}

// A second instance takes the socket over while requests run, and none fails.
func (f fixture) takeover(t *testing.T) {
	address := gatewaytest.Socket(t)
	first := f.plugin(t, address)
	gatewaytest.CheckTakeover(t, f.serve(t, address), first, "native", func() { f.plugin(t, address, "--takeover") })
}
