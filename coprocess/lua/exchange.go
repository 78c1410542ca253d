package lua

import (
	"log/slog"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// This file has the functions of x.

func answer(l *lua.LState) int {
	s := held(l)
	status, body := l.CheckInt(2), l.OptString(4, "")
	fields := fieldsOf(l, 3)
	header := s.x.Answer(status, []byte(body)).Header()
	for _, f := range fields {
		header.Add(f.Name, f.Value)
	}
	return 0
}

func refuse(l *lua.LState) int {
	s := held(l)
	status := l.CheckInt(2)
	if status < 400 || status > 599 {
		l.ArgError(2, "a refusal has a status from 400 to 599")
	}
	s.refused = &sdk.Error{Status: status, Message: l.OptString(3, ""), Header: fieldsOf(l, 4)}
	for _, f := range s.refused.Header {
		if !sdk.ValidToken(f.Name) || !sdk.ValidFieldValue(f.Value) {
			s.refused = nil
			l.RaiseError("invalid header %q: %q (RFC 9110 §5)", f.Name, f.Value)
		}
	}
	l.Error(lua.LString("the request was refused"), 0)
	return 0
}

// fieldsOf reads a table of header values, or lists of values, by name.
func fieldsOf(l *lua.LState, n int) []sdk.Field {
	if l.Get(n) == lua.LNil {
		return nil
	}
	t := l.CheckTable(n)
	var all []sdk.Field
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, ok := k.(lua.LString)
		if !ok {
			l.ArgError(n, "want a table of values by name")
		}
		for _, value := range valuesOf(l, n, v) {
			all = append(all, sdk.Field{Name: string(name), Value: value})
		}
	}
	return all
}

// valuesOf is one value, or a list of them.
func valuesOf(l *lua.LState, n int, v lua.LValue) []string {
	if t, ok := v.(*lua.LTable); ok {
		texts, err := session.ReadTexts(t)
		if err != nil {
			l.ArgError(n, err.Error())
		}
		return texts
	}
	text, err := session.Text(v)
	if err != nil {
		l.ArgError(n, err.Error())
	}
	return []string{text}
}

func setSession(l *lua.LState) int {
	s := held(l)
	if v := l.Get(2); v == lua.LNil || v == s.m.state.Null() {
		s.x.SetSession(nil)
		return 0
	}
	v, err := session.Read(s.m.state, l.CheckTable(2), session.JSON)
	s.m.state.Check(l, err)
	s.x.SetSession(v)
	return 0
}

func authenticate(l *lua.LState) int {
	held(l).x.Authenticate(l.CheckString(2), l.OptString(3, ""))
	return 0
}

func value(l *lua.LState) int {
	s := held(l)
	if !s.needs.Has(sdk.NeedValues) {
		return 0
	}
	l.Push(s.m.decoded(l, s.x.Value(l.CheckString(2))))
	return 1
}

func setValue(l *lua.LState) int {
	s := held(l)
	name, v := l.CheckString(2), l.Get(3)
	if v == lua.LNil {
		s.x.SetValue(name, nil)
		return 0
	}
	b, err := s.m.state.EncodeJSON([]byte{}, v)
	s.m.state.Check(l, err)
	s.x.SetValue(name, b)
	return 0
}

func rawValue(l *lua.LState) int {
	s := held(l)
	if data := s.x.Value(l.CheckString(2)); data != nil && s.needs.Has(sdk.NeedValues) {
		l.Push(lua.LString(data))
		return 1
	}
	return 0
}

func setRawValue(l *lua.LState) int {
	s := held(l)
	name := l.CheckString(2)
	if l.Get(3) == lua.LNil {
		s.x.SetValue(name, nil)
		return 0
	}
	s.x.SetValue(name, []byte(l.CheckString(3)))
	return 0
}

func exchangeLog(l *lua.LState) int {
	held(l).x.Log(interp.LevelOf(l.CheckString(2)), held(l).m.said(l, 3))
	return 0
}

func count(l *lua.LState) int {
	held(l).x.Count(l.CheckString(2), l.OptInt64(3, 1))
	return 0
}

// said is what a log line says: text as it is, other values as JSON.
func (m *machine) said(l *lua.LState, n int) string {
	v := l.Get(n)
	if lua.LVCanConvToString(v) {
		return lua.LVAsString(v)
	}
	b, err := m.state.EncodeJSON(nil, v)
	if err != nil {
		return v.String()
	}
	return string(b)
}

// logger makes the table log, which can be called.
func (m *machine) logger() *lua.LTable {
	all := map[string]lua.LGFunction{}
	for _, name := range []string{"debug", "info", "warn", "error"} {
		level := interp.LevelOf(name)
		all[name] = func(l *lua.LState) int { m.write(level, m.said(l, 1)); return 0 }
	}
	t := m.state.Library(all)
	if meta, ok := t.Metatable.(*lua.LTable); ok {
		meta.RawSetString("__call", m.state.L.NewFunction(func(l *lua.LState) int { m.write(slog.LevelInfo, m.said(l, 2)); return 0 }))
	}
	return t
}
