package tykapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var virtualNames = []string{"Headers", "Body", "URL", "Params", "Scheme"}

// virtualMember makes a member of the request that a virtual endpoint is given.
func virtualMember(l *lazy, i int) goja.Value {
	q := l.x.Request()
	switch i {
	case 0:
		return requestMember(l, requestHeaders)
	case 1:
		return l.vm.Text(string(q.Body()))
	case 2:
		return l.vm.Text(q.Target())
	case 3:
		return values(l.vm, append(query(q), form(q)...), false)
	}
	return l.vm.Text(q.Scheme())
}

// Virtual runs the function of that name as a virtual endpoint and answers x with what it returns (reference §4.11).
func Virtual(vm *engine.VM, x *sdk.Exchange, function string, useSession bool) error {
	state := stateOf(vm)
	state.x, state.config = x, nil
	defer func() { state.x = nil }()
	f, ok := goja.AssertFunction(vm.JS.Get(function))
	if !ok {
		return fmt.Errorf("%w: plugin %q has no global function %q", sdk.ErrUnimplemented, vm.Plugin().Name, function)
	}
	_, _, session, config := given(vm, x, useSession)
	request := vm.JS.NewDynamicObject(&lazy{vm: vm, x: x, names: virtualNames, slots: make([]goja.Value, len(virtualNames)), made: virtualMember})
	result, err := f(goja.Undefined(), request, session, config)
	if err != nil {
		return err
	}
	return answer(vm, x, result, useSession)
}

// form reads the pairs of a form in the body.
func form(q *sdk.Request) []sdk.Field {
	if kind, _, _ := strings.Cut(q.Header().Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil
	}
	var all []sdk.Field
	for pair := range strings.SplitSeq(string(q.Body()), "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, badName := url.QueryUnescape(name)
		value, badValue := url.QueryUnescape(value)
		if pair == "" || badName != nil || badValue != nil || len(all) >= maxFields {
			continue
		}
		all = append(all, sdk.Field{Name: name, Value: value})
	}
	return all
}

func answer(vm *engine.VM, x *sdk.Exchange, result goja.Value, useSession bool) error {
	if s, ok := result.(goja.String); ok && json.Valid([]byte(s.String())) {
		result = vm.Parse(engine.Bytes(s))
	}
	if absent(result) {
		return fmt.Errorf("%w: the script returned nothing: want the result of TykJsResponse", sdk.ErrProtocol)
	}
	code, content, headers := 0, "", []sdk.Field(nil)
	names, parts := []string{"Response", "SessionMeta"}, []string{"Body", "Headers", "Code"}
	if err := each("the result", result, names, func(i int, v goja.Value) error {
		if i == 1 {
			return replaceMeta(x, v, useSession)
		}
		return each("Response", v, parts, func(i int, v goja.Value) (err error) {
			switch i {
			case 0:
				content, err = text("Response.Body", v)
			case 1:
				headers, err = pairs("Response.Headers", v)
			case 2:
				code, err = number("Response.Code", v)
			}
			return err
		})
	}); err != nil {
		return err
	}
	if code < 200 || code > 599 {
		return fmt.Errorf("%w: the script returned Code %d: want 200 to 599", sdk.ErrProtocol, code)
	}
	h := x.Answer(code, []byte(content)).Header()
	for _, f := range headers {
		h.Set(f.Name, f.Value)
	}
	return nil
}

// Event hands an event to the handler of that name (reference §4.12).
func Event(vm *engine.VM, name string, e *sdk.Event) error {
	state := stateOf(vm)
	state.route = &sdk.Route{ID: e.Route, Org: e.Org}
	defer func() { state.route = nil }()
	object, err := handler(vm, name)
	if err != nil {
		return err
	}
	f, ok := goja.AssertFunction(object.Get("DoProcessEvent"))
	if !ok {
		return fmt.Errorf("%w: event handler %q has no DoProcessEvent", sdk.ErrUnimplemented, name)
	}
	meta := vm.JS.NewObject()
	for key, value := range e.Meta {
		set(meta, key, vm.Text(value))
	}
	if _, said := e.Meta["Message"]; !said {
		set(meta, "Message", vm.Text(e.Message))
	}
	event, context := vm.JS.NewObject(), vm.JS.NewObject()
	set(event, "Type", vm.Text(e.Type))
	set(event, "Meta", meta)
	set(event, "TimeStamp", vm.Text(e.Time.Local().Format("2006-01-02 15:04:05.999999999 -0700 MST")))
	set(context, "APIID", vm.Text(e.Route))
	set(context, "OrgID", vm.Text(e.Org))
	_, err = f(object, event, context)
	return err
}
