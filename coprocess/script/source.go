package script

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Source is the text of a script.
type Source struct {
	Name string // relative to its root, with slashes, as errors name it
	Text string
}

// Files reads source files from one folder and what is below it, never outside, links included. It is safe for
// concurrent use; the owner closes it.
type Files struct {
	root  *os.Root // nil: texts
	texts map[string]string
	dir   string
	most  int64
}

// OpenFiles returns the files below dir. None of more than most bytes is read.
func OpenFiles(dir string, most int64) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("scripts: %w", err)
	}
	return &Files{root: root, dir: dir, most: most}, nil
}

// MemoryFiles returns files that are texts already, by paths with slashes; nobody changes them. An absolute path leads to
// none of them.
func MemoryFiles(texts map[string]string, most int64) *Files {
	return &Files{texts: texts, dir: "the bundle", most: most}
}

// Close gives the folder back.
func (f *Files) Close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// Dir is the folder as it was opened.
func (f *Files) Dir() string { return f.dir }

// Read returns the file of that path relative to the folder. One that is outside of it is an error, and so is one that
// is no regular file or too large. An absolute path is fine where it leads into the folder.
func (f *Files) Read(name string) (Source, error) {
	clean, err := f.local(name)
	if err != nil {
		return Source{}, err
	}
	if f.root == nil {
		text, ok := f.texts[clean]
		switch {
		case !ok:
			return Source{}, fmt.Errorf("script %s: %w", name, fs.ErrNotExist)
		case int64(len(text)) > f.most:
			return Source{}, fmt.Errorf("script %s: more than %d bytes", name, f.most)
		}
		return Source{Name: clean, Text: text}, nil
	}
	file, err := f.root.Open(filepath.FromSlash(clean))
	if err != nil {
		return Source{}, fmt.Errorf("script %s: %w", name, under(err))
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return Source{}, fmt.Errorf("script %s: %w", name, under(err))
	}
	if !info.Mode().IsRegular() {
		return Source{}, fmt.Errorf("script %s: not a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(file, f.most+1))
	switch {
	case err != nil:
		return Source{}, fmt.Errorf("script %s: %w", name, under(err))
	case int64(len(text)) > f.most:
		return Source{}, fmt.Errorf("script %s: more than %d bytes", name, f.most)
	}
	return Source{Name: clean, Text: string(text)}, nil
}

// Exists reports whether Read would find a regular file there.
func (f *Files) Exists(name string) bool {
	clean, err := f.local(name)
	if err != nil {
		return false
	}
	if f.root == nil {
		_, ok := f.texts[clean]
		return ok
	}
	info, err := f.root.Stat(filepath.FromSlash(clean))
	return err == nil && info.Mode().IsRegular()
}

// List returns the paths of the regular files in a folder below, not deeper, whose names end in ext, by name; none when
// there is no such folder.
func (f *Files) List(dir, ext string) ([]string, error) {
	clean, err := f.local(dir)
	if err != nil {
		return nil, err
	}
	if f.root == nil {
		var names []string
		for name := range f.texts {
			if path.Dir(name) == clean && strings.HasSuffix(name, ext) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names, nil
	}
	entries, err := fs.ReadDir(f.root.FS(), clean)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("scripts %s: %w", dir, under(err))
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), ext) {
			names = append(names, path.Join(clean, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Sources reads those files of a bundle's list that have the extension, in its order; others are passed over.
func (f *Files) Sources(list []string, ext string) ([]Source, error) {
	var all []Source
	for _, name := range list {
		if path.Ext(name) != ext {
			continue
		}
		source, err := f.Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, source)
	}
	return all, nil
}

// local makes a path relative to the folder, with slashes.
func (f *Files) local(name string) (string, error) {
	if filepath.IsAbs(name) && f.root == nil {
		return "", fmt.Errorf("script %s: outside of the bundle", name)
	}
	if filepath.IsAbs(name) {
		dir, err := filepath.Abs(f.dir)
		if err != nil {
			return "", fmt.Errorf("script %s: %w", name, err)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return "", fmt.Errorf("script %s: outside of %s", name, f.dir)
		}
		name = rel
	}
	clean := path.Clean(filepath.ToSlash(name))
	if !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", fmt.Errorf("script %s: outside of %s", name, f.dir)
	}
	return clean, nil
}

// under is what happened, without the operation that the caller names itself.
func under(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
