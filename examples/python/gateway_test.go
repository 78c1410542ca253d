// Package python_test runs the plugin of this folder behind the gateway, and holds the Python SDK to the specification.
package python_test

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
	"github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

// The libraries that the SDK is held to: today's, and the oldest that it takes.
// Both wait more than they work, and so do most of their parts.
func TestPython(t *testing.T) {
	t.Parallel()
	program := gatewaytest.Program(t)
	f := newFixture(t, program, "requirements.txt")
	t.Run("sdk", f.tests(filepath.FromSlash("../../sdk/python/tests")))
	t.Run("example", f.tests("test_plugin.py"))
	t.Run("conforms", func(t *testing.T) { f.conforms(t, nil) })
	t.Run("conforms apart", func(t *testing.T) { f.conforms(t, nil, "--apart") })
	t.Run("packed", f.packed)
	t.Run("template", f.template)
	t.Run("hooks", f.hooks)
	t.Run("takeover", f.takeover)
	t.Run("tyk", f.tyk)
	t.Run("tyk, native", f.tyk)
}

func TestOldest(t *testing.T) {
	t.Parallel()
	program := gatewaytest.Program(t)
	f := newFixture(t, program, "oldest.txt")
	t.Run("sdk", f.tests(filepath.FromSlash("../../sdk/python/tests")))
	t.Run("conforms", func(t *testing.T) { f.conforms(t, []string{"--quick"}) })
	t.Run("language", f.language)
}

type fixture struct{ python, wheel, gateway, cache string }

// newFixture prepares an interpreter, and the SDK as the gateway's program carries it: Python imports from a wheel.
func newFixture(t *testing.T, program, requirements string) fixture {
	t.Helper()
	f := fixture{python: gatewaytest.Python(t, requirements), gateway: program, cache: t.TempDir()}
	name, err := python.WheelName()
	if err != nil {
		t.Fatal(err)
	}
	wheel, err := python.Wheel()
	if err != nil {
		t.Fatal(err)
	}
	f.wheel = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(f.wheel, wheel, 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// env is the environment of Python programs: bytecode is not for the source tree.
func (f fixture) env() []string {
	return []string{"PYTHONPATH=" + f.wheel, "PYTHONPYCACHEPREFIX=" + f.cache, "TURNBUCKLE_TEST_PACKAGE=" + f.wheel}
}

func (f fixture) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), f.env()...)
	return cmd
}

// tests runs pytest, which names what failed.
func (f fixture) tests(path string) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		cmd := f.command(t, f.python, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "pythonpath=", path)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte(" passed in ")) {
			t.Errorf("pytest %s: %v\n%s", path, err, out)
		}
	}
}

