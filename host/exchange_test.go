package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// wanting is a hook that needs bodies.
type wanting struct{ sdk.Hook }

func (wanting) Needs() sdk.Needs {
	return sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody}
}

// ended is a reply's body with a trailer.
type ended struct {
	io.Reader
	trailer sdk.Header
}

func (*ended) Close() error           { return nil }
func (e *ended) Trailer() *sdk.Header { return &e.trailer }

func upReply(status int, length int64, body string, fields ...string) func(f *flow.Flow) {
	return func(f *flow.Flow) {
		f.X.Response().Fill(status, length)
		e := &ended{Reader: strings.NewReader(body)}
		if body != "" {
			e.trailer.Append("X-Sum", "1")
		}
		for i := 0; i+1 < len(fields); i += 2 {
			f.X.Response().Header().Append(fields[i], fields[i+1])
		}
		f.Reply.Body = e
	}
}

// ask takes one request through a gateway with one route.
func ask(t *testing.T, hooks map[string]sdk.Hook, up func(f *flow.Flow), more, method, uri, body string, fields ...string) (*client, *world) {
	t.Helper()
	g, w := gateway(t), newWorld(hooks)
	w.up["a"] = &target{reply: up}
	if err := load(t, g, w, definition(t, plainAPI+more)); err != nil {
		t.Fatal(err)
	}
	f, c := newFlow(t.Context(), method, uri, body)
	for i := 0; i+1 < len(fields); i += 2 {
		f.X.Request().Header().Append(fields[i], fields[i+1])
	}
	f.Major = 1
	g.Serve(f)
	return c, w
}

// What the client gets of a reply's body, length and trailer, whatever hooks make of it.
func TestReplyBodies(t *testing.T) {
	hooks := map[string]sdk.Hook{
		"look":   wanting{fn(func(*sdk.Exchange) error { return nil })},
		"body":   wanting{fn(func(x *sdk.Exchange) error { x.Response().SetBody([]byte("new")); return nil })},
		"answer": wanting{fn(func(x *sdk.Exchange) error { x.Answer(200, []byte("new")); return nil })},
		"fail":   wanting{fn(func(*sdk.Exchange) error { return errors.New("boom") })},
		"none":   fn(func(x *sdk.Exchange) error { x.Response().SetStatus(204); return nil }),
		"same":   wanting{fn(func(x *sdk.Exchange) error { x.Response().SetStatus(304); return nil })},
		"head":   fn(func(x *sdk.Exchange) error { x.Request().SetMethod("HEAD"); return nil }),
		"get":    fn(func(x *sdk.Exchange) error { x.Request().SetMethod("GET"); return nil }),
	}
	response := func(hook string) string { return "hooks: {response: [{hook: " + hook + "}]}" }
	tests := []struct {
		name, method, more string
		up                 func(f *flow.Flow)
		status             int
		length             int64
		body               string
		trailer            bool
	}{
		{"streamed", "GET", "", upReply(200, -1, "old"), 200, -1, "old", true},
		{"looked at", "GET", response("look"), upReply(200, -1, "old"), 200, -1, "old", true},
		{"replaced", "GET", response("body"), upReply(200, 3, "old"), 200, -1, "new", true},
		{"answered instead", "GET", response("answer"), upReply(200, 3, "old"), 200, 3, "new", false},
		{"failed instead", "GET", response("fail"), upReply(200, 3, "old"), 503, 37, "Plugin unavailable", false},
		{"HEAD", "HEAD", "", upReply(200, 99, ""), 200, 99, "", false},
		{"HEAD, looked at", "HEAD", response("look"), upReply(200, 99, ""), 200, 99, "", false},
		{"HEAD, replaced", "HEAD", response("body"), upReply(200, 99, ""), 200, 3, "", false},
		{"HEAD made GET", "HEAD", "hooks: {pre: [{hook: get}]}", upReply(200, 3, "old"), 200, 3, "", false},
		{"GET made HEAD", "GET", "hooks: {pre: [{hook: head}]}", upReply(200, 99, ""), 200, 0, "", false},
		{"204", "GET", response("look"), upReply(204, 0, ""), 204, 0, "", false},
		{"204, given a body", "GET", response("body"), upReply(204, 0, ""), 204, 0, "", false},
		{"made 204", "GET", response("none"), upReply(200, 3, "old"), 204, 0, "", false},
		{"304", "GET", response("look"), upReply(304, 99, ""), 304, 99, "", false},
		{"made 304", "GET", response("same"), upReply(200, 3, "old"), 304, 0, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := ask(t, hooks, tt.up, tt.more, tt.method, "/a", "")
			if c.status != tt.status || c.length != tt.length || !strings.Contains(c.body.String(), tt.body) || tt.body == "" && c.body.Len() > 0 {
				t.Errorf("got %d, length %d, %q; want %d, %d, %q", c.status, c.length, c.body.String(), tt.status, tt.length, tt.body)
			}
			if got := len(c.trailer) > 0; got != tt.trailer {
				t.Errorf("got trailer %v, want one: %v", c.trailer, tt.trailer)
			}
		})
	}
}

