package serve

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestDispatch(t *testing.T) {
	p := one("H", func(ctx context.Context, x *sdk.Exchange) error {
		switch x.Request().Path() {
		case "/change":
			x.Request().Header().Set("Config", string(x.Config()))
			x.Request().Query().Add("n", "1")
			x.Log(slog.LevelWarn, "careful")
			x.Count("n", 1)
		case "/answer":
			x.Answer(203, []byte("hi")).Header().Set("A", "b")
		case "/refuse":
			return sdk.Errorf(451, "no")
		case "/fail":
			return errors.New("broken")
		case "/panic":
			panic("oops")
		case "/invalid":
			x.Request().SetMethod("a b")
		case "/wait":
			<-ctx.Done()
			return ctx.Err()
		case "/auth":
			x.Authenticate("key", "ada")
		}
		return nil
	})
	r := start(t, p, Options{})
	tests := []struct {
		path  string
		hook  coprocess.HookType
		code  codes.Code
		check func(o *coprocess.Object) bool
	}{
		{"/none", coprocess.HookType_Pre, codes.OK, func(o *coprocess.Object) bool {
			return o.Request.Headers["A"] == "1" && o.Request.ReturnOverrides.GetResponseCode() == -1
		}},
		{"/change", coprocess.HookType_Post, codes.OK, func(o *coprocess.Object) bool {
			return o.Request.SetHeaders["Config"] == `{"c":1}` && o.Request.AddParams["n"] == "1"
		}},
		{"/answer", coprocess.HookType_Pre, codes.OK, func(o *coprocess.Object) bool {
			v := o.Request.ReturnOverrides
			return v.ResponseCode == 203 && v.ResponseBody == "hi" && v.Headers["A"] == "b"
		}},
		{"/refuse", coprocess.HookType_CustomKeyCheck, codes.OK, func(o *coprocess.Object) bool {
			return o.Request.ReturnOverrides.ResponseCode == 451 && o.Request.ReturnOverrides.ResponseError == "no"
		}},
		{"/auth", coprocess.HookType_CustomKeyCheck, codes.OK, func(o *coprocess.Object) bool {
			return o.Metadata["token"] == "key" && o.Session.Alias == "ada"
		}},
		{"/fail", coprocess.HookType_Pre, codes.Internal, nil},
		{"/panic", coprocess.HookType_Pre, codes.Internal, nil},
		{"/invalid", coprocess.HookType_Pre, codes.Internal, nil},
		{"/wait", coprocess.HookType_Pre, codes.DeadlineExceeded, nil},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if tt.path == "/wait" {
				ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
			}
			defer cancel()
			got, err := r.tyk.Dispatch(ctx, &coprocess.Object{
				HookType: tt.hook, HookName: "H", Spec: map[string]string{"config_data": `{"c":1}`},
				Request: &coprocess.MiniRequestObject{Method: "GET", Url: tt.path, Headers: map[string]string{"A": "1"},
					ReturnOverrides: &coprocess.ReturnOverrides{ResponseCode: -1}},
			})
			if status.Code(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			if tt.check != nil && !tt.check(got) {
				t.Errorf("got %v", got)
			}
		})
	}
	for _, want := range []string{"careful", "counter", "oops", "dispatcher_test.go"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestDispatchToNobody(t *testing.T) {
	p := &sdk.Plugin{Name: "p", Hooks: []sdk.HookSpec{{Name: "H", Phase: sdk.Pre, Hook: sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return nil })}}}
	r := start(t, p, Options{})
	tests := []struct {
		name string
		o    *coprocess.Object
		code codes.Code
	}{
		{"no such hook", &coprocess.Object{HookType: coprocess.HookType_Pre, HookName: "Other"}, codes.Unimplemented},
		{"another phase", &coprocess.Object{HookType: coprocess.HookType_Post, HookName: "H"}, codes.Unimplemented},
		{"a phase of a later version", &coprocess.Object{HookType: 99, HookName: "H"}, codes.Unimplemented},
		{"no request", &coprocess.Object{HookType: coprocess.HookType_Pre, HookName: "H"}, codes.OK},
	}
	for _, tt := range tests {
		if _, err := r.tyk.Dispatch(t.Context(), tt.o); status.Code(err) != tt.code {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.code)
		}
	}
}
