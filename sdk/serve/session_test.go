package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestDescribe(t *testing.T) {
	p := &sdk.Plugin{
		Name: "p", Version: "1.2.3", ConfigSchema: []byte(`{}`),
		Hooks:     []sdk.HookSpec{{Name: "H", Phase: sdk.Auth, Needs: sdk.Needs{Fields: sdk.NeedBody}, Hook: sdk.HookFunc(nil)}, {Name: "N", Hook: needer{}}},
		Observers: []sdk.ObserverSpec{{Name: "O", Observer: sdk.ObserverFunc(func(context.Context, sdk.Batch) error { return nil })}},
	}
	r := start(t, p, Options{MaxMessage: 1 << 20})
	got, err := r.native.Describe(t.Context(), &pluginv1.DescribeRequest{Host: "test", Minor: 9})
	if err != nil {
		t.Fatal(err)
	}
	want := &pluginv1.DescribeReply{
		Name: "p", Version: "1.2.3", Minor: got.Minor, ConfigSchema: []byte(`{}`), Observers: []string{"O"},
		Hooks: []*pluginv1.Hook{
			{Name: "H", Phase: pluginv1.Phase_PHASE_AUTH, Needs: &pluginv1.Needs{Fields: uint32(sdk.NeedBody)}},
			{Name: "N", Needs: &pluginv1.Needs{Fields: uint32(sdk.NeedHeaders), HeaderNames: []string{"A"}}},
		},
		Limits: &pluginv1.Limits{FrameBytes: 1 << 20},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

type needer struct{}

func (needer) Handle(context.Context, *sdk.Exchange) error { return nil }

func (needer) Needs() sdk.Needs {
	return sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"A"}}
}

func TestReplies(t *testing.T) {
	p := one("H", func(_ context.Context, x *sdk.Exchange) error {
		switch x.Request().Path() {
		case "/change":
			x.Request().Header().Set("Config", string(x.Config()))
			x.Count("n", 2)
			x.Log(slog.LevelWarn, "careful")
		case "/answer":
			x.Answer(203, []byte("hi")).Header().Set("A", "b")
		case "/refuse":
			return &sdk.Error{Status: 451, Message: "no", Header: []sdk.Field{{Name: "Why", Value: "law"}}}
		case "/fail":
			return errors.New("broken")
		case "/panic":
			panic("oops")
		case "/invalid":
			x.Request().Header().Set("A", "\r\n")
		case "/large":
			x.Answer(200, bytes.Repeat([]byte("x"), 1<<20))
		}
		return nil
	})
	r := start(t, p, Options{MaxMessage: 512 << 10})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.until("credit", func() bool { return h.credit > 0 })
	if h.credit != DefaultCredit {
		t.Errorf("got credit %d", h.credit)
	}
	tests := []struct {
		path    string
		effects *pluginv1.Effects
		refused *pluginv1.Error
		failure pluginv1.FailureCode
		message string // part of the failure's
	}{
		{"/none", nil, nil, 0, ""},
		{"/change", &pluginv1.Effects{Headers: []*pluginv1.HeaderOp{{Kind: 1, Name: "Config", Value: []byte(`{"c":1}`)}}}, nil, 0, ""},
		{"/answer", &pluginv1.Effects{Answer: &pluginv1.Response{Status: 203, Body: []byte("hi"), Headers: []*pluginv1.Field{{Name: "A", Value: []byte("b")}}}}, nil, 0, ""},
		{"/refuse", nil, &pluginv1.Error{Status: 451, Message: "no", Headers: []*pluginv1.Field{{Name: "Why", Value: []byte("law")}}}, 0, ""},
		{"/fail", nil, nil, pluginv1.FailureCode_FAILURE_CODE_FAILED, "broken"},
		{"/panic", nil, nil, pluginv1.FailureCode_FAILURE_CODE_FAILED, "oops"},
		{"/invalid", nil, nil, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL, "invalid value for header A"},
		{"/large", nil, nil, pluginv1.FailureCode_FAILURE_CODE_FAILED, "a reply of"},
	}
	for i, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			id := uint64(i + 1)
			call := callOf(id)
			call.Path = []byte(tt.path)
			h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{call}})
			got := h.reply(id)
			if diff := cmp.Diff(tt.effects, got.Effects, protocmp.Transform()); diff != "" {
				t.Errorf("effects, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.refused, got.Error, protocmp.Transform()); diff != "" {
				t.Errorf("error, -want +got:\n%s", diff)
			}
			if got.Failure.GetCode() != tt.failure || !strings.Contains(got.Failure.GetMessage(), tt.message) {
				t.Errorf("got failure %v", got.Failure)
			}
			if tt.path == "/change" && (len(got.Counters) != 1 || len(got.Logs) != 1 || len(got.Outcomes) != 1) {
				t.Errorf("got counters %v, logs %v, outcomes %v", got.Counters, got.Logs, got.Outcomes)
			}
		})
	}
	if log := r.log.String(); !strings.Contains(log, "hook panicked") || !strings.Contains(log, "session_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log)
	}
	if err := h.end(); err != nil || h.acked != h.seq {
		t.Errorf("ended with %v, %d of %d frames acknowledged", err, h.acked, h.seq)
	}
}

