package wire

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func wantRequest() *coprocess.MiniRequestObject {
	return &coprocess.MiniRequestObject{
		Headers: map[string]string{
			"Accept": "application/json", "Authorization": "Bearer abcdefghijklmnop", "Content-Type": "application/json",
			"User-Agent": "curl/8.5.0", "Accept-Encoding": "gzip, br", "X-Forwarded-For": "198.51.100.1", "Host": "api.example.com",
		},
		Body: `{"name":"thing"}`, RawBody: []byte(`{"name":"thing"}`), Url: "/one/v1/things?page=2&q=a%20b",
		Params:          map[string]string{"page": "2", "q": "a b"},
		ReturnOverrides: &coprocess.ReturnOverrides{ResponseCode: -1}, Method: "POST", RequestUri: "/one/v1/things?page=2&q=a%20b",
		Scheme: "https", Echo: true,
	}
}

func wantObject(hookType coprocess.HookType) *coprocess.Object {
	return &coprocess.Object{
		HookType: hookType, HookName: "H", Request: wantRequest(),
		Spec: map[string]string{"OrgID": "org1", "APIID": "api1", "bundle_hash": "d41d", "config_data": `{"a":1}`},
	}
}

func TestAppendObject(t *testing.T) {
	session := &coprocess.SessionState{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
	tests := []struct {
		name    string
		phase   sdk.Phase
		typ     coprocess.HookType
		options ObjectOptions
		edit    func(x *sdk.Exchange)
		want    func(o *coprocess.Object)
	}{
		{"pre", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{}, nil, func(*coprocess.Object) {}},
		{"auth never has a session", sdk.Auth, coprocess.HookType_CustomKeyCheck, ObjectOptions{}, func(x *sdk.Exchange) { x.BeginSession(&sdk.Session{KeyID: "k"}) },
			func(*coprocess.Object) {}},
		{"post_key_auth", sdk.PostKeyAuth, coprocess.HookType_PostKeyAuth, ObjectOptions{}, nil, func(o *coprocess.Object) {
			o.Session, o.Metadata = session, map[string]string{"tier": "gold"}
		}},
		{"post without session", sdk.Post, coprocess.HookType_Post, ObjectOptions{}, func(x *sdk.Exchange) { x.BeginSession(nil) }, func(*coprocess.Object) {}},
		{"response", sdk.ResponsePhase, coprocess.HookType_Response, ObjectOptions{}, nil, func(o *coprocess.Object) {
			o.Session = session
			o.Response = &coprocess.ResponseObject{
				StatusCode: 200, RawBody: []byte("hello"), Body: "hello", Headers: map[string]string{"Content-Type": "text/plain", "Set-Cookie": "a=1"},
				MultivalueHeaders: []*coprocess.Header{{Key: "Content-Type", Values: []string{"text/plain"}}, {Key: "Set-Cookie", Values: []string{"a=1", "b=2"}}}, Echo: true,
			}
		}},
		{"response without session", sdk.ResponsePhase, coprocess.HookType_Response, ObjectOptions{}, func(x *sdk.Exchange) {
			x.BeginSession(nil)
			x.Response().Fill(204, 0)
		}, func(o *coprocess.Object) {
			o.Session, o.Response = &coprocess.SessionState{}, &coprocess.ResponseObject{StatusCode: 204, Echo: true}
		}},
		{"raw body only", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{RawBodyOnly: true}, nil, func(o *coprocess.Object) { o.Request.Body = "" }},
		{"binary body", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{}, func(x *sdk.Exchange) { x.Request().LoadBody([]byte{0xff, 0xfe}) }, func(o *coprocess.Object) {
			o.Request.Body, o.Request.RawBody = "", []byte{0xff, 0xfe}
		}},
		{"names and values", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{}, func(x *sdk.Exchange) {
			h := x.Request().Header()
			h.Reset()
			h.Append("x-lower-CASE", "first")
			h.Append("X-Lower-Case", "second")
			h.Append("X-Latin", "k\xe4se")
			h.Append("odd name", "as it is")
			x.Request().Query().SetRaw("a=1&a=2&bad=%zz&semi;colon=1&&=e&plus+=%2B&a=3")
			x.Request().LoadBody(nil)
		}, func(o *coprocess.Object) {
			r := o.Request
			r.Headers = map[string]string{"X-Lower-Case": "first", "X-Latin": "k\uFFFDse", "odd name": "as it is", "Host": "api.example.com"}
			r.Params = map[string]string{"a": "1", "": "e", "plus ": "+"}
			r.Url = "/one/v1/things?a=1&a=2&bad=%zz&semi;colon=1&&=e&plus+=%2B&a=3"
			r.Body, r.RawBody = "", nil
		}},
		{"no config", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{}, func(x *sdk.Exchange) { x.SetRoute(&sdk.Route{ID: "i"}) }, func(o *coprocess.Object) {
			o.Spec = map[string]string{"OrgID": "", "APIID": "i", "bundle_hash": noBundle}
		}},
		{"config not UTF-8", sdk.Pre, coprocess.HookType_Pre, ObjectOptions{}, func(x *sdk.Exchange) { x.SetRoute(&sdk.Route{Config: []byte("\xff")}) }, func(o *coprocess.Object) {
			o.Spec = map[string]string{"OrgID": "", "APIID": "", "bundle_hash": noBundle, "config_data": "\uFFFD"}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := typical(tt.phase)
			if tt.edit != nil {
				tt.edit(x)
			}
			want := wantObject(tt.typ)
			tt.want(want)
			sameMessage(t, AppendObject(nil, x, "H", tt.options), &coprocess.Object{}, want)
		})
	}
}

func TestAppendObjectManyHeaders(t *testing.T) {
	x := typical(sdk.ResponsePhase)
	for range 10000 {
		x.Request().Header().Append("X-Same", "v")
		x.Response().Header().Append("X-Same", "v")
	}
	m := &coprocess.Object{}
	if err := proto.Unmarshal(AppendObject(nil, x, "H", ObjectOptions{}), m); err != nil {
		t.Fatal(err)
	}
	if n := len(m.Response.MultivalueHeaders[2].Values); n != 10000 || len(m.Request.Headers) != 8 {
		t.Errorf("got %d values of one name, %d request headers", n, len(m.Request.Headers))
	}
}

// echo is what an unmodified server returns that changes nothing, before do.
func returned(t *testing.T, x *sdk.Exchange, o ObjectOptions, do func(o *coprocess.Object)) []byte {
	t.Helper()
	m := &coprocess.Object{}
	if err := proto.Unmarshal(AppendObject(nil, x, "H", o), m); err != nil {
		t.Fatal(err)
	}
	do(m)
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dropping makes a server forget the fields that came after its copy of the protocol.
func dropping(do func(o *coprocess.Object)) func(o *coprocess.Object) {
	return func(o *coprocess.Object) {
		o.Request.RawBody, o.Request.Echo = nil, false
		if o.Response != nil {
			o.Response.RawBody, o.Response.MultivalueHeaders, o.Response.Echo = nil, nil, false
		}
		do(o)
	}
}

type applyTest struct {
	name    string
	phase   sdk.Phase
	options ObjectOptions
	before  func(x *sdk.Exchange)
	do      func(o *coprocess.Object)
	want    func(x *sdk.Exchange)
	err     func(t *testing.T, err error) // nil: none
	invalid bool                          // want is what HTTP cannot carry
}

func (tt *applyTest) run(t *testing.T) {
	make := func() *sdk.Exchange {
		x := typical(tt.phase)
		if tt.before != nil {
			tt.before(x)
		}
		x.Begin(tt.phase, nil, false)
		return x
	}
	do := tt.do
	if do == nil {
		do = func(*coprocess.Object) {}
	}
	b := returned(t, make(), tt.options, do)
	for form, b := range forms(t, b, (&coprocess.Object{}).ProtoReflect().Descriptor()) {
		got, want := make(), make()
		err := ApplyObject(b, got, tt.options)
		if tt.want != nil {
			tt.want(want)
		}
		if tt.err != nil {
			tt.err(t, err)
		} else if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if (got.Invalid() != nil) != tt.invalid {
			t.Errorf("%s: invalid: %v", form, got.Invalid())
		}
		if got.Changes() != want.Changes() {
			t.Errorf("%s: changed %v, want %v", form, got.Changes().Names(), want.Changes().Names())
		}
		if !tt.invalid {
			sameAfter(t, got, want)
		}
		if t.Failed() {
			t.Fatalf("form: %s", form)
		}
	}
}

func wantProtocolError(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, sdk.ErrProtocol) {
		t.Errorf("got error %v, want one of the protocol", err)
	}
}

func wantRefusal(status int, message string, fields ...sdk.Field) func(t *testing.T, err error) {
	return func(t *testing.T, err error) {
		t.Helper()
		sameError(t, err, &sdk.Error{Status: status, Message: message, Header: fields})
	}
}

func TestApplyObjectRequest(t *testing.T) {
	set := func(k, v string) func(o *coprocess.Object) {
		return func(o *coprocess.Object) { o.Request.SetHeaders = map[string]string{k: v} }
	}
	overrides := func(r *coprocess.ReturnOverrides) func(o *coprocess.Object) {
		return func(o *coprocess.Object) { o.Request.ReturnOverrides = r }
	}
	tests := []applyTest{
		{name: "nothing changed"},
		{name: "no request", do: func(o *coprocess.Object) { o.Request = nil }},
		{name: "no overrides", do: overrides(nil)},
		{name: "headers: delete, then set", do: func(o *coprocess.Object) {
			o.Request.DeleteHeaders = []string{"accept", "Accept-encoding", "none"}
			o.Request.SetHeaders = map[string]string{"accept": "x"}
		}, want: func(x *sdk.Exchange) {
			x.Request().Header().Del("Accept")
			x.Request().Header().Del("Accept-Encoding")
			x.Request().Header().Set("Accept", "x")
		}},
		{name: "spelling made canonical", do: set("x-new-header", "1"), want: func(x *sdk.Exchange) { x.Request().Header().Set("X-New-Header", "1") }},
		{name: "spelling kept", options: ObjectOptions{VerbatimHeaders: true}, do: set("x-new-header", "1"), want: func(x *sdk.Exchange) { x.Request().Header().Set("x-new-header", "1") }},
		{name: "Host is not a header", do: func(o *coprocess.Object) {
			o.Request.SetHeaders, o.Request.DeleteHeaders = map[string]string{"host": "evil"}, []string{"Host"}
		}},
		{name: "headers map is not read back", do: func(o *coprocess.Object) { o.Request.Headers = map[string]string{"X": "y"} }},
		{name: "header with line break", do: set("X", "a\r\nb"), want: func(x *sdk.Exchange) { x.Request().Header().Set("X", "\r") }, invalid: true},
		{name: "header without name", do: set("", "a"), want: func(x *sdk.Exchange) { x.Request().Header().Set("", "") }, invalid: true},

		{name: "method", do: func(o *coprocess.Object) { o.Request.Method = "PUT" }, want: func(x *sdk.Exchange) { x.Request().SetMethod("PUT") }},
		{name: "no method", do: func(o *coprocess.Object) { o.Request.Method = "" }},
		{name: "path", do: func(o *coprocess.Object) { o.Request.Url = "/two//%2F?page=2&q=a%20b" }, want: func(x *sdk.Exchange) { x.Request().SetPath("/two//%2F") }},
		{name: "path without query", do: func(o *coprocess.Object) { o.Request.Url = "/two" }, want: func(x *sdk.Exchange) {
			x.Request().SetPath("/two")
			x.Request().Query().SetRaw("page=2&q=a+b")
		}},
		{name: "path to be escaped", do: func(o *coprocess.Object) { o.Request.Url = "/a b#c?page=2&q=a%20b" }, want: func(x *sdk.Exchange) { x.Request().SetPath("/a%20b%23c") }},
		{name: "absolute url", do: func(o *coprocess.Object) { o.Request.Url = "http://other?page=2&q=a%20b" }, want: func(x *sdk.Exchange) { x.Request().SetPath("/") }},
		{name: "no url", do: func(o *coprocess.Object) { o.Request.Url = "" }, err: wantProtocolError},
		{name: "relative url", do: func(o *coprocess.Object) { o.Request.Url = "two" }, err: wantProtocolError},
		{name: "opaque url", do: func(o *coprocess.Object) { o.Request.Url = "mailto:a@b" }, err: wantProtocolError},
		{name: "url with control character", do: func(o *coprocess.Object) { o.Request.Url = "/\n" }, err: wantProtocolError},
		{name: "url with broken escape", do: func(o *coprocess.Object) { o.Request.Url = "/%zz" }, err: wantProtocolError},
		{name: "unparsable url undoes nothing because nothing was done", do: func(o *coprocess.Object) {
			o.Request.Url, o.Request.SetHeaders, o.Request.Method = "", map[string]string{"A": "b"}, "PUT"
		}, err: wantProtocolError},

		{name: "query edited in url", do: func(o *coprocess.Object) { o.Request.Url = "/one/v1/things?page=3" }, want: func(x *sdk.Exchange) { x.Request().Query().SetRaw("page=2&q=a+b") }},
		{name: "query reordered in url", do: func(o *coprocess.Object) { o.Request.Url = "/one/v1/things?q=a+b&page=2" }, want: func(x *sdk.Exchange) { x.Request().Query().SetRaw("q=a+b&page=2") }},
		{name: "params", do: func(o *coprocess.Object) {
			o.Request.DeleteParams = []string{"q", "none", "z"}
			o.Request.AddParams = map[string]string{"page": "9", "z": "&"}
			o.Request.ExtendedParams = map[string]string{"lost": "1"}
		}, want: func(x *sdk.Exchange) { x.Request().Query().SetRaw("page=9&z=%26") }},
		{name: "params set to what they are", do: func(o *coprocess.Object) { o.Request.AddParams = map[string]string{"page": "2"} }},
		{name: "last param deleted", do: func(o *coprocess.Object) { o.Request.DeleteParams = []string{"q", "page"} }, want: func(x *sdk.Exchange) { x.Request().Query().SetRaw("") }},
		{name: "unreadable pairs survive while nothing changes", before: func(x *sdk.Exchange) { x.Request().Query().SetRaw("%zz&a;b&a=1") }},

		{name: "refused", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 401, ResponseBody: "body", ResponseError: "error", Headers: map[string]string{"x-a": "b", "content-type": "lost"}}),
			err: wantRefusal(401, "error", sdk.Field{Name: "X-A", Value: "b"})},
		{name: "refused with body", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 599, ResponseBody: "body"}), err: wantRefusal(599, "body")},
		{name: "refused without words", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 400}), err: wantRefusal(400, "Key not authorised")},
		{name: "refused with absurd code", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 100000}), err: wantProtocolError},
		{name: "refused with invalid header", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 401, Headers: map[string]string{"X": "\n"}}), err: wantProtocolError},
		{name: "refused after changes", do: func(o *coprocess.Object) {
			o.Request.Method, o.Request.ReturnOverrides.ResponseCode = "PUT", 400
		}, want: func(x *sdk.Exchange) { x.Request().SetMethod("PUT") }, err: wantRefusal(400, "Key not authorised")},
		{name: "answered", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 200, ResponseBody: "hi", Headers: map[string]string{"content-type": "text/x", "Content-Length": "9"}}),
			want: func(x *sdk.Exchange) { x.Answer(200, []byte("hi")).Header().Set("Content-Type", "text/x") }},
		{name: "answered with an error of its own", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 500, OverrideError: true, ResponseBody: "b", ResponseError: "e"}),
			want: func(x *sdk.Exchange) { x.Answer(500, []byte("e")) }},
		{name: "answered with absurd code", do: overrides(&coprocess.ReturnOverrides{ResponseCode: 1}), want: func(x *sdk.Exchange) { x.Answer(1, nil) }, invalid: true},
		{name: "code 0", do: overrides(&coprocess.ReturnOverrides{ResponseBody: "lost"})},
	}
	for _, tt := range tests {
		tt.phase = sdk.Pre
		t.Run(tt.name, tt.run)
	}
}

