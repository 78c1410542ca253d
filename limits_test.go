package turnbuckle_test

import (
	"fmt"
	"go/ast"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The budgets: the tails are what makes a code base hard to read, so the tails are what is bounded.
// Tests and generated code are not counted.
const (
	maxFileLines    = 400  // all lines
	maxFuncLines    = 60   // from func to its closing brace
	maxMethods      = 4    // of an interface, embedded ones counted as one
	maxPackageLines = 1500 // lines of code, without blanks and comments
)

// An allowance lets one thing break one rule, for a reason a reviewer can judge.
type allowance struct {
	rule  string // file, func, interface, package, global, init, context, sleep, name
	where string // as the breach names it: a file, file:Function, folder or folder.Name
	why   string
}

func allowances() []allowance {
	return []allowance{
		{"package", "host/config", "one import gives whoever compiles routes the whole vocabulary of definitions; the decoder and the translator are packages of their own below it"},
		{"package", "host/config/tyk", "a third of it is the table of every classic field, which README prints; what translates them reads best beside it"},
		{"package", "cmd/bench", "a quarter of it is the tables of rows and targets, which are data; what measures them shares the inside of one course"},
		{"package", "host", "routes, chain and reload share the inside of one table; a cut through it would export what nobody else should see"},
		{"package", "host/front", "all that handles a client's connection before there is an exchange: guard, listener, body and hijacking share its state"},
		{"package", "host/identity", "sessions, policies, callers and the service over them are one vocabulary for authenticators and the control API; a cut between types and service would export how sessions are written and policies applied"},
		{"package", "host/upstream/h1", "one HTTP/1.1 client: its connection, framing, bodies and pool read each other's state"},
		{"package", "sdk/wire", "both protocols, both directions, encoded and decoded by hand: the field numbers of a message are to be read side by side"},
		{"file", "sdk/wire/apply.go", "one effect after the other, in the order of their numbers; a few lines over"},
		{"func", "host/observe/accesslog.go:AccessLog.value", "one switch over the fields of a log line, a few lines each; split it would have to be read in two places"},
	}
}

// A breach is one thing over its limit or under a ban.
type breach struct{ rule, where, what string }

func TestLimits(t *testing.T) {
	unused := allowances()
	for _, b := range breaches(load(t, os.DirFS("."))) {
		i := slices.IndexFunc(allowances(), func(a allowance) bool { return a.rule == b.rule && a.where == b.where })
		if i < 0 {
			t.Errorf("%s: %s (%s)", b.where, b.what, b.rule)
			continue
		}
		unused = slices.DeleteFunc(unused, func(a allowance) bool { return a == allowances()[i] })
	}
	for _, a := range unused {
		t.Errorf("the allowance %s for %s is no longer needed: delete it", a.rule, a.where)
	}
	for _, a := range allowances() {
		if len(a.why) < 20 {
			t.Errorf("the allowance %s for %s gives no reason", a.rule, a.where)
		}
	}
}

func breaches(folders []folder) []breach {
	var all []breach
	for _, f := range folders {
		all = append(all, overBudget(f)...)
		all = append(all, banned(f)...)
	}
	return all
}

func overBudget(f folder) []breach {
	if strings.HasSuffix(f.name(), "test") {
		return nil // coprocesstest and the like: tests that others run
	}
	var over []breach
	code := 0
	for _, s := range f.written() {
		code += s.code
		if s.lines > maxFileLines {
			over = append(over, breach{"file", s.path, fmt.Sprintf("%d lines, at most %d", s.lines, maxFileLines)})
		}
		over = append(over, longFuncs(s)...)
		over = append(over, wideInterfaces(f, s)...)
	}
	if code > maxPackageLines {
		over = append(over, breach{"package", f.dir, fmt.Sprintf("%d lines of code, at most %d", code, maxPackageLines)})
	}
	return over
}

func longFuncs(s source) []breach {
	var over []breach
	for _, decl := range s.syntax.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := s.fset.Position(fn.End()).Line - s.fset.Position(fn.Pos()).Line + 1
		if lines > maxFuncLines {
			over = append(over, breach{"func", s.path + ":" + funcName(fn), fmt.Sprintf("%d lines, at most %d", lines, maxFuncLines)})
		}
	}
	return over
}

