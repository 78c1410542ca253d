// Package python carries the Python SDK, so that the gateway can start Python plugins with it, and hand it to whoever
// writes one, without a registry.
package python

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"
)

// Files are those of the Python package: its modules are below src.
//
//go:embed pyproject.toml README.md
//go:embed src/turnbuckle/*.py src/turnbuckle/py.typed
//go:embed src/turnbuckle/_pb/*.py src/turnbuckle/tyk/*.py src/turnbuckle/tyk/modules/*.py
var Files embed.FS

// Modules returns the modules as they are to lie in a folder of PYTHONPATH.
func Modules() (fs.FS, error) { return fs.Sub(Files, "src") }

// version and the tables of pyproject.toml that metadata takes are read with expressions that its test holds to what pip makes of the file.
var (
	versionPattern = regexp.MustCompile(`(?m)^__version__ = "([0-9.]+)"$`)
	fieldPattern   = regexp.MustCompile(`(?m)^(description|requires-python) = "(.+)"$`)
	listPattern    = regexp.MustCompile(`(?m)^(dependencies|classifiers|test) = \[(.+)\]$`)
	stringPattern  = regexp.MustCompile(`"([^"]+)"`)
)

// Version returns the package's version.
func Version() (string, error) {
	text, err := Files.ReadFile("src/turnbuckle/__init__.py")
	if err != nil {
		return "", err
	}
	m := versionPattern.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("the Python SDK's version is not in __init__.py")
	}
	return string(m[1]), nil
}

// WheelName returns the name of the wheel's file (binary distribution format, "File name convention").
func WheelName() (string, error) {
	version, err := Version()
	return "turnbuckle-" + version + "-py3-none-any.whl", err
}

// Wheel returns the package as a wheel, which pip installs and Python imports from as it is. The same files give the
// same bytes.
func Wheel() ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("pack the Python SDK: %w", err) }
	version, err := Version()
	if err != nil {
		return fail(err)
	}
	w := wheel{info: "turnbuckle-" + version + ".dist-info"}
	w.zip = zip.NewWriter(&w.out)
	modules, err := Modules()
	if err != nil {
		return fail(err)
	}
	err = fs.WalkDir(modules, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(modules, name)
		if err != nil {
			return err
		}
		return w.add(name, data)
	})
	if err != nil {
		return fail(err)
	}
	metadata, err := metadata(version)
	if err != nil {
		return fail(err)
	}
	files := []struct{ name, text string }{
		{"METADATA", metadata},
		{"WHEEL", "Wheel-Version: 1.0\nGenerator: turnbuckle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"entry_points.txt", "[console_scripts]\nturnbuckle-python = turnbuckle.main:main\n"},
		{"top_level.txt", "turnbuckle\n"},
	}
	for _, f := range files {
		if err := w.add(path.Join(w.info, f.name), []byte(f.text)); err != nil {
			return fail(err)
		}
	}
	record := path.Join(w.info, "RECORD")
	if err := w.add(record, []byte(w.record.String()+record+",,\n")); err != nil {
		return fail(err)
	}
	if err := w.zip.Close(); err != nil {
		return fail(err)
	}
	return w.out.Bytes(), nil
}

// wheel is one that is being made.
type wheel struct {
	out    bytes.Buffer
	zip    *zip.Writer
	info   string // the folder of its metadata
	record strings.Builder
}

func (w *wheel) add(name string, data []byte) error {
	// The first moment that a zip archive can express.
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	h.SetMode(0o644)
	f, err := w.zip.CreateHeader(h)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	fmt.Fprintf(&w.record, "%s,sha256=%s,%d\n", name, base64.RawURLEncoding.EncodeToString(sum[:]), len(data))
	return nil
}

// metadata is the core metadata of the package, from pyproject.toml.
func metadata(version string) (string, error) {
	project, err := Files.ReadFile("pyproject.toml")
	if err != nil {
		return "", err
	}
	readme, err := Files.ReadFile("README.md")
	if err != nil {
		return "", err
	}
	fields, lists := map[string]string{}, map[string][]string{}
	for _, m := range fieldPattern.FindAllStringSubmatch(string(project), -1) {
		fields[m[1]] = m[2]
	}
	for _, m := range listPattern.FindAllStringSubmatch(string(project), -1) {
		for _, s := range stringPattern.FindAllStringSubmatch(m[2], -1) {
			lists[m[1]] = append(lists[m[1]], s[1])
		}
	}
	if len(fields) != 2 || len(lists) != 3 {
		return "", fmt.Errorf("pyproject.toml lacks fields: found %d and %d lists", len(fields), len(lists))
	}
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	line("Metadata-Version", "2.1")
	line("Name", "turnbuckle")
	line("Version", version)
	line("Summary", fields["description"])
	line("License", "Apache-2.0")
	for _, c := range lists["classifiers"] {
		line("Classifier", c)
	}
	line("Requires-Python", fields["requires-python"])
	line("Description-Content-Type", "text/markdown")
	for _, d := range lists["dependencies"] {
		line("Requires-Dist", d)
	}
	line("Provides-Extra", "test")
	for _, d := range lists["test"] {
		line("Requires-Dist", d+` ; extra == "test"`)
	}
	return b.String() + "\n" + string(readme), nil
}