// Where a request goes, byte for byte.
func TestTargets(t *testing.T) {
	hooks := map[string]sdk.Hook{
		"nothing": fn(func(*sdk.Exchange) error { return nil }),
		"outside": fn(func(x *sdk.Exchange) error { x.Request().SetPath("/ab/x"); return nil }),
		"inside":  fn(func(x *sdk.Exchange) error { x.Request().SetPath("/a/y"); return nil }),
		"root":    fn(func(x *sdk.Exchange) error { x.Request().SetPath("/"); return nil }),
		"add":     fn(func(x *sdk.Exchange) error { x.Request().Query().Set("b", "2"); return nil }),
		"del":     fn(func(x *sdk.Exchange) error { x.Request().Query().Del("a"); return nil }),
	}
	for _, tt := range []struct{ target, hook, listen, want string }{
		{"/a/b?", "nothing", "", "/b?"},
		{"/a/b", "nothing", "", "/b"},
		{"/a/b??", "nothing", "", "/b??"},
		{"/a/b?a=?", "del", "", "/b"},
		{"/a/b?", "add", "", "/b?b=2"},
		{"/a/b?a=1", "add", "", "/b?a=1&b=2"},
		{"/a/b?a=1", "del", "", "/b"},
		{"/a/b?%61=%zz&&x", "nothing", "", "/b?%61=%zz&&x"},
		{"/a/b?", "inside", "", "/y?"},
		{"/a/b", "outside", "", "/ab/x"},
		{"/a/b", "outside", ", match: prefix", "/b/x"},
		{"/a/b", "root", "", "/"},
		{"/%61/b", "nothing", "", "/b"},
		{"/a//b", "nothing", "", "//b"},
	} {
		t.Run(tt.target+" "+tt.hook+tt.listen, func(t *testing.T) {
			var got string
			up := func(f *flow.Flow) {
				got = f.Out.Path
				if f.Out.Query != "" || f.Out.ForceQuery {
					got += "?" + f.Out.Query
				}
				upReply(200, 0, "")(f)
			}
			g, w := gateway(t), newWorld(hooks)
			w.up["a"] = &target{reply: up}
			yaml := "listen: {path: /a" + tt.listen + "}\nupstream: {url: http://127.0.0.1:1}\nhooks: {pre: [{hook: " + tt.hook + "}]}"
			if err := load(t, g, w, definition(t, yaml)); err != nil {
				t.Fatal(err)
			}
			if c := get(t, g, tt.target); c.status != 200 || got != tt.want {
				t.Errorf("got %d, %s, want %s", c.status, got, tt.want)
			}
		})
	}
}

// What a client lists in Connection is gone before any hook runs, and it cannot list what hooks add.
func TestConnectionLists(t *testing.T) {
	hooks := map[string]sdk.Hook{"h": fn(func(x *sdk.Exchange) error {
		if x.Request().Header().Has("X-Mine") {
			t.Error("a hook sees a field of the connection alone")
		}
		x.Request().Header().Set("X-User", "hook")
		return nil
	})}
	_, w := ask(t, hooks, upReply(200, 0, ""), "hooks: {pre: [{hook: h}]}", "GET", "/a", "",
		"Connection", "TE, x-mine", "Connection", "X-User", "X-Mine", "1", "X-User", "client", "TE", "trailers")
	want := []sdk.Field{{Name: "TE", Value: "trailers"}, {Name: "X-User", Value: "hook"}}
	if got := w.up["a"].sent[0].Request.Header; !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	c, _ := ask(t, map[string]sdk.Hook{"h": fn(func(x *sdk.Exchange) error {
		h := x.Answer(200, nil).Header()
		h.Set("Connection", "close, X-Hop")
		h.Set("X-Hop", "1")
		h.Set("Transfer-Encoding", "chunked")
		h.Set("Keep-Alive", "1")
		h.Set("X-Kept", "1")
		return nil
	})}, nil, "hooks: {pre: [{hook: h}]}", "GET", "/a", "")
	if !slices.Equal(c.header, []sdk.Field{{Name: "X-Kept", Value: "1"}}) {
		t.Errorf("an answer's header: %v", c.header)
	}
}

