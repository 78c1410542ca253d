package tykapi

import (
	"slices"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
)

// dict is an object that is empty until a script puts members into it, such as SetHeaders. What is in it is read without
// asking the interpreter for its keys.
type dict struct {
	names  []string
	values []goja.Value
	at     map[string]int // where they are; nil while there are a few
}

// few is how many members are found by looking at one after the other.
const few = 16

func newDict(vm *engine.VM) *goja.Object { return vm.JS.NewDynamicObject(&dict{}) }

func (d *dict) index(key string) int {
	if d.at == nil {
		return slices.Index(d.names, key)
	}
	if i, ok := d.at[key]; ok {
		return i
	}
	return -1
}

// Get implements [goja.DynamicObject].
func (d *dict) Get(key string) goja.Value {
	if i := d.index(key); i >= 0 {
		return d.values[i]
	}
	return nil
}

// Set implements [goja.DynamicObject].
func (d *dict) Set(key string, v goja.Value) bool {
	if i := d.index(key); i >= 0 {
		d.values[i] = v
		return true
	}
	d.names, d.values = append(d.names, key), append(d.values, v)
	d.note(len(d.names) - 1)
	return true
}

// note notes where members are, from the given one on, once there are many.
func (d *dict) note(from int) {
	if len(d.names) <= few {
		return
	}
	if d.at == nil {
		d.at, from = make(map[string]int, 2*few), 0
	}
	for i := from; i < len(d.names); i++ {
		d.at[d.names[i]] = i
	}
}

// Has implements [goja.DynamicObject].
func (d *dict) Has(key string) bool { return d.index(key) >= 0 }

// Delete implements [goja.DynamicObject].
func (d *dict) Delete(key string) bool {
	i := d.index(key)
	if i < 0 {
		return true
	}
	d.names, d.values = slices.Delete(d.names, i, i+1), slices.Delete(d.values, i, i+1)
	if d.at != nil {
		delete(d.at, key)
		d.note(i)
	}
	return true
}

// Keys implements [goja.DynamicObject].
func (d *dict) Keys() []string { return slices.Clone(d.names) }
