package tykapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The members of a request, in the order of requestNames.
const (
	requestHeaders = iota
	requestSetHeaders
	requestDeleteHeaders
	requestBody
	requestURL
	requestParams
	requestAddParams
	requestExtendedParams
	requestDeleteParams
	requestReturnOverrides
	requestIgnoreBody
	requestMethod
	requestTarget
	requestScheme
	returned // how many there are
)

var requestNames = []string{
	"Headers", "SetHeaders", "DeleteHeaders", "Body", "URL", "Params", "AddParams", "ExtendedParams", "DeleteParams", "ReturnOverrides",
	"IgnoreBody", "Method", "RequestURI", "Scheme",
}

// requestPaths are the names as messages have them.
var requestPaths = []string{
	"Request.Headers", "Request.SetHeaders", "Request.DeleteHeaders", "Request.Body", "Request.URL", "Request.Params", "Request.AddParams",
	"Request.ExtendedParams", "Request.DeleteParams", "Request.ReturnOverrides", "Request.IgnoreBody", "Request.Method", "Request.RequestURI", "Request.Scheme",
}

// given makes what a hook is given: the exchange's request, session and configuration.
func given(vm *engine.VM, x *sdk.Exchange, withSession bool) (a *arguments, request, session, config goja.Value) {
	a = &arguments{}
	a.request = lazy{vm: vm, x: x, names: requestNames, slots: a.requestSlots[:], made: requestMember}
	a.config = lazy{vm: vm, x: x, names: configNames, slots: a.configSlots[:], made: configMember}
	a.session = parsed{vm: vm}
	if withSession {
		a.session.s = x.Session()
	}
	session = goja.Null() // of nobody, where one is required (reference §4.5)
	if !withSession || a.session.s != nil {
		session = vm.JS.NewDynamicObject(&a.session)
	}
	return a, vm.JS.NewDynamicObject(&a.request), session, vm.JS.NewDynamicObject(&a.config)
}

// requestMember makes a member of the object of the exchange's request (reference §4.4).
func requestMember(l *lazy, i int) goja.Value {
	vm, q := l.vm, l.x.Request()
	switch i {
	case requestHeaders:
		o := values(vm, q.Header().Fields(), true)
		set(o, "Host", vm.JS.NewArray(vm.Text(q.Host())))
		return o
	case requestDeleteHeaders, requestDeleteParams:
		return vm.JS.NewArray()
	case requestBody:
		return vm.Text(string(q.Body()))
	case requestURL:
		return vm.Text(q.Target())
	case requestParams:
		return values(vm, query(q), false)
	case requestReturnOverrides:
		return overridesObject(vm)
	case requestIgnoreBody:
		return vm.JS.ToValue(false)
	case requestMethod:
		return vm.Text(q.Method())
	case requestTarget:
		return vm.Text(q.URI())
	case requestScheme:
		return vm.Text(q.Scheme())
	}
	return newDict(vm)
}

func overridesObject(vm *engine.VM) *goja.Object {
	o := vm.JS.NewObject()
	set(o, "ResponseCode", 0)
	set(o, "ResponseError", "")
	set(o, "ResponseBody", "")
	set(o, "ResponseHeaders", goja.Null())
	set(o, "OverrideError", false)
	return o
}

func query(q *sdk.Request) []sdk.Field {
	var all []sdk.Field
	for name, value := range q.Query().All() {
		all = append(all, sdk.Field{Name: name, Value: value})
	}
	return all
}

// look reads the members of what a script returned: of our own object only those that somebody looked at or set, for the
// others are as they were.
type look func(f func(i int, v goja.Value) error) error

func looking(at string, v goja.Value, names []string, own *lazy) look {
	o, ok := v.(*goja.Object)
	if !ok {
		return func(func(int, goja.Value) error) error { return wrong(at, v, "an object") }
	}
	l, ok := o.Export().(*lazy)
	if !ok || own != nil && l != own || !slices.Equal(l.names, names) {
		return func(f func(int, goja.Value) error) error { return each(at, v, names, f) }
	}
	return func(f func(int, goja.Value) error) error {
		if l.extra != nil { // lower-case names and the like
			if err := each(at, l.extra, names, f); err != nil {
				return err
			}
		}
		for i, slot := range l.slots {
			if slot == nil || absent(slot) {
				continue
			}
			if err := f(i, slot); err != nil {
				return err
			}
		}
		return nil
	}
}

// requestChanges is what a script returned of the request.
type requestChanges struct {
	url, body                string
	hasURL, hasBody, ignored bool
	deleteHeaders            []string
	setHeaders               []sdk.Field
	deleteParams             []string
	addParams, extended      []sdk.Field
	overrides                overrides
}

type overrides struct {
	code        int
	err, body   string
	headers     []sdk.Field
	overrideErr bool
}

