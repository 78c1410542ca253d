package turnbuckle_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/host/config/tyk"
)

var update = flag.Bool("update", false, "write the parts of README.md that are made of code")

const (
	fieldsBegin = "<!-- classic fields: written by `go test . -run TestReadmeClassicFields -update` -->\n"
	fieldsEnd   = "<!-- end of classic fields -->"
)

// TestReadmeClassicFields holds README's table of classic fields to the one the translator works by.
func TestReadmeClassicFields(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(readme), fieldsBegin)
	have, after, ok2 := strings.Cut(rest, fieldsEnd)
	if !ok1 || !ok2 {
		t.Fatal("README.md has lost the marks of its table of classic fields")
	}
	want := classicFields()
	if have == want {
		return
	}
	if !*update {
		t.Fatal("README.md's table of classic fields is not what the translator does: go test . -run TestReadmeClassicFields -update")
	}
	if err := os.WriteFile("README.md", []byte(before+fieldsBegin+want+fieldsEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// classicFields writes the table; neighbours that share their parent, status and note share a row.
func classicFields() string {
	var b strings.Builder
	b.WriteString("\n| field | status | note |\n|---|---|---|\n")
	fields := tyk.Fields()
	for i := 0; i < len(fields); {
		f := fields[i]
		parent, names := split(f.Path)
		list := []string{names}
		for i++; i < len(fields); i++ {
			next := fields[i]
			p, name := split(next.Path)
			if p != parent || next.Status != f.Status || next.Note != f.Note {
				break
			}
			list = append(list, name)
		}
		for j := range list {
			list[j] = "`" + list[j] + "`"
		}
		if parent != "" {
			parent = "`" + parent + ".` "
		}
		fmt.Fprintf(&b, "| %s%s | %s | %s |\n", parent, strings.Join(list, ", "), f.Status, f.Note)
	}
	b.WriteString("\n")
	return b.String()
}

func split(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
