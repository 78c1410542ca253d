package outside

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Stamps tells whether files are what they were: by path, when each was written and how large it is.
type Stamps map[string]string

// add stamps a file, or each file of a folder; "" is none.
func (s Stamps) add(paths ...string) {
	for _, path := range paths {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			s[path] = err.Error()
			continue
		}
		s[path] = fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
		if !info.IsDir() {
			continue
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			s[path] = err.Error()
			continue
		}
		for _, e := range entries {
			file := filepath.Join(path, e.Name()) // which may be a link
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				s[file] = fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
			}
		}
	}
}

// Bounds of what is looked at in a plugin's folder.
const (
	maxCodeFiles = 4096
	maxCodeDepth = 8
)

// code stamps the files of a plugin's folder that its program may be made of: those that can be executed, and sources by
// their ending. What a running program writes is to be none of them.
func (s Stamps) code(dir string) {
	left := maxCodeFiles
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // WalkDir does not follow a link, and plugin folders may be such
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { // what cannot be read cannot be run either
		switch {
		case err != nil:
			return nil
		case left == 0:
			return fs.SkipAll
		case e.IsDir():
			deep := strings.Count(strings.TrimPrefix(path, dir), string(filepath.Separator)) > maxCodeDepth
			if path != dir && (deep || strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" || e.Name() == "__pycache__") {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(path) // which may be a link
		if err != nil || !info.Mode().IsRegular() || !IsCode(path) && info.Mode()&0o111 == 0 {
			return nil
		}
		left--
		s[path] = fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size())
		return nil
	})
}

// IsCode reports whether a file is one that programs are made of, by its ending.
func IsCode(path string) bool {
	switch filepath.Ext(path) {
	case ".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".lua", ".pl", ".php", ".sh", ".jar", ".class", ".so":
		return true
	}
	return filepath.Base(path) == config.PluginFile
}

// word says in one word what is stamped.
func (s Stamps) word() string {
	h := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(h, "%q %q\n", path, s[path])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Files stamps the files that settings and definitions name and routes read once: templates, which errorsDir is a folder of,
// certificates towards targets and plugin servers, and the code of plugin servers that the gateway starts.
func Files(errorsDir string, servers map[string]config.PluginServer, defs []*config.Definition) Stamps {
	all := Stamps{}
	all.add(errorsDir)
	for _, c := range servers {
		all.server(&c)
	}
	for _, def := range defs {
		t := &def.Upstream.TLS
		all.add(def.Errors.Dir, t.CAFile, t.CertFile, t.KeyFile)
	}
	return all
}

// server stamps what a plugin server is made of besides its settings: certificates, the program and, of a plugin, the code
// in its folder.
func (s Stamps) server(c *config.PluginServer) {
	if c.TLS.Enabled {
		s.add(c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	}
	if command := c.Start.Command; len(command) > 0 && filepath.IsAbs(command[0]) {
		s.add(command[0])
	}
	if c.Start.Folder != "" {
		s.code(c.Start.Folder)
	}
}

// ofServer stamps a plugin server, in one word: one whose files have changed is connected to, or started, anew.
func ofServer(c *config.PluginServer) string {
	all := Stamps{}
	all.server(c)
	if len(all) == 0 {
		return ""
	}
	return all.word()
}