// The events that refusals and failures cause, and those that they do not.
func TestEvents(t *testing.T) {
	refuse := fn(func(*sdk.Exchange) error { return sdk.Errorf(403, "no") })
	identify := func(change func(s *sdk.Session)) sdk.Hook {
		return fn(func(x *sdk.Exchange) error {
			s := &sdk.Session{KeyID: "k"}
			change(s)
			x.SetSession(s)
			return nil
		})
	}
	hooks := map[string]sdk.Hook{
		"refuse": refuse, "tykrefuse": refuse,
		"tykfail": fn(func(*sdk.Exchange) error { return errors.New("down") }),
		"nobody":  fn(func(*sdk.Exchange) error { return nil }),
		"forget":  fn(func(x *sdk.Exchange) error { x.SetSession(nil); return nil }),
		"tykbody": wanting{fn(func(*sdk.Exchange) error { return nil })},
		"key":     identify(func(*sdk.Session) {}),
		"expired": identify(func(s *sdk.Session) { s.Expires = time.Now().Unix() }),
		"later":   identify(func(s *sdk.Session) { s.Expires = time.Now().Add(time.Hour).Unix() }),
		"idle":    identify(func(s *sdk.Session) { s.Inactive = true }),
		"elsewhere": identify(func(s *sdk.Session) {
			s.AccessRights = map[string]sdk.AccessDefinition{"b": {}}
		}),
		"here": identify(func(s *sdk.Session) {
			s.AccessRights = map[string]sdk.AccessDefinition{"a": {Versions: []string{"Default"}, AllowedURLs: []sdk.AccessSpec{{}}}}
		}),
		"path": identify(func(s *sdk.Session) {
			s.AccessRights = map[string]sdk.AccessDefinition{"a": {AllowedURLs: []sdk.AccessSpec{{}, {URL: "^/x$", Methods: []string{"POST"}}}}}
		}),
		"paths": identify(func(s *sdk.Session) {
			s.AccessRights = map[string]sdk.AccessDefinition{"a": {AllowedURLs: []sdk.AccessSpec{{URL: "(", Methods: []string{"GET"}}, {URL: "^/y", Methods: []string{"POST"}}}}}
		}),
	}
	for _, tt := range []struct {
		hooks  string
		status int
		events string
	}{
		{"pre: [{hook: refuse}]", 403, ""},
		{"pre: [{hook: tykrefuse}]", 403, "AuthFailure no"},
		{"auth: [{hook: refuse}]", 403, "AuthFailure no"},
		{"auth: [{hook: tykfail}]", 403, ""},
		{"auth: [{hook: nobody}]", 401, "AuthFailure no identity"},
		{"pre: [{hook: tykbody, body: {buffer: 2}}]", 413, ""},
		{"auth: [{hook: tykbody, body: {buffer: 2}}]", 413, ""},
		{"auth: [{hook: key}]", 200, ""},
		{"auth: [{hook: key}], post_key_auth: [{hook: forget}]", 401, "AuthFailure no identity"},
		{"auth: [{hook: expired}]", 401, "KeyExpired Attempted access from expired key"},
		{"auth: [{hook: later}]", 200, ""},
		{"auth: [{hook: idle}]", 403, "AuthFailure Attempted access from inactive key"},
		{"auth: [{hook: idle}], post_key_auth: [{hook: key}]", 200, ""}, // which comes before
		{"auth: [{hook: elsewhere}]", 403, "AuthFailure Attempted access to disallowed API"},
		{"auth: [{hook: here}]", 200, ""},
		{"auth: [{hook: path}]", 200, ""},
		{"auth: [{hook: paths}]", 403, "AuthFailure Attempted access to disallowed resource"},
	} {
		t.Run(tt.hooks, func(t *testing.T) {
			g, w := gateway(t), newWorld(hooks)
			d := definition(t, plainAPI+"observers: [{observer: o}]\nhooks: {"+tt.hooks+"}")
			if err := load(t, g, w, d); err != nil {
				t.Fatal(err)
			}
			f, c := newFlow(t.Context(), "POST", "/a/x", "long")
			g.Serve(f)
			if c.status != tt.status {
				t.Errorf("got %d %s, want %d", c.status, c.body.String(), tt.status)
			}
			if err := g.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, b := range w.batches {
				for _, e := range b.Events {
					if e.Type != sdk.EventReload {
						got += e.Type + " " + e.Message
					}
				}
			}
			if got != tt.events {
				t.Errorf("got events %q, want %q", got, tt.events)
			}
		})
	}
}

