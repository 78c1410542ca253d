package js

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// middleware is a middleware m of which f is the function.
func middleware(f string) string {
	return "var m = new TykJS.TykMiddleware.NewMiddleware({});\nm.NewProcessRequest(" + f + ");\n"
}

// exchange is one with a body and headers of several values.
func exchange() *sdk.Exchange {
	x, _ := coprocesstest.NewExchange()
	x.Request().Header().Append("x-many", "a")
	x.Request().Header().Append("X-Many", "b")
	x.Request().LoadBody([]byte("caf\xc3\xa9 \xff\x00 end"))
	return x
}

func answerOf(x *sdk.Exchange) string {
	return fmt.Sprintf("%d %v %s", x.Response().Status(), x.Response().Header().Fields(), x.Response().Body())
}

// TestTykRequest: what a middleware is given, and what comes of what it returns.
func TestTykRequest(t *testing.T) {
	tests := []struct {
		name, f string
		phase   sdk.Phase
		options Options
		setup   func(x *sdk.Exchange)
		want    func(x *sdk.Exchange) string
		text    string
		err     string // part of an error
	}{
		{name: "the request", f: `function (request, session, config) {
			var facts = [request.Headers["X-Many"].join("+"), request.Headers["Accept"][0], request.Headers.Host[0], request.URL, request.Params.page[0], request.Params.q[0],
				request.Method, request.Scheme, request.RequestURI, request.Body.length, request.IgnoreBody, request.ReturnOverrides.ResponseCode, request.DeleteHeaders.length,
				JSON.stringify(request.SetHeaders), JSON.stringify(session.meta_data), session.rate, config.OrgID, config.APIID, config.config_data.a, "Body" in request, "Nope" in request,
				Object.keys(request).length, JSON.stringify(request).length > 100];
			request.SetHeaders["X-Facts"] = facts.join("|");
			return m.ReturnData(request, {});
		}`, want: func(x *sdk.Exchange) string { return x.Request().Header().Get("X-Facts") },
			text: "a+b|*/*|api.example.test|/orders/4%2F2?page=2&q=a+b|2|a b|GET|https|/orders/4%2F2?page=2&q=a+b|11|false|0|0|{}|{}|0|acme|orders|1|true|false|14|true"},
		{name: "changes", f: `function (request) {
			request.SetHeaders["X-New"] = "n\u00e9w";
			request.DeleteHeaders.push("x-many");
			request.AddParams.page = "9";
			request.ExtendedParams.tag = ["one", "two"];
			request.DeleteParams.push("q");
			request.Body = request.Body + "!";
			request.Headers["X-Ignored"] = ["yes"];
			request.Method = "DELETE";
			return m.ReturnData(request);
		}`, want: func(x *sdk.Exchange) string {
			return fmt.Sprintf("%v %s %s %q", x.Request().Header().Fields(), x.Request().Target(), x.Request().Method(), x.Request().Body())
		}, text: `[{Accept */*} {X-One 1} {X-New néw}] /orders/4%2F2?page=9&tag=one&tag=two GET "café \xff\x00 end!"`},
		{name: "a body that is only looked at", f: `function (request) { request.SetHeaders.L = "" + request.Body.length; return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return fmt.Sprint(x.Changes().Names()) }, text: "[header]"},
		{name: "an ignored body", f: `function (request) { request.Body = "other"; request.IgnoreBody = true; return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return fmt.Sprint(x.Changes().Names()) }, text: "[]"},
		{name: "a URL", f: `function (request) { request.URL = "/orders/other?x=%20y"; return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Target() }, text: "/orders/other?x=%20y"},
		{name: "an absolute URL", f: `function (request) { request.URL = "http://elsewhere.test/p?q=1"; return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Target() }, text: "/p?q=1"},
		{name: "keys in any case", f: `function (request) { return {request: {SETHEADERS: {a: "b"}, deleteheaders: ["X-One"], unknown: request}, sessionmeta: {}}; }`,
			want: func(x *sdk.Exchange) string { return fmt.Sprint(x.Request().Header().Fields()) }, text: "[{Accept */*} {x-many a} {X-Many b} {a b}]"},
		{name: "a member in another case", f: `function (request) { request.setHeaders = {a: "b"}; return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Header().Get("a") }, text: "b"},
		{name: "a copy", f: `function (request) { var c = JSON.parse(JSON.stringify(request)); c.SetHeaders = {a: "b"}; delete c.Body; return m.ReturnData(c, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Header().Get("a") + fmt.Sprint(x.Changes().Names()) }, text: "b[header]"},
		{name: "without new", f: `function (request) { return TykJS.TykMiddleware.NewMiddleware({}).ReturnData(request, {}); }`, text: ""},
		{name: "an error reply", f: `function (request) { request.ReturnOverrides.ResponseCode = 418; request.ReturnOverrides.ResponseError = "tea";
			request.ReturnOverrides.ResponseHeaders = {"X-Pot": "yes"}; return m.ReturnData(request, {}); }`, err: "418 tea"},
		{name: "an answer", f: `function (request) { request.ReturnOverrides.ResponseCode = 202; request.ReturnOverrides.ResponseBody = "done";
			request.ReturnOverrides.ResponseHeaders = {"X-Pot": "yes"}; return m.ReturnData(request, {}); }`, want: answerOf, text: "202 [{X-Pot yes}] done"},
		{name: "an error of its own", f: `function (request) { request.ReturnOverrides = {ResponseCode: 500, ResponseBody: "own", OverrideError: true}; return m.ReturnData(request, {}); }`,
			want: answerOf, text: "500 [] own"},
		{name: "no session is null", phase: sdk.Post, options: Options{Sessions: map[string]bool{"m": true}},
			f: `function (request, session) { request.SetHeaders.S = "" + session; return m.ReturnData(request, {}); }`, want: func(x *sdk.Exchange) string { return x.Request().Header().Get("S") }, text: "null"},
		{name: "the session and its metadata", phase: sdk.PostKeyAuth, options: Options{Sessions: map[string]bool{"m": true}},
			setup: func(x *sdk.Exchange) {
				x.BeginSession(&sdk.Session{KeyID: "k", Alias: "al", Rate: 5, Metadata: map[string]string{"a": "b", "gone": "x"}})
			},
			f:    `function (request, session) { return m.ReturnData(request, {a: session.meta_data.a + session.alias + session.rate}); }`,
			want: func(x *sdk.Exchange) string { return fmt.Sprintln(x.Session().KeyID, x.Session().Metadata) }, text: "k map[a:bal5]\n"},
		{name: "metadata without require_session", phase: sdk.PostKeyAuth, setup: func(x *sdk.Exchange) { x.BeginSession(&sdk.Session{KeyID: "k"}) },
			f: `function (request, session) { return m.ReturnData(request, {a: "" + session.alias}); }`, want: func(x *sdk.Exchange) string { return fmt.Sprint(x.Session().Metadata) }, text: "map[]"},
		{name: "auth", phase: sdk.Auth, f: `function (request) { return {Request: request, Session: {alias: "al", RATE: 5, per: 1, meta_data: {n: 1, s: "t"}, access_rights: {orders: {api_id: "orders", versions: ["Default"]}}}, AuthValue: "tok"}; }`,
			want: func(x *sdk.Exchange) string {
				return fmt.Sprintln(x.Session().KeyID, x.Session().Alias, x.Session().Rate, x.Session().Metadata, x.Session().AccessRights)
			}, text: "tok al 5 map[n:1 s:t] map[orders:{ orders [Default] []}]\n"},
		{name: "auth by what the client sent", phase: sdk.Auth, setup: func(x *sdk.Exchange) { x.Request().Header().Append("authorization", "sent") },
			f: `function (request, session) { return m.ReturnAuthData(request, session); }`, want: func(x *sdk.Exchange) string { return x.Session().KeyID }, text: "sent"},
		{name: "auth without session", phase: sdk.Auth, f: `function (request) { return m.ReturnAuthData(request, null); }`, want: func(x *sdk.Exchange) string { return fmt.Sprint(x.Session() == nil) }, text: "true"},
		{name: "underscore", f: `function (request) { request.SetHeaders.U = _.map([1, 2], function (n) { return n * 2; }).join() + _.template("<%= a %>")({a: 3}); return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Header().Get("U") }, text: "2,43"},
		{name: "base64", f: `function (request) { request.SetHeaders.B = [b64enc("a?"), b64dec("YT8="), b64dec("YT8"), rawb64enc("a?"), rawb64dec("YT8"), "" + b64dec("!"), b64dec(b64enc(request.Body)) === request.Body].join("|"); return m.ReturnData(request, {}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Header().Get("B") }, text: "YT8=|a?|a?|YT8|a?|undefined|true"},
		{name: "its own DoProcessRequest", f: `function () {}); m.DoProcessRequest = (function (request, session, config) {
			request.SetHeaders.B = b64dec(request.Body).length + config.APIID; request.Body = b64enc("new"); return JSON.stringify({Request: request, SessionMeta: {}}); }`,
			want: func(x *sdk.Exchange) string { return x.Request().Header().Get("B") + string(x.Request().Body()) }, text: "11ordersnew"},

		{name: "null", f: `function () { return null; }`, err: "returned nothing"},
		{name: "nothing", f: `function () {}`, err: "returned nothing"},
		{name: "text", f: `function () { return "x"; }`, err: "want an object"},
		{name: "a request that is text", f: `function () { return {Request: "x"}; }`, err: "want an object"},
		{name: "headers that are numbers", f: `function (request) { request.SetHeaders.a = 1; return m.ReturnData(request, {}); }`, err: "Request.SetHeaders.a"},
		{name: "a cycle", f: `function (request) { var o = {}; o.o = o; request.SetHeaders = o; return m.ReturnData(request, {}); }`, err: "Request.SetHeaders.o"},
		{name: "a session that is a cycle", phase: sdk.Auth, f: `function (request) { var o = {}; o.o = o; return m.ReturnAuthData(request, o); }`, err: "circular"},
		{name: "a session of wrong types", phase: sdk.Auth, f: `function (request) { return m.ReturnAuthData(request, {rate: "many"}); }`, err: "session"},
		{name: "a code that is text", f: `function (request) { request.ReturnOverrides.ResponseCode = "200"; return m.ReturnData(request, {}); }`, err: "ResponseCode"},
		{name: "an absurd code", f: `function (request) { request.ReturnOverrides.ResponseCode = 99; return m.ReturnData(request, {}); }`, err: "ResponseCode 99"},
		{name: "a list that is text", f: `function (request) { request.DeleteHeaders = "x"; return m.ReturnData(request, {}); }`, err: "Request.DeleteHeaders"},
		{name: "metadata that is a number", f: `function (request) { return m.ReturnData(request, {a: 1}); }`, err: "SessionMeta.a"},
		{name: "a URL that is none", f: `function (request) { request.URL = "no slash"; return m.ReturnData(request, {}); }`, err: "Request.URL"},
		{name: "an invalid header", f: `function (request) { request.SetHeaders.a = "b\r\nc: d"; return m.ReturnData(request, {}); }`, err: "invalid value"},
		{name: "it throws", f: "function (request) {\n  request.SetHeaders.a = 'b';\n  throw new Error('deliberate');\n}", err: "test.js:4: Error: deliberate"},
		{name: "it throws nothing", f: `function () { throw undefined; }`, err: "undefined"},
		{name: "it reads of null", phase: sdk.Post, options: Options{Sessions: map[string]bool{"m": true}}, f: `function (request, session) { return session.meta_data.x; }`, err: "TypeError"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Tyk = true
			s := opened(t, middleware(tt.f), tt.options, nil)
			x := exchange()
			if tt.setup != nil {
				tt.setup(x)
			}
			if tt.phase == sdk.PhaseUnknown {
				tt.phase = sdk.Pre
			}
			before := x.Snapshot()
			before.Phase = tt.phase
			err := handle(t, t.Context(), s, "m", x, tt.phase)
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				if d := cmp.Diff(before, x.Snapshot(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
					t.Errorf("a hook that failed changed:\n%s", d)
				}
			case err != nil:
				t.Fatal(err)
			case tt.want != nil && tt.want(x) != tt.text:
				t.Errorf("got  %s\nwant %s", tt.want(x), tt.text)
			}
		})
	}
}

// TestTykResponse: a middleware of the response phase.
func TestTykResponse(t *testing.T) {
	s := opened(t, `var r = new TykJS.TykMiddleware.NewMiddleware({});
		r.NewProcessResponse(function (response, request, session, config) {
			response.SetHeaders["X-Facts"] = [response.StatusCode, response.Headers["Set-Cookie"].join("+"), response.Body.length, request.Method, config.APIID].join("|");
			response.DeleteHeaders.push("set-cookie");
			response.Body = response.Body + "!";
			response.StatusCode = 201;
			return r.ReturnResponseData(response, {});
		});`, Options{Tyk: true}, nil)
	x := exchange()
	x.Response().Fill(200, 2)
	x.Response().Header().Append("Set-Cookie", "a=1")
	x.Response().Header().Append("Set-Cookie", "b=2")
	x.Response().LoadBody([]byte{0xff, 'x'})
	if err := handle(t, t.Context(), s, "r", x, sdk.ResponsePhase); err != nil {
		t.Fatal(err)
	}
	if got, want := answerOf(x), "201 [{X-Facts 200|a=1+b=2|2|GET|orders}] \xffx!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := handle(t, t.Context(), s, "absent", x, sdk.ResponsePhase); !errors.Is(err, sdk.ErrUnimplemented) {
		t.Errorf("got %v", err)
	}
}