func TestApplyObjectBody(t *testing.T) {
	body := func(b string) func(x *sdk.Exchange) { return func(x *sdk.Exchange) { x.Request().SetBody([]byte(b)) } }
	load := func(b string) func(x *sdk.Exchange) { return func(x *sdk.Exchange) { x.Request().LoadBody([]byte(b)) } }
	both := func(raw, text string) func(o *coprocess.Object) {
		return func(o *coprocess.Object) { o.Request.RawBody, o.Request.Body = []byte(raw), text }
	}
	text := func(s string) func(o *coprocess.Object) { return func(o *coprocess.Object) { o.Request.Body = s } }
	rawOnly := ObjectOptions{RawBodyOnly: true}
	same := `{"name":"thing"}`
	tests := []applyTest{
		{name: "raw_body counts", do: both("raw", same), want: body("raw")},
		{name: "body alone has no effect", do: text("text")},
		{name: "both emptied", do: both("", ""), want: body("")},
		{name: "raw_body emptied", do: both("", same), want: body("")}, // it keeps unknown fields, so it did empty it
		{name: "raw_body set where there was none", before: load(""), do: both("raw", ""), want: body("raw")},
		{name: "body set where there was none", before: load(""), do: text("text")},
		{name: "nothing buffered", before: func(x *sdk.Exchange) { x.Request().Fill(sdk.RequestInit{Method: "GET", Path: "/", Length: 5}) }},
		{name: "raw body only: emptied", options: rawOnly, do: both("", ""), want: body("")},
		{name: "dropped", do: dropping(func(*coprocess.Object) {})},
		{name: "dropped, text edited", do: dropping(text("text")), want: body("text")},
		{name: "dropped, text emptied", do: dropping(text("")), want: body("")},
		{name: "dropped, binary", before: load("\xff"), do: dropping(func(*coprocess.Object) {})},
		{name: "dropped, binary, text set", before: load("\xff"), do: dropping(text("text")), want: body("text")},
		{name: "dropped, raw body only", options: rawOnly, do: dropping(func(*coprocess.Object) {})},
		{name: "dropped, raw body only, text set", options: rawOnly, do: dropping(text("text")), want: body("text")},
		{name: "dropped, none sent, text set", before: load(""), do: dropping(text("text"))},
	}
	for _, tt := range tests {
		tt.phase = sdk.Pre
		t.Run(tt.name, tt.run)
	}
}

