package js

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TestModernAPI: what API.md promises beyond what the suite covers.
func TestModernAPI(t *testing.T) {
	db, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		w.WriteHeader(201)
		_, _ = fmt.Fprintf(w, `{"got": %d, "in": %q, "hops": %q}`, len(body), strings.Join(r.Header.Values("X-In"), "+"), r.Header.Get(script.HopHeader))
	}))
	t.Cleanup(web.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	tests := []struct{ name, code, want, err string }{
		{name: "headers", code: `var h = x.request.headers; h.set("X-L", ["1", "2"]); h.add("x-l", "3"); h.set("X-One", []);
			return [h.get("x-l"), h.getAll("X-L"), h.has("X-One"), typeof h.get("none"), JSON.stringify(h.entries())]`,
			want: `1|1,2,3|false|undefined|[["Accept","*/*"],["X-L","1"],["X-L","2"],["x-l","3"]]`},
		{name: "query", code: `var q = x.request.query; q.set("page", ["3", "4"]); q.del("q"); q.add("é", "a b"); return [q.get("page"), q.getAll("page"), q.has("q"), q.raw, x.request.target]`,
			want: `3|3,4|false|page=3&page=4&%C3%A9=a+b|/orders/4%2F2?page=3&page=4&%C3%A9=a+b`},
		{name: "bodies", code: `x.request.setBody(new Uint8Array([123, 125])); var a = JSON.stringify(x.request.json()); x.request.setBody("\udcff\u00e9");
			return [a, x.request.bytes().length, x.request.bytes()[0], x.request.text() === "\udcff\u00e9", x.request.length]`, want: `{}|3|255|true|3`},
		{name: "values", code: `x.setValue("v", {a: [1, null]}); x.setRawValue("r", "{"); return [JSON.stringify(x.value("v")), x.rawValue("r"), "" + x.value("r"), "" + x.value("none")]`, want: `{"a":[1,null]}|{|undefined|undefined`},
		{name: "session", code: `var none = x.session; x.authenticate("k", "al"); var s = x.session; s.tags = ["t"]; x.setSession(s); return [none, x.session.key_id, x.session.alias, x.session.tags, JSON.stringify(x.session.meta_data)]`,
			want: `|k|al|t|{}`},
		{name: "configuration", code: `x.config.b = 1; return [x.config.a, x.config === x.config, x.config.b]`, want: `1|true|1`},
		{name: "base64 and hex", code: `return [base64.encode("a?\udcff"), base64.decode("YT8="), base64.urlEncode("\udcff\udcff"), base64.urlDecode("__8") === "\udcff\udcff", hex.encode("\udcff"), hex.decode("6869")]`,
			want: `YT//|a?|__8|true|ff|hi`},
		{name: "crypto", code: `return [crypto.sha256("a").slice(0, 8), crypto.sha1("a", "base64"), crypto.sha512("a", "bytes").length, crypto.hmac("sha256", "k", "d").slice(0, 8), crypto.equal("a", "a"), crypto.equal("a", "b"),
			crypto.random(4).length, crypto.random(3, "bytes").length, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]/.test(crypto.uuid()), now() > 1e9]`,
			want: `ca978112|hvfkN/qlp/zhXR3cuerq6jd2Z7g=|64|e7ea21c3|true|false|8|3|true|true`},
		{name: "store", code: `store.set("k", "v", 60); return [store.get("k"), "" + store.get("none"), store.setNew("k", "w"), store.incr("n"), store.incr("n", 5, 60), store.ttl("k") > 50, store.ttl("none"), store.del("k"), "" + store.get("k")]`,
			want: `v|undefined|false|1|6|true|-2||undefined`},
		{name: "fetch", code: `var r = fetch("` + web.URL + `/p", {method: "POST", headers: {"X-In": ["a", "b"]}, body: "b\udcff", timeout: 5}); return [r.status, r.ok, r.headers.getAll("x-two"), r.json().got, r.json().in, r.json().hops, r.bytes().length > 10]`,
			want: `201|true|1,2|2|a+b|1|true`},
		{name: "fetch that fails", code: `var e; try { fetch("ftp://x"); } catch (caught) { e = caught; } return ["" + e]`, want: `GoError: fetch: "ftp://x" is no http or https address`},
		{name: "nothing of Go's in an error", code: `var e; try { fetch("http://127.0.0.1:1/"); } catch (caught) { e = caught; } return [e.name, Object.getOwnPropertyNames(e.value).join(), typeof e.value.Error, typeof e.value.Unwrap]`,
			want: `GoError||undefined|undefined`},
		{name: "a promise", code: `return (async function () { await null; x.request.headers.set("X-Out", await Promise.resolve("late")); })()`, want: "late"},
		{name: "a promise that is rejected", code: `return Promise.reject(new Error("no"))`, err: "promise rejected: Error: no"},
		{name: "a promise that waits", code: `return new Promise(function () {})`, err: "not settled"},
		{name: "logging", code: `log("a", {b: 1}); log.warn("w"); console.error("e"); x.log("debug", "d"); x.count("n"); return [1]`, want: "1"},
		{name: "an unknown level", code: `x.log("loud", "d")`, err: "unknown level"},
		{name: "what is read only", code: `"use strict"; x.request.host = "other"`, err: "host is read only"},
		{name: "a refusal, caught", code: `try { x.refuse(402, "pay", {"X-Price": "3"}); } catch (e) {} finally { x.request.headers.set("X-Out", "on"); }`, err: "402 pay"},
		{name: "a refusal of nonsense", code: `x.refuse(200, "fine")`, err: "want 400 to 599"},
		{name: "an answer", code: `x.answer(200, {"Set-Cookie": ["a=1", "b=2"]}, "body"); x.response.headers.add("X-More", "1"); return [x.answered, x.response.status, x.response.text(), x.response.headers.getAll("set-cookie")]`,
			want: `true|200|body|a=1,b=2`},
		{name: "a TypeScript-like class", code: `class A { #n = 1; static of() { return new A(); } get n() { return this.#n ?? 0; } } const {n} = A.of(); return [` + "`${n}`" + `, [...new Set([1, 1])].length, ({a: {b: 2}}).a?.b]`, want: `1|1|2`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := opened(t, `exports.hooks = {pre: {needs: ["default", "body"]}}; exports.pre = function (x) {
				var out = (function () { `+tt.code+` })();
				if (Array.isArray(out)) { x.request.headers.set("X-Out", out.join("|")); } else { return out; }
			};`, Options{}, func(p *script.Plugin) {
				p.Services = script.Services{Store: script.NewStore(func() (script.Storage, error) { return db, nil }, tt.name, nil), HTTP: script.NewHTTP(client, script.HTTPLimits{})}
			})
			x, _ := coprocesstest.NewExchange()
			err := handle(t, t.Context(), s, "pre", x, sdk.Pre)
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) || x.Request().Header().Has("X-Out") {
					t.Errorf("got %v, want %q", err, tt.err)
				}
			case err != nil:
				t.Error(err)
			case x.Request().Header().Get("X-Out") != tt.want:
				t.Errorf("got  %s\nwant %s", x.Request().Header().Get("X-Out"), tt.want)
			}
		})
	}
}

