package bundles

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/sealed"
)

// A Folder is a bundle's files on disk, for plugins that have to read them there. It is made anew for every start:
// nothing is believed because it is on disk.
type Folder struct {
	dir  string
	root *os.Root
}

// Unpack writes the verified files into a new folder below parent, which the caller makes, and which nobody else should
// be able to write to. The folder can be entered by its owner alone; files are read-only, those the bundle marks are
// executable. The caller closes it.
func (b *Bundle) Unpack(parent string) (*Folder, error) {
	dir, err := os.MkdirTemp(parent, "bundle-*") // 0700
	if err != nil {
		return nil, fmt.Errorf("unpack bundle %q: %w", b.verdict.Name, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("unpack bundle %q: %w", b.verdict.Name, errors.Join(err, os.Remove(dir)))
	}
	f := &Folder{dir: dir, root: root}
	for _, file := range b.files {
		if err := f.write(file); err != nil {
			return nil, fmt.Errorf("unpack bundle %q: %w", b.verdict.Name, errors.Join(err, f.Close()))
		}
	}
	return f, nil
}

// Dir is where the files are, an absolute path if parent was one.
func (f *Folder) Dir() string { return f.dir }

func (f *Folder) write(file file) error {
	if parent := path.Dir(file.Path); parent != "." {
		if err := f.root.MkdirAll(parent, 0o700); err != nil {
			return err
		}
	}
	mode := os.FileMode(0o400)
	if file.Exec {
		mode = 0o500
	}
	out, err := f.root.OpenFile(file.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return errors.Join(file.unpack(out), out.Close())
}

// Close removes the files.
func (f *Folder) Close() error {
	return errors.Join(f.root.Close(), os.RemoveAll(f.dir))
}

// Program returns a file of the bundle as memory that nobody can change any more, the gateway neither, ready to be
// executed as /proc/self/fd/N or by execveat. The caller closes it. errors.ErrUnsupported where the system has no
// such memory: Unpack is what is left there.
func (b *Bundle) Program(path string) (*os.File, error) {
	f, err := b.find(path)
	if err != nil {
		return nil, err
	}
	return sealed.New(strings.ReplaceAll(path, "/", "-"), f.unpack)
}
