package coprocess

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// scripted is a dispatcher that does to an exchange what the hook of that name is given to do.
type scripted map[string]func(x *sdk.Exchange) error

func (s scripted) Dispatch(ctx context.Context, b *Binding, x *sdk.Exchange) error {
	if b.Each() != nil {
		return RunEach(ctx, &s, b, x)
	}
	return s[b.Hooks[0].Name](x)
}

func (scripted) Needs(*Binding) sdk.Needs { return sdk.Needs{Fields: sdk.NeedBody} }
func (scripted) Protocol() string         { return "scripted" }

func newHooks(t *testing.T, d Dispatcher, phase sdk.Phase, route *sdk.Route, names ...string) []sdk.Hook {
	t.Helper()
	var hooks []sdk.Hook
	for _, n := range names {
		h, err := NewHook(d, sdk.HookUse{Name: n, Phase: phase, Route: route})
		if err != nil {
			t.Fatal(err)
		}
		hooks = append(hooks, h)
	}
	return hooks
}

func exchange(phase sdk.Phase) *sdk.Exchange {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{Route: &sdk.Route{}})
	x.Begin(phase, nil, false)
	return x
}

func TestNewHookRefuses(t *testing.T) {
	route := &sdk.Route{}
	for _, use := range []sdk.HookUse{
		{Phase: sdk.Pre, Route: route},
		{Name: "a", Route: route},
		{Name: "a", Phase: sdk.Log, Route: route},
		{Name: "a", Phase: sdk.Pre},
	} {
		if _, err := NewHook(&scripted{}, use); err == nil {
			t.Errorf("%+v was accepted", use)
		}
	}
}

func TestGroupBelongsTogether(t *testing.T) {
	d, other, route := &scripted{}, &scripted{}, &sdk.Route{}
	a := newHooks(t, d, sdk.Pre, route, "a", "b")
	both, ok := Group(d, a)
	if !ok {
		t.Fatal("no group")
	}
	pair := both.(*Hook)
	if three, ok := Group(d, append([]sdk.Hook{pair}, newHooks(t, d, sdk.Pre, route, "c")...)); !ok || len(three.(*Hook).b.Hooks) != 3 || len(three.(*Hook).b.Each()) != 3 {
		t.Error("a group of a group is not flat")
	}
	for name, hooks := range map[string][]sdk.Hook{
		"nothing":        nil,
		"another server": append(a[:1:1], newHooks(t, other, sdk.Pre, route, "c")...),
		"another phase":  append(a[:1:1], newHooks(t, d, sdk.Post, route, "c")...),
		"another route":  append(a[:1:1], newHooks(t, d, sdk.Pre, &sdk.Route{}, "c")...),
		"a stranger":     append(a[:1:1], sdk.HookFunc(nil)),
	} {
		if _, ok := Group(d, hooks); ok {
			t.Errorf("%s was grouped", name)
		}
	}
	if pair.Protocol() != "scripted" || !pair.Needs().Has(sdk.NeedBody) {
		t.Error("a hook does not ask its dispatcher")
	}
}

