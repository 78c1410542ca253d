package lua

import (
	"crypto/sha256"
	"encoding/hex"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// scope is an exchange as one call of a script sees it. Scripts may keep what points to it: when the call is over, m is
// nil and everything throws.
type scope struct {
	m       *machine
	x       *sdk.Exchange
	use     *sdk.HookUse
	needs   sdk.Needs
	refused *sdk.Error
	config  lua.LValue // nil: nobody looked
	request *lua.LUserData
	headers *lua.LUserData
}

// What scripts hold, each a scope seen from one side.
type (
	exchangeRef        scope
	requestRef         scope
	requestHeadersRef  scope
	queryRef           scope
	responseRef        scope
	responseHeadersRef scope
)

// kinds are the metatables of what scripts hold.
type kinds struct{ exchange, request, headers, query, response, reply *lua.LTable }

// property reads or writes a member. value is nil to read; it reports whether there is such a member.
type property func(l *lua.LState, key string, value lua.LValue) (lua.LValue, bool)

// kind makes a metatable. properties may be nil.
func (m *machine) kind(name string, methods map[string]lua.LGFunction, properties property) *lua.LTable {
	i := m.state
	meta, functions := i.L.CreateTable(0, 1), i.L.CreateTable(0, 1)
	for n, f := range methods {
		functions.RawSetString(n, i.L.NewFunction(f))
	}
	index := func(l *lua.LState) int {
		key := l.CheckString(2)
		if f := functions.RawGetString(key); f != lua.LNil {
			l.Push(f)
			return 1
		}
		if properties != nil {
			if v, ok := properties(l, key, nil); ok {
				l.Push(v)
				return 1
			}
		}
		l.RaiseError("%s has no member %q", name, key)
		return 0
	}
	meta.RawSetString("__index", i.L.NewFunction(index))
	meta.RawSetString("__newindex", i.L.NewFunction(func(l *lua.LState) int {
		key := l.CheckString(2)
		if properties == nil {
			l.RaiseError("%s has no member %q to assign", name, key)
		}
		if _, ok := properties(l, key, l.Get(3)); !ok {
			l.RaiseError("%s has no member %q to assign", name, key)
		}
		return 0
	}))
	meta.RawSetString("__metatable", lua.LFalse)
	meta.RawSetString("__tostring", i.L.NewFunction(func(l *lua.LState) int { l.Push(lua.LString(name)); return 1 }))
	return meta
}

func (m *machine) object(v any, kind *lua.LTable) *lua.LUserData {
	return &lua.LUserData{Value: v, Env: m.state.L.Env, Metatable: kind}
}

// held is the scope that argument 1 is a side of.
func held(l *lua.LState) *scope {
	var s *scope
	if ud, ok := l.Get(1).(*lua.LUserData); ok {
		switch v := ud.Value.(type) {
		case *exchangeRef:
			s = (*scope)(v)
		case *requestRef:
			s = (*scope)(v)
		case *requestHeadersRef:
			s = (*scope)(v)
		case *queryRef:
			s = (*scope)(v)
		case *responseRef:
			s = (*scope)(v)
		case *responseHeadersRef:
			s = (*scope)(v)
		}
	}
	if s == nil {
		l.RaiseError("this function belongs to the exchange: call it with a colon")
	}
	if s.m == nil {
		l.RaiseError("the call that this exchange was for is over")
	}
	return s
}

func (m *machine) defineExchange() {
	m.kinds = kinds{
		exchange: m.kind("the exchange", map[string]lua.LGFunction{
			"answer": answer, "refuse": refuse, "setSession": setSession, "authenticate": authenticate, "value": value, "setValue": setValue,
			"rawValue": rawValue, "setRawValue": setRawValue, "log": exchangeLog, "count": count,
		}, exchangeProperty),
		request:  m.kind("the request", bodyFunctions(), requestProperty),
		response: m.kind("the response", bodyFunctions(), responseProperty),
		headers:  m.kind("headers", headerFunctions(), nil),
		query:    m.kind("the query", queryFunctions(), queryProperty),
		reply:    m.kind("the reply", replyFunctions(), replyProperty),
	}
}

// exchangeProperty is the members of x.
func exchangeProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	s := held(l)
	if v != nil {
		return nil, false
	}
	m, x := s.m, s.x
	switch key {
	case "request":
		if s.request == nil {
			s.request = m.object((*requestRef)(s), m.kinds.request)
		}
		return s.request, true
	case "response":
		return m.object((*responseRef)(s), m.kinds.response), true
	case "phase":
		return lua.LString(x.Phase().String()), true
	case "route":
		r := x.Route()
		return session.Map(m.state, map[string]string{"id": r.ID, "name": r.Name, "org": r.Org, "listen_path": r.ListenPath, "bundle": r.Bundle}), true
	case "config":
		if s.config == nil {
			config := s.use.Config
			if config == nil {
				config = x.Config()
			}
			s.config = m.decoded(l, config)
		}
		return s.config, true
	case "client":
		if a := x.ClientAddr().Addr(); a.IsValid() {
			return lua.LString(a.String()), true
		}
		return lua.LString(""), true
	case "client_port":
		return lua.LNumber(x.ClientAddr().Port()), true
	case "request_id":
		return lua.LString(x.RequestID()), true
	case "answered":
		return lua.LBool(x.Answered()), true
	}
	return s.identity(key)
}

