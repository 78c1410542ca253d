package policy

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

type content struct{ io.Reader }

func (content) Close() error         { return nil }
func (content) Trailer() *sdk.Header { return nil }

func newFlow(t *testing.T, text string) *flow.Flow {
	f := &flow.Flow{}
	f.Reset()
	f.Ctx = t.Context()
	f.X.Reset(sdk.Init{Route: &sdk.Route{ID: "r"}, Backing: f})
	f.X.Request().Fill(sdk.RequestInit{Method: "POST", Path: "/", Length: -1})
	f.Body = content{strings.NewReader(text)}
	f.X.Begin(sdk.Pre, nil, false)
	return f
}

func TestWrapOutcomes(t *testing.T) {
	boom := errors.New("boom")
	answer := func(_ context.Context, x *sdk.Exchange) error { x.Answer(200, nil); return boom }
	tests := []struct {
		name     string
		phase    sdk.Phase
		policy   config.Policy
		hook     sdk.HookFunc
		want     error
		skipped  bool
		answered bool
	}{
		{name: "fine", hook: func(context.Context, *sdk.Exchange) error { return nil }},
		{name: "fails", hook: func(context.Context, *sdk.Exchange) error { return boom }, want: boom},
		{name: "skips", policy: config.Policy{OnError: config.OnErrorSkip}, hook: answer, want: boom, skipped: true},
		{name: "auth never skips", phase: sdk.Auth, policy: config.Policy{OnError: config.OnErrorSkip},
			hook: func(context.Context, *sdk.Exchange) error { return boom }, want: boom},
		{name: "panic", hook: func(context.Context, *sdk.Exchange) error { panic("x") }, want: sdk.ErrPanic},
		{name: "panic skipped", policy: config.Policy{OnError: config.OnErrorSkip},
			hook: func(context.Context, *sdk.Exchange) error { panic("x") }, want: sdk.ErrPanic, skipped: true},
		{name: "answers", hook: func(_ context.Context, x *sdk.Exchange) error { x.Answer(200, nil); return nil }, answered: true},
		{name: "body over the limit is refused even with skip",
			policy: config.Policy{OnError: config.OnErrorSkip, Body: config.BodyPolicy{Mode: config.BodyBuffer, Limit: 3}},
			hook:   func(context.Context, *sdk.Exchange) error { return nil }, want: sdk.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.phase == 0 {
				tt.phase = sdk.Pre
			}
			f := newFlow(t, "four")
			h := Wrap(Call{Name: "h", Phase: tt.phase, Policy: tt.policy}, tt.hook)
			err := h.Handle(t.Context(), &f.X)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			var s *Skipped
			if errors.As(err, &s) != tt.skipped {
				t.Errorf("got skipped %v, want %v", !tt.skipped, tt.skipped)
			}
			if f.X.Answered() != tt.answered {
				t.Errorf("got answered %v, want %v", !tt.answered, tt.answered)
			}
		})
	}
}

func TestBodyOverLimitNamesTheSetting(t *testing.T) {
	f := newFlow(t, "more than three")
	h := Wrap(Call{Name: "Scan", Phase: sdk.Pre, Policy: config.Policy{Body: config.BodyPolicy{Mode: config.BodyBuffer, Limit: 3}}},
		sdk.HookFunc(func(context.Context, *sdk.Exchange) error { t.Error("the hook was called"); return nil }))
	var refusal *sdk.Error
	if err := h.Handle(t.Context(), &f.X); !errors.As(err, &refusal) || refusal.Status != 413 {
		t.Fatalf("got %v, want 413", err)
	}
	for _, word := range []string{"Scan", "setting body", "3"} {
		if !strings.Contains(refusal.Message, word) {
			t.Errorf("message %q lacks %q", refusal.Message, word)
		}
	}
}

type needing struct {
	sdk.Hook
	needs sdk.Needs
}

func (n needing) Needs() sdk.Needs { return n.needs }

