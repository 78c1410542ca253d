package lua

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// outcome is what a hook did: its error or refusal, and the exchange after it.
func outcome(t *testing.T, s *Server, name string, phase sdk.Phase, setup func(*sdk.Exchange)) (*sdk.Exchange, error) {
	t.Helper()
	x, _ := coprocesstest.NewExchange()
	if setup != nil {
		setup(x)
	}
	x.Begin(phase, nil, false)
	return x, hookOf(t, s, x, name, phase).Handle(t.Context(), x)
}

// What Tyk's plugins do, and what becomes of it (reference §6 and §2.4). want is header X-Out, or the error.
func TestTykHook(t *testing.T) {
	binary := func(x *sdk.Exchange) { x.Request().LoadBody([]byte{0xff, 0, 'a'}) }
	tests := []struct {
		name, body string // of function h(request, session, spec)
		setup      func(*sdk.Exchange)
		check      func(x *sdk.Exchange) string
		want       string
	}{
		{"set_headers", `request.set_headers["x-out"] = "1" return request, session`, nil, out, "1"},
		{"set_headers replaced", `request.set_headers = {["X-Out"] = 2} return request, session`, nil, out, "2"},
		{"by index", `request["set_headers"]["X-Out"] = request["headers"]["Accept"] return request`, nil, out, "*/*"},
		{"first of several", `request.set_headers["X-Out"] = request.headers["X-One"] return request`, func(x *sdk.Exchange) { x.Request().Header().Append("x-one", "2") }, out, "1"},
		{"host", `request.set_headers["X-Out"] = request.headers.Host return request`, nil, out, "api.example.test"},
		{"delete_headers", `request.delete_headers = {"X-One", "Absent"} return request`, nil, func(x *sdk.Exchange) string { return x.Request().Header().Get("X-One") }, ""},
		{"tyk.req", `tyk.req.set_header("X-Out", tyk.req.get_headers()["Accept"]) tyk.req.clear_header("X-One") tyk.req.clear_header("Accept") return request`, nil,
			func(x *sdk.Exchange) string {
				return out(x) + x.Request().Header().Get("X-One") + x.Request().Header().Get("Accept")
			}, "*/*"},
		{"tyk's stubs", `tyk.req.set_header("X-Out", tostring((tyk.req.start_time())) .. tostring((tyk.req.http_version())) .. type(tyk.session) .. tostring(tyk.header)) return request`, nil, out, "nilniltablenil"},
		{"object", `request.set_headers["X-Out"] = object.hook_type .. object.hook_name .. object.spec.APIID .. tostring(object.request == request) return request`, nil, out, "1horderstrue"},
		{"spec", `request.set_headers["X-Out"] = spec.OrgID .. spec.APIID .. spec.config_data .. spec.bundle_hash return request`, nil, out, `acmeorders{"a":1}92eb5ffee6ae2fec3ad71c777531578f`},
		{"session is absent", `request.set_headers["X-Out"] = tostring(session) return request`, nil, out, "nil"},
		{"params", `request.add_params.new = "é" request.delete_params = {"q"} return request`, nil, func(x *sdk.Exchange) string { return x.Request().Query().Raw() }, "new=%C3%A9&page=2"},
		{"params read", `request.set_headers["X-Out"] = request.params.q return request`, nil, out, "a b"},
		{"url", `request.url = "/new?page=9" return request`, nil, func(x *sdk.Exchange) string { return x.Request().Target() }, "/new?page=2&q=a+b"},
		{"method", `request.method = "PUT" return request`, nil, func(x *sdk.Exchange) string { return x.Request().Method() }, "PUT"},
		{"raw_body", `request.raw_body = base64.encode("new\255") return request`, binary, func(x *sdk.Exchange) string { return string(x.Request().Body()) }, "new\xff"},
		{"raw_body round trip", `request.raw_body = base64.encode(base64.decode(request.raw_body)) return request`, binary, func(x *sdk.Exchange) string { return string(x.Request().Body()) }, "\xff\x00a"},
		{"raw_body taken away", `local b = request.raw_body request.raw_body = nil return request`, binary, func(x *sdk.Exchange) string { return string(x.Request().Body()) }, ""},
		{"body has no effect", `request.body = "new" return request`, binary, func(x *sdk.Exchange) string { return string(x.Request().Body()) }, "\xff\x00a"},
		{"body is read", `request.set_headers["X-Out"] = request.body return request`, func(x *sdk.Exchange) { x.Request().LoadBody([]byte("text")) }, out, "text"},
		{"binary body is no text", `request.set_headers["X-Out"] = tostring(request.body) return request`, binary, out, "nil"},
		{"all of it", `local n = {} for k in pairs(request) do n[#n + 1] = k end table.sort(n) request.set_headers["X-Out"] = table.concat(n, " ") return request`, nil, out,
			"add_params delete_headers delete_params extended_params headers method params request_uri return_overrides scheme set_headers url"},
		{"json", `request.set_headers["X-Out"] = cjson.decode(cjson.encode(request)).url return request`, nil, out, "/orders/4%2F2?page=2&q=a+b"},
		{"a request of its own", `return {url = request.url, method = "PUT", raw_body = request.raw_body, set_headers = {["X-Out"] = "own"}}`, binary,
			func(x *sdk.Exchange) string { return out(x) + x.Request().Method() + string(x.Request().Body()) }, "ownPUT\xff\x00a"},
		{"nothing returned", `request.set_headers["X-Out"] = "kept"`, nil, out, "kept"},
		{"refuses", `request.return_overrides.response_code = 401 request.return_overrides.response_error = "no" return request`, nil, out, "401 no"},
		{"refuses at length", `request.return_overrides = {response_code = 403, response_error = "no", headers = {["X-Why"] = "x"}} return request`, nil, out, "403 no"},
		{"answers", `request.return_overrides = {response_code = 200, response_body = "hi", headers = {["X-A"] = "b"}} return request`, nil,
			func(x *sdk.Exchange) string { return string(x.Response().Body()) + x.Response().Header().Get("X-A") }, "hib"},
		{"answers an error", `request.return_overrides = {response_code = 418, override_error = true, response_body = "tea"} return request`, nil,
			func(x *sdk.Exchange) string { return string(x.Response().Body()) }, "tea"},
		{"no url", `request.url = nil request.url = "" return request`, nil, out, "garbage"},
		{"a string for a request", `return "request"`, nil, out, "garbage"},
		{"a list for a header", `request.set_headers["X-Out"] = {"a"} return request`, nil, out, "garbage"},
		{"text for headers", `request.set_headers = "X-Out" return request`, nil, out, "garbage"},
		{"a fraction for a code", `request.return_overrides.response_code = 200.5 return request`, nil, out, "garbage"},
		{"bad base64", `request.raw_body = "%" return request`, nil, out, "garbage"},
		{"cyclic", `request.set_headers.self = request request.set_headers = request return request`, nil, out, "garbage"},
		{"an invalid header", `request.set_headers["X-Out"] = "a\r\nb" return request`, nil, out, "garbage"},
		{"raises", `error("broken")`, nil, out, "main.lua:2: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openScript(t, script.Plugin{}, Options{Tyk: true}, "function h(request, session, spec)\n"+tt.body+"\nend")
			x, err := outcome(t, s, "h", sdk.Pre, tt.setup)
			got := tt.check(x)
			refused := (*sdk.Error)(nil)
			switch {
			case errors.As(err, &refused):
				got = refused.Error()
			case errors.Is(err, sdk.ErrProtocol):
				got = "garbage"
			case err != nil:
				got = strings.TrimPrefix(err.Error(), `hook "h": plugin "scripts": `)
			}
			if got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func out(x *sdk.Exchange) string { return x.Request().Header().Get("X-Out") }

func TestTykAuth(t *testing.T) {
	tests := []struct {
		name, text string
		want       *sdk.Session
		err        bool
	}{
		{"a session", `function h(request, session, spec) return request, {rate = 3, per = 1, tags = {"a"}, metadata = {token = "key", m = "n"}} end`,
			&sdk.Session{KeyID: "key", OrgID: "acme", Rate: 3, Per: 1, Tags: []string{"a"}, Metadata: map[string]string{"token": "key", "m": "n"}}, false},
		{"four arguments", `function h(request, session, metadata, spec) metadata.token = spec.APIID return request, {alias = "a"}, metadata end`,
			&sdk.Session{KeyID: "orders", OrgID: "acme", Alias: "a", Metadata: map[string]string{"token": "orders"}}, false},
		{"no token", `function h(request, session, spec) return request, {rate = 3} end`, nil, false},
		{"no session", `function h(request, session, spec) return request, nil end`, nil, false},
		{"null", `function h(request, session, spec) return request, cjson.null end`, nil, false},
		{"no such hook", ``, nil, false},
		{"a string", `function h(request, session, spec) return request, "me" end`, nil, true},
		{"a text where a number belongs", `function h(request, session, spec) return request, {rate = "3", metadata = {token = "key"}} end`, nil, true},
		{"a fraction where none belongs", `function h(request, session, spec) return request, {expires = 1.5, metadata = {token = "key"}} end`, nil, true},
		{"metadata of tables", `function h(request, session, spec) return request, {metadata = {token = {}}} end`, nil, true},
		{"rights", `function h(request, session, spec) return request, {metadata = {token = "k"}, access_rights = {a = {api_id = "a", allowed_urls = {{url = "/", methods = {"GET"}}}}}} end`,
			&sdk.Session{KeyID: "k", OrgID: "acme", Metadata: map[string]string{"token": "k"}, AccessRights: map[string]sdk.AccessDefinition{
				"a": {APIID: "a", AllowedURLs: []sdk.AccessSpec{{URL: "/", Methods: []string{"GET"}}}},
			}}, false},
	}
	before := &sdk.Session{KeyID: "before"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := openScript(t, script.Plugin{}, Options{Tyk: true}, tt.text)
			x, err := outcome(t, s, "h", sdk.Auth, func(x *sdk.Exchange) { x.BeginSession(before) })
			want := tt.want
			if tt.err {
				want = before // what a failing hook did is not taken
			}
			if (err != nil) != tt.err || tt.err && !errors.Is(err, sdk.ErrProtocol) {
				t.Errorf("got error %v", err)
			}
			if d := cmp.Diff(want, x.Session(), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("sessions differ:\n%s", d)
			}
		})
	}
}

// TestTykRest: hooks nobody defined, response hooks, sessions of later phases, tables kept beyond a call.
func TestTykRest(t *testing.T) {
	s := openScript(t, script.Plugin{}, Options{Tyk: true}, `
		function respond(request, session, spec)
			object.response.headers["X-Out"] = session.alias .. object.response.headers["Content-Type"]
			object.response.raw_body = base64.encode("new")
			object.response.status_code = 201
			return request, session
		end
		function gone(request, session, spec) object.response = nil return request end
		function later(request, session, spec)
			request.set_headers["X-Out"] = session.alias .. session.metadata.m .. object.metadata.m
			session.alias = "ignored"
			return request, session
		end
		local kept = {}
		function keep(request, session, spec)
			kept.now, kept.before = request, kept.now
			if kept.before then request.set_headers["X-Out"] = tostring(kept.before.url) end
			return request
		end`)
	who := func(x *sdk.Exchange) {
		x.BeginSession(&sdk.Session{KeyID: "k", Alias: "me", Metadata: map[string]string{"m": "n"}})
	}
	x, err := outcome(t, s, "absent", sdk.Pre, nil)
	if err != nil || x.Changes() != 0 {
		t.Errorf("a hook that nobody defined: %v, %v", err, x.Changes().Names())
	}
	reply := func(x *sdk.Exchange) {
		who(x)
		x.Response().Fill(200, 3)
		x.Response().Header().Append("Content-Type", "text/plain")
		x.Response().LoadBody([]byte("old"))
	}
	x, err = outcome(t, s, "respond", sdk.ResponsePhase, reply)
	if r := x.Response(); err != nil || r.Status() != 201 || r.Header().Get("X-Out") != "metext/plain" || string(r.Body()) != "new" {
		t.Errorf("got %v: %+v", err, x.Snapshot().Response)
	}
	if x, err = outcome(t, s, "gone", sdk.ResponsePhase, reply); !errors.Is(err, sdk.ErrProtocol) || string(x.Response().Body()) != "old" {
		t.Errorf("no response: got %v", err)
	}
	if x, err = outcome(t, s, "later", sdk.Post, who); err != nil || out(x) != "menn" || x.Session().Alias != "me" {
		t.Errorf("got %v, %q", err, out(x))
	}
	for _, want := range []string{"", "nil"} {
		if x, err = outcome(t, s, "keep", sdk.Pre, nil); err != nil || out(x) != want {
			t.Errorf("got %v, %q, want %q", err, out(x), want)
		}
	}
}
