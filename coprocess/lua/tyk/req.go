package tyk

import lua "github.com/yuin/gopher-lua"

// The functions of tyk.req work on the request that the hook was given.

func (c *Call) part(l *lua.LState, name string) *lua.LTable {
	if c.request == nil {
		l.RaiseError("tyk.req is for hooks")
	}
	t, ok := l.GetField(c.request, name).(*lua.LTable)
	if !ok {
		l.RaiseError("request.%s is no table", name)
	}
	return t
}

func (c *Call) setHeader(l *lua.LState) int {
	c.part(l, "set_headers").RawSetString(l.CheckString(1), lua.LString(l.CheckString(2)))
	return 0
}

func (c *Call) clearHeader(l *lua.LState) int {
	c.part(l, "delete_headers").Append(lua.LString(l.CheckString(1)))
	return 0
}

func (c *Call) getHeaders(l *lua.LState) int {
	l.Push(c.part(l, "headers"))
	return 1
}
