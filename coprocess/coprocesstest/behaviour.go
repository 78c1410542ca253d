package coprocesstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func testRefusal(t *testing.T, open Open) {
	want := &sdk.Error{Status: 402, Message: `pay "first" <é>`, Header: []sdk.Field{{Name: "X-Price", Value: "3"}}}
	server := caller{t, open(t, plugin("Refuse", func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set("X-Half", "done")
		return want
	}))}
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.Auth, sdk.PostKeyAuth, sdk.Post} {
		x, _ := NewExchange()
		err := server.call(limited(t), x, "Refuse", phase, nil)
		got := refusal(err)
		if got == nil {
			t.Fatalf("%v: got %v, want a refusal", phase, err)
		}
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(sdk.Error{}, "Err")); d != "" {
			t.Errorf("%v: refusal differs:\n%s", phase, d)
		}
		if x.Answered() {
			t.Errorf("%v: a refusal is no answer", phase)
		}
	}
}

// testFailures: a hook that fails is no refusal, and the server serves on.
func testFailures(t *testing.T, open Open) {
	p := plugin("Fail", func(context.Context, *sdk.Exchange) error { return errors.New("secret cause") })
	p.Hooks = append(p.Hooks,
		sdk.HookSpec{Name: "Panic", Hook: sdk.HookFunc(func(context.Context, *sdk.Exchange) error { panic("deliberate") })},
		sdk.HookSpec{Name: "Fine", Hook: sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return nil })},
	)
	server := caller{t, open(t, p)}
	for _, tt := range []struct {
		hook string
		is   error // nil: none of those with a meaning
	}{{"Fail", nil}, {"Panic", nil}, {"Absent", sdk.ErrUnimplemented}} {
		x, _ := NewExchange()
		err := server.call(limited(t), x, tt.hook, sdk.Pre, nil)
		if err == nil || refusal(err) != nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: got %v, want a failure (%v)", tt.hook, err, tt.is)
		}
		for _, other := range []error{sdk.ErrUnavailable, sdk.ErrOverloaded, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, other) {
				t.Errorf("%s: got %v, which is %v", tt.hook, err, other)
			}
		}
		x, _ = NewExchange()
		if err := server.call(limited(t), x, "Fine", sdk.Pre, nil); err != nil {
			t.Errorf("after %s: %v", tt.hook, err)
		}
	}
}