// language holds the SDK to the oldest Python that it says it runs on, which few machines have: to its syntax, and to what its
// library has.
func (f fixture) language(t *testing.T) {
	project, err := os.ReadFile(filepath.FromSlash("../../sdk/python/pyproject.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(project, []byte(`requires-python = ">=3.9"`)) {
		t.Fatal("pyproject.toml wants another Python: say so here")
	}
	newer := filepath.Join(t.TempDir(), "newer.py")
	if err := os.WriteFile(newer, []byte("import tomllib\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(path string) ([]byte, error) {
		return f.command(t, filepath.Join(filepath.Dir(f.python), "vermin"), "--target=3.9-", "--violations", "--eval-annotations", "--no-tips", path).CombinedOutput()
	}
	for _, path := range []string{"../../sdk/python/src", "plugin.py"} {
		if out, err := check(filepath.FromSlash(path)); err != nil {
			t.Errorf("%s wants a newer Python than 3.9: %v\n%s", path, err, out)
		}
	}
	if out, err := check(newer); err == nil {
		t.Errorf("a module of 3.11 passes:\n%s", out)
	}
}

// conforms holds the package to the specification: hooks that run in the server, and, with --apart, in a worker process.
func (f fixture) conforms(t *testing.T, flags []string, serve ...string) {
	server := filepath.FromSlash("../../sdk/python/conformance/server.py")
	out, err := f.command(t, slices.Concat([]string{f.gateway, "plugin", "conform", "--json", "--hooks"}, flags, []string{f.python, server}, serve)...).Output()
	var report struct {
		Passed int
		Cases  []struct {
			ID, Result string
			Details    []string
		}
	}
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil || report.Passed < 165 {
		t.Errorf("plugin conform: %v, %v, %d passed", err, jsonErr, report.Passed)
	}
	for _, c := range report.Cases {
		if c.Result != "pass" {
			t.Errorf("%s: %s %q", c.ID, c.Result, c.Details)
		}
	}
}

// packed holds the wheel that the gateway's program carries to what pip installs and what setuptools packs.
func (f fixture) packed(t *testing.T) {
	dir := t.TempDir()
	pip := func(args ...string) {
		t.Helper()
		if out, err := f.command(t, append([]string{f.python, "-m", "pip", "--disable-pip-version-check", "--no-input"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("pip %q: %v\n%s", args, err, out)
		}
	}
	source := filepath.Join(dir, "source")
	if err := os.CopyFS(source, python.Files); err != nil {
		t.Fatal(err)
	}
	pip("install", "--quiet", "--no-index", "--no-deps", "--target", filepath.Join(dir, "ours"), f.wheel)
	pip("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", filepath.Join(dir, "theirs"), source)
	read := func(folder, glob string) (files map[string]string) {
		files = map[string]string{}
		paths, err := filepath.Glob(filepath.Join(dir, folder, glob))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			text, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			files[strings.TrimPrefix(p, filepath.Join(dir, folder))] = string(text)
		}
		return files
	}
	for _, glob := range []string{"turnbuckle/*.py", "turnbuckle/py.typed", "turnbuckle/*/*.py", "turnbuckle/*/*/*.py", "*.dist-info/entry_points.txt"} {
		ours, theirs := read("ours", glob), read("theirs", glob)
		if len(ours) == 0 || len(ours) != len(theirs) {
			t.Errorf("%s: %d files of ours, %d of setuptools'", glob, len(ours), len(theirs))
		}
		for name, text := range ours {
			if theirs[name] != text {
				t.Errorf("%s is another in setuptools' wheel", name)
			}
		}
	}
	fields := func(metadata string) (lines []string) {
		header, _, _ := strings.Cut(metadata, "\n\n")
		for line := range strings.Lines(header) {
			// These differ between versions of setuptools.
			if !strings.HasPrefix(line, "Metadata-Version:") && !strings.HasPrefix(line, "License") {
				lines = append(lines, strings.NewReplacer(" ;", ";", "'", `"`).Replace(strings.TrimSpace(line)))
			}
		}
		slices.Sort(lines)
		return lines
	}
	const metadata = "*.dist-info/METADATA"
	for name, text := range read("ours", metadata) {
		if got, want := fields(text), fields(read("theirs", metadata)[name]); !slices.Equal(got, want) {
			t.Errorf("%s:\n%q, setuptools has\n%q", name, got, want)
		}
	}
}

// template holds what turnbuckle plugin new writes to the specification.
func (f fixture) template(t *testing.T) {
	made := filepath.Join(t.TempDir(), "made")
	if out, err := exec.CommandContext(t.Context(), f.gateway, "plugin", "new", "--lang", "python", "--dir", made, "made").CombinedOutput(); err != nil {
		t.Fatalf("plugin new: %v\n%s", err, out)
	}
	out, err := f.command(t, f.gateway, "plugin", "conform", "--quick", f.python, filepath.Join(made, "plugin.py")).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("made 0.1.0")) || !bytes.Contains(out, []byte("0 failed, 0 warned")) {
		t.Errorf("plugin conform: %v\n%s", err, out)
	}
	test := f.command(t, f.python, "-m", "unittest")
	test.Dir = made
	if out, err := test.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Ran 2 tests")) {
		t.Errorf("unittest: %v\n%s", err, out)
	}
}

func (f fixture) plugin(t *testing.T, address string, more ...string) *gatewaytest.Process {
	t.Helper()
	file, err := filepath.Abs("plugin.py")
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{f.python, "-m", "turnbuckle", "serve", file, "--workers", "2"}, more...)
	p, _ := gatewaytest.Start(t, "plugin.py", `^listening on (\S+)$`, append(f.env(), "TURNBUCKLE_LISTEN="+address), args...)
	return p
}

func (f fixture) serve(t *testing.T, address string) *gatewaytest.Gateway {
	t.Helper()
	definition, err := os.ReadFile("python.yaml")
	if err != nil {
		t.Fatal(err)
	}
	up := gatewaytest.Upstream(t)
	return gatewaytest.Serve(t, gatewaytest.Config{
		Program: f.gateway, Server: address,
		APIs: map[string]string{"python.yaml": strings.ReplaceAll(string(definition), "http://127.0.0.1:9000", up.URL)},
	})
}

func (f fixture) hooks(t *testing.T) {
	address := gatewaytest.Socket(t)
	plugin := f.plugin(t, address)
	gatewaytest.CheckHooks(t, f.serve(t, address), plugin, "python", "+python")
}

// A second instance takes the socket over while requests run, and none fails.
func (f fixture) takeover(t *testing.T) {
	address := gatewaytest.Socket(t)
	first := f.plugin(t, address)
	gatewaytest.CheckTakeover(t, f.serve(t, address), first, "python", func() { f.plugin(t, address, "--takeover") })
}

// tyk runs a plugin written for Tyk, unchanged: what it sees and does is what it would behind Tyk.
func (f fixture) tyk(t *testing.T) {
	definition, err := os.ReadFile(filepath.FromSlash("../tyk-python/tyk.json"))
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.Abs("tyk")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{f.python, "-m", "turnbuckle", "tyk", "--folder", folder, "--listen", "127.0.0.1:0", "--workers", "2"}
	native := strings.HasSuffix(t.Name(), "native")
	if native {
		args = append(args, "--native")
	}
	p, m := gatewaytest.Start(t, "tyk", `^listening on (\S+)$`, f.env(), args...)
	gatewaytest.CheckTyk(t, f.gateway, string(definition), gatewaytest.TykServer{Process: p, Address: m[1], Mark: "+shim", Native: native})
}
