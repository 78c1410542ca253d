package lua

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newWatch is a watch for one test.
func newWatch(t testing.TB) *script.Watch {
	w := script.NewWatch()
	t.Cleanup(w.Close)
	return w
}

func openBridge(t *testing.T, p *sdk.Plugin, o Options, text string, b bridge) coprocess.Server {
	t.Helper()
	s, err := open(t.Context(), script.Plugin{Name: p.Name, Main: []script.Source{{Name: "suite.lua", Text: text}}, Watch: newWatch(t)}, o, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// throw raises an error of Go as it is.
func throw(l *lua.LState, err error) {
	l.Error(&lua.LUserData{Value: err, Metatable: lua.LNil}, 0)
}

// TestTyk holds hooks in Tyk's form to the suite: each is a function of Lua that hands the tables it was given to a server
// of Tyk's protocol, as JSON, and returns what comes back.
func TestTyk(t *testing.T) {
	coprocesstest.RunTyk(t, func(t *testing.T, p *sdk.Plugin) coprocess.Server {
		var text strings.Builder
		// Tyk passes over hooks that nobody defined; the suite wants to hear of it.
		for _, h := range append(p.Hooks, sdk.HookSpec{Name: "Absent"}) {
			fmt.Fprintf(&text, "_G[%q] = function(request, session, spec) return bridge.run(%q, request, session) end\n", h.Name, h.Name)
		}
		for _, o := range p.Observers {
			fmt.Fprintf(&text, "_G[%q] = function(event, spec) bridge.event(%q, event, spec) end\n", o.Name, o.Name)
		}
		return openBridge(t, p, Options{Tyk: true}, text.String(), func(m *machine) map[string]lua.LGFunction {
			return map[string]lua.LGFunction{
				"run": func(l *lua.LState) int { return tykHook(l, m, p) },
				"event": func(l *lua.LState) int {
					e := sdk.Event{Type: l.GetField(l.Get(2), "Type").String(), Route: l.GetField(l.Get(3), "APIID").String()}
					if err := p.Observers[0].Observer.Observe(m.ctx, sdk.Batch{Events: []sdk.Event{e}}); err != nil {
						throw(l, err)
					}
					return 0
				},
			}
		})
	})
}

func tykHook(l *lua.LState, m *machine, p *sdk.Plugin) int {
	check := func(err error) {
		if err != nil {
			throw(l, err)
		}
	}
	object := l.GetGlobal("object").(*lua.LTable)
	text, err := m.state.EncodeJSON(nil, object)
	check(err)
	var message tykpb.Object
	check(json.Unmarshal(text, &message))
	original, err := proto.Marshal(&message)
	check(err)
	var y sdk.Exchange
	_, phase, err := wire.DecodeObject(original, &y, nil)
	check(err)
	y.Begin(phase, nil, true)
	err = coprocesstest.RunHook(m.ctx, p, l.CheckString(1), &y)
	refused := (*sdk.Error)(nil)
	if err != nil && !errors.As(err, &refused) {
		check(err)
	}
	var reply tykpb.Object
	check(proto.Unmarshal(wire.AppendObjectReply(nil, original, &y, refused), &reply))
	text, err = json.Marshal(&reply)
	check(err)
	back, err := m.state.DecodeJSON(string(text), false)
	check(err)
	if phase == sdk.ResponsePhase {
		l.SetField(object, "response", l.GetField(back, "response"))
	}
	l.Push(l.GetField(back, "request"))
	l.Push(l.GetField(back, "session"))
	return 2
}

// TestNative holds hooks against our own interface to the suite: each is a function of Lua that has an exchange rebuilt
// from what the script can see, runs the hook on that, and makes the same changes with what the script can call.
func TestNative(t *testing.T) {
	coprocesstest.Run(t, func(t *testing.T, p *sdk.Plugin) coprocess.Server {
		text := strings.Builder{}
		text.WriteString("exports.hooks, exports.observers = {}, {}\n")
		for _, h := range p.Hooks {
			fmt.Fprintf(&text, "exports[%q] = function(x) bridge.run(%q, x) end\n", h.Name, h.Name)
			fmt.Fprintf(&text, "exports.hooks[%q] = {needs = %s, headers = %s, body_limit = %d", h.Name, luaList(needNames(h.Needs.Fields)), luaList(h.Needs.HeaderNames), h.Needs.BodyLimit)
			if h.Phase != sdk.PhaseUnknown {
				fmt.Fprintf(&text, ", phase = %q", h.Phase)
			}
			text.WriteString("}\n")
		}
		for _, o := range p.Observers {
			fmt.Fprintf(&text, "exports.observers[%q] = function(batch) bridge.observe(%q, batch) end\n", o.Name, o.Name)
		}
		if p.ConfigSchema != nil {
			fmt.Fprintf(&text, "exports.config_schema = json.decode(%q)\n", p.ConfigSchema)
		}
		return openBridge(t, p, Options{}, text.String(), func(m *machine) map[string]lua.LGFunction {
			return map[string]lua.LGFunction{
				"run":     func(l *lua.LState) int { nativeHook(view{l, l.CheckUserData(2)}, m, p); return 0 },
				"observe": func(l *lua.LState) int { nativeObserver(l, m, p); return 0 },
			}
		})
	})
}

func luaList(list []string) string {
	quoted := []string{}
	for _, v := range list {
		quoted = append(quoted, fmt.Sprintf("%q", v))
	}
	return "{" + strings.Join(quoted, ", ") + "}"
}

func needNames(n sdk.Need) []string {
	var names []string
	for i, name := range []string{"headers", "query", "body", "response_headers", "response_body", "session", "values", "peer", "trace"} {
		if (sdk.Needs{Fields: n}).Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// view is a value of Lua, used as a script uses it.
type view struct {
	l *lua.LState
	v lua.LValue
}

func (v view) get(name string) view           { return view{v.l, v.l.GetField(v.v, name)} }
func (v view) set(name string, to lua.LValue) { v.l.SetField(v.v, name, to) }
func (v view) text(name string) string {
	if s := v.get(name).v; s != lua.LNil {
		return s.String()
	}
	return ""
}
func (v view) num(name string) int64 { return int64(lua.LVAsNumber(v.get(name).v)) }

// call calls a method.
func (v view) call(name string, args ...lua.LValue) view {
	v.l.Push(v.get(name).v)
	v.l.Push(v.v)
	for _, a := range args {
		v.l.Push(a)
	}
	v.l.Call(len(args)+1, 1)
	defer v.l.Pop(1)
	return view{v.l, v.l.Get(-1)}
}

// viewBacking tells the script's exchange what the hook logs and counts.
type viewBacking struct {
	sdk.Backing
	x view
}

func (b viewBacking) Log(level slog.Level, message string) {
	b.x.call("log", lua.LString(strings.ToLower(level.String())), lua.LString(message))
}
func (b viewBacking) Count(name string, delta int64) {
	b.x.call("count", lua.LString(name), lua.LNumber(delta))
}

func nativeHook(x view, m *machine, p *sdk.Plugin) {
	var y sdk.Exchange
	rebuild(x, m, &y)
	err := coprocesstest.RunHook(m.ctx, p, x.l.CheckString(1), &y)
	refused := (*sdk.Error)(nil)
	switch {
	case errors.As(err, &refused):
		header := x.l.CreateTable(0, 1)
		for _, f := range refused.Header {
			header.RawSetString(f.Name, lua.LString(f.Value))
		}
		x.call("refuse", lua.LNumber(refused.Status), lua.LString(refused.Message), header)
	case err != nil:
		throw(x.l, err)
	}
	replay(x, m, &y)
}

// rebuild makes an exchange of what the script sees.
func rebuild(x view, m *machine, y *sdk.Exchange) {
	route, q, r := x.get("route"), x.get("request"), x.get("response")
	config, err := m.state.EncodeJSON(nil, x.get("config").v)
	if x.get("config").v == lua.LNil {
		config = nil
	}
	if err != nil {
		throw(x.l, err)
	}
	addr, err := netip.ParseAddr(x.text("client"))
	if err != nil {
		throw(x.l, err)
	}
	y.Reset(sdk.Init{
		Route: &sdk.Route{
			ID: route.text("id"), Name: route.text("name"), Org: route.text("org"), ListenPath: route.text("listen_path"),
			Bundle: route.text("bundle"), Config: config,
		},
		Client: netip.AddrPortFrom(addr, uint16(x.num("client_port"))), RequestID: x.text("request_id"),
		Trace:   sdk.Trace{Parent: x.get("trace").text("parent"), State: x.get("trace").text("state")},
		Backing: viewBacking{x: x},
	})
	y.Request().Fill(sdk.RequestInit{
		Method: q.text("method"), Scheme: q.text("scheme"), Host: q.text("host"), Path: q.text("path"), Query: q.get("query").text("raw"),
		URI: q.text("uri"), Proto: q.text("proto"), Length: q.num("length"),
	})
	fill(q.get("headers"), y.Request().Header())
	y.Request().LoadBody([]byte(q.call("bytes").v.String()))
	phase, err := sdk.ParsePhase(x.text("phase"))
	if err != nil {
		throw(x.l, err)
	}
	if phase == sdk.ResponsePhase {
		y.Response().Fill(int(r.num("status")), r.num("length"))
		fill(r.get("headers"), y.Response().Header())
		y.Response().LoadBody([]byte(r.call("bytes").v.String()))
	}
	if t, ok := x.get("session").v.(*lua.LTable); ok {
		s, err := session.Read(m.state, t, session.JSON)
		if err != nil {
			throw(x.l, err)
		}
		y.BeginSession(s)
	}
	for _, name := range []string{"before", "gone"} {
		if v := x.call("rawValue", lua.LString(name)).v; v != lua.LNil {
			y.BeginValue(name, []byte(v.String()))
		}
	}
	y.Begin(phase, config, true)
}

func fill(headers view, h *sdk.Header) {
	all := headers.call("entries").v.(*lua.LTable)
	for i := 1; i <= all.Len(); i++ {
		pair := all.RawGetInt(i).(*lua.LTable)
		h.Append(pair.RawGetInt(1).String(), pair.RawGetInt(2).String())
	}
}

// replay makes the changes of y as the script would.
func replay(x view, m *machine, y *sdk.Exchange) {
	changed, q := y.Changes(), x.get("request")
	if changed&sdk.ChangedMethod != 0 {
		q.set("method", lua.LString(y.Request().Method()))
	}
	if changed&sdk.ChangedPath != 0 {
		q.set("path", lua.LString(y.Request().Path()))
	}
	if changed&sdk.ChangedQuery != 0 {
		q.get("query").set("raw", lua.LString(y.Request().Query().Raw()))
	}
	replayHeader(q.get("headers"), y.Request().Header())
	if changed&sdk.ChangedBody != 0 {
		q.call("setBody", lua.LString(y.Request().Body()))
	}
	if changed&sdk.ChangedSession != 0 {
		who := lua.LValue(lua.LNil)
		if y.Session() != nil {
			t := x.l.CreateTable(0, 1)
			session.Fill(m.state, t, y.Session(), session.JSON)
			who = t
		}
		x.call("setSession", who)
	}
	for i := range y.Values() {
		v := &y.Values()[i]
		switch {
		case v.Changed() && v.Data == nil:
			x.call("setRawValue", lua.LString(v.Name), lua.LNil)
		case v.Changed():
			x.call("setRawValue", lua.LString(v.Name), lua.LString(v.Data))
		}
	}
	r := y.Response()
	if changed&sdk.ChangedAnswer != 0 {
		x.call("answer", lua.LNumber(r.Status()), lua.LNil, lua.LString(r.Body()))
	} else {
		if changed&sdk.ChangedStatus != 0 {
			x.get("response").set("status", lua.LNumber(r.Status()))
		}
		if changed&sdk.ChangedResponseBody != 0 {
			x.get("response").call("setBody", lua.LString(r.Body()))
		}
	}
	replayHeader(x.get("response").get("headers"), r.Header())
}

func replayHeader(to view, h *sdk.Header) {
	for _, op := range h.HeaderOps() {
		switch op.Kind {
		case sdk.HeaderSet:
			to.call("set", lua.LString(op.Name), lua.LString(op.Value))
		case sdk.HeaderAdd:
			to.call("add", lua.LString(op.Name), lua.LString(op.Value))
		case sdk.HeaderDel:
			to.call("del", lua.LString(op.Name))
		}
	}
}

func nativeObserver(l *lua.LState, m *machine, p *sdk.Plugin) {
	batch := view{l, l.Get(2)}
	var b sdk.Batch
	records, events := batch.get("records").v.(*lua.LTable), batch.get("events").v.(*lua.LTable)
	for i := 1; i <= records.Len(); i++ {
		r := view{l, records.RawGetInt(i)}
		one := sdk.Record{RequestID: r.text("request_id"), Status: int(r.num("status"))}
		hooks := r.get("hooks").v.(*lua.LTable)
		for range hooks.Len() {
			one.Hooks = append(one.Hooks, sdk.HookRecord{})
		}
		b.Records = append(b.Records, one)
	}
	for i := 1; i <= events.Len(); i++ {
		e := view{l, events.RawGetInt(i)}
		b.Events = append(b.Events, sdk.Event{Type: e.text("type"), Route: e.text("route")})
	}
	if err := p.Observers[0].Observer.Observe(m.ctx, b); err != nil {
		throw(l, err)
	}
}
