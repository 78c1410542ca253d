package modern

import (
	"fmt"
	"slices"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// request makes x.request.
func (s *state) request() *goja.Object {
	o := s.vm.JS.NewObject()
	q := func() *sdk.Request { return s.here().Request() }
	for name, get := range map[string]func(q *sdk.Request) string{
		"scheme": (*sdk.Request).Scheme, "host": (*sdk.Request).Host, "proto": (*sdk.Request).Proto, "uri": (*sdk.Request).URI, "target": (*sdk.Request).Target,
	} {
		s.property(o, name, func() goja.Value { return s.vm.Text(get(q())) }, nil)
	}
	s.property(o, "method", func() goja.Value { return s.vm.Text(q().Method()) }, func(v goja.Value) { q().SetMethod(engine.Bytes(v)) })
	s.property(o, "path", func() goja.Value { return s.vm.Text(q().Path()) }, func(v goja.Value) { q().SetPath(engine.Bytes(v)) })
	s.property(o, "length", func() goja.Value { return s.vm.JS.ToValue(q().Length()) }, nil)
	set(o, "headers", s.editable(sdk.NeedHeaders, func() *sdk.Header { return q().Header() }))
	set(o, "query", s.query())
	s.bodies(o, func() []byte {
		s.asked(sdk.NeedBody, "body", q().Buffered())
		return q().Body()
	}, func(b []byte) { q().SetBody(b) })
	return s.frozen(o)
}

// response makes x.response.
func (s *state) response() *goja.Object {
	o := s.vm.JS.NewObject()
	r := func() *sdk.Response { return s.here().Response() }
	s.property(o, "status", func() goja.Value { return s.vm.JS.ToValue(r().Status()) }, func(v goja.Value) { r().SetStatus(int(engine.Clamp(v, 0, 1000))) })
	s.property(o, "length", func() goja.Value { return s.vm.JS.ToValue(r().Length()) }, nil)
	set(o, "headers", s.editable(sdk.NeedResponseHeaders, func() *sdk.Header { return r().Header() }))
	s.bodies(o, func() []byte {
		s.asked(sdk.NeedResponseBody, "response_body", r().Buffered() || r().Status() == 0)
		return r().Body()
	}, func(b []byte) { r().SetBody(b) })
	return s.frozen(o)
}

// asked ends the function when the body is not there since the hook did not ask for it.
func (s *state) asked(need sdk.Need, name string, there bool) {
	if there {
		return
	}
	if !s.needs.Has(need) {
		s.vm.Fail(fmt.Errorf("the %s is not here: say so in exports.hooks, as in {pre: {needs: [\"default\", %q]}}", name, name))
	}
	s.vm.Fail(fmt.Errorf("the %s is not here: the hook's policy buffers none", name))
}

// bodies gives a message the functions of bodies.
func (s *state) bodies(o *goja.Object, get func() []byte, put func([]byte)) {
	set(o, "text", func(goja.FunctionCall) goja.Value { return s.vm.Text(string(get())) })
	set(o, "bytes", func(goja.FunctionCall) goja.Value { return s.vm.Uint8Array(get()) })
	set(o, "json", func(goja.FunctionCall) goja.Value { return s.vm.Parse(string(get())) })
	if put != nil {
		set(o, "setBody", func(c goja.FunctionCall) goja.Value { put(s.vm.Data(c.Argument(0))); return goja.Undefined() })
	}
}

// editable makes the object of a header that may be changed.
func (s *state) editable(need sdk.Need, h func() *sdk.Header) *goja.Object {
	o := s.headers(need, h)
	for name, f := range map[string]func(c goja.FunctionCall){
		"set": func(c goja.FunctionCall) { s.setAll(c, h().Set, h().Add, h().Del) },
		"add": func(c goja.FunctionCall) { h().Add(engine.Bytes(c.Argument(0)), engine.Bytes(c.Argument(1))) },
		"del": func(c goja.FunctionCall) { h().Del(engine.Bytes(c.Argument(0))) },
	} {
		set(o, name, func(c goja.FunctionCall) goja.Value { f(c); return goja.Undefined() })
	}
	return s.frozen(o)
}

// headers makes the object of a header, to read. What a hook does not need of it is not there; 0 is needed always.
func (s *state) headers(need sdk.Need, h func() *sdk.Header) *goja.Object {
	sees := func(name string) bool {
		switch {
		case need == 0:
			return true
		case !s.needs.Has(need):
			return false
		case need != sdk.NeedHeaders || len(s.needs.HeaderNames) == 0:
			return true
		}
		return slices.ContainsFunc(s.needs.HeaderNames, func(n string) bool { return sdk.EqualFold(n, name) })
	}
	return s.object(map[string]func(goja.FunctionCall) goja.Value{
		"get": func(c goja.FunctionCall) goja.Value {
			name := engine.Bytes(c.Argument(0))
			value, ok := h().Lookup(name)
			return s.some(value, ok && sees(name))
		},
		"getAll": func(c goja.FunctionCall) goja.Value {
			name := engine.Bytes(c.Argument(0))
			if !sees(name) {
				return s.vm.JS.NewArray()
			}
			return s.list(h().Values(name))
		},
		"has": func(c goja.FunctionCall) goja.Value {
			name := engine.Bytes(c.Argument(0))
			return s.vm.JS.ToValue(h().Has(name) && sees(name))
		},
		"entries": func(goja.FunctionCall) goja.Value {
			return s.entries(slices.DeleteFunc(slices.Clone(h().Fields()), func(f sdk.Field) bool { return !sees(f.Name) }))
		},
	})
}

// query makes x.request.query, which for a hook that does not need it is empty to begin with.
func (s *state) query() *goja.Object {
	q := func() *sdk.Query { return s.here().Request().Query() }
	sees := func() bool { return s.needs.Has(sdk.NeedQuery) }
	o := s.object(map[string]func(goja.FunctionCall) goja.Value{
		"get": func(c goja.FunctionCall) goja.Value {
			value, ok := q().Lookup(engine.Bytes(c.Argument(0)))
			return s.some(value, ok && sees())
		},
		"getAll": func(c goja.FunctionCall) goja.Value {
			if !sees() {
				return s.vm.JS.NewArray()
			}
			return s.list(q().Values(engine.Bytes(c.Argument(0))))
		},
		"has": func(c goja.FunctionCall) goja.Value {
			return s.vm.JS.ToValue(q().Has(engine.Bytes(c.Argument(0))) && sees())
		},
		"set": func(c goja.FunctionCall) goja.Value {
			s.setAll(c, q().Set, q().Add, q().Del)
			return goja.Undefined()
		},
		"add": func(c goja.FunctionCall) goja.Value {
			q().Add(engine.Bytes(c.Argument(0)), engine.Bytes(c.Argument(1)))
			return goja.Undefined()
		},
		"del": func(c goja.FunctionCall) goja.Value { q().Del(engine.Bytes(c.Argument(0))); return goja.Undefined() },
		"entries": func(goja.FunctionCall) goja.Value {
			var all []sdk.Field
			for name, value := range q().All() {
				if sees() {
					all = append(all, sdk.Field{Name: name, Value: value})
				}
			}
			return s.entries(all)
		},
	})
	s.property(o, "raw", func() goja.Value {
		if !sees() {
			return s.vm.Text("")
		}
		return s.vm.Text(q().Raw())
	}, func(v goja.Value) { q().SetRaw(engine.Bytes(v)) })
	return s.frozen(o)
}

// setAll sets the one value, or all of a list.
func (s *state) setAll(c goja.FunctionCall, set, add func(name, value string), del func(name string)) {
	name := engine.Bytes(c.Argument(0))
	if v, ok := c.Argument(1).(goja.String); ok {
		set(name, engine.Bytes(v))
		return
	}
	all := s.texts(c.Argument(1))
	if len(all) == 0 {
		del(name)
		return
	}
	set(name, all[0])
	for _, value := range all[1:] {
		add(name, value)
	}
}

func (s *state) entries(fields []sdk.Field) goja.Value {
	all := make([]any, len(fields))
	for i, f := range fields {
		all[i] = s.vm.JS.NewArray(s.vm.Text(f.Name), s.vm.Text(f.Value))
	}
	return s.vm.JS.NewArray(all...)
}