func TestGroupRunsInOrderUntilOneEnds(t *testing.T) {
	add := func(v string, err error) sdk.HookFunc {
		return func(_ context.Context, x *sdk.Exchange) error {
			x.Request().Header().Add("Order", v)
			return err
		}
	}
	p := &sdk.Plugin{Name: "p", Hooks: []sdk.HookSpec{
		{Name: "A", Hook: add("a", nil)}, {Name: "B", Hook: add("b", nil)},
		{Name: "No", Hook: add("no", sdk.Errorf(403, "no"))}, {Name: "C", Hook: add("c", nil)},
	}}
	r := start(t, p, Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "A", "B", "No", "C")
	h.call(1)
	got := h.reply(1)
	if len(got.Outcomes) != 3 || got.Error.GetStatus() != 403 {
		t.Errorf("got outcomes %v, error %v", got.Outcomes, got.Error)
	}
	var order []string
	for _, op := range got.Effects.GetHeaders() {
		order = append(order, string(op.Value))
	}
	if diff := cmp.Diff([]string{"a", "b"}, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGroupWithUnknownHook(t *testing.T) {
	r := start(t, one("H", func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set("Ran", "1")
		if string(x.Request().Path()) == "/answer" {
			x.Answer(204, nil)
		}
		return nil
	}), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H", "Unknown", "H")
	answered := callOf(2)
	answered.Path = []byte("/answer")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{callOf(1), answered}})
	got := h.reply(1)
	if got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED || len(got.Effects.GetHeaders()) != 1 {
		t.Errorf("got %v", got)
	}
	if got := h.reply(2); got.Failure != nil || got.Effects.GetAnswer().GetStatus() != 204 {
		t.Errorf("a call that ended before the unknown hook got %v", got)
	}
}

func TestCallsThatCannotRun(t *testing.T) {
	r := start(t, one("H", func(context.Context, *sdk.Exchange) error { return nil }), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{
		{Id: 2, Phase: pluginv1.Phase_PHASE_PRE, Hooks: []*pluginv1.HookUse{{Name: "Unknown"}, {Name: "H"}}},
		{Id: 3, Phase: pluginv1.Phase_PHASE_PRE},
		{Id: 4, Phase: 77, Hooks: []*pluginv1.HookUse{{Name: "Later"}}},
	}})
	tests := []struct {
		name    string
		binding uint32
		code    pluginv1.FailureCode
	}{
		{"unknown hook", 2, pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED},
		{"no hook", 3, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL},
		{"phase of a later version", 4, pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED},
		{"unknown binding", 5, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			call := callOf(uint64(tt.binding))
			call.Binding = tt.binding
			h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{call}})
			if got := h.reply(call.Id); got.Failure.GetCode() != tt.code {
				t.Errorf("got %v", got)
			}
		})
	}
	h.call(9)
	if got := h.reply(9); got.Failure != nil {
		t.Errorf("a good call after them: %v", got)
	}
}

