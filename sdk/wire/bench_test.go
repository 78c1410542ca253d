package wire

import (
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func benchNeeds() map[string]sdk.Needs {
	return map[string]sdk.Needs{"nothing": {Fields: sdk.NeedNothing}, "default": {}, "all": {Fields: everything}}
}

func BenchmarkAppendCall(b *testing.B) {
	for name, needs := range benchNeeds() {
		b.Run(name, func(b *testing.B) {
			x := typical(sdk.Post)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendCall(buf[:0], CallHeader{ID: 1 << 20, Binding: 1, Timeout: time.Second}, x, needs)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkDecodeCall(b *testing.B) {
	for name, needs := range benchNeeds() {
		b.Run(name, func(b *testing.B) {
			f, err := ScanHostFrame(AppendCall(nil, CallHeader{ID: 1 << 20}, typical(sdk.Post), needs))
			if err != nil {
				b.Fatal(err)
			}
			var x sdk.Exchange
			in, binding := new(Incoming), &Binding{Route: testRoute()}
			b.ReportAllocs()
			for b.Loop() {
				for call := range f.Calls() {
					if err := in.Decode(call, binding, &x); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// setTwo is what a usual hook does.
func setTwo(x *sdk.Exchange) error {
	x.Request().Header().Set("X-User", "alice")
	x.Request().Header().Set("X-Tier", "gold")
	return nil
}

func benchReply(tb testing.TB, h hook) (in *Incoming, y *sdk.Exchange, reply []byte) {
	in, y = new(Incoming), &sdk.Exchange{}
	f, err := ScanHostFrame(AppendCall(nil, CallHeader{ID: 1 << 20}, typical(sdk.Pre), sdk.Needs{}))
	if err != nil {
		tb.Fatal(err)
	}
	for call := range f.Calls() {
		if err := in.Decode(call, &Binding{Route: testRoute()}, y); err != nil {
			tb.Fatal(err)
		}
	}
	y.Begin(sdk.Pre, nil, true)
	in.Done(y, 0, h(y))
	p, err := ScanPluginFrame(in.AppendReply(nil))
	if err != nil {
		tb.Fatal(err)
	}
	for _, raw := range p.Replies() {
		reply = raw
	}
	return in, y, reply
}

func BenchmarkAppendReply(b *testing.B) {
	in, _, _ := benchReply(b, setTwo)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = in.AppendReply(buf[:0])
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkApplyReply(b *testing.B) {
	for name, h := range map[string]hook{
		"nothing": func(*sdk.Exchange) error { return nil }, "two headers": setTwo,
		"identity": func(x *sdk.Exchange) error { x.Authenticate("key", "alice"); return nil },
		"answer":   func(x *sdk.Exchange) error { x.Answer(200, []byte("hi")).Header().Set("A", "b"); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			_, _, reply := benchReply(b, h)
			x := typical(sdk.Pre)
			var result Result
			b.ReportAllocs()
			for b.Loop() {
				x.Begin(sdk.Pre, nil, false)
				if err := ApplyReply(reply, x, &result); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendObject(b *testing.B) {
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.Post, sdk.ResponsePhase} {
		b.Run(phase.String(), func(b *testing.B) {
			x := typical(phase)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendObject(buf[:0], x, "Hook", ObjectOptions{})
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkApplyObject(b *testing.B) {
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.Post, sdk.ResponsePhase} {
		b.Run(phase.String(), func(b *testing.B) {
			y := &sdk.Exchange{}
			object := AppendObject(nil, typical(phase), "Hook", ObjectOptions{})
			if _, _, err := DecodeObject(object, y, nil); err != nil {
				b.Fatal(err)
			}
			y.Begin(phase, nil, true)
			if err := setTwo(y); err != nil {
				b.Fatal(err)
			}
			reply := AppendObjectReply(nil, object, y, nil)
			x := typical(phase)
			b.ReportAllocs()
			for b.Loop() {
				x.Begin(phase, nil, false)
				if err := ApplyObject(reply, x, ObjectOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The allocations the encoders promise not to make, and few when applying.
func TestAllocations(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counters are in the way")
	}
	buf := make([]byte, 0, 1<<16)
	x, reply := typical(sdk.Post), typical(sdk.ResponsePhase)
	_, _, two := benchReply(t, setTwo)
	in, _, _ := benchReply(t, setTwo)
	for _, x := range []*sdk.Exchange{x, reply} { // each escaped pair of a query costs Tyk's encoder one allocation
		x.Request().Query().SetRaw("page=2&q=ab")
	}
	var result Result
	for name, test := range map[string]struct {
		max float64
		do  func()
	}{
		"AppendCall":                   {0, func() { AppendCall(buf, CallHeader{ID: 1}, x, sdk.Needs{Fields: everything}) }},
		"AppendObject":                 {0, func() { AppendObject(buf, x, "h", ObjectOptions{}) }},
		"AppendObject, response":       {0, func() { AppendObject(buf, reply, "h", ObjectOptions{}) }},
		"AppendReply":                  {0, func() { in.AppendReply(buf) }},
		"ApplyReply with two headers":  {2, func() { _ = ApplyReply(two, x, &result) }},
		"AppendRecord and AppendEvent": {0, func() { AppendEvent(AppendRecord(buf, &sdk.Record{Status: 200}), &sdk.Event{Type: "T"}) }},
	} {
		if n := testing.AllocsPerRun(100, test.do); n > test.max {
			t.Errorf("%s: %v allocations, want at most %v", name, n, test.max)
		}
	}
}
