package wire

import (
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestDecodeObject(t *testing.T) {
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.Auth, sdk.PostKeyAuth, sdk.Post, sdk.ResponsePhase} {
		sent := typical(phase)
		sent.Request().Header().Append("Traceparent", "00-1-2-01")
		object := AppendObject(nil, sent, "H", ObjectOptions{})
		for name, form := range forms(t, object, (&coprocess.Object{}).ProtoReflect().Descriptor()) {
			var x sdk.Exchange
			hook, got, err := DecodeObject(form, &x, nil)
			if err != nil || hook != "H" || got != phase {
				t.Fatalf("%s: got hook %q of phase %v, %v", name, hook, got, err)
			}
			x.Begin(phase, nil, true)
			s, want := x.Snapshot(), sent.Snapshot()
			// What Tyk's protocol does not tell, and the order it does not keep.
			want.RequestID, want.Client, want.Request.Proto, want.Route.Name, want.Route.ListenPath, want.Values = "", s.Client, "", "", "", nil
			want.Trace = sdk.Trace{Parent: "00-1-2-01"}
			if phase == sdk.Auth {
				want.Session = nil
			}
			order := func(fields []sdk.Field) {
				slices.SortStableFunc(fields, func(a, b sdk.Field) int { return strings.Compare(a.Name, b.Name) })
			}
			for _, fields := range [][]sdk.Field{s.Request.Header, want.Request.Header, s.Response.Header, want.Response.Header} {
				order(fields)
			}
			sameExchange(t, name, s, want)
		}
	}
	t.Run("older gateways", func(t *testing.T) {
		b, err := proto.Marshal(&coprocess.Object{
			HookType: coprocess.HookType_Response, Request: &coprocess.MiniRequestObject{Body: "in"},
			Response: &coprocess.ResponseObject{StatusCode: 200, Body: "out", Headers: map[string]string{"A": "b"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var x sdk.Exchange
		if _, _, err := DecodeObject(b, &x, nil); err != nil {
			t.Fatal(err)
		}
		if string(x.Request().Body()) != "in" || string(x.Response().Body()) != "out" || x.Response().Header().Get("A") != "b" {
			t.Errorf("got %+v", x.Snapshot())
		}
	})
}

func TestAppendObjectReply(t *testing.T) {
	tests := []struct {
		name    string
		phase   sdk.Phase
		do      func(x *sdk.Exchange)
		refused *sdk.Error
		want    func(o *coprocess.Object)
	}{
		{"nothing", sdk.Pre, nil, nil, func(*coprocess.Object) {}},
		{"request", sdk.Pre, func(x *sdk.Exchange) {
			x.Request().SetMethod("PUT")
			x.Request().SetPath("/new")
			x.Request().Query().Set("page", "3")
			x.Request().Query().Del("q")
			x.Request().Header().Add("accept", "text/plain")
			x.Request().Header().Add("Cookie", "a=1")
			x.Request().Header().Add("Cookie", "b=2")
			x.Request().Header().Del("User-Agent")
			x.Request().SetBody([]byte("\xff"))
		}, nil, func(o *coprocess.Object) {
			r := o.Request
			r.Method, r.Url, r.Body, r.RawBody = "PUT", "/new?page=3", "", []byte("\xff")
			r.AddParams, r.DeleteParams = map[string]string{"page": "3"}, []string{"q"}
			r.SetHeaders = map[string]string{"Accept": "application/json, text/plain", "Cookie": "a=1; b=2"}
			r.DeleteHeaders = []string{"User-Agent"}
		}},
		{"body emptied", sdk.Pre, func(x *sdk.Exchange) { x.Request().SetBody(nil) }, nil, func(o *coprocess.Object) { o.Request.Body, o.Request.RawBody = "", nil }},
		{"identity", sdk.Auth, func(x *sdk.Exchange) { x.Authenticate("k", "a") }, nil, func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{KeyId: "k", Alias: "a", Metadata: map[string]string{"token": "k"}}
			o.Metadata = map[string]string{"token": "k"}
		}},
		{"no identity", sdk.Auth, func(x *sdk.Exchange) { x.SetSession(nil) }, nil, func(*coprocess.Object) {}},
		{"session outside auth", sdk.PostKeyAuth, func(x *sdk.Exchange) { x.EditSession().Alias = "lost" }, nil, func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
			o.Metadata = map[string]string{"tier": "gold"}
		}},
		{"answer", sdk.Pre, func(x *sdk.Exchange) {
			h := x.Answer(404, []byte("gone")).Header()
			h.Add("a", "1")
			h.Add("A", "2")
		}, nil, func(o *coprocess.Object) {
			o.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 404, ResponseBody: "gone", OverrideError: true, Headers: map[string]string{"A": "1, 2"}}
		}},
		{"answer that is no error", sdk.Pre, func(x *sdk.Exchange) { x.Answer(204, nil) }, nil, func(o *coprocess.Object) {
			o.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 204}
		}},
		{"refused", sdk.Post, nil, &sdk.Error{Status: 429, Message: "slow", Header: []sdk.Field{{Name: "retry-after", Value: "1"}}}, func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
			o.Metadata = map[string]string{"tier": "gold"}
			o.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 429, ResponseError: "slow", Headers: map[string]string{"Retry-After": "1"}}
		}},
		{"reply", sdk.ResponsePhase, func(x *sdk.Exchange) {
			x.Response().SetStatus(201)
			x.Response().Header().Add("Set-Cookie", "c=3")
			x.Response().Header().Del("Content-Type")
			x.Response().SetBody(nil)
		}, nil, func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
			o.Response = &coprocess.ResponseObject{StatusCode: 201, Headers: map[string]string{"Set-Cookie": "a=1"}, Echo: true,
				MultivalueHeaders: []*coprocess.Header{{Key: "Set-Cookie", Values: []string{"a=1", "b=2", "c=3"}}}}
		}},
		{"reply refused", sdk.ResponsePhase, nil, sdk.Errorf(502, `bad "thing"`), func(o *coprocess.Object) {
			o.Session = &coprocess.SessionState{KeyId: "key1", Alias: "alice", OrgId: "org1", Metadata: map[string]string{"tier": "gold"}}
			text := "{\n    \"error\": \"bad \\\"thing\\\"\"\n}"
			o.Response = &coprocess.ResponseObject{StatusCode: 502, Body: text, RawBody: []byte(text), Headers: map[string]string{"Content-Type": "application/json"}, Echo: true,
				MultivalueHeaders: []*coprocess.Header{{Key: "Content-Type", Values: []string{"application/json"}}}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var types = map[sdk.Phase]coprocess.HookType{sdk.Pre: 1, sdk.Post: 2, sdk.PostKeyAuth: 3, sdk.Auth: 4, sdk.ResponsePhase: 5}
			object := AppendObject(nil, typical(tt.phase), "H", ObjectOptions{})
			var x sdk.Exchange
			if _, _, err := DecodeObject(object, &x, nil); err != nil {
				t.Fatal(err)
			}
			x.Begin(tt.phase, nil, true)
			if tt.do != nil {
				tt.do(&x)
			}
			want := wantObject(types[tt.phase])
			tt.want(want)
			sameMessage(t, AppendObjectReply(nil, object, &x, tt.refused), &coprocess.Object{}, want)
		})
	}
}