// funcName is Name, or Type.Name for a method.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	receiver := fn.Recv.List[0].Type
	for {
		switch t := receiver.(type) {
		case *ast.StarExpr:
			receiver = t.X
		case *ast.IndexExpr:
			receiver = t.X
		case *ast.IndexListExpr:
			receiver = t.X
		case *ast.Ident:
			return t.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

func wideInterfaces(f folder, s source) []breach {
	var over []breach
	ast.Inspect(s.syntax, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if face, ok := spec.Type.(*ast.InterfaceType); ok {
			methods := 0
			for _, field := range face.Methods.List {
				methods += max(1, len(field.Names))
			}
			if methods > maxMethods {
				over = append(over, breach{"interface", f.dir + "." + spec.Name.Name, fmt.Sprintf("%d methods, at most %d", methods, maxMethods)})
			}
		}
		return true
	})
	return over
}

// Each limit and ban, broken once.
func TestLimitsRefuse(t *testing.T) {
	long := "package x\n\nfunc f() {\n" + strings.Repeat("\t_ = 1\n", 60) + "}\n"
	tests := []struct{ name, path, source, want string }{
		{"long file", "a/x.go", "package x\n" + strings.Repeat("\n", 401), "file a/x.go"},
		{"long function", "a/x.go", long, "func a/x.go:f"},
		{"long method", "a/x.go", "package x\ntype T[K any] struct{}\n" + strings.Replace(long[11:], "func f", "func (t *T[K]) f", 1), "func a/x.go:T.f"},
		{"long test function", "a/x_test.go", long, ""},
		{"long function of a conformance suite", "a/atest/x.go", "package atest" + long[9:], ""},
		{"wide interface", "a/x.go", "package x\n\ntype I interface {\n\tA()\n\tB()\n\tC()\n\tD()\n\tE()\n}\n", "interface a.I"},
		{"large package", "a/x.go", "package x\n" + strings.Repeat("\n\nconst _ = 1\n// why\n", 1500), "package a"},
		{"init", "a/x.go", "package x\n\nfunc init() {}\n", "init a/x.go"},
		{"generated init", "a/x.go", "// Code generated by x. DO NOT EDIT.\npackage x\n\nfunc init() {}\n", ""},
		{"global", "a/x.go", "package x\n\nvar n int\n", "global a.n"},
		{"exported table", "a/x.go", "package x\n\nvar Table = []int{1}\n", "global a.Table"},
		{"written table", "a/x.go", "package x\n\nvar seen = map[string]bool{}\n\nfunc f() { seen[\"a\"] = true }\n", "global a.seen"},
		{"deleted from table", "a/x.go", "package x\n\nvar seen = map[string]bool{}\n\nfunc f() { delete(seen, \"a\") }\n", "global a.seen"},
		{"version set by the linker", "cmd/x/x.go", "package main\n\nvar version = \"dev\"\n", ""},
		{"version in a package", "a/x.go", "package x\n\nvar version = \"dev\"\n", "global a.version"},
		{"pool", "a/x.go", "package x\n\nimport \"sync\"\n\nvar pool = sync.Pool{}\n", "global a.pool"},
		{"lock in a struct", "a/x.go", "package x\n\nvar state = struct{ n int }{}\n\nfunc f() { state.n++ }\n", "global a.state"},
		{"table", "a/x.go", "package x\n\nvar hop = map[string]bool{\"Connection\": true}\n\nfunc f() bool { return hop[\"a\"] }\n", ""},
		{"computed table", "a/x.go", "package x\n\nvar odd = func() (t [9]bool) { t[1] = true; return }()\n", ""},
		{"hidden pointer", "a/x.go", "package x\n\nvar p = func() *int { return new(int) }()\n", "global a.p"},
		{"error", "a/x.go", "package x\n\nimport \"errors\"\n\nvar ErrX = errors.New(\"x\")\n", ""},
		{"assertion", "a/x.go", "package x\n\nimport \"io\"\n\nvar _ io.Reader = (*T)(nil)\n\ntype T struct{ io.Reader }\n", ""},
		{"expression", "a/x.go", "package x\n\nimport \"regexp\"\n\nvar re = regexp.MustCompile(`x`)\n", ""},
		{"embed", "a/x.go", "package x\n\nimport _ \"embed\"\n\n//go:embed x.txt\nvar text string\n", ""},
		{"background", "a/x.go", "package x\n\nimport \"context\"\n\nfunc f() { _ = context.Background() }\n", "context a/x.go"},
		{"background in a program", "cmd/x/x.go", "package main\n\nimport \"context\"\n\nfunc main() { _ = context.TODO() }\n", ""},
		{"background in a test", "a/x_test.go", "package x\n\nimport \"context\"\n\nfunc f() { _ = context.TODO() }\n", ""},
		{"where a process begins", "a/x.go", "package x\n\nimport (\n\"context\"\n\"os/signal\"\n)\n\nfunc Main() { _, _ = signal.NotifyContext(context.Background()) }\n", ""},
		{"sleep in a test", "a/x_test.go", "package x\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", "sleep a/x_test.go"},
		{"sleep", "a/x.go", "package x\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", ""},
		{"grab bag", "a/utils/x.go", "package utils\n", "name a/utils"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, b := range breaches(load(t, fstest.MapFS{test.path: {Data: []byte(test.source)}})) {
				got = append(got, b.rule+" "+b.where)
			}
			if test.want == "" && len(got) > 0 || test.want != "" && !slices.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCodeLines(t *testing.T) {
	const text = "package x // one\n\n/* two\nlines */\nconst s = `three\nfour\nfive` // three of code\n"
	if got := codeLines([]byte(text)); got != 4 {
		t.Errorf("got %d lines of code, want 4", got)
	}
}