// keys is a Keys that remembers.
type keys struct {
	mu   sync.Mutex
	said []string
	held map[string]string
}

func (k *keys) GetKeyData(_ context.Context, route *sdk.Route, key, api string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = append(k.said, fmt.Sprintf("get %s %s %s", route.ID, key, api))
	if s, ok := k.held[key]; ok {
		return []byte(s), nil
	}
	return nil, script.ErrNoKey
}

func (k *keys) SetKeyData(_ context.Context, route *sdk.Route, key string, session []byte, keep bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.said = append(k.said, fmt.Sprintf("set %s %s %v", route.ID, key, keep))
	k.held[key] = string(session)
	return nil
}

// TestTykKeys: the case that has to work word for word.
func TestTykKeys(t *testing.T) {
	k := &keys{held: map[string]string{}}
	s := opened(t, `
		var ipLimit = new TykJS.TykMiddleware.NewMiddleware({});
		ipLimit.NewProcessRequest(function (request, session) {
			var ip = request.Headers["X-Real-Ip"][0];
			request.SetHeaders["x-tyk-authorization"] = ip;
			var details = {
				"allowance": 100, "rate": 100, "per": 1, "expires": -1, "quota_max": 100, "quota_renews": 1406121006, "quota_remaining": 100,
				"quota_renewal_rate": 60, "access_rights": {"orders": {"api_name": "Orders", "api_id": "orders", "versions": ["Default"]}}, "org_id": "other"
			};
			TykSetKeyData(ip, JSON.stringify(details), 1);
			log("known: " + TykGetKeyData(ip, "orders") + TykGetKeyData("nobody", "orders"));
			return ipLimit.ReturnData(request);
		});`, Options{Tyk: true}, func(p *script.Plugin) { p.Services.Keys = k })
	x, b := coprocesstest.NewExchange()
	x.Request().Header().Append("x-real-ip", "192.0.2.9")
	if err := handle(t, t.Context(), s, "ipLimit", x, sdk.Pre); err != nil {
		t.Fatal(err)
	}
	if got := x.Request().Header().Get("X-Tyk-Authorization"); got != "192.0.2.9" {
		t.Errorf("got header %q", got)
	}
	if d := cmp.Diff([]string{"set orders 192.0.2.9 true", "get orders 192.0.2.9 orders", "get orders nobody orders"}, k.said); d != "" {
		t.Error(d)
	}
	var session map[string]any
	if err := json.Unmarshal([]byte(k.held["192.0.2.9"]), &session); err != nil || session["org_id"] != "other" || session["quota_renewal_rate"] != 60.0 {
		t.Errorf("got %v, %v", session, err)
	}
	if len(b.Lines) != 1 || !strings.HasSuffix(b.Lines[0], `{"status":"error","message":"Key not found"}`) {
		t.Errorf("got %q", b.Lines)
	}
}

