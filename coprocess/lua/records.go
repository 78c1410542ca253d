package lua

import (
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// batch is what an observer of a script is given.
func (m *machine) batch(b sdk.Batch) lua.LValue {
	i := m.state
	t, records, events := i.L.CreateTable(0, 1), i.Array(), i.Array()
	for n := range b.Records {
		records.Append(m.record(&b.Records[n]))
	}
	for n := range b.Events {
		e := &b.Events[n]
		event := texts(i.L, "type", e.Type, "route", e.Route, "org", e.Org, "request_id", e.RequestID, "message", e.Message)
		event.RawSetString("time", unix(e.Time))
		event.RawSetString("meta", session.Map(i, e.Meta))
		events.Append(event)
	}
	t.RawSetString("records", records)
	t.RawSetString("events", events)
	t.RawSetString("dropped", lua.LNumber(b.Dropped))
	return t
}

func (m *machine) record(r *sdk.Record) *lua.LTable {
	i := m.state
	t := texts(i.L, "request_id", r.RequestID, "route", r.Route, "route_name", r.RouteName, "org", r.Org, "method", r.Method, "scheme", r.Scheme,
		"host", r.Host, "path", r.Path, "query", r.Query, "proto", r.Proto, "user_agent", r.UserAgent, "target", r.Target,
		"answered_by", r.AnsweredBy, "alias", r.Alias, "key_hash", r.KeyHash, "error", r.Error, "trace_parent", r.Trace.Parent)
	if a := r.Client.Addr(); a.IsValid() {
		t.RawSetString("client", lua.LString(a.String()))
	}
	t.RawSetString("time", unix(r.Time))
	for name, n := range map[string]float64{
		"duration": r.Duration.Seconds(), "upstream": r.Upstream.Seconds(), "status": float64(r.Status),
		"request_size": float64(r.RequestSize), "reply_size": float64(r.ReplySize),
	} {
		t.RawSetString(name, lua.LNumber(n))
	}
	t.RawSetString("tags", session.Texts(i, r.Tags))
	hooks := i.Array()
	for n := range r.Hooks {
		h := &r.Hooks[n]
		one := texts(i.L, "name", h.Name, "server", h.Server, "phase", h.Phase.String(), "outcome", h.Outcome.String(), "error", h.Error)
		one.RawSetString("duration", lua.LNumber(h.Duration.Seconds()))
		one.RawSetString("changed", session.Texts(i, h.Changed.Names()))
		hooks.Append(one)
	}
	t.RawSetString("hooks", hooks)
	t.RawSetString("header", m.fields(r.Header))
	t.RawSetString("reply_header", m.fields(r.ReplyHeader))
	t.RawSetString("header_cut", lua.LBool(r.HeaderCut))
	return t
}

// fields makes an array of header lines, each an array of name and value.
func (m *machine) fields(list []sdk.Field) lua.LValue {
	out := m.state.Array()
	for _, f := range list {
		out.Append(session.Texts(m.state, []string{f.Name, f.Value}))
	}
	return out
}

// event is an event as Tyk's handlers are given it.
func (m *machine) event(e *sdk.Event) lua.LValue {
	t := texts(m.state.L, "Type", e.Type, "TimeStamp", e.Time.Local().Format("2006-01-02 15:04:05.999999999 -0700 MST"))
	meta := session.Map(m.state, e.Meta)
	meta.RawSetString("Message", lua.LString(e.Message))
	t.RawSetString("Meta", meta)
	return t
}

// texts makes a table of pairs of name and text.
func texts(l *lua.LState, pairs ...string) *lua.LTable {
	t := l.CreateTable(0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		t.RawSetString(pairs[i], lua.LString(pairs[i+1]))
	}
	return t
}

func unix(t time.Time) lua.LValue {
	if t.IsZero() {
		return lua.LNumber(0)
	}
	return lua.LNumber(float64(t.UnixMicro()) / 1e6)
}
