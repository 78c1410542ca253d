package wire

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// hook is what the tests run on both sides.
type hook func(x *sdk.Exchange) error

// onView runs hooks as a host runs hooks in process, one after the other, and returns what x is to be: as before the
// hook that failed. It reports the changes of all hooks together.
func onView(make func() *sdk.Exchange, phase sdk.Phase, hooks []hook) (x *sdk.Exchange, changed sdk.Change, err error) {
	run := func(n int) (*sdk.Exchange, sdk.Change, error) {
		x, all := make(), sdk.Change(0)
		for _, h := range hooks[:n] {
			x.Begin(phase, nil, false)
			if err := h(x); err != nil {
				return x, all, err
			}
			if err := x.Invalid(); err != nil {
				return x, all, errors.Join(sdk.ErrProtocol, err)
			}
			if x.Changes()&sdk.ChangedAnswer != 0 { // it starts the reply anew
				all &^= sdk.ChangedStatus | sdk.ChangedResponseHeader | sdk.ChangedResponseBody
			}
			all |= x.Changes()
			if x.Answered() && phase != sdk.ResponsePhase {
				return x, all, nil
			}
		}
		return x, all, nil
	}
	for n := 1; n <= len(hooks); n++ {
		if _, _, err := run(n); err != nil {
			x, changed, _ := run(n - 1)
			return x, changed, err
		}
	}
	x, changed, err = run(len(hooks))
	return x, changed, err
}

// onWire runs them in one native call.
func onWire(t *testing.T, x *sdk.Exchange, phase sdk.Phase, hooks []hook) (sdk.Change, error) {
	t.Helper()
	x.Begin(phase, nil, false)
	f, err := ScanHostFrame(AppendCall(nil, CallHeader{ID: 11}, x, sdk.Needs{Fields: everything}))
	if err != nil {
		t.Fatal(err)
	}
	in, y := new(Incoming), &sdk.Exchange{}
	for call := range f.Calls() {
		if err := in.Decode(call, &Binding{Route: x.Route()}, y); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range hooks {
		y.Begin(phase, nil, true)
		if !in.Done(y, 0, h(y)) {
			break
		}
	}
	p, err := ScanPluginFrame(in.AppendReply(nil))
	if err != nil {
		t.Fatal(err)
	}
	var result Result
	for id, reply := range p.Replies() {
		if id != 11 {
			t.Errorf("reply to call %d", id)
		}
		err = ApplyReply(reply, x, &result)
	}
	if n := len(result.Outcomes); n == 0 || n > len(hooks) {
		t.Errorf("%d outcomes of %d hooks", n, len(hooks))
	}
	if invalid := x.Invalid(); invalid != nil {
		t.Errorf("what the server let through is invalid: %v", invalid)
	}
	return x.Changes(), err
}

func sameError(t *testing.T, got, want error) {
	t.Helper()
	var g, w *sdk.Error
	if errors.As(got, &g) != errors.As(want, &w) {
		t.Errorf("got error %v, want %v", got, want)
	} else if w != nil {
		if d := cmp.Diff(&sdk.Error{Status: w.Status, Message: w.Message, Header: w.Header}, g); d != "" {
			t.Errorf("error: -want +got\n%s", d)
		}
		return
	}
	if (got == nil) != (want == nil) {
		t.Errorf("got error %v, want %v", got, want)
	}
	for i := range failures {
		if errors.Is(got, failures[i].err) != errors.Is(want, failures[i].err) {
			t.Errorf("got error %v, want %v", got, want)
		}
	}
}

func TestNativeEqualsView(t *testing.T) {
	boom := errors.New("boom")
	tests := []struct {
		name  string
		phase sdk.Phase
		hooks []hook
	}{
		{"nothing", sdk.Pre, []hook{func(x *sdk.Exchange) error { return nil }}},
		{"request", sdk.Post, []hook{func(x *sdk.Exchange) error {
			x.Request().SetMethod("PATCH")
			x.Request().SetPath("/a%20b")
			x.Request().Query().Set("a", "ü &")
			x.Request().Query().Del("b")
			x.Request().Header().Set("x-a", "set")
			x.Request().Header().Add("X-A", "added")
			x.Request().Header().Del("Cookie")
			x.Request().SetBody([]byte{})
			return nil
		}}},
		{"identity", sdk.Auth, []hook{func(x *sdk.Exchange) error { x.SetSession(fullSession()); return nil }}},
		{"identity taken away", sdk.Auth, []hook{func(x *sdk.Exchange) error { x.SetSession(nil); return nil }}},
		{"session edited", sdk.PostKeyAuth, []hook{func(x *sdk.Exchange) error {
			x.EditSession().Tags = append(x.EditSession().Tags, "new")
			return nil
		}}},
		{"values", sdk.Pre, []hook{func(x *sdk.Exchange) error {
			x.SetValue("v0", nil)
			x.SetValue("n", []byte("1"))
			x.SetValue("e", []byte{})
			return nil
		}}},
		{"answer", sdk.Pre, []hook{
			func(x *sdk.Exchange) error { x.Request().SetMethod("A"); return nil },
			func(x *sdk.Exchange) error {
				h := x.Answer(302, []byte("moved")).Header()
				h.Set("Location", "/x")
				h.Add("Set-Cookie", "a")
				h.Add("Set-Cookie", "b")
				return nil
			},
			func(x *sdk.Exchange) error { x.Request().SetMethod("NEVER"); return nil },
		}},
		{"reply changed", sdk.ResponsePhase, []hook{func(x *sdk.Exchange) error {
			x.Response().SetStatus(201)
			x.Response().Header().Del("set-cookie")
			x.Response().SetBody(nil)
			return nil
		}}},
		{"reply replaced between changes", sdk.ResponsePhase, []hook{
			func(x *sdk.Exchange) error {
				x.Response().SetStatus(404)
				x.Response().Header().Set("Lost", "1")
				x.Response().SetBody([]byte("lost"))
				return nil
			},
			func(x *sdk.Exchange) error { x.Answer(200, nil).Header().Set("Kept", "1"); return nil },
			func(x *sdk.Exchange) error { x.Response().Header().Add("Kept", "2"); return nil },
		}},
		{"refused after a change", sdk.Pre, []hook{
			func(x *sdk.Exchange) error { x.Request().Header().Set("First", "1"); return nil },
			func(x *sdk.Exchange) error {
				x.Request().Header().Set("Second", "1")
				x.Request().SetPath("/second")
				return &sdk.Error{Status: 429, Message: "slow <down>", Header: []sdk.Field{{Name: "Retry-After", Value: "1"}}}
			},
		}},
		{"wrapped refusal", sdk.Pre, []hook{func(x *sdk.Exchange) error { return fmt.Errorf("so: %w", sdk.Errorf(400, "bad")) }}},
		{"failed", sdk.Pre, []hook{func(x *sdk.Exchange) error { return boom }}},
		{"deadline", sdk.Pre, []hook{func(x *sdk.Exchange) error { return context.DeadlineExceeded }}},
		{"canceled", sdk.Pre, []hook{func(x *sdk.Exchange) error { return context.Canceled }}},
		{"invalid header", sdk.Pre, []hook{func(x *sdk.Exchange) error {
			x.Request().SetPath("/fine")
			x.Request().Header().Set("A", "1\r\nB: 2")
			return nil
		}}},
		{"invalid answer", sdk.Pre, []hook{func(x *sdk.Exchange) error { x.Answer(99, nil); return nil }}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(20) {
				want, _, wantErr := onView(func() *sdk.Exchange { return random(seed, tt.phase) }, tt.phase, tt.hooks)
				got := random(seed, tt.phase)
				_, err := onWire(t, got, tt.phase, tt.hooks)
				sameError(t, err, wantErr)
				sameAfter(t, got, want)
			}
		})
	}
}