// testDeadline: the caller does not wait beyond its deadline, and the hook learns of it.
func testDeadline(t *testing.T, open Open) {
	ended := make(chan error, 1)
	server := caller{t, open(t, plugin("Hang", func(ctx context.Context, _ *sdk.Exchange) error {
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}))}
	x, _ := NewExchange()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := server.call(ctx, x, "Hang", sdk.Pre, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
	select {
	case <-ended:
	case <-time.After(wait):
		t.Error("the hook's context did not end")
	}
}

// testCancel: a client that leaves ends the call and the hook's context.
func testCancel(t *testing.T, open Open) {
	begun, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	server := caller{t, open(t, plugin("Hang", func(ctx context.Context, _ *sdk.Exchange) error {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}))}
	x, _ := NewExchange()
	ctx, cancel := context.WithCancel(limited(t))
	result := make(chan error, 1)
	go func() { result <- server.call(ctx, x, "Hang", sdk.Pre, nil) }()
	<-begun
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	select {
	case <-ended:
	case <-time.After(wait):
		t.Error("the hook's context did not end")
	}
}

// testQuickWhileHeld: quick calls finish while others are held, however they were batched.
func testQuickWhileHeld(t *testing.T, open Open) {
	const held, quick = 20, 100
	release := make(chan struct{})
	begun := make(chan struct{}, held)
	p := plugin("Hold", func(ctx context.Context, _ *sdk.Exchange) error {
		begun <- struct{}{}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	p.Hooks = append(p.Hooks, sdk.HookSpec{Name: "Quick", Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set("X-Quick", x.Request().Header().Get("X-Number"))
		return nil
	})})
	server := caller{t, open(t, p)}
	results := make(chan error, held)
	for range held {
		go func() {
			x, _ := NewExchange()
			results <- server.call(limited(t), x, "Hold", sdk.Pre, nil)
		}()
	}
	atOnce(quick, func(i int) {
		x, _ := NewExchange()
		n := fmt.Sprint(i)
		x.Request().Header().Append("X-Number", n)
		if err := server.call(limited(t), x, "Quick", sdk.Pre, nil); err != nil || x.Request().Header().Get("X-Quick") != n {
			t.Errorf("quick call %d: got %v %q", i, err, x.Request().Header().Get("X-Quick"))
		}
	})
	for range held {
		<-begun // all are in the hook, or this never ends
	}
	select {
	case err := <-results:
		t.Errorf("a held call returned %v before it was released", err)
	default:
	}
	close(release)
	for range held {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// testConcurrent: many callers, each with its own data, none gets another's.
func testConcurrent(t *testing.T, open Open) {
	server := caller{t, open(t, plugin("Mark", func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set("X-Mark", x.Request().Path()+string(x.Request().Body()))
		return nil
	}))}
	x, _ := NewExchange()
	h := server.hook(x, "Mark", sdk.Pre, nil)
	atOnce(48, func(i int) {
		for j := range 20 {
			x, _ := NewExchange()
			path, body := fmt.Sprintf("/orders/%d/%d", i, j), make([]byte, i*j*8)
			for k := range body {
				body[k] = 'a' + byte(i%26)
			}
			x.Request().SetPath(path)
			x.Request().LoadBody(body)
			x.Begin(sdk.Pre, nil, false)
			if err := handle(limited(t), h, x); err != nil {
				t.Error(err)
				return
			}
			if x.Request().Header().Get("X-Mark") != path+string(body) {
				t.Errorf("call %d/%d got another's reply", i, j)
				return
			}
		}
	})
}

// testGroup: consecutive hooks run in order in one call, each seeing what the one before did.
func testGroup(t *testing.T, open Open) {
	step := func(name string, last func(x *sdk.Exchange) error) sdk.HookSpec {
		return sdk.HookSpec{Name: name, Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
			x.Log(slog.LevelInfo, name+string(x.Config()))
			x.Count("ran", 1)
			x.Request().Header().Set("X-Trail", x.Request().Header().Get("X-Trail")+name)
			return last(x)
		})}
	}
	onward := func(*sdk.Exchange) error { return nil }
	p := &sdk.Plugin{Name: "suite", Version: "1", Hooks: []sdk.HookSpec{
		step("A", onward), step("B", onward), step("C", onward),
		step("Answer", func(x *sdk.Exchange) error { x.Answer(200, []byte("done")); return nil }),
		step("Refuse", func(*sdk.Exchange) error { return sdk.Errorf(403, "no") }),
		step("Fail", func(*sdk.Exchange) error { return errors.New("broken") }),
	}}
	server := caller{t, open(t, p)}
	ok, answered, refused, failed := sdk.OutcomeOK, sdk.OutcomeAnswered, sdk.OutcomeRefused, sdk.OutcomeFailed
	tests := []struct {
		hooks    []string
		trail    string
		outcomes []sdk.Outcome
		lines    []string
	}{
		{[]string{"A", "B", "C"}, "ABC", []sdk.Outcome{ok, ok, ok}, []string{
			"log INFO A1", "hook 1: log INFO B2", "hook 2: log INFO C3", "count ran 1", "hook 1: count ran 1", "hook 2: count ran 1",
		}},
		{[]string{"A", "Answer", "C"}, "AAnswer", []sdk.Outcome{ok, answered}, []string{
			"log INFO A1", "hook 1: log INFO Answer2", "count ran 1", "hook 1: count ran 1",
		}},
		{[]string{"A", "Refuse", "C"}, "A", []sdk.Outcome{ok, refused}, []string{
			"log INFO A1", "hook 1: log INFO Refuse2", "count ran 1", "hook 1: count ran 1",
		}},
		{[]string{"A", "Fail", "C"}, "A", []sdk.Outcome{ok, failed}, []string{
			"log INFO A1", "hook 1: log INFO Fail2", "count ran 1", "hook 1: count ran 1",
		}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.hooks), func(t *testing.T) {
			x, b := NewExchange()
			var hooks []sdk.Hook
			for i, n := range tt.hooks {
				hooks = append(hooks, server.hook(x, n, sdk.Pre, []byte(fmt.Sprint(i+1))))
			}
			group, made := server.s.Group(hooks)
			if !made {
				t.Fatal("the server makes no group")
			}
			x.Begin(sdk.Pre, nil, false)
			err := handle(limited(t), group, x)
			last := tt.outcomes[len(tt.outcomes)-1]
			if (err != nil) != (last == refused || last == failed) || (refusal(err) != nil) != (last == refused) {
				t.Errorf("got error %v", err)
			}
			if got := x.Request().Header().Get("X-Trail"); got != tt.trail {
				t.Errorf("got trail %q, want %q", got, tt.trail)
			}
			var outcomes []sdk.Outcome
			for i, r := range b.Records {
				outcomes = append(outcomes, r.Outcome)
				if r.Name != tt.hooks[i] || r.Phase != sdk.Pre || r.Outcome == ok && r.Changed != sdk.ChangedHeader {
					t.Errorf("got record %+v", r)
				}
			}
			if d := cmp.Diff(tt.outcomes, outcomes); d != "" {
				t.Errorf("outcomes differ:\n%s", d)
			}
			slices.Sort(tt.lines) // some runtimes tell of one hook after the other
			slices.Sort(b.Lines)
			if d := cmp.Diff(tt.lines, b.Lines); d != "" {
				t.Errorf("lines differ:\n%s", d)
			}
		})
	}
	if _, made := server.s.Group([]sdk.Hook{sdk.HookFunc(nil)}); made {
		t.Error("a stranger's hook was grouped")
	}
	if _, made := server.s.Group(nil); made {
		t.Error("a group of nothing was made")
	}
}

