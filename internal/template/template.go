// Package template executes the language of text/template over plain data: nil, bool, int, float64, string, []any and
// map[string]any, what JSON is made of. There are no methods to call and no fields of structs, and that is the reason
// for this package: text/template finds methods by names that are known only when it runs, so a program that links it
// keeps every exported method of every type it may show anywhere (RATIONALE.md, "Why a template executor of our own?").
//
// Syntax is the standard library's (text/template/parse), and so are functions, comparisons, scopes and what is printed;
// tests hold this package to it. Refused are slices of lists beyond their lengths, and templates that include one another
// more than 1,000 deep.
package template

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"text/template/parse"
)

// maxDepth is how deep templates may include one another.
const maxDepth = 1000

// Func is a function that templates of its owner may call besides the usual ones. It takes one argument.
type Func func(arg any) (string, error)

// Options change how a template is read and executed.
type Options struct {
	// Strict makes a key that a map does not have an error; else it is a nil, which prints as <no value>.
	Strict bool
	// Funcs may be called by their names. A name must be an identifier and none of the usual functions'.
	Funcs map[string]Func
}

// Template is a text that has been read. It is immutable, and may be executed by several goroutines at once.
type Template struct {
	main  *parse.Tree
	trees map[string]*parse.Tree
	funcs map[string]function
	Options
}

// Parse reads a text. Errors begin with the name and the line.
func Parse(name, text string, options Options) (*Template, error) {
	t := &Template{funcs: builtins(), Options: options}
	for name, f := range options.Funcs {
		t.funcs[name] = own(name, f)
	}
	known := map[string]any{}
	for name := range t.funcs {
		known[name] = true
	}
	known["and"], known["or"] = true, true
	main := parse.New(name)
	t.trees = map[string]*parse.Tree{}
	if _, err := main.Parse(text, "", "", t.trees, known); err != nil {
		return nil, err
	}
	t.main = main
	return t, nil
}

// Execute writes what the template makes of data. What has been written before an error stays written. Errors name template,
// line and what was evaluated; one of w's is wrapped.
func (t *Template) Execute(w io.Writer, data any) (err error) {
	s := &state{template: t, tree: t.main, w: w, scope: []variable{{"$", data}}, at: t.main.Root}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	s.walk(data, t.main.Root)
	return nil
}

// Render is Execute into memory.
func (t *Template) Render(data any) ([]byte, error) {
	var b bytes.Buffer
	err := t.Execute(&b, data)
	return b.Bytes(), err
}

type variable struct {
	name  string
	value any
}

// failure ends an execution from any depth.
type failure struct{ error }

// state is that of one execution of one tree.
type state struct {
	template *Template
	tree     *parse.Tree
	w        io.Writer
	scope    []variable // the innermost last
	at       parse.Node // for errors
	depth    int
}

func (s *state) fail(format string, args ...any) { s.failWith(fmt.Errorf(format, args...)) }

func (s *state) failWith(err error) {
	location, context := s.tree.ErrorContext(s.at)
	panic(failure{fmt.Errorf("template: %s: executing %q at <%s>: %w", location, s.tree.Name, context, err)})
}

// flow is how a list of nodes ended.
type flow uint8

const (
	flowOn flow = iota
	flowBreak
	flowContinue
)

// walk executes a node with its dot.
func (s *state) walk(dot any, node parse.Node) flow {
	s.at = node
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return flowOn
		}
		for _, inner := range n.Nodes {
			if f := s.walk(dot, inner); f != flowOn {
				return f
			}
		}
	case *parse.TextNode:
		s.write(n.Text)
	case *parse.ActionNode:
		value := s.pipeline(dot, n.Pipe)
		if len(n.Pipe.Decl) == 0 {
			s.at = n
			s.write(printed(value))
		}
	case *parse.IfNode:
		return s.branch(dot, &n.BranchNode, false)
	case *parse.WithNode:
		return s.branch(dot, &n.BranchNode, true)
	case *parse.RangeNode:
		return s.loop(dot, n)
	case *parse.TemplateNode:
		s.include(dot, n)
	case *parse.BreakNode:
		return flowBreak
	case *parse.ContinueNode:
		return flowContinue
	case *parse.CommentNode:
	default:
		s.fail("unknown node %s", node)
	}
	return flowOn
}

func printed(value any) []byte {
	if value == nil {
		return []byte("<no value>")
	}
	return fmt.Append(nil, value)
}

func (s *state) write(b []byte) {
	if _, err := s.w.Write(b); err != nil {
		s.failWith(err)
	}
}

// branch executes an if or a with, which makes the value the dot.
func (s *state) branch(dot any, n *parse.BranchNode, with bool) flow {
	outer := len(s.scope)
	defer func() { s.scope = s.scope[:outer] }()
	value := s.pipeline(dot, n.Pipe)
	switch {
	case !truth(value):
		if n.ElseList == nil {
			return flowOn
		}
		return s.walk(dot, n.ElseList)
	case with:
		return s.walk(value, n.List)
	}
	return s.walk(dot, n.List)
}

// include executes another template, which sees no variables of this one.
func (s *state) include(dot any, n *parse.TemplateNode) {
	tree := s.template.trees[n.Name]
	if tree == nil {
		s.fail("template %q not defined", n.Name)
	}
	if s.depth == maxDepth {
		s.fail("templates include one another more than %d deep", maxDepth)
	}
	value := s.pipeline(dot, n.Pipe)
	inner := &state{template: s.template, tree: tree, w: s.w, scope: []variable{{"$", value}}, at: tree.Root, depth: s.depth + 1}
	inner.walk(value, tree.Root)
}

// assign sets a variable that there is; the parser has seen to that.
func (s *state) assign(name string, value any) {
	for i := len(s.scope) - 1; i >= 0; i-- {
		if s.scope[i].name == name {
			s.scope[i].value = value
			return
		}
	}
	s.fail("undefined variable: %s", name)
}

func (s *state) variable(name string) any {
	for i := len(s.scope) - 1; i >= 0; i-- {
		if s.scope[i].name == name {
			return s.scope[i].value
		}
	}
	s.fail("undefined variable: %s", name)
	return nil
}

// truth is what if, with, and, or and not make of a value.
func truth(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case int:
		return v != 0
	case byte:
		return v != 0
	case float64:
		return v != 0
	case complex128:
		return v != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

var errNoFunction = errors.New("there are no functions to call in the data")
