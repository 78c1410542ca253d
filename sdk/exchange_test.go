package sdk

import (
	"slices"
	"testing"
)

func newExchange() *Exchange {
	x := &Exchange{}
	x.Reset(Init{Route: &Route{ID: "r", Config: []byte(`{"a":1}`)}, RequestID: "id"})
	x.Request().Fill(RequestInit{Method: "GET", Scheme: "http", Host: "h", Path: "/a%2Fb", Query: "x=1&y=%zz&x=2", URI: "/a%2Fb?x=1&y=%zz&x=2", Length: -1})
	x.Request().Header().Append("X-One", "1")
	x.Request().Header().Append("x-two", "2")
	x.Request().Header().Append("X-ONE", "3")
	return x
}

func TestHeader(t *testing.T) {
	tests := []struct {
		name string
		do   func(h *Header)
		want []Field
		ops  []HeaderOp
		bad  bool
	}{
		{"set keeps the place", func(h *Header) { h.Set("x-one", "9") },
			[]Field{{"x-one", "9"}, {"x-two", "2"}}, []HeaderOp{{HeaderSet, "x-one", "9"}}, false},
		{"set appends", func(h *Header) { h.Set("N", "") },
			[]Field{{"X-One", "1"}, {"x-two", "2"}, {"X-ONE", "3"}, {"N", ""}}, []HeaderOp{{HeaderSet, "N", ""}}, false},
		{"add", func(h *Header) { h.Add("X-Two", "b") },
			[]Field{{"X-One", "1"}, {"x-two", "2"}, {"X-ONE", "3"}, {"X-Two", "b"}}, []HeaderOp{{HeaderAdd, "X-Two", "b"}}, false},
		{"del", func(h *Header) { h.Del("X-one") }, []Field{{"x-two", "2"}}, []HeaderOp{{HeaderDel, "X-one", ""}}, false},
		{"clear", func(h *Header) { h.Clear() }, nil, []HeaderOp{{HeaderDel, "X-One", ""}, {HeaderDel, "x-two", ""}}, false},
		{"unrecorded", func(h *Header) { h.Append("A", "b"); h.Remove("x-one"); h.Replace("x-two", "c") },
			[]Field{{"A", "b"}, {"x-two", "c"}}, nil, false},
		{"bad name", func(h *Header) { h.Set("a b", "1"); h.Add("", "1") },
			[]Field{{"X-One", "1"}, {"x-two", "2"}, {"X-ONE", "3"}}, nil, true},
		{"bad value", func(h *Header) { h.Set("A", "1\r\nB: 2"); h.Add("A", "\x00") },
			[]Field{{"X-One", "1"}, {"x-two", "2"}, {"X-ONE", "3"}}, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newExchange()
			x.Begin(Pre, nil, true)
			h := x.Request().Header()
			tt.do(h)
			if !slices.Equal(h.Fields(), tt.want) {
				t.Errorf("got fields %v, want %v", h.Fields(), tt.want)
			}
			if !slices.Equal(h.HeaderOps(), tt.ops) {
				t.Errorf("got ops %v, want %v", h.HeaderOps(), tt.ops)
			}
			if got := x.Invalid() != nil; got != tt.bad {
				t.Errorf("got Invalid %v, want error %v", x.Invalid(), tt.bad)
			}
			replay := newExchange()
			replay.Begin(Pre, nil, false)
			for _, op := range h.HeaderOps() {
				if err := replay.Request().Header().Apply(op); err != nil {
					t.Fatal(err)
				}
			}
			if tt.ops != nil && !slices.Equal(replay.Request().Header().Fields(), tt.want) {
				t.Errorf("replayed ops give %v, want %v", replay.Request().Header().Fields(), tt.want)
			}
		})
	}
}

