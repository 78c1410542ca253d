package wire

import (
	"slices"
	"unicode/utf8"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// phases are our names of the coprocess hook types.
var phases = [...]sdk.Phase{1: sdk.Pre, 2: sdk.Post, 3: sdk.PostKeyAuth, 4: sdk.Auth, 5: sdk.ResponsePhase}

// DecodeObject begins x anew from the bytes of a coprocess.Object, as a server of Tyk's protocol is called with, and
// returns the name and phase of the hook to run. The route has what Object.spec tells: organisation, id, bundle and
// configuration; the trace context comes from the request's own header. Client address, request id and certificates are
// not told. On an error x is untouched. Bodies alias b, everything else is copied.
func DecodeObject(b []byte, x *sdk.Exchange, backing sdk.Backing) (hook string, phase sdk.Phase, err error) {
	var v objectView
	if err := v.scan(b, scanner{call: true, identity: true}); err != nil {
		return "", sdk.PhaseUnknown, garbage("object", err)
	}
	if v.hookType < uint64(len(phases)) {
		phase = phases[v.hookType]
	}
	init := sdk.Init{Route: v.route(), Backing: backing}
	for _, p := range v.request.headers {
		switch string(p.key) {
		case "Traceparent":
			init.Trace.Parent = string(p.value)
		case "Tracestate":
			init.Trace.State = string(p.value)
		}
	}
	x.Reset(init)
	v.request.fill(x.Request())
	if v.session != nil {
		x.BeginSession(v.session)
	}
	if v.response.set {
		v.response.fill(x.Response())
	}
	return string(v.hookName), phase, nil
}

func (v *objectView) route() *sdk.Route {
	r := &sdk.Route{}
	for _, p := range v.spec {
		switch string(p.key) {
		case "OrgID":
			r.Org = string(p.value)
		case "APIID":
			r.ID = string(p.value)
		case "bundle_hash":
			if r.Bundle = string(p.value); r.Bundle == noBundle {
				r.Bundle = ""
			}
		case "config_data":
			r.Config = kept(p.value)
		}
	}
	return r
}

func (r *requestView) fill(q *sdk.Request) {
	path, query := splitTarget(string(r.url))
	body := r.rawBody
	if len(body) == 0 {
		body = r.body
	}
	init := sdk.RequestInit{
		Method: string(r.method), Scheme: string(r.scheme), Path: path, Query: query, URI: string(r.uri), Length: int64(len(body)),
	}
	for _, p := range r.headers {
		if string(p.key) == "Host" {
			init.Host = string(p.value)
		}
	}
	q.Fill(init)
	for i, p := range r.headers {
		if string(p.key) != "Host" && lastOf(r.headers, i) {
			q.Header().Append(string(p.key), string(p.value))
		}
	}
	q.LoadBody(body)
}

// lastOf reports whether no later entry has the key of entry i: that one would count. Long lists are not searched; a
// gateway writes no key twice.
func lastOf(list []pair, i int) bool {
	if len(list) > fewFields {
		return true
	}
	for _, p := range list[i+1:] {
		if string(p.key) == string(list[i].key) {
			return false
		}
	}
	return true
}

func splitTarget(target string) (path, query string) {
	for i := range len(target) {
		if target[i] == '?' {
			return target[:i], target[i+1:]
		}
	}
	return target, ""
}

func (r *objectResponse) fill(reply *sdk.Response) {
	body := r.rawBody
	if len(body) == 0 {
		body = r.body
	}
	reply.Fill(int(r.status), int64(len(body)))
	if len(r.multi) > 0 {
		for _, g := range r.multi {
			for _, v := range g.values {
				reply.Header().Append(g.name, v)
			}
		}
	} else {
		for i, p := range r.headers {
			if lastOf(r.headers, i) {
				reply.Header().Append(string(p.key), string(p.value))
			}
		}
	}
	reply.LoadBody(body)
}

// AppendObjectReply appends the Object that answers a call: the original, which x was decoded from, with what the hook
// changed since [sdk.Exchange.Begin] (with record) put where Tyk's gateway looks for it. refused is the [*sdk.Error]
// that the hook returned, or nil; any other error is for the transport to tell. PROTOCOL.md lists what Tyk's protocol
// cannot carry: among it several values of one request header or query name, values for later hooks, and changes of the
// session outside the auth phase.
func AppendObjectReply(b, original []byte, x *sdk.Exchange, refused *sdk.Error) []byte {
	changed := x.Changes()
	session := x.Phase() == sdk.Auth && changed&sdk.ChangedSession != 0
	response := x.Phase() == sdk.ResponsePhase
	var request part
	for c := (cursor{msg: original}); c.next(); {
		switch {
		case c.key == 3<<3|length:
			request.merge(c.val())
		case c.key == 4<<3|length && session, c.key == 7<<3|length && response:
		default:
			b = append(b, c.field()...)
		}
	}
	b, at := open(b, 3, 500+len(request.b))
	b = appendReplyRequest(b, request.b, x, changed, refused)
	b = shut(b, at)
	if session && x.Session().Identified() {
		s := x.Session().Clone()
		if s.Metadata == nil {
			s.Metadata = map[string]string{}
		}
		s.Metadata["token"] = s.KeyID
		b = appendSession(b, 4, s)
		b = appendEntry(b, 5, "token", s.KeyID)
	}
	if response {
		b = appendReplyResponse(b, x.Response(), refused)
	}
	return b
}

// appendReplyRequest appends the fields of the original request with the changes in the place of the old.
func appendReplyRequest(b, original []byte, x *sdk.Exchange, changed sdk.Change, refused *sdk.Error) []byte {
	q := x.Request()
	url := changed&(sdk.ChangedPath|sdk.ChangedQuery) != 0
	body := changed&sdk.ChangedBody != 0
	method := changed&sdk.ChangedMethod != 0
	ends := x.Phase() != sdk.ResponsePhase && (refused != nil || changed&sdk.ChangedAnswer != 0)
	for c := (cursor{msg: original}); c.next(); {
		switch n := c.key >> 3; {
		case n == 5 && url, (n == 4 || n == 14) && body, n == 11 && method, n == 10 && ends:
		default:
			b = append(b, c.field()...)
		}
	}
	b = appendHeaderChanges(b, q.Header())
	if url {
		oldQuery := ""
		for c := (cursor{msg: original}); c.next(); {
			if c.key == 5<<3|length {
				_, oldQuery = splitTarget(string(c.val()))
			}
		}
		b = appendURL(b, 5, q.Path(), q.Query().Raw())
		b = appendParamChanges(b, params(oldQuery), params(q.Query().Raw()))
	}
	if body {
		b = appendBody(b, 4, 14, q.Body())
	}
	if method {
		b = appendText(b, 11, q.Method())
	}
	if ends {
		b = appendOverrides(b, x.Response(), refused)
	}
	return b
}

// appendBody appends a body as text, when it is, and as bytes; also when it is empty, so that it replaces another.
func appendBody(b []byte, text, raw uint64, body []byte) []byte {
	if utf8.Valid(body) {
		b = appendSome(b, text, body)
	}
	return appendSome(b, raw, body)
}

// appendHeaderChanges writes, for each name that was touched, what it is now: set to its values in one line, or deleted.
func appendHeaderChanges(b []byte, h *sdk.Header) []byte {
	ops := h.HeaderOps()
	seen := make(map[string]bool, len(ops))
	for i := range ops {
		name := canonicalName(ops[i].Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		if values := h.Values(name); len(values) > 0 {
			b = appendEntry(b, 2, name, joined(name, values))
		} else {
			b = appendText(b, 3, name)
		}
	}
	return b
}

// appendParamChanges writes add_params and delete_params; of several values of a name the first can be carried.
func appendParamChanges(b []byte, old, now map[string][]string) []byte {
	for name, values := range now {
		if was := old[name]; !slices.Equal(was, values) {
			b = appendEntry(b, 7, name, values[0])
		}
	}
	for name := range old {
		if _, ok := now[name]; !ok {
			b = appendBytes(b, 9, valid(name))
		}
	}
	return b
}
