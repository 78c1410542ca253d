package js

import (
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/dop251/goja"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/js/engine"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// FuzzReturned: whatever a middleware returns, the exchange is changed as the message allows, or as it was.
func FuzzReturned(f *testing.F) {
	for _, seed := range []string{
		`{"Request": {"SetHeaders": {"a": "b"}, "DeleteHeaders": ["x"], "URL": "/x?y", "Body": "z"}, "SessionMeta": {"a": "b"}}`,
		`{"request": {"returnoverrides": {"responsecode": 200, "responsebody": "b", "responseheaders": {"a": "b"}}}}`,
		`{"Request": null, "Session": {"rate": 1, "meta_data": {"a": [1]}}, "AuthValue": "k"}`, `[]`, `null`, `{"Request": {"Body": 1}}`, `"x"`,
		`{"Response": {"StatusCode": 201, "Body": "x", "SetHeaders": {"a": "b"}}}`,
	} {
		f.Add(seed)
	}
	s := opened(f, `var m = new TykJS.TykMiddleware.NewMiddleware({});
		m.NewProcessRequest(function (request) { return JSON.parse(request.Body); });
		m.NewProcessResponse(function (response, request) { return JSON.parse(request.Body); });
		function v(request) { return request.Body; }`, Options{Tyk: true, Sessions: map[string]bool{"m": true}}, nil)
	f.Fuzz(func(t *testing.T, text string) {
		for _, phase := range []sdk.Phase{sdk.Pre, sdk.Auth, sdk.Post, sdk.ResponsePhase, sdk.PhaseUnknown} {
			x, _ := coprocesstest.NewExchange()
			x.BeginSession(&sdk.Session{KeyID: "k"})
			x.Request().LoadBody([]byte(text))
			if phase == sdk.ResponsePhase {
				x.Response().Fill(200, 0)
				x.Response().LoadBody(nil)
			}
			var err error
			if phase == sdk.PhaseUnknown {
				x.Begin(sdk.Post, nil, true)
				err = s.Virtual("v", true).Handle(t.Context(), x)
			} else {
				err = handle(t, t.Context(), s, "m", x, phase)
			}
			switch {
			case errors.Is(err, sdk.ErrPanic) || script.Offence(err):
				t.Errorf("%v: %v", phase, err)
			case err != nil && x.Changes() != 0:
				t.Errorf("%v: failed with %v and changed %v", phase, err, x.Changes().Names())
			case x.Invalid() != nil:
				t.Errorf("%v: %v", phase, x.Invalid())
			}
		}
	})
}

// FuzzText: bytes come through a script as they were, and text is text.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "plain", "café 🚀", "\xff\x00", "\xed\xb2\x80", "a\xf0\x9f", "\uFFFD\xef"} {
		f.Add(seed)
	}
	s := opened(f, `exports.pre = function (x) { x.setRawValue("out", x.rawValue("in").split("").join("")); x.setRawValue("n", "" + x.rawValue("in").length); };`, Options{}, nil)
	f.Fuzz(func(t *testing.T, text string) {
		x, _ := coprocesstest.NewExchange()
		x.BeginValue("in", []byte(text))
		if err := handle(t, t.Context(), s, "pre", x, sdk.Pre); err != nil {
			t.Fatal(err)
		}
		if got := string(x.Value("out")); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
		if utf8.ValidString(text) && engine.Bytes(goja.New().ToValue(text)) != text {
			t.Errorf("%q is not itself", text)
		}
	})
}
