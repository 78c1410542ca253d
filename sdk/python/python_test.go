package python

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Every module there is has been embedded, and the wheel has it, with its sum in the record.
func TestWheel(t *testing.T) {
	data, err := Wheel()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Wheel()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("the wheel is another the second time: %v", err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	content, lines := map[string][]byte{}, []string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if content[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content[f.Name])
		line := fmt.Sprintf("%s,sha256=%s,%d", f.Name, base64.RawURLEncoding.EncodeToString(sum[:]), len(content[f.Name]))
		if strings.HasSuffix(f.Name, "/RECORD") {
			line = f.Name + ",,"
		}
		lines = append(lines, line)
	}
	info := "turnbuckle-1.0.0.dist-info/"
	if got := strings.Split(strings.TrimSpace(string(content[info+"RECORD"])), "\n"); !slices.Equal(got, lines) {
		t.Errorf("RECORD has\n%q, the wheel\n%q", got, lines)
	}
	if name, err := WheelName(); name != "turnbuckle-1.0.0-py3-none-any.whl" || err != nil {
		t.Errorf("got %q, %v", name, err)
	}
	found := 0
	err = filepath.WalkDir("src", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) == ".pyc" || strings.Contains(path, ".egg-info") {
			return err
		}
		found++
		want, err := os.ReadFile(path)
		name := strings.TrimPrefix(filepath.ToSlash(path), "src/")
		if got, ok := content[name]; !ok || !bytes.Equal(got, want) {
			t.Errorf("%s is not in the wheel as it is", name)
		}
		return err
	})
	if err != nil || found < 40 {
		t.Errorf("found %d files, %v", found, err)
	}
	for _, want := range []string{"Name: turnbuckle\n", "Requires-Python: >=3.9\n", "Requires-Dist: grpcio>=1.51\n", "Requires-Dist: protobuf>=3.20\n", "\n\n# turnbuckle\n"} {
		if !strings.Contains(string(content[info+"METADATA"]), want) {
			t.Errorf("METADATA lacks %q", want)
		}
	}
}
