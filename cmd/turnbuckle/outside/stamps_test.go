package outside

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Files that definitions name count as changes of them, also when the definitions stay what they were.
func TestStamps(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"/ca.pem", "/plugin.pem", "/errors/error.json"} {
		put(t, dir+name, "1")
	}
	def := &config.Definition{Upstream: config.Upstream{TLS: config.ClientTLS{CAFile: dir + "/ca.pem", KeyFile: dir + "/missing"}}}
	def.Errors.Dir = dir + "/errors"
	files := func() Stamps { return Files("", nil, []*config.Definition{def}) }
	server := &config.PluginServer{TLS: config.PluginTLS{Enabled: true, CAFile: dir + "/plugin.pem"}}
	before, beforeServer := files(), ofServer(server)
	if !maps.Equal(before, files()) || beforeServer != ofServer(server) {
		t.Fatal("nothing has changed")
	}
	later := time.Now().Add(time.Hour)
	for _, name := range []string{"/ca.pem", "/errors/error.json"} {
		if err := os.Chtimes(dir+name, later, later); err != nil {
			t.Fatal(err)
		}
		after := files()
		if maps.Equal(before, after) {
			t.Errorf("%s: the change goes unseen", name)
		}
		before = after
	}
	put(t, dir+"/missing", "here")
	if maps.Equal(before, files()) {
		t.Error("a file that came goes unseen")
	}
	put(t, dir+"/plugin.pem", "another")
	if beforeServer == ofServer(server) {
		t.Error("a plugin server's certificate that changed goes unseen")
	}
	if ofServer(&config.PluginServer{}) != "" {
		t.Error("a server without TLS has no files")
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Plugin folders may be links to where they are written: their code counts all the same.
func TestCodeBehindALink(t *testing.T) {
	real, link := t.TempDir(), filepath.Join(t.TempDir(), "plugin")
	put(t, real+"/lib/hooks.py", "1")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	server := &config.PluginServer{Start: config.PluginStart{Folder: link}}
	before := ofServer(server)
	put(t, real+"/lib/hooks.py", "another")
	if before == "" || before == ofServer(server) {
		t.Error("a change of code behind a link goes unseen")
	}
}
