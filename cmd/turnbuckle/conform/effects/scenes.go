package effects

import (
	"bytes"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

func scenes() []scene {
	return slices.Concat(requestScenes(), bodyScenes(), endScenes(), sessionScenes(), responseScenes(), groupScenes())
}

var (
	look = conformance.Step{Do: "report", Values: []string{"before", "gone", "bytes"}}
	// odd are bytes that are no UTF-8.
	odd = []byte{0xff, 0x00, 0xc3, 0x28, 0xe9}
)

func set(name, value string) conformance.Step {
	return conformance.Step{Do: "set_header", Name: name, Value: value}
}

func requestScenes() []scene {
	many := func(x *sdk.Exchange) {
		for _, f := range []sdk.Field{{Name: "x-one", Value: "2"}, {Name: "X-Other", Value: ""}, {Name: "X-ONE", Value: "3"}, {Name: "X-Bytes", Value: "caf\xe9"}} {
			x.Request().Header().Append(f.Name, f.Value)
		}
	}
	return []scene{
		{id: "nothing", section: "1.6", title: "a hook that does nothing changes nothing", phase: sdk.Pre, hooks: conforms()},
		{id: "sees", section: "1.5", title: "a hook sees the request, its route, client and trace", phase: sdk.Pre, hooks: []use{{conformance.Hook, []conformance.Step{look}, map[string]any{"a": []any{1.0, "é"}}}}},
		{id: "sees-route-config", section: "1.4", title: "without a configuration of its own a hook has the route's", phase: sdk.Post, onRoute: true, hooks: conforms(look)},
		{id: "sees-lines", section: "1.5", title: "a hook sees all header lines in order, their bytes as they are", phase: sdk.Pre, noTyk: true, setup: many, hooks: conforms(look)},
		{id: "sees-first-values", section: "1.5", title: "a hook sees the first value of repeated headers", phase: sdk.Post, setup: func(x *sdk.Exchange) {
			x.Request().Header().Append("x-one", "2")
		}, hooks: conforms(look)},
		{id: "sees-no-query", section: "1.5", title: "a hook sees that there is no query", phase: sdk.Pre, setup: func(x *sdk.Exchange) {
			x.Request().Query().SetRaw("")
		}, hooks: conforms(look)},
		{id: "sees-odd-query", section: "1.5", title: "a query that is not well-formed arrives byte for byte", phase: sdk.Pre, setup: func(x *sdk.Exchange) {
			x.Request().Query().SetRaw("q=%zz&;=&b&=&q=1")
		}, hooks: conforms(conformance.Step{Do: "set_header", Name: "X-Ran", Value: "yes"}, look), noTyk: true},
		{id: "set-headers", section: "1.6", title: "SET replaces all lines of a name in the place of the first", phase: sdk.Pre, hooks: conforms(set("x-one", "changed"), set("X-New", ""), set("X-New", "again")),
			tyk: func(s *sdk.Snapshot) { s.Request.Header[1].Name = "X-One" }},
		{id: "del-headers", section: "1.6", title: "DEL removes all lines of a name", phase: sdk.PostKeyAuth, hooks: conforms(conformance.Step{Do: "del_header", Name: "x-one"}, conformance.Step{Do: "del_header", Name: "Absent"})},
		{id: "add-headers", section: "1.6", title: "ADD appends lines", phase: sdk.Pre, noTyk: true, setup: many, hooks: conforms(
			conformance.Step{Do: "add_header", Name: "X-One", Value: "9"}, conformance.Step{Do: "add_header", Name: "X-Two", Value: "1"}, conformance.Step{Do: "add_header", Name: "X-Two", Value: "2"})},
		{id: "header-order", section: "1.6", title: "header changes are made in the order in which they were asked for", phase: sdk.Auth, noTyk: true, setup: many, hooks: conforms(
			conformance.Step{Do: "add_header", Name: "X-A", Value: "1"}, set("X-One", "set"), conformance.Step{Do: "del_header", Name: "X-A"}, conformance.Step{Do: "add_header", Name: "x-a", Value: "2"},
			conformance.Step{Do: "add_header", Name: "X-One", Value: "added"})},
		{id: "header-bytes", section: "1.5", title: "header values that are no UTF-8 are written as they are", phase: sdk.Pre, noTyk: true, hooks: conforms(conformance.Step{Do: "set_header", Name: "X-Bytes", Value64: []byte("caf\xe9 \xff")})},
		{id: "target", section: "1.6", title: "method, path and query are replaced", phase: sdk.Post, hooks: conforms(
			conformance.Step{Do: "set_method", Value: "PUT"}, conformance.Step{Do: "set_path", Value: "/v2/a%2Fb"}, conformance.Step{Do: "set_query", Value: "x=1&x=2&y=%20+"}),
			tyk: func(s *sdk.Snapshot) { s.Request.Query = "page=2&q=a+b&q=%C3%A9" }, noTyk: true},
		{id: "path", section: "1.6", title: "the path is replaced, escapes and all", phase: sdk.Post, hooks: conforms(conformance.Step{Do: "set_path", Value: "/v2/a%2Fb"}, conformance.Step{Do: "set_method", Value: "PATCH"})},
		{id: "no-query", section: "1.6", title: "an empty query takes the query away", phase: sdk.Pre, noTyk: true, hooks: conforms(conformance.Step{Do: "set_query"})},
		{id: "params", section: "1.6", title: "pairs of the query are changed, the others keep their bytes", phase: sdk.Pre, noTyk: true, setup: func(x *sdk.Exchange) {
			x.Request().Query().SetRaw("a=%41&b&q=1&q=2&c=%2f")
		}, hooks: conforms(conformance.Step{Do: "set_param", Name: "q", Value: "é &"}, conformance.Step{Do: "add_param", Name: "n w", Value: "+"}, conformance.Step{Do: "del_param", Name: "b"})},
		{id: "sees-own-changes", section: "1.5", title: "a hook sees what it changed itself", phase: sdk.Pre, noTyk: true, hooks: conforms(
			set("X-One", "changed"), conformance.Step{Do: "set_method", Value: "PUT"}, conformance.Step{Do: "set_path", Value: "/p"}, conformance.Step{Do: "set_param", Name: "q", Value: "é"}, conformance.Step{Do: "set_body", Value: "new"}, look)},
		{id: "invalid-header-value", section: "1.6", title: "a line break in a header value makes the hook fail", phase: sdk.Pre, unsendable: true, hooks: conforms(kit.Mark(), set("X-Bad", "a\r\nInjected: b"))},
		{id: "invalid-header-name", section: "1.6", title: "a header name that is no token makes the hook fail", phase: sdk.Pre, unsendable: true, hooks: conforms(kit.Mark(), conformance.Step{Do: "add_header", Name: "X Bad", Value: "a"})},
		{id: "invalid-path", section: "1.6", title: "a path without a slash makes the hook fail", phase: sdk.Pre, unsendable: true, hooks: conforms(kit.Mark(), conformance.Step{Do: "set_path", Value: "no slash"})},
		{id: "invalid-method", section: "1.6", title: "a method that is no token makes the hook fail", phase: sdk.Pre, unsendable: true, noTyk: true, hooks: conforms(kit.Mark(), conformance.Step{Do: "set_method", Value: "G T"})},
		{id: "narrow", section: "1.2", title: "a hook is sent what it needs", phase: sdk.Pre, noTyk: true, hooks: []use{{name: conformance.Narrow, steps: []conformance.Step{set("X-Narrow", "yes")}}}},
		{id: "pick-phase", section: "1.2", title: "a hook of the very phase goes before one for any", phase: sdk.Post, hooks: []use{{name: conformance.Pick}}},
		{id: "pick-any", section: "1.2", title: "a hook for any phase is called in the others", phase: sdk.PostKeyAuth, hooks: []use{{name: conformance.Pick}}},
		{id: "other-phase", section: "1.4", title: "a hook is not there in a phase that it is not for", phase: sdk.Post, hooks: []use{{name: conformance.Narrow}}, noTyk: true},
	}
}

func bodyScenes() []scene {
	load := func(b []byte) func(x *sdk.Exchange) {
		return func(x *sdk.Exchange) {
			x.Request().Fill(sdk.RequestInit{Method: "POST", Scheme: "https", Host: "api.example.test", Path: "/orders/", URI: "/orders/", Proto: "HTTP/1.1", Length: int64(len(b))})
			x.Request().LoadBody(b)
		}
	}
	text := load([]byte("text"))
	return []scene{
		{id: "sees-body", section: "1.5", title: "a hook sees the body", phase: sdk.Pre, setup: text, hooks: conforms(look)},
		{id: "sees-bytes", section: "1.5", title: "a hook sees a body that is no text", phase: sdk.Post, setup: load(odd), hooks: conforms(look)},
		{id: "sees-empty-body", section: "1.5", title: "a hook sees that a body is empty", phase: sdk.Pre, setup: load(nil), hooks: conforms(look), noTyk: true},
		{id: "body", section: "1.6", title: "the body is replaced", phase: sdk.Pre, setup: text, hooks: conforms(conformance.Step{Do: "set_body", Value64: odd})},
		{id: "body-text", section: "1.6", title: "the body is replaced by text", phase: sdk.Pre, setup: text, hooks: conforms(conformance.Step{Do: "set_body", Value: "é\n"})},
		{id: "no-body", section: "1.6", title: "the body is replaced by nothing", phase: sdk.Post, setup: text, hooks: conforms(conformance.Step{Do: "set_body"})},
		{id: "keeps-bytes", section: "1.6", title: "a body that nobody changes stays as it is", phase: sdk.Post, setup: load(odd), hooks: conforms(kit.Mark())},
		{id: "large-body", section: "1.1", title: "a body of 1 MiB is seen and replaced", phase: sdk.Pre, setup: load(bytes.Repeat([]byte("y"), 1<<20)), hooks: conforms(conformance.Step{Do: "set_body", Value: "0123456789abcdef", Repeat: 1 << 16})},
	}
}

func endScenes() []scene {
	tea := conformance.Step{Do: "answer", Status: 418, Value: "short and stout", Headers: [][2]string{{"Content-Type", "text/plain"}, {"X-Pot", "tea"}}}
	return []scene{
		{id: "answer", section: "1.6", title: "a hook answers with status, header and body", phase: sdk.Pre, hooks: conforms(tea)},
		{id: "answer-ok", section: "1.6", title: "a hook answers with 200", phase: sdk.Post, hooks: conforms(conformance.Step{Do: "answer", Status: 200, Value: "ok"})},
		{id: "answer-bytes", section: "1.6", title: "an answer has repeated header lines and any bytes", phase: sdk.Pre, noTyk: true, hooks: conforms(
			conformance.Step{Do: "answer", Status: 200, Value64: odd, Headers: [][2]string{{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}}})},
		{id: "answer-nothing", section: "1.6", title: "an answer may have no body", phase: sdk.Auth, hooks: conforms(conformance.Step{Do: "answer", Status: 204})},
		{id: "answer-and-change", section: "1.6", title: "changes of the request stand beside an answer", phase: sdk.Pre, hooks: conforms(set("X-Seen", "yes"), tea)},
		{id: "answer-changed", section: "1.6", title: "what is changed of the answer afterwards counts", phase: sdk.Pre, noTyk: true, hooks: conforms(tea,
			conformance.Step{Do: "set_status", Status: 429}, conformance.Step{Do: "add_header", Name: "X-Pot", Value: "two", Of: "response"}, conformance.Step{Do: "set_body", Value: "changed", Of: "response"})},
		{id: "answer-twice", section: "1.6", title: "an answer replaces the one before, whole", phase: sdk.Pre, hooks: conforms(tea, conformance.Step{Do: "answer", Status: 200, Value: "second"})},
		{id: "answer-absurd", section: "1.6", title: "a status that no message can carry makes the hook fail", phase: sdk.Pre, unsendable: true, hooks: conforms(kit.Mark(), conformance.Step{Do: "answer", Status: 1000})},
		{id: "refuse", section: "1.6", title: "a refusal has status, message and header, and no effects", phase: sdk.Auth, hooks: conforms(kit.Mark(),
			conformance.Step{Do: "refuse", Status: 402, Message: `pay "first" <é>`, Headers: [][2]string{{"X-Price", "3"}}})},
		{id: "refuse-plainly", section: "1.6", title: "a refusal needs no header", phase: sdk.Post, hooks: conforms(conformance.Step{Do: "refuse", Status: 503, Message: "closed"})},
		{id: "fail", section: "1.6", title: "a hook that fails has no effects", phase: sdk.Pre, hooks: conforms(kit.Mark(), conformance.Step{Do: "fail", Message: "out of order"}), also: failedPlainly},
		{id: "crash", section: "1.6", title: "a hook that crashes has no effects, and the server serves on", phase: sdk.Pre, hooks: conforms(kit.Mark(), conformance.Step{Do: "crash", Message: "deliberate"}), also: failedPlainly},
		{id: "after-crash", section: "1.6", title: "after a crash calls are answered", phase: sdk.Pre, hooks: conforms(kit.Mark())},
	}
}

// failedPlainly: it is no refusal, whose text a client would read.
func failedPlainly(t *kit.Trial, r *run) {
	if len(r.after.Request.Header) != 2 {
		t.Fail("the hook that failed has effects: %v", r.after.Request.Header)
	}
}

func sessionScenes() []scene {
	ada := &sdk.Session{KeyID: "key", Alias: "ada", OrgID: "acme", Rate: 10.5, Per: 1, QuotaMax: 1 << 40, Tags: []string{"a", "b"}, Metadata: map[string]string{"m": "n", "é": "ü"}}
	has := func(x *sdk.Exchange) { x.BeginSession(ada.Clone()) }
	full := &conformance.Session{KeyID: "k", Alias: "bob", OrgID: "acme", Rate: 0.5, QuotaMax: -1, Tags: []string{"t"}, Metadata: map[string]string{"token": "k", "m": "n"}}
	return []scene{
		{id: "authenticate", section: "1.5", title: "an auth hook says who calls", phase: sdk.Auth, hooks: conforms(conformance.Step{Do: "authenticate", Key: "key", Alias: "ada"}), tyk: func(s *sdk.Snapshot) {
			s.Session.OrgID, s.Session.Metadata = "acme", map[string]string{"token": "key"} // the key travels as a token
		}},
		{id: "set-session", section: "1.6", title: "an auth hook leaves a whole session", phase: sdk.Auth, hooks: conforms(conformance.Step{Do: "set_session", Session: full})},
		{id: "nobody", section: "1.5", title: "an auth hook leaves nobody", phase: sdk.Auth, hooks: conforms(kit.Mark())},
		{id: "sees-session", section: "1.5", title: "a hook sees who calls", phase: sdk.PostKeyAuth, setup: has, hooks: conforms(look)},
		{id: "keeps-session", section: "1.6", title: "a session that nobody changes stays", phase: sdk.PostKeyAuth, setup: has, hooks: conforms(kit.Mark())},
		{id: "replaces-session", section: "1.6", title: "a session replaces the earlier as a whole", phase: sdk.PostKeyAuth, noTyk: true, setup: has, hooks: conforms(conformance.Step{Do: "set_session", Session: full})},
		{id: "clear-session", section: "1.6", title: "the identity is taken away", phase: sdk.Post, noTyk: true, setup: has, hooks: conforms(conformance.Step{Do: "clear_session"})},
		{id: "values", section: "1.6", title: "values are seen, left, emptied and taken away", phase: sdk.Pre, noTyk: true, setup: func(x *sdk.Exchange) {
			x.BeginValue("before", []byte(`{"a":1}`))
			x.BeginValue("gone", []byte(`2`))
			x.BeginValue("bytes", odd)
		}, hooks: conforms(conformance.Step{Do: "set_value", Name: "new", Value64: odd}, conformance.Step{Do: "set_value", Name: "empty"}, conformance.Step{Do: "del_value", Name: "gone"}, conformance.Step{Do: "set_value", Name: "before", Value: "9"}, look)},
		{id: "notes", section: "1.6", title: "log lines and counters come with the reply", phase: sdk.Post, noTyk: true, hooks: conforms(
			conformance.Step{Do: "log", Level: "debug", Message: "a"}, conformance.Step{Do: "log", Level: "info", Message: "é\n"}, conformance.Step{Do: "log", Level: "warn", Message: "c"}, conformance.Step{Do: "log", Level: "error", Message: "d"},
			conformance.Step{Do: "count", Name: "seen", Delta: 2}, conformance.Step{Do: "count", Name: "lost", Delta: -1})},
		{id: "notes-of-failed", section: "1.6", title: "a hook that fails is heard all the same", phase: sdk.Post, noTyk: true, hooks: conforms(
			conformance.Step{Do: "log", Level: "warn", Message: "before"}, conformance.Step{Do: "count", Name: "tried", Delta: 1}, conformance.Step{Do: "fail", Message: "no"})},
	}
}

func responseScenes() []scene {
	on := func(s conformance.Step) conformance.Step { s.Of = "response"; return s }
	return []scene{
		{id: "sees-reply", section: "1.5", title: "a response hook sees request and reply", phase: sdk.ResponsePhase, hooks: conforms(look), tyk: func(s *sdk.Snapshot) { s.Answered = false }},
		{id: "reply", section: "1.6", title: "status, header and body of the reply are changed", phase: sdk.ResponsePhase, hooks: conforms(conformance.Step{Do: "set_status", Status: 201},
			conformance.Step{Do: "del_header", Name: "content-type", Of: "response"}, conformance.Step{Do: "add_header", Name: "Set-Cookie", Value: "c=3", Of: "response"}, on(set("X-Signed", "yes")), conformance.Step{Do: "set_body", Value64: odd, Of: "response"})},
		{id: "reply-kept", section: "1.6", title: "a reply that nobody changes stays as it is", phase: sdk.ResponsePhase, hooks: conforms()},
		{id: "reply-emptied", section: "1.6", title: "the body of the reply is taken away", phase: sdk.ResponsePhase, hooks: conforms(conformance.Step{Do: "set_body", Of: "response"}, conformance.Step{Do: "del_header", Name: "Set-Cookie", Of: "response"})},
		{id: "reply-replaced", section: "1.6", title: "an answer in the response phase replaces the reply, with its header", phase: sdk.ResponsePhase, hooks: conforms(on(set("X-Dropped", "yes")), conformance.Step{Do: "answer", Status: 503, Value: "sorry", Headers: [][2]string{{"Retry-After", "1"}}}),
			tyk: func(s *sdk.Snapshot) { s.Answered = false }},
		{id: "reply-large", section: "1.1", title: "a reply of 1 MiB is replaced", phase: sdk.ResponsePhase, hooks: conforms(conformance.Step{Do: "set_body", Value: "0123456789abcdef", Repeat: 1 << 16, Of: "response"})},
		{id: "reply-invalid", section: "1.6", title: "a line break in a header of the reply makes the hook fail", phase: sdk.ResponsePhase, unsendable: true, hooks: conforms(on(set("X-Bad", "a\nb")))},
		{id: "reply-failed", section: "1.6", title: "a response hook that fails changes nothing", phase: sdk.ResponsePhase, hooks: conforms(conformance.Step{Do: "set_status", Status: 201}, on(set("X-Half", "done")), conformance.Step{Do: "fail", Message: "no"})},
	}
}

func groupScenes() []scene {
	hook := func(steps ...conformance.Step) use { return use{name: conformance.Hook, steps: steps} }
	answer := conformance.Step{Do: "answer", Status: 200, Value: "done", Headers: [][2]string{{"X-From", "second"}}}
	group := func(id, title string, phase sdk.Phase, hooks ...use) scene {
		return scene{id: "group-" + id, section: "1.5", title: title, phase: phase, noTyk: true, hooks: hooks}
	}
	return []scene{
		group("order", "hooks of a binding run in order, each with its own configuration", sdk.Pre, hook(kit.Mark(), set("X-Trail", "a")), hook(set("X-Trail", "b"), conformance.Step{Do: "add_header", Name: "X-Trail", Value: "c"}), hook(conformance.Step{Do: "set_path", Value: "/c"})),
		group("sees", "a hook sees what those before it changed", sdk.Post, hook(set("X-One", "new"), conformance.Step{Do: "set_method", Value: "PUT"}, conformance.Step{Do: "set_path", Value: "/n"}, conformance.Step{Do: "set_query", Value: "q=n"}, conformance.Step{Do: "set_body", Value: "n"},
			conformance.Step{Do: "set_value", Name: "before", Value: "n"}, conformance.Step{Do: "authenticate", Key: "k", Alias: "n"}), hook(look)),
		group("answer", "no hook runs behind an answer", sdk.Pre, hook(kit.Mark()), hook(answer), hook(set("X-Late", "yes"))),
		group("refuse", "no hook runs behind a refusal, and those before it count", sdk.Pre, hook(kit.Mark()), hook(set("X-Lost", "yes"), conformance.Step{Do: "refuse", Status: 403, Message: "no"}), hook(set("X-Late", "yes"))),
		group("fail", "no hook runs behind a failure, and those before it count", sdk.Auth, hook(kit.Mark()), hook(set("X-Lost", "yes"), conformance.Step{Do: "fail", Message: "no"}), hook(set("X-Late", "yes"))),
		group("crash", "no hook runs behind a crash, and those before it count", sdk.Pre, hook(kit.Mark()), hook(set("X-Lost", "yes"), conformance.Step{Do: "set_body", Value: "lost"}, conformance.Step{Do: "set_path", Value: "/lost"}, conformance.Step{Do: "crash", Message: "no"})),
		group("kit.Absent", "the hooks before one that is not there count", sdk.Pre, hook(kit.Mark()), use{name: kit.Absent}, hook(set("X-Late", "yes"))),
		group("session", "the last session counts, whole", sdk.Auth, hook(conformance.Step{Do: "set_session", Session: &conformance.Session{KeyID: "a", Alias: "first", Tags: []string{"t"}, Metadata: map[string]string{"m": "n"}}}), hook(conformance.Step{Do: "authenticate", Key: "b", Alias: "second"})),
		group("clear", "an identity that was taken away stays away", sdk.PostKeyAuth, hook(conformance.Step{Do: "authenticate", Key: "a", Alias: "b"}), hook(conformance.Step{Do: "clear_session"})),
		group("values", "a value that is taken away again is not left", sdk.Pre, hook(conformance.Step{Do: "set_value", Name: "a", Value: "1"}, conformance.Step{Do: "set_value", Name: "b", Value: "1"}), hook(conformance.Step{Do: "del_value", Name: "a"}, conformance.Step{Do: "set_value", Name: "b", Value: "2"})),
		group("reply", "in the response phase the hooks go on behind an answer", sdk.ResponsePhase, hook(conformance.Step{Do: "add_header", Name: "X-Before", Value: "1", Of: "response"}, conformance.Step{Do: "set_status", Status: 299}), hook(answer),
			hook(conformance.Step{Do: "add_header", Name: "X-After", Value: "1", Of: "response"}, conformance.Step{Do: "set_status", Status: 202}, conformance.Step{Do: "set_body", Value: "after", Of: "response"})),
		group("notes", "log lines and counters name their hook", sdk.Pre, hook(conformance.Step{Do: "log", Level: "info", Message: "first"}), hook(conformance.Step{Do: "count", Name: "n", Delta: 2}, conformance.Step{Do: "log", Level: "error", Message: "second"}), hook(conformance.Step{Do: "count", Name: "n", Delta: 3})),
	}
}