// TestTykStorage: TykStorage* on a store, and a plugin without one.
func TestTykStorage(t *testing.T) {
	db, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	text := middleware(`function (request) {
		var facts = [TykStorageGet("k"), TykStorageSet("k", "v\u00e9", 60), TykStorageGet("k"), TykStorageSetNX("k", "w", 1), TykStorageSetNX("n", "w", 0), TykStorageTTL("k") > 50,
			TykStorageTTL("n"), TykStorageTTL("none"), TykStorageIncr("c", 60), TykStorageIncr("c", 60), TykStorageDel("k"), TykStorageGet("k")];
		try { TykStorageSet("", "v", 0); } catch (e) { facts.push("thrown"); }
		request.SetHeaders.Facts = facts.join("|");
		return m.ReturnData(request, {});
	}`)
	s := opened(t, text, Options{Tyk: true}, func(p *script.Plugin) {
		p.Services.Store = script.NewStore(func() (script.Storage, error) { return db, nil }, "p", nil)
	})
	x, _ := coprocesstest.NewExchange()
	if err := handle(t, t.Context(), s, "m", x, sdk.Pre); err != nil {
		t.Fatal(err)
	}
	if got, want := x.Request().Header().Get("Facts"), "||vé|false|true|true|-1|-2|1|2|||thrown"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	without := opened(t, text, Options{Tyk: true}, nil)
	if err := handle(t, t.Context(), without, "m", x, sdk.Pre); !errors.Is(err, script.ErrNoService) {
		t.Errorf("got %v", err)
	}
}

