package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/document"
)

// changesFile is the name of the file of changes, beside the embedded store's.
const changesFile = "settings.json"

// Changes are what was changed in the running gateway: values as a JSON file would say them, by path of setting.
type Changes map[string]json.RawMessage

// ErrPatch is wrapped by the errors of patches that say nothing which could be a change.
var ErrPatch = errors.New("not a change of settings")

// Patched returns the changes with those of a patch: a JSON object whose keys are those of settings, nested, or joined by
// dots, or both. null takes back a change, or all changes below; paths are what the patch sets. An alternative of
// what is set, as the secret's file is of the secret, goes. c stays as it is.
func (c Changes) Patched(patch []byte) (next Changes, paths []string, err error) {
	p := patching{next: maps.Clone(c), all: config.AllSettings()}
	if p.next == nil {
		p.next = Changes{}
	}
	dec := json.NewDecoder(bytes.NewReader(patch))
	dec.UseNumber()
	var object map[string]json.RawMessage
	if err := dec.Decode(&object); err != nil || object == nil || dec.More() {
		return nil, nil, fmt.Errorf("%w: want one JSON object", ErrPatch)
	}
	if _, problems := document.Parse("the change", patch); problems.Refused() { // such as a key that stands twice
		return nil, nil, fmt.Errorf("%w: %w", ErrPatch, problems.Err())
	}
	p.object("", object)
	for _, path := range p.paths {
		s, _ := p.setting(path)
		if other := s.Alternative(); other != "" && !slices.Contains(p.paths, other) {
			delete(p.next, other)
		}
	}
	slices.Sort(p.paths)
	return p.next, slices.Compact(p.paths), errors.Join(p.errs...)
}

// Without returns the changes without those of a path and below it. found says whether there were any; an error, that
// there is no such setting. c stays as it is.
func (c Changes) Without(path string) (next Changes, found bool, err error) {
	p := patching{next: maps.Clone(c), all: config.AllSettings()}
	before := len(p.next)
	p.takeBack(path)
	return p.next, len(p.next) < before, errors.Join(p.errs...)
}

type patching struct {
	next  Changes
	all   []config.Setting
	paths []string
	errs  []error
}

func (p *patching) object(prefix string, object map[string]json.RawMessage) {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		p.value(join(prefix, key), object[key])
	}
}

func (p *patching) value(path string, value json.RawMessage) {
	if bytes.Equal(value, []byte("null")) {
		p.takeBack(path)
		return
	}
	if s, is := p.setting(path); is {
		if s.StartsPrograms() {
			p.errs = append(p.errs, fmt.Errorf("%s decides which programs the gateway starts: say it in the settings file, the environment or by a flag", path))
		}
		if slices.Contains(p.paths, path) {
			p.errs = append(p.errs, fmt.Errorf("%q is said twice, nested and joined by dots", path))
		}
		p.next[path] = compact(value)
		p.paths = append(p.paths, path)
		return
	}
	var object map[string]json.RawMessage
	if !p.above(path) || json.Unmarshal(value, &object) != nil {
		p.unknown(path)
		return
	}
	p.object(path, object)
}

func (p *patching) takeBack(path string) {
	if _, is := p.setting(path); !is && !p.above(path) && p.next[path] == nil {
		p.unknown(path)
		return
	}
	for kept := range p.next {
		if kept == path || strings.HasPrefix(kept, path+".") {
			delete(p.next, kept)
		}
	}
}

func (p *patching) unknown(path string) {
	if p.above(path) {
		p.errs = append(p.errs, fmt.Errorf("%q holds settings: its value must be an object of them", path))
		return
	}
	known := make([]string, len(p.all))
	for i, s := range p.all {
		known[i] = s.Path
	}
	err := fmt.Errorf("there is no setting %q", path)
	if advice := document.Suggest(path, known); advice != "" {
		err = fmt.Errorf("%w (%s)", err, advice)
	}
	p.errs = append(p.errs, err)
}

// setting finds the setting that a path names.
func (p *patching) setting(path string) (config.Setting, bool) {
	i := slices.IndexFunc(p.all, func(s config.Setting) bool { return matches(s.Path, path, false) })
	if i < 0 {
		return config.Setting{}, false
	}
	return p.all[i], true
}

// above reports whether there are settings below a path.
func (p *patching) above(path string) bool {
	return slices.ContainsFunc(p.all, func(s config.Setting) bool { return matches(s.Path, path, true) })
}

// matches compares a path, or the beginning of one, with a setting's, in which "*" stands for a name.
func matches(setting, path string, beginning bool) bool {
	want, got := strings.Split(setting, "."), strings.Split(path, ".")
	if len(got) > len(want) || !beginning && len(got) < len(want) || beginning && len(got) == len(want) {
		return false
	}
	for i, key := range got {
		if want[i] != key && (want[i] != "*" || key == "") {
			return false
		}
	}
	return true
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

func compact(value json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return value // it has been parsed before
	}
	return b.Bytes()
}

// readChanges reads the changes that were kept; that there are none is no error.
func readChanges(path string) (Changes, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("changes of settings: %w", err)
	}
	var c Changes
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("changes of settings: %s: %w", path, err)
	}
	return c, nil
}

// Save keeps the changes in a file: when it returns nil they are on the disk, else the file is what it was.
func (c Changes) Save(path string) error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("changes of settings: %w", err)
	}
	if err := write(path, append(data, '\n')); err != nil {
		return fmt.Errorf("changes of settings: %w", err)
	}
	return nil
}

// write puts a file in its place in one step. It may hold secrets.
func write(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".settings-*") // readable by its owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
