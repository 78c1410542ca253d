package scripts

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// maxModules is how many files and folders are looked at for changes of what scripts may require.
const maxModules = 4096

// modules tells the files that a script may require as they are: by path, when each was written and how large it is.
func modules(dir string, language config.Language) map[string]string {
	found := map[string]string{}
	if dir == "" {
		return found
	}
	seen := 0
	// What cannot be read is left out; requiring it fails, and says why.
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		seen++
		switch {
		case seen > maxModules:
			return fs.SkipAll
		case err != nil:
			return fs.SkipDir
		case e.IsDir() && name != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules"):
			return fs.SkipDir
		case e.IsDir() || path.Ext(name) != "."+string(language) && path.Ext(name) != ".json":
			return nil
		}
		if info, err := e.Info(); err == nil {
			found[name] = fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
		}
		return nil
	})
	return found
}

// Modules tells the files that scripts may require as they are, by path: when each was written and how large it is.
func Modules(defs []*config.Definition, plugins []*config.Plugin) map[string]string {
	all := map[string]string{}
	add := func(s *config.Script) {
		for name, stamp := range modules(s.Modules, s.Language) {
			all[filepath.Join(s.Modules, name)] = stamp
		}
	}
	for _, d := range defs {
		for i := range d.Scripts {
			add(&d.Scripts[i])
		}
	}
	for _, p := range plugins {
		if s := p.Script(); s != nil {
			add(s)
		}
	}
	return all
}
