package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// parseJSON builds the tree from encoding/json's tokens, without recursion.
func parseJSON(name string, data []byte) (*Node, Problems) {
	p := jsonParser{
		tree:  tree{name: name},
		data:  data,
		lines: newLines(data),
		dec:   json.NewDecoder(bytes.NewReader(data)),
	}
	p.dec.UseNumber()
	return p.run(), p.problems
}

type jsonParser struct {
	tree
	data  []byte
	lines lines
	dec   *json.Decoder
	stack []jsonLevel
}

// jsonLevel is an open list or mapping.
type jsonLevel struct {
	node   *Node
	seen   map[string]bool
	key    string
	keyPos position
	wants  bool // a key comes next
}

func (p *jsonParser) run() *Node {
	var root *Node
	for {
		pos := p.lines.position(p.start(int(p.dec.InputOffset())))
		token, err := p.dec.Token()
		switch {
		case errors.Is(err, io.EOF) && root != nil && len(p.stack) == 0:
			return root
		case err != nil:
			p.syntax(err)
			return root
		case root != nil && len(p.stack) == 0:
			p.fail(pos, "more follows after the end of the JSON value")
			return root
		}
		if d, ok := token.(json.Delim); ok && (d == '}' || d == ']') {
			p.stack = p.stack[:len(p.stack)-1]
			continue
		}
		if top := p.top(); top != nil && top.wants {
			top.key, _ = token.(string)
			top.keyPos, top.wants = pos, false
			continue
		}
		n := p.value(token, pos)
		if n == nil {
			return root
		}
		if root == nil {
			root = n
		}
	}
}

// value adds the node of a token to the open level, and opens a level for a list or mapping.
func (p *jsonParser) value(token json.Token, pos position) *Node {
	n := p.node(Null, pos, len(p.stack))
	if n == nil {
		return nil
	}
	switch v := token.(type) {
	case bool:
		n.Kind, n.Text = Bool, "false"
		if v {
			n.Text = "true"
		}
	case json.Number:
		n.Kind, n.Text = Number, v.String()
	case string:
		n.Kind, n.Text = String, v
	case json.Delim:
		n.Kind = Sequence
		if v == '{' {
			n.Kind = Mapping
		}
	}
	if top := p.top(); top != nil {
		p.adopt(top.node, n, top.key, top.keyPos, top.seen)
		top.wants = top.node.Kind == Mapping
	}
	if n.Kind == Sequence || n.Kind == Mapping {
		p.stack = append(p.stack, jsonLevel{node: n, seen: map[string]bool{}, wants: n.Kind == Mapping})
	}
	return n
}

func (p *jsonParser) top() *jsonLevel {
	if len(p.stack) == 0 {
		return nil
	}
	return &p.stack[len(p.stack)-1]
}

// start skips what stands between two tokens.
func (p *jsonParser) start(offset int) int {
	for offset < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[offset]) >= 0 {
		offset++
	}
	return offset
}

func (p *jsonParser) syntax(err error) {
	offset, message := int(p.dec.InputOffset()), err.Error()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(int(syntax.Offset)-1, 0)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, message = len(p.data), "file ends in the middle of the JSON value"
	}
	p.fail(p.lines.position(offset), "not JSON: "+message)
}
