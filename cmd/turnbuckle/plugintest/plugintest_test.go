package plugintest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestMain(m *testing.M) {
	code := m.Run()
	// regexp2 has a clock that stops by itself, a second after the last match that had a time limit.
	if err := goleak.Find(goleak.IgnoreTopFunction("github.com/dlclark/regexp2/v2.runClock"), goleak.IgnoreTopFunction("time.Sleep")); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// files writes files into a new folder and returns it.
func files(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command runs the command with those arguments.
func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := Command(&out, &errs)
	cmd.SetArgs(args)
	cmd.SetOut(&errs)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

// run runs a script of that name and text, and returns its report.
func run(t *testing.T, name, text string, args ...string) *report {
	t.Helper()
	out, _, err := command(t, append([]string{filepath.Join(files(t, map[string]string{name: text}), name), "--json"}, args...)...)
	if err != nil && !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.OK != (err == nil) {
		t.Errorf("ok is %v with %v", r.OK, err)
	}
	return &r
}

// told is what a report says of hooks, without figures.
func told(r *report) []string {
	var all []string
	for _, e := range r.Exchanges {
		for _, h := range e.Hooks {
			text := fmt.Sprintf("%s %s %s", h.Hook, h.Phase, h.Outcome)
			for _, l := range h.Log {
				text += fmt.Sprintf(" [%s %s]", l.Level, l.Message)
			}
			for _, name := range sortedKeys(h.Counters) {
				text += fmt.Sprintf(" %s%+d", name, h.Counters[name])
			}
			for _, c := range h.Changes {
				text += fmt.Sprintf(" %s %s%q>%q", c.What, c.Name, c.Before, c.After)
			}
			if h.Refusal != nil {
				text += fmt.Sprintf(" %d %s %v", h.Refusal.Status, h.Refusal.Message, h.Refusal.Headers)
			}
			if h.Error != nil {
				text += " " + h.Error.String()
			}
			if h.Note != "" {
				text += " note"
			}
			all = append(all, text)
		}
	}
	return all
}

func TestHooks(t *testing.T) {
	tests := []struct {
		name, file, text string
		args             []string
		want             []string
	}{
		{"phases in order", "a.js", `exports.post = exports.own = exports.auth = exports.pre = function (x) {}; exports.hooks = {own: {phase: "post"}};`, nil, []string{
			"pre pre continued", "auth auth continued note", "post post continued", "own post continued",
		}},
		{"chosen", "a.js", `exports.own = exports.pre = function (x) { log(x.phase); };`, []string{"--hook", "own:post", "--hook", "pre"}, []string{
			"pre pre continued [INFO pre]", "own post continued [INFO post]",
		}},
		{"all changes", "a.js", `exports.hooks = {pre: {needs: ["default", "body"]}};
			exports.pre = function (x) {
				x.request.method = "PUT"; x.request.path = "/new"; x.request.query.raw = "a=b"; x.request.headers.del("accept");
				x.request.headers.set("X-New", ["1", "2"]); x.request.setBody(x.request.text() + "!"); x.authenticate("k", "al"); x.setValue("v", {a: 1}); x.count("n", 2);
			};`, []string{"--body", "text"}, []string{
			`pre pre continued n+2 method ["POST"]>["PUT"] path ["/orders/42"]>["/new"] query ["page=2"]>["a=b"] header Accept["application/json"]>[] header X-New[]>["1" "2"]` +
				` body ["text"]>["text!"] session alias[]>["\"al\""] session key_id[]>["\"k\""] value v[]>["{\"a\":1}"]`,
		}},
		{"an answer ends it", "a.lua", `function exports.pre(x) x:answer(418, {A = "b"}, "tea") end function exports.post(x) end`, nil, []string{
			`pre pre answered reply status []>["418"] reply header A[]>["b"] reply body []>["tea"]`, "post post not called",
		}},
		{"a refusal ends it", "a.lua", `function exports.pre(x) x.request.headers:set("A", "b") x:refuse(401, "no", {B = "c"}) end function exports.post(x) end`, nil, []string{
			"pre pre refused 401 no [{B c}]", "post post not called",
		}},
		{"a failure, with its place", "a.js", "exports.pre = function (x) {\n  nothing.here();\n};", nil, []string{"pre pre failed a.js:2: ReferenceError: nothing is not defined"}},
		{"a failure in lua", "a.lua", "function exports.pre(x)\n  local a = nil\n  return a.b\nend", nil, []string{"pre pre failed a.lua:3: attempt to index a non-table object(nil) with key 'b'"}},
		{"a reply", "a.js", `exports.hooks = {response: {needs: ["default", "response_body"]}}; exports.response = function (x) { x.response.status = 201; x.response.headers.del("Server"); x.response.setBody(x.response.text().length + ""); };`, nil, []string{
			`response response continued reply status ["200"]>["201"] reply header Server["upstream"]>[] reply body ["{\"order\":42,\"status\":\"shipped\"}"]>["31"]`,
		}},
		{"a reply replaced", "a.js", `exports.response = function (x) { x.answer(503, {}, "later"); }; exports.last = function (x) {};`, []string{"--hook", "response", "--hook", "last:response"}, []string{
			`response response answered reply status ["200"]>["503"] reply header Content-Type["application/json"]>[] reply header Server["upstream"]>[] reply body ["{\"order\":42,\"status\":\"shipped\"}"]>["later"]`,
			"last response continued",
		}},
		{"flags", "a.js", `exports.pre = function (x) { log(x.request.method, x.request.target, x.client, x.request.headers.get("a"), x.request.headers.getAll("accept"), x.config.c, x.session.alias); };`,
			[]string{"-X", "PATCH", "--path", "/p?q=1", "--client", "10.0.0.1", "-H", "A: b", "-H", "Accept:c", "-H", "accept: d", "--config", `{"c": 1}`, "--session", `{"alias": "s"}`},
			[]string{`pre pre continued [INFO PATCH /p?q=1 10.0.0.1 b ["c","d"] 1 s]`}},
		{"tyk, found out", "m.js", `var m = new TykJS.TykMiddleware.NewMiddleware({}); m.NewProcessRequest(function (r, s) { r.SetHeaders.A = "b"; return m.ReturnData(r, {}); });`, nil, []string{`m pre continued header A[]>["b"]`}},
		{"tyk, by its calls", "m.js", `var m = new TykJS.TykMiddleware.NewMiddleware({}); m.NewProcessRequest(function (r, s) { return m.ReturnAuthData(r, null); });
			var n = new TykJS.TykMiddleware.NewMiddleware({}); n.NewProcessResponse(function (r) { r.SetHeaders.A = "b"; return n.ReturnResponseData(r, {}); });`, nil,
			[]string{"m auth continued note", `n response continued reply header A[]>["b"]`}},
		{"tyk in lua", "m.lua", `local function helper(a, b, c) end
function h(request, session, spec) request.set_headers.A = "b" return request, session end
function k(request, session, metadata, spec) metadata.token = "t" return request, {alias = "al"}, metadata end`, nil,
			[]string{`h pre continued header A[]>["b"]`, `k auth continued session alias[]>["\"al\""] session key_id[]>["\"t\""] session meta_data[]>["{\"token\":\"t\"}"]`}},
		{"a virtual endpoint", "v.js", `function helper(a) { return a; }
function answer(request, session, config) { return TykJsResponse({Body: "of " + request.Params.page[0] + config.config_data.c + session.alias, Code: 202, Headers: {A: "b"}}, {}); }`,
			[]string{"--config", `{"c": "d"}`, "--session", `{"alias": "al"}`}, []string{`answer post answered reply status []>["202"] reply header A[]>["b"] reply body []>["of 2dal"]`}},
		{"a virtual endpoint, named", "v.js", `function f(r) { return TykJsResponse({Body: "b", Code: 200}, {}); }`, []string{"--hook", "f:virtual"}, []string{`f post answered reply status []>["200"] reply body []>["b"]`}},
		{"a virtual endpoint in lua", "v.lua", `function f(request, session, spec) return request, session end`, []string{"--hook", "f:virtual"}, []string{"f post failed plugin has no such hook: only Tyk's JavaScript has virtual endpoints"}},
		{"a schema", "a.js", `exports.config_schema = {type: "object", required: ["a"]}; exports.pre = function (x) {};`, []string{"--config", `{}`}, nil},
		{"out of time", "a.lua", `function exports.pre(x) while true do end end`, []string{"--timeout", "20ms"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, tt.file, tt.text, tt.args...)
			if tt.want == nil {
				if got := told(r); len(got) != 1 || !strings.Contains(got[0], "pre pre failed ") || r.OK {
					t.Errorf("got %v", got)
				}
				return
			}
			if d := cmp.Diff(tt.want, told(r)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What a script that cannot be run says.
func TestRefused(t *testing.T) {
	dir := files(t, map[string]string{
		"broken.js": "exports.pre = function (x) {\n  x.(;\n};", "throws.js": "\n\nnothing.here();", "broken.lua": "function exports.pre(x)\n  x = = 1\nend",
		"none.js": "var a = 1;", "none.lua": "local a = 1", "one.js": "exports.pre = function () {};", "text.txt": "", "os.lua": "os.exit(1)",
		"nomiddleware.js": "var a = 1;", "need.js": `require("../x");`,
		"unknown.yaml": "exchanges:\n  - {name: a, requests: {}}\n", "empty.yaml": "exchanges: []\n", "twice.yaml": "exchanges: [{name: a}, {name: a}]\n",
		"header.yaml": "exchanges: [{request: {headers: {'a b': c}}}]\n", "outcome.yaml": "exchanges: [{expect: {outcome: refuse}}]\n",
		"path.yaml": "exchanges: [{request: {path: 'no slash'}}]\n", "keys.yaml": "keys: {a: 1}\nexchanges: [{}]\n", "client.yaml": "exchanges: [{request: {client: nowhere}}]\n",
		"hook.yaml": "hooks: [gone]\nexchanges: [{}]\n", "store.yaml": "store: {'': x}\nexchanges: [{}]\n",
	})
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"broken.js"}, `plugin "broken.js": broken.js:2: `},
		{[]string{"throws.js"}, `plugin "throws.js": throws.js:3: ReferenceError`},
		{[]string{"broken.lua"}, `plugin "broken.lua": broken.lua:2: `},
		{[]string{"os.lua"}, `plugin "os.lua": os.lua:1: `},
		{[]string{"need.js"}, "need.js:1: "},
		{[]string{"none.js"}, "none.js has no hooks"},
		{[]string{"none.lua"}, "none.lua has no hooks"},
		{[]string{"nomiddleware.js", "--tyk"}, "nomiddleware.js has no hooks"},
		{[]string{"one.js", "--hook", "post"}, `one.js has no hook "post"`},
		{[]string{"one.js", "--hook", "pre:later"}, `"later" is no phase`},
		{[]string{"text.txt"}, "must end in .js or .lua"},
		{[]string{"gone.js"}, "no such file"},
		{[]string{"one.js", "--config", "{"}, "--config"},
		{[]string{"one.js", "--session", "{"}, "--session"},
		{[]string{"one.js", "--header", "a"}, "write 'Name: value'"},
		{[]string{"one.js", "--header", "a b: c"}, "RFC 9110"},
		{[]string{"one.js", "--path", "x"}, "RFC 9112"},
		{[]string{"one.js", "--times", "0"}, "--times"},
		{[]string{"one.js", "--allow", "ffi"}, `no library "ffi"`},
		{[]string{"one.js", "--sample", "unknown.yaml"}, `unknown.yaml:2:25: $.exchanges[0].requests: unknown key (did you mean "request"?)`},
		{[]string{"one.js", "--sample", "empty.yaml"}, "no exchanges"},
		{[]string{"one.js", "--sample", "twice.yaml"}, `two exchanges are named "a"`},
		{[]string{"one.js", "--sample", "header.yaml"}, "exchange 1: header"},
		{[]string{"one.js", "--sample", "outcome.yaml"}, `"refuse" is no outcome`},
		{[]string{"one.js", "--sample", "path.yaml"}, "no target of a request"},
		{[]string{"one.js", "--sample", "keys.yaml"}, "must be an object"},
		{[]string{"one.js", "--sample", "client.yaml"}, "exchange 1: client"},
		{[]string{"one.js", "--sample", "hook.yaml"}, `no hook "gone"`},
		{[]string{"one.js", "--sample", "store.yaml"}, "store"},
		{[]string{"one.js", "--sample", "gone.yaml"}, "no such file"},
		{[]string{"one.js", "--sample", "empty.yaml", "--path", "/"}, "none of the others can be"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			args := append([]string{}, tt.args...)
			for i, a := range args {
				if i == 0 || args[i-1] == "--sample" {
					args[i] = filepath.Join(dir, a)
				}
			}
			out, _, err := command(t, args...)
			if err == nil || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), tt.want) || out != "" {
				t.Errorf("got %v and %q, want %q", err, out, tt.want)
			}
		})
	}
}

