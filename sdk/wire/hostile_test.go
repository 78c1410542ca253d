package wire

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// nested puts content into the fields with these numbers, the first outermost.
func nested(content []byte, numbers ...uint64) []byte {
	for i := len(numbers) - 1; i >= 0; i-- {
		content = appendBytes(nil, numbers[i], content)
	}
	return content
}

// messages are malformed or over a bound.
func hostile() map[string][]byte {
	huge := protowire.AppendVarint([]byte{3<<3 | 2}, 1<<62) // a length nothing follows
	deep := bytes.Repeat([]byte{5<<3 | 3}, 100_000)         // groups in groups
	return map[string][]byte{
		"truncated tag": {0x80}, "truncated number": {1 << 3, 0x80}, "endless number": append([]byte{1 << 3}, bytes.Repeat([]byte{0xff}, 20)...),
		"number 0": {0, 0}, "huge number": protowire.AppendVarint(nil, 1<<40), "huge length": huge, "deep": deep,
		"end of no group": {1<<3 | 4}, "reserved wire type": {1<<3 | 7}, "truncated double": {2<<3 | 1, 0},
	}
}

// untouched runs a decoder that must refuse b and leave x as it was.
func untouched(t *testing.T, x *sdk.Exchange, b []byte, decode func(b []byte) error) {
	t.Helper()
	before := x.Snapshot()
	if err := decode(b); !errors.Is(err, sdk.ErrProtocol) {
		t.Errorf("got error %v, want one of the protocol", err)
	}
	if x.Changes() != 0 || x.Invalid() != nil {
		t.Errorf("changed %v, invalid %v", x.Changes().Names(), x.Invalid())
	}
	sameExchange(t, "after garbage", x.Snapshot(), before)
}

