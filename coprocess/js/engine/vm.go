package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/collate"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script/jsontext"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// VM is one interpreter with the plugin's files loaded. It is for the one call that has it.
type VM struct {
	JS *goja.Runtime
	// State is the API's own, and Undo memory for whoever calls.
	State any
	Undo  sdk.Undo

	engine  *Engine
	watch   *script.Call
	global  *goja.Object // what scripts see as globalThis; the built-ins are its prototype
	clean   globals
	exports *goja.Object // of the modules among the plugin's files, all of them together
	modules map[string]*goja.Object
	bytesOf goja.Value // the constructor Uint8Array
	json    jsontext.Reader[goja.Value]

	joining []*goja.Object // arrays that are being joined, the outermost first
	joined  int            // bytes of them
	matches int            // how many more a regular expression may have in this replacement

	// Of the call under way.
	ctx      context.Context
	by       *sdk.Header
	stopped  error             // why a native ended it
	stack    []goja.StackFrame // where
	derived  context.Context
	release  func()
	panicked bool
}

// callContext ends with the call's context or with the engine.
type callContext struct {
	context.Context
	engine context.Context
}

func (c callContext) Err() error {
	if c.engine.Err() != nil {
		return fmt.Errorf("%w: closed", sdk.ErrUnavailable)
	}
	return c.Context.Err()
}

// opaque shows scripts nothing of what lies in values of Go: an error that they catch would else have the fields and methods
// of whatever type it is, to read, to call and to write.
type opaque struct{}

func (opaque) FieldName(reflect.Type, reflect.StructField) string { return "" }
func (opaque) MethodName(reflect.Type, reflect.Method) string     { return "" }

// newVM makes an interpreter and runs the plugin's files in it.
func (e *Engine) newVM(ctx context.Context) (*VM, error) {
	e.counters.Made.Add(1)
	vm := &VM{JS: goja.New(), engine: e, modules: map[string]*goja.Object{}}
	vm.JS.SetMaxCallStackSize(e.limits.Depth)
	vm.JS.SetParserOptions(parser.WithDisableSourceMaps)
	vm.JS.SetFieldNameMapper(opaque{})
	vm.watch = e.plugin.Watch.Call(func(why error) { vm.JS.Interrupt(why) })
	err, fit := vm.run(ctx, nil, (*VM).load)
	if err == nil && !fit {
		err = errors.New("its files do what no call may do")
	}
	if err != nil {
		if se := (*script.Error)(nil); !errors.As(err, &se) {
			err = fmt.Errorf("plugin %q: %w", e.plugin.Name, err)
		}
		return nil, fmt.Errorf("loading scripts: %w", err)
	}
	return vm, nil
}

func (vm *VM) load() error {
	e := vm.engine
	vm.bytesOf = vm.JS.Get("Uint8Array")
	vm.exports = vm.JS.NewObject()
	if err := vm.bound(); err != nil {
		return err
	}
	if err := collate.Install(vm.JS); err != nil {
		return err
	}
	builtins := vm.JS.GlobalObject()
	vm.global = vm.JS.CreateObject(builtins)
	vm.JS.SetGlobalObject(vm.global)
	if err := builtins.Set("globalThis", vm.global); err != nil {
		return err
	}
	if err := e.options.API.Install(vm); err != nil {
		return err
	}
	for i, p := range e.programs {
		if !e.options.Modules {
			if _, err := vm.JS.RunProgram(p); err != nil {
				return err
			}
			continue
		}
		if _, err := vm.runModule(e.plugin.Main[i].Name, p, vm.exports); err != nil {
			return err
		}
	}
	if err := e.options.API.Loaded(vm); err != nil {
		return err
	}
	if e.plugin.Fresh {
		return nil // nobody comes after
	}
	if err := vm.freeze(builtins); err != nil {
		return err
	}
	vm.clean.take(vm)
	return nil
}

// Exports is the object that the plugin's modules filled.
func (vm *VM) Exports() *goja.Object { return vm.exports }

// Set makes a global that scripts can neither change nor delete.
func (vm *VM) Set(name string, value any) error {
	return vm.global.Prototype().DefineDataProperty(name, vm.JS.ToValue(value), goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE)
}

// Plugin is the plugin that the interpreter runs.
func (vm *VM) Plugin() *script.Plugin { return vm.engine.plugin }

// Log is where lines go outside of any exchange.
func (vm *VM) Log(level slog.Level, message string) {
	vm.engine.log.Log(vm.ctx, level, message, "plugin", vm.engine.plugin.Name)
}

// Show is a value as a line of a log has it: text as it is, anything else as JSON.
func (vm *VM) Show(v goja.Value) string {
	if s, ok := v.(goja.String); ok {
		return Bytes(s)
	}
	if o, ok := v.(*goja.Object); ok && o.ClassName() != "Error" {
		if text, ok := vm.Stringify(o); ok {
			return text
		}
	}
	return v.String()
}