// Records say what the client asked, whatever hooks made of it.
func TestRecordsOfChangedRequests(t *testing.T) {
	hooks := map[string]sdk.Hook{"h": fn(func(x *sdk.Exchange) error {
		x.Request().SetMethod("PUT")
		x.Request().SetPath("/a/new")
		x.Request().Query().Set("b", "2")
		return nil
	})}
	g, w := gateway(t), newWorld(hooks)
	if err := load(t, g, w, definition(t, plainAPI+"observers: [{observer: o}]\nhooks: {pre: [{hook: h}]}")); err != nil {
		t.Fatal(err)
	}
	get(t, g, "/a/old?a=1")
	if r := onlyRecord(t, g, w); r.Method != "GET" || r.Path != "/a/old" || r.Query != "a=1" {
		t.Errorf("got %s %s?%s", r.Method, r.Path, r.Query)
	}
}

// Who answered, and what the records say of hooks, is the truth.
func TestRecords(t *testing.T) {
	hooks := map[string]sdk.Hook{
		"fine": fn(func(*sdk.Exchange) error { return nil }), "refuse": fn(func(*sdk.Exchange) error { return sdk.Errorf(418, "no") }),
		"fail": fn(func(*sdk.Exchange) error { return errors.New("boom\nstack") }),
		"body": wanting{fn(func(*sdk.Exchange) error { return nil })},
		"boom": fn(func(*sdk.Exchange) error { panic("oh") }),
		"say":  fn(func(x *sdk.Exchange) error { x.Answer(200, nil); return nil }),
	}
	torn := func(f *flow.Flow) {
		f.X.Response().Fill(200, -1)
		f.Reply.Body = &ended{Reader: io.MultiReader(strings.NewReader("x"), broken{})}
	}
	for _, tt := range []struct {
		hooks    string
		up       func(f *flow.Flow)
		status   int
		by       string
		outcomes string
		failure  string
	}{
		{"pre: [{hook: fine}]", nil, 200, "upstream", "ok", ""},
		{"pre: [{hook: refuse}]", nil, 418, "refuse", "refused", ""},
		{"pre: [{hook: fail}]", nil, 503, "gateway", "failed", "pre hook fail: boom"},
		{"pre: [{hook: boom}]", nil, 503, "gateway", "failed", "pre hook boom: plugin panicked: oh"},
		{"pre: [{hook: fail, on_error: skip}, {hook: fine}]", nil, 200, "upstream", "skipped ok", ""},
		{"pre: [{hook: body, body: {buffer: 2}}]", nil, 413, "gateway", "too_large", "body over the buffer limit: 4 bytes, the limit is 2"},
		{"response: [{hook: fail}]", nil, 503, "gateway", "failed", "response hook fail: boom"},
		{"response: [{hook: say}]", nil, 200, "say", "answered", ""},
		{"response: [{hook: fine}, {hook: body}]", torn, 502, "gateway", "ok", "reading the body: unexpected EOF"},
	} {
		t.Run(tt.hooks, func(t *testing.T) {
			g, w := gateway(t), newWorld(hooks)
			w.up["a"] = &target{reply: tt.up}
			if err := load(t, g, w, definition(t, plainAPI+"observers: [{observer: o}]\nhooks: {"+tt.hooks+"}")); err != nil {
				t.Fatal(err)
			}
			f, c := newFlow(t.Context(), "POST", "/a/x", "long")
			g.Serve(f)
			r := onlyRecord(t, g, w)
			var outcomes []string
			for _, h := range r.Hooks {
				outcomes = append(outcomes, h.Outcome.String())
			}
			if c.status != tt.status || r.Status != tt.status || r.AnsweredBy != tt.by || strings.Join(outcomes, " ") != tt.outcomes || r.Error != tt.failure {
				t.Errorf("got %d, record %d by %q, outcomes %v, %q; want %d %q %q %q", c.status, r.Status, r.AnsweredBy, outcomes, r.Error,
					tt.status, tt.by, tt.outcomes, tt.failure)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// onlyRecord closes the gateway and returns the one record that its observer got.
func onlyRecord(t *testing.T, g *Gateway, w *world) sdk.Record {
	t.Helper()
	if err := g.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var records []sdk.Record
	for _, b := range w.batches {
		records = append(records, b.Records...)
	}
	if len(records) != 1 {
		t.Fatalf("got %d records, want one", len(records))
	}
	return records[0]
}

// A client that left is told nothing, and is written down as 499, wherever it was noticed.
func TestClientGone(t *testing.T) {
	for name, up := range map[string]func(leave func()) error{
		"by the host":     func(leave func()) error { leave(); return context.Canceled },
		"by the upstream": func(leave func()) error { leave(); return &sdk.Error{Status: 499, Message: "x", Err: context.Canceled} },
		"by its body": func(func()) error {
			return &sdk.Error{Status: 499, Message: "x", Err: fmt.Errorf("%w: %w", context.Canceled, flow.ErrGone)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			g, w := gateway(t), newWorld(nil)
			w.up["a"] = &target{err: up(leave)}
			if err := load(t, g, w, definition(t, plainAPI+"observers: [{observer: o}]")); err != nil {
				t.Fatal(err)
			}
			f, c := newFlow(ctx, "GET", "/a", "")
			g.Serve(f)
			if r := onlyRecord(t, g, w); c.status != 0 || r.Status != 499 || r.AnsweredBy != "client" || r.Error != "client left" {
				t.Errorf("sent %d, recorded %d by %q: %q", c.status, r.Status, r.AnsweredBy, r.Error)
			}
		})
	}
}

// The same when it was noticed while its body was read for a hook, before the context has ended.
func TestClientGoneWithinBody(t *testing.T) {
	g, w := gateway(t), newWorld(map[string]sdk.Hook{"body": wanting{fn(func(*sdk.Exchange) error { t.Error("called"); return nil })}})
	if err := load(t, g, w, definition(t, plainAPI+"observers: [{observer: o}]\nhooks: {pre: [{hook: body}]}")); err != nil {
		t.Fatal(err)
	}
	f, c := newFlow(t.Context(), "POST", "/a", "abc")
	f.Body = &text{Reader: iotest.ErrReader(fmt.Errorf("%w: connection reset", flow.ErrGone))}
	g.Serve(f)
	if r := onlyRecord(t, g, w); c.status != 0 || r.Status != 499 || r.AnsweredBy != "client" || r.Error != "client left" || len(r.Hooks) != 0 {
		t.Errorf("sent %d, recorded %d by %q: %q, %v", c.status, r.Status, r.AnsweredBy, r.Error, r.Hooks)
	}
}

// A reply that cannot be completed cuts the client's connection, also when the client may be half gone: it must not take
// a part for the whole.
func TestTornReplyIsCut(t *testing.T) {
	for name, gone := range map[string]bool{"upstream broke off": false, "client half closed": true} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			if gone {
				leave()
			}
			g, w := gateway(t), newWorld(nil)
			b := &text{Reader: io.MultiReader(strings.NewReader("x"), broken{})}
			w.up["a"] = &target{reply: func(f *flow.Flow) { f.X.Response().Fill(200, -1); f.Reply.Body = b }}
			if err := load(t, g, w, definition(t, plainAPI)); err != nil {
				t.Fatal(err)
			}
			f, _ := newFlow(ctx, "GET", "/a", "")
			func() {
				defer func() {
					if v := recover(); v != flow.ErrAbort { //nolint:errorlint // a panic value
						t.Errorf("got %v, want the abort", v)
					}
				}()
				g.Serve(f)
			}()
			if !b.closed || g.table.Load().routes[0].inFlight() != 0 {
				t.Errorf("body closed: %v, in flight: %d", b.closed, g.table.Load().routes[0].inFlight())
			}
		})
	}
}

// A panic of our own, behind a reply of the upstream's, leaks nothing and is written down; the front answers it.
func TestPanicInTheHost(t *testing.T) {
	g, w := gateway(t), newWorld(nil)
	b := &text{Reader: strings.NewReader("x")}
	w.up["a"] = &target{reply: func(f *flow.Flow) { f.X.Response().Fill(200, -1); f.Reply.Body = b }}
	if err := load(t, g, w, definition(t, plainAPI+"observers: [{observer: o}]")); err != nil {
		t.Fatal(err)
	}
	v := g.table.Load().routes[0].variants[0]
	v.response = append(v.response, stepFunc(func(*state) error { panic("rule") }))
	f, c := newFlow(t.Context(), "GET", "/a", "")
	func() {
		defer func() {
			if recover() != "rule" {
				t.Error("the panic does not reach the front")
			}
		}()
		g.Serve(f)
	}()
	if r := onlyRecord(t, g, w); c.status != 0 || r.Status != 500 || !strings.Contains(r.Error, "panic") || !b.closed {
		t.Errorf("sent %d, recorded %d %q, body closed %v", c.status, r.Status, r.Error, b.closed)
	}
}

// Refusals before CORS carry its headers all the same.
func TestRefusalsCarryCORS(t *testing.T) {
	const more = "cors: {enabled: true, origins: [\"http://o\"]}\nversions: {in: header, key: V, list: [{name: v1}]}\n"
	c, _ := ask(t, nil, nil, more, "GET", "/a", "", "Origin", "http://o", "V", "v9")
	if c.status != 403 || !slices.Equal(c.get("Access-Control-Allow-Origin"), []string{"http://o"}) {
		t.Errorf("got %d %v", c.status, c.header)
	}
}

// What no route serves is in the access log; /hello and /ready answer before anything is loaded.
func TestUnrouted(t *testing.T) {
	g := newGateway(t, time.Minute)
	var lines bytes.Buffer
	log, err := observe.NewAccessLog(&lines, true, []string{"status", "path", "request_id"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.options.AccessLog = log
	for _, tt := range []struct {
		method, path string
		status       int
	}{{"GET", "/hello", 200}, {"HEAD", "/ready", 503}, {"POST", "/hello", 503}, {"GET", "/x", 503}} {
		f, c := newFlow(t.Context(), tt.method, tt.path, "")
		if g.Serve(f); c.status != tt.status {
			t.Errorf("%s %s: got %d, want %d", tt.method, tt.path, c.status, tt.status)
		}
	}
	if err := load(t, g, newWorld(nil)); err != nil {
		t.Fatal(err)
	}
	get(t, g, "/nowhere?secret")
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"status":503,"path":"/hello","request_id":"`, `"status":503,"path":"/x"`, `"status":404,"path":"/nowhere"`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no line with %q in\n%s", want, lines.String())
		}
	}
	if strings.Count(lines.String(), "\n") != 3 || strings.Contains(lines.String(), "secret") {
		t.Errorf("got\n%s", lines.String())
	}
}

// The time that a client takes for its body is none of the hook's, nor of the budget for hooks.
func TestBodiesCostNoBudget(t *testing.T) {
	hooks := map[string]sdk.Hook{"h": wanting{fn(func(*sdk.Exchange) error { return nil })}}
	g, w := gateway(t), newWorld(hooks)
	if err := load(t, g, w, definition(t, plainAPI+"budget: 20ms\nhooks: {pre: [{hook: h}, {hook: h}]}")); err != nil {
		t.Fatal(err)
	}
	f, c := newFlow(t.Context(), "POST", "/a", "x")
	f.Body = &text{Reader: slow{f.Body}}
	g.Serve(f)
	if c.status != 200 || f.Times.Bodies < 40*time.Millisecond || f.Times.Hooks >= f.Times.Bodies {
		t.Errorf("got %d, %v for bodies, %v for hooks", c.status, f.Times.Bodies, f.Times.Hooks)
	}
}

// slow takes longer than the budget.
type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	<-time.After(40 * time.Millisecond)
	return s.Reader.Read(p)
}

// A strict gateway is not ready while a plugin server takes no calls.
func TestStrictReady(t *testing.T) {
	g, dead := gateway(t), 1
	g.options.StrictReady, g.options.Dead = true, func() int { return dead }
	if err := load(t, g, newWorld(nil)); err != nil {
		t.Fatal(err)
	}
	if status, why := g.Ready(); status != 503 || !strings.Contains(string(why), "plugin servers") {
		t.Errorf("got %d %s", status, why)
	}
	dead = 0
	if status, _ := g.Ready(); status != 200 {
		t.Errorf("got %d", status)
	}
}