// TestTykHTTP: requests of scripts, and a script that calls itself.
func TestTykHTTP(t *testing.T) {
	var s *Server
	calls := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/self" { // the gateway, with the hook on this route
			calls++
			x, _ := coprocesstest.NewExchange()
			x.Request().Header().Append(script.HopHeader, r.Header.Get(script.HopHeader))
			if err := handle(t, t.Context(), s, "self", x, sdk.Pre); err != nil {
				t.Error(err)
			}
		}
		w.Header().Add("X-Echo", "a")
		w.Header().Add("X-Echo", r.Header.Get("X-In"))
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}))
	defer web.Close()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	s = opened(t, middleware(`function (request) {
			var r = JSON.parse(TykMakeHttpRequest(JSON.stringify({Method: "POST", Body: "b", Headers: {"X-In": "in"}, Domain: "`+web.URL+`", resource: "/p"})));
			var form = JSON.parse(TykMakeHttpRequest(JSON.stringify({Method: "PUT", FormData: {a: "b c"}, Domain: "`+web.URL+`", Resource: "/f"})));
			var many = JSON.parse(TykBatchRequest(JSON.stringify({requests: [{method: "GET", relative_url: "`+web.URL+`/1"}, {method: "GET", relative_url: "`+web.URL+`/2"}], suppress_parallel_execution: true})));
			request.SetHeaders.Facts = [r.Code, r.code, r.Body, r.body, r.Headers["X-Echo"].join("+"), form.Body, many.length, many[0].code, many[1].body, "" + TykMakeHttpRequest("{"), "" + TykMakeHttpRequest('{"Domain":"ftp://x"}')].join("|");
			return m.ReturnData(request, {});
		}`)+`
		var self = new TykJS.TykMiddleware.NewMiddleware({});
		self.NewProcessRequest(function (request) {
			TykMakeHttpRequest(JSON.stringify({Method: "GET", Domain: "`+web.URL+`", Resource: "/self"}));
			return self.ReturnData(request, {});
		});`, Options{Tyk: true}, func(p *script.Plugin) { p.Services.HTTP = script.NewHTTP(client, script.HTTPLimits{}) })
	x, _ := coprocesstest.NewExchange()
	if err := handle(t, t.Context(), s, "m", x, sdk.Pre); err != nil {
		t.Fatal(err)
	}
	want := "418|418|POST /p b|POST /p b|a+in|PUT /f a=b+c|2|418|GET /2 |undefined|undefined"
	if got := x.Request().Header().Get("Facts"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	x, _ = coprocesstest.NewExchange()
	if err := handle(t, t.Context(), s, "self", x, sdk.Pre); err != nil || calls != 4 {
		t.Errorf("%v, it called itself %d times", err, calls)
	}
}

