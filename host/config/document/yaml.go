package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

func parseYAML(name string, data []byte) (*Node, Problems) {
	root, problems := parseYAMLOnce(name, data)
	if root == nil && len(problems) == 1 && problems[0].Line > 1 {
		// What stands above the line with the mistake may still say whose file it is.
		above := newLines(data)
		if line := problems[0].Line - 1; line < len(above) {
			root, _ = parseYAMLOnce(name, data[:above[line]])
		}
	}
	return root, problems
}

func parseYAMLOnce(name string, data []byte) (root *Node, problems Problems) {
	t := &tree{name: name}
	defer func() {
		// The parser is not ours and the file may come from anyone: what it cannot bear is a
		// broken file, not the end of the gateway.
		if r := recover(); r != nil {
			t.fail(position{}, fmt.Sprintf("not YAML: %v", r))
			root, problems = nil, t.problems
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			t.fail(position{}, "file is empty")
		} else {
			t.syntax(err)
		}
		return nil, t.problems
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		if err != nil {
			t.syntax(err)
		} else {
			t.fail(position{}, "more than one YAML document in the file")
		}
		return nil, t.problems
	}
	root = t.yamlNode(doc.Content[0], &Node{}, 0)
	return root, t.problems
}

func (t *tree) syntax(err error) {
	message, line := err.Error(), 0
	if m := regexp.MustCompile(`^yaml: line (\d+): `).FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	pos := position{line: line}
	if line > 0 {
		pos.col = 1
	}
	t.fail(pos, "not YAML: "+message)
}

// yamlNode turns a node of the YAML package into ours, or returns nil when the file breaks a
// bound. What YAML has and JSON has not is refused: a definition is data that a reader of the
// file sees as it is.
//
// place says where the node will stand, which problems below it name.
func (t *tree) yamlNode(y *yaml.Node, place *Node, depth int) *Node {
	pos := position{line: y.Line, col: y.Column}
	n := t.node(Null, pos, depth)
	if n == nil {
		return nil
	}
	n.parent, n.key, n.index = place.parent, place.key, place.index
	if y.Anchor != "" || y.Kind == yaml.AliasNode {
		t.failOnce(pos, "YAML anchors and aliases are not accepted: write the value out")
		return n
	}
	switch y.Kind {
	case yaml.ScalarNode:
		t.scalar(n, y)
	case yaml.SequenceNode:
		n.Kind = Sequence
		for _, item := range y.Content {
			child := t.yamlNode(item, &Node{parent: n, index: len(n.Items)}, depth+1)
			if child == nil {
				return nil
			}
			t.adopt(n, child, "", pos, nil)
		}
	case yaml.MappingNode:
		n.Kind = Mapping
		seen := map[string]bool{}
		for i := 0; i+1 < len(y.Content); i += 2 {
			key := y.Content[i]
			keyPos := position{line: key.Line, col: key.Column}
			child := t.yamlNode(y.Content[i+1], &Node{parent: n, key: key.Value}, depth+1)
			if child == nil {
				return nil
			}
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!null" || key.ShortTag() == "!!merge" {
				t.failOnce(keyPos, "a key must be a plain string")
				continue
			}
			t.adopt(n, child, key.Value, keyPos, seen)
		}
	}
	if tag := y.ShortTag(); y.Kind != yaml.ScalarNode && tag != "!!seq" && tag != "!!map" {
		t.failOnce(pos, "YAML tag "+tag+" is not accepted")
	}
	return n
}

func (t *tree) scalar(n *Node, y *yaml.Node) {
	n.Text = y.Value
	switch tag := y.ShortTag(); tag {
	case "!!null":
		n.Kind = Null
	case "!!bool":
		n.Kind = Bool
	case "!!int", "!!float":
		n.Kind = Number
	case "!!str", "!!timestamp":
		n.Kind = String
	default:
		t.failOnce(position{line: y.Line, col: y.Column}, "YAML tag "+tag+" is not accepted")
	}
}

func (t *tree) failOnce(pos position, message string) {
	if len(t.problems) < maxProblems {
		t.fail(pos, message)
	}
}
