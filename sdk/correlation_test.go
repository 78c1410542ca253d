package sdk_test

import (
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestCorrelation(t *testing.T) {
	var x sdk.Exchange
	x.Reset(sdk.Init{})
	x.Begin(sdk.Pre, nil, false)
	if x.Correlation() != (sdk.Correlation{}) {
		t.Error("an id from nowhere")
	}
	for _, c := range []sdk.Correlation{{ID: "0190-a", Reply: "X-Request-ID"}, {ID: `{}'":"`[:3] + "b"}, {ID: strings.Repeat("x", 128)}} {
		if err := x.Correlate(c); err != nil || x.Correlation() != c {
			t.Errorf("%+v: %v, got %+v", c, err, x.Correlation())
		}
	}
	before := x.Correlation()
	for _, c := range []sdk.Correlation{{}, {ID: "a b"}, {ID: "a\n"}, {ID: `a"`}, {ID: "é"}, {ID: strings.Repeat("x", 129)}, {ID: "a", Reply: "X Y"}, {ID: "a,b"}} {
		if err := x.Correlate(c); err == nil || x.Correlation() != before {
			t.Errorf("%+v is accepted", c)
		}
	}
	for value, want := range map[string]sdk.Correlation{
		`{"id":"a"}`:                             {ID: "a"},
		`{"reply": "X-Id", "id": "a"}`:           {ID: "a", Reply: "X-Id"},
		`{"id":"a","other":"b"}`:                 {ID: "a"},
		`{"id":"\u0061"}`:                        {ID: "a"},
		`{"id":"a b"}`:                           {},
		`{"id":"a","reply":"X Y"}`:               {},
		`{"id":1}`:                               {},
		`{"id":"`:                                {},
		`"a"`:                                    {},
		`{"id":"a","reply":"X-Id","more":"x"}`:   {ID: "a", Reply: "X-Id"},
		`{"id":"","reply":"X-Id"}`:               {},
		`{"id":"a\r\nSet-Cookie: b","reply":""}`: {},
	} {
		x.SetValue(sdk.CorrelationValue, []byte(value))
		if got := x.Correlation(); got != want {
			t.Errorf("%s: got %+v", value, got)
		}
	}
}

// What Correlate says is a value like any other for whoever asks for it: in its place, set by the hook that set it and by
// no later one, and gone when it is taken away.
func TestCorrelationIsAValue(t *testing.T) {
	const want = `{"id":"a","reply":"X-Id"}`
	correlated := func() *sdk.Exchange {
		x := &sdk.Exchange{}
		x.Reset(sdk.Init{})
		x.Begin(sdk.Pre, nil, false)
		x.SetValue("before", []byte("1"))
		if err := x.Correlate(sdk.Correlation{ID: "a", Reply: "X-Id"}); err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := correlated()
	if x.Changes() != sdk.ChangedValues || string(x.Value(sdk.CorrelationValue)) != want || x.Snapshot().Values[sdk.CorrelationValue] != want {
		t.Errorf("changed %v, value %s", x.Changes().Names(), x.Value(sdk.CorrelationValue))
	}
	x = correlated()
	x.SetValue("after", []byte("2"))
	if v := x.Values(); len(v) != 3 || v[1].Name != sdk.CorrelationValue || string(v[1].Data) != want || !v[1].Changed() {
		t.Errorf("values %+v", v)
	}
	for _, asked := range []bool{false, true} {
		x = correlated()
		if asked {
			x.Values()
		}
		x.Begin(sdk.Post, nil, false)
		if v := x.Values(); len(v) != 2 || v[1].Changed() || x.Changes() != 0 {
			t.Errorf("for the next hook: values %+v, changed %v", v, x.Changes().Names())
		}
		x.SetValue(sdk.CorrelationValue, nil)
		if c := x.Correlation(); c != (sdk.Correlation{}) || x.Value(sdk.CorrelationValue) != nil {
			t.Errorf("taken away: got %+v", c)
		}
		x.Reset(sdk.Init{})
		if c := x.Correlation(); c != (sdk.Correlation{}) || len(x.Values()) != 0 {
			t.Errorf("the next exchange: got %+v", c)
		}
	}
	var u sdk.Undo
	x = correlated()
	u.Keep(x)
	if err := x.Correlate(sdk.Correlation{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	u.Restore(x)
	if c := x.Correlation(); c != (sdk.Correlation{ID: "a", Reply: "X-Id"}) || string(x.Value(sdk.CorrelationValue)) != want {
		t.Errorf("undone: got %+v", c)
	}
}