func TestQuickCallsFinishWhileOneIsHeld(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	f := &pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1)}}
	for id := uint64(2); id <= 50; id++ {
		if id%7 == 0 {
			f.Calls = append(f.Calls, held(id))
		} else {
			f.Calls = append(f.Calls, callOf(id))
		}
	}
	h.send(f)
	h.until("the frame's acknowledgement", func() bool { return h.acked == h.seq })
	for id := uint64(2); id <= 50; id++ {
		if id%7 != 0 {
			h.reply(id)
		}
	}
	h.call(51, 52) // and so do those of later frames
	h.reply(51)
	h.reply(52)
	if h.replies[1] != nil {
		t.Fatal("a held call was answered")
	}
	close(g.opened)
	for id := uint64(7); id <= 50; id += 7 {
		if got := h.reply(id); len(got.Effects.GetHeaders()) != 1 {
			t.Errorf("got %v", got)
		}
	}
	h.reply(1)
}

func TestDeadlineAndCancel(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	late := held(1)
	late.TimeoutUs = 20_000
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{late, held(2), held(3)}})
	if got := h.reply(1); got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_TIMEOUT {
		t.Errorf("got %v at the deadline", got)
	}
	for range 3 {
		<-g.entered
	}
	// A cancel of a call of its own frame, of a running one, and of one that nobody knows.
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(4)}, Cancels: []uint64{2, 4, 99}})
	for _, id := range []uint64{2, 4} {
		if got := h.reply(id); got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_CANCELED {
			t.Errorf("got %v for cancelled call %d", got, id)
		}
	}
	close(g.opened)
	if got := h.reply(3); got.Failure != nil {
		t.Errorf("got %v for a call nobody cancelled", got)
	}
}

func TestOverCredit(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{Credit: 2})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1), held(2), callOf(3)}})
	if got := h.reply(3); got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_OVERLOADED {
		t.Errorf("got %v", got)
	}
	close(g.opened)
	h.reply(1)
	h.reply(2)
	h.call(4)
	if got := h.reply(4); got.Failure != nil {
		t.Errorf("got %v once there was credit again", got)
	}
}

func TestBadFramesEndTheStreamAlone(t *testing.T) {
	r := start(t, one("H", func(context.Context, *sdk.Exchange) error { return nil }), Options{MaxMessage: 64 << 10})
	tests := []struct {
		name  string
		frame []byte
		code  codes.Code
	}{
		{"undecodable", []byte{0xff, 0xff, 0xff}, codes.InvalidArgument},
		{"undecodable binding", []byte{2<<3 | 2, 1, 0xff}, codes.InvalidArgument},
		{"call without id", []byte{3<<3 | 2, 2, 2 << 3, 1}, codes.InvalidArgument},
		{"undecodable call", []byte{3<<3 | 2, 1, 0xff}, codes.InvalidArgument},
		{"too large", make([]byte, 65<<10), codes.ResourceExhausted},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
			stream, err := r.conn.NewStream(t.Context(), desc, pluginv1.Plugin_Session_FullMethodName, grpc.ForceCodecV2(newCodec()))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendMsg(&message{data: tt.frame}); err != nil {
				t.Fatal(err)
			}
			for err == nil {
				var m message
				err = stream.RecvMsg(&m)
				m.release()
			}
			if status.Code(err) != tt.code {
				t.Errorf("got %v, want %v", err, tt.code)
			}
			h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
			h.call(1)
			h.reply(1)
			if err := h.end(); err != nil {
				t.Errorf("the next stream: %v", err)
			}
			tick, late := time.NewTicker(time.Millisecond), time.After(10*time.Second)
			defer tick.Stop()
			for strings.Count(r.log.String(), "stream ended") != i+1 { // it is written after the client knows
				select {
				case <-tick.C:
				case <-late:
					t.Fatalf("%d lines about it in the log, want %d", strings.Count(r.log.String(), "stream ended"), i+1)
				}
			}
		})
	}
}

