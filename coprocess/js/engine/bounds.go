package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

const (
	// perElement is how many bytes of Limits.Size one element of an array counts.
	perElement = 16
	// maxArguments is how many arguments apply may make of an array.
	maxArguments = 1 << 16
	// maxEval is how many bytes of source a script may make up while it runs.
	maxEval = 64 << 10
)

// BoundPatterns gives every regular expression that may backtrack a time limit for one match, 100 ms. The setting is one
// of the whole process, so whoever starts it calls this once, before any script is loaded; [New] refuses to run without.
func BoundPatterns() { regexp2.DefaultMatchTimeout = 100 * time.Millisecond }

func patternsBound() error {
	if regexp2.DefaultMatchTimeout > time.Minute {
		return errors.New("regular expressions have no time limit: the process has to call engine.BoundPatterns when it starts")
	}
	return nil
}

type native = func(goja.FunctionCall) goja.Value

// wrap replaces the method of that name by what make makes of it.
func (vm *VM) wrap(holder *goja.Object, name string, mk func(was goja.Callable) native) error {
	was, ok := goja.AssertFunction(holder.Get(name))
	if !ok {
		return fmt.Errorf("this JavaScript has no %s", name)
	}
	// A native wears its own name, as the built-in did.
	f := vm.JS.ToValue(mk(was)).(*goja.Object)
	if err := f.DefineDataProperty("name", vm.JS.ToValue(name), goja.FLAG_FALSE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
		return err
	}
	return holder.DefineDataProperty(name, f, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE)
}

// pass calls the built-in; what it throws goes on.
func pass(was goja.Callable, c goja.FunctionCall) goja.Value {
	v, err := was(c.This, c.Arguments...)
	if err != nil {
		panic(err)
	}
	return v
}

