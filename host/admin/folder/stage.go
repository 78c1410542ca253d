package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Staged are definitions that are checked and written beside their places. One of Commit and Abort ends it; until then
// nobody else writes to the folder.
type Staged struct {
	folder *Folder
	files  []stagedFile
	done   func()
}

type stagedFile struct{ temporary, path string }

// Stage checks definitions as the folder would have them with all of them in it, and writes them beside their places. The
// documents' files are base names; one that is there is replaced. Errors are ErrName, ErrElsewhere when an id stands in
// another file than the document's, *RefusedError and the file system's.
func (f *Folder) Stage(ctx context.Context, documents []Document) (*Staged, error) {
	f.mu.Lock()
	staged, err := f.stageLocked(ctx, documents)
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	staged.done = f.mu.Unlock
	return staged, nil
}

func (f *Folder) stageLocked(ctx context.Context, documents []Document) (*Staged, error) {
	all, err := f.All()
	if err != nil {
		return nil, err
	}
	files, ids := map[string]bool{}, map[string]bool{}
	for _, d := range documents {
		base := d.File[:len(d.File)-len(filepath.Ext(d.File))]
		if !isDefinition(d.File) || !idPattern.MatchString(base) {
			return nil, fmt.Errorf("file %q: %w", d.File, ErrName)
		}
		if files[d.File] || ids[d.ID] {
			return nil, fmt.Errorf("API %q in %s: %w", d.ID, d.File, ErrExists)
		}
		files[d.File], ids[d.ID] = true, true
		if i := slices.IndexFunc(all, func(there Document) bool { return there.ID == d.ID }); i >= 0 && all[i].File != d.File {
			return nil, fmt.Errorf("API %q: %w, %s here and %s there: rename one of them", d.ID, ErrElsewhere, all[i].File, d.File)
		}
	}
	if problems := f.problems(ctx, all, documents); problems.Refused() {
		return nil, &RefusedError{problems}
	}
	return f.stage(documents)
}

// stage writes documents beside their places.
func (f *Folder) stage(documents []Document) (*Staged, error) {
	s := &Staged{folder: f, done: func() {}}
	if len(documents) == 0 {
		return s, nil
	}
	if err := os.MkdirAll(f.o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("API definitions: %w", err)
	}
	for _, d := range documents {
		temporary, err := f.temporary(d.Text)
		if err != nil {
			s.Abort()
			return nil, fmt.Errorf("API definitions: %w", err)
		}
		s.files = append(s.files, stagedFile{temporary, filepath.Join(f.o.Dir, d.File)})
	}
	return s, nil
}

// temporary writes a file that nobody takes for a definition, down to the disk.
func (f *Folder) temporary(text []byte) (name string, err error) {
	file, err := os.CreateTemp(f.o.Dir, ".definition-*.tmp")
	if err != nil {
		return "", err
	}
	_, err = file.Write(text)
	err = errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// Commit puts the files into their places. When it fails, some may be there and others not.
func (s *Staged) Commit() error {
	defer s.done()
	for i, file := range s.files {
		if err := os.Rename(file.temporary, file.path); err != nil {
			s.files = s.files[i:]
			s.remove()
			return fmt.Errorf("API definitions: %w", err)
		}
	}
	if len(s.files) == 0 {
		return nil
	}
	return s.folder.sync()
}

// Abort forgets them.
func (s *Staged) Abort() {
	defer s.done()
	s.remove()
}

func (s *Staged) remove() {
	for _, file := range s.files {
		_ = os.Remove(file.temporary) // it is nobody's, and named as such
	}
}

// sync brings the names in the folder down to the disk.
func (f *Folder) sync() error {
	dir, err := os.Open(f.o.Dir)
	if err != nil {
		return fmt.Errorf("API definitions: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("API definitions: %w", err)
	}
	return nil
}
