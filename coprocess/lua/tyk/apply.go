package tyk

import (
	"encoding/base64"
	"fmt"
	"math"

	lua "github.com/yuin/gopher-lua"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/lua/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// kind is how a field of a table becomes one of the message.
type kind int

const (
	unread kind = iota // the gateway does not look at it
	str
	raws // base64 of bytes
	integer
	flag
	list
	table
	overrides
	multi
)

type field struct {
	name   string
	number protowire.Number
	kind   kind
}

// The fields of MiniRequestObject, ReturnOverrides and ResponseObject.
var (
	requestFields = []field{
		{"set_headers", 2, table}, {"delete_headers", 3, list}, {"url", 5, str}, {"add_params", 7, table}, {"delete_params", 9, list},
		{"return_overrides", 10, overrides}, {"method", 11, str}, {"raw_body", 14, raws}, {"body", 4, str}, {"headers", 1, unread},
		{"params", 6, unread}, {"extended_params", 8, unread}, {"request_uri", 12, unread}, {"scheme", 13, unread},
	}
	overrideFields = []field{{"response_code", 1, integer}, {"response_error", 2, str}, {"headers", 3, table}, {"override_error", 4, flag}, {"response_body", 5, str}}
	responseFields = []field{{"status_code", 1, integer}, {"raw_body", 2, raws}, {"body", 3, str}, {"headers", 4, table}, {"multivalue_headers", 5, multi}}
)

// Which of the request's fields they are.
const (
	urlField  = 2
	rawField  = 7
	bodyField = 8
)

// echoField says that what is absent was left out on purpose; see PROTOCOL.md §2.4.
const echoField = 100

func indexOf(name string) int {
	for i := range requestFields {
		if requestFields[i].name == name {
			return i
		}
	}
	return -1
}

// apply makes the changes that the hook asks for by what it returned.
func (c *Call) apply(request, who, metadata lua.LValue) error {
	if c.x.Phase() == sdk.ResponsePhase {
		return c.applyResponse()
	}
	if request == lua.LNil || request == c.s.Null() {
		request = c.request
	}
	t, ok := request.(*lua.LTable)
	if !ok {
		return garbage("returned a %s for its request, want a table", request.Type())
	}
	if c.x.Phase() != sdk.Auth {
		return c.applyRequest(t)
	}
	s, err := c.identify(who, metadata)
	if err != nil {
		return err
	}
	if err := c.applyRequest(t); err != nil || c.x.Answered() {
		return err
	}
	c.x.SetSession(s)
	return nil
}

func (c *Call) applyRequest(t *lua.LTable) error {
	own := t == c.request
	if own && c.seen == 0 {
		return nil
	}
	options := wire.ObjectOptions{RawBodyOnly: c.use.RawBodyOnly}
	b, echo := c.inner[:0], true
	var err error
	for i := range requestFields {
		f := requestFields[i]
		switch {
		case f.kind == unread:
			continue
		case own && c.seen&(1<<i) == 0:
			switch i {
			case urlField:
				b = appendString(b, f.number, c.x.Request().Target())
			case rawField: // no body and no text of it: it stays
				echo, options.RawBodyOnly = false, true
			}
			continue
		case i == bodyField && (own || echo):
			continue // it counts where raw_body is missing from a table of the hook's own
		}
		v := t.RawGetString(f.name)
		if own && c.made[i] != nil {
			v = c.made[i]
		}
		if v == lua.LNil || v == c.s.Null() {
			if i == rawField && !own {
				echo = false
			}
			continue
		}
		if b, err = appendField(b, f, v); err != nil {
			return garbage("request.%s: %w", f.name, err)
		}
	}
	if echo {
		b = protowire.AppendVarint(protowire.AppendTag(b, echoField, protowire.VarintType), 1)
	}
	c.inner = b
	return c.send(3, b, options)
}

// send applies the message whose one field is b.
func (c *Call) send(number protowire.Number, b []byte, o wire.ObjectOptions) error {
	c.b = protowire.AppendBytes(protowire.AppendTag(c.b[:0], number, protowire.BytesType), b)
	return wire.ApplyObject(c.b, c.x, o)
}

func (c *Call) applyResponse() error {
	if c.object == nil || c.s.IsLazy(c.object) {
		return nil // nobody looked
	}
	v := c.object.RawGetString("response")
	t, ok := v.(*lua.LTable)
	if !ok {
		return garbage("object.response is a %s, want a table", v.Type())
	}
	if t == c.response && !c.replied {
		return nil
	}
	b := c.inner[:0]
	var err error
	for i := range responseFields {
		f := responseFields[i]
		v := t.RawGetString(f.name)
		if v == lua.LNil || v == c.s.Null() {
			continue
		}
		if b, err = appendField(b, f, v); err != nil {
			return garbage("response.%s: %w", f.name, err)
		}
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, echoField, protowire.VarintType), 1)
	c.inner = b
	return c.send(7, b, wire.ObjectOptions{RawBodyOnly: c.use.RawBodyOnly})
}

