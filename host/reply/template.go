package reply

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/internal/template"
)

const (
	maxTemplate = 64 << 10  // bytes of a template
	maxReply    = 256 << 10 // bytes of a rendered reply
	maxMessage  = 16 << 10  // bytes of a message; more is cut
)

// format is the type of a document.
type format uint8

const (
	formatJSON format = iota
	formatXML
	formats
)

func (f format) String() string {
	if f == formatXML {
		return "xml"
	}
	return "json"
}

// document is a template and the type it gives.
type document struct {
	format format
	text   *template.Template
}

// data is what a template sees.
func data(status int, message string) map[string]any {
	return map[string]any{"StatusCode": status, "Message": message}
}

// templates finds the document for a status (0: any) and a format.
type templates struct {
	inline, files [formats]map[int]*document
}

func loadTemplates(c config.Errors) (*templates, error) {
	t := &templates{}
	for f := range formats {
		t.inline[f], t.files[f] = map[int]*document{}, map[int]*document{}
	}
	for i, e := range c.Templates {
		f := formatJSON
		if e.Type == config.TemplateXML {
			f = formatXML
		}
		doc, err := parse(fmt.Sprintf("errors.templates[%d]", i), f, e.Text)
		if err != nil {
			return nil, err
		}
		if t.inline[f][e.Status] != nil {
			return nil, fmt.Errorf("errors.templates[%d]: there already is a template for status %d as %s", i, e.Status, f)
		}
		t.inline[f][e.Status] = doc
	}
	if c.Dir != "" {
		if err := t.loadDir(c.Dir); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// find returns the document for a reply; nil for the built-in one.
func (t *templates) find(status int, f format) *document {
	for _, doc := range []*document{
		t.inline[f][status], t.inline[f][0], t.files[f][status], t.files[f][0], t.files[formatJSON][0],
	} {
		if doc != nil {
			return doc
		}
	}
	return nil
}

// loadDir reads the templates of a folder. Other files are none of its business.
func (t *templates) loadDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("error templates: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("error templates: %w", err)
	}
	for _, entry := range entries {
		status, f, ok := templateName(entry.Name())
		if !ok {
			continue
		}
		text, err := readTemplate(root, entry.Name())
		if err != nil {
			return fmt.Errorf("error template %s: %w", filepath.Join(dir, entry.Name()), err)
		}
		if t.files[f][status], err = parse(filepath.Join(dir, entry.Name()), f, text); err != nil {
			return err
		}
	}
	return nil
}

// templateName takes error.json, error_404.xml and the like apart.
func templateName(name string) (status int, f format, ok bool) {
	name, ok = strings.CutPrefix(name, "error")
	if !ok {
		return 0, 0, false
	}
	name, ext, _ := strings.Cut(name, ".")
	switch ext {
	case "json":
		f = formatJSON
	case "xml":
		f = formatXML
	default:
		return 0, 0, false
	}
	if name == "" {
		return 0, f, true
	}
	code, ok := strings.CutPrefix(name, "_")
	status, err := strconv.Atoi(code)
	return status, f, ok && err == nil && len(code) == 3 && status >= 400 && status <= 599
}

func readTemplate(root *os.Root, name string) (string, error) {
	info, err := root.Stat(name) // before opening, which would wait for the other end of a pipe
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	file, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxTemplate+1))
	return string(text), err
}

// parse compiles a template and tries it, so that a wrong field fails now and not when something else has gone wrong.
// Its errors name template and line.
func parse(name string, f format, text string) (*document, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("error template %s: larger than %d bytes", name, maxTemplate)
	}
	parsed, err := template.Parse(name, text, template.Options{Strict: true})
	if err != nil {
		return nil, fmt.Errorf("error template: %w", err)
	}
	doc := &document{f, parsed}
	if _, err := doc.render(400, "message"); err != nil {
		return nil, fmt.Errorf("error template: %w", err)
	}
	return doc, nil
}

// render executes the template.
func (d *document) render(status int, message string) ([]byte, error) {
	w := boundedBuffer{}
	escaped := string(appendEscaped(nil, d.format, message))
	if err := d.text.Execute(&w, data(status, escaped)); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

// boundedBuffer fails when more than maxReply bytes are written to it.
type boundedBuffer struct{ bytes.Buffer }

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxReply {
		return 0, fmt.Errorf("the reply is larger than %d bytes", maxReply)
	}
	return b.Buffer.Write(p)
}
