package gatewaytest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// installTime bounds what a package manager may take before the registry counts as absent, buildTime what a compiler may with all
// that it needs to get. A package's tests have 5 minutes in all.
const (
	installTime = 2 * time.Minute
	buildTime   = 4 * time.Minute
)

// Python returns the interpreter of a virtual environment that has the packages of a requirements file. The test is
// skipped where there is no Python 3 with venv and pip, or no registry.
func Python(t testing.TB, requirements string) string {
	t.Helper()
	python := need(t, "python3")
	version := try(t, exec.Command(python, "-c", "import sys, venv, ensurepip; print(sys.prefix, sys.version)"), "python3 lacks venv or ensurepip (python3-venv)")
	dir := cached(t, "python", []byte(version), read(t, requirements), func(dir string) {
		try(t, exec.CommandContext(limit(t), python, "-m", "venv", dir), "python3 -m venv failed")
		try(t, exec.CommandContext(limit(t), filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--no-input",
			"--disable-pip-version-check", "--only-binary=:all:", "--requirement", requirements), "pip cannot install what "+requirements+" pins")
	})
	return filepath.Join(dir, "bin", "python")
}

// Node returns the program node and a folder with the node_modules of a folder's package-lock.json. The test is skipped
// where there is no Node with npm, or no registry.
func Node(t testing.TB, example string) (node, modules string) {
	t.Helper()
	node = need(t, "node")
	npm := need(t, "npm")
	version := try(t, exec.Command(node, "--version"), "node --version failed")
	dir := cached(t, "node", []byte(version), read(t, filepath.Join(example, "package-lock.json")), func(dir string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"package.json", "package-lock.json"} {
			if err := os.WriteFile(filepath.Join(dir, name), read(t, filepath.Join(example, name)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		install := exec.CommandContext(limit(t), npm, "ci", "--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts")
		install.Dir = dir
		try(t, install, "npm cannot install what package-lock.json pins")
	})
	return node, filepath.Join(dir, "node_modules")
}

// need returns where a program is, or skips the test.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("%s is not installed (.ci/install does that on Debian)", program)
	}
	return path
}

// try returns what a program writes, or skips the test and says why it could not be run here.
func try(t testing.TB, cmd *exec.Cmd, what string) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("%s: %v: %s", what, err, tail(string(out)))
	}
	return string(out)
}

func limit(t testing.TB) context.Context { return within(t, installTime) }

func within(t testing.TB, bound time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	return ctx
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// cached returns the folder in the cache for what version and pins say, and fills it when it is not there. A folder that
// was left half filled is made again.
func cached(t testing.TB, kind string, version, pins []byte, fill func(dir string)) string {
	t.Helper()
	hash := sha256.New()
	hash.Write(version)
	hash.Write([]byte{0})
	hash.Write(pins)
	dir := filepath.Join(cache(t), fmt.Sprintf("%s-%x", kind, hash.Sum(nil)[:8]))
	defer lock(t, dir+".lock")()
	done := filepath.Join(dir, ".complete")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	fill(dir)
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cache is the folder for what outlives a test.
func cache(t testing.TB) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir() // no HOME: nothing is found again, perhaps, but all works
	}
	dir := filepath.Join(base, "turnbuckle-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lock waits until no other test process holds the file, and returns what lets go of it.
func lock(t testing.TB, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		t.Fatalf("lock %s: %v", path, err)
	}
	return func() { _ = f.Close() } // which unlocks
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}