// TestUnasked: what a hook did not ask for is not there, and the error says what to do.
func TestUnasked(t *testing.T) {
	s := opened(t, `exports.pre = function (x) { x.request.text(); }; exports.other = function (x) { store.get("k"); };`, Options{}, nil)
	x, _ := coprocesstest.NewExchange()
	x.Request().Fill(sdk.RequestInit{Method: "GET", Path: "/", Length: 3})
	if err := handle(t, t.Context(), s, "pre", x, sdk.Pre); err == nil || !strings.Contains(err.Error(), `needs: ["default", "body"]`) {
		t.Errorf("got %v", err)
	}
	if err := handle(t, t.Context(), s, "other", x, sdk.Pre); !errors.Is(err, script.ErrNoService) {
		t.Errorf("got %v", err)
	}
	for text, part := range map[string]string{
		`exports.hooks = {pre: {needs: ["boddy"]}}; exports.pre = function () {};`: `unknown need "boddy"`,
		`exports.hooks = {prе: {}};`:           "which exports does not have",
		`exports.config_schema = {type: "x"};`: "config schema",
		`exports.pre = function () {`:          "test.js",
		"\n\nthrow new Error('at load');":      "test.js:3: Error: at load",
		`for (;;) {}`:                          "deadline",
	} {
		limits := script.Limits{Time: time.Minute}
		if part == "deadline" {
			limits.Time = 50 * time.Millisecond
		}
		_, err := Open(t.Context(), script.Plugin{Name: "p", Main: []script.Source{{Name: "test.js", Text: text}}, Watch: newWatch(t), Limits: limits}, Options{})
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: got %v, want %q", text, err, part)
		}
	}
}

// What a call does to its configuration, the next does not see.
func TestConfigOfACall(t *testing.T) {
	s := opened(t, `exports.pre = function (x) { x.request.headers.set("X-Out", "" + x.config.n); x.config.n = 1; };`, Options{}, nil)
	for range 2 {
		x, _ := coprocesstest.NewExchange()
		if err := handle(t, t.Context(), s, "pre", x, sdk.Pre); err != nil {
			t.Fatal(err)
		}
		if got := x.Request().Header().Get("X-Out"); got != "undefined" {
			t.Errorf("got %q", got)
		}
	}
}

// A record has the headers that its observer asked for.
func TestRecordHeaders(t *testing.T) {
	s := opened(t, `exports.observers = {Watch({records: [r, none]}) {
		if (JSON.stringify([r.header, r.reply_header, r.header_cut]) !== '[[["X-A","b"],["X-A","c"]],[["C",""]],true]') throw new Error(JSON.stringify(r));
		if (none.header.length + none.reply_header.length !== 0 || none.header_cut) throw new Error(JSON.stringify(none));
	}}`, Options{}, nil)
	record := sdk.Record{Header: []sdk.Field{{Name: "X-A", Value: "b"}, {Name: "X-A", Value: "c"}}, ReplyHeader: []sdk.Field{{Name: "C", Value: ""}}, HeaderCut: true}
	if err := s.Observer("Watch").Observe(t.Context(), sdk.Batch{Records: []sdk.Record{record, {}}}); err != nil {
		t.Error(err)
	}
}
