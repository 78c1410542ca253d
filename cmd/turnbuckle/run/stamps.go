package run

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// stamps tells whether files are what they were: by path, when each was written and how large it is.
type stamps map[string]string

// add stamps a file, or each file of a folder; "" is none.
func (s stamps) add(paths ...string) {
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

// outside stamps the files that definitions name and routes read once: certificates towards targets and plugin
// servers, templates.
func outside(s *config.Settings, d *definitions) stamps {
	all := stamps{}
	all.add(s.Errors.Dir)
	for _, c := range d.servers {
		all.add(c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	}
	for _, def := range d.set.Definitions {
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
	all := stamps{}
	all.add(c.TLS.CAFile, c.TLS.CertFile, c.TLS.KeyFile)
	return strings.Join([]string{all[c.TLS.CAFile], all[c.TLS.CertFile], all[c.TLS.KeyFile]}, "/")
}