func TestQueryKeepsUntouchedBytes(t *testing.T) {
	tests := []struct {
		name, want string
		do         func(q *Query)
	}{
		{"read only", "x=1&y=%zz&x=2", func(q *Query) { q.Get("x") }},
		{"set", "x=a%26b&y=%zz", func(q *Query) { q.Set("x", "a&b") }},
		{"set new", "x=1&y=%zz&x=2&n=+", func(q *Query) { q.Set("n", " ") }},
		{"add", "x=1&y=%zz&x=2&x=3", func(q *Query) { q.Add("x", "3") }},
		{"del", "y=%zz", func(q *Query) { q.Del("x") }},
		{"del absent", "x=1&y=%zz&x=2", func(q *Query) { q.Del("q") }},
		{"raw", "whatever", func(q *Query) { q.SetRaw("whatever") }},
		{"raw then add", "z&a=b", func(q *Query) { q.SetRaw("z"); q.Add("a", "b") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newExchange()
			x.Begin(Pre, nil, false)
			q := x.Request().Query()
			tt.do(q)
			if got := q.Raw(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if got, want := x.Changes()&ChangedQuery != 0, tt.want != "x=1&y=%zz&x=2"; got != want {
				t.Errorf("got changed %v, want %v", got, want)
			}
		})
	}
}

func TestInvalidChangesAreRefused(t *testing.T) {
	tests := []struct {
		name string
		do   func(x *Exchange)
	}{
		{"method", func(x *Exchange) { x.Request().SetMethod("GET X") }},
		{"path without slash", func(x *Exchange) { x.Request().SetPath("a") }},
		{"path with query", func(x *Exchange) { x.Request().SetPath("/a?b") }},
		{"path with line end", func(x *Exchange) { x.Request().SetPath("/a\r\nX: y") }},
		{"path with broken escape", func(x *Exchange) { x.Request().SetPath("/%2") }},
		{"query", func(x *Exchange) { x.Request().Query().SetRaw("a b") }},
		{"status", func(x *Exchange) { x.Answer(99, nil) }},
		{"status too high", func(x *Exchange) { x.Response().SetStatus(1000) }},
		{"reply header", func(x *Exchange) { x.Answer(200, nil).Header().Set("A", "\n") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newExchange()
			x.Begin(Pre, nil, false)
			tt.do(x)
			if x.Invalid() == nil {
				t.Error("got no error")
			}
			x.Begin(Post, nil, false)
			if tt.name != "query" && x.Invalid() != nil {
				t.Errorf("got %v after Begin", x.Invalid())
			}
		})
	}
}

func TestChanges(t *testing.T) {
	x := newExchange()
	x.Begin(Auth, nil, false)
	if x.Changes() != 0 {
		t.Fatalf("got %v at the start", x.Changes().Names())
	}
	before := &Session{KeyID: "k", Metadata: map[string]string{"a": "b"}}
	x.BeginSession(before)
	x.EditSession().Metadata["a"] = "c"
	x.SetValue("v", []byte("1"))
	x.Request().SetBody([]byte("b"))
	x.Answer(201, []byte("hi")).Header().Add("A", "b")
	want := ChangedSession | ChangedValues | ChangedBody | ChangedAnswer | ChangedStatus | ChangedResponseBody | ChangedResponseHeader
	if got := x.Changes(); got != want {
		t.Errorf("got %v, want %v", got.Names(), want.Names())
	}
	if before.Metadata["a"] != "b" {
		t.Error("EditSession changed the session it was given")
	}
	s := x.Snapshot()
	x.Reset(Init{})
	if s.Session.Metadata["a"] != "c" || s.Values["v"] != "1" || s.Response.Status != 201 || s.Config != `{"a":1}` {
		t.Errorf("snapshot did not outlive the exchange: %+v", s)
	}
	if x.Session() != nil || x.Value("v") != nil || x.Answered() || x.Response().Status() != 0 {
		t.Error("Reset left something behind")
	}
}

func TestEditSession(t *testing.T) {
	x := newExchange()
	x.Begin(Auth, nil, false)
	x.SetSession(nil)
	x.EditSession().Alias = "made"
	given := &Session{Alias: "given", Tags: []string{"a"}}
	x.SetSession(given)
	x.EditSession().Tags[0] = "b"
	x.EditSession().Alias = "edited"
	if given.Alias != "given" || given.Tags[0] != "a" {
		t.Errorf("EditSession changed the session it was given: %+v", given)
	}
	if s := x.Session(); s.Alias != "edited" || s.Tags[0] != "b" {
		t.Errorf("got %+v", s)
	}
	before := x.Session()
	x.Begin(Post, nil, false)
	x.EditSession().Alias = "later"
	if before.Alias != "edited" {
		t.Error("a later hook changed what an earlier one left to others")
	}
}
