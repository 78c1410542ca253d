package plugincmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/node"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/python"
)

func newPlugin(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command(&out, "devel")
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// written makes a plugin of a language and returns its folder.
func written(t *testing.T, lang string, more ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "greeter-2")
	if _, err := newPlugin(t, append([]string{"--lang", lang, "--dir", dir, "greeter-2"}, more...)...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Every template, whatever its language, has what a plugin has, and a plugin.yaml that the gateway takes.
func TestTemplates(t *testing.T) {
	all, err := languages()
	if err != nil || len(all) < 2 {
		t.Fatalf("got %v, %v", all, err)
	}
	for lang, a := range all {
		t.Run(lang, func(t *testing.T) {
			dir := written(t, lang)
			p, problems := config.LoadPlugin(dir, os.LookupEnv)
			if problems.Refused() || p.Name != "greeter-2" || len(p.Hooks) != 2 {
				t.Errorf("plugin.yaml: %+v, %v", p, problems)
			}
			readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil || !strings.HasPrefix(string(readme), "# greeter-2\n") {
				t.Errorf("README.md: %v %.40q", err, readme)
			}
			if a.Summary == "" || len(a.Next) < 2 {
				t.Errorf("template.yaml says too little: %+v", a)
			}
			if _, err := newPlugin(t, "--lang", lang, "--dir", dir, "greeter-2"); err == nil {
				t.Error("a folder that is not empty was overwritten")
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	for _, args := range [][]string{{"--lang", "cobol", "x"}, {"x"}, {"--lang", "go"}, {"--lang", "go", "Bad_Name"}, {"--lang", "go", "../x"}, {"--lang", "go", "a--b"}} {
		if out, err := newPlugin(t, args...); err == nil {
			t.Errorf("%q was taken: %s", args, out)
		}
	}
}

// The plugin in Go passes its own tests and conforms, without a network.
func TestGo(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := written(t, "go", "--source", root)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil { // go mod tidy would ask the network
		t.Fatal(err)
	}
	for _, args := range [][]string{{"vet", "."}, {"test", "."}, {"build", "-o", "greeter-2", "."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
	}
	r, err := conform.Run(t.Context(), conform.Options{
		Options: kit.Options{Command: []string{filepath.Join(dir, "greeter-2")}, Patience: 20 * time.Second}, Quick: true,
	})
	if err != nil || r.Failed+r.Warned > 0 || r.Name != "greeter-2" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// The plugin in Node passes its own tests with the SDK that it carries, without a registry.
func TestNode(t *testing.T) {
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed (.ci/install does that on Debian)")
	}
	dir := written(t, "node")
	var manifest struct {
		Version      string
		Dependencies map[string]string
	}
	for _, text := range [][]byte{read(t, filepath.Join(dir, "package.json")), sdkManifest(t)} { // the SDK's version last
		if err := json.Unmarshal(text, &manifest); err != nil {
			t.Fatal(err)
		}
	}
	if want := "file:vendor/turnbuckle-" + manifest.Version + ".tgz"; manifest.Dependencies["turnbuckle"] != want {
		t.Errorf("package.json takes %q, want %q", manifest.Dependencies["turnbuckle"], want)
	}
	unpack(t, filepath.Join(dir, "vendor", "turnbuckle-"+manifest.Version+".tgz"), filepath.Join(dir, "node_modules", "turnbuckle"))
	cmd := exec.CommandContext(t.Context(), program, "--test", "--test-reporter=tap")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("# pass 2\n")) {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}

// The plugin in Python passes its own tests with the wheel that it carries, without a registry.
func TestPython(t *testing.T) {
	interpreter := ""
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(t.Context(), path, "-c", "import google.protobuf").Run() == nil {
			interpreter = path
			break
		}
	}
	if interpreter == "" {
		t.Skip("there is no python3 with protobuf (examples/python tests the same in an environment of its own)")
	}
	dir := written(t, "python")
	name, err := python.WheelName()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), interpreter, "-m", "unittest")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PYTHONPATH="+filepath.Join(dir, "vendor", name), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Ran 2 tests")) {
		t.Errorf("unittest: %v\n%s", err, out)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func sdkManifest(t *testing.T) []byte {
	t.Helper()
	text, err := node.Files.ReadFile("package.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// unpack does what npm does with a package.
func unpack(t *testing.T, file, dir string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(zip); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, strings.TrimPrefix(h.Name, "package/"))
		text, err := io.ReadAll(archive)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}
