package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

func newFolder(t *testing.T) (*Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "apis")
	check := func(context.Context, *config.Definition) config.Problems { return nil }
	return New(Options{Dir: dir, Loader: config.Loader{Classic: tyk.New(tyk.Options{})}, Check: check}), dir
}

func native(id, path string) []byte {
	return []byte(`{"id":"` + id + `","listen":{"path":"` + path + `"},"upstream":{"url":"http://127.0.0.1:1"}}`)
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestStage(t *testing.T) {
	f, dir := newFolder(t)
	ctx := t.Context()
	if err := f.Create(ctx, "a", native("a", "/a")); err != nil {
		t.Fatal(err)
	}
	documents := []Document{
		{ID: "a", File: "a.json", Text: native("a", "/b")}, // gives its path up for the next
		{ID: "c", File: "c.yaml", Text: []byte("id: c\nlisten: {path: /a}\nupstream: {url: \"http://127.0.0.1:1\"}\n")},
	}
	staged, err := f.Stage(ctx, documents)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "a.json")); err != nil || string(text) != string(native("a", "/a")) {
		t.Errorf("it is there before it should be: %s %v", text, err)
	}
	staged.Abort()
	if got := names(t, dir); got != "a.json" {
		t.Errorf("after an abort there is %s", got)
	}
	if staged, err = f.Stage(ctx, documents); err != nil {
		t.Fatal(err)
	}
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "a.json c.yaml" {
		t.Errorf("after a commit there is %s", got)
	}
	info, err := os.Stat(filepath.Join(dir, "c.yaml"))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("got %v %v", info, err)
	}
}

func TestStageRefuses(t *testing.T) {
	f, dir := newFolder(t)
	if err := f.Create(t.Context(), "a", native("a", "/a")); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	for name, tt := range map[string]struct {
		documents []Document
		want      error
		text      string
	}{
		"a name that leads out":    {[]Document{{ID: "x", File: "../x.json", Text: native("x", "/x")}}, ErrName, ""},
		"no definition":            {[]Document{{ID: "x", File: "x.txt", Text: native("x", "/x")}}, ErrName, ""},
		"hidden":                   {[]Document{{ID: "x", File: ".x.json", Text: native("x", "/x")}}, ErrName, ""},
		"an id in another file":    {[]Document{{ID: "a", File: "b.json", Text: native("a", "/x")}}, ErrElsewhere, "a.json"},
		"one file twice":           {[]Document{{ID: "x", File: "x.json", Text: native("x", "/x")}, {ID: "y", File: "x.json", Text: native("y", "/y")}}, ErrExists, ""},
		"one id twice":             {[]Document{{ID: "x", File: "x.json", Text: native("x", "/x")}, {ID: "x", File: "y.json", Text: native("x", "/y")}}, ErrExists, ""},
		"one path twice":           {[]Document{{ID: "x", File: "x.json", Text: native("x", "/x")}, {ID: "y", File: "y.json", Text: native("y", "/x/")}}, nil, `already that of API "x"`},
		"the path of what is here": {[]Document{{ID: "x", File: "x.json", Text: native("x", "/a")}}, nil, `already that of API "a"`},
		"broken":                   {[]Document{{ID: "x", File: "x.json", Text: []byte("{")}}, nil, "x.json"},
	} {
		t.Run(name, func(t *testing.T) {
			staged, err := f.Stage(t.Context(), tt.documents)
			if staged != nil || err == nil || !strings.Contains(err.Error(), tt.text) || tt.want != nil && !errors.Is(err, tt.want) || tt.want == nil && !errors.As(err, &refused) {
				t.Errorf("got %v", err)
			}
			if got := names(t, dir); got != "a.json" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

// Of those who create one id at the same time one does, and no reader sees half of a file.
func TestConcurrently(t *testing.T) {
	f, _ := newFolder(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 8 {
		wg.Go(func() {
			err := f.Create(t.Context(), "x", native("x", fmt.Sprintf("/%d", i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case !errors.Is(err, ErrExists):
				t.Errorf("got %v", err)
			}
		})
		wg.Go(func() {
			all, err := f.All()
			if err != nil {
				t.Error(err)
			}
			for _, d := range all {
				if _, err := d.JSON(); err != nil || d.ID != "x" {
					t.Errorf("got %+v %v", d, err)
				}
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d of 8 have created it", made)
	}
}

// A folder that cannot be written to is an error, and leaves what there was.
func TestCannotWrite(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may write anywhere: a file stands where the folder should")
	}
	dir := filepath.Join(t.TempDir(), "apis")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	f := New(Options{Dir: dir, Check: func(context.Context, *config.Definition) config.Problems { return nil }})
	if err := f.Create(t.Context(), "x", native("x", "/x")); err == nil {
		t.Error("a definition was written into a file")
	}
	if _, err := f.All(); err == nil {
		t.Error("a file was read as a folder")
	}
}

func TestOASPairsAreNotMade(t *testing.T) {
	f, _ := newFolder(t)
	for _, id := range []string{"", "a/b", "..", "-a", "a-oas", "a-mcp", strings.Repeat("a", 129), "a b", "ä"} {
		if err := f.Create(t.Context(), id, native(id, "/x")); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v", id, err)
		}
	}
}