// onTyk runs one hook behind Tyk's protocol.
func onTyk(t *testing.T, x *sdk.Exchange, phase sdk.Phase, h hook) error {
	t.Helper()
	x.Begin(phase, nil, false)
	object := AppendObject(nil, x, "H", ObjectOptions{})
	y := &sdk.Exchange{}
	if _, _, err := DecodeObject(object, y, nil); err != nil {
		t.Fatal(err)
	}
	y.Begin(phase, nil, true)
	err := h(y)
	if err == nil {
		err = y.Invalid()
	}
	var refused *sdk.Error
	if err != nil && !errors.As(err, &refused) {
		return err // the transport says so
	}
	reply := AppendObjectReply(nil, object, y, refused)
	if err := proto.Unmarshal(reply, &coprocess.Object{}); err != nil {
		t.Fatalf("generated code cannot read the reply: %v", err)
	}
	return ApplyObject(reply, x, ObjectOptions{})
}

// tykStep does one random thing that Tyk's protocol can carry in that phase.
func tykStep(r *rand.Rand, x *sdk.Exchange, phase sdk.Phase) {
	name, value := pick(r, "X-A", "X-B", "Accept", "x-new"), text(r)
	if phase == sdk.ResponsePhase {
		h := x.Response().Header()
		[]func(){
			func() { h.Set(name, value) }, func() { h.Add(name, value) }, func() { h.Del(name) },
			func() { x.Response().SetStatus(200 + r.IntN(400)) }, func() { x.Response().SetBody(body(r)) },
			func() { x.Answer(200, body(r)).Header().Add(name, value) },
		}[r.IntN(6)]()
		return
	}
	[]func(){
		func() { x.Request().Header().Set(name, value) }, func() { x.Request().Header().Del(name) },
		func() { x.Request().SetMethod(pick(r, "GET", "DELETE")) }, func() { x.Request().SetPath(pick(r, "/", "/new%20path", "/a//b")) },
		func() { x.Request().Query().Set(pick(r, "a", "b", "ü"), value) }, func() { x.Request().Query().Del(pick(r, "a", "c")) },
		func() { x.Request().SetBody(body(r)) },
		func() {
			if phase == sdk.Auth {
				x.SetSession(fullSession())
			}
		},
		func() {
			if r.IntN(4) == 0 {
				x.Answer(200+r.IntN(400), []byte(text(r))).Header().Set(name, value)
			}
		},
	}[r.IntN(9)]()
}

