package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// folder is where the files that a document names are looked for.
type folder struct {
	// dir is absolute.
	dir string
	// also are absolute folders that absolute paths may lie in.
	also []string
	// anywhere lets the document name any file: settings are the operator's own.
	anywhere bool
	// bundle, if there is one, is what files are read from that stay in memory; dir is then its folder, or empty.
	bundle BundleFiles
}

// open opens a file below the folder, through no symbolic link that leads out of it.
func (f folder) open(path string) (*os.File, error) {
	if f.anywhere {
		return openRegular(f.join(path), os.Stat, os.Open)
	}
	base, rel := f.dir, path
	if filepath.IsAbs(path) {
		if base, rel = f.inside(path); base == "" {
			return nil, fmt.Errorf("%s: an absolute path is not accepted here: write it relative to %s, "+
				"or list its folder under secret_dirs in the settings when it is a secret", path, f.dir)
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return openRegular(rel, root.Stat, root.Open)
}

// inside returns the listed folder that an absolute path lies in.
func (f folder) inside(path string) (base, rel string) {
	for _, dir := range f.also {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return dir, rel
		}
	}
	return "", ""
}

// openRegular looks before it opens: opening a pipe would wait for a writer.
func openRegular(path string, stat func(string) (fs.FileInfo, error), open func(string) (*os.File, error)) (*os.File, error) {
	info, err := stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return open(path)
}

// read reads at most limit+1 bytes of a file.
func (f folder) read(path string, limit int64) ([]byte, error) {
	if f.bundle != nil {
		return f.bundle.Read(filepath.ToSlash(filepath.Clean(path)))
	}
	file, err := f.open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit+1))
}

// file turns the path of a file that must be readable into an absolute one.
func (f folder) file(path string) (string, error) {
	file, err := f.open(path)
	if err != nil {
		return path, err
	}
	return f.join(path), file.Close()
}

// directory turns the path of a folder that must exist into an absolute one.
func (f folder) directory(path string) (string, error) {
	stat := os.Stat
	name := f.join(path)
	if !f.anywhere {
		if filepath.IsAbs(path) {
			return path, fmt.Errorf("%s: an absolute path is not accepted here: write it relative to %s", path, f.dir)
		}
		root, err := os.OpenRoot(f.dir)
		if err != nil {
			return path, err
		}
		defer root.Close()
		stat, name = root.Stat, path
	}
	info, err := stat(name)
	switch {
	case err != nil:
		return path, err
	case !info.IsDir():
		return path, fmt.Errorf("%s: not a folder", path)
	}
	return f.join(path), nil
}

func (f folder) join(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(f.dir, path)
}

// why shortens an error of the file system for a message.
func why(err error) string {
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file"
	case errors.As(err, &pathErr):
		return strings.TrimPrefix(pathErr.Err.Error(), "at ")
	}
	return err.Error()
}

// fileFields makes the paths in a document absolute and reports those that cannot be used.
type fileFields struct {
	validator
	folder folder
	built  bool // the program is made by a build
}

func (f *fileFields) file(path string, value *string) {
	if *value == "" {
		return
	}
	abs, err := f.folder.file(*value)
	if err != nil {
		f.errorf(path, "cannot use %q: %s", *value, why(err))
	}
	*value = abs
}

func (f *fileFields) directory(path string, value *string) {
	if *value == "" {
		return
	}
	abs, err := f.folder.directory(*value)
	if err != nil {
		f.errorf(path, "cannot use %q: %s", *value, why(err))
	}
	*value = abs
}
