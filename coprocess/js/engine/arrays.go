package engine

import (
	"strconv"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
)

// joinDepth is how many arrays within arrays are joined or flattened.
const joinDepth = 100

func (vm *VM) boundArrays() error {
	a := vm.proto("Array")
	length := func(v goja.Value) float64 {
		if o, ok := v.(*goja.Object); ok {
			if n := o.Get("length"); n != nil {
				return n.ToFloat()
			}
		}
		return 0
	}
	this := func(c goja.FunctionCall) { vm.elements(length(c.This)) }
	err := vm.checked(a, this, "copyWithin", "every", "fill", "filter", "find", "findIndex", "findLast", "findLastIndex", "flatMap",
		"forEach", "includes", "indexOf", "lastIndexOf", "map", "reduce", "reduceRight", "reverse", "shift", "slice", "some", "sort",
		"splice", "toReversed", "toSorted", "toSpliced", "unshift", "with")
	if err == nil {
		err = vm.checked(a, func(c goja.FunctionCall) {
			n := length(c.This)
			for _, v := range c.Arguments {
				n += length(v)
			}
			vm.elements(n)
		}, "concat")
	}
	if err == nil {
		err = vm.wrap(a, "join", func(goja.Callable) native { return vm.join })
	}
	if err == nil {
		err = vm.wrap(a, "toLocaleString", func(goja.Callable) native {
			return func(c goja.FunctionCall) goja.Value { return vm.join(goja.FunctionCall{This: c.This}) }
		})
	}
	if err == nil {
		err = vm.wrap(a, "flat", func(goja.Callable) native { return vm.flat })
	}
	if err == nil {
		err = vm.checked(vm.JS.Get("Array").(*goja.Object), func(c goja.FunctionCall) { vm.elements(length(c.Argument(0))) }, "from")
	}
	if err == nil {
		typed := vm.proto("Uint8Array").Prototype()
		err = vm.checked(typed, func(c goja.FunctionCall) { vm.room(length(c.This)) }, "fill", "join", "sort", "toString", "toLocaleString")
	}
	if err != nil {
		return err
	}
	// The iterator of an array that is all length and no elements.
	empty := vm.JS.NewArray()
	values, _ := goja.AssertFunction(empty.GetSymbol(goja.SymIterator))
	iterator, err := values(empty)
	if err != nil {
		return err
	}
	steps := 0
	return vm.checked(iterator.(*goja.Object).Prototype(), func(goja.FunctionCall) {
		if steps++; steps&1023 == 0 {
			vm.goOn()
		}
	}, "next")
}

// goOn ends the call when it has no time left. It is for natives that run through much.
func (vm *VM) goOn() {
	if err := vm.over(); err != nil {
		vm.Stop(err)
	}
	if err := vm.watch.Breach(); err != nil {
		vm.Stop(err)
	}
}

// join is Array.prototype.join (ECMA-262 §23.1.3.18), which looks at the size as it goes. Of arrays within arrays, all
// together are bounded.
func (vm *VM) join(c goja.FunctionCall) goja.Value {
	o := c.This.ToObject(vm.JS)
	for _, outer := range vm.joining {
		if outer == o {
			return vm.JS.ToValue("")
		}
	}
	if len(vm.joining) >= joinDepth {
		vm.Stop(script.ErrDepth)
	}
	if len(vm.joining) == 0 {
		vm.joined = 0
	}
	vm.joining = append(vm.joining, o)
	defer func() { vm.joining = vm.joining[:len(vm.joining)-1] }()
	n := 0.0
	if v := o.Get("length"); v != nil {
		n = v.ToFloat()
	}
	vm.elements(n)
	sep := vm.JS.ToValue(",").(goja.String)
	if v := c.Argument(0); !goja.IsUndefined(v) {
		sep = vm.asString(v)
	}
	var b goja.StringBuilder
	for i := 0; float64(i) < n; i++ {
		if i&1023 == 1023 {
			vm.goOn()
		}
		if i > 0 {
			vm.grown(sep.Length())
			b.WriteString(sep)
		}
		v := o.Get(strconv.Itoa(i))
		if v == nil || goja.IsUndefined(v) || goja.IsNull(v) {
			continue
		}
		text := vm.asString(v)
		vm.grown(text.Length())
		b.WriteString(text)
	}
	return b.String()
}

func (vm *VM) grown(by int) {
	vm.joined += by
	vm.room(float64(vm.joined))
}

// flat is Array.prototype.flat (ECMA-262 §23.1.3.13) of bounded depth and size.
func (vm *VM) flat(c goja.FunctionCall) goja.Value {
	depth := 1
	if v := c.Argument(0); !goja.IsUndefined(v) {
		depth = int(max(0, min(v.ToFloat(), joinDepth)))
	}
	var all []any
	visited := 0
	var add func(o *goja.Object, depth int)
	add = func(o *goja.Object, depth int) {
		n := o.Get("length").ToFloat()
		vm.elements(n)
		for i := 0; float64(i) < n; i++ {
			visited++
			vm.elements(float64(visited))
			if visited&1023 == 0 {
				vm.goOn()
			}
			v := o.Get(strconv.Itoa(i))
			if v == nil {
				continue
			}
			if inner, ok := v.(*goja.Object); ok && depth > 0 && inner.ClassName() == "Array" {
				add(inner, depth-1)
				continue
			}
			all = append(all, v)
		}
	}
	add(c.This.ToObject(vm.JS), depth)
	return vm.JS.NewArray(all...)
}

// asString is a value as text; of an object, what its toString says.
func (vm *VM) asString(v goja.Value) goja.String {
	if s, ok := v.ToString().(goja.String); ok {
		return s
	}
	return vm.JS.ToValue(v.String()).(goja.String)
}