func TestMalformedCallIsAnswered(t *testing.T) {
	r := start(t, one("H", func(context.Context, *sdk.Exchange) error { return nil }), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	bad := callOf(1)
	for range 20_000 {
		bad.Headers = append(bad.Headers, &pluginv1.Field{Name: "A"})
	}
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{bad, callOf(2)}})
	if got := h.reply(1); got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_PROTOCOL {
		t.Errorf("got %v", got)
	}
	if got := h.reply(2); got.Failure != nil {
		t.Errorf("its neighbour got %v", got)
	}
}

func TestManyHeaders(t *testing.T) {
	r := start(t, one("H", func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set("Count", strconv.Itoa(x.Request().Header().Len()))
		return nil
	}), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	call := callOf(1)
	for i := range 10_000 {
		call.Headers = append(call.Headers, &pluginv1.Field{Name: fmt.Sprintf("X-%d", i), Value: []byte("v")})
	}
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{call}})
	if got := h.reply(1); string(got.Effects.GetHeaders()[0].Value) != "10001" {
		t.Errorf("got %v", got)
	}
}

func TestClientThatLeavesEndsItsCalls(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1), held(2)}})
	<-g.entered
	<-g.entered
	_ = r.conn.Close()
	if err := r.stop(); err != nil { // would wait for the calls
		t.Error(err)
	}
}

func TestHostThatDrains(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1), callOf(2), held(3)}, Drain: true})
	h.reply(2)
	h.send(&pluginv1.HostFrame{Cancels: []uint64{3}}) // cancels may follow
	if got := h.reply(3); got.Failure.GetCode() != pluginv1.FailureCode_FAILURE_CODE_CANCELED {
		t.Errorf("got %v", got)
	}
	close(g.opened)
	h.reply(1)
	if err := h.receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v after the last reply", err)
	}
}

func TestHammer(t *testing.T) {
	p := one("H", func(ctx context.Context, x *sdk.Exchange) error {
		switch len(x.Request().Query().Raw()) % 4 {
		case 0:
			timer := time.NewTimer(time.Millisecond)
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		case 1:
			child, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			return child.Err()
		}
		x.Request().Header().Set("Echo", x.Request().Query().Raw())
		return nil
	})
	r := start(t, p, Options{})
	var wait sync.WaitGroup
	for range 3 {
		h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
		const calls = 3000
		wait.Go(func() {
			id := uint64(0)
			for id < calls {
				f := &pluginv1.HostFrame{}
				for range 1 + id%17 {
					id++
					c := callOf(id)
					c.Query = bytes.Repeat([]byte("q"), int(id%101))
					f.Calls = append(f.Calls, c)
					if id%23 == 0 {
						f.Cancels = append(f.Cancels, id-5)
					}
				}
				h.seq++
				f.Seq = h.seq
				if err := h.stream.Send(f); err != nil {
					t.Error(err)
					return
				}
			}
			_ = h.stream.CloseSend()
		})
		wait.Go(func() {
			for {
				err := h.receive()
				if errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Error(err)
					return
				}
			}
			if len(h.replies) < calls {
				t.Errorf("%d replies", len(h.replies))
			}
			for id, reply := range h.replies {
				overloaded := reply.Failure.GetCode() == pluginv1.FailureCode_FAILURE_CODE_OVERLOADED
				for _, op := range reply.Effects.GetHeaders() {
					if len(op.Value) != int(id%101) {
						t.Errorf("call %d got the reply to another: %v", id, reply)
					}
				}
				if reply.Failure != nil && !overloaded && reply.Failure.Code != pluginv1.FailureCode_FAILURE_CODE_CANCELED {
					t.Errorf("call %d: %v", id, reply)
				}
			}
		})
	}
	wait.Wait()
}
