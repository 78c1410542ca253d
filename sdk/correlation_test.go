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