const expecting = `
store: {n: "4"}
keys: {known: {rate: 7}}
exchanges:
  - name: all of it
    hooks: [pre, post, response]
    config: {c: [1, two]}
    request: {path: "/a?b=c", headers: {X-In: [one, two], X-Gone: x}, body: {a: 1}, client: "192.0.2.7:99"}
    reply: {status: 404, headers: {X-Reply: r}, body: nothing}
    session: {key_id: k, alias: ada, access_rights: {shop: {api_id: shop}}}
    values: {early: [1, 2], plain: text}
    expect:
      outcome: continued
      request: {method: POST, path: "/a/new?b=c", headers: {X-In: [one, two], X-Gone: null, X-Config: '[1,"two"]', Content-Type: application/json}, body: {b: [2], a: 1}}
      reply: {status: 200, headers: {X-Reply: null, X-From: 192.0.2.7}, body: "instead of nothing"}
      session: {alias: bob, key_id: k, tags: [], rate: 0, access_rights: {shop: {api_id: shop}}}
      values: {early: null, plain: text, late: {n: 5}}
      log: [came]
      counters: {calls: 2}
  - {name: next, hooks: [count], expect: {values: {n: 6}}}
  - {name: refused, hooks: [stop], expect: {outcome: refused, hook: stop, error: stop it, session: null, reply: {status: 499, headers: {A: b}}}}
  - {name: failing, hooks: [fail], expect: {error: on purpose}}
  - {name: failing too, hooks: [fail], expect: {outcome: failed, hook: fail}}
`

