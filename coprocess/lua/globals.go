package lua

import (
	"context"
	"math"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/codec"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// define gives the scripts their globals.
func (m *machine) define() {
	m.defineExchange()
	i := m.state
	json := i.JSON()
	i.Define("exports", i.L.CreateTable(0, 1))
	i.Define("json", json)
	i.Define("cjson", json) // as Tyk's plugins know it
	i.Module("json", json)
	i.Module("cjson", json)
	i.Define("log", m.logger())
	i.Define("store", i.Library(m.storeFunctions()))
	i.Define("fetch", i.L.NewFunction(m.fetch))
	i.Define("now", i.L.NewFunction(func(l *lua.LState) int {
		l.Push(lua.LNumber(float64(time.Now().UnixMicro()) / 1e6))
		return 1
	}))
	for name, functions := range codec.Libraries(i.Room) {
		i.Define(name, i.Library(functions))
	}
	if m.s.bridge != nil {
		i.Define("bridge", i.Library(m.s.bridge(m)))
	}
}

// seconds is argument n as a time; 0 for nothing.
func seconds(l *lua.LState, n int) time.Duration {
	f := float64(l.OptNumber(n, 0))
	if !(f >= 0) || f > math.MaxInt64/float64(time.Second) {
		l.ArgError(n, "want a number of seconds")
	}
	return time.Duration(f * float64(time.Second))
}

// fetched is the reply to a request of a script's.
type fetched struct {
	m      *machine
	status int
	header sdk.Header
	body   []byte
}

func replyOf(l *lua.LState) *fetched {
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		if r, ok := ud.Value.(*fetched); ok {
			return r
		}
	}
	l.RaiseError("this function belongs to a reply: call it with a colon")
	return nil
}

func replyFunctions() map[string]lua.LGFunction {
	return map[string]lua.LGFunction{"text": readBody, "bytes": readBody, "json": readJSON}
}

func replyProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	r := replyOf(l)
	if v != nil {
		return nil, false
	}
	switch key {
	case "status":
		return lua.LNumber(r.status), true
	case "ok":
		return lua.LBool(r.status >= 200 && r.status < 300), true
	case "headers":
		return r.m.object(r, r.m.kinds.headers), true
	}
	return nil, false
}

func (m *machine) fetch(l *lua.LState) int {
	client := m.s.p.Services.HTTP
	if client == nil || m.ctx == nil {
		l.RaiseError("fetch: %s", script.ErrNoService.Error())
	}
	request := script.HTTPRequest{URL: l.CheckString(1)}
	if o := l.OptTable(2, nil); o != nil {
		request.Method = lua.LVAsString(o.RawGetString("method"))
		request.Body = []byte(lua.LVAsString(o.RawGetString("body")))
		l.Push(o.RawGetString("headers"))
		request.Header = fieldsOf(l, l.GetTop())
		l.Push(o.RawGetString("timeout"))
		request.Timeout = seconds(l, l.GetTop())
		l.Pop(2)
	}
	var by *sdk.Header
	if m.scope != nil {
		by = m.scope.x.Request().Header()
	}
	r := &fetched{m: m}
	err := m.outside(func(ctx context.Context) error {
		reply, err := client.Do(ctx, by, request)
		if err != nil {
			return err
		}
		r.status, r.body = reply.Status, reply.Body
		for _, f := range reply.Header {
			r.header.Append(f.Name, f.Value)
		}
		return nil
	})
	if err != nil {
		l.RaiseError("fetch: %s", err.Error())
	}
	l.Push(m.object(r, m.kinds.reply))
	return 1
}
