package python

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Shim is our package for Python, in a folder, and where what interpreters make of it and of plugins is kept.
type Shim struct {
	dir  string // everything
	path string // the package, for PYTHONPATH
}

// Unpack puts the package's modules into a folder below dir, unless they are there: it is kept for the next time, by their
// digest. What interpreters compile goes below dir too, and never into plugins' own folders.
func Unpack(modules fs.FS, dir string) (*Shim, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Shim, error) {
		return nil, fmt.Errorf("put the package for Python into %s: %w", dir, err)
	}
	sum, err := digest(modules)
	if err != nil {
		return fail(err)
	}
	s := &Shim{dir: dir, path: filepath.Join(dir, fmt.Sprintf("shim-%x", sum[:8]))}
	if _, err := os.Stat(s.path); err == nil {
		return s, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // plugins may run as other users
		return fail(err)
	}
	fresh, err := os.MkdirTemp(dir, ".shim-")
	if err != nil {
		return fail(err)
	}
	err = errors.Join(os.CopyFS(fresh, modules), os.Chmod(fresh, 0o755)) //nolint:gosec // as above
	if err == nil {
		err = os.Rename(fresh, s.path)
	}
	if err == nil {
		return s, nil
	}
	if _, there := os.Stat(s.path); there == nil { // another gateway was faster
		return s, os.RemoveAll(fresh)
	}
	return fail(errors.Join(err, os.RemoveAll(fresh)))
}

// digest is over the names and texts of all modules.
func digest(modules fs.FS) ([]byte, error) {
	hash := sha256.New()
	err := fs.WalkDir(modules, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(modules, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(data))
		_, err = hash.Write(data)
		return err
	})
	return hash.Sum(nil), err
}

// Env is what interpreters need to find the package, and to keep what they compile.
func (s *Shim) Env() []string {
	return []string{"PYTHONPATH=" + s.path, "PYTHONPYCACHEPREFIX=" + filepath.Join(s.dir, "cache"), "PYTHONUNBUFFERED=1"}
}
