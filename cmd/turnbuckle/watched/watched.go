// Package watched knows which folders have to be watched for changes of what serves, and which changes in them matter.
package watched

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// maxFolders bounds how many folders with scripts, and with the code of plugin servers, are watched.
const maxFolders = 256

// Folders are those that definitions, plugins, policies and scripts come from, and files those that say settings. Their
// parents are watched too: that is where one shows that is made, renamed or, being a symbolic link, pointed elsewhere. For a
// parent that is not there its own parent is, and so on.
type Folders struct {
	apis, plugins, policies string
	scripts                 []string // each by itself, sorted
	code                    []string // of plugin servers that are started, each by itself, sorted
	files                   []string
}

// New returns what the settings, the definitions and the plugins, which may be none yet, come from. files are those that say
// settings.
func New(s *config.Settings, files []string, defs []*config.Definition, plugins []*config.Plugin) *Folders {
	f := &Folders{apis: filepath.Clean(s.APIs), plugins: filepath.Clean(s.Plugins), policies: filepath.Clean(s.Policies)}
	f.files = slices.Clone(files)
	if s.Scripts.Middleware != "" {
		below(s.Scripts.Middleware, &f.scripts)
	}
	for _, d := range defs {
		for i := range d.Scripts {
			f.script(&d.Scripts[i])
		}
	}
	slices.Sort(f.scripts)
	f.scripts = slices.Compact(f.scripts)
	for _, p := range plugins {
		folder := p.Server.Start.Folder
		if code := p.Script(); code != nil {
			folder = code.Python.Folder
		}
		if folder != "" && p.Broken == nil {
			below(folder, &f.code)
		}
	}
	slices.Sort(f.code)
	for _, c := range s.Servers {
		if command := c.Start.Command; len(command) > 0 && filepath.IsAbs(command[0]) {
			f.files = append(f.files, command[0])
		}
	}
	slices.Sort(f.files)
	return f
}

// script adds the folders of a script's files, and of what it may require.
func (f *Folders) script(s *config.Script) {
	for _, dir := range []string{s.Modules, s.Python.Folder} {
		if dir != "" {
			below(dir, &f.scripts)
		}
	}
	for _, source := range s.Sources {
		if source.File != "" {
			f.scripts = append(f.scripts, filepath.Dir(source.File))
		}
	}
}

// below adds a folder and those in it, as far as they are there.
func below(dir string, to *[]string) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // WalkDir does not follow a link, and plugin folders may be such
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { // what cannot be read cannot be watched
		switch {
		case err != nil || len(*to) >= maxFolders:
			return fs.SkipAll
		case !e.IsDir():
			return nil
		case path != dir && (strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" || e.Name() == "__pycache__"):
			return fs.SkipDir
		}
		*to = append(*to, path)
		return nil
	})
}

// Watch begins to watch what is there. A folder is watched anew each time, for the one of its name may be another.
func (f *Folders) Watch(w *fsnotify.Watcher) {
	again := func(path string) error {
		_ = w.Remove(path) // it may not be watched
		return w.Add(path)
	}
	for _, path := range append([]string{f.apis, f.plugins, f.policies}, f.files...) {
		reach(w, filepath.Dir(path))
	}
	for _, path := range slices.Concat([]string{f.apis, f.policies}, f.scripts, f.code) {
		_ = again(path)
	}
	if again(f.plugins) != nil {
		return
	}
	entries, err := os.ReadDir(f.plugins)
	if err != nil {
		return
	}
	for _, e := range entries {
		if path := filepath.Join(f.plugins, e.Name()); isFolder(path) {
			_ = again(path)
		}
	}
}

// reach watches a folder or, while it is not there, the nearest above it that is. It tries again once the one above is
// watched: the folder may have been made meanwhile.
func reach(w *fsnotify.Watcher, path string) {
	if w.Add(path) == nil || filepath.Dir(path) == path {
		return
	}
	reach(w, filepath.Dir(path))
	_ = w.Add(path) // or the one above tells when it comes
}

// isFolder follows symbolic links: plugin folders may be such.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Concerned reports whether a change of that path may be one of what is watched: of what stands beside a folder or a file, or
// beside one above it, only the folder or the file itself is. A config map is changed by what its ..data points to. What
// plugins write into their folders while they run is no change of them.
func (f *Folders) Concerned(path string) bool {
	path = filepath.Clean(path)
	dir := filepath.Dir(path)
	for _, folder := range []string{f.apis, f.plugins, f.policies} {
		if holds(path, folder) || dir == folder {
			return true
		}
	}
	for _, file := range f.files {
		if path == file || path == filepath.Join(filepath.Dir(file), "..data") {
			return true
		}
	}
	if _, ok := slices.BinarySearch(f.scripts, dir); ok {
		switch filepath.Ext(path) {
		case ".js", ".lua", ".json", ".py", "":
			return true
		case ".txt":
			return filepath.Base(path) == "requirements.txt"
		}
	}
	_, code := slices.BinarySearch(f.code, dir)
	return (code || filepath.Dir(dir) == f.plugins) && counts(path)
}

// counts reports whether a file of that name may be one that a plugin is made of.
func counts(path string) bool {
	switch filepath.Ext(path) {
	case "", ".json", ".yaml", ".yml", ".toml", ".pem", ".crt", ".key":
		return true
	}
	return outside.IsCode(path)
}

// holds reports whether a path is the folder, or one above it.
func holds(path, folder string) bool {
	return path == folder || strings.HasPrefix(folder, strings.TrimSuffix(path, "/")+"/")
}
