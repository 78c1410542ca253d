package archive_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"archive/zip"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

// read scans an archive and unpacks everything.
func read(data []byte, limits archive.Limits) (map[string]string, error) {
	entries, err := archive.Scan(data, limits)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, e := range entries {
		content, err := e.Content()
		if err != nil {
			return nil, err
		}
		files[e.Name] = string(content)
	}
	return files, nil
}

func open3() bundlestest.Zip {
	return bundlestest.Zip{Entries: []bundlestest.Entry{
		bundlestest.Streamed("a.lua", "return 1"), bundlestest.Deflated("b.lua", strings.Repeat("two ", 20)), bundlestest.Streamed("manifest.json", "{}"),
	}}
}

func TestScanRefuses(t *testing.T) {
	for _, c := range bundlestest.Raw() {
		z := open3()
		c.Change(&z)
		_, err := read(z.Bytes(), archive.DefaultLimits())
		wantCode(t, c.Name, err, c.Open)
	}
	for key, name := range bundlestest.Names() {
		z := open3()
		z.Entries[1] = bundlestest.Deflated(name, "x").Both(func(h *bundlestest.Header) { h.Flags |= 1 << 11 })
		want := refusal.ZipName
		if strings.HasPrefix(key, "open ") {
			want = ""
		}
		_, err := read(z.Bytes(), archive.DefaultLimits())
		wantCode(t, key, err, want)
	}
	z := open3()
	z.Entries[1] = bundlestest.Deflated("émile.js", "x")
	_, err := read(z.Bytes(), archive.DefaultLimits())
	wantCode(t, "letters without the flag", err, refusal.ZipName)
}

// Names that some system takes for the same, or that cannot be at once.
func TestCollisions(t *testing.T) {
	for _, names := range [][]string{
		{"a", "a"}, {"a", "A"}, {"straße", "STRASSE"}, {"k", "K"}, {"x/a", "X/a"}, {"x/a", "X/b"}, {"a", "a/b"}, {"A", "a/b"}, {"a/", "a/"}, {"a/", "A/"}, {"a/", "a"}, {"σ", "ς"},
	} {
		z := bundlestest.Zip{}
		for _, name := range names {
			e := bundlestest.Deflated(name, "x")
			if strings.HasSuffix(name, "/") {
				e = bundlestest.Stored(name, "")
			}
			z.Entries = append(z.Entries, e.Both(func(h *bundlestest.Header) { h.Flags |= 1 << 11 }))
		}
		_, err := read(z.Bytes(), archive.DefaultLimits())
		wantCode(t, fmt.Sprint(names), err, refusal.ZipDuplicate)
	}
	z := bundlestest.Zip{Entries: []bundlestest.Entry{bundlestest.Stored("a/", ""), bundlestest.Deflated("a/b", "x"), bundlestest.Deflated("a/c", "x")}}
	_, err := read(z.Bytes(), archive.DefaultLimits())
	wantCode(t, "a folder and its files", err, "")
}

func TestLimits(t *testing.T) {
	data := open3().Bytes()
	for _, test := range []struct {
		name   string
		change func(l *archive.Limits)
		want   refusal.Code
	}{
		{"archive", func(l *archive.Limits) { l.Archive = int64(len(data)) - 1 }, refusal.LimitArchive},
		{"archive, just", func(l *archive.Limits) { l.Archive = int64(len(data)) }, ""},
		{"file", func(l *archive.Limits) { l.File = 79 }, refusal.LimitFile},
		{"file, just", func(l *archive.Limits) { l.File = 80 }, ""},
		{"total", func(l *archive.Limits) { l.Total = 89 }, refusal.LimitTotal},
		{"total, just", func(l *archive.Limits) { l.Total = 90 }, ""},
		{"files", func(l *archive.Limits) { l.Files = 2 }, refusal.LimitFiles},
		{"files, just", func(l *archive.Limits) { l.Files = 3 }, ""},
	} {
		limits := archive.DefaultLimits()
		test.change(&limits)
		_, err := read(data, limits)
		wantCode(t, test.name, err, test.want)
	}
	// Small files that are dense one by one and a bomb together.
	z := bundlestest.Zip{}
	for i := range 3 {
		z.Entries = append(z.Entries, bundlestest.Deflated(fmt.Sprint("f", i), strings.Repeat("\x00", archive.RatioFrom)))
	}
	_, err := read(z.Bytes(), archive.DefaultLimits())
	wantCode(t, "ratio of all", err, refusal.LimitRatio)
	z = bundlestest.Zip{Entries: []bundlestest.Entry{bundlestest.Deflated("f", strings.Repeat("\x00", archive.RatioFrom))}}
	_, err = read(z.Bytes(), archive.DefaultLimits())
	wantCode(t, "ratio of a small one", err, "")
}

