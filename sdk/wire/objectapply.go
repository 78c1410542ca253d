package wire

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// ApplyObject makes the changes that a returned coprocess.Object asks for to x, which must be as it was when
// [AppendObject] wrote the call, in the order and with the oddities of Tyk's gateway; PROTOCOL.md has the rules, and
// those for servers that drop fields they do not know. The error is
//
//   - an [*sdk.Error] when return overrides refuse the request, to be rendered by the error template,
//   - one that wraps [sdk.ErrProtocol] when the reply cannot be understood; x is then untouched.
//
// Overrides that answer end in [sdk.Exchange.Answer]. In the auth phase a reply without session or token takes the
// identity away. Names, values and codes that HTTP cannot carry surface in [sdk.Exchange.Invalid].
func ApplyObject(b []byte, x *sdk.Exchange, o ObjectOptions) error {
	var v objectView
	if err := v.scan(b, scanner{identity: x.Phase() == sdk.Auth}); err != nil {
		return garbage("object", err)
	}
	if x.Phase() == sdk.ResponsePhase {
		if !v.response.set {
			return garbage("object", fmt.Errorf("no response"))
		}
		return v.response.apply(x.Response(), o)
	}
	return v.apply(x, o)
}

func (v *objectView) apply(x *sdk.Exchange, o ObjectOptions) error {
	r := &v.request
	if r.set {
		refused, err := r.refusal()
		if err != nil {
			return garbage("return overrides", err)
		}
		target, err := r.target(x.Request())
		if err != nil {
			return garbage("url of object", err)
		}
		r.applyBody(x.Request(), o)
		r.applyHeaders(x.Request().Header(), o)
		target.apply(x.Request())
		if m := r.method; len(m) > 0 && string(m) != valid(x.Request().Method()) {
			x.Request().SetMethod(string(m))
		}
		if refused != nil {
			return refused
		}
		if r.responseCode > 0 {
			r.answer(x)
			return nil
		}
	}
	if x.Phase() == sdk.Auth {
		v.identify(x)
	}
	return nil
}

// applyBody takes the raw body; see PROTOCOL.md for when it is missing.
func (r *requestView) applyBody(q *sdk.Request, o ObjectOptions) {
	if body, changed := returnedBody(q.Body(), r.rawBody, r.body, r.echo, o); changed {
		q.SetBody(body)
	}
}

// returnedBody decides what a body becomes that was sent and came back as raw bytes and as text. The bytes count. They
// are missing when the server emptied them or does not know the field; echo tells that it keeps what it does not know.
func returnedBody(sent, raw, text []byte, echo bool, o ObjectOptions) (body []byte, changed bool) {
	switch {
	case len(raw) > 0:
		body = raw
	case echo, len(sent) == 0:
		body = nil
	case o.RawBodyOnly || !utf8.Valid(sent): // no text was sent: what there is of it is new
		if len(text) == 0 {
			return nil, false
		}
		body = text
	default:
		body = text
	}
	if bytes.Equal(body, sent) {
		return nil, false
	}
	return append([]byte{}, body...), true
}

func (r *requestView) applyHeaders(h *sdk.Header, o ObjectOptions) {
	for _, name := range r.deleteHeaders {
		if !sdk.EqualFold(string(name), "Host") && h.Has(string(name)) {
			h.Del(string(name))
		}
	}
	for _, p := range r.setHeaders {
		name := string(p.key)
		if !o.VerbatimHeaders {
			name = canonicalName(name)
		}
		if !sdk.EqualFold(name, "Host") {
			h.Set(name, string(p.value))
		}
	}
}

// target is what becomes of path and query.
type target struct {
	path, query       string
	setPath, setQuery bool
}

func (t *target) apply(q *sdk.Request) {
	if t.setPath {
		q.SetPath(t.path)
	}
	if t.setQuery {
		q.Query().SetRaw(t.query)
	}
}