func TestApplyObjectAuth(t *testing.T) {
	nobody := func(x *sdk.Exchange) { x.SetSession(nil) }
	tests := []applyTest{
		{name: "no session", want: nobody},
		{name: "no token", do: func(o *coprocess.Object) { o.Session = &coprocess.SessionState{KeyId: "k"} }, want: nobody},
		{name: "empty token", do: func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{Metadata: map[string]string{"token": "t"}}
			o.Metadata = map[string]string{"token": ""}
		}, want: nobody},
		{name: "token in session", do: func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{Metadata: map[string]string{"token": "t"}, OrgId: "evil", KeyId: "other", Rate: 5}
		}, want: func(x *sdk.Exchange) {
			x.SetSession(&sdk.Session{KeyID: "t", OrgID: "org1", Rate: 5, Metadata: map[string]string{"token": "t"}})
		}},
		{name: "token in metadata", do: func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{Metadata: map[string]string{"a": "1", "b": "1"}}
			o.Metadata = map[string]string{"token": "t", "b": "2"}
		}, want: func(x *sdk.Exchange) {
			x.SetSession(&sdk.Session{KeyID: "t", OrgID: "org1", Metadata: map[string]string{"a": "1", "b": "2", "token": "t"}})
		}},
		{name: "metadata without session", do: func(o *coprocess.Object) { o.Metadata = map[string]string{"token": "t"} }, want: nobody},
		{name: "refused in spite of a session", do: func(o *coprocess.Object) {
			o.Session, o.Metadata = &coprocess.SessionState{}, map[string]string{"token": "t"}
			o.Request.ReturnOverrides.ResponseCode = 403
		}, err: wantRefusal(403, "Key not authorised")},
		{name: "no request but a session", do: func(o *coprocess.Object) {
			o.Request, o.Session, o.Metadata = nil, &coprocess.SessionState{}, map[string]string{"token": "t"}
		}, want: func(x *sdk.Exchange) {
			x.SetSession(&sdk.Session{KeyID: "t", OrgID: "org1", Metadata: map[string]string{"token": "t"}})
		}},
	}
	for _, tt := range tests {
		tt.phase = sdk.Auth
		t.Run(tt.name, tt.run)
	}
	t.Run("sessions of other phases are not taken", (&applyTest{phase: sdk.Post, do: func(o *coprocess.Object) {
		o.Session.Alias, o.Metadata = "other", map[string]string{"token": "t"}
	}}).run)
}