// TestTykUnits: virtual endpoints and event handlers.
func TestTykUnits(t *testing.T) {
	s := opened(t, `
		function endpoint(request, session, config) {
			return TykJsResponse({body: [request.Body, request.URL, request.Params.a, request.Headers.Host, request.Scheme, session.alias, config.config_data.a].join("|"), Headers: {"X-V": "v"}, CODE: 201}, session.meta_data);
		}
		function broken() { return 5; }
		var events = new TykJS.TykEventHandlers.NewEventHandler();
		events.NewHandler(function (event, context) { throw new Error([event.Type, event.Meta.Message, context.APIID, context.OrgID].join("|")); });`, Options{Tyk: true}, nil)
	x, _ := coprocesstest.NewExchange()
	x.BeginSession(&sdk.Session{KeyID: "k", Alias: "al"})
	x.Request().Header().Append("Content-Type", "application/x-www-form-urlencoded")
	x.Request().LoadBody([]byte("a=b+c"))
	x.Begin(sdk.Post, nil, true)
	v := s.Virtual("endpoint", true)
	if err := v.Handle(t.Context(), x); err != nil || !v.Needs().Has(sdk.NeedBody) || v.Protocol() != "tyk" {
		t.Fatal(err)
	}
	if got, want := answerOf(x), "201 [{X-V v}] a=b+c|/orders/4%2F2?page=2&q=a+b|b c|api.example.test|https|al|1"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for _, name := range []string{"broken", "absent"} {
		x, _ := coprocesstest.NewExchange()
		x.Begin(sdk.Post, nil, true)
		if err := s.Virtual(name, false).Handle(t.Context(), x); err == nil || x.Answered() {
			t.Errorf("%s: got %v", name, err)
		}
	}
	err := s.Observer("events").Observe(t.Context(), sdk.Batch{Events: []sdk.Event{{Type: "AuthFailure", Message: "no", Route: "orders", Org: "acme", Time: time.Unix(1, 0)}}})
	if err == nil || !strings.Contains(err.Error(), "Error: AuthFailure|no|orders|acme") {
		t.Errorf("got %v", err)
	}
}

