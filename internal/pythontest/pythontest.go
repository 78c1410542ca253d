// Package pythontest finds interpreters of Python for tests, and gives each what plugins in Python run on. What has to be
// installed, from PyPI, is kept in the user's cache.
package pythontest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The bounds of what package managers and interpreters may take before they count as absent.
const (
	installTime = 2 * time.Minute
	askTime     = 20 * time.Second
)

// packages are what is installed.
var packages = [...]string{"grpcio>=1.62", "protobuf>=4.25"}

// Any returns an interpreter that imports grpc and protobuf: Debian's own if it does, which has the oldest that are
// supported, else one in a virtual environment. The test is skipped where there is none.
func Any(t testing.TB) string {
	t.Helper()
	python := Find(t)
	if python == "" {
		t.Skip("there is no Python 3 with grpc, and none can be installed (.ci/install does that on Debian)")
	}
	return python
}

// Find is Any, but that it returns "" where there is none.
func Find(t testing.TB) string {
	t.Helper()
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if says(t, python, "import grpc.aio, google.protobuf") == nil {
			return python
		}
	}
	return Version(t, "")
}

// Version returns an interpreter of that version, such as "3.13", that imports grpc and protobuf; "" for PATH's python3. It
// returns "" where there is none.
func Version(t testing.TB, version string) string {
	t.Helper()
	python := find(t, version)
	if python == "" {
		return ""
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir() // no HOME: nothing is found again, perhaps, but all works
	}
	hash := sha256.New()
	hash.Write([]byte(python + "\n" + strings.Join(packages[:], "\n")))
	dir := filepath.Join(base, "turnbuckle-test", fmt.Sprintf("python-%x", hash.Sum(nil)[:8]))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	defer lock(t, dir+".lock")()
	own, complete := filepath.Join(dir, "bin", "python"), filepath.Join(dir, ".complete")
	if _, err := os.Stat(complete); err == nil {
		return own
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	for _, command := range [][]string{
		{python, "-m", "venv", dir},
		append([]string{own, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"}, packages[:]...),
	} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Logf("%s: %v: %s", strings.Join(command, " "), err, out)
			return ""
		}
	}
	if err := os.WriteFile(complete, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return own
}

// find returns the path of an interpreter of that version; "" where there is none. Those of pyenv count without being chosen.
func find(t testing.TB, version string) string {
	candidates := []string{"python" + version, "/usr/bin/python" + version}
	if version == "" {
		candidates = []string{"python3", "/usr/bin/python3"}
	} else if home, err := os.UserHomeDir(); err == nil {
		found, _ := filepath.Glob(filepath.Join(home, ".pyenv", "versions", version+".*", "bin", "python3"))
		candidates = append(candidates, found...)
	}
	for _, python := range candidates {
		if says(t, python, "import venv, ensurepip") == nil {
			return python
		}
	}
	return ""
}

// says runs a line of Python.
func says(t testing.TB, python, line string) error {
	ctx, cancel := context.WithTimeout(t.Context(), askTime)
	defer cancel()
	return exec.CommandContext(ctx, python, "-I", "-c", line).Run() // -I: the folder of the test has files in Python, perhaps
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