func sameAfter(t *testing.T, got, want *sdk.Exchange) {
	t.Helper()
	got.Begin(sdk.Pre, nil, false)
	want.Begin(sdk.Pre, nil, false)
	sameExchange(t, "afterwards", got.Snapshot(), want.Snapshot())
}

// step does one random thing to an exchange; the same source gives the same thing.
func step(r *rand.Rand, x *sdk.Exchange, phase sdk.Phase) error {
	name, value := names[r.IntN(len(names))], text(r)
	h := x.Request().Header()
	if phase == sdk.ResponsePhase && r.IntN(2) == 0 {
		h = x.Response().Header()
	}
	switch r.IntN(22) {
	case 0, 1:
		h.Set(name, value)
	case 2, 3:
		h.Add(name, value)
	case 4:
		h.Del(name)
	case 5:
		h.Clear()
	case 6:
		x.Request().SetMethod(pick(r, "GET", "DELETE"))
	case 7:
		x.Request().SetPath(pick(r, "/", "/new%20path", "/ü"))
	case 8:
		x.Request().Query().Set(pick(r, "a", "b", "ü"), value)
	case 9:
		x.Request().Query().Add(pick(r, "a", "b"), value)
	case 10:
		x.Request().Query().Del("a")
	case 11:
		x.Request().Query().SetRaw(pick(r, "", "z=1&y", "%%"))
	case 12:
		x.Request().SetBody(body(r))
	case 13:
		x.SetSession(fullSession())
	case 14:
		x.SetSession(nil)
	case 15:
		x.Authenticate(value, name)
	case 16:
		x.SetValue(pick(r, "v0", "v1", "v9"), body(r))
	case 17, 18:
		if phase == sdk.ResponsePhase {
			x.Response().SetStatus(200 + r.IntN(400))
			x.Response().SetBody(body(r))
		}
	case 19:
		if r.IntN(3) == 0 {
			x.Answer(200+r.IntN(400), body(r)).Header().Set(name, value)
		}
	case 20:
		if r.IntN(6) == 0 {
			h.Set(name, "bad\n")
		}
	case 21:
		if r.IntN(6) == 0 {
			return sdk.Errorf(400+r.IntN(200), "no: %s", value)
		}
	}
	return nil
}

// steps makes up to three hooks of several steps each.
func steps(seed uint64, phase sdk.Phase) []hook {
	hooks := make([]hook, 1+seed%3)
	for i := range hooks {
		hooks[i] = func(x *sdk.Exchange) error {
			r := rand.New(rand.NewPCG(seed, uint64(i)+2))
			for range 1 + r.IntN(5) {
				if err := step(r, x, phase); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return hooks
}

func TestNativeEqualsViewAtRandom(t *testing.T) {
	for seed := range seeds(3000) {
		phase := sdk.Pre + sdk.Phase(seed%5)
		hooks := steps(seed, phase)
		want, wantChanged, wantErr := onView(func() *sdk.Exchange { return random(seed, phase) }, phase, hooks)
		got := random(seed, phase)
		changed, err := onWire(t, got, phase, hooks)
		sameError(t, err, wantErr)
		if changed&sdk.ChangedAnswer != 0 { // says the rest of the reply
			changed |= sdk.ChangedResponseHeader
			wantChanged |= sdk.ChangedResponseHeader
		}
		if changed != wantChanged {
			t.Errorf("changed %v, want %v", changed.Names(), wantChanged.Names())
		}
		sameAfter(t, got, want)
		if t.Failed() {
			t.Fatalf("seed %d, phase %v", seed, phase)
		}
	}
}
