package foreign

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/python"
)

// Each command names a program that is there and a file that was written; where a language is not installed, the error says
// so and nothing is measured.
func TestCommand(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // nothing is kept of this, and nothing found
	for _, language := range []string{Python, Node} {
		dir := t.TempDir()
		args, err := Command(t.Context(), language, dir, t.TempDir(), 3)
		if language == Node && err != nil || errors.Is(err, python.ErrNoInterpreter) || errors.Is(err, exec.ErrNotFound) {
			t.Logf("%s is not measured here: %.200v", language, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", language, err)
			continue
		}
		i := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, dir) })
		if i < 0 {
			t.Fatalf("%s: no file of the folder in %q", language, args)
		}
		text, err := os.ReadFile(args[i])
		if err != nil || !strings.Contains(string(text), "SetHeader") {
			t.Errorf("%s: %v", language, err)
		}
		if language == Python && args[len(args)-1] != "3" {
			t.Errorf("got %q", args)
		}
	}
}