func TestApplyObjectResponse(t *testing.T) {
	header := func(do func(h *sdk.Header)) func(x *sdk.Exchange) {
		return func(x *sdk.Exchange) { do(x.Response().Header()) }
	}
	response := func(do func(r *coprocess.ResponseObject)) func(o *coprocess.Object) {
		return func(o *coprocess.Object) { do(o.Response) }
	}
	tests := []applyTest{
		{name: "nothing changed"},
		{name: "no response", do: func(o *coprocess.Object) { o.Response = nil }, err: wantProtocolError},
		{name: "request part is not taken", do: func(o *coprocess.Object) {
			o.Request.SetHeaders, o.Request.Url, o.Request.ReturnOverrides.ResponseCode = map[string]string{"A": "b"}, "", 500
		}},
		{name: "status and raw_body", do: response(func(r *coprocess.ResponseObject) { r.StatusCode, r.RawBody, r.Body = 404, []byte("raw"), "lost" }),
			want: func(x *sdk.Exchange) { x.Response().SetStatus(404); x.Response().SetBody([]byte("raw")) }},
		{name: "no status", do: response(func(r *coprocess.ResponseObject) { r.StatusCode = 0 })},
		{name: "absurd status", do: response(func(r *coprocess.ResponseObject) { r.StatusCode = 99 }), want: func(x *sdk.Exchange) { x.Response().SetStatus(99) }, invalid: true},
		{name: "multivalue_headers", do: response(func(r *coprocess.ResponseObject) {
			r.MultivalueHeaders = []*coprocess.Header{{Key: "set-cookie", Values: []string{"c", "b=2"}}, {Key: "X-New", Values: []string{"1", "2"}}, {Key: "Empty"}}
		}), want: header(func(h *sdk.Header) {
			h.Del("Content-Type")
			h.Set("Set-Cookie", "c")
			h.Add("Set-Cookie", "b=2")
			h.Add("X-New", "1")
			h.Add("X-New", "2")
		})},
		{name: "headers merged into them", do: response(func(r *coprocess.ResponseObject) {
			r.Headers = map[string]string{"Set-Cookie": "first", "X-New": "1"}
		}), want: header(func(h *sdk.Header) {
			h.Del("Content-Type")
			h.Set("Set-Cookie", "first")
			h.Add("Set-Cookie", "b=2")
			h.Add("X-New", "1")
		})},
		{name: "all multivalue_headers deleted", do: response(func(r *coprocess.ResponseObject) { r.MultivalueHeaders = nil }), want: header(func(h *sdk.Header) { h.Clear() })},
		{name: "dropped", do: dropping(func(*coprocess.Object) {})},
		{name: "dropped, headers edited", do: dropping(response(func(r *coprocess.ResponseObject) {
			delete(r.Headers, "Content-Type")
			r.Headers["X-New"], r.Body = "1", "new"
		})), want: func(x *sdk.Exchange) {
			x.Response().Header().Del("Content-Type")
			x.Response().Header().Set("X-New", "1")
			x.Response().SetBody([]byte("new"))
		}},
		{name: "header with line break", do: response(func(r *coprocess.ResponseObject) { r.MultivalueHeaders[0].Values[0] = "\n" }), want: header(func(h *sdk.Header) { h.Set("Content-Type", "\n") }), invalid: true},
		{name: "too many changes", do: response(func(r *coprocess.ResponseObject) {
			r.MultivalueHeaders[0].Values = strings.Split(strings.Repeat("v ", MaxChanges), " ")
		}), err: wantProtocolError},
	}
	for _, tt := range tests {
		tt.phase = sdk.ResponsePhase
		t.Run(tt.name, tt.run)
	}
}