// target follows Tyk's steps: the current query with delete_params and add_params applied is the base; the returned url
// is taken, but when its query is not the base, the base is written in its place, sorted.
func (r *requestView) target(q *sdk.Request) (t target, err error) {
	path, query := q.Path(), q.Query().Raw()
	same := isTarget(r.url, path, query) || isTarget(r.url, valid(path), valid(query))
	if same && len(r.addParams) == 0 && len(r.deleteParams) == 0 {
		return t, nil
	}
	returned := query
	if !same {
		u, err := url.ParseRequestURI(string(r.url))
		if err == nil && u.Opaque != "" {
			err = fmt.Errorf("%.64q is neither a path nor a URL with a host", r.url)
		}
		if err != nil {
			return t, err
		}
		t.path, returned = cmp.Or(u.EscapedPath(), "/"), u.RawQuery
		t.setPath = t.path != path
	}
	base := params(query)
	for _, name := range r.deleteParams {
		delete(base, string(name))
	}
	for _, p := range r.addParams {
		base[string(p.key)] = []string{string(p.value)}
	}
	t.query = returned
	if !sameParams(base, params(returned)) {
		t.query = base.Encode()
	}
	t.setQuery = t.query != query
	return t, nil
}

// params parses a query as Tyk's gateway does: pairs that cannot be read are left out.
func params(query string) url.Values {
	values := url.Values{}
	for part := range strings.SplitSeq(query, "&") {
		if name, value, ok := param(part); ok {
			values[name] = append(values[name], value)
		}
	}
	return values
}

func sameParams(a, b url.Values) bool {
	if len(a) != len(b) {
		return false
	}
	for name, values := range a {
		if !slices.Equal(values, b[name]) {
			return false
		}
	}
	return true
}

// refusal returns the error that the return overrides ask for, or nil when they ask for none.
func (r *requestView) refusal() (*sdk.Error, error) {
	if r.responseCode < 400 || r.overrideError {
		return nil, nil
	}
	e := &sdk.Error{Status: int(r.responseCode), Message: string(r.overrideBody())}
	if e.Message == "" {
		e.Message = "Key not authorised"
	}
	for _, p := range r.overrideHeaders {
		// The template decides both of these.
		if name := canonicalName(string(p.key)); name != "Content-Type" && name != "Content-Length" {
			e.Header = append(e.Header, sdk.Field{Name: name, Value: string(p.value)})
		}
	}
	return e, checkError(e)
}

func (r *requestView) overrideBody() []byte {
	if len(r.responseError) > 0 {
		return r.responseError
	}
	return r.responseBody
}

func (r *requestView) answer(x *sdk.Exchange) {
	header := x.Answer(int(r.responseCode), append([]byte{}, r.overrideBody()...)).Header()
	for _, p := range r.overrideHeaders {
		if name := canonicalName(string(p.key)); name != "Content-Length" {
			header.Set(name, string(p.value))
		}
	}
}

// identify takes the session of an auth hook. Without session or token nobody is identified.
func (v *objectView) identify(x *sdk.Exchange) {
	s := v.session
	if s == nil {
		x.SetSession(nil)
		return
	}
	for _, p := range v.metadata {
		if s.Metadata == nil {
			s.Metadata = make(map[string]string, len(v.metadata))
		}
		s.Metadata[string(p.key)] = string(p.value)
	}
	if s.KeyID = s.Metadata["token"]; s.KeyID == "" {
		x.SetSession(nil)
		return
	}
	s.OrgID = x.Route().Org
	x.SetSession(s)
}

func (r *objectResponse) apply(reply *sdk.Response, o ObjectOptions) error {
	ops := r.headerOps(reply.Header().Fields())
	if len(ops) > MaxChanges {
		return garbage("response headers of object", errTooMany)
	}
	for _, op := range ops {
		if err := reply.Header().Apply(op); err != nil {
			return garbage("response headers of object", err)
		}
	}
	if body, changed := returnedBody(reply.Body(), r.rawBody, r.body, r.echo, o); changed {
		reply.SetBody(body)
	}
	if r.status != 0 && int(r.status) != reply.Status() {
		reply.SetStatus(int(r.status))
	}
	return nil
}

