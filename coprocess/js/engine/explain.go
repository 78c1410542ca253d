package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

const maxMessage = 512 // bytes of what a script threw

// explain makes an error of goja's one that says where, and what for. It is called while the call is still watched,
// since it may run the script's code.
func (vm *VM) explain(err error) error {
	var interrupted *goja.InterruptedError
	var overflow *goja.StackOverflowError
	var thrown *goja.Exception
	switch {
	case errors.As(err, &interrupted):
		why := vm.stopped
		if why == nil {
			why, _ = interrupted.Value().(error)
		}
		if refusal := (*sdk.Error)(nil); errors.As(why, &refusal) {
			return refusal
		}
		if why == nil {
			why = errors.New("interrupted")
		}
		stack := interrupted.Stack()
		if vm.stack != nil {
			stack = vm.stack
		}
		return vm.at(stack, why.Error(), why)
	case errors.As(err, &overflow):
		return vm.at(overflow.Stack(), script.ErrDepth.Error(), script.ErrDepth)
	case errors.As(err, &thrown):
		return vm.at(thrown.Stack(), vm.message(thrown.Value()), thrown.Unwrap())
	}
	return err
}

// at is an error at the innermost place of a stack that is in a file.
func (vm *VM) at(stack []goja.StackFrame, message string, cause error) error {
	e := &script.Error{Plugin: vm.engine.plugin.Name, Message: message, Err: cause}
	var trace strings.Builder
	for _, frame := range stack {
		at := frame.Position()
		if at.Line == 0 || frame.SrcName() == "<native>" {
			continue
		}
		if e.File == "" {
			e.File, e.Line = frame.SrcName(), at.Line
		}
		if trace.Len() < maxMessage {
			fmt.Fprintf(&trace, "%s (%s:%d)\n", frame.FuncName(), frame.SrcName(), at.Line)
		}
	}
	e.Trace = trace.String()
	return e
}

// message is what a script threw, as text.
func (vm *VM) message(v goja.Value) (text string) {
	text = "something that cannot be shown"
	if v == nil {
		return text
	}
	_ = vm.JS.Try(func() {
		if o, ok := v.(*goja.Object); ok {
			if m := o.Get("message"); m != nil && !goja.IsUndefined(m) {
				text = m.String()
				if n := o.Get("name"); n != nil && !goja.IsUndefined(n) {
					text = n.String() + ": " + text
				}
				return
			}
		}
		text = v.String()
	})
	if len(text) > maxMessage {
		text = text[:maxMessage] + "…"
	}
	return text
}

// Throw ends the script's function with a TypeError, which the script may catch.
func (vm *VM) Throw(format string, args ...any) {
	panic(vm.JS.NewTypeError(fmt.Sprintf(format, args...)))
}

// Fail ends the script's function with an error of Go's, which the script may catch; uncaught, it is the cause of the
// call's error.
func (vm *VM) Fail(err error) { panic(vm.JS.NewGoError(err)) }

// Settled returns what a promise that a script returned was fulfilled with, and anything else as it is.
func (vm *VM) Settled(v goja.Value) (goja.Value, error) {
	p, ok := v.Export().(*goja.Promise)
	if !ok {
		return v, nil
	}
	switch p.State() {
	case goja.PromiseStateFulfilled:
		return p.Result(), nil
	case goja.PromiseStateRejected:
		cause, _ := p.Result().Export().(error)
		return nil, &script.Error{Plugin: vm.engine.plugin.Name, Message: "promise rejected: " + vm.message(p.Result()), Err: cause}
	}
	return nil, &script.Error{Plugin: vm.engine.plugin.Name, Message: "the promise that the hook returned is not settled: nothing here is asynchronous"}
}
