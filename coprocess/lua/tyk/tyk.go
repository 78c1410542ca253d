// Package tyk calls hooks written for Tyk's Lua driver (reference §6): global functions f(request, session, spec) that
// return request and session, which are tables with the fields of the coprocess message.
//
// The tables are made of the exchange as the hook asks for fields. What comes back is written as that message and applied
// by the rules that hold for every server of Tyk's protocol (PROTOCOL.md §2.2 to §2.5).
//
// # Where it is kinder than Tyk
//
//   - A hook for auth_check with four parameters is called f(request, session, metadata, spec) and returns all three of
//     the first; in Tyk that form is written down and never used.
//   - tyk.req.clear_header adds to delete_headers; in Tyk it replaces the list, so that only the last call has effect. A
//     hook that calls it once cannot tell.
//   - set_headers, delete_headers and the other empty containers are there as empty tables, where Tyk's JSON may leave
//     them out; empty text is nil as there.
//   - A hook that returns no request has worked on the one it was given; in Tyk the gateway panics. Numbers are taken
//     where text belongs.
//   - Response hooks are called with the same three arguments and change object.response; Tyk has none in Lua.
package tyk

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"strings"
	"unicode/utf8"

	lua "github.com/yuin/gopher-lua"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/interp"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Needs is what hooks of Tyk's are given; there is no asking for less.
const Needs = sdk.NeedHeaders | sdk.NeedQuery | sdk.NeedBody | sdk.NeedResponseHeaders | sdk.NeedResponseBody | sdk.NeedSession

// Call is the call of a hook on one state, one after the other. The methods Index, Assign, Fill and Global are the
// state's options of these names.
type Call struct {
	s   *interp.State
	x   *sdk.Exchange
	use *sdk.HookUse

	request, session, metadata, spec, response, object *lua.LTable

	seen     uint32         // fields of the request table that were made or assigned
	made     [16]lua.LValue // those that were made and are not in the table itself; nil for none
	replied  bool           // the response table was made
	req      *lua.LTable
	b, inner []byte
}

// New returns the calls on s.
func New(s *interp.State) *Call {
	c := &Call{s: s}
	c.req = s.Library(map[string]lua.LGFunction{
		"set_header": c.setHeader, "clear_header": c.clearHeader, "get_headers": c.getHeaders,
		"start_time": nothing, "http_version": nothing,
	})
	return c
}

func nothing(*lua.LState) int { return 0 }

// Run calls the hook on x and applies what it returns. A hook that no file defines leaves x as it is, but for auth hooks:
// there nobody is identified then. The error is a [*script.Error] without plugin, an [*sdk.Error], or wraps
// [sdk.ErrProtocol]; x is untouched then. The state is in a call.
func (c *Call) Run(use *sdk.HookUse, x *sdk.Exchange) error {
	f, ok := c.s.Global(use.Name).(*lua.LFunction)
	if !ok {
		if x.Phase() == sdk.Auth {
			x.SetSession(nil)
		}
		return nil
	}
	c.begin(use, x)
	defer c.end()
	session := lua.LValue(lua.LNil)
	if c.session != nil {
		session = c.session
	}
	four := use.Phase == sdk.Auth && f.Proto != nil && f.Proto.NumParameters >= 4
	var err error
	if four {
		c.metadata = c.s.L.CreateTable(0, 1)
		err = c.s.Call(f, 3, c.request, session, c.metadata, c.spec)
	} else {
		err = c.s.Call(f, 2, c.request, session, c.spec)
	}
	if err != nil {
		return err
	}
	if four {
		return c.apply(c.s.L.Get(-3), c.s.L.Get(-2), c.s.L.Get(-1))
	}
	return c.apply(c.s.L.Get(-2), c.s.L.Get(-1), lua.LNil)
}

func (c *Call) begin(use *sdk.HookUse, x *sdk.Exchange) {
	c.x, c.use, c.seen, c.replied = x, use, 0, false
	c.request, c.spec = c.s.Lazy(), c.s.Lazy()
	switch x.Phase() {
	case sdk.PostKeyAuth, sdk.Post:
		if x.Session() != nil {
			c.session = c.s.Lazy()
		}
	case sdk.ResponsePhase:
		c.session = c.s.Lazy()
	}
}

