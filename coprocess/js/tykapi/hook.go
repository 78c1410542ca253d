package tykapi

import (
	"fmt"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/session"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Call runs the middleware that u uses on x, as the phase wants it. withSession is require_session of its entry.
func Call(vm *engine.VM, x *sdk.Exchange, u *sdk.HookUse, withSession bool) error {
	state := stateOf(vm)
	state.x, state.config = x, u.Config
	defer func() { state.x = nil }()
	object, err := handler(vm, u.Name)
	if err != nil {
		return err
	}
	withSession = withSession && u.Phase != sdk.Pre && u.Phase != sdk.Auth
	if u.Phase == sdk.ResponsePhase {
		return respond(vm, x, object, withSession)
	}
	own, request, session, config := given(vm, x, withSession)
	result, err := invoke(vm, object, "ProcessRequest", request, session, config)
	if err != nil {
		return err
	}
	return taken(vm, x, u.Phase, result, &own.request, withSession)
}

// handler finds the object that a script made under that name.
func handler(vm *engine.VM, name string) (*goja.Object, error) {
	if object, ok := vm.JS.Get(name).(*goja.Object); ok {
		return object, nil
	}
	return nil, fmt.Errorf("%w: plugin %q has no global object %q", sdk.ErrUnimplemented, vm.Plugin().Name, name)
}

// invoke calls a method of the script's object.
func invoke(vm *engine.VM, object *goja.Object, name string, args ...goja.Value) (goja.Value, error) {
	if own := object.Get("Do" + name); own != nil && !stateOf(vm).standard(own) {
		return invokeText(vm, object, own, "Do"+name, args)
	}
	f, ok := goja.AssertFunction(object.Get(name))
	if !ok {
		return nil, fmt.Errorf("%w: %s is no function", sdk.ErrUnimplemented, name)
	}
	result, err := f(object, args...)
	if err != nil {
		return nil, err
	}
	return vm.Settled(result)
}

// invokeText calls what a script put in the place of DoProcessRequest or DoProcessResponse: plain objects in, as Tyk writes
// their JSON into the call, JSON text out, bodies in base64.
func invokeText(vm *engine.VM, object *goja.Object, own goja.Value, name string, args []goja.Value) (goja.Value, error) {
	f, ok := goja.AssertFunction(own)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no function", sdk.ErrUnimplemented, name)
	}
	given := make([]goja.Value, len(args))
	for i, a := range args {
		if o, ok := a.(*goja.Object); ok && i == 0 {
			set(o, "Body", encoded(vm, o.Get("Body")))
		}
		given[i] = a
		if text, ok := vm.Stringify(a); ok {
			given[i] = vm.Parse(text)
		}
	}
	result, err := f(object, given...)
	if err != nil {
		return nil, err
	}
	if s, ok := result.(goja.String); ok {
		result = vm.Parse(engine.Bytes(s))
	}
	for _, part := range []string{"Request", "Response"} {
		if o, ok := result.(*goja.Object); ok {
			if inner, ok := o.Get(part).(*goja.Object); ok && inner.Get("Body") != nil {
				set(inner, "Body", decoded(vm, inner.Get("Body")))
			}
		}
	}
	return result, nil
}

var (
	resultNames      = []string{"Request", "SessionMeta", "Session", "AuthValue"}
	replyResultNames = []string{"Response", "SessionMeta"}
)

// taken makes the changes that a hook of a request phase returned.
func taken(vm *engine.VM, x *sdk.Exchange, phase sdk.Phase, result goja.Value, own *lazy, withSession bool) error {
	if absent(result) || !result.ToBoolean() {
		return fmt.Errorf("%w: the script returned nothing: want the result of ReturnData or ReturnAuthData", sdk.ErrProtocol)
	}
	r := &requestResult{own: own}
	if err := looking("the result", result, resultNames, nil)(r.read); err != nil {
		return err
	}
	if r.meta != nil {
		if err := replaceMeta(x, r.meta, withSession); err != nil {
			return err
		}
	}
	if err := r.changes.apply(x); err != nil || phase != sdk.Auth || r.auth == nil || x.Answered() {
		return err
	}
	return authenticate(vm, x, r.auth, r.token)
}

// requestResult is what a hook of a request phase returned.
type requestResult struct {
	own        *lazy // the request that it was given
	changes    requestChanges
	meta, auth goja.Value
	token      string
}