// Lazy makes a global of what a library exports, which is run when a script first looks.
func (vm *VM) Lazy(name string, library func() (*goja.Program, error)) error {
	var made goja.Value
	get := func(goja.FunctionCall) goja.Value {
		if made == nil {
			p, err := library()
			if err != nil {
				vm.Fail(err)
			}
			exports, err := vm.runModule(name, p, vm.JS.NewObject())
			if err != nil {
				panic(err)
			}
			made = exports
		}
		return made
	}
	global := vm.global.Prototype()
	return global.DefineAccessorProperty(name, vm.JS.ToValue(get), nil, goja.FLAG_FALSE, goja.FLAG_FALSE)
}

// runModule runs a module's function with exports, and returns what it exports in the end.
func (vm *VM) runModule(name string, p *goja.Program, exports *goja.Object) (*goja.Object, error) {
	value, err := vm.JS.RunProgram(p)
	if err != nil {
		return nil, err
	}
	body, _ := goja.AssertFunction(value)
	module := vm.JS.NewObject()
	if err := module.Set("exports", exports); err != nil {
		return nil, err
	}
	require := func(c goja.FunctionCall) goja.Value { return vm.require(name, Bytes(c.Argument(0))) }
	if _, err := body(exports, exports, vm.JS.ToValue(require), module); err != nil {
		return nil, err
	}
	made := module.Get("exports")
	if made != nil && made.SameAs(exports) {
		return exports, nil
	}
	object, ok := made.(*goja.Object)
	if !ok {
		object = vm.JS.NewObject()
		return object, object.Set("default", made)
	}
	if exports == vm.exports { // a main file: what it replaced its exports by counts with the others'
		for _, key := range object.Keys() {
			if err := exports.Set(key, object.Get(key)); err != nil {
				return nil, err
			}
		}
	}
	return object, nil
}

// require returns what a file of the plugin exports. Files that need each other see what is there so far.
func (vm *VM) require(from, name string) goja.Value {
	at, p, err := vm.engine.required(path.Clean(from), name)
	if err != nil {
		panic(vm.JS.NewGoError(err))
	}
	if known, ok := vm.modules[at]; ok {
		return known
	}
	exports := vm.JS.NewObject()
	vm.modules[at] = exports
	made, err := vm.runModule(at, p, exports)
	if err != nil {
		delete(vm.modules, at)
		panic(err) // an exception goes on as it is
	}
	vm.modules[at] = made
	return made
}

// run runs f within the plugin's bounds, and then makes the interpreter fit for the next call, or says that it is not.
func (vm *VM) run(ctx context.Context, by *sdk.Header, f func(*VM) error) (err error, fit bool) {
	vm.ctx, vm.by, vm.stopped, vm.stack = callContext{ctx, vm.engine.ctx}, by, nil, nil
	vm.panicked = true
	vm.watch.Begin(vm.ctx, &vm.engine.limits)
	defer func() {
		if vm.panicked {
			err, fit = fmt.Errorf("plugin %q: %w: %v", vm.engine.plugin.Name, sdk.ErrPanic, recover()), false
			vm.engine.log.Error("interpreter panicked", "plugin", vm.engine.plugin.Name, "error", err, "stack", string(debug.Stack()))
			vm.watch.End()
		}
		if vm.release != nil {
			vm.release()
			vm.release, vm.derived = nil, nil
		}
		vm.ctx, vm.by = nil, nil
	}()
	err = f(vm)
	if err != nil {
		err = vm.explain(err)
	}
	fit = (err == nil || !script.Offence(err)) && (vm.clean.taken == nil || vm.clean.restore(vm))
	if breach := vm.watch.End(); breach != nil {
		vm.JS.ClearInterrupt()
		fit = false
		if err != nil && !errors.Is(err, breach) {
			err = errors.Join(err, breach)
		}
	}
	vm.panicked = false
	return err, fit
}

// Context is for what the call does outside of the interpreter: it ends when the call has to.
func (vm *VM) Context() context.Context {
	if vm.derived == nil {
		ctx, cancel := context.WithDeadline(vm.ctx, vm.watch.Deadline())
		stop := context.AfterFunc(vm.engine.ctx, cancel)
		vm.derived, vm.release = ctx, func() { stop(); cancel() }
	}
	return vm.derived
}

// Outside calls f, which waits for something outside of the interpreter.
func (vm *VM) Outside(f func(ctx context.Context) error) {
	ctx := vm.Context()
	vm.watch.Wait()
	err := f(ctx)
	vm.watch.Resume()
	if err != nil {
		if ctx.Err() != nil {
			vm.Stop(vm.over())
		}
		panic(vm.JS.NewGoError(err))
	}
}

// By is the request header of the exchange that the call is for; nil for none.
func (vm *VM) By() *sdk.Header { return vm.by }

// over is why the call has no time left, nil while it has.
func (vm *VM) over() error {
	if err := vm.ctx.Err(); err != nil {
		return err
	}
	if time.Now().After(vm.watch.Deadline()) {
		return context.DeadlineExceeded
	}
	return nil
}

// Stop ends the call with err; no script can catch it. It does not return.
func (vm *VM) Stop(err error) {
	vm.stopped, vm.stack = err, vm.JS.CaptureCallStack(0, nil)
	panic(&goja.InterruptedError{})
}
