// Package turnbuckle_test holds the tests of the repository as a whole: who may import whom, how large things may
// grow, what the house bans, and that NOTICE names what is linked. They read the sources in this process: a
// `go list` subprocess would hide a change behind the test cache.
package turnbuckle_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/turnbuckle-gateway/turnbuckle"

// A source is one parsed Go file of the tree.
type source struct {
	path      string // from the root, with slashes
	lines     int    // all lines
	code      int    // lines that hold more than blanks and comments
	syntax    *ast.File
	fset      *token.FileSet
	test      bool
	generated bool
}

// A folder is a directory with Go files: a package, and perhaps its external tests.
type folder struct {
	dir     string // "." is the root
	sources []source
}

// written returns the files a person wrote that are built into the package.
func (f folder) written() []source {
	return slices.DeleteFunc(slices.Clone(f.sources), func(s source) bool { return s.test || s.generated })
}

// name is the package clause of the folder's first file.
func (f folder) name() string { return strings.TrimSuffix(f.sources[0].syntax.Name.Name, "_test") }

// imports returns the paths the file imports.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.syntax.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// load parses every Go file of the tree but testdata and hidden folders.
func load(t *testing.T, tree fs.FS) []folder {
	t.Helper()
	fset := token.NewFileSet()
	byDir := map[string]*folder{}
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (base == "testdata" || base == "bin" || base == "node_modules" || strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		s, err := parse(fset, tree, name)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if byDir[dir] == nil {
			byDir[dir] = &folder{dir: dir}
		}
		byDir[dir].sources = append(byDir[dir].sources, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var folders []folder
	for _, f := range byDir {
		folders = append(folders, *f)
	}
	slices.SortFunc(folders, func(a, b folder) int { return cmp.Compare(a.dir, b.dir) })
	return folders
}

func parse(fset *token.FileSet, tree fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return source{}, err
	}
	syntax, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	return source{
		path:      name,
		lines:     strings.Count(string(text), "\n"),
		code:      codeLines(text),
		syntax:    syntax,
		fset:      fset,
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(syntax),
	}, nil
}

// codeLines counts the lines that hold a token other than a comment.
func codeLines(text []byte) int {
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	count, last := 0, 0
	for {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return count
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue // put in by the scanner, at the end of a line already counted
		}
		first := max(file.Line(pos), last+1)
		end := file.Line(pos) + strings.Count(lit, "\n")
		if end >= first {
			count += end - first + 1
			last = end
		}
	}
}
