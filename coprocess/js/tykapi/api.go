package tykapi

import (
	_ "embed"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/underscore"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

//go:embed prelude.js
var preludeSource string

// API installs Tyk's interface. It is immutable.
type API struct {
	prelude    *goja.Program
	underscore func() (*goja.Program, error) // compiled when a script first looks at _
}

var _ engine.API = (*API)(nil)

// New returns the interface.
func New() (*API, error) {
	prelude, err := goja.Compile("tykapi/prelude.js", preludeSource, true)
	if err != nil {
		return nil, err
	}
	return &API{prelude, sync.OnceValues(func() (*goja.Program, error) {
		return engine.Library(script.Source{Name: "underscore.js", Text: underscore.Source})
	})}, nil
}

// state is what an interpreter knows beside the engine's.
type state struct {
	x      *sdk.Exchange // of the call under way; nil for an event
	route  *sdk.Route    // of an event
	config []byte        // of the hook's use; nil: the route's
	do     []goja.Value  // the prelude's own DoProcessRequest and DoProcessResponse
}

func stateOf(vm *engine.VM) *state { return vm.State.(*state) }

func (s *state) standard(f goja.Value) bool { return f.SameAs(s.do[0]) || f.SameAs(s.do[1]) }

// owner is the route of the call under way; nil while scripts are loaded.
func (s *state) owner() *sdk.Route {
	if s.x != nil {
		return s.x.Route()
	}
	return s.route
}

// Install implements [engine.API].
func (a *API) Install(vm *engine.VM) error {
	s := &state{}
	vm.State = s
	for name, f := range functions(vm, s) {
		if err := vm.Set(name, f); err != nil {
			return err
		}
	}
	console := vm.JS.NewObject()
	for name, level := range map[string]slog.Level{
		"log": slog.LevelInfo, "info": slog.LevelInfo, "debug": slog.LevelDebug, "trace": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		set(console, name, func(c goja.FunctionCall) goja.Value {
			words := make([]string, len(c.Arguments))
			for i, v := range c.Arguments {
				words[i] = vm.Show(v)
			}
			s.log(vm, level, strings.Join(words, " "))
			return goja.Undefined()
		})
	}
	if err := vm.Set("console", console); err != nil {
		return err
	}
	if err := vm.Lazy("_", a.underscore); err != nil {
		return err
	}
	prelude, err := vm.JS.RunProgram(a.prelude)
	if err != nil {
		return err
	}
	run, _ := goja.AssertFunction(prelude)
	made, err := run(goja.Undefined(), vm.JS.GlobalObject(), packing(vm))
	if err != nil {
		return err
	}
	own := made.(*goja.Object)
	s.do = []goja.Value{own.Get("0"), own.Get("1")}
	return nil
}

// packing are the functions that wrap what a middleware returns, into an object whose members need no search.
func packing(vm *engine.VM) *goja.Object {
	o := vm.JS.NewObject()
	for name, p := range map[string]struct {
		names  []string
		second int
	}{"data": {resultNames, 1}, "auth": {resultNames, 2}, "response": {replyResultNames, 1}} {
		set(o, name, func(c goja.FunctionCall) goja.Value {
			l := &lazy{vm: vm, names: p.names, slots: make([]goja.Value, len(p.names)), made: func(*lazy, int) goja.Value { return goja.Undefined() }}
			l.slots[0], l.slots[p.second] = c.Argument(0), c.Argument(1)
			return vm.JS.NewDynamicObject(l)
		})
	}
	return o
}

// Loaded implements [engine.API].
func (a *API) Loaded(*engine.VM) error { return nil }

func (s *state) log(vm *engine.VM, level slog.Level, message string) {
	if s.x == nil {
		vm.Log(level, message)
		return
	}
	s.x.Log(level, message)
}

// functions are the global functions of reference §4.10.
func functions(vm *engine.VM, s *state) map[string]func(goja.FunctionCall) goja.Value {
	all := map[string]func(goja.FunctionCall) goja.Value{
		"b64enc": func(c goja.FunctionCall) goja.Value { return encoded(vm, c.Argument(0)) },
		"b64dec": func(c goja.FunctionCall) goja.Value { return decoded(vm, c.Argument(0)) },
		"rawb64enc": func(c goja.FunctionCall) goja.Value {
			return vm.Text(base64.RawStdEncoding.EncodeToString([]byte(engine.Bytes(c.Argument(0)))))
		},
		"rawb64dec": func(c goja.FunctionCall) goja.Value {
			return raw(vm, base64.RawStdEncoding, engine.Bytes(c.Argument(0)))
		},
		"TykMakeHttpRequest": func(c goja.FunctionCall) goja.Value { return fetch(vm, s, engine.Bytes(c.Argument(0))) },
		"TykBatchRequest":    func(c goja.FunctionCall) goja.Value { return batch(vm, s, engine.Bytes(c.Argument(0))) },
		"TykGetKeyData":      func(c goja.FunctionCall) goja.Value { return getKey(vm, s, c) },
		"TykSetKeyData":      func(c goja.FunctionCall) goja.Value { return setKey(vm, s, c) },
	}
	for _, name := range []string{"log", "rawlog"} {
		all[name] = func(c goja.FunctionCall) goja.Value {
			s.log(vm, slog.LevelInfo, engine.Bytes(c.Argument(0)))
			return goja.Undefined()
		}
	}
	for name, f := range storage(vm) {
		all[name] = f
	}
	return all
}

func encoded(vm *engine.VM, v goja.Value) goja.Value {
	return vm.Text(base64.StdEncoding.EncodeToString([]byte(engine.Bytes(v))))
}

// decoded reads base64, padded or not; undefined for anything else.
func decoded(vm *engine.VM, v goja.Value) goja.Value {
	text := engine.Bytes(v)
	if out := raw(vm, base64.StdEncoding, text); !goja.IsUndefined(out) {
		return out
	}
	return raw(vm, base64.RawStdEncoding, text)
}

func raw(vm *engine.VM, e *base64.Encoding, text string) goja.Value {
	out, err := e.DecodeString(text)
	if err != nil {
		return goja.Undefined()
	}
	return vm.Text(string(out))
}