// identity is the members that tell who calls, and from where.
func (s *scope) identity(key string) (lua.LValue, bool) {
	m, x := s.m, s.x
	switch key {
	case "session":
		if x.Session() == nil || !s.needs.Has(sdk.NeedSession) {
			return lua.LNil, true
		}
		t := m.state.L.CreateTable(0, 1)
		session.Fill(m.state, t, x.Session(), session.JSON)
		return t, true
	case "trace":
		t := x.Trace()
		if !s.needs.Has(sdk.NeedTrace) {
			t = sdk.Trace{}
		}
		return session.Map(m.state, map[string]string{"parent": t.Parent, "state": t.State}), true
	case "peer":
		return s.peer(), true
	}
	return nil, false
}

func (s *scope) peer() lua.LValue {
	certs := s.x.PeerCertificates()
	if len(certs) == 0 || !s.needs.Has(sdk.NeedPeer) {
		return lua.LNil
	}
	c := certs[0]
	sum := sha256.Sum256(c.Raw)
	t := session.Map(s.m.state, map[string]string{
		"subject": c.Subject.String(), "issuer": c.Issuer.String(), "serial": c.SerialNumber.Text(16), "sha256": hex.EncodeToString(sum[:]),
	})
	t.RawSetString("dns_names", session.Texts(s.m.state, c.DNSNames))
	t.RawSetString("not_before", lua.LNumber(c.NotBefore.Unix()))
	t.RawSetString("not_after", lua.LNumber(c.NotAfter.Unix()))
	return t
}

// decoded is JSON as a value; nothing of nothing.
func (m *machine) decoded(l *lua.LState, data []byte) lua.LValue {
	if len(data) == 0 {
		return lua.LNil
	}
	v, err := m.state.DecodeJSON(string(data), true)
	m.state.Check(l, err)
	return v
}

func requestProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	s := held(l)
	q := s.x.Request()
	if v != nil {
		switch key {
		case "method":
			q.SetMethod(l.CheckString(3))
		case "path":
			q.SetPath(l.CheckString(3))
		default:
			return nil, false
		}
		return lua.LNil, true
	}
	switch key {
	case "headers":
		if s.headers == nil {
			s.headers = s.m.object((*requestHeadersRef)(s), s.m.kinds.headers)
		}
		return s.headers, true
	case "query":
		return s.m.object((*queryRef)(s), s.m.kinds.query), true
	case "method":
		return lua.LString(q.Method()), true
	case "path":
		return lua.LString(q.Path()), true
	case "scheme":
		return lua.LString(q.Scheme()), true
	case "host":
		return lua.LString(q.Host()), true
	case "proto":
		return lua.LString(q.Proto()), true
	case "uri":
		return lua.LString(q.URI()), true
	case "target":
		return lua.LString(q.Target()), true
	case "length":
		return lua.LNumber(q.Length()), true
	}
	return nil, false
}

func responseProperty(l *lua.LState, key string, v lua.LValue) (lua.LValue, bool) {
	s := held(l)
	r := s.x.Response()
	if v != nil {
		if key == "status" {
			r.SetStatus(l.CheckInt(3))
		}
		return lua.LNil, key == "status"
	}
	switch key {
	case "headers":
		return s.m.object((*responseHeadersRef)(s), s.m.kinds.headers), true
	case "status":
		return lua.LNumber(r.Status()), true
	case "length":
		return lua.LNumber(r.Length()), true
	}
	return nil, false
}
