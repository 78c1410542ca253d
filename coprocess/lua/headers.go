package lua

import (
	"slices"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// lines are headers as a script may read them: nil lines of those it did not ask for.
type lines struct {
	h    *sdk.Header
	only []string // if not nil, these names
	m    *machine
}

func (v *lines) visible(name string) bool {
	return v.only == nil || slices.ContainsFunc(v.only, func(n string) bool { return sdk.EqualFold(n, name) })
}

// linesOf is the headers that argument 1 is.
func linesOf(l *lua.LState) lines {
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		if r, ok := ud.Value.(*fetched); ok {
			return lines{h: &r.header, m: r.m}
		}
	}
	s := held(l)
	v := lines{m: s.m}
	need := sdk.NeedHeaders
	if _, ok := l.Get(1).(*lua.LUserData).Value.(*responseHeadersRef); ok {
		v.h, need = s.x.Response().Header(), sdk.NeedResponseHeaders
		if s.x.Answered() {
			return v
		}
	} else {
		v.h, v.only = s.x.Request().Header(), s.needs.HeaderNames
	}
	if !s.needs.Has(need) {
		v.only = []string{}
	} else if len(v.only) == 0 {
		v.only = nil
	}
	return v
}

func headerFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			v, name := linesOf(l), l.CheckString(2)
			if value, ok := v.h.Lookup(name); ok && v.visible(name) {
				l.Push(lua.LString(value))
			} else {
				l.Push(lua.LNil)
			}
			return 1
		},
		"getAll": func(l *lua.LState) int {
			v, name := linesOf(l), l.CheckString(2)
			var values []string
			if v.visible(name) {
				values = v.h.Values(name)
			}
			l.Push(session.Texts(v.m.state, values))
			return 1
		},
		"has": func(l *lua.LState) int {
			v, name := linesOf(l), l.CheckString(2)
			l.Push(lua.LBool(v.visible(name) && v.h.Has(name)))
			return 1
		},
		"entries": func(l *lua.LState) int {
			v := linesOf(l)
			all := v.m.state.Array()
			for name, value := range v.h.All() {
				if v.visible(name) {
					all.Append(v.m.pair(name, value))
				}
			}
			l.Push(all)
			return 1
		},
		"set": func(l *lua.LState) int {
			h, name := writable(l), l.CheckString(2)
			set(l, name, h.Set, h.Add, h.Del)
			return 0
		},
		"add": func(l *lua.LState) int { writable(l).Add(l.CheckString(2), l.CheckString(3)); return 0 },
		"del": func(l *lua.LState) int { writable(l).Del(l.CheckString(2)); return 0 },
	}
}

func writable(l *lua.LState) *sdk.Header {
	v := linesOf(l)
	if _, ok := l.Get(1).(*lua.LUserData).Value.(*fetched); ok {
		l.RaiseError("the headers of a reply to fetch can only be read")
	}
	return v.h
}

// set gives a name the values of argument 3: one, or a list.
func set(l *lua.LState, name string, first, more func(name, value string), none func(name string)) {
	values := valuesOf(l, 3, l.Get(3))
	if len(values) == 0 {
		none(name)
		return
	}
	first(name, values[0])
	for _, v := range values[1:] {
		more(name, v)
	}
}

func (m *machine) pair(name, value string) *lua.LTable {
	t := m.state.Array()
	t.Append(lua.LString(name))
	t.Append(lua.LString(value))
	return t
}

// readable is the query, an empty one when the hook did not ask for it.
func readable(l *lua.LState) *sdk.Query {
	s := held(l)
	if !s.needs.Has(sdk.NeedQuery) {
		return &sdk.Query{}
	}
	return s.x.Request().Query()
}

func queryFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"get": func(l *lua.LState) int {
			if v, ok := readable(l).Lookup(l.CheckString(2)); ok {
				l.Push(lua.LString(v))
			} else {
				l.Push(lua.LNil)
			}
			return 1
		},
		"getAll": func(l *lua.LState) int {
			l.Push(session.Texts(held(l).m.state, readable(l).Values(l.CheckString(2))))
			return 1
		},
		"has": func(l *lua.LState) int { l.Push(lua.LBool(readable(l).Has(l.CheckString(2)))); return 1 },
		"entries": func(l *lua.LState) int {
			m := held(l).m
			all := m.state.Array()
			for name, value := range readable(l).All() {
				all.Append(m.pair(name, value))
			}
			l.Push(all)
			return 1
		},
		"set": func(l *lua.LState) int {
			q := held(l).x.Request().Query()
			set(l, l.CheckString(2), q.Set, q.Add, q.Del)
			return 0
		},
		"add": func(l *lua.LState) int { held(l).x.Request().Query().Add(l.CheckString(2), l.CheckString(3)); return 0 },
		"del": func(l *lua.LState) int { held(l).x.Request().Query().Del(l.CheckString(2)); return 0 },
	}
}

func queryProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	s := held(l)
	if key != "raw" {
		return nil, false
	}
	if v != nil {
		s.x.Request().Query().SetRaw(l.CheckString(3))
		return lua.LNil, true
	}
	return lua.LString(readable(l).Raw()), true
}

// bodyOf is the body that argument 1 has. One that was not asked for is an error.
func bodyOf(l *lua.LState) (*machine, []byte) {
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		if r, ok := ud.Value.(*fetched); ok {
			return r.m, r.body
		}
	}
	s := held(l)
	if _, ok := l.Get(1).(*lua.LUserData).Value.(*responseRef); ok {
		r := s.x.Response()
		if !r.Buffered() {
			l.RaiseError(`the reply's body was not asked for: put "response_body" into the hook's needs`)
		}
		return s.m, r.Body()
	}
	if !s.x.Request().Buffered() {
		l.RaiseError(`the request's body was not asked for: put "body" into the hook's needs`)
	}
	return s.m, s.x.Request().Body()
}

func readBody(l *lua.LState) int {
	m, b := bodyOf(l)
	if len(b) > m.s.limits.Size {
		m.state.Breach(l, script.ErrSize)
	}
	l.Push(lua.LString(b))
	return 1
}

func readJSON(l *lua.LState) int {
	m, b := bodyOf(l)
	v, err := m.state.DecodeJSON(string(b), true)
	m.state.Check(l, err)
	l.Push(v)
	return 1
}

func bodyFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{
		"text": readBody, "bytes": readBody, "json": readJSON,
		"setBody": func(l *lua.LState) int {
			s, body := held(l), []byte(l.OptString(2, ""))
			if _, ok := l.Get(1).(*lua.LUserData).Value.(*responseRef); ok {
				s.x.Response().SetBody(body)
			} else {
				s.x.Request().SetBody(body)
			}
			return 0
		},
	}
}
