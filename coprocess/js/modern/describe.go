package modern

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Describe reads the exports. Its errors name what is not as it should be.
func Describe(vm *engine.VM) (*script.About, error) {
	d := &script.About{Hooks: map[string]script.AboutHook{}}
	exports := vm.Exports()
	said, _ := exports.Get("hooks").(*goja.Object)
	for _, name := range exports.Keys() {
		if _, ok := goja.AssertFunction(exports.Get(name)); !ok || strings.HasPrefix(name, "_") {
			continue
		}
		var h script.AboutHook
		if p, err := sdk.ParsePhase(name); err == nil && p < sdk.Log {
			h.Phase = p
		}
		if said != nil {
			if err := readHook(&h, said.Get(name)); err != nil {
				return nil, fmt.Errorf("exports.hooks[%q]: %w", name, err)
			}
		}
		d.Hooks[name] = h
	}
	if said != nil {
		for _, name := range said.Keys() {
			if _, ok := d.Hooks[name]; !ok {
				return nil, fmt.Errorf("exports.hooks names %q, which exports does not have", name)
			}
		}
	}
	if observers, ok := exports.Get("observers").(*goja.Object); ok {
		for _, name := range observers.Keys() {
			if _, ok := goja.AssertFunction(observers.Get(name)); ok {
				d.Observers = append(d.Observers, name)
			}
		}
		slices.Sort(d.Observers)
	}
	switch schema := exports.Get("config_schema").(type) {
	case goja.String:
		d.Schema = []byte(engine.Bytes(schema))
	case *goja.Object:
		text, ok := vm.Stringify(schema)
		if !ok {
			return nil, fmt.Errorf("exports.config_schema is no object")
		}
		d.Schema = []byte(text)
	}
	return d, nil
}

// readHook reads what exports.hooks says of one hook.
func readHook(h *script.AboutHook, v goja.Value) error {
	if nothing(v) {
		return nil
	}
	o, ok := v.(*goja.Object)
	if !ok {
		return fmt.Errorf("want an object")
	}
	for _, key := range o.Keys() {
		var err error
		switch v := o.Get(key); key {
		case "phase":
			h.Phase, err = sdk.ParsePhase(v.String())
		case "needs":
			var names []string
			if names, err = words(v); err == nil {
				h.Needs.Fields, err = script.ParseNeeds(names)
			}
		case "headers":
			h.Needs.HeaderNames, err = words(v)
		case "body_limit":
			if h.Needs.BodyLimit = v.ToInteger(); h.Needs.BodyLimit < 0 {
				err = fmt.Errorf("%s is no number of bytes", v)
			}
		default:
			err = fmt.Errorf("unknown: want phase, needs, headers or body_limit")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func words(v goja.Value) ([]string, error) {
	o, ok := v.(*goja.Object)
	if !ok || o.ClassName() != "Array" {
		return nil, fmt.Errorf("want a list of texts")
	}
	var all []string
	for _, key := range o.Keys() {
		all = append(all, o.Get(key).String())
	}
	return all, nil
}
