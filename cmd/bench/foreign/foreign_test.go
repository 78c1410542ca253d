package foreign

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The command names a program that is there and a file that was written; where Node is not installed, the error says so and
// nothing is measured.
func TestNodeCommand(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // nothing is kept of this, and nothing found
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	args, err := NodeCommand(t.Context(), dir, t.TempDir())
	if err != nil {
		t.Skipf("npm does not install what it needs: %.200v", err)
	}
	i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, dir) })
	if i < 0 {
		t.Fatalf("no file of the folder in %q", args)
	}
	if text, err := os.ReadFile(args[i]); err != nil || !strings.Contains(string(text), "SetHeader") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestPythonPlugin(t *testing.T) {
	dir := t.TempDir()
	if err := PythonPlugin(dir, "hooks", 3); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"plugin.yaml": "workers: 3\n", "plugin.py": "def SetHeader("} {
		if text, err := os.ReadFile(filepath.Join(dir, "plugins.d", "hooks", file)); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %q, %v", file, text, err)
		}
	}
}
