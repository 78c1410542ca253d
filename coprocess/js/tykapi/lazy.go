package tykapi

import (
	"net/textproto"
	"slices"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// lazy is an object whose members are made when a script looks at them. What a script never looks at costs nothing, and
// has not been changed.
type lazy struct {
	vm    *engine.VM
	names []string
	slots []goja.Value // nil: nobody looked
	made  func(l *lazy, i int) goja.Value
	x     *sdk.Exchange // what made makes them of
	extra *goja.Object  // what a script added; nil: nothing
}

func (l *lazy) index(key string) int { return slices.Index(l.names, key) }

// Get implements [goja.DynamicObject].
func (l *lazy) Get(key string) goja.Value {
	if i := l.index(key); i >= 0 {
		if l.slots[i] == nil {
			l.slots[i] = l.made(l, i)
		}
		return l.slots[i]
	}
	if l.extra == nil {
		return nil
	}
	return l.extra.Get(key)
}

// Set implements [goja.DynamicObject].
func (l *lazy) Set(key string, v goja.Value) bool {
	if i := l.index(key); i >= 0 {
		l.slots[i] = v
		return true
	}
	if l.extra == nil {
		l.extra = l.vm.JS.NewObject()
	}
	return l.extra.Set(key, v) == nil
}

// Has implements [goja.DynamicObject].
func (l *lazy) Has(key string) bool { return l.Get(key) != nil }

// Delete implements [goja.DynamicObject]. One of our own members becomes undefined: as if it was absent.
func (l *lazy) Delete(key string) bool {
	if i := l.index(key); i >= 0 {
		l.slots[i] = goja.Undefined()
		return true
	}
	return l.extra == nil || l.extra.Delete(key) == nil
}

// Keys implements [goja.DynamicObject].
func (l *lazy) Keys() []string {
	var keys []string
	for i, name := range l.names {
		if l.Get(name); !goja.IsUndefined(l.slots[i]) {
			keys = append(keys, name)
		}
	}
	if l.extra != nil {
		keys = append(keys, l.extra.Keys()...)
	}
	return keys
}

// arguments is the memory of what a middleware is given in one call.
type arguments struct {
	request lazy
	session parsed
	config  lazy

	requestSlots [returned]goja.Value
	configSlots  [configured]goja.Value
}

// parsed is a session, made an object when a script looks at it.
type parsed struct {
	vm *engine.VM
	s  *sdk.Session // nil: an empty one
	o  *goja.Object
}

func (p *parsed) object() *goja.Object {
	if p.o == nil {
		text, err := session.Encode(p.s, false)
		if err != nil {
			p.vm.Fail(err)
		}
		p.o = p.vm.Parse(text).(*goja.Object)
	}
	return p.o
}

// Get implements [goja.DynamicObject].
func (p *parsed) Get(key string) goja.Value { return p.object().Get(key) }

// Set implements [goja.DynamicObject].
func (p *parsed) Set(key string, v goja.Value) bool { return p.object().Set(key, v) == nil }

// Has implements [goja.DynamicObject].
func (p *parsed) Has(key string) bool { return p.object().Get(key) != nil }

// Delete implements [goja.DynamicObject].
func (p *parsed) Delete(key string) bool { return p.object().Delete(key) == nil }

// Keys implements [goja.DynamicObject].
func (p *parsed) Keys() []string { return p.object().Keys() }

// values makes an object of lists, names canonical and in order of first occurrence.
func values(vm *engine.VM, fields []sdk.Field, canonical bool) *goja.Object {
	type list struct {
		name   string
		values []any
	}
	var all []list
	var at map[string]int // beyond a few, searching would take its time
	if len(fields) > 32 {
		at = make(map[string]int, len(fields))
	}
	for _, f := range fields {
		name := f.Name
		if canonical {
			name = textproto.CanonicalMIMEHeaderKey(name)
		}
		i := -1
		if at == nil {
			i = slices.IndexFunc(all, func(l list) bool { return l.name == name })
		} else if known, ok := at[name]; ok {
			i = known
		}
		if i < 0 {
			i = len(all)
			all = append(all, list{name: name})
			if at != nil {
				at[name] = i
			}
		}
		all[i].values = append(all[i].values, vm.Text(f.Value))
	}
	o := vm.JS.NewObject()
	for _, l := range all {
		set(o, l.name, vm.JS.NewArray(l.values...))
	}
	return o
}

// set sets a member of an object of ours, which takes any.
func set(o *goja.Object, name string, v any) {
	if err := o.Set(name, v); err != nil {
		panic(err)
	}
}
