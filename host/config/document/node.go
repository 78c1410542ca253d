package document

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The bounds every file is held to.
const (
	// MaxBytes is the largest file that is read at all, MaxYAMLBytes the largest in YAML.
	MaxBytes     = 4 << 20
	MaxYAMLBytes = 1 << 20
	// MaxDepth is how deeply lists and mappings may be nested, MaxNodes how many values a file
	// may have.
	MaxDepth = 64
	MaxNodes = 100_000

	// maxProblems ends the reading of a file that has nothing right.
	maxProblems = 100
	// maxPathKey shortens keys in paths, so that a path stays readable whatever a file holds.
	maxPathKey = 64
)

// Kind is the shape of a Node.
type Kind int

// The kinds of nodes.
const (
	Null Kind = iota
	Bool
	Number
	String
	Sequence
	Mapping
)

// String returns the kind with an article, for messages.
func (k Kind) String() string {
	switch k {
	case Null:
		return "nothing"
	case Bool:
		return "a truth value"
	case Number:
		return "a number"
	case String:
		return "a string"
	case Sequence:
		return "a list"
	case Mapping:
		return "a mapping"
	}
	return fmt.Sprintf("kind(%d)", int(k))
}

// Node is one value of a document, with its place.
type Node struct {
	Kind Kind
	// Text is a scalar: as written for numbers and truth values, decoded for strings.
	Text string
	// Items are the elements of a Sequence, Fields the entries of a Mapping in file order.
	Items  []*Node
	Fields []Field
	// File is where the node was read; Line and Col count from 1, 0 is unknown.
	File string
	Line int
	Col  int
	// Loose marks a string from a place that has only strings (environment, flag, reference): it
	// decodes into any scalar, and split at commas into lists.
	Loose bool

	parent *Node
	key    string // in a mapping
	index  int    // in a sequence
	secret string // the reference that Text came from

	unresolved bool // Text is a reference that led nowhere, and that has been said
}

// Field is an entry of a mapping.
type Field struct {
	Key   string
	Value *Node
}

// Path returns the node's JSON path, "$" for the root.
func (n *Node) Path() string {
	var steps []string
	for ; n.parent != nil; n = n.parent {
		if n.parent.Kind == Sequence {
			steps = append(steps, "["+strconv.Itoa(n.index)+"]")
		} else {
			steps = append(steps, keyStep(n.key))
		}
	}
	var b strings.Builder
	b.WriteByte('$')
	for i := len(steps) - 1; i >= 0; i-- {
		b.WriteString(steps[i])
	}
	return b.String()
}

func keyStep(key string) string {
	if len(key) > maxPathKey {
		return "[" + strconv.Quote(key[:maxPathKey]+"...") + "]"
	}
	plain := key != ""
	for i, c := range key {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			plain = false
		}
	}
	if plain {
		return "." + key
	}
	return "[" + strconv.Quote(key) + "]"
}

// Join appends keys to a JSON path, in the form Path uses.
func Join(path string, keys ...string) string {
	for _, k := range keys {
		path += keyStep(k)
	}
	return path
}

// Index appends a list index to a JSON path.
func Index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// Get returns the value of a key, or nil. It may be called on nil.
func (n *Node) Get(key string) *Node {
	if n == nil {
		return nil
	}
	for _, f := range n.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return nil
}

// Find follows a JSON path as Path writes it and returns the deepest node it reaches, at least n
// itself, and whether that is the whole path.
func (n *Node) Find(path string) (deepest *Node, whole bool) {
	rest := strings.TrimPrefix(path, "$")
	for rest != "" {
		var next *Node
		switch {
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			next, rest = n.Get(rest[1:end]), rest[end:]
		case strings.HasPrefix(rest, `["`):
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil {
				return n, false
			}
			key, _ := strconv.Unquote(quoted)
			next, rest = n.Get(key), strings.TrimPrefix(rest[1+len(quoted):], "]")
		default:
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return n, false
			}
			i, err := strconv.Atoi(rest[1:end])
			if err != nil || i < 0 || i >= len(n.Items) {
				return n, false
			}
			next, rest = n.Items[i], rest[end+1:]
		}
		if next == nil {
			return n, false
		}
		n = next
	}
	return n, true
}

// Set puts value at a chain of keys below n, making mappings where there are none, and replacing
// what was there.
func (n *Node) Set(value *Node, keys ...string) {
	for i, key := range keys {
		child := n.Get(key)
		last := i == len(keys)-1
		switch {
		case last:
			child = value
		case child == nil || child.Kind != Mapping:
			child = &Node{Kind: Mapping, File: value.File}
		default:
			n = child
			continue
		}
		if n.Kind != Mapping {
			n.Kind, n.Text, n.Items = Mapping, "", nil
		}
		child.parent, child.key = n, key
		n.put(key, child)
		n = child
	}
}

// Append puts a value behind the elements of a list.
func (n *Node) Append(value *Node) {
	value.parent, value.index = n, len(n.Items)
	n.Items = append(n.Items, value)
}

func (n *Node) put(key string, child *Node) {
	for i := range n.Fields {
		if n.Fields[i].Key == key {
			n.Fields[i].Value = child
			return
		}
	}
	n.Fields = append(n.Fields, Field{Key: key, Value: child})
}

// Move renames the key from of mapping n and wraps its value by wrap, keeping the place of the
// value. The value's own path stays what the file says.
func (n *Node) Move(from, to string, wrap func(*Node) *Node) {
	for i := range n.Fields {
		if n.Fields[i].Key == from {
			n.Fields[i] = Field{Key: to, Value: wrap(n.Fields[i].Value)}
			return
		}
	}
}

// Remove takes a key out of a mapping.
func (n *Node) Remove(key string) {
	n.Fields = slices.DeleteFunc(n.Fields, func(f Field) bool { return f.Key == key })
}

// At makes a Problem at the node's place.
func (n *Node) At(s Severity, hint, format string, args ...any) Problem {
	return Problem{
		File: n.File, Line: n.Line, Col: n.Col, Path: n.Path(),
		Severity: s, Message: fmt.Sprintf(format, args...), Hint: hint,
	}
}

// Locate gives problems that have only a path the place of the node that find returns for it. Of
// a node that stands for the whole path the problem takes the node's own path too.
func Locate(ps Problems, find func(path string) (n *Node, whole bool)) Problems {
	for i := range ps {
		n, whole := find(ps[i].Path)
		if n == nil {
			continue
		}
		ps[i].File, ps[i].Line, ps[i].Col = n.File, n.Line, n.Col
		if whole {
			ps[i].Path = n.Path()
		}
	}
	return ps
}