const expected = `
exports.hooks = {pre: {needs: ["default", "body"]}, response: {needs: ["default", "response_body"]}};
exports.pre = function (x) {
  x.request.path += "/new";
  x.request.headers.del("x-gone");
  x.request.headers.set("X-Config", JSON.stringify(x.config.c));
  var body = x.request.json();
  body.b = [2];
  x.request.setBody(JSON.stringify(body));
  x.setValue("early");
  x.count("calls");
  log("they came");
};
exports.post = function (x) {
  var s = x.session;
  s.alias = "bob";
  x.setSession(s);
  x.setValue("late", {n: store.incr("n")});
  x.count("calls");
};
exports.response = function (x) {
  x.response.setBody("instead of " + x.response.text());
  x.response.status = 200;
  x.response.headers.del("X-Reply");
  x.response.headers.set("X-From", x.client);
};
exports.count = function (x) { x.setValue("n", store.incr("n")); };
exports.stop = function (x) { x.refuse(499, "stop it", {A: "b"}); };
exports.fail = function (x) { throw new Error("on purpose"); };
`

func TestExpectations(t *testing.T) {
	sample := filepath.Join(files(t, map[string]string{"s.yaml": expecting}), "s.yaml")
	r := run(t, "a.js", expected, "--sample", sample)
	for _, e := range r.Exchanges {
		if !e.OK || len(e.Failures) > 0 {
			t.Errorf("%s: %+v", e.Name, e.Failures)
		}
	}
	if len(r.Exchanges) != 5 || !r.OK {
		t.Errorf("got %d exchanges, ok %v", len(r.Exchanges), r.OK)
	}
}

