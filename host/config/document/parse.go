package document

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Parse reads one JSON or YAML document; name ending in ".json" means JSON. When the problems
// refuse the document the node is nil or holds what could be read, to find out whose it was.
func Parse(name string, data []byte) (*Node, Problems) {
	fail := func(format string, args ...any) (*Node, Problems) {
		return nil, Problems{{File: name, Severity: Error, Message: fmt.Sprintf(format, args...)}}
	}
	isJSON := strings.EqualFold(path.Ext(name), ".json")
	limit := MaxBytes
	if !isJSON {
		limit = MaxYAMLBytes
	}
	if len(data) > limit {
		return fail("file is larger than %d bytes", limit)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if i := invalidUTF8(data); i >= 0 {
		pos := newLines(data).position(i)
		return nil, Problems{{File: name, Line: pos.line, Col: pos.col, Severity: Error, Message: "not UTF-8 text"}}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return fail("file is empty")
	}
	if isJSON {
		return parseJSON(name, data)
	}
	return parseYAML(name, data)
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

type position struct{ line, col int }

// lines turns byte offsets into positions.
type lines []int

func newLines(data []byte) lines {
	starts := lines{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

func (l lines) position(offset int) position {
	lo, hi := 0, len(l)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; l[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return position{line: lo + 1, col: offset - l[lo] + 1}
}

// tree builds nodes and holds the bounds.
type tree struct {
	name     string
	nodes    int
	problems Problems
}

// node counts a new node; it returns nil when the file has too many or is too deep.
func (t *tree) node(k Kind, pos position, depth int) *Node {
	n := &Node{Kind: k, File: t.name, Line: pos.line, Col: pos.col}
	t.nodes++
	switch {
	case t.nodes > MaxNodes:
		t.fail(pos, fmt.Sprintf("more than %d values in one file", MaxNodes))
		return nil
	case depth > MaxDepth:
		t.fail(pos, fmt.Sprintf("nested more than %d levels deep", MaxDepth))
		return nil
	}
	return n
}

func (t *tree) fail(pos position, message string) {
	t.problems = append(t.problems, Problem{
		File: t.name, Line: pos.line, Col: pos.col, Severity: Error, Message: message,
	})
}

// adopt puts child under parent, the key seen at pos; seen finds doubles.
func (t *tree) adopt(parent, child *Node, key string, pos position, seen map[string]bool) {
	if parent.Kind == Sequence {
		child.parent, child.index = parent, len(parent.Items)
		parent.Items = append(parent.Items, child)
		return
	}
	child.parent, child.key = parent, key
	if seen[key] {
		p := child.At(Error, "", "key stands twice in one mapping")
		p.Line, p.Col = pos.line, pos.col
		if len(t.problems) < maxProblems {
			t.problems = append(t.problems, p)
		}
		return
	}
	seen[key] = true
	parent.Fields = append(parent.Fields, Field{Key: key, Value: child})
}
