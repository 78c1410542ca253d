package template

import (
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// loop executes a range.
func (s *state) loop(dot any, n *parse.RangeNode) flow {
	outer := len(s.scope)
	defer func() { s.scope = s.scope[:outer] }()
	over := s.pipeline(dot, n.Pipe)
	inside := len(s.scope)
	ran := false
	// once is one iteration; it reports whether there is to be another.
	once := func(key, value any) bool {
		ran = true
		if value == nil {
			value = absent{}
		}
		s.bind(n.Pipe, outer, key, value)
		f := s.walk(value, n.List)
		s.scope = s.scope[:inside]
		return f != flowBreak
	}
	switch v := over.(type) {
	case nil:
	case int, byte:
		if len(n.Pipe.Decl) > 1 {
			s.fail("can't use %v to iterate over more than one variable", v)
		}
		count, _ := whole(v)
		for i := range count {
			var each any = i
			if _, small := v.(byte); small {
				each = byte(i)
			}
			if !once(nil, each) {
				break
			}
		}
	case []any:
		for i, each := range v {
			if !once(i, each) {
				break
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !once(key, v[key]) {
				break
			}
		}
	default:
		s.at = n
		s.fail("range can't iterate over %v", over)
	}
	if !ran && n.ElseList != nil {
		return s.walk(dot, n.ElseList)
	}
	return flowOn
}

// bind gives a range's variables their values: one has the element, of two the first has the key. Those that the range
// declares lie in the scope from outer on.
func (s *state) bind(pipe *parse.PipeNode, outer int, key, value any) {
	values := []any{value}
	if len(pipe.Decl) > 1 {
		values = []any{key, value}
	}
	for i := range pipe.Decl {
		if pipe.IsAssign {
			s.assign(pipe.Decl[i].Ident[0], values[i])
		} else {
			s.scope[outer+i].value = values[i]
		}
	}
}

// pipeline is the value of commands, each of which gets the one before as its last argument.
func (s *state) pipeline(dot any, pipe *parse.PipeNode) any {
	if pipe == nil {
		return nil
	}
	s.at = pipe
	var value any
	for i, command := range pipe.Cmds {
		var piped []any
		if i > 0 {
			piped = []any{value}
		}
		value = s.command(dot, command, piped)
	}
	for _, v := range pipe.Decl {
		if pipe.IsAssign {
			s.assign(v.Ident[0], value)
		} else {
			s.scope = append(s.scope, variable{v.Ident[0], value})
		}
	}
	return value
}

// command is the value of a command; piped has what came before, or nothing.
func (s *state) command(dot any, n *parse.CommandNode, piped []any) any {
	first := n.Args[0]
	if name, ok := first.(*parse.IdentifierNode); ok {
		s.at = name
		return s.call(dot, name.Ident, n.Args[1:], piped)
	}
	s.at = first
	if len(n.Args) > 1 || len(piped) > 0 {
		s.fail("can't give argument to non-function %s", first)
	}
	if _, ok := first.(*parse.NilNode); ok {
		s.fail("nil is not a command")
	}
	return s.operand(dot, first)
}

// operand is the value of a single word.
func (s *state) operand(dot any, node parse.Node) any {
	s.at = node
	switch n := node.(type) {
	case *parse.DotNode:
		return present(dot)
	case *parse.NilNode:
		return nil
	case *parse.BoolNode:
		return n.True
	case *parse.StringNode:
		return n.Text
	case *parse.NumberNode:
		return s.number(n)
	case *parse.FieldNode:
		return s.fields(dot, n, n.Ident)
	case *parse.VariableNode:
		return s.fields(s.variable(n.Ident[0]), n, n.Ident[1:])
	case *parse.ChainNode:
		if _, ok := n.Node.(*parse.NilNode); ok {
			s.fail("indirection through explicit nil in %s", n)
		}
		return s.fields(s.operand(dot, n.Node), n, n.Field)
	case *parse.PipeNode:
		return s.pipeline(dot, n)
	case *parse.IdentifierNode:
		return s.call(dot, n.Ident, nil, nil)
	}
	s.fail("can't evaluate %s", node)
	return nil
}

// number gives a constant the type its spelling suggests.
func (s *state) number(n *parse.NumberNode) any {
	hexadecimal := len(n.Text) > 2 && n.Text[0] == '0' && strings.ContainsAny(n.Text[1:2], "xX") && !strings.ContainsAny(n.Text, "pP")
	switch {
	case n.IsComplex:
		return n.Complex128
	case n.IsFloat && !hexadecimal && n.Text[0] != '\'' && strings.ContainsAny(n.Text, ".eEpP"):
		return n.Float64
	case n.IsInt && int64(int(n.Int64)) == n.Int64:
		return int(n.Int64)
	}
	s.fail("%s overflows int", n.Text)
	return nil
}

// absent is the nil of a list or map while a range is at it. It has no members, while those of the nil that a pipeline
// gave are nil: so does the standard library have it, which tells a nil interface from no value.
type absent struct{}

func present(value any) any {
	if value == (absent{}) {
		return nil
	}
	return value
}

// fields goes from a value to a member of its member, and so on.
func (s *state) fields(value any, node parse.Node, names []string) any {
	if len(names) == 0 {
		return present(value)
	}
	for i, name := range names {
		s.at = node
		switch v := value.(type) {
		case map[string]any:
			member, found := v[name]
			if !found && s.template.Strict {
				s.fail("map has no entry for key %q", name)
			}
			value = member
		case nil:
			if i > 0 || s.template.Strict {
				s.fail("nil value evaluating .%s", name)
			}
			return nil
		case absent:
			s.fail("nil value evaluating .%s", name)
		default:
			s.fail("can't evaluate field %s in type %T", name, value)
		}
	}
	return value
}

// call is the value of a function. and and or evaluate no more arguments than they need.
func (s *state) call(dot any, name string, args []parse.Node, piped []any) any {
	if name == "and" || name == "or" {
		if len(args)+len(piped) == 0 {
			s.fail("wrong number of args for %s: want at least 1 got 0", name)
		}
		var value any
		for _, arg := range args {
			if value = s.operand(dot, arg); truth(value) == (name == "or") {
				return value
			}
		}
		if len(piped) > 0 {
			return piped[0]
		}
		return value
	}
	f, ok := s.template.funcs[name]
	if !ok {
		s.fail("%q is not a defined function", name)
	}
	if got := len(args) + len(piped); got < f.least || f.most >= 0 && got > f.most {
		s.fail("wrong number of args for %s: got %d", name, got)
	}
	node := s.at
	values := make([]any, 0, len(args)+len(piped))
	for _, arg := range args {
		values = append(values, s.operand(dot, arg))
	}
	value, err := f.do(append(values, piped...))
	if err != nil {
		s.at = node
		s.fail("error calling %s: %w", name, err)
	}
	return value
}
