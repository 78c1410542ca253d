package modern

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// API installs the interface. The zero value is ready.
type API struct{}

var _ engine.API = API{}

// state is what an interpreter knows beside the engine's.
type state struct {
	vm    *engine.VM
	x     *sdk.Exchange // of the call under way; nil outside of one
	needs sdk.Needs     // of the hook that runs
	own   []byte        // configuration of its use; nil: the route's
	conf  goja.Value    // the configuration as the call has seen it; nil: it has not looked
	view  *goja.Object  // x as scripts see it
}

func stateOf(vm *engine.VM) *state { return vm.State.(*state) }

// Install implements [engine.API].
func (API) Install(vm *engine.VM) error {
	s := &state{vm: vm}
	vm.State = s
	s.view = s.exchange()
	for name, value := range map[string]any{
		"store": s.store(), "base64": s.base64(), "hex": s.hex(), "crypto": s.crypto(), "fetch": s.fetch, "now": s.now, "console": s.console(),
	} {
		if err := vm.Set(name, value); err != nil {
			return err
		}
	}
	log := vm.JS.ToValue(s.logAt(slog.LevelInfo)).(*goja.Object)
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		set(log, strings.ToLower(level.String()), s.logAt(level))
	}
	return vm.Set("log", log)
}

// Loaded implements [engine.API].
func (API) Loaded(vm *engine.VM) error {
	_, err := Describe(vm)
	return err
}

// Call runs the hook that u uses on x.
func Call(vm *engine.VM, x *sdk.Exchange, u *sdk.HookUse, needs sdk.Needs) error {
	f, ok := goja.AssertFunction(vm.Exports().Get(u.Name))
	if !ok {
		return sdk.ErrUnimplemented
	}
	s := stateOf(vm)
	s.x, s.needs, s.own, s.conf = x, needs, u.Config, nil
	defer func() { s.x, s.conf = nil, nil }()
	result, err := f(goja.Undefined(), s.view)
	if err != nil {
		return err
	}
	_, err = vm.Settled(result)
	return err
}

// Observe hands a batch to the observer of that name.
func Observe(vm *engine.VM, name string, b sdk.Batch) error {
	all, _ := vm.Exports().Get("observers").(*goja.Object)
	if all == nil {
		return sdk.ErrUnimplemented
	}
	f, ok := goja.AssertFunction(all.Get(name))
	if !ok {
		return sdk.ErrUnimplemented
	}
	result, err := f(goja.Undefined(), batch(vm, b))
	if err != nil {
		return err
	}
	_, err = vm.Settled(result)
	return err
}

var errOver = errors.New("x is for the time of one call, which is over")

// here is the exchange of the call under way.
func (s *state) here() *sdk.Exchange {
	if s.x == nil {
		s.vm.Throw("%v", errOver)
	}
	return s.x
}

func (s *state) logAt(level slog.Level) func(goja.FunctionCall) goja.Value {
	return func(c goja.FunctionCall) goja.Value {
		words := make([]string, len(c.Arguments))
		for i, v := range c.Arguments {
			words[i] = s.vm.Show(v)
		}
		s.write(level, strings.Join(words, " "))
		return goja.Undefined()
	}
}

func (s *state) write(level slog.Level, message string) {
	if s.x == nil {
		s.vm.Log(level, message)
		return
	}
	s.x.Log(level, message)
}

func (s *state) console() *goja.Object {
	o := s.vm.JS.NewObject()
	for name, level := range map[string]slog.Level{
		"log": slog.LevelInfo, "info": slog.LevelInfo, "debug": slog.LevelDebug, "trace": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		set(o, name, s.logAt(level))
	}
	return o
}

// frozen makes an object unchangeable: those of an interpreter serve one call after the other, and no script may leave
// anything on them.
func (s *state) frozen(o *goja.Object) *goja.Object {
	freeze, _ := goja.AssertFunction(s.vm.JS.Get("Object").(*goja.Object).Get("freeze"))
	if _, err := freeze(goja.Undefined(), o); err != nil {
		panic(err)
	}
	return o
}

// object makes an object of functions.
func (s *state) object(functions map[string]func(goja.FunctionCall) goja.Value) *goja.Object {
	o := s.vm.JS.NewObject()
	for name, f := range functions {
		set(o, name, f)
	}
	return o
}

// property gives an object a member that is read and, unless w is nil, assigned to.
func (s *state) property(o *goja.Object, name string, r func() goja.Value, w func(goja.Value)) {
	get := s.vm.JS.ToValue(func(goja.FunctionCall) goja.Value { return r() })
	var assign goja.Value
	if w != nil {
		assign = s.vm.JS.ToValue(func(c goja.FunctionCall) goja.Value {
			w(c.Argument(0))
			return goja.Undefined()
		})
	} else {
		assign = s.vm.JS.ToValue(func(goja.FunctionCall) goja.Value {
			s.vm.Throw("%s is read only", name)
			return nil
		})
	}
	if err := o.DefineAccessorProperty(name, get, assign, goja.FLAG_FALSE, goja.FLAG_TRUE); err != nil {
		panic(err)
	}
}

// set sets a member of an object of ours, which takes any.
func set(o *goja.Object, name string, v any) {
	if err := o.Set(name, v); err != nil {
		panic(err)
	}
}

// some is text, or undefined when there is none.
func (s *state) some(text string, ok bool) goja.Value {
	if !ok {
		return goja.Undefined()
	}
	return s.vm.Text(text)
}

func nothing(v goja.Value) bool { return v == nil || goja.IsUndefined(v) || goja.IsNull(v) }

// list makes an array of texts.
func (s *state) list(all []string) goja.Value {
	items := make([]any, len(all))
	for i, v := range all {
		items[i] = s.vm.Text(v)
	}
	return s.vm.JS.NewArray(items...)
}

// texts is a value, or a list of values, as texts.
func (s *state) texts(v goja.Value) []string {
	o, ok := v.(*goja.Object)
	if !ok || o.ClassName() != "Array" {
		return []string{engine.Bytes(v)}
	}
	var all []string
	s.vm.JS.ForOf(o, func(item goja.Value) bool {
		all = append(all, engine.Bytes(item))
		return len(all) < maxList
	})
	return all
}

// maxList is how many values one name may be given at a time.
const maxList = 10_000

// fields reads an object of values or lists of values.
func (s *state) fields(v goja.Value) []sdk.Field {
	if nothing(v) {
		return nil
	}
	o, ok := v.(*goja.Object)
	if !ok {
		s.vm.Throw("headers are an object of values or lists of values")
	}
	var all []sdk.Field
	for _, name := range o.Keys() {
		for _, value := range s.texts(o.Get(name)) {
			all = append(all, sdk.Field{Name: name, Value: value})
		}
	}
	return all
}
