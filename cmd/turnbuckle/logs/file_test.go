package logs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLogFileReopens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		t.Helper()
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("two")
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	write("three")
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if l.Reopen() == nil {
		t.Error("a file in a folder that is gone was opened")
	}
	write("four") // goes on where it was
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