// Every expectation can fail, and says what it wanted.
func TestUnmet(t *testing.T) {
	tests := []struct{ expect, want string }{
		{`{outcome: answered}`, "outcome: answered, got continued"},
		{`{hook: pre}`, "hook that ends it: pre, got "},
		{`{error: text}`, "error: … text …, got "},
		{`{request: {method: PUT}}`, "request method: PUT, got GET"},
		{`{request: {path: /q}}`, "request path: /q, got /p"},
		{`{request: {path: "/p?z=1"}}`, "request path: /p?z=1, got /p?a=1"},
		{`{request: {headers: {X-New: other}}}`, "request header X-New: other, got n"},
		{`{request: {headers: {X-New: [n, n]}}}`, "request header X-New: n\nn, got n"},
		{`{request: {headers: {X-New: null}}}`, "request header X-New: none, got n"},
		{`{request: {headers: {X-Other: n}}}`, "request header X-Other: n, got none"},
		{`{request: {body: text}}`, "request body: text, got none"},
		{`{request: {body: {a: 1}}}`, `request body: {"a":1}, got none`},
		{`{reply: {status: 200}}`, "reply status: 200, got none"},
		{`{reply: {headers: {A: b}}}`, "reply header A: b, got none"},
		{`{reply: {body: b}}`, "reply body: b, got none"},
		{`{session: {alias: ada}}`, `session alias: "ada", got "bob"`},
		{`{session: {meta_data: {a: b}}}`, `session meta_data: {"a":"b"}, got none`},
		{`{session: null}`, "session: nobody, got k"},
		{`{values: {v: 2}}`, "value v: 2, got 1"},
		{`{values: {v: null}}`, "value v: null, got 1"},
		{`{values: {w: 2}}`, "value w: 2, got none"},
		{`{log: [more]}`, "log: … more …, got a line"},
		{`{counters: {n: 2}}`, "counter n: 2, got 1"},
	}
	const text = `exports.pre = function (x) { x.request.headers.set("X-New", "n"); x.authenticate("k", "bob"); x.setValue("v", 1); log("a line"); x.count("n"); };`
	for _, tt := range tests {
		t.Run(tt.expect, func(t *testing.T) {
			sample := filepath.Join(files(t, map[string]string{"s.yaml": "exchanges: [{request: {path: '/p?a=1'}, expect: " + tt.expect + "}]"}), "s.yaml")
			r := run(t, "a.js", text, "--sample", sample)
			var got []string
			for _, f := range r.Exchanges[0].Failures {
				got = append(got, f.What+": "+f.Want+", got "+f.Got)
			}
			if d := cmp.Diff([]string{tt.want}, got); d != "" || r.OK {
				t.Error(d)
			}
		})
	}
}

