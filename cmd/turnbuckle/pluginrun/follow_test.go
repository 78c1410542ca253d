package pluginrun

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"main.js", "lib/a.js", ".git/config", "node_modules/x/index.js", "s.sock", "old~", "__pycache__/x.pyc"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var dirs []string
	look := func() files { dirs = nil; return scan(dir, func(d string) { dirs = append(dirs, d) }) }
	before := look()
	if len(before) != 2 || !slices.Equal(dirs, []string{dir, filepath.Join(dir, "lib")}) {
		t.Errorf("got %v in %v", before, dirs)
	}
	if names := before.changed(look(), nil); names != nil {
		t.Errorf("nothing has changed, and got %v", names)
	}
	for name, text := range map[string]string{"lib/a.js": "other", "new.js": "", "built": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "main.js")); err != nil {
		t.Fatal(err)
	}
	if names := before.changed(look(), map[string]bool{"built": true}); !slices.Equal(names, []string{"lib/a.js", "main.js", "new.js"}) {
		t.Errorf("got %v", names)
	}
}

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &options{requests: []string{"get /a?b=1", "/c"}, headers: []string{"X-A: 1", "X-B:"}, body: "@" + file}
	got, err := o.parse()
	if err != nil || len(got) != 2 || got[0].method != "GET" || got[0].target != "/a?b=1" || got[1].method != "POST" ||
		len(got[1].header) != 2 || string(got[1].body) != "text" {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []options{
		{requests: []string{"GET a"}}, {requests: []string{"GET"}}, {requests: []string{"G(T /a"}}, {requests: []string{"GET /a b"}}, {requests: []string{""}},
		{requests: []string{"/a"}, headers: []string{"X"}}, {requests: []string{"/a"}, headers: []string{"X: a\nb"}}, {requests: []string{"/a"}, body: "@/nowhere"},
		{headers: []string{"X: 1"}},
	} {
		if got, err := bad.parse(); err == nil {
			t.Errorf("%+v was taken: %+v", bad, got)
		}
	}
}

func TestLog(t *testing.T) {
	for line, wanted := range map[string]bool{
		`{"level":"INFO","msg":"serving"}`: false, `{"level":"WARN","msg":"x","hook":"h","request_id":"1"}`: false,
		`{"level":"ERROR","msg":"reload: nothing has changed"}`: false, `{"level":"WARN","msg":"x","hook":"h"}`: true, "no JSON": true,
	} {
		if e, got := logOf([]byte(line)); got != wanted || got && e.Level != "WARN" {
			t.Errorf("%s: got %v %+v", line, got, e)
		}
	}
}