// headerOps are the changes after which the header is what multivalue_headers says, into which the headers map is
// merged when it was changed.
func (r *objectResponse) headerOps(fields []sdk.Field) []sdk.HeaderOp {
	if r.sameHeaders(fields) {
		return nil
	}
	sent := grouped(fields)
	want := r.multi
	if len(want) == 0 && !r.echo {
		want = sent // the server dropped the field
	}
	first := make(map[string]string, len(r.headers))
	for _, p := range r.headers {
		first[string(p.key)] = string(p.value)
	}
	if !firstValuesEqual(sent, first) {
		want = mergeFirst(want, first)
	}
	return difference(sent, want)
}

// sameHeaders reports whether both forms of the headers came back as they were sent, as they mostly do. It may miss that
// when they were encoded in another way.
func (r *objectResponse) sameHeaders(fields []sdk.Field) bool {
	if len(fields) > fewFields {
		return false
	}
	var memory [1024]byte
	sent, names := appendMultiValues(memory[:0], 5, fields), 0
	for c := (cursor{msg: r.b}); c.next(); {
		if c.key == 5<<3|length {
			if !bytes.HasPrefix(sent, c.field()) {
				return false
			}
			sent = sent[len(c.field()):]
			names++
		}
	}
	if len(sent) > 0 {
		return false
	}
	for i, p := range r.headers {
		if !lastOf(r.headers, i) {
			continue
		}
		at := slices.IndexFunc(fields, func(f sdk.Field) bool { return sdk.EqualFold(f.Name, string(p.key)) })
		if at < 0 || string(p.value) != fields[at].Value || !isCanonical(p.key) {
			return false
		}
		names--
	}
	return names == 0
}

func isCanonical(name []byte) bool {
	var memory [64]byte
	form := append(memory[:0], name...)
	canonical(form)
	return bytes.Equal(form, name)
}

func firstValuesEqual(sent []group, first map[string]string) bool {
	if len(sent) != len(first) {
		return false
	}
	for i := range sent {
		if v, ok := first[sent[i].name]; !ok || v != sent[i].values[0] {
			return false
		}
	}
	return true
}

// mergeFirst replaces first values by those of the map, drops names it does not have and adds those that are new.
func mergeFirst(list []group, first map[string]string) []group {
	out := make([]group, 0, len(first))
	for _, g := range list {
		v, ok := first[g.name]
		if !ok {
			continue
		}
		g.values = append([]string{v}, g.values[min(1, len(g.values)):]...)
		out = append(out, g)
	}
	known := make(map[string]bool, len(list))
	for _, g := range list {
		known[g.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(first)) {
		if !known[name] {
			out = append(out, group{name, []string{first[name]}})
		}
	}
	return out
}

// difference lists the changes that make the wanted groups of the sent ones; what is equal stays in place.
func difference(sent, want []group) (ops []sdk.HeaderOp) {
	wanted := make(map[string][]string, len(want))
	for _, g := range want {
		name := canonicalName(g.name)
		wanted[name] = append(wanted[name], g.values...)
	}
	for _, g := range sent {
		values := wanted[g.name]
		delete(wanted, g.name)
		switch {
		case len(values) == 0:
			ops = append(ops, sdk.HeaderOp{Kind: sdk.HeaderDel, Name: g.name})
		case !slices.Equal(values, g.values):
			ops = appendSet(ops, g.name, values)
		}
	}
	for _, g := range want {
		name := canonicalName(g.name)
		ops = appendSet(ops, name, wanted[name])
		delete(wanted, name)
	}
	return ops
}

func appendSet(ops []sdk.HeaderOp, name string, values []string) []sdk.HeaderOp {
	kind := sdk.HeaderSet
	for _, v := range values {
		ops = append(ops, sdk.HeaderOp{Kind: kind, Name: name, Value: v})
		kind = sdk.HeaderAdd
	}
	return ops
}