// TestText: what people see, but for the figures.
func TestText(t *testing.T) {
	dir := files(t, map[string]string{
		"a.js": "exports.pre = function (x) { log.warn('two\\nlines \\x1b[31m'); x.count('n', -1); x.request.headers.set('X-New', 'n'); };\n" +
			"exports.auth = function (x) {\n  x.refuse(401, 'who?', {A: 'b'});\n};\nexports.post = function (x) {};",
		"s.yaml": "exchanges:\n  - {name: one, expect: {outcome: continued}}\n  - {name: two, hooks: [pre]}\n",
	})
	out, _, err := command(t, filepath.Join(dir, "a.js"), "--sample", filepath.Join(dir, "s.yaml"))
	if !errors.Is(err, ErrFailed) {
		t.Errorf("got %v", err)
	}
	const want = `one: GET /
  HOOK  PHASE  OUTCOME      COST
  pre   pre    continued    1 µs, 1 bytes in 1 allocations
      warn  two
            lines ?[31m
      count n -1
      + header X-New: n
  auth  auth   refused 401  1 µs, 1 bytes in 1 allocations
      message: who?
      reply header A: b
  post  post   not called
  FAILED outcome
    want continued
    got  refused by auth: 401 who?

two: GET /
  HOOK  PHASE  OUTCOME    COST
  pre   pre    continued  1 µs, 1 bytes in 1 allocations
      warn  two
            lines ?[31m
      count n -1
      + header X-New: n

a.js: 1 of 2 exchanges failed
`
	got := regexp.MustCompile(`[0-9.]+ [µm]s, \d+ bytes in \d+ allocations?`).ReplaceAllString(out, "1 µs, 1 bytes in 1 allocations")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestServices: what a script may use.
func TestServices(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "from the web") }))
	defer web.Close()
	fetching := `exports.pre = function (x) { log(fetch(x.config).text()); };`
	if got := told(run(t, "a.js", fetching, "--config", `"`+web.URL+`"`)); !strings.Contains(got[0], "[INFO from the web]") {
		t.Errorf("got %v", got)
	}
	if got := told(run(t, "a.js", fetching, "--no-fetch", "--config", `"`+web.URL+`"`)); !strings.Contains(got[0], "failed a.js:1: ") {
		t.Errorf("got %v", got)
	}
	if got := told(run(t, "a.lua", `function exports.pre(x) log(type(os.time())) end`, "--allow", "os")); !strings.Contains(got[0], "[INFO number]") {
		t.Errorf("got %v", got)
	}
	prelude := filepath.Join(files(t, map[string]string{"p.js": "var shared = 'yes';"}), "p.js")
	tyk := `var m = new TykJS.TykMiddleware.NewMiddleware({}); m.NewProcessRequest(function (r, s) { log(shared); return m.ReturnData(r, {}); });`
	if got := told(run(t, "m.js", tyk, "--prelude", prelude)); !strings.Contains(got[0], "[INFO yes]") {
		t.Errorf("got %v", got)
	}
	body := filepath.Join(files(t, map[string]string{"b": "\xff\x00"}), "b")
	r := run(t, "a.js", `exports.hooks = {pre: {needs: ["body"]}}; exports.pre = function (x) { x.request.setBody(x.request.text() + "!"); };`, "--body", "@"+body)
	if c := r.Exchanges[0].Hooks[0].Changes; len(c) != 1 || c[0].After[0] != `"\xff\x00!"` {
		t.Errorf("got %v", c)
	}
}

