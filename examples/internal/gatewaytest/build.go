package gatewaytest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Java returns the program java and a folder with what `mvn package` makes of a project: target/plugin.jar, target/classes and target/lib.
// The test is skipped where there is no JDK with Maven, or no registry.
func Java(t testing.TB, project string) (java, dir string) {
	t.Helper()
	java, mvn := need(t, "java"), need(t, "mvn")
	need(t, "javac")
	version := try(t, exec.Command(java, "-version"), "java -version failed")
	return java, built(t, "java", version, project, func(dir string) {
		args := []string{"--batch-mode", "--no-transfer-progress", "-Dturnbuckle.proto=proto", "package"}
		out, err := run(t, dir, nil, mvn, append([]string{"--offline"}, args...)...)
		if err == nil {
			return
		}
		absent := regexp.MustCompile(`Could not transfer|in offline mode|Unknown host|could not be resolved|not been downloaded`)
		if absent.MatchString(out) {
			out, err = run(t, dir, nil, mvn, args...)
		}
		if err != nil && absent.MatchString(out) {
			t.Skipf("Maven cannot get what pom.xml names: %s", tail(out))
		}
		if err != nil {
			t.Fatalf("mvn package: %v\n%s", err, out)
		}
	})
}

// Rust builds a Cargo package, runs its own tests, and returns the folder with its programs. What it depends on is built once for all
// packages. The test is skipped where there is no Cargo with protoc, or no registry.
func Rust(t testing.TB, project string) string {
	t.Helper()
	cargo := need(t, "cargo")
	need(t, "rustc")
	need(t, "protoc")
	version := try(t, exec.Command(cargo, "--version"), "cargo --version failed")
	target := filepath.Join(cache(t), fmt.Sprintf("rust-target-%x", sha256.Sum256([]byte(version)))[:28])
	dir := built(t, "rust", version, project, func(dir string) {
		defer lock(t, target+".lock")()
		env := []string{"CARGO_TARGET_DIR=" + target, "CARGO_INCREMENTAL=0", "CARGO_PROFILE_DEV_DEBUG=0"}
		if out, err := run(t, dir, env, cargo, "fetch", "--quiet"); err != nil {
			t.Skipf("Cargo cannot get what Cargo.lock pins: %v: %s", err, tail(out))
		}
		for _, args := range [][]string{{"test", "--offline", "--quiet"}, {"build", "--offline", "--quiet", "--bins"}} {
			if out, err := run(t, dir, env, cargo, args...); err != nil {
				t.Fatalf("cargo %s: %v\n%s", args[0], err, out)
			}
		}
		keepPrograms(t, filepath.Join(target, "debug"), filepath.Join(dir, "bin"))
	})
	return filepath.Join(dir, "bin")
}

// keepPrograms copies the programs in a folder: the next build there replaces them.
func keepPrograms(t testing.TB, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err == nil {
		err = os.Mkdir(to, 0o755)
	}
	for _, e := range entries {
		info, statErr := e.Info()
		if err == nil && statErr == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			err = copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Ruby returns the program ruby, and a folder with the stubs that grpc_tools_ruby_protoc makes of the native protocol's files. The test
// is skipped where there is no Ruby with grpc.
func Ruby(t testing.TB) (ruby, stubs string) {
	t.Helper()
	ruby, protoc := need(t, "ruby"), need(t, "grpc_tools_ruby_protoc")
	try(t, exec.Command(ruby, "-e", "require 'grpc'"), "ruby has no grpc (ruby-grpc)")
	protos, stubs := filepath.Join(moduleRoot(t), "proto"), t.TempDir()
	args := []string{"-I", protos, "--ruby_out", stubs, "--grpc_out", stubs}
	files, err := filepath.Glob(filepath.Join(protos, "plugin", "v1", "*.proto"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no .proto files: %v", err)
	}
	if out, err := run(t, stubs, nil, protoc, append(args, files...)...); err != nil {
		t.Fatalf("grpc_tools_ruby_protoc: %v\n%s", err, out)
	}
	return ruby, stubs
}

// built returns a folder with a copy of a project, and the protocols' files in its folder proto if it has none, which build has made
// something of; the same folder as long as neither changes.
func built(t testing.TB, kind, version, project string, build func(dir string)) string {
	t.Helper()
	files := sources(t, project)
	hash := sha256.New()
	for _, f := range files {
		fmt.Fprintf(hash, "%s\x00%d\x00%s", f.name, len(f.data), f.data)
	}
	return cached(t, kind, []byte(version), hash.Sum(nil), func(dir string) {
		for _, f := range files {
			to := filepath.Join(dir, filepath.FromSlash(f.name))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, f.data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		build(dir)
	})
}

type source struct {
	name string
	data []byte
}

// sources reads a project, without what was built in it and tests in Go.
func sources(t testing.TB, project string) []source {
	t.Helper()
	files := tree(t, project, "", func(name string) bool { return !strings.HasSuffix(name, ".go") })
	if _, err := os.Stat(filepath.Join(project, "proto")); err != nil {
		protos := filepath.Join(moduleRoot(t), "proto")
		files = append(files, tree(t, protos, "proto/", func(name string) bool { return path.Ext(name) == ".proto" })...)
	}
	return files
}

// tree reads a folder, with what links in it lead to. The files' names are relative to it, behind a prefix.
func tree(t testing.TB, dir, prefix string, wanted func(name string) bool) []source {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []source
	for _, e := range entries {
		name, from := e.Name(), filepath.Join(dir, e.Name())
		info, err := os.Stat(from)
		switch {
		case err != nil:
			t.Fatal(err)
		case info.IsDir() && (name == "target" || name == "stubs" || strings.HasPrefix(name, ".")):
		case info.IsDir():
			files = append(files, tree(t, from, prefix+name+"/", wanted)...)
		case wanted(name):
			files = append(files, source{prefix + name, read(t, from)})
		}
	}
	return files
}

// run runs a program of a toolchain, within bounds, and returns what it wrote.
func run(t testing.TB, dir string, env []string, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(within(t, buildTime), program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func tail(text string) string {
	text = strings.TrimSpace(text)
	return text[max(0, len(text)-600):]
}
