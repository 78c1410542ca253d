package sdk_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestUndo(t *testing.T) {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{Route: &sdk.Route{ID: "r"}})
	x.Request().Fill(sdk.RequestInit{Method: "GET", Path: "/a", Query: "q=1", URI: "/a?q=1", Length: 2})
	x.Request().Header().Append("A", "b")
	x.Request().LoadBody([]byte("hi"))
	x.BeginSession(&sdk.Session{KeyID: "k", Tags: []string{"t"}})
	x.BeginValue("v", []byte("1"))
	x.Begin(sdk.Pre, nil, true)
	before := x.Snapshot()
	var u sdk.Undo
	for range 2 {
		u.Keep(x)
		x.Request().SetMethod("PUT")
		x.Request().SetPath("/b")
		x.Request().Query().Set("q", "2")
		x.Request().Header().Set("A", "c\n")
		x.Request().SetBody(nil)
		x.EditSession().Tags = nil
		x.SetValue("v", nil)
		x.SetValue("w", []byte("2"))
		x.Answer(200, nil).Header().Set("B", "c")
		u.Restore(x)
		u.Forget()
		if d := cmp.Diff(before, x.Snapshot(), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b fmt.Stringer) bool { return a.String() == b.String() })); d != "" || x.Changes() != 0 || x.Invalid() != nil {
			t.Errorf("%v %v %s", x.Changes().Names(), x.Invalid(), d)
		}
	}
}