// end makes tables that a script keeps forget where they came from.
func (c *Call) end() {
	for _, t := range []*lua.LTable{c.request, c.session, c.spec, c.response, c.object, c.metadata} {
		if t != nil && c.s.IsLazy(t) {
			t.Metatable = lua.LNil
		}
	}
	c.request, c.session, c.metadata, c.spec, c.response, c.object = nil, nil, nil, nil, nil, nil
	c.x, c.use = nil, nil
	clear(c.made[:])
	if cap(c.b)+cap(c.inner) > 128<<10 {
		c.b, c.inner = nil, nil
	}
}

// Global gives object and tyk, made for this call.
func (c *Call) Global(name string) lua.LValue {
	if c.x == nil {
		return lua.LNil
	}
	switch name {
	case "object":
		if c.object == nil {
			c.object = c.s.Lazy()
		}
		return c.object
	case "tyk":
		t := c.s.L.CreateTable(0, 1)
		t.RawSetString("req", c.req)
		t.RawSetString("session", c.s.L.CreateTable(0, 1))
		return t
	}
	return lua.LNil
}

// Index gives a field of a lazy table.
func (c *Call) Index(t *lua.LTable, key lua.LValue) lua.LValue {
	if t == c.request {
		name, ok := key.(lua.LString)
		if !ok {
			return lua.LNil
		}
		i := indexOf(string(name))
		switch {
		case i < 0:
			return lua.LNil
		case c.seen&(1<<i) == 0:
			return c.make(i)
		case c.made[i] != nil:
			return c.made[i]
		}
		return lua.LNil
	}
	c.Fill(t)
	return t.RawGet(key)
}

// Assign notes that a field of the request is the hook's now.
func (c *Call) Assign(t *lua.LTable, key lua.LValue) {
	if t != c.request {
		c.Fill(t)
		return
	}
	if name, ok := key.(lua.LString); ok {
		if i := indexOf(string(name)); i >= 0 {
			c.seen |= 1 << i
			c.made[i] = nil
		}
	}
}

// Fill completes a lazy table.
func (c *Call) Fill(t *lua.LTable) {
	if t == c.request && t != nil {
		for i := range requestFields {
			if c.seen&(1<<i) == 0 {
				c.make(i)
			}
			if c.made[i] != nil {
				t.RawSetString(requestFields[i].name, c.made[i])
				c.made[i] = nil
			}
		}
		return // it stays lazy: what it has not is known to be absent
	}
	t.Metatable = lua.LNil
	switch t {
	case c.session:
		session.Fill(c.s, t, c.x.Session(), session.Tyk)
	case c.spec:
		c.fillSpec(t)
	case c.object:
		c.fillObject(t)
	case c.response:
		c.fillResponse(t)
	}
}

// make makes field i of the request's table.
func (c *Call) make(i int) lua.LValue {
	c.seen |= 1 << i
	v := c.field(requestFields[i].name)
	if v != lua.LNil {
		c.made[i] = v
	}
	return v
}

func (c *Call) field(name string) lua.LValue {
	q := c.x.Request()
	switch name {
	case "headers":
		t := c.first(q.Header().Fields())
		t.RawSetString("Host", lua.LString(q.Host()))
		return t
	case "params":
		return c.params(q.Query().Raw())
	case "body":
		return text(q.Body(), q.Buffered() && !c.use.RawBodyOnly)
	case "raw_body":
		return raw(q.Body())
	case "url":
		return some(q.Target())
	case "method":
		return some(q.Method())
	case "request_uri":
		return some(q.URI())
	case "scheme":
		return some(q.Scheme())
	case "return_overrides":
		t := c.s.L.CreateTable(0, 1)
		t.RawSetString("response_code", lua.LNumber(-1))
		return t
	case "delete_headers", "delete_params":
		return c.s.Array()
	}
	return c.s.L.CreateTable(0, 1)
}

// some is text as Go's JSON has it: none when it is empty.
func some(s string) lua.LValue {
	if s == "" {
		return lua.LNil
	}
	return lua.LString(s)
}

func text(body []byte, wanted bool) lua.LValue {
	if !wanted || !utf8.Valid(body) {
		return lua.LNil
	}
	return some(string(body))
}

func raw(body []byte) lua.LValue { return some(base64.StdEncoding.EncodeToString(body)) }

// first makes a table of the first values by canonical names.
func (c *Call) first(fields []sdk.Field) *lua.LTable {
	t := c.s.L.CreateTable(0, len(fields)+1)
	for i := len(fields) - 1; i >= 0; i-- {
		t.RawSetString(textproto.CanonicalMIMEHeaderKey(fields[i].Name), lua.LString(fields[i].Value))
	}
	return t
}

