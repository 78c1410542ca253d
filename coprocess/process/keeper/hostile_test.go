package keeper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
)

// A keeper that dies while it starts the program leaves nothing behind.
func TestKeeperKilledEarly(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	private := filepath.Join(t.TempDir(), "p")
	command := []string{"/bin/sh", "-c", `mkdir "` + private + `"; touch "` + private + `/s"; kill -KILL $$`}
	if _, err := keeper.Start(t.Context(), command, script(private, "exit 0"), os.Stdout, os.Stderr); err == nil || !strings.Contains(err.Error(), "its keeper ended") {
		t.Errorf("got %v", err)
	}
	if !gone(private) {
		t.Error("the program's folder is still there")
	}
}

// What is no UTF-8 arrives as it is: names of files and what environments hold are bytes.
func TestBytes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "caf\xe9")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	spec := script(filepath.Join(dir, "p"), `printf '%s\n' "$SECRET" "$1" "$(pwd)"; test -d "$PRIVATE" && echo there`)
	spec.Args = append(spec.Args, "sh", "\xff\xfe")
	spec.Env = append(spec.Env, "SECRET=\x80<&>\u2028")
	spec.Dir = dir
	p := start(t, spec)
	for _, want := range []string{"\x80<&>\u2028", "\xff\xfe", dir, "there"} {
		if got := p.line(t); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A keeper finds what hides also where the program may hardly open a file.
func TestFewFiles(t *testing.T) {
	m := mark()
	spec := script(filepath.Join(t.TempDir(), "p"), `setsid sleep `+m+` & sleep `+m)
	spec.Limits.Files = 4
	p := start(t, spec)
	if !processtest.Poll(func() bool { return alive(t, m) >= 2 }) {
		t.Fatal("it does not start")
	}
	limits := func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID()))
		return err == nil && regexp.MustCompile(`Max open files +4 +4 `).Match(text)
	}
	if runtime.GOOS == "linux" && !processtest.Poll(limits) {
		t.Error("it may open more files")
	}
	p.End(0)
	ended(t, "keeper", p.Done())
	if n := alive(t, m); runtime.GOOS == "linux" && n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

// A user who may not enter the folder, or run the program, is named.
func TestUserMayNot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root starts programs as somebody else")
	}
	spec := script("", "exit 0")
	spec.Dir = t.TempDir()
	if err := os.Chmod(spec.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	spec.User = &keeper.User{UID: 65534, GID: 65534}
	if _, err := keeper.Start(t.Context(), nil, spec, os.Stdout, os.Stderr); err == nil || !strings.Contains(err.Error(), "permission denied for user 65534") {
		t.Errorf("got %v", err)
	}
}
