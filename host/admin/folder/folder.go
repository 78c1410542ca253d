// Package folder reads and writes a folder of API definitions, one file each. What it writes is checked first, and is
// there whole or not at all. Who serves the folder has to read it again.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// What callers branch on, with errors.Is.
var (
	ErrUnknown = errors.New("API not found")
	ErrExists  = errors.New("there is an API of that id already")
	ErrName    = errors.New("an id has 1 to 128 letters, digits and . _ -, and begins with a letter or digit")
	// ErrElsewhere says that the definition stands in a file that is not written to.
	ErrElsewhere = errors.New("the definition stands in a file of another form")
)

// RefusedError says that a definition would be refused.
type RefusedError struct{ Problems config.Problems }

// Error lists the problems.
func (e *RefusedError) Error() string {
	return "the definition would be refused: " + e.Problems.Err().Error()
}

// Options of a folder. All are required.
type Options struct {
	Dir    string
	Loader config.Loader
	// Check returns why a definition that can be read could not serve.
	Check func(ctx context.Context, d *config.Definition) config.Problems
}

// Folder is safe for concurrent use; others should not write to the folder at the same moment.
type Folder struct {
	o  Options
	mu sync.Mutex // held by who writes
}

// New does not look at the folder yet.
func New(o Options) *Folder { return &Folder{o: o} }

// Document is a definition as its file has it.
type Document struct {
	ID   string
	File string // its base name
	Text []byte // of the file
}

// JSON is the document, whatever form its file has. References are not resolved.
func (d *Document) JSON() ([]byte, error) {
	root, problems := document.Parse(d.File, d.Text)
	if root == nil || problems.Refused() {
		return nil, fmt.Errorf("%s: %w", d.File, problems.Err())
	}
	text, problems := root.JSON()
	if problems.Refused() {
		return nil, fmt.Errorf("%s: %w", d.File, problems.Err())
	}
	return text, nil
}

// All returns the documents in the order of their file names, those that are refused as well; none when there is no
// folder.
func (f *Folder) All() ([]Document, error) {
	entries, err := os.ReadDir(f.o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("API definitions: %w", err)
	}
	var all []Document
	for _, e := range entries {
		if !isDefinition(e.Name()) || e.IsDir() {
			continue
		}
		text, err := readFile(filepath.Join(f.o.Dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("API definitions: %w", err)
		}
		id, _, _ := f.parse(e.Name(), text)
		all = append(all, Document{ID: id.ID, File: e.Name(), Text: text})
	}
	return all, nil
}

// Get returns the definition of an id. Errors are ErrUnknown and the file system's.
func (f *Folder) Get(id string) (*Document, error) {
	all, err := f.All()
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(d Document) bool { return d.ID == id }); i >= 0 {
		return &all[i], nil
	}
	return nil, fmt.Errorf("%q: %w", id, ErrUnknown)
}

// Create writes a definition, in JSON, whose id is new: <id>.json. Errors are ErrExists, ErrName, *RefusedError and the
// file system's.
func (f *Folder) Create(ctx context.Context, id string, text []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.All()
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(all, func(d Document) bool { return d.ID == id }); i >= 0 {
		return fmt.Errorf("%w, in %s", ErrExists, all[i].File)
	}
	name := id + ".json"
	if !validID(id) || slices.ContainsFunc(all, func(d Document) bool { return strings.EqualFold(d.File, name) }) {
		return fmt.Errorf("%q: %w, and there is no file of that name yet", id, ErrName)
	}
	return f.write(ctx, all, []Document{{ID: id, File: name, Text: text}})
}

// Replace writes a definition, in JSON, over the one of its id. Errors are ErrUnknown, ErrElsewhere, *RefusedError and the
// file system's.
func (f *Folder) Replace(ctx context.Context, id string, text []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, err := f.All()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(d Document) bool { return d.ID == id })
	switch {
	case i < 0:
		return fmt.Errorf("%q: %w", id, ErrUnknown)
	case strings.ToLower(filepath.Ext(all[i].File)) != ".json":
		return fmt.Errorf("%w, %s: change it there, or delete it and create it anew", ErrElsewhere, all[i].File)
	}
	return f.write(ctx, all, []Document{{ID: id, File: all[i].File, Text: text}})
}