// checked wraps methods by a look at the call before it is made.
func (vm *VM) checked(holder *goja.Object, look func(c goja.FunctionCall), names ...string) error {
	for _, name := range names {
		if err := vm.wrap(holder, name, func(was goja.Callable) native {
			return func(c goja.FunctionCall) goja.Value {
				look(c)
				return pass(was, c)
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

// bound replaces the built-ins that could not be interrupted while they grow, search or run.
func (vm *VM) bound() error {
	for _, part := range []func() error{vm.boundStrings, vm.boundArrays, vm.boundCalls, vm.boundPatterns, vm.boundJSON} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (vm *VM) proto(name string) *goja.Object {
	return vm.JS.Get(name).(*goja.Object).Get("prototype").(*goja.Object)
}

// room ends the call when something of n bytes would be too large.
func (vm *VM) room(n float64) {
	if limit := vm.engine.limits.Size; n > float64(limit) {
		vm.Stop(fmt.Errorf("%w: more than %d bytes", script.ErrSize, limit))
	}
}

// elements ends the call when an array of n elements would be too large.
func (vm *VM) elements(n float64) { vm.room(n * perElement) }

func (vm *VM) boundStrings() error {
	s := vm.proto("String")
	length := func(v goja.Value) float64 {
		if text, ok := v.(goja.String); ok {
			return float64(text.Length())
		}
		return float64(len(v.String()))
	}
	err := vm.checked(s, func(c goja.FunctionCall) {
		vm.room(length(c.This) * max(0, c.Argument(0).ToFloat()))
	}, "repeat")
	if err == nil {
		err = vm.checked(s, func(c goja.FunctionCall) { vm.room(c.Argument(0).ToFloat()) }, "padStart", "padEnd")
	}
	if err == nil {
		err = vm.checked(s, func(c goja.FunctionCall) {
			n := length(c.This)
			for _, a := range c.Arguments {
				n += length(a)
			}
			vm.room(n)
		}, "concat")
	}
	if err == nil {
		err = vm.checked(s, func(c goja.FunctionCall) {
			n := length(c.This)
			if sep, ok := c.Argument(0).(goja.String); ok && n > 1024 {
				n = float64(strings.Count(c.This.String(), sep.String()))
			}
			vm.elements(n)
		}, "split")
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"replace", "replaceAll"} {
		if err := vm.wrap(s, name, vm.replacing); err != nil {
			return err
		}
	}
	return nil
}

// replacing bounds what a replacement text makes of a string: by counting matches of a text, and by allowing a regular
// expression so many matches.
func (vm *VM) replacing(was goja.Callable) native {
	return func(c goja.FunctionCall) goja.Value {
		by, ok := c.Argument(1).(goja.String)
		if !ok {
			return pass(was, c) // a function of the script's, or something small
		}
		text, in := by.String(), float64(len(c.This.String()))
		// $` and $' are the whole rest each time; $&, $1 and their kin are all in all no longer than the string.
		each := float64(len(text)) + in*float64(strings.Count(text, "$`")+strings.Count(text, "$'"))
		most := (float64(vm.engine.limits.Size) - in*float64(1+strings.Count(text, "$"))) / max(1, each)
		if of, ok := c.Argument(0).(goja.String); ok {
			if float64(strings.Count(c.This.String(), of.String())) > max(0, most) {
				vm.room(math.Inf(1))
			}
			return pass(was, c)
		}
		before := vm.matches
		vm.matches = int(max(0, min(most, 1<<40)))
		defer func() { vm.matches = before }()
		return pass(was, c)
	}
}

func (vm *VM) boundCalls() error {
	arguments := func(at int) func(c goja.FunctionCall) {
		return func(c goja.FunctionCall) {
			if o, ok := c.Argument(at).(*goja.Object); ok {
				if n := o.Get("length"); n != nil && n.ToFloat() > maxArguments {
					panic(vm.rangeError("more than %d arguments", maxArguments))
				}
			}
		}
	}
	if err := vm.checked(vm.proto("Function"), arguments(1), "apply"); err != nil {
		return err
	}
	reflect := vm.JS.Get("Reflect").(*goja.Object)
	if err := vm.checked(reflect, arguments(2), "apply"); err != nil {
		return err
	}
	if err := vm.checked(reflect, arguments(1), "construct"); err != nil {
		return err
	}
	return vm.boundEval()
}

// boundEval bounds what scripts may have parsed, since the parser recurses. What eval is given runs in the global scope.
func (vm *VM) boundEval() error {
	look := func(text string) {
		if len(text) > maxEval {
			panic(vm.rangeError("more than %d bytes of source", maxEval))
		}
		if err := nesting(text); err != nil {
			panic(vm.rangeError("%v", err))
		}
	}
	if err := vm.checked(vm.JS.GlobalObject(), func(c goja.FunctionCall) {
		if s, ok := c.Argument(0).(goja.String); ok {
			look(s.String())
		}
	}, "eval"); err != nil {
		return err
	}
	old := vm.JS.Get("Function").(*goja.Object)
	construct, _ := goja.AssertConstructor(old)
	made := vm.JS.ToValue(func(c goja.ConstructorCall) *goja.Object {
		for _, a := range c.Arguments {
			look(a.String())
		}
		f, err := construct(nil, c.Arguments...)
		if err != nil {
			panic(err)
		}
		return f
	}).(*goja.Object)
	proto := old.Get("prototype").(*goja.Object)
	if err := made.Set("prototype", proto); err != nil {
		return err
	}
	for _, set := range []struct {
		on    *goja.Object
		name  string
		value goja.Value
	}{{proto, "constructor", made}, {vm.JS.GlobalObject(), "Function", made}} {
		if err := set.on.DefineDataProperty(set.name, set.value, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_FALSE); err != nil {
			return err
		}
	}
	_, err := vm.JS.RunString(`[function* () {}, async function () {}].forEach(function (f) {
		Object.defineProperty(Object.getPrototypeOf(f), "constructor", {value: undefined});
	})`)
	return err
}

func (vm *VM) rangeError(format string, args ...any) *goja.Object {
	e, err := vm.JS.New(vm.JS.Get("RangeError"), vm.JS.ToValue(fmt.Sprintf(format, args...)))
	if err != nil {
		panic(err)
	}
	return e
}

// boundPatterns has every use of a regular expression go through one exec, which ends the call when a match took too
// long: goja would go on as if there was none.
func (vm *VM) boundPatterns() error {
	if err := patternsBound(); err != nil {
		return err
	}
	vm.matches = math.MaxInt
	slow := func(begun time.Time) {
		if time.Since(begun) >= regexp2.DefaultMatchTimeout {
			vm.Stop(fmt.Errorf("regular expression takes too long: %w", context.DeadlineExceeded))
		}
	}
	if err := vm.wrap(vm.proto("RegExp"), "test", func(was goja.Callable) native {
		return func(c goja.FunctionCall) goja.Value {
			begun := time.Now()
			v := pass(was, c)
			if !v.ToBoolean() {
				slow(begun)
			}
			return v
		}
	}); err != nil {
		return err
	}
	return vm.wrap(vm.proto("RegExp"), "exec", func(was goja.Callable) native {
		return func(c goja.FunctionCall) goja.Value {
			begun := time.Now()
			v := pass(was, c)
			if goja.IsNull(v) {
				slow(begun)
				return v
			}
			if vm.matches--; vm.matches < 0 {
				vm.room(math.Inf(1))
			}
			vm.goOn()
			return v
		}
	})
}
