package modern

import (
	"fmt"

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
	set(o, "headers", s.headers(func() *sdk.Header { return q().Header() }))
	set(o, "query", s.query())
	s.bodies(o, func() []byte {
		s.asked(sdk.NeedBody, "body", q().Buffered())
		return q().Body()
	}, func(b []byte) { q().SetBody(b) })
	return o
}

// response makes x.response.
func (s *state) response() *goja.Object {
	o := s.vm.JS.NewObject()
	r := func() *sdk.Response { return s.here().Response() }
	s.property(o, "status", func() goja.Value { return s.vm.JS.ToValue(r().Status()) }, func(v goja.Value) { r().SetStatus(int(engine.Clamp(v, 0, 1000))) })
	s.property(o, "length", func() goja.Value { return s.vm.JS.ToValue(r().Length()) }, nil)
	set(o, "headers", s.headers(func() *sdk.Header { return r().Header() }))
	s.bodies(o, func() []byte {
		s.asked(sdk.NeedResponseBody, "response_body", r().Buffered() || r().Status() == 0)
		return r().Body()
	}, func(b []byte) { r().SetBody(b) })
	return o
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

// headers makes the object of a header.
func (s *state) headers(h func() *sdk.Header) *goja.Object {
	return s.object(map[string]func(goja.FunctionCall) goja.Value{
		"get":    func(c goja.FunctionCall) goja.Value { return s.some(h().Lookup(engine.Bytes(c.Argument(0)))) },
		"getAll": func(c goja.FunctionCall) goja.Value { return s.list(h().Values(engine.Bytes(c.Argument(0)))) },
		"has":    func(c goja.FunctionCall) goja.Value { return s.vm.JS.ToValue(h().Has(engine.Bytes(c.Argument(0)))) },
		"set": func(c goja.FunctionCall) goja.Value {
			s.setAll(c, h().Set, h().Add, h().Del)
			return goja.Undefined()
		},
		"add": func(c goja.FunctionCall) goja.Value {
			h().Add(engine.Bytes(c.Argument(0)), engine.Bytes(c.Argument(1)))
			return goja.Undefined()
		},
		"del": func(c goja.FunctionCall) goja.Value { h().Del(engine.Bytes(c.Argument(0))); return goja.Undefined() },
		"entries": func(goja.FunctionCall) goja.Value {
			return s.entries(h().Fields())
		},
	})
}

// query makes x.request.query.
func (s *state) query() *goja.Object {
	q := func() *sdk.Query { return s.here().Request().Query() }
	o := s.object(map[string]func(goja.FunctionCall) goja.Value{
		"get":    func(c goja.FunctionCall) goja.Value { return s.some(q().Lookup(engine.Bytes(c.Argument(0)))) },
		"getAll": func(c goja.FunctionCall) goja.Value { return s.list(q().Values(engine.Bytes(c.Argument(0)))) },
		"has":    func(c goja.FunctionCall) goja.Value { return s.vm.JS.ToValue(q().Has(engine.Bytes(c.Argument(0)))) },
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
				all = append(all, sdk.Field{Name: name, Value: value})
			}
			return s.entries(all)
		},
	})
	s.property(o, "raw", func() goja.Value { return s.vm.Text(q().Raw()) }, func(v goja.Value) { q().SetRaw(engine.Bytes(v)) })
	return o
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