func (c *requestChanges) read(i int, v goja.Value) (err error) {
	at := requestPaths[i]
	switch i {
	case requestSetHeaders:
		c.setHeaders, err = pairs(at, v)
	case requestDeleteHeaders:
		c.deleteHeaders, err = texts(at, v)
	case requestBody:
		c.body, err = text(at, v)
		c.hasBody = true
	case requestURL:
		c.url, err = text(at, v)
		c.hasURL = true
	case requestAddParams:
		c.addParams, err = pairs(at, v)
	case requestExtendedParams:
		c.extended, err = lists(at, v)
	case requestDeleteParams:
		c.deleteParams, err = texts(at, v)
	case requestIgnoreBody:
		c.ignored, err = truth(at, v)
	case requestReturnOverrides:
		err = c.overrides.read(at, v)
	case requestMethod, requestTarget, requestScheme: // may not be changed, but have to be text
		_, err = text(at, v)
	}
	return err
}

func (o *overrides) read(at string, v goja.Value) error {
	names := []string{"ResponseCode", "ResponseError", "ResponseBody", "ResponseHeaders", "OverrideError"}
	return each(at, v, names, func(i int, v goja.Value) (err error) {
		at := at + "." + names[i]
		switch i {
		case 0:
			o.code, err = number(at, v)
		case 1:
			o.err, err = text(at, v)
		case 2:
			o.body, err = text(at, v)
		case 3:
			o.headers, err = pairs(at, v)
		case 4:
			o.overrideErr, err = truth(at, v)
		}
		return err
	})
}

// apply makes the changes, in Tyk's order.
func (c *requestChanges) apply(x *sdk.Exchange) error {
	q := x.Request()
	if c.hasBody && !c.ignored && c.body != string(q.Body()) {
		q.SetBody([]byte(c.body))
	}
	if c.hasURL && c.url != q.Target() {
		if err := retarget(q, c.url); err != nil {
			return err
		}
	}
	for _, name := range c.deleteHeaders {
		q.Header().Del(name)
	}
	for _, f := range c.setHeaders {
		if !sdk.EqualFold(f.Name, "Host") { // the upstream's is the route's decision
			q.Header().Set(f.Name, f.Value)
		}
	}
	for _, name := range c.deleteParams {
		q.Query().Del(name)
	}
	for _, f := range c.addParams {
		q.Query().Set(f.Name, f.Value)
	}
	for _, f := range c.extended {
		q.Query().Add(f.Name, f.Value)
	}
	return c.overrides.apply(x)
}

// retarget takes path and query of a URL, which is absolute or begins with a slash.
func retarget(q *sdk.Request, url string) error {
	if _, rest, ok := strings.Cut(url, "://"); ok && !strings.HasPrefix(url, "/") {
		if at := strings.IndexAny(rest, "/?"); at < 0 {
			url = "/"
		} else if url = rest[at:]; url[0] == '?' {
			url = "/" + url
		}
	}
	path, query, _ := strings.Cut(url, "?")
	if !sdk.ValidPath(path) || !sdk.ValidQuery(query) {
		return fmt.Errorf("%w: the script returned %q as Request.URL: want a path that begins with a slash, and a query", sdk.ErrProtocol, url)
	}
	if path != q.Path() {
		q.SetPath(path)
	}
	if query != q.Query().Raw() {
		q.Query().SetRaw(query)
	}
	return nil
}

// apply ends the request when the script said so (reference §4.7).
func (o *overrides) apply(x *sdk.Exchange) error {
	if o.err != "" {
		o.body = o.err
	}
	switch {
	case o.code <= 0:
		return nil
	case o.code < 200 || o.code > 599:
		return fmt.Errorf("%w: the script returned ResponseCode %d: want 200 to 599", sdk.ErrProtocol, o.code)
	case o.code >= 400 && !o.overrideErr:
		return &sdk.Error{Status: o.code, Message: o.body, Header: o.headers}
	}
	h := x.Answer(o.code, []byte(o.body)).Header()
	for _, f := range o.headers {
		h.Set(f.Name, f.Value)
	}
	return nil
}

// configured is how many members the configuration has.
const configured = 3

var configNames = []string{"OrgID", "APIID", "config_data"}

// configMember makes a member of the configuration that a hook is given (reference §4.6).
func configMember(l *lazy, i int) goja.Value {
	switch i {
	case 0:
		return l.vm.Text(l.x.Route().Org)
	case 1:
		return l.vm.Text(l.x.Route().ID)
	}
	data := stateOf(l.vm).config
	if data == nil {
		data = l.x.Config()
	}
	if json.Valid(data) {
		return l.vm.Parse(string(data))
	}
	return l.vm.JS.NewObject()
}
