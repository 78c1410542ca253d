package interp

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// Program is a compiled file. It is immutable: any number of states may run it at once.
type Program struct {
	Name  string
	proto *lua.FunctionProto
}

// guardName is what the function that concatenates is called in compiled code. No script can spell it.
const guardName = "\x00concat"

// Compile compiles a file. The error is a [*script.Error] without plugin.
func Compile(name, text string) (p *Program, err error) {
	defer func() {
		if r := recover(); r != nil { // the compiler's way to tell of too many locals and the like
			p, err = nil, &script.Error{File: name, Message: strings.TrimSpace(fmt.Sprint(r))}
		}
	}()
	text = strings.TrimPrefix(text, "\ufeff")
	if strings.HasPrefix(text, "\x1b") {
		return nil, &script.Error{File: name, Line: 1, Message: "compiled code is not taken, only text"}
	}
	chunk, err := parse.Parse(strings.NewReader(text), name)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	rewriteStmts(chunk)
	inner := &ast.FunctionExpr{ParList: &ast.ParList{HasVargs: true}, Stmts: chunk}
	outer := &ast.FunctionExpr{ParList: &ast.ParList{Names: []string{guardName}}, Stmts: []ast.Stmt{&ast.ReturnStmt{Exprs: []ast.Expr{inner}}}}
	last := 1 + strings.Count(text, "\n")
	for _, n := range []ast.PositionHolder{inner, outer, outer.Stmts[0]} {
		n.SetLine(1)
		n.SetLastLine(last)
	}
	proto, err := lua.Compile([]ast.Stmt{&ast.ReturnStmt{Exprs: []ast.Expr{outer}}}, name)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	return &Program{name, proto}, nil
}

func syntaxError(name string, err error) error {
	e := &script.Error{File: name, Message: strings.TrimSpace(err.Error())}
	if p := (*parse.Error)(nil); errors.As(err, &p) {
		e.Line, e.Message = p.Pos.Line, p.Message
		if p.Pos.Line == parse.EOF {
			e.Line, e.Message = 0, p.Message+" at the end of the file"
		} else if p.Token != "" {
			e.Message = fmt.Sprintf("%s near %q", p.Message, p.Token)
		}
	}
	if c := (*lua.CompileError)(nil); errors.As(err, &c) {
		e.Line, e.Message = c.Line, c.Message
	}
	return e
}

// function makes the program's main function in a state.
func (p *Program) function(s *State) *lua.LFunction {
	s.L.Push(s.L.NewFunctionFromProto(p.proto))
	s.L.Call(0, 1)
	s.L.Push(s.concat)
	s.L.Call(1, 1)
	fn := s.L.CheckFunction(-1)
	s.L.Pop(1)
	return fn
}

// The interpreter's own concatenation makes strings of any length in one instruction: doubling a string thirty times
// takes no time and a gigabyte. So what joins more than one value that is not written out in the source is compiled as a
// call of a function that bounds it.

func rewriteStmts(stmts []ast.Stmt) {
	for _, s := range stmts {
		rewriteStmt(s)
	}
}

func rewriteStmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		rewriteExprs(s.Lhs)
		rewriteExprs(s.Rhs)
	case *ast.LocalAssignStmt:
		rewriteExprs(s.Exprs)
	case *ast.FuncCallStmt:
		s.Expr = rewrite(s.Expr)
	case *ast.DoBlockStmt:
		rewriteStmts(s.Stmts)
	case *ast.WhileStmt:
		s.Condition = rewrite(s.Condition)
		rewriteStmts(s.Stmts)
	case *ast.RepeatStmt:
		s.Condition = rewrite(s.Condition)
		rewriteStmts(s.Stmts)
	case *ast.IfStmt:
		s.Condition = rewrite(s.Condition)
		rewriteStmts(s.Then)
		rewriteStmts(s.Else)
	case *ast.NumberForStmt:
		s.Init, s.Limit, s.Step = rewrite(s.Init), rewrite(s.Limit), rewrite(s.Step)
		rewriteStmts(s.Stmts)
	case *ast.GenericForStmt:
		rewriteExprs(s.Exprs)
		rewriteStmts(s.Stmts)
	case *ast.FuncDefStmt:
		if s.Name.Func != nil {
			s.Name.Func = rewrite(s.Name.Func)
		}
		if s.Name.Receiver != nil {
			s.Name.Receiver = rewrite(s.Name.Receiver)
		}
		rewriteStmts(s.Func.Stmts)
	case *ast.ReturnStmt:
		rewriteExprs(s.Exprs)
	}
}

func rewriteExprs(exprs []ast.Expr) {
	for i := range exprs {
		exprs[i] = rewrite(exprs[i])
	}
}

func rewrite(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.AttrGetExpr:
		e.Object, e.Key = rewrite(e.Object), rewrite(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			f.Key, f.Value = rewrite(f.Key), rewrite(f.Value)
		}
	case *ast.FuncCallExpr:
		e.Func, e.Receiver = rewrite(e.Func), rewrite(e.Receiver)
		rewriteExprs(e.Args)
	case *ast.LogicalOpExpr:
		e.Lhs, e.Rhs = rewrite(e.Lhs), rewrite(e.Rhs)
	case *ast.RelationalOpExpr:
		e.Lhs, e.Rhs = rewrite(e.Lhs), rewrite(e.Rhs)
	case *ast.ArithmeticOpExpr:
		e.Lhs, e.Rhs = rewrite(e.Lhs), rewrite(e.Rhs)
	case *ast.UnaryMinusOpExpr:
		e.Expr = rewrite(e.Expr)
	case *ast.UnaryNotOpExpr:
		e.Expr = rewrite(e.Expr)
	case *ast.UnaryLenOpExpr:
		e.Expr = rewrite(e.Expr)
	case *ast.FunctionExpr:
		rewriteStmts(e.Stmts)
	case *ast.StringConcatOpExpr:
		return rewriteConcat(e)
	}
	return e
}

// maxOperands is how many values one call of the guard joins; longer chains are calls of calls.
const maxOperands = 100

func rewriteConcat(e *ast.StringConcatOpExpr) ast.Expr {
	var operands []ast.Expr
	free := 0
	for at := ast.Expr(e); ; {
		c, chained := at.(*ast.StringConcatOpExpr)
		operand := at
		if chained {
			operand = c.Lhs
		}
		operand = rewrite(operand)
		switch operand.(type) {
		case *ast.StringExpr, *ast.NumberExpr:
		default:
			free++
		}
		operands = append(operands, operand)
		if !chained {
			break
		}
		at = c.Rhs
	}
	if free < 2 && len(operands) <= maxOperands {
		at := e
		for i, operand := range operands[:len(operands)-1] {
			at.Lhs = operand
			if i == len(operands)-2 {
				at.Rhs = operands[i+1]
				break
			}
			at = at.Rhs.(*ast.StringConcatOpExpr)
		}
		return e
	}
	for len(operands) > maxOperands { // from the right, as the operator associates
		cut := len(operands) - maxOperands
		operands = append(operands[:cut:cut], guarded(e, operands[cut:]))
	}
	return guarded(e, operands)
}

func guarded(at ast.PositionHolder, operands []ast.Expr) ast.Expr {
	name := &ast.IdentExpr{Value: guardName}
	call := &ast.FuncCallExpr{Func: name, Args: operands, AdjustRet: true}
	for _, n := range []ast.PositionHolder{name, call} {
		n.SetLine(at.Line())
		n.SetLastLine(at.LastLine())
	}
	return call
}
