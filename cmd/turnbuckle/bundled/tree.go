package bundled

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
)

// Trees are folders with the files of bundles, for processes that have to read them on disk. A folder's name is the digest
// of what is in it, so that a changed bundle has another; what is there already is compared file by file before it is used
// again. Whoever can write there as the gateway's user can still change a file after that, while a process reads it.
// It is safe for concurrent use.
type Trees struct {
	dir string
	mu  sync.Mutex
}

// NewTrees returns the folders below dir, an absolute path, which is made when it is needed.
func NewTrees(dir string) *Trees { return &Trees{dir: dir} }

// TreesIn is where they are in a gateway's folder of data.
func TreesIn(data string) string { return filepath.Join(data, cacheName, "files") }

// TreeID is the name of a bundle's folder.
func TreeID(b *bundles.Bundle) string {
	sum := sha256.New()
	for _, f := range b.Files() {
		fmt.Fprintf(sum, "%s\x00%t\x00%s\n", f.Path, f.Exec, f.SHA256)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Open returns the absolute path of a folder with the bundle's files and no others, read-only, those executable that the
// bundle marks.
func (t *Trees) Open(b *bundles.Bundle) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dest := filepath.Join(t.dir, TreeID(b))
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("the files of bundle %q: %w", b.Verdict().Name, err)
	}
	if same(dest, b.Files()) == nil {
		return dest, nil
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return fail(err)
	}
	made, err := os.MkdirTemp(t.dir, ".new-")
	if err != nil {
		return fail(err)
	}
	if err = write(made, b); err == nil {
		err = same(made, b.Files())
	}
	if err == nil {
		err = t.replace(made, dest)
	}
	if err != nil {
		return fail(errors.Join(err, Remove(made)))
	}
	return dest, nil
}

// replace puts a folder where another may be, which goes: it is not what its name says.
func (t *Trees) replace(made, dest string) error {
	if _, err := os.Lstat(dest); err == nil {
		aside, err := os.MkdirTemp(t.dir, ".old-")
		if err != nil {
			return err
		}
		if err := os.Rename(dest, filepath.Join(aside, "files")); err != nil {
			return errors.Join(err, Remove(aside))
		}
		if err := Remove(aside); err != nil {
			return err
		}
	}
	return os.Rename(made, dest)
}

func write(dir string, b *bundles.Bundle) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range b.Files() {
		if parent := path.Dir(f.Path); parent != "." {
			if err := root.MkdirAll(parent, 0o700); err != nil {
				return err
			}
		}
		content, err := b.ReadFile(f.Path)
		if err != nil {
			return err
		}
		out, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = out.Write(content)
		if err = errors.Join(err, out.Chmod(mode(f)), out.Close()); err != nil {
			return err
		}
	}
	return folders(dir, 0o500)
}

func mode(f manifest.File) fs.FileMode {
	if f.Exec {
		return 0o500
	}
	return 0o400
}

// same says what is not as the list has it.
func same(dir string, files []manifest.File) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return errors.Join(err, fs.ErrNotExist)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := len(files)
	err = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		i := slices.IndexFunc(files, func(f manifest.File) bool { return f.Path == name })
		if i < 0 || !e.Type().IsRegular() {
			return fmt.Errorf("%s does not belong there", name)
		}
		left--
		return sameFile(root, files[i])
	})
	if err == nil && left != 0 {
		err = fmt.Errorf("%d files are missing", left)
	}
	return err
}

func sameFile(root *os.Root, f manifest.File) error {
	file, err := root.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm() != mode(f) || info.Size() != f.Size {
		return fmt.Errorf("%s has another mode or size", f.Path)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(file, f.Size+1)); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return fmt.Errorf("%s has other content", f.Path)
	}
	return nil
}

// folders gives all folders below one, and itself, a mode.
func folders(dir string, mode fs.FileMode) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(name, mode)
	})
}

// Remove removes a folder of trees, read-only folders in it too.
func Remove(dir string) error {
	if err := folders(dir, 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// Keep removes all folders but those with these names, and what was left unfinished.
func (t *Trees) Keep(ids []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !slices.Contains(ids, e.Name()) || strings.HasPrefix(e.Name(), ".") {
			errs = append(errs, Remove(filepath.Join(t.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