func TestHostileMessages(t *testing.T) {
	for name, b := range hostile() {
		t.Run(name, func(t *testing.T) {
			for _, decode := range []func(b []byte) error{
				func(b []byte) error { _, err := ScanHostFrame(b); return err },
				func(b []byte) error { _, err := ScanPluginFrame(b); return err },
				func(b []byte) error { _, err := ScanCall(b); return err },
				func(b []byte) error { _, err := DecodeBinding(b); return err },
				func(b []byte) error { _, err := DecodeBinding(nested(b, 4)); return err },
				func(b []byte) error { _, err := DecodeBinding(nested(b, 3)); return err },
				func(b []byte) error { _, err := DecodeDescribeReply(b); return err },
				func(b []byte) error { _, err := DecodeDescribeReply(nested(b, 4, 3)); return err },
				func(b []byte) error { _, _, err := DecodeDescribeRequest(b); return err },
				func(b []byte) error { _, _, err := DecodeDispatchEvent(b); return err },
				func(b []byte) error { _, err := HostFrame{raw: nested(b, 6)}.Batch(); return err },
				func(b []byte) error { _, err := HostFrame{raw: nested(b, 6, 27)}.Batch(); return err },
				func(b []byte) error { _, err := HostFrame{raw: nested(b, 7, 7)}.Batch(); return err },
			} {
				if err := decode(b); !errors.Is(err, sdk.ErrProtocol) {
					t.Errorf("got error %v, want one of the protocol", err)
				}
			}
			good := AppendFailure(nil, 1, sdk.ErrOverloaded)[2:]
			for _, b := range [][]byte{
				b, nested(b, 2), nested(b, 2, 4), nested(b, 2, 6), nested(b, 2, 6, 10), nested(b, 2, 6, 10, 2, 4), nested(b, 2, 6, 14),
				nested(b, 2, 6, 15), nested(b, 2, 6, 21), nested(b, 2, 6, 23), nested(b, 2, 8), nested(b, 2, 9), nested(b, 2, 9, 2),
				nested(b, 2, 11), nested(b, 3), nested(b, 3, 3), nested(b, 4), nested(b, 5), nested(b, 6), nested(b, 7), append(good, b...),
			} {
				x := typical(sdk.Post)
				var r Result
				untouched(t, x, append(nested([]byte("x"), 2, 1), b...), func(b []byte) error { return ApplyReply(b, x, &r) })
				if len(r.Outcomes)+len(r.Logs)+len(r.Counters) > 0 {
					t.Errorf("result %+v of garbage", r)
				}
			}
			for _, b := range [][]byte{b, nested(b, 13), nested(b, 16), nested(b, 16, 2), nested(b, 17), nested(b, 18)} {
				x := typical(sdk.Post)
				untouched(t, x, append(nested([]byte("PUT"), 4), b...), func(b []byte) error { return new(Incoming).Decode(b, &Binding{}, x) })
			}
			for _, b := range [][]byte{
				b, nested(b, 3), nested(b, 3, 1), nested(b, 3, 2), nested(b, 3, 6), nested(b, 3, 7), nested(b, 3, 8), nested(b, 3, 10),
				nested(b, 3, 10, 3), nested(b, 4), nested(b, 5), nested(b, 6), nested(b, 7), nested(b, 7, 4), nested(b, 7, 5),
			} {
				for _, phase := range []sdk.Phase{sdk.Auth, sdk.Post, sdk.ResponsePhase} {
					x := typical(phase)
					b := append(nested([]byte("PUT"), 3, 11), b...)
					untouched(t, x, b, func(b []byte) error { return ApplyObject(b, x, ObjectOptions{}) })
					untouched(t, x, b, func(b []byte) error { _, _, err := DecodeObject(b, x, nil); return err })
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	many := func(n int, prefix, each []byte) []byte { return append(prefix, bytes.Repeat(each, n)...) }
	op := nested([]byte{1 << 3, 1, 2<<3 | 2, 1, 'A'}, 4)
	effects := func(n int) []byte { return nested(many(n, nil, op), 2) }
	x := typical(sdk.Pre)
	var r Result
	if err := ApplyReply(effects(MaxChanges), x, &r); err != nil {
		t.Errorf("as many header changes as allowed: %v", err)
	}
	x = typical(sdk.Pre)
	untouched(t, x, effects(MaxChanges+1), func(b []byte) error { return ApplyReply(b, x, &r) })
	untouched(t, x, nested([]byte{1 << 3, 9}, 2, 4), func(b []byte) error { return ApplyReply(b, x, &r) }) // unknown change
	untouched(t, x, nested([]byte{1 << 3, 99}, 3), func(b []byte) error { return ApplyReply(b, x, &r) })   // error with status 99
	untouched(t, x, many(1, nil, nested(many(MaxItems+1, nil, nested(nil, 24)), 2, 6)), func(b []byte) error { return ApplyReply(b, x, &r) })
	untouched(t, x, many(MaxFields+1, nil, nested(nil, 13)), func(b []byte) error { return new(Incoming).Decode(b, &Binding{}, x) })
	object := func(n int, each []byte) []byte { return nested(many(n, nested([]byte("/"), 5), each), 3) }
	for limit, each := range map[int][]byte{MaxItems: nested(nil, 6), MaxChanges: nested([]byte{1<<3 | 2, 1, 'A'}, 2)} {
		if err := ApplyObject(object(limit, each), typical(sdk.Pre), ObjectOptions{}); err != nil {
			t.Errorf("%d entries of an object: %v", limit, err)
		}
		untouched(t, x, object(limit+1, each), func(b []byte) error { return ApplyObject(b, x, ObjectOptions{}) })
	}
	if _, err := DecodeBinding(many(MaxHooks+1, nil, nested(nil, 3))); !errors.Is(err, sdk.ErrProtocol) {
		t.Errorf("too many hooks: %v", err)
	}
	notes := append(many(MaxNotes+1, nil, nested([]byte{1 << 3, 1}, 6)), many(MaxHooks+1, nil, nested(nil, 5))...)
	notes = append(notes, many(MaxNotes+1, nil, nested([]byte{1 << 3, 1}, 7))...)
	if err := ApplyReply(notes, x, &r); err != nil || len(r.Logs) != MaxNotes || len(r.Counters) != MaxNotes || len(r.Outcomes) != MaxHooks {
		t.Errorf("%d logs, %d counters, %d outcomes, %v", len(r.Logs), len(r.Counters), len(r.Outcomes), err)
	}
}

// 10,000 header lines go both ways in both protocols.
func TestManyHeaders(t *testing.T) {
	for _, phase := range []sdk.Phase{sdk.Pre, sdk.ResponsePhase} {
		make := func() *sdk.Exchange {
			x := typical(phase)
			for i := range 10000 {
				x.Request().Header().Append(fmt.Sprint("X-H-", i), "v")
				if phase == sdk.ResponsePhase {
					x.Response().Header().Append(fmt.Sprint("X-H-", i), "v")
				}
			}
			x.Begin(phase, nil, false)
			return x
		}
		h := func(x *sdk.Exchange) error {
			x.Request().SetMethod("PUT")
			x.Response().Header().Set("A", "b")
			return nil
		}
		want := make()
		if err := h(want); err != nil {
			t.Fatal(err)
		}
		got := make()
		if _, err := onWire(t, got, phase, []hook{h}); err != nil {
			t.Fatal(err)
		}
		sameAfter(t, got, want)
		got = make()
		if err := onTyk(t, got, phase, h); err != nil {
			t.Fatal(err)
		}
		if n := got.Request().Header().Len(); n != 10006 {
			t.Errorf("%d request headers", n)
		}
		if phase == sdk.ResponsePhase && got.Response().Header().Get("A") != "b" {
			t.Error("the reply's header is not set")
		}
	}
}

// Many small pieces of one message cost no more than in proportion to what was received.
func TestPiecesStayCheap(t *testing.T) {
	b := bytes.Repeat(nested([]byte{1 << 3, 1}, 2), 1<<18) // a megabyte of effects in pieces
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	x := typical(sdk.Pre)
	if err := ApplyReply(b, x, &Result{}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16*uint64(len(b)) {
		t.Errorf("%d bytes allocated for %d received", n, len(b))
	}
}

func TestClippedNotes(t *testing.T) {
	long := strings.Repeat("ü", MaxLogBytes)
	x := typical(sdk.Pre)
	err := ApplyReply(AppendFailure(nil, 1, errors.New(long))[3:], x, &Result{})
	var f *Failure
	if !errors.As(err, &f) || len(f.Message) > MaxLogBytes || f.Code != FailureFailed {
		t.Errorf("got %.100v", err)
	}
}

func FuzzApplyReply(f *testing.F) {
	for seed := range uint64(20) {
		phase := sdk.Pre + sdk.Phase(seed%5)
		_, _, reply := benchReply(f, func(x *sdk.Exchange) error { return steps(seed, phase)[0](x) })
		f.Add(reply, uint8(phase))
	}
	f.Fuzz(func(t *testing.T, b []byte, phase uint8) {
		x := typical(sdk.Pre + sdk.Phase(phase%5))
		var r Result
		err := ApplyReply(b, x, &r)
		var failed *Failure
		garbage := errors.Is(err, sdk.ErrProtocol) && !errors.As(err, &failed)
		if garbage && (x.Changes() != 0 || x.Invalid() != nil) {
			t.Errorf("garbage changed %v", x.Changes().Names())
		}
		m := &pluginv1.Reply{}
		if !garbage && proto.Unmarshal(b, m) == nil && m.Effects != nil {
			if has := x.Changes()&sdk.ChangedAnswer != 0; has != (m.Effects.Answer != nil) {
				t.Errorf("answered %v, by generated code %v", has, m.Effects.Answer)
			}
		}
	})
}

func FuzzApplyObject(f *testing.F) {
	for phase := sdk.Pre; phase <= sdk.ResponsePhase; phase++ {
		f.Add(AppendObject(nil, typical(phase), "H", ObjectOptions{}), uint8(phase-1), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, phase uint8, rawOnly bool) {
		x := typical(sdk.Pre + sdk.Phase(phase%5))
		err := ApplyObject(b, x, ObjectOptions{RawBodyOnly: rawOnly})
		if errors.Is(err, sdk.ErrProtocol) && (x.Changes() != 0 || x.Invalid() != nil) {
			t.Errorf("garbage changed %v", x.Changes().Names())
		}
		if s := x.Session(); err == nil && x.Phase() == sdk.Auth && s != nil && (s.KeyID == "" || s.OrgID != "org1") && !x.Answered() {
			t.Errorf("session %+v", s)
		}
	})
}

func FuzzDecodeCall(f *testing.F) {
	for phase := sdk.Pre; phase <= sdk.ResponsePhase; phase++ {
		frame, _ := ScanHostFrame(AppendCall(nil, CallHeader{ID: 1, Binding: 2}, typical(phase), sdk.Needs{Fields: everything}))
		for call := range frame.Calls() {
			f.Add(call)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in, x := new(Incoming), &sdk.Exchange{}
		if err := in.Decode(b, &Binding{Route: testRoute()}, x); err != nil {
			return
		}
		x.Begin(sdk.Post, nil, false)
		m := &pluginv1.Call{}
		if proto.Unmarshal(b, m) == nil && (m.Id != in.ID || string(m.Path) != x.Request().Path() || len(m.Headers) != x.Request().Header().Len()) {
			t.Errorf("got %+v, by generated code %v", x.Snapshot(), m)
		}
		x.Request().Header().Set("A", "b")
		in.Done(x, 0, x.Invalid())
		if err := proto.Unmarshal(in.AppendReply(nil), &pluginv1.PluginFrame{}); err != nil {
			t.Errorf("generated code cannot read the reply: %v", err)
		}
	})
}

func FuzzDecodeObject(f *testing.F) {
	for phase := sdk.Pre; phase <= sdk.ResponsePhase; phase++ {
		f.Add(AppendObject(nil, typical(phase), "H", ObjectOptions{}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &sdk.Exchange{}
		_, phase, err := DecodeObject(b, x, nil)
		if err != nil {
			return
		}
		x.Begin(phase, nil, true)
		x.Request().Header().Set("A", "b")
		x.Request().Query().Set("a", "b")
		reply := AppendObjectReply(nil, b, x, nil)
		if proto.Unmarshal(b, &coprocess.Object{}) == nil {
			if err := proto.Unmarshal(reply, &coprocess.Object{}); err != nil {
				t.Errorf("generated code cannot read the reply: %v", err)
			}
		}
	})
}

func FuzzSession(f *testing.F) {
	f.Add(appendSessionFields(nil, fullSession()))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := &coprocess.SessionState{}
		valid := proto.Unmarshal(b, want) == nil
		s, err := decodeSession(b)
		if err != nil {
			if valid && !errors.Is(err, errTooMany) {
				t.Errorf("generated code can read it: %v", err)
			}
			return
		}
		if !valid {
			return
		}
		got := &coprocess.SessionState{}
		if err := proto.Unmarshal(appendSessionFields(nil, s), got); err != nil {
			t.Fatal(err)
		}
		proto.Merge(want, &coprocess.SessionState{}) // unknown fields are not kept
		want.ProtoReflect().SetUnknown(nil)
		if want.JwtData.GetSecret() == "" {
			want.JwtData = nil
		}
		if d := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreUnknown(), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(AppendHostDrain(AppendCancel(AppendEvent(AppendRecord(AppendSeq(nil, 1), &sdk.Record{Status: 1}), &sdk.Event{Type: "T"}), 2)))
	f.Add(AppendBinding(nil, &Binding{ID: 1, Hooks: []HookUse{{Name: "a"}}, Route: testRoute()}))
	f.Add(AppendDescribeReply(nil, &sdk.Plugin{Name: "p", Hooks: []sdk.HookSpec{{Name: "h"}}}, Limits{Window: 1}))
	f.Add(AppendFailure(AppendAck(nil, 1), 2, sdk.ErrOverloaded))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := ScanHostFrame(b); err == nil {
			m := &pluginv1.HostFrame{}
			valid := proto.Unmarshal(b, m) == nil
			n := 0
			for range h.Cancels() {
				n++
			}
			if valid && (n != len(m.Cancels) || h.Seq != m.Seq || h.Drain != m.Drain) {
				t.Errorf("got %+v with %d cancels, by generated code %v", h, n, m)
			}
			for raw := range h.Bindings() {
				if _, err := DecodeBinding(raw); err != nil && valid && len(m.Bindings[0].Hooks) <= MaxHooks && len(m.Bindings) == 1 {
					t.Errorf("binding that generated code can read: %v", err)
				}
			}
			if _, err := h.Batch(); err != nil && valid {
				t.Errorf("batch that generated code can read: %v", err)
			}
			h.Observers()
		}
		if p, err := ScanPluginFrame(b); err == nil {
			for range p.Replies() {
			}
		}
		_, _ = DecodeDescribeReply(b)
		_, _, _ = DecodeDescribeRequest(b)
		_, _, _ = DecodeDispatchEvent(b)
	})
}
