package xmlpath

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"github.com/antchfx/xpath"
)

// Bounds of a document that an id is taken out of, and of the work on it.
const (
	maxDocument = 1 << 20 // bytes
	maxDepth    = 64
	maxNodes    = 10_000 // attributes included
	maxSteps    = 300_000
)

var (
	errDocument = errors.New("no well-formed XML in UTF-8")
	errLarge    = errors.New("XML document over the bounds: 1 MiB, 64 elements deep, 10000 nodes")
	errSteps    = errors.New("the XPath expression takes too many steps on the document")
)

// tree is an XML document (XML 1.0) as XPath sees it (XPath 1.0 §5): nodes in document order, the root first, that name
// each other by their index; -1 is none. It has no entities but XML's own, no external parts, no namespace axis.
//
// It counts the steps of its cursors, and panics with errSteps when there are too many: what an expression costs on a
// document depends on both.
type tree struct {
	nodes []node
	steps int
}

type node struct {
	kind                            xpath.NodeType
	prefix, name, text              string // text of texts, comments and attributes
	parent, first, last, prev, next int
	attribute                       int // the first of an element; the next of an attribute
}

func emptyTree() *tree {
	t := &tree{}
	t.add(-1, node{kind: xpath.RootNode})
	return t
}

func parseTree(document string) (*tree, error) {
	if len(document) > maxDocument {
		return nil, errLarge
	}
	p := parser{t: emptyTree()}
	d := xml.NewDecoder(strings.NewReader(document))
	for {
		token, err := d.RawToken() // names with their prefixes
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errDocument // without the decoder's text, which quotes
		}
		if err := p.take(token); err != nil {
			return nil, err
		}
		if len(p.t.nodes) > maxNodes {
			return nil, errLarge
		}
	}
	if p.depth != 0 || !p.begun {
		return nil, errDocument
	}
	return p.t, nil
}

// parser makes a tree of tokens, and sees to it that elements are closed, which RawToken leaves to its caller.
type parser struct {
	t     *tree
	at    int // the node that is open
	open  [maxDepth]xml.Name
	depth int
	begun bool            // there is a root element
	chars strings.Builder // texts side by side, as CDATA sections make them, are one
}

func (p *parser) take(token xml.Token) error {
	if text, ok := token.(xml.CharData); ok {
		if p.depth > 0 {
			p.chars.Write(text)
		}
		return nil
	}
	if p.chars.Len() > 0 {
		p.t.add(p.at, node{kind: xpath.TextNode, text: p.chars.String()})
		p.chars.Reset()
	}
	switch token := token.(type) {
	case xml.StartElement:
		if p.depth == maxDepth {
			return errLarge
		}
		if p.depth == 0 && p.begun {
			return errDocument
		}
		p.begun, p.open[p.depth] = true, token.Name
		p.depth++
		p.at = p.t.element(p.at, token)
	case xml.EndElement:
		if p.depth == 0 || p.open[p.depth-1] != token.Name {
			return errDocument
		}
		p.depth--
		p.at = p.t.nodes[p.at].parent
	case xml.Comment:
		p.t.add(p.at, node{kind: xpath.CommentNode, text: string(token)})
	}
	return nil
}

func (t *tree) element(parent int, e xml.StartElement) int {
	at, last := t.add(parent, node{kind: xpath.ElementNode, prefix: e.Name.Space, name: e.Name.Local}), -1
	for _, a := range e.Attr {
		n := node{kind: xpath.AttributeNode, prefix: a.Name.Space, name: a.Name.Local, text: a.Value}
		n.parent, n.first, n.last, n.prev, n.next, n.attribute = at, -1, -1, -1, -1, -1
		t.nodes = append(t.nodes, n)
		if added := len(t.nodes) - 1; last < 0 {
			t.nodes[at].attribute, last = added, added
		} else {
			t.nodes[last].attribute, last = added, added
		}
	}
	return at
}

// add appends a node as its parent's last child.
func (t *tree) add(parent int, n node) int {
	at := len(t.nodes)
	n.parent, n.first, n.last, n.prev, n.next, n.attribute = parent, -1, -1, -1, -1, -1
	if parent >= 0 {
		p := &t.nodes[parent]
		if p.last >= 0 {
			n.prev, t.nodes[p.last].next = p.last, at
		} else {
			p.first = at
		}
		p.last = at
	}
	t.nodes = append(t.nodes, n)
	return at
}

func (t *tree) step(n int) {
	if t.steps += n; t.steps > maxSteps {
		panic(errSteps)
	}
}

// text is the string value of a node: of an element, all text in it.
func (t *tree) text(at int) string {
	n := &t.nodes[at]
	if n.kind != xpath.ElementNode && n.kind != xpath.RootNode {
		return n.text
	}
	var b strings.Builder
	t.appendText(&b, at)
	return b.String()
}

func (t *tree) appendText(b *strings.Builder, at int) {
	for c := t.nodes[at].first; c >= 0; c = t.nodes[c].next {
		t.step(1 + len(t.nodes[c].text)/64)
		switch t.nodes[c].kind {
		case xpath.TextNode:
			b.WriteString(t.nodes[c].text)
		case xpath.ElementNode:
			t.appendText(b, c)
		}
	}
}

func (t *tree) cursor() *cursor { return &cursor{t: t} }

// cursor is a place in a tree.
type cursor struct {
	t  *tree
	at int
}

var _ xpath.NodeNavigator = (*cursor)(nil)

func (c *cursor) node() *node { return &c.t.nodes[c.at] }

// The methods of xpath.NodeNavigator say what it documents.

func (c *cursor) NodeType() xpath.NodeType  { return c.node().kind }
func (c *cursor) LocalName() string         { return c.node().name }
func (c *cursor) Prefix() string            { return c.node().prefix }
func (c *cursor) Value() string             { return c.t.text(c.at) }
func (c *cursor) Copy() xpath.NodeNavigator { copied := *c; return &copied }
func (c *cursor) MoveToRoot()               { c.at = 0 }
func (c *cursor) MoveToParent() bool        { return c.move(c.node().parent) }
func (c *cursor) MoveToChild() bool         { return c.move(c.node().first) }
func (c *cursor) MoveToNext() bool          { return c.move(c.node().next) }
func (c *cursor) MoveToPrevious() bool      { return c.move(c.node().prev) }
func (c *cursor) MoveToNextAttribute() bool { return c.move(c.node().attribute) }

// MoveToFirst moves to the first sibling.
func (c *cursor) MoveToFirst() bool {
	if c.node().kind == xpath.AttributeNode || c.node().prev < 0 {
		return false
	}
	return c.move(c.t.nodes[c.node().parent].first)
}

// MoveTo moves to the place of another cursor in the same tree.
func (c *cursor) MoveTo(to xpath.NodeNavigator) bool {
	other, ok := to.(*cursor)
	if !ok || other.t != c.t {
		return false
	}
	c.at = other.at
	return true
}

func (c *cursor) move(to int) bool {
	c.t.step(1)
	if to < 0 {
		return false
	}
	c.at = to
	return true
}
