package display

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestChanges(t *testing.T) {
	before := &sdk.Snapshot{Values: map[string]string{"kept": "1", "gone": "2"}}
	before.Request.Method, before.Request.Path, before.Request.Query = "GET", "/a", "x=1"
	before.Request.Header = []sdk.Field{{Name: "x-one", Value: "1"}, {Name: "X-Two", Value: "2"}, {Name: "X-Two", Value: "3"}}
	after := &sdk.Snapshot{Values: map[string]string{"kept": "1", "come": "3"}, Session: &sdk.Session{Alias: "ada", Rate: 5}}
	after.Request.Method, after.Request.Path, after.Request.Body = "PUT", "/a", []byte{0xff}
	after.Request.Header = []sdk.Field{{Name: "X-Two", Value: "2"}, {Name: "X-One", Value: "1"}, {Name: "X-New", Value: ""}}
	after.Response.Status, after.Response.Header = 201, []sdk.Field{{Name: "Location", Value: "/b"}}
	want := []Change{
		{"method", "", []string{"GET"}, []string{"PUT"}},
		{"query", "", []string{"x=1"}, []string{}},
		{"header", "X-Two", []string{"2", "3"}, []string{"2"}},
		{"header", "X-New", []string{}, []string{""}},
		{"body", "", []string{}, []string{`"\xff"`}},
		{"session", "alias", []string{}, []string{`"ada"`}},
		{"session", "rate", []string{}, []string{"5"}},
		{"value", "come", []string{}, []string{"3"}},
		{"value", "gone", []string{"2"}, []string{}},
		{"reply status", "", []string{}, []string{"201"}},
		{"reply header", "Location", []string{}, []string{"/b"}},
	}
	if diff := cmp.Diff(want, Changes(before, after)); diff != "" {
		t.Error(diff)
	}
	if got := Changes(after, after); got != nil {
		t.Errorf("nothing has changed, and got %v", got)
	}
}

func TestPrinter(t *testing.T) {
	var b strings.Builder
	p := NewPrinter(&b)
	p.Line(Red, "%d%%", 5)
	p.Changes("  ", []Change{{"body", "", []string{"one\ntwo"}, []string{"\x1b[2J" + strings.Repeat("x", 2000)}}, {"header", "X-A", nil, []string{"1"}}})
	want := "5%\n  - body: one\n          two\n  + body: ?[2J" + strings.Repeat("x", 996) + "… (2004 bytes in all)\n  + header X-A: 1\n"
	if diff := cmp.Diff(want, b.String()); diff != "" || p.Err() != nil {
		t.Error(diff, p.Err())
	}
}
