package sealed_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/sealed"
)

func TestSealed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no sealed memory here")
	}
	file, err := sealed.New("test", func(w io.Writer) error {
		_, err := io.WriteString(w, "content")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("x"), 0); err == nil {
		t.Error("can be overwritten")
	}
	if err := file.Truncate(0); err == nil {
		t.Error("can be truncated")
	}
	if err := file.Truncate(100); err == nil {
		t.Error("can grow")
	}
	content := make([]byte, 20)
	if n, err := file.ReadAt(content, 0); string(content[:n]) != "content" || !errors.Is(err, io.EOF) {
		t.Errorf("%q %v", content[:n], err)
	}
	broken := errors.New("broken")
	if _, err := sealed.New("test", func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// What is sealed can be executed by its descriptor.
func TestExecute(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no sealed memory here")
	}
	program, err := os.Open("/bin/true")
	if err != nil {
		t.Skip(err)
	}
	defer program.Close()
	file, err := sealed.New("true", func(w io.Writer) error {
		_, err := io.Copy(w, program)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	command.ExtraFiles = []*os.File{file}
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
