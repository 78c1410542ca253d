package modern

import (
	"fmt"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Description is what a plugin says of itself by its exports.
type Description struct {
	Hooks  map[string]Hook
	Schema []byte // JSON Schema of its hooks' configuration; nil: anything
}

// Hook is what a plugin says of one of its hooks.
type Hook struct {
	Phase sdk.Phase // PhaseUnknown: any
	Needs sdk.Needs
}

// Has reports whether there is such a hook.
func (d *Description) Has(name string, phase sdk.Phase) bool {
	h, ok := d.Hooks[name]
	return ok && (h.Phase == sdk.PhaseUnknown || h.Phase == phase)
}

// Describe reads the exports. Its errors name what is not as it should be.
func Describe(vm *engine.VM) (*Description, error) {
	d := &Description{Hooks: map[string]Hook{}}
	exports := vm.Exports()
	said, _ := exports.Get("hooks").(*goja.Object)
	for _, name := range exports.Keys() {
		if _, ok := goja.AssertFunction(exports.Get(name)); !ok || strings.HasPrefix(name, "_") {
			continue
		}
		var h Hook
		if p, err := sdk.ParsePhase(name); err == nil && p < sdk.Log {
			h.Phase = p
		}
		if said != nil {
			if err := h.read(said.Get(name)); err != nil {
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

// read reads what exports.hooks says of one hook.
func (h *Hook) read(v goja.Value) error {
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
			h.Needs.Fields, err = needs(v)
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

func needs(v goja.Value) (sdk.Need, error) {
	names, err := words(v)
	var all sdk.Need
	for _, n := range names {
		switch n {
		case "headers":
			all |= sdk.NeedHeaders
		case "query":
			all |= sdk.NeedQuery
		case "body":
			all |= sdk.NeedBody
		case "response_headers":
			all |= sdk.NeedResponseHeaders
		case "response_body":
			all |= sdk.NeedResponseBody
		case "session":
			all |= sdk.NeedSession
		case "values":
			all |= sdk.NeedValues
		case "peer":
			all |= sdk.NeedPeer
		case "trace":
			all |= sdk.NeedTrace
		case "default":
			all |= sdk.NeedDefault
		default:
			return 0, fmt.Errorf("unknown need %q", n)
		}
	}
	if all == 0 {
		all = sdk.NeedNothing // the empty set would mean the default
	}
	return all, err
}