// params makes a table of the first values of the query, of pairs that Tyk's gateway can read.
func (c *Call) params(query string) *lua.LTable {
	t := c.s.L.CreateTable(0, 1)
	for part := range strings.SplitSeq(query, "&") {
		if part == "" || strings.Contains(part, ";") {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		if value, err = url.QueryUnescape(value); err == nil && t.RawGetString(name) == lua.LNil {
			t.RawSetString(name, lua.LString(value))
		}
	}
	return t
}

// noBundle is the MD5 of no name.
const noBundle = "d41d8cd98f00b204e9800998ecf8427e"

func (c *Call) fillSpec(t *lua.LTable) {
	r := c.x.Route()
	t.RawSetString("OrgID", lua.LString(r.Org))
	t.RawSetString("APIID", lua.LString(r.ID))
	t.RawSetString("bundle_hash", lua.LString(cmp.Or(r.Bundle, noBundle)))
	config := c.use.Config
	if config == nil {
		config = c.x.Config()
	}
	if len(config) > 0 {
		t.RawSetString("config_data", lua.LString(config))
	}
}

func (c *Call) fillObject(t *lua.LTable) {
	t.RawSetString("hook_type", lua.LNumber(hookTypes[c.x.Phase()]))
	t.RawSetString("hook_name", lua.LString(c.use.Name))
	t.RawSetString("request", c.request)
	t.RawSetString("spec", c.spec)
	if c.session != nil {
		t.RawSetString("session", c.session)
		if s := c.x.Session(); s != nil && c.x.Phase() != sdk.ResponsePhase {
			t.RawSetString("metadata", session.Map(c.s, s.Metadata))
		}
	}
	if c.x.Phase() == sdk.ResponsePhase {
		c.response = c.s.Lazy()
		t.RawSetString("response", c.response)
	}
}

// hookTypes are the numbers of phases in the message.
var hookTypes = [...]int{sdk.Pre: 1, sdk.Auth: 4, sdk.PostKeyAuth: 3, sdk.Post: 2, sdk.ResponsePhase: 5}

func (c *Call) fillResponse(t *lua.LTable) {
	c.replied = true
	r := c.x.Response()
	t.RawSetString("status_code", lua.LNumber(r.Status()))
	t.RawSetString("headers", c.first(r.Header().Fields()))
	multi, byName := c.s.Array(), map[string]*lua.LTable{}
	for name, value := range r.Header().All() {
		name = textproto.CanonicalMIMEHeaderKey(name)
		values, ok := byName[name]
		if !ok {
			values = c.s.Array()
			byName[name] = values
			line := c.s.L.CreateTable(0, 1)
			line.RawSetString("key", lua.LString(name))
			line.RawSetString("values", values)
			multi.Append(line)
		}
		values.Append(lua.LString(value))
	}
	t.RawSetString("multivalue_headers", multi)
	for name, v := range map[string]lua.LValue{"raw_body": raw(r.Body()), "body": text(r.Body(), r.Buffered() && !c.use.RawBodyOnly)} {
		t.RawSetString(name, v)
	}
}

// identify is who the hook says it is: a session with a token in its metadata; nil for nobody.
func (c *Call) identify(v, metadata lua.LValue) (*sdk.Session, error) {
	if v == lua.LNil || v == c.s.Null() {
		return nil, nil
	}
	t, ok := v.(*lua.LTable)
	if !ok {
		return nil, garbage("returned a %s for its session, want a table", v.Type())
	}
	s, err := session.Read(c.s, t, session.Tyk)
	if err != nil {
		return nil, garbage("%w", err)
	}
	if metadata != lua.LNil && metadata != c.s.Null() {
		more, err := session.ReadMap(metadata)
		if err != nil {
			return nil, garbage("metadata: %w", err)
		}
		if s.Metadata == nil {
			s.Metadata = map[string]string{}
		}
		maps.Copy(s.Metadata, more)
	}
	if s.KeyID = s.Metadata["token"]; s.KeyID == "" {
		return nil, nil
	}
	s.OrgID = c.x.Route().Org
	return s, nil
}

func garbage(format string, args ...any) error {
	return fmt.Errorf("%w: %w", sdk.ErrProtocol, &script.Error{Message: fmt.Errorf(format, args...).Error()})
}