func TestTykEqualsViewAtRandom(t *testing.T) {
	for seed := range seeds(3000) {
		phase := sdk.Pre + sdk.Phase(seed%5)
		start := func() *sdk.Exchange {
			r := rand.New(rand.NewPCG(seed, 9))
			x := typical(phase)
			x.Request().Query().SetRaw(pick(r, "", "a=1", "b=%20&a=1&c", "a=1&x=%C3%BC"))
			x.Request().LoadBody(body(r))
			x.Response().Header().Append("X-A", text(r))
			x.Request().Header().Append("X-B", text(r))
			x.Begin(phase, nil, false)
			return x
		}
		h := func(x *sdk.Exchange) error {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 1 + r.IntN(4) {
				tykStep(r, x, phase)
			}
			if phase != sdk.ResponsePhase && r.IntN(8) == 0 {
				return sdk.Errorf(400+r.IntN(200), "no: %s", text(r))
			}
			return nil
		}
		want, got := start(), start()
		wantErr := h(want)
		err := onTyk(t, got, phase, h)
		sameError(t, err, wantErr)
		if wantErr == nil {
			if want.Answered() && phase != sdk.ResponsePhase {
				want.SetSession(got.Session()) // nobody asks any more
			}
			sameByTyk(t, got, want, phase)
		}
		if t.Failed() {
			t.Fatalf("seed %d, phase %v", seed, phase)
		}
	}
}

// sameByTyk compares what Tyk's protocol keeps: not the order of header names and query pairs, nor their spelling.
func sameByTyk(t *testing.T, got, want *sdk.Exchange, phase sdk.Phase) {
	t.Helper()
	if phase == sdk.Auth && want.Session() != nil {
		s := want.EditSession()
		s.OrgID = want.Route().Org
		if s.Metadata == nil {
			s.Metadata = map[string]string{}
		}
		s.Metadata["token"] = s.KeyID
	}
	plain := func(x *sdk.Exchange) (s sdk.Snapshot, request, response map[string][]string, query url.Values) {
		x.Begin(sdk.Pre, nil, false)
		s = x.Snapshot()
		request, response, query = map[string][]string{}, map[string][]string{}, params(s.Request.Query)
		for _, f := range s.Request.Header {
			request[canonicalName(f.Name)] = append(request[canonicalName(f.Name)], f.Value)
		}
		for _, f := range s.Response.Header {
			response[canonicalName(f.Name)] = append(response[canonicalName(f.Name)], f.Value)
		}
		s.Request.Query, s.Request.Header, s.Response.Header = "", nil, nil
		return s, request, response, query
	}
	g, gr, gs, gq := plain(got)
	w, wr, ws, wq := plain(want)
	if phase == sdk.ResponsePhase {
		w.Answered = g.Answered // a replaced reply is a changed one
	}
	sameExchange(t, "afterwards", g, w)
	if d := cmp.Diff([]any{wr, ws, wq}, []any{gr, gs, gq}, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("headers and query: -want +got\n%s", d)
	}
}

func TestDispatchEvent(t *testing.T) {
	e := sdk.Event{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC).Local(), Type: sdk.EventAuthFailure, Route: "api1", Org: "org1",
		Message: "no", Meta: map[string]string{"Path": "/p", "Origin": "192.0.2.1"},
	}
	b, err := AppendDispatchEvent(nil, &e, "handler")
	if err != nil {
		t.Fatal(err)
	}
	m := &coprocess.Event{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	want := `{"message":{"Type":"AuthFailure","Meta":{"Message":"no","Origin":"192.0.2.1","Path":"/p"},"TimeStamp":"` +
		e.Time.String() + `"},"handler_name":"handler","spec":{"APIID":"api1","OrgID":"org1"}}`
	if m.Payload != want {
		t.Errorf("got  %s\nwant %s", m.Payload, want)
	}
	got, handler, err := DecodeDispatchEvent(b)
	if err != nil || handler != "handler" {
		t.Fatalf("handler %q, %v", handler, err)
	}
	if d := cmp.Diff(e, got, cmpopts.EquateApproxTime(0)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	odd := appendBytes(nil, 1, `{"message":{"Type":"T","Meta":{"n":1,"Message":{"a":[]}},"TimeStamp":"2026-01-02 03:04:05 +0000 UTC m=+0.1"}}`)
	got, _, err = DecodeDispatchEvent(odd)
	if err != nil || got.Meta["n"] != "1" || got.Message != `{"a":[]}` || got.Time.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{", `{"message":3}`} {
		if _, _, err := DecodeDispatchEvent(appendBytes(nil, 1, bad)); !errors.Is(err, sdk.ErrProtocol) {
			t.Errorf("%q: got error %v", bad, err)
		}
	}
}