func TestBodyFollowsNeeds(t *testing.T) {
	tests := []struct {
		name  string
		mode  config.BodyMode
		needs sdk.Needs
		want  bool
	}{
		{"not said, not needed", "", sdk.Needs{}, false},
		{"not said, needed", "", sdk.Needs{Fields: sdk.NeedBody}, true},
		{"forbidden, needed", config.BodyNone, sdk.Needs{Fields: sdk.NeedBody}, false},
		{"allowed, not needed", config.BodyBuffer, sdk.Needs{Fields: sdk.NeedHeaders}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFlow(t, "content")
			var seen []byte
			h := needing{sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error { seen = x.Request().Body(); return nil }), tt.needs}
			if err := Wrap(Call{Phase: sdk.Pre, Policy: config.Policy{Body: config.BodyPolicy{Mode: tt.mode}}}, h).Handle(t.Context(), &f.X); err != nil {
				t.Fatal(err)
			}
			if got := string(seen) == "content"; got != tt.want {
				t.Errorf("got body %q, want it %v", seen, tt.want)
			}
		})
	}
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlow(t, "")
		wait := sdk.HookFunc(func(ctx context.Context, _ *sdk.Exchange) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		err := Deadline(always(time.Second), 0, time.Now)(wait).Handle(t.Context(), &f.X)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		var kept context.Context
		keep := sdk.HookFunc(func(ctx context.Context, _ *sdk.Exchange) error { kept = ctx; return ctx.Err() })
		if err := Deadline(always(time.Second), 0, time.Now)(keep).Handle(t.Context(), &f.X); err != nil || kept.Err() == nil {
			t.Errorf("a context kept after the call: got %v and %v, want nil and canceled", err, kept.Err())
		}
		<-kept.Done()
		f.Times.Hooks = 800 * time.Millisecond
		start = time.Now()
		err = Deadline(always(time.Second), time.Second, time.Now)(wait).Handle(t.Context(), &f.X)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 200*time.Millisecond {
			t.Errorf("with a budget: got %v after %v", err, time.Since(start))
		}
		f.Times.Hooks = time.Second
		if err = Deadline(always(time.Second), time.Second, time.Now)(wait).Handle(t.Context(), &f.X); !errors.Is(err, sdk.ErrBudget) {
			t.Errorf("with no budget left: got %v", err)
		}
		start = time.Now()
		f.Times = flow.Times{Called: start.Add(-500 * time.Millisecond), Bodies: 200 * time.Millisecond}
		err = Deadline(always(time.Second), 0, time.Now)(wait).Handle(t.Context(), &f.X)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 700*time.Millisecond {
			t.Errorf("called 300 ms ago, without bodies: got %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		polled := Deadline(always(time.Second), 0, time.Now)(sdk.HookFunc(func(ctx context.Context, _ *sdk.Exchange) error { cancel(); return ctx.Err() }))
		if err := polled.Handle(ctx, &f.X); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that left: got %v", err)
		}
	})
}

func TestInFlight(t *testing.T) {
	h := InFlight(1)
	enter, leave := make(chan struct{}), make(chan struct{})
	held := h(sdk.HookFunc(func(context.Context, *sdk.Exchange) error { enter <- struct{}{}; <-leave; return nil }))
	f := newFlow(t, "")
	first := make(chan error)
	go func() { first <- held.Handle(t.Context(), &f.X) }()
	<-enter
	g := newFlow(t, "")
	if err := held.Handle(t.Context(), &g.X); !errors.Is(err, sdk.ErrOverloaded) {
		t.Errorf("got %v, want overloaded", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestBreaker(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var changes []BreakerChange
	b := NewBreaker(config.Breaker{ErrorRate: 0.5, Window: 10 * time.Second, MinCalls: 4, OpenFor: time.Second},
		func() time.Time { return now }, func(c BreakerChange) { changes = append(changes, c) })
	call := func(failed bool) Pass {
		p := b.Allow()
		if p != Refused {
			b.Done(p, failed)
		}
		return p
	}
	for _, failed := range []bool{true, false, true} {
		if call(failed) != Allowed {
			t.Fatal("opened before min_calls")
		}
	}
	now = now.Add(11 * time.Second) // what was counted leaves the window
	for range 3 {
		call(true)
	}
	if len(changes) != 0 {
		t.Fatalf("calls outside the window counted: %v", changes)
	}
	old := b.Allow()
	call(true)
	if len(changes) != 1 || !changes[0].Open || changes[0].Calls != 4 {
		t.Fatalf("got %v, want one trip after 4 calls", changes)
	}
	if call(false) != Refused {
		t.Fatal("an open breaker let a call through")
	}
	now = now.Add(time.Second)
	probe := b.Allow()
	if probe != Probe || b.Allow() != Refused {
		t.Fatal("want exactly one probe")
	}
	b.Done(old, false) // a call from before it opened decides nothing
	b.Done(probe, true)
	if call(false) != Refused {
		t.Fatal("a failed probe must keep it open")
	}
	now = now.Add(time.Second)
	b.Forget(b.Allow())
	if call(false) != Probe || len(changes) != 2 || changes[1].Open {
		t.Fatalf("a good probe must close it, got %v", changes)
	}
	if call(true) != Allowed {
		t.Fatal("closed again, it must allow calls")
	}
}

func always(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