func (r *requestResult) read(i int, v goja.Value) (err error) {
	switch i {
	case 0:
		err = looking("Request", v, requestNames, r.own)(r.changes.read)
	case 1:
		r.meta = v
	case 2:
		r.auth = v
	case 3:
		r.token, err = text("AuthValue", v)
	}
	return err
}

// replaceMeta makes what a hook returned the metadata of the session, where it was given one.
func replaceMeta(x *sdk.Exchange, v goja.Value, withSession bool) error {
	fields, err := pairs("SessionMeta", v)
	if err != nil || !withSession || x.Session() == nil {
		return err
	}
	had, same := x.Session().Metadata, len(fields) == len(x.Session().Metadata)
	for _, f := range fields {
		was, known := had[f.Name]
		same = same && known && was == f.Value
	}
	if same {
		return nil
	}
	meta := make(map[string]string, len(fields))
	for _, f := range fields {
		meta[f.Name] = f.Value
	}
	x.EditSession().Metadata = meta
	return nil
}

// authenticate takes the session that auth_check returned (reference §4.8). Its key is AuthValue, and where a script
// says none what the client sent as Authorization.
func authenticate(vm *engine.VM, x *sdk.Exchange, v goja.Value, token string) error {
	text, ok := vm.Stringify(v)
	if !ok {
		return wrong("Session", v, "an object")
	}
	s, err := session.Decode(text)
	if err != nil {
		return fmt.Errorf("%w: the script returned: %w", sdk.ErrProtocol, err)
	}
	s.KeyID = token
	if s.KeyID == "" {
		s.KeyID = x.Request().Header().Get("Authorization")
	}
	x.SetSession(s)
	return nil
}

// The members of a response, in the order of responseNames.
const (
	statusCode = iota
	responseBody
	responseHeaders
	responseSetHeaders
	responseDeleteHeaders
)

var responseNames = []string{"StatusCode", "Body", "Headers", "SetHeaders", "DeleteHeaders"}

// responseMember makes a member of the object of the exchange's reply.
func responseMember(l *lazy, i int) goja.Value {
	r := l.x.Response()
	switch i {
	case statusCode:
		return l.vm.JS.ToValue(r.Status())
	case responseBody:
		return l.vm.Text(string(r.Body()))
	case responseHeaders:
		return values(l.vm, r.Header().Fields(), true)
	case responseDeleteHeaders:
		return l.vm.JS.NewArray()
	}
	return newDict(l.vm)
}

// respond runs a middleware on the upstream's reply (reference §4.9).
func respond(vm *engine.VM, x *sdk.Exchange, object *goja.Object, withSession bool) error {
	r := x.Response()
	own := &lazy{vm: vm, x: x, names: responseNames, slots: make([]goja.Value, len(responseNames)), made: responseMember}
	_, request, session, config := given(vm, x, withSession)
	result, err := invoke(vm, object, "ProcessResponse", vm.JS.NewDynamicObject(own), request, session, config)
	if err != nil {
		return err
	}
	if absent(result) || !result.ToBoolean() {
		return fmt.Errorf("%w: the script returned nothing: want the result of ReturnResponseData", sdk.ErrProtocol)
	}
	var c replyChanges
	if err := looking("the result", result, replyResultNames, nil)(func(i int, v goja.Value) error {
		if i == 1 {
			return replaceMeta(x, v, withSession)
		}
		return looking("Response", v, responseNames, own)(c.read)
	}); err != nil {
		return err
	}
	return c.apply(r)
}

// replyChanges is what a script returned of the reply.
type replyChanges struct {
	status        int
	body          string
	hasBody       bool
	setHeaders    []sdk.Field
	deleteHeaders []string
}

func (c *replyChanges) read(i int, v goja.Value) (err error) {
	at := "Response." + responseNames[i]
	switch i {
	case statusCode:
		c.status, err = number(at, v)
	case responseBody:
		c.body, err = text(at, v)
		c.hasBody = true
	case responseSetHeaders:
		c.setHeaders, err = pairs(at, v)
	case responseDeleteHeaders:
		c.deleteHeaders, err = texts(at, v)
	}
	return err
}

func (c *replyChanges) apply(r *sdk.Response) error {
	for _, name := range c.deleteHeaders {
		r.Header().Del(name)
	}
	for _, f := range c.setHeaders {
		r.Header().Set(f.Name, f.Value)
	}
	if c.hasBody && c.body != string(r.Body()) {
		r.SetBody([]byte(c.body))
	}
	if c.status != 0 && c.status != r.Status() {
		r.SetStatus(c.status)
	}
	return nil
}
