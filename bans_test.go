package turnbuckle_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// banned lists what the house never does and a syntax tree can show: init functions, mutable package state,
// contexts without a parent below cmd, sleeping in tests, packages named after nothing.
func banned(f folder) []breach {
	var found []breach
	if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc"}, f.name()) {
		found = append(found, breach{"name", f.dir, "a package is named for what it provides"})
	}
	found = append(found, globals(f)...)
	for _, s := range f.sources {
		if s.generated {
			continue
		}
		if s.test {
			found = append(found, calls(s, "sleep", "time", []string{"Sleep"}, "tests wait for events, not for time")...)
			continue
		}
		for _, decl := range s.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, breach{"init", s.path, "wiring belongs to cmd, where it can be read"})
			}
		}
		if s.syntax.Name.Name != "main" {
			found = append(found, calls(s, "context", "context", []string{"Background", "TODO"}, "the caller's context, or one derived from it")...)
		}
	}
	return found
}

// calls finds uses of the named functions of an imported package. The argument of signal.NotifyContext is none: there
// a process's own context begins.
func calls(s source, rule, pkg string, names []string, what string) []breach {
	var found []breach
	if !slices.Contains(s.imports(), pkg) {
		return nil
	}
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if fun, ok := call.Fun.(*ast.SelectorExpr); ok && isIdent(fun.X, "signal") && fun.Sel.Name == "NotifyContext" {
				return false
			}
		}
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(names, sel.Sel.Name) && isIdent(sel.X, pkg) {
			found = append(found, breach{rule, s.path, "line " + strconv.Itoa(s.fset.Position(n.Pos()).Line) + ": " + what})
		}
		return true
	})
	return found
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// globals lists the package's variables that are, or could become, state. Errors, compiled expressions, embedded
// files, interface assertions and unexported tables that nothing in the package writes to are none.
func globals(f folder) []breach {
	var found []breach
	for _, s := range f.written() {
		for _, decl := range s.syntax.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				value := spec.(*ast.ValueSpec)
				if embedded(gen.Doc) || embedded(value.Doc) {
					continue
				}
				for i, name := range value.Names {
					if name.Name != "_" && !(i < len(value.Values) && constant(f, name.Name, value.Values[i])) {
						found = append(found, breach{"global", f.dir + "." + name.Name, "package-level state"})
					}
				}
			}
		}
	}
	return found
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// constant reports whether a variable with this first value is as good as a constant.
func constant(f folder, name string, value ast.Expr) bool {
	if unary, ok := value.(*ast.UnaryExpr); ok && unary.Op == token.AND {
		value = unary.X
	}
	switch v := value.(type) {
	case *ast.BasicLit: // the linker sets a program's version
		return name == "version" && f.name() == "main" && !writes(f, name)
	case *ast.CallExpr:
		if lit, ok := v.Fun.(*ast.FuncLit); ok { // a table computed on the spot
			return !ast.IsExported(name) && !returnsPointer(lit) && !writes(f, name)
		}
		sel, ok := v.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		switch {
		case isIdent(sel.X, "errors"), isIdent(sel.X, "fmt") && sel.Sel.Name == "Errorf":
			return true
		case isIdent(sel.X, "regexp"), isIdent(sel.X, "strings") && sel.Sel.Name == "NewReplacer":
			return true
		}
		return false
	case *ast.CompositeLit:
		if sel, ok := v.Type.(*ast.SelectorExpr); ok && (isIdent(sel.X, "sync") || isIdent(sel.X, "atomic")) {
			return false
		}
		return !ast.IsExported(name) && !writes(f, name)
	}
	return false
}

func returnsPointer(lit *ast.FuncLit) bool {
	return lit.Type.Results == nil || slices.ContainsFunc(lit.Type.Results.List, func(r *ast.Field) bool {
		_, pointer := r.Type.(*ast.StarExpr)
		return pointer
	})
}

// writes reports whether any file of the package assigns to the variable or to something in it, takes its
// address, or hands it to delete or clear. A local of the same name counts too: rename it.
func writes(f folder, name string) bool {
	found := false
	for _, s := range f.written() {
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				found = found || n.Tok != token.DEFINE && slices.ContainsFunc(n.Lhs, func(e ast.Expr) bool { return rootedAt(e, name) })
			case *ast.IncDecStmt:
				found = found || rootedAt(n.X, name)
			case *ast.UnaryExpr:
				found = found || n.Op == token.AND && rootedAt(n.X, name)
			case *ast.CallExpr:
				if isIdent(n.Fun, "delete") || isIdent(n.Fun, "clear") {
					found = found || rootedAt(n.Args[0], name)
				}
			}
			return !found
		})
	}
	return found
}

// rootedAt reports whether e is the variable, or a field, element or target of it.
func rootedAt(e ast.Expr, name string) bool {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name == name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return false
		}
	}
}
