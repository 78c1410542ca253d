package policy

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// meddle changes whatever a hook can change.
func meddle(x *sdk.Exchange) {
	q := x.Request()
	q.SetMethod("PUT")
	q.SetPath("/other")
	q.Query().Set("a", "2")
	q.Header().Set("X-A", "changed")
	q.Header().Add("X-New", "1")
	q.SetBody([]byte("changed"))
	x.EditSession().Alias = "changed"
	x.SetValue("old", nil)
	x.SetValue("new", []byte("1"))
	x.Response().Header().Set("X-R", "changed")
	x.Response().SetStatus(500)
	x.Response().SetBody([]byte("changed"))
}

// A hook that is skipped has changed nothing, however it failed.
func TestSkipUndoes(t *testing.T) {
	fails := map[string]func(x *sdk.Exchange) error{
		"error":   func(*sdk.Exchange) error { return sdk.ErrUnavailable },
		"panic":   func(*sdk.Exchange) error { panic("x") },
		"invalid": func(x *sdk.Exchange) error { x.Request().Header().Set("A", "\n"); return nil },
		"answer":  func(x *sdk.Exchange) error { x.Answer(99999, nil); return nil },
	}
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.ResponsePhase} {
		for name, fail := range fails {
			t.Run(phase.String()+" "+name, func(t *testing.T) {
				f := newFlow(t, "content")
				x := &f.X
				x.Request().Query().SetRaw("a=1")
				x.Request().Header().Append("X-A", "1")
				x.SetSession(&sdk.Session{KeyID: "k", Alias: "a"})
				x.SetValue("old", []byte("1"))
				if phase == sdk.ResponsePhase {
					x.Response().Fill(200, 5)
					x.Response().Header().Append("X-R", "1")
					f.Reply.Body = content{strings.NewReader("reply")}
				}
				x.Begin(phase, nil, false)
				before := x.Snapshot()
				h := Wrap(Call{Phase: phase, Policy: config.Policy{OnError: config.OnErrorSkip, Body: config.BodyPolicy{Mode: config.BodyBuffer}}},
					sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
						meddle(x)
						return fail(x)
					}))
				var skipped *Skipped
				if err := h.Handle(t.Context(), x); !errors.As(err, &skipped) {
					t.Fatalf("got %v, want it skipped", err)
				}
				if phase == sdk.ResponsePhase {
					before.Response.Body = []byte("reply") // has been read for the hook, and stays
				} else {
					before.Request.Body = []byte("content")
				}
				if diff := cmp.Diff(before, x.Snapshot(), cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
				if x.Changes() != 0 || x.Invalid() != nil {
					t.Errorf("changes %v, invalid %v", x.Changes().Names(), x.Invalid())
				}
			})
		}
	}
}

// torn is a body that breaks off.
type torn struct{ content }

func (torn) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A body that breaks off is nobody's failure but the client's or the upstream's; the hook is not called, and no policy
// skips it.
func TestTornBodies(t *testing.T) {
	for phase, status := range map[sdk.Phase]int{sdk.Pre: 400, sdk.ResponsePhase: 502} {
		f := newFlow(t, "")
		f.Body, f.Reply.Body = torn{}, torn{}
		f.X.Response().Fill(200, -1)
		h := Wrap(Call{Phase: phase, Policy: config.Policy{OnError: config.OnErrorSkip, Body: config.BodyPolicy{Mode: config.BodyBuffer}}},
			sdk.HookFunc(func(context.Context, *sdk.Exchange) error { t.Error("the hook was called"); return nil }))
		err := h.Handle(t.Context(), &f.X)
		var refusal *sdk.Error
		if !errors.As(err, &refusal) || refusal.Status != status || !errors.Is(err, ErrBody) {
			t.Errorf("%v: got %v, want %d", phase, err, status)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := newFlow(t, "")
	f.Ctx, f.Body = ctx, torn{}
	cancel()
	if err := Buffer(f, "h", 10); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: got %v", err)
	}
}

// waking is a hook whose server says what it needs only once it was called.
type waking struct{ needs sdk.Needs }

func (w *waking) Needs() sdk.Needs { return w.needs }
func (w *waking) Handle(context.Context, *sdk.Exchange) error {
	w.needs = sdk.Needs{Fields: sdk.NeedBody}
	return nil
}

// A hook that wants bodies has not passed a request whose body it was not given.
func TestHookWhoseServerComesUp(t *testing.T) {
	w := &waking{sdk.Needs{Fields: sdk.NeedNothing}}
	h := Wrap(Call{Phase: sdk.Pre, Policy: config.Policy{Body: config.BodyPolicy{Mode: config.BodyBuffer}}}, w)
	if err := h.Handle(t.Context(), &newFlow(t, "content").X); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	if err := h.Handle(t.Context(), &newFlow(t, "content").X); err != nil {
		t.Errorf("the next one: got %v", err)
	}
	f := newFlow(t, "")
	f.Body = nil
	w.needs = sdk.Needs{Fields: sdk.NeedNothing}
	if err := h.Handle(t.Context(), &f.X); err != nil {
		t.Errorf("without a body there is nothing to miss: got %v", err)
	}
}

// A context's end that is not the client's is a failure like any other.
func TestCanceledByTheServer(t *testing.T) {
	h := Wrap(Call{Phase: sdk.Pre, Policy: config.Policy{OnError: config.OnErrorSkip}},
		sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return context.Canceled }))
	var skipped *Skipped
	if err := h.Handle(t.Context(), &newFlow(t, "").X); !errors.As(err, &skipped) {
		t.Errorf("got %v, want it skipped", err)
	}
}

func TestBodyLimit(t *testing.T) {
	for _, tt := range []struct {
		policy config.BodyPolicy
		needs  int64
		route  config.Size
		want   int64
	}{
		{config.BodyPolicy{Mode: config.BodyNone, Limit: 5}, 9, 0, 0},
		{config.BodyPolicy{Limit: 5}, 9, 0, 9},
		{config.BodyPolicy{Limit: 5}, 0, 3, 5},
		{config.BodyPolicy{Mode: config.BodyBuffer, Limit: 5}, 9, 3, 5},
		{config.BodyPolicy{}, 0, 0, int64(config.DefaultBodyLimit)},
		{config.BodyPolicy{}, 1 << 62, 0, 16 << 20},
		{config.BodyPolicy{}, 1 << 62, 1 << 40, 16 << 20},
		{config.BodyPolicy{}, 1 << 62, 3 << 20, 3 << 20},
		{config.BodyPolicy{Mode: config.BodyBuffer, Limit: 1 << 40}, 9, 3, 1 << 40}, // the operator's word
	} {
		if got := BodyLimit(tt.policy, sdk.Needs{BodyLimit: tt.needs}, tt.route); got != tt.want {
			t.Errorf("%+v, needs %d: got %d, want %d", tt.policy, tt.needs, got, tt.want)
		}
	}
}

var _ flow.Body = torn{}
