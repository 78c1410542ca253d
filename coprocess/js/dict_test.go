package js

import (
	"fmt"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// SetHeaders and its like are objects as any other to a script.
func TestTykDict(t *testing.T) {
	s := opened(t, middleware(`function (request) {
		var h = request.SetHeaders, facts = [];
		facts.push(Object.keys(h).length, "a" in h, typeof h.a, typeof h.toString, h.hasOwnProperty("a"), JSON.stringify(h));
		h.a = "1"; h["b-c"] = "2"; Object.assign(h, {d: "3"}); h.a = "4";
		facts.push(Object.keys(h).join(), "a" in h, h.hasOwnProperty("d"), JSON.stringify(h));
		delete h["b-c"]; delete h.none;
		for (var key in h) { facts.push(key + h[key]); }
		for (var i = 0; i < 100; i++) { h["x" + i] = "" + i; }
		for (i = 0; i < 100; i += 2) { delete h["x" + i]; }
		for (i = 0; i < 100; i += 4) { h["x" + i] = "again"; }
		facts.push(Object.keys(h).length, h.x1, h.x2, h.x4, h.x99, _.size(h));
		h.__proto__ = "own"; facts.push(typeof h.toString);
		delete h.__proto__;
		h.none = null; h.gone = undefined; h[7] = "7";
		request.AddParams.facts = facts.join("|");
		return m.ReturnData(request, {});
	}`), Options{Tyk: true}, nil)
	for range 2 { // the second call finds an empty one again
		x, _ := coprocesstest.NewExchange()
		if err := handle(t, t.Context(), s, "m", x, sdk.Pre); err != nil {
			t.Fatal(err)
		}
		const want = `0|false|undefined|function|false|{}|a,b-c,d|true|true|{"a":"4","b-c":"2","d":"3"}|a4|d3|77|1||again|99|77|function`
		if got := x.Request().Query().Get("facts"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		h := x.Request().Header()
		var all []string
		for _, name := range []string{"a", "b-c", "d", "x1", "x2", "x4", "x99", "none", "gone", "7"} {
			v, ok := h.Lookup(name)
			all = append(all, fmt.Sprint(v, ok))
		}
		if got, want := strings.Join(all, " "), "4true false 3true 1true false againtrue 99true true false 7true"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
