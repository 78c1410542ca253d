package outside

import (
	"fmt"
	"os"
	"path/filepath"
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

// Files stamps the files that settings and definitions name and routes read once: templates, which errorsDir is a folder of,
// and certificates towards targets and plugin servers.
func Files(errorsDir string, servers map[string]config.PluginServer, defs []*config.Definition) Stamps {
	all := Stamps{}
	all.add(errorsDir)
	for _, c := range servers {
		all.add(c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	}
	for _, def := range defs {
		t := &def.Upstream.TLS
		all.add(def.Errors.Dir, t.CAFile, t.CertFile, t.KeyFile)
	}
	return all
}

// ofServer stamps the certificates towards a plugin server, in one word: a server whose certificates have changed is
// connected to anew.
func ofServer(c *config.PluginServer) string {
	if !c.TLS.Enabled {
		return ""
	}
	all := Stamps{}
	all.add(c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	return strings.Join([]string{all[c.TLS.CAFile], all[c.TLS.CertFile], all[c.TLS.KeyFile]}, "/")
}
