package sdktest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func pluginOf(phase sdk.Phase, needs sdk.Need, hook sdk.HookFunc) *sdk.Plugin {
	return &sdk.Plugin{Name: "p", Hooks: []sdk.HookSpec{{Name: "H", Phase: phase, Needs: sdk.Needs{Fields: needs}, Hook: hook}}}
}

func TestRunShowsWhatIsNeeded(t *testing.T) {
	b := Request("POST", "/x?y=1").Host("h").Scheme("https").Header("A", "1").Header("B", "2").Body("body").
		Session(&sdk.Session{KeyID: "k"}).Value("v", `"w"`).Trace(sdk.Trace{Parent: "p"}).Config(`{"c":1}`).
		Reply(201, "reply", sdk.Field{Name: "R", Value: "1"})
	see := func(_ context.Context, x *sdk.Exchange) error {
		r, up := x.Request(), x.Response()
		x.Log(slog.LevelInfo, fmt.Sprintf("%s %s://%s%s?%s %v %q/%d %v %q %q | %d %v %q | %s",
			r.Method(), r.Scheme(), r.Host(), r.Path(), r.Query().Raw(), r.Header().Fields(), r.Body(), r.Length(),
			x.Session().Identified(), x.Value("v"), x.Trace().Parent, up.Status(), up.Header().Fields(), up.Body(), x.Config()))
		return nil
	}
	const all = sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody
	tests := []struct {
		name  string
		phase sdk.Phase
		needs sdk.Need
		want  string
	}{
		{"nothing", sdk.Pre, sdk.NeedNothing, `POST https://h/x? [] ""/4 false "" "" | 0 [] "" | {"c":1}`},
		{"default", sdk.Pre, 0, `POST https://h/x?y=1 [{A 1} {B 2}] ""/4 true "\"w\"" "p" | 0 [] "" | {"c":1}`},
		{"all", sdk.ResponsePhase, all, `POST https://h/x?y=1 [{A 1} {B 2}] "body"/4 true "\"w\"" "p" | 201 [{R 1}] "reply" | {"c":1}`},
		{"reply without body", sdk.ResponsePhase, sdk.NeedNothing, `POST https://h/x? [] ""/4 false "" "" | 201 [] "" | {"c":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := b.Run(t, pluginOf(tt.phase, tt.needs, see), tt.phase, "H")
			if got := r.Lines[0].Message; got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	if r := b.RunHook(t, sdk.Pre, sdk.HookFunc(see)); !r.Contains(`"body"`) {
		t.Errorf("a hook that says nothing saw %v", r.Lines)
	}
}

func TestResult(t *testing.T) {
	tests := []struct {
		name   string
		phase  sdk.Phase
		hook   sdk.HookFunc
		status int
		ended  bool
		header string // of X in the reply
	}{
		{"goes on", sdk.Pre, func(context.Context, *sdk.Exchange) error { return nil }, 0, false, ""},
		{"answers", sdk.Pre, func(_ context.Context, x *sdk.Exchange) error {
			x.Answer(204, nil).Header().Set("X", "1")
			return nil
		}, 204, true, "1"},
		{"refuses", sdk.Pre, func(context.Context, *sdk.Exchange) error {
			return fmt.Errorf("wrapped: %w", &sdk.Error{Status: 429, Header: []sdk.Field{{Name: "x", Value: "2"}}})
		}, 429, true, "2"},
		{"fails", sdk.Pre, func(context.Context, *sdk.Exchange) error { return errors.New("no") }, 503, true, ""},
		{"changes what it must not", sdk.Pre, func(_ context.Context, x *sdk.Exchange) error {
			x.Request().Header().Set("X", "\n")
			return nil
		}, 503, true, ""},
		{"changes the reply", sdk.ResponsePhase, func(_ context.Context, x *sdk.Exchange) error {
			x.Response().SetStatus(418)
			return nil
		}, 418, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Request("GET", "/").RunHook(t, tt.phase, tt.hook)
			if r.Status() != tt.status || r.Ended() != tt.ended || r.ResponseHeader("X") != tt.header {
				t.Errorf("got %d, ended %v, X %q (%v)", r.Status(), r.Ended(), r.ResponseHeader("X"), r.Err)
			}
		})
	}
}

func TestRunsShareNothing(t *testing.T) {
	b := Request("GET", "/").Header("A", "1").Session(&sdk.Session{Metadata: map[string]string{"n": "0"}}).Body("x")
	change := sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
		x.Session().Metadata["n"] = "1"
		x.Request().Header().Set("A", "2")
		x.Request().Body()[0] = 'y'
		x.Count("calls", 1)
		return nil
	})
	b.RunHook(t, sdk.Pre, change)
	r := b.RunHook(t, sdk.Pre, change)
	if r.Before.Session.Metadata["n"] != "0" || r.Before.Request.Header[0].Value != "1" || string(r.Before.Request.Body) != "x" {
		t.Errorf("the second run began with %+v", r.Before)
	}
	if r.Counters["calls"] != 1 || r.RequestHeader("a") != "2" {
		t.Errorf("got %v, %v", r.Counters, r.After.Request.Header)
	}
}

func TestObserve(t *testing.T) {
	var got sdk.Batch
	p := &sdk.Plugin{Name: "p", Observers: []sdk.ObserverSpec{{Name: "O", Observer: sdk.ObserverFunc(func(_ context.Context, b sdk.Batch) error {
		got = b
		return errors.New("full")
	})}}}
	if err := Observe(t, p, "O", sdk.Batch{Dropped: 3}); err == nil || got.Dropped != 3 {
		t.Errorf("got %v, %+v", err, got)
	}
}

// record is a testing.TB that remembers failures.
type record struct {
	testing.TB
	failed []string
}

func (r *record) Helper() {}
func (r *record) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}
func (r *record) Fatalf(format string, args ...any) { r.Errorf(format, args...); panic(r) }

func TestCheckWire(t *testing.T) {
	full := Request("POST", "/a%2Fb?y=1&y=2").Header("A", "1").Header("a", "2").Body("body").
		Session(&sdk.Session{KeyID: "k", Alias: "ada", Metadata: map[string]string{"a": "b"}}).Value("v", "1").
		Reply(404, "gone", sdk.Field{Name: "Set-Cookie", Value: "a"}, sdk.Field{Name: "Set-Cookie", Value: "b"})
	empty := Request("GET", "/")
	good := sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
		x.Log(slog.LevelWarn, "seen "+x.Request().Path())
		x.Count("n", 2)
		x.Request().SetMethod("PUT")
		x.Request().Query().Add("z", "ä&")
		x.Request().Header().Add("N", "1")
		x.Request().Header().Del("A")
		x.EditSession().Tags = []string{"t"}
		x.SetValue("w", []byte("{}"))
		x.SetValue("v", nil)
		if x.Phase() == sdk.ResponsePhase {
			x.Response().Header().Set("Set-Cookie", "c")
			x.Response().SetBody([]byte("found"))
			x.Response().SetStatus(200)
		}
		if x.Phase() == sdk.Auth {
			return sdk.Errorf(403, "not you")
		}
		if x.Phase() == sdk.Post {
			x.Answer(202, []byte("later")).Header().Add("L", "1")
		}
		return nil
	})
	CheckWire(t, pluginOf(sdk.PhaseUnknown, 0, good), full, empty)

	tests := []struct {
		name  string
		phase sdk.Phase
		needs sdk.Need
		hook  sdk.HookFunc
		want  string
	}{
		{"an undeclared header", sdk.Pre, sdk.NeedNothing, func(_ context.Context, x *sdk.Exchange) error {
			x.Request().SetPath("/" + x.Request().Header().Get("A"))
			return nil
		}, "request: on the exchange"},
		{"an undeclared body", sdk.Pre, 0, func(_ context.Context, x *sdk.Exchange) error {
			if len(x.Request().Body()) > 0 {
				return sdk.Errorf(400, "no bodies")
			}
			return nil
		}, "error: on the exchange"},
		{"an undeclared reply body", sdk.ResponsePhase, 0, func(_ context.Context, x *sdk.Exchange) error {
			x.Count("bytes", int64(len(x.Response().Body())))
			return nil
		}, "counters: on the exchange"},
		{"an undeclared session", sdk.Post, sdk.NeedNothing, func(_ context.Context, x *sdk.Exchange) error {
			if x.Session() != nil {
				x.SetValue("who", []byte(x.Session().Alias))
			}
			return nil
		}, "values: on the exchange"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &record{TB: t}
			CheckWire(r, pluginOf(tt.phase, tt.needs, tt.hook), full)
			if !strings.Contains(strings.Join(r.failed, "\n"), tt.want) {
				t.Errorf("got %q, want it to say %q", r.failed, tt.want)
			}
		})
	}
}
