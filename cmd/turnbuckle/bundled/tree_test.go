package bundled_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

// What processes read is what was verified, whatever was done to the folder before.
func TestTrees(t *testing.T) {
	w := newWorld(t)
	w.write("plugins/acme/guard.zip", w.bundle("acme/guard", "1.0.0", w.key))
	w.write("plugins/other.zip", w.bundle("other", "1.0.0", w.key))
	l := w.open(w.settings())
	guard, err := l.Load(t.Context(), "acme/guard")
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Load(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	trees := bundled.NewTrees(bundled.TreesIn(w.path("data")))
	first, err := trees.Open(guard)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(first, "plugin.yaml")
	want, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(want), "name: guard") {
		t.Fatalf("%v: %s", err, want)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if before.Mode().Perm() != 0o400 {
		t.Errorf("mode %v", before.Mode())
	}
	for name, spoil := range map[string]func() error{
		"nothing":  func() error { return nil },
		"content":  func() error { return os.WriteFile(file, append([]byte("x"), want[1:]...), 0o600) },
		"mode":     func() error { return os.Chmod(file, 0o700) },
		"extra":    func() error { return os.WriteFile(filepath.Join(first, "sitecustomize.py"), nil, 0o600) },
		"missing":  func() error { return os.Remove(file) },
		"link":     func() error { return replaceBy(file, "/etc/hostname") },
		"folder":   func() error { return os.Remove(file) },
		"a file":   func() error { return spoilFolder(first) },
		"a folder": func() error { return os.MkdirAll(filepath.Join(first, "lib", "deep"), 0o700) },
	} {
		if err := os.Chmod(first, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(file, 0o600)
		if name == "nothing" {
			_ = os.Chmod(file, 0o400)
		}
		if err := spoil(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := trees.Open(guard)
		if err != nil || again != first {
			t.Fatalf("%s: %s, %v", name, again, err)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %v: %s", name, err, got)
		}
		if _, err := os.Lstat(filepath.Join(first, "sitecustomize.py")); err == nil {
			t.Errorf("%s: what does not belong there is there", name)
		}
	}
	second, err := trees.Open(other)
	if err != nil || second == first {
		t.Fatalf("%s, %v", second, err)
	}
	if err := trees.Keep([]string{bundled.TreeID(other)}); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(bundled.TreesIn(w.path("data")) + "/*"); err != nil || len(left) != 1 || left[0] != second {
		t.Errorf("left: %v, %v", left, err)
	}
}

func replaceBy(file, target string) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.Symlink(target, file)
}

// spoilFolder puts a file where the folder was.
func spoilFolder(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.WriteFile(dir, []byte("x"), 0o700); err != nil {
		return err
	}
	return nil
}

// A folder goes before the base, and what must be signed is refused whatever the policy says.
func TestFolderBeforeBase(t *testing.T) {
	w := newWorld(t)
	w.write("near/guard.zip", w.bundle("guard", "1.1.0", w.key))
	w.write("plugins/guard.zip", w.bundle("guard", "1.0.0", w.key))
	w.write("plugins/far.zip", w.bundle("far", "1.0.0", w.key))
	w.write("plugins/bare.zip", w.bundle("bare", "1.0.0"))
	s := w.settings()
	s.Folder, s.RequireSigned, s.Trust.AllowUnsigned = w.path("near"), true, []string{"bare"}
	l := w.open(s)
	for name, version := range map[string]string{"guard": "1.1.0", "far": "1.0.0"} {
		h, err := l.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if d := h.Decision(); d.Verdict.Release.Version != version || !l.Judge(h).OK {
			t.Errorf("%s: %+v", name, d)
		}
		if got, want := l.Offered(t.Context(), name), h.Offer(); got != want {
			t.Errorf("%s: offered %v, loaded %v", name, got, want)
		}
	}
	_, err := l.Load(t.Context(), "bare")
	wantCode(t, "bare", err, "unsigned")
	_, err = l.Peek(t.Context(), "nowhere")
	wantCode(t, "nowhere", err, "source_not_found")
	if o := l.Offered(t.Context(), "nowhere"); o.Refused != "source_not_found" {
		t.Errorf("%v", o)
	}
	h, err := l.Peek(t.Context(), "guard")
	if err != nil {
		t.Fatal(err)
	}
	decided, err := l.JudgeBy([]byte(`{"version":1,"rules":[{"name":"guard","min_serial":9000000000000}]}`), []*bundled.Holding{h})
	if err != nil || decided[0].Reason != "min_serial" {
		t.Errorf("%v, %+v", err, decided)
	}
	_, err = l.JudgeBy([]byte(`{`), nil)
	wantCode(t, "a policy that is none", err, "policy")
}