func appendString(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendField(b []byte, f field, v lua.LValue) ([]byte, error) {
	switch f.kind {
	case str:
		text, err := session.Text(v)
		return appendString(b, f.number, text), err
	case raws:
		return appendRaw(b, f.number, v)
	case integer:
		n, ok := v.(lua.LNumber)
		if !ok || float64(n) != math.Trunc(float64(n)) || math.Abs(float64(n)) > math.MaxInt32 {
			return b, fmt.Errorf("%s is no whole number of 32 bits", v)
		}
		return protowire.AppendVarint(protowire.AppendTag(b, f.number, protowire.VarintType), uint64(int64(n))), nil
	case flag:
		on, ok := v.(lua.LBool)
		if !ok {
			return b, fmt.Errorf("a %s where true or false belongs", v.Type())
		}
		return protowire.AppendVarint(protowire.AppendTag(b, f.number, protowire.VarintType), protowire.EncodeBool(bool(on))), nil
	case list:
		texts, err := session.ReadTexts(v)
		for _, text := range texts {
			b = appendString(b, f.number, text)
		}
		return b, err
	case table:
		return appendTable(b, f.number, v)
	case overrides:
		return appendOverrides(b, f.number, v)
	case multi:
		return appendMulti(b, f.number, v)
	}
	return b, nil
}

func appendRaw(b []byte, n protowire.Number, v lua.LValue) ([]byte, error) {
	text, ok := v.(lua.LString)
	if !ok {
		return b, fmt.Errorf("a %s where base64 belongs", v.Type())
	}
	body, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return b, err
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), body), nil
}

// appendTable appends a map of text by name.
func appendTable(b []byte, n protowire.Number, v lua.LValue) ([]byte, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return b, fmt.Errorf("a %s where a table belongs", v.Type())
	}
	for k, v := t.Next(lua.LNil); k != lua.LNil; k, v = t.Next(k) {
		name, err := session.Text(k)
		if err != nil {
			return b, err
		}
		value, err := session.Text(v)
		if err != nil {
			return b, fmt.Errorf("[%q]: %w", name, err)
		}
		size := protowire.SizeTag(1) + protowire.SizeBytes(len(name)) + protowire.SizeTag(2) + protowire.SizeBytes(len(value))
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(size))
		b = appendString(appendString(b, 1, name), 2, value)
	}
	return b, nil
}

func appendOverrides(b []byte, n protowire.Number, v lua.LValue) ([]byte, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return b, fmt.Errorf("a %s where a table belongs", v.Type())
	}
	var inner []byte
	var err error
	for i := range overrideFields {
		f := overrideFields[i]
		v := t.RawGetString(f.name)
		if v == lua.LNil {
			continue
		}
		if inner, err = appendField(inner, f, v); err != nil {
			return b, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), inner), nil
}

func appendMulti(b []byte, n protowire.Number, v lua.LValue) ([]byte, error) {
	t, ok := v.(*lua.LTable)
	if !ok {
		return b, fmt.Errorf("a %s where a list belongs", v.Type())
	}
	for i := 1; i <= t.Len(); i++ {
		line, ok := t.RawGetInt(i).(*lua.LTable)
		if !ok {
			return b, fmt.Errorf("[%d]: a %s where a table belongs", i, t.RawGetInt(i).Type())
		}
		name, err := session.Text(line.RawGetString("key"))
		if err != nil {
			return b, fmt.Errorf("[%d].key: %w", i, err)
		}
		values, err := session.ReadTexts(line.RawGetString("values"))
		if err != nil {
			return b, fmt.Errorf("[%d].values: %w", i, err)
		}
		inner := appendString(nil, 1, name)
		for _, value := range values {
			inner = appendString(inner, 2, value)
		}
		b = protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), inner)
	}
	return b, nil
}