// TestFolders: a plugin folder, and what it may require.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plugin/main.js":      `var names = require("./lib/names"); exports.pre = function (x) { x.request.headers.set(names.header, require("./lib/data").value); };`,
		"plugin/lib/names.js": `exports.header = "X-From-Lib";`, "plugin/lib/data.json": `{"value": "seven"}`,
		"bad/main.js": "exports.pre = function () {\n  var = 1;\n};", "escape/main.js": `require("../plugin/lib/names");`, "throws/main.js": "\nnope();",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &Runtime{Watch: newWatch(t)}
	s, err := r.Open(t.Context(), coprocess.Plugin{Name: "p", Dir: filepath.Join(dir, "plugin")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	x, _ := coprocesstest.NewExchange()
	if err := handle(t, t.Context(), s.(*Server), "pre", x, sdk.Pre); err != nil || x.Request().Header().Get("X-From-Lib") != "seven" {
		t.Errorf("got %v, %v", err, x.Request().Header().Fields())
	}
	for name, part := range map[string]string{"bad": "main.js:2: does not compile", "escape": "outside", "throws": "main.js:2", "none": "none"} {
		if _, err := r.Open(t.Context(), coprocess.Plugin{Name: "p", Dir: filepath.Join(dir, name)}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want %q", name, err, part)
		}
	}
}

// TestOwnCore: set-ups that name a tyk_js_path bring objects of their own in the place of ours.
func TestOwnCore(t *testing.T) {
	s := opened(t, `var TykJS = { TykMiddleware: { MiddlewareComponentMeta: function (configuration) { this.configuration = configuration; } }, TykEventHandlers: {} };
TykJS.TykMiddleware.MiddlewareComponentMeta.prototype.DoProcessRequest = function (request, session, config) {
  request.Body = b64dec(request.Body);
  var processed = this.ProcessRequest(request, session, config);
  if (!processed) { return; }
  processed.Request.Headers = {};
  processed.Request.Body = b64enc(processed.Request.Body);
  return JSON.stringify(processed);
};
TykJS.TykMiddleware.MiddlewareComponentMeta.prototype.ProcessRequest = function (r, s) { return r; };
TykJS.TykMiddleware.NewMiddleware = function (configuration) { TykJS.TykMiddleware.MiddlewareComponentMeta.call(this, configuration); };
TykJS.TykMiddleware.NewMiddleware.prototype = Object.create(TykJS.TykMiddleware.MiddlewareComponentMeta.prototype);
TykJS.TykMiddleware.NewMiddleware.prototype.constructor = TykJS.TykMiddleware.NewMiddleware;
TykJS.TykMiddleware.NewMiddleware.prototype.NewProcessRequest = function (callback) { this.ProcessRequest = callback; };
TykJS.TykMiddleware.NewMiddleware.prototype.ReturnData = function (request, session) { return { Request: request, SessionMeta: session }; };
var own = new TykJS.TykMiddleware.NewMiddleware({});
own.NewProcessRequest(function (request, session) {
  request.SetHeaders["X-Own"] = "yes " + request.Body;
  return own.ReturnData(request, {});
});`, Options{Tyk: true}, nil)
	x, _ := coprocesstest.NewExchange()
	if err := handle(t, t.Context(), s, "own", x, sdk.Pre); err != nil {
		t.Fatal(err)
	}
	if got, want := x.Request().Header().Get("X-Own"), "yes "+string(x.Request().Body()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