func TestTimes(t *testing.T) {
	r := run(t, "a.js", `exports.pre = function (x) { log(store.incr("n")); };`, "--times", "3")
	h := r.Exchanges[0].Hooks[0]
	if len(h.Log) != 1 || h.Log[0].Message != "1" || h.Microsecond <= 0 || h.Allocations == 0 {
		t.Errorf("got %+v", h)
	}
}

func TestLoadingLogs(t *testing.T) {
	dir := files(t, map[string]string{"a.js": `log("loading"); exports.pre = function () {};`})
	if _, stderr, err := command(t, filepath.Join(dir, "a.js")); err != nil || !strings.Contains(stderr, "msg=loading plugin=a.js") {
		t.Errorf("got %q, %v", stderr, err)
	}
}

// TestKeys: keys as the gateway has them, but for counting.
func TestKeys(t *testing.T) {
	k, err := newKeys(map[string]json.RawMessage{"old": json.RawMessage(`{"quota_max": 5, "quota_remaining": 2, "quota_renews": 9}`)})
	if err != nil {
		t.Fatal(err)
	}
	route := &sdk.Route{Org: "acme"}
	fields := func(key string) string {
		text, err := k.GetKeyData(t.Context(), route, key, "")
		if err != nil {
			return err.Error()
		}
		var s struct {
			Org       string `json:"org_id"`
			Max       int    `json:"quota_max"`
			Remaining int    `json:"quota_remaining"`
			Renews    int64  `json:"quota_renews"`
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s.Org, " ", s.Max, " ", s.Remaining, " ", s.Renews > 9)
	}
	set := func(key, session string, keep bool) {
		if err := k.SetKeyData(t.Context(), route, key, []byte(session), keep); err != nil {
			t.Fatal(err)
		}
	}
	const session = `{"quota_max": 7, "quota_remaining": 1, "quota_renewal_rate": 60, "org_id": "other"}`
	set("old", session, true)
	set("new", session, true)
	if got := []string{fields("old"), fields("new"), fields("none")}; !cmp.Equal(got, []string{"acme 7 2 false", "acme 7 7 true", "key not found"}) {
		t.Errorf("got %q", got)
	}
	set("old", session, false)
	if got := fields("old"); got != "acme 7 7 true" {
		t.Errorf("got %q", got)
	}
	if err := k.SetKeyData(t.Context(), route, "bad", []byte("1"), false); err == nil {
		t.Error("a number was taken for a session")
	}
}
