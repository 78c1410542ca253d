package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"
	"github.com/dop251/goja/token"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// maxNesting is how deep a source's brackets may be nested: the parser recurses, and no stack is endless.
const maxNesting = 1000

// compileScript compiles a file that is run in the global scope.
func compileScript(s script.Source) (*goja.Program, error) {
	text := withoutShebang(s.Text)
	if err := nesting(text); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	tree, err := parse(s.Name, text)
	if err != nil {
		return nil, err
	}
	// Variables of the global scope that let declares cannot be reset between calls; those of var can.
	if rebound := globalVars(tree, text); rebound != text {
		if again, err := parse(s.Name, rebound); err == nil {
			tree = again
		}
	}
	return compile(s.Name, tree)
}

// compileModule compiles a file as the body of a function of exports, require and module.
func compileModule(s script.Source) (*goja.Program, error) {
	text := withoutShebang(s.Text)
	if err := nesting(text); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if _, err := parse(s.Name, text); err != nil && !strings.Contains(err.Error(), "Illegal return") {
		return nil, err // else "})" would do for the end of the function
	}
	tree, err := parse(s.Name, "(function (exports, require, module) {"+text+"\n})")
	if err != nil {
		return nil, err
	}
	return compile(s.Name, tree)
}

func parse(name, text string) (*ast.Program, error) {
	tree, err := parser.ParseFile(nil, name, text, 0, parser.WithDisableSourceMaps)
	if err == nil {
		return tree, nil
	}
	made := &script.Error{File: name, Message: err.Error()}
	if list := (parser.ErrorList)(nil); errors.As(err, &list) && len(list) > 0 {
		made.Line, made.Message = list[0].Position.Line, list[0].Message // the others come of it
	}
	made.Message = "does not compile: " + made.Message
	return nil, made
}

func compile(name string, tree *ast.Program) (*goja.Program, error) {
	p, err := goja.CompileAST(tree, false)
	if err == nil {
		return p, nil
	}
	made := &script.Error{File: name, Message: err.Error()}
	wrong, reference := (*goja.CompilerSyntaxError)(nil), (*goja.CompilerReferenceError)(nil)
	switch {
	case errors.As(err, &wrong):
		made.Line, made.Message = lineOf(&wrong.CompilerError), wrong.Message
	case errors.As(err, &reference):
		made.Line, made.Message = lineOf(&reference.CompilerError), reference.Message
	}
	made.Message = "does not compile: " + made.Message
	return nil, made
}

func lineOf(e *goja.CompilerError) int {
	if e.File == nil {
		return 0
	}
	return e.File.Position(e.Offset).Line
}

// globalVars makes each let of the global scope a var.
func globalVars(tree *ast.Program, text string) string {
	b := []byte(text)
	for _, statement := range tree.Body {
		d, ok := statement.(*ast.LexicalDeclaration)
		if !ok || d.Token != token.LET {
			continue
		}
		if at := int(d.Idx) - tree.File.Base(); at >= 0 && at+3 <= len(b) && string(b[at:at+3]) == "let" {
			copy(b[at:], "var")
		}
	}
	return string(b)
}

// withoutShebang blanks a first line that is for a shell.
func withoutShebang(text string) string {
	if strings.HasPrefix(text, "#!") {
		return "//" + text[2:]
	}
	return text
}

// nesting reports brackets nested too deeply. It looks at all there are, in strings and comments too.
func nesting(text string) error {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '(', '[', '{':
			if depth++; depth > maxNesting {
				return fmt.Errorf("brackets nested more than %d deep", maxNesting)
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return nil
}