// What Pack and Seal write, every reader reads; and Pack stores what would unpack like a bomb.
func TestRoundTrip(t *testing.T) {
	files := []archive.File{
		{Name: "a.txt", Content: []byte("text text text text")}, {Name: "b/c", Content: nil}, {Name: "zero", Content: make([]byte, 3<<20)},
	}
	prefix, err := archive.Pack(files, archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	data, err := archive.Seal(prefix, []byte("{}"), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	gotPrefix, envelope, err := archive.Tail(data, archive.DefaultLimits())
	if err != nil || !bytes.Equal(gotPrefix, prefix) || string(envelope) != "{}" || !archive.IsCanonical(data) {
		t.Fatalf("%q %v", envelope, err)
	}
	entries, err := archive.Canonical(data, gotPrefix, envelope, archive.DefaultLimits())
	if err != nil || len(entries) != len(files) {
		t.Fatal(entries, err)
	}
	reader, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		content, err := entries[i].Content()
		if err != nil || !bytes.Equal(content, f.Content) || entries[i].Name != f.Name {
			t.Errorf("%q: %v", f.Name, err)
		}
		if reader.File[i].Name != f.Name || reader.File[i].UncompressedSize64 != uint64(len(f.Content)) {
			t.Errorf("archive/zip reads %q", reader.File[i].Name)
		}
	}
	if again, err := archive.Pack(files, archive.DefaultLimits()); err != nil || !bytes.Equal(again, prefix) {
		t.Error("packing is not deterministic")
	}
	if _, err := archive.Seal(prefix, make([]byte, 2<<20), archive.DefaultLimits()); refusal.CodeOf(err) != refusal.LimitEnvelope {
		t.Errorf("a large envelope: %v", err)
	}
	small := archive.DefaultLimits()
	small.Envelope = 1
	if _, _, err := archive.Tail(data, small); refusal.CodeOf(err) != refusal.LimitEnvelope {
		t.Errorf("a large envelope: %v", err)
	}
}

// An error of the writer is the writer's, and no refusal.
func TestUnpackError(t *testing.T) {
	entries, err := archive.Scan(open3().Bytes(), archive.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	_ = r.Close()
	if err := entries[0].Unpack(w); err != io.ErrClosedPipe {
		t.Errorf("%v", err)
	}
}

// The archives of Go's own tests: what we accept, archive/zip reads the same.
func TestGoArchives(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Skip("no go command here")
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src/archive/zip/testdata/*.zip"))
	if err != nil || len(files) == 0 {
		t.Skip("no sources of Go here")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		compareWithGo(t, filepath.Base(file), data)
	}
}

// compareWithGo reports whether we accept, and fails when archive/zip then reads something else.
func compareWithGo(t *testing.T, what string, data []byte) bool {
	t.Helper()
	limits := archive.DefaultLimits()
	limits.Total = 16 << 20
	ours, err := read(data, limits)
	if err != nil {
		if refusal.CodeOf(err) == refusal.Internal {
			t.Errorf("%s: no refusal: %v", what, err)
		}
		return false
	}
	reader, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Errorf("%s: we accept %v, archive/zip says %v", what, ours, err)
		return true
	}
	theirs := map[string]string{}
	for _, f := range reader.File {
		content, err := f.Open()
		if err != nil {
			t.Errorf("%s: we accept, archive/zip says %v", what, err)
			return true
		}
		all, err := io.ReadAll(content)
		if err != nil {
			t.Errorf("%s: we accept, archive/zip says %v", what, err)
		}
		theirs[f.Name] = string(all)
	}
	if fmt.Sprint(ours) != fmt.Sprint(theirs) {
		t.Errorf("%s: we read %q, archive/zip %q", what, ours, theirs)
	}
	return true
}

func FuzzScan(f *testing.F) {
	f.Add(open3().Bytes())
	for _, c := range bundlestest.Raw() {
		z := open3()
		c.Change(&z)
		f.Add(z.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 1<<20 {
			compareWithGo(t, "fuzz", data)
		}
	})
}

// Whatever Tail and Canonical accept, Seal makes of it the same bytes again.
func FuzzCanonical(f *testing.F) {
	prefix, err := archive.Pack([]archive.File{{Name: "a", Content: []byte("aaaaaaaaaaaaaaa")}, {Name: "b/c", Content: []byte("b")}}, archive.DefaultLimits())
	if err != nil {
		f.Fatal(err)
	}
	data, err := archive.Seal(prefix, []byte("{}"), archive.DefaultLimits())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		prefix, envelope, err := archive.Tail(data, archive.DefaultLimits())
		if err != nil {
			return
		}
		if _, err := archive.Canonical(data, prefix, envelope, archive.DefaultLimits()); err != nil {
			return
		}
		again, err := archive.Seal(prefix, envelope, archive.DefaultLimits())
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q (%v)", data, again, err)
		}
	})
}