// testNotes: what a hook logs and counts reaches the host, and the host learns where the time went.
func testNotes(t *testing.T, open Open) {
	server := caller{t, open(t, plugin("Note", func(_ context.Context, x *sdk.Exchange) error {
		x.Log(slog.LevelWarn, "careful")
		x.Count("seen", 2)
		x.Count("seen", 3)
		return nil
	}))}
	x, b := NewExchange()
	if err := server.call(limited(t), x, "Note", sdk.Post, nil); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, l := range b.Lines {
		var n int
		if _, err := fmt.Sscanf(l, "count seen %d", &n); err == nil {
			sum += n
		}
	}
	if sum != 5 || len(b.Lines) == 0 || b.Lines[0] != "log WARN careful" {
		t.Errorf("got %q", b.Lines)
	}
	for _, c := range b.Timings {
		if c.Encode < 0 || c.Queue < 0 || c.Wire < 0 || c.Apply < 0 || c.Wire+c.Apply > wait {
			t.Errorf("got timings %+v", c)
		}
	}
}

// testConfigSchema: a configuration that the plugin does not take is refused when the hook is opened, by plugin and path.
func testConfigSchema(t *testing.T, open Open) {
	p := plugin("H", func(context.Context, *sdk.Exchange) error { return nil })
	p.ConfigSchema = []byte(`{"properties": {"realm": {"type": "string"}}}`)
	server := caller{t, open(t, p)}
	x, _ := NewExchange()
	if err := server.call(limited(t), x, "H", sdk.Pre, []byte(`{"realm":"r"}`)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	_, err := server.s.Hook(sdk.HookUse{Name: "H", Phase: sdk.Pre, Config: []byte(`{"realm":1}`), Route: x.Route()})
	if err == nil || !strings.Contains(err.Error(), "$.realm") || !strings.Contains(err.Error(), fmt.Sprintf("%q", p.Name)) {
		t.Errorf("got %v, want plugin and path", err)
	}
}

// testNeeds: a hook says what it needs, and is not sent what it does not.
func testNeeds(t *testing.T, open Open, tyk bool) {
	p := &sdk.Plugin{Name: "suite", Version: "1", Hooks: []sdk.HookSpec{{
		Name: "Little", Phase: sdk.Pre, Needs: sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"X-One"}, BodyLimit: 7},
		Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
			return echo(x, x.Request().Header().Get("X-One"), fmt.Sprint(x.Request().Header().Has("Accept")), x.Request().Query().Raw())
		}),
	}}}
	server := caller{t, open(t, p)}
	x, _ := NewExchange()
	needer, ok := server.hook(x, "Little", sdk.Pre, nil).(sdk.Needer)
	if !ok {
		t.Fatal("the hook does not say what it needs")
	}
	if needs := needer.Needs(); tyk != needs.Has(sdk.NeedBody) {
		t.Errorf("got needs %+v", needs)
	}
	if tyk {
		return // everything is sent
	}
	if d := cmp.Diff(p.Hooks[0].Needs, needer.Needs()); d != "" {
		t.Errorf("needs differ:\n%s", d)
	}
	if err := server.call(limited(t), x, "Little", sdk.Pre, nil); err != nil {
		t.Fatal(err)
	}
	if got := x.Request().Header().Get("X-Echo"); got != "1|false|" {
		t.Errorf("the hook saw %q", got)
	}
}

// testObserver: records and events arrive; Tyk's protocol carries events.
func testObserver(t *testing.T, open Open, tyk bool) {
	got := make(chan sdk.Batch, 8)
	p := plugin("Any", func(context.Context, *sdk.Exchange) error { return nil })
	p.Observers = []sdk.ObserverSpec{{Name: "Watch", Observer: sdk.ObserverFunc(func(_ context.Context, b sdk.Batch) error {
		got <- b
		return nil
	})}}
	server := open(t, p)
	sent := sdk.Batch{
		Records: []sdk.Record{{RequestID: "1", Status: 200, Hooks: []sdk.HookRecord{{Name: "h", Outcome: sdk.OutcomeOK}}}},
		Events:  []sdk.Event{{Type: sdk.EventHostDown, Route: "orders", Org: "acme", Message: "down", Time: time.Unix(1, 0)}},
	}
	if err := server.Observer("Watch").Observe(limited(t), sent); err != nil {
		t.Fatal(err)
	}
	var records []sdk.Record
	var events []sdk.Event
	for len(events) == 0 || len(records) == 0 && !tyk {
		select {
		case b := <-got:
			records, events = append(records, b.Records...), append(events, b.Events...)
		case <-time.After(wait):
			t.Fatalf("got %d records and %d events", len(records), len(events))
		}
	}
	if !tyk && (records[0].RequestID != "1" || len(records[0].Hooks) != 1) {
		t.Errorf("got records %+v", records)
	}
	if events[0].Type != sdk.EventHostDown || events[0].Route != "orders" {
		t.Errorf("got events %+v", events)
	}
}