// write checks documents, and puts them into their files.
func (f *Folder) write(ctx context.Context, all, documents []Document) error {
	if problems := f.problems(ctx, all, documents); problems.Refused() {
		return &RefusedError{problems}
	}
	staged, err := f.stage(documents)
	if err != nil {
		return err
	}
	return staged.Commit()
}

// Delete removes the file of a definition. Errors are ErrUnknown and the file system's.
func (f *Folder) Delete(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, err := f.Get(id)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(f.o.Dir, d.File)); err != nil {
		return fmt.Errorf("API definitions: %w", err)
	}
	return f.sync()
}

// Identify reads what a definition in JSON is known by, and whether it says an id itself.
func (f *Folder) Identify(text []byte) (id config.Identity, said bool) {
	id, _, _ = f.parse("definition.json", text)
	root, _ := document.Parse("definition.json", text)
	if root == nil || root.Kind != document.Mapping {
		return id, false
	}
	n := root.Get(f.idKey(root))
	return id, n != nil && n.Kind == document.String && n.Text != ""
}

// IDKey is the key that the id of a definition in JSON stands under.
func (f *Folder) IDKey(text []byte) string {
	root, _ := document.Parse("definition.json", text)
	return f.idKey(root)
}

func (f *Folder) idKey(root *document.Node) string {
	if root != nil && f.o.Loader.Classic != nil && f.o.Loader.Classic.Recognises(root) {
		return "api_id"
	}
	return "id"
}

// parse makes a definition, nil when it is refused, of a file.
func (f *Folder) parse(name string, text []byte) (config.Identity, *config.Definition, config.Problems) {
	d, refused := f.o.Loader.Parse(filepath.Join(f.o.Dir, name), text)
	if refused != nil {
		return refused.Identity, nil, refused.Problems
	}
	return config.Identity{ID: d.ID, ListenPath: d.Listen.Path, Host: d.Listen.Host}, d, nil
}

// problems says why documents would be refused beside those that are there.
func (f *Folder) problems(ctx context.Context, all, documents []Document) config.Problems {
	var problems config.Problems
	type place struct{ id, file string }
	places := map[string]place{}
	for _, d := range all {
		if slices.ContainsFunc(documents, func(n Document) bool { return n.File == d.File }) {
			continue
		}
		id, parsed, _ := f.parse(d.File, d.Text)
		if at := placeOf(id); at != "" && (parsed == nil || parsed.Active) {
			places[at] = place{d.ID, d.File}
		}
	}
	refuse := func(file, format string, args ...any) {
		problems = append(problems, config.Problem{File: file, Severity: config.SeverityError, Message: fmt.Sprintf(format, args...)})
	}
	for _, d := range documents {
		id, parsed, bad := f.parse(d.File, d.Text)
		for i := range bad {
			bad[i].File = d.File // without the folder: whoever sent it does not know of one
		}
		problems = append(problems, bad...)
		if id.ID != d.ID {
			refuse(d.File, "its id is %q, not %q", id.ID, d.ID)
		}
		if parsed == nil {
			continue
		}
		if at := placeOf(id); at != "" && parsed.Active {
			if other, taken := places[at]; taken {
				refuse(d.File, "listen path %s%s is already that of API %q, in %s", id.Host, id.ListenPath, other.id, other.file)
			}
			places[at] = place{d.ID, d.File}
		}
		for _, p := range f.o.Check(ctx, parsed) {
			p.File = d.File
			problems = append(problems, p)
		}
	}
	return problems.Of(config.SeverityError)
}

// placeOf is what no two active definitions may share, empty when it is not known.
func placeOf(id config.Identity) string {
	if id.ListenPath == "" {
		return ""
	}
	return strings.ToLower(id.Host) + " /" + strings.Trim(id.ListenPath, "/")
}

func isDefinition(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".json", ".yaml", ".yml"}, strings.ToLower(filepath.Ext(name)))
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// validID reports whether an id can be the name of a file, and of no half of an OAS or MCP pair.
func validID(id string) bool {
	return idPattern.MatchString(id) && !strings.HasSuffix(id, "-oas") && !strings.HasSuffix(id, "-mcp")
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, document.MaxBytes+1))
	if err != nil {
		return nil, err
	}
	return text, nil
}
