package gatewaytest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Program builds the gateway and returns its path. Only the first test after a change of the sources waits for it.
func Program(t testing.TB) string {
	t.Helper()
	root := moduleRoot(t)
	touch(t, root)
	dir := filepath.Join(cache(t), fmt.Sprintf("gateway-%x", sha256.Sum256([]byte(root+raceFlag)))[:24])
	defer lock(t, dir+".lock")()
	built := filepath.Join(dir, "turnbuckle")
	build := exec.CommandContext(t.Context(), "go", "build", raceFlag, "-o", built, "./cmd/turnbuckle")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/turnbuckle: %v\n%s", err, out)
	}
	own := filepath.Join(t.TempDir(), "turnbuckle") // the next build must not replace what this test runs
	if err := copyFile(built, own); err != nil {
		t.Fatal(err)
	}
	return own
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("there is no go.mod above the test")
		}
		dir = parent
	}
}

// touch looks at every source of the gateway in this process: a build in another one would hide changes behind the cache
// of test results.
func touch(t testing.TB, root string) {
	t.Helper()
	for _, top := range []string{"cmd/turnbuckle", "coprocess", "host", "proto", "sdk", "go.mod"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err == nil && !strings.HasSuffix(path, "_test.go") {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Export writes the protocols' files, as `turnbuckle proto export` does, and returns their folder.
func Export(t testing.TB, program string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "proto")
	if out, err := exec.CommandContext(t.Context(), program, "proto", "export", dir).CombinedOutput(); err != nil {
		t.Fatalf("turnbuckle proto export: %v\n%s", err, out)
	}
	return dir
}

// Stubs generates Python modules from .proto files with the given interpreter's grpcio-tools and returns the folder with
// them. Patterns are relative to the folder of the files.
func Stubs(t testing.TB, python, protos string, patterns ...string) string {
	t.Helper()
	out := t.TempDir()
	args := []string{"-m", "grpc_tools.protoc", "-I", protos, "--python_out", out, "--grpc_python_out", out}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(protos, filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s in %s: %v", pattern, protos, err)
		}
		args = append(args, files...)
	}
	if text, err := exec.CommandContext(t.Context(), python, args...).CombinedOutput(); err != nil {
		t.Fatalf("grpc_tools.protoc: %v\n%s", err, text)
	}
	return out
}

// Config says how a gateway is run.
type Config struct {
	// Program is what Program returned.
	Program string
	// APIs are definitions by file name.
	APIs map[string]string
	// Wrap is a command that the gateway's stands behind, such as unshare; empty: none.
	Wrap []string
	// Server is the address of the default plugin server; empty: there is none.
	Server string
	// Plugins is a folder of plugin folders; empty: the gateway's own, plugins.d.
	Plugins string
	// Files are what else is in the gateway's working directory, by path; see Folder.
	Files map[string]string
}

// Gateway is a gateway that runs for a test.
type Gateway struct {
	*Process
	// URL is where clients reach it, without a slash at the end.
	URL string
	// Admin is its control listener, whose secret is AdminSecret.
	Admin string
}

// AdminSecret is the secret of the control listener of gateways in tests.
const AdminSecret = "open-the-gate"

// settings are patient with hooks: an interpreter that has just started, on a machine that is busy, takes its time.
const settings = "strict: true\ndrain_timeout: 5s\nhooks: {timeout: 15s}\n"

// Serve starts a gateway on free ports and returns when it serves. Definitions that it refuses fail the test, as does
// anything that looks like a crash.
func Serve(t testing.TB, c Config) *Gateway {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "apis"), c.APIs)
	write(t, dir, c.Files)
	write(t, dir, map[string]string{"turnbuckle.yaml": settings})
	args := []string{c.Program, "serve", "--config", filepath.Join(dir, "turnbuckle.yaml"), "--apis", filepath.Join(dir, "apis"),
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-secret", AdminSecret}
	if c.Server != "" {
		args = append(args, "--plugin-server", c.Server)
	}
	if c.Plugins != "" {
		args = append(args, "--plugins", c.Plugins)
	}
	p, m := start(t, "turnbuckle", dir, `msg=serving .*\baddress=(\S+)`, nil, append(slices.Clone(c.Wrap), args...)...)
	return &Gateway{Process: p, URL: "http://" + m[1], Admin: "http://" + p.Await(t, `msg="control listener" address=(\S+)`)[1]}
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Folder reads the example in the working directory, without its tests, for Config.Files. What it says of its upstream,
// http://127.0.0.1:9000, becomes the given URL.
func Folder(t testing.TB, upstream string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(name, ".go") {
			return err
		}
		data, err := os.ReadFile(filepath.FromSlash(name))
		files[name] = strings.ReplaceAll(string(data), "http://127.0.0.1:9000", upstream)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
