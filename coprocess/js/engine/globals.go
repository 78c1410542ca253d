package engine

import (
	_ "embed"

	"github.com/dop251/goja"
)

// globals is what the global scope held when the files were loaded.
type globals struct {
	taken map[string]goja.Value
	proto *goja.Object
}

func (g *globals) take(vm *VM) {
	g.taken, g.proto = map[string]goja.Value{}, vm.global.Prototype()
	for _, name := range vm.global.GetOwnPropertyNames() {
		g.taken[name] = vm.global.Get(name)
	}
}

// restore makes the global scope what it was. It reports whether it could.
func (g *globals) restore(vm *VM) (ok bool) {
	ok = true
	if err := vm.JS.Try(func() {
		if vm.global.Prototype() != g.proto || vm.JS.GlobalObject() != vm.global {
			ok = false
			return
		}
		names, kept := vm.global.GetOwnPropertyNames(), 0
		for _, name := range names {
			was, known := g.taken[name]
			if !known {
				ok = vm.global.Delete(name) == nil && ok
				continue
			}
			kept++
			if is := vm.global.Get(name); is == nil || !is.SameAs(was) {
				ok = vm.global.Set(name, was) == nil && vm.global.Get(name).SameAs(was) && ok
			}
		}
		if kept == len(g.taken) {
			return
		}
		for name, was := range g.taken { // what a call deleted
			if vm.global.Get(name) == nil {
				ok = vm.global.Set(name, was) == nil && ok
			}
		}
	}); err != nil {
		return false
	}
	return ok
}

//go:embed freeze.js
var freezeSource string

// freeze makes the built-ins unchangeable, as the files left them.
func (vm *VM) freeze(builtins *goja.Object) error {
	value, err := vm.JS.RunString(freezeSource)
	if err != nil {
		return err
	}
	f, _ := goja.AssertFunction(value)
	_, err = f(goja.Undefined(), builtins)
	return err
}