func TestHandle(t *testing.T) {
	refused := sdk.Errorf(402, "pay")
	d := &scripted{
		"fine":    func(x *sdk.Exchange) error { x.Request().Header().Set("A", "b"); return nil },
		"invalid": func(x *sdk.Exchange) error { x.Request().Header().Set("A", "\n"); return nil },
		"refuse":  func(*sdk.Exchange) error { return refused },
		"fail":    func(*sdk.Exchange) error { return sdk.ErrUnavailable },
	}
	for name, want := range map[string]error{"fine": nil, "invalid": sdk.ErrProtocol, "refuse": refused, "fail": sdk.ErrUnavailable} {
		h := newHooks(t, d, sdk.Pre, &sdk.Route{}, name)[0]
		err := h.Handle(t.Context(), exchange(sdk.Pre))
		if !errors.Is(err, want) || err != nil && err != error(refused) && !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
}

func TestRunEachStops(t *testing.T) {
	note := func(end func(x *sdk.Exchange) error) func(x *sdk.Exchange) error {
		return func(x *sdk.Exchange) error {
			x.Request().Header().Add("Ran", "1")
			return end(x)
		}
	}
	onward := func(*sdk.Exchange) error { return nil }
	d := &scripted{
		"fine": note(onward), "last": note(onward),
		"answer":  note(func(x *sdk.Exchange) error { x.Answer(200, nil); return nil }),
		"fail":    note(func(*sdk.Exchange) error { return sdk.ErrOverloaded }),
		"invalid": note(func(x *sdk.Exchange) error { x.Request().SetPath(""); return nil }),
	}
	tests := []struct {
		phase sdk.Phase
		stop  string
		ran   int
		err   error
	}{
		{sdk.Pre, "fine", 3, nil},
		{sdk.Pre, "answer", 2, nil},
		{sdk.ResponsePhase, "answer", 3, nil}, // replaces the reply, and the next hook sees it
		{sdk.Pre, "fail", 2, sdk.ErrOverloaded},
		{sdk.Pre, "invalid", 2, sdk.ErrProtocol},
	}
	for _, tt := range tests {
		h, _ := Group(d, newHooks(t, d, tt.phase, &sdk.Route{}, "fine", tt.stop, "last"))
		x := exchange(tt.phase)
		if err := h.Handle(t.Context(), x); !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, want %v", tt.stop, err, tt.err)
		}
		if got := len(x.Request().Header().Values("Ran")); got != tt.ran {
			t.Errorf("%s in %v: %d hooks ran, want %d", tt.stop, tt.phase, got, tt.ran)
		}
	}
}

// grouped notes what is logged and counted, and by which hook of a group.
type grouped struct{ said []string }

func (*grouped) PeerCertificates() []*x509.Certificate { return nil }
func (g *grouped) Log(_ slog.Level, m string)          { g.HookLog(0, 0, m) }
func (g *grouped) Count(name string, n int64)          { g.HookCount(0, name, n) }
func (g *grouped) HookDone(int, sdk.HookRecord)        {}
func (g *grouped) HookLog(i int, _ slog.Level, m string) {
	g.said = append(g.said, fmt.Sprintf("%d %s", i, m))
}
func (g *grouped) HookCount(i int, name string, n int64) {
	g.said = append(g.said, fmt.Sprintf("%d %s %d", i, name, n))
}

// TestRunEachTellsWhoSpoke: what a hook logs and counts goes under its own place in the group.
func TestRunEachTellsWhoSpoke(t *testing.T) {
	speak := func(x *sdk.Exchange) error {
		x.Log(slog.LevelInfo, "said")
		x.Count("spoke", 1)
		return nil
	}
	d := &scripted{"a": speak, "b": speak, "fail": func(x *sdk.Exchange) error { return errors.Join(speak(x), errors.New("broken")) }}
	b := &grouped{}
	x := exchange(sdk.Pre)
	x.Reset(sdk.Init{Route: &sdk.Route{}, Backing: b})
	h, _ := Group(d, newHooks(t, d, sdk.Pre, &sdk.Route{}, "a", "b", "fail"))
	if err := h.Handle(t.Context(), x); err == nil {
		t.Error("the last hook's failure is lost")
	}
	x.Log(slog.LevelInfo, "after")
	want := []string{"0 said", "0 spoke 1", "1 said", "1 spoke 1", "2 said", "2 spoke 1", "0 after"}
	if !slices.Equal(b.said, want) {
		t.Errorf("got %q, want %q", b.said, want)
	}
}

func TestOutcomeOf(t *testing.T) {
	answered := exchange(sdk.Pre)
	answered.Answer(200, nil)
	if got := sdk.OutcomeOf(nil, answered); got != sdk.OutcomeAnswered {
		t.Errorf("got %v", got)
	}
	for err, want := range map[error]sdk.Outcome{
		nil:                      sdk.OutcomeOK,
		sdk.Errorf(400, ""):      sdk.OutcomeRefused,
		context.DeadlineExceeded: sdk.OutcomeTimeout,
		context.Canceled:         sdk.OutcomeCanceled,
		sdk.ErrUnavailable:       sdk.OutcomeUnavailable,
		sdk.ErrOverloaded:        sdk.OutcomeOverloaded,
		sdk.ErrProtocol:          sdk.OutcomeGarbage,
		sdk.ErrUnimplemented:     sdk.OutcomeFailed,
		errors.New("x"):          sdk.OutcomeFailed,
	} {
		if got := sdk.OutcomeOf(err, exchange(sdk.Pre)); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}
