package frames

import (
	"bytes"
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
)

const (
	unimplemented = pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED
	bytesType     = protowire.BytesType
	varintType    = protowire.VarintType
)

// encoded sends bytes as the next frame, in which these calls are.
func (s *stream) encoded(b []byte, ids ...uint64) error {
	for _, id := range ids {
		s.outstanding[id] = true
	}
	s.seq++
	return s.sendRaw(b)
}

func fieldOrder(ctx context.Context, s *stream) error {
	one, err := proto.Marshal(call(1, 1))
	if err != nil {
		return err
	}
	bound, err := proto.Marshal(binding(1, kit.Absent))
	if err != nil {
		return err
	}
	b := protowire.AppendBytes(key(nil, 4, bytesType), []byte{9}) // cancels, packed, of a call that nobody knows
	b = protowire.AppendBytes(key(b, 3, bytesType), one)
	b = protowire.AppendBytes(key(b, 2, bytesType), bound)
	b = protowire.AppendVarint(key(b, 1, varintType), 77) // counts only when it is the last
	b = protowire.AppendVarint(key(b, 1, varintType), 1)
	if err := s.encoded(b, 1); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented) // with PROTOCOL it did not find the binding
	return nil
}

func greaseFrame(ctx context.Context, s *stream) error {
	b, c := kit.Greased(binding(1, kit.Absent)), kit.Greased(call(1, 1))
	kit.Greased(b.Hooks[0])
	kit.Greased(b.Route)
	kit.Greased(c.Headers[0])
	c.Session = kit.Greased(&pluginv1.Session{KeyId: "k"})
	c.Response = kit.Greased(&pluginv1.Response{Status: 200})
	c.Values = []*pluginv1.Value{kit.Greased(&pluginv1.Value{Name: "v", Data: []byte{1}})}
	f := kit.Greased(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{b}, Calls: []*pluginv1.Call{c}})
	f.Records = []*pluginv1.Record{kit.Greased(&pluginv1.Record{RequestId: "r", Hooks: []*pluginv1.HookRecord{kit.Greased(&pluginv1.HookRecord{Name: "h", Outcome: 999})}})}
	f.Events = []*pluginv1.Event{kit.Greased(&pluginv1.Event{Type: "NobodyKnows"})}
	f.Observers = []string{"nobody"}
	unknownPhase := binding(2, kit.Absent)
	unknownPhase.Phase = 99
	f.Bindings = append(f.Bindings, unknownPhase)
	f.Calls = append(f.Calls, call(2, 2))
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented)
	s.want(2, unimplemented)
	return nil
}

func wrongTypes(ctx context.Context, s *stream) error {
	c, err := proto.Marshal(call(1, 1))
	if err != nil {
		return err
	}
	c = protowire.AppendFixed32(key(c, 4, protowire.Fixed32Type), 7) // method
	c = protowire.AppendBytes(key(c, 3, bytesType), []byte("soon"))  // timeout_us
	bound, err := proto.Marshal(binding(1, kit.Absent))
	if err != nil {
		return err
	}
	bound = protowire.AppendBytes(key(bound, 2, bytesType), []byte("pre")) // phase
	b := protowire.AppendVarint(key(nil, 1, varintType), 1)
	b = protowire.AppendBytes(key(b, 5, bytesType), []byte{1}) // drain
	b = protowire.AppendVarint(key(b, 6, varintType), 1)       // records
	b = protowire.AppendBytes(key(b, 2, bytesType), bound)
	b = protowire.AppendBytes(key(b, 3, bytesType), c)
	if err := s.encoded(b, 1); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented)
	return nil
}

func strangers(ctx context.Context, s *stream) error {
	for _, f := range []*pluginv1.HostFrame{
		{Cancels: []uint64{1, 2, 1 << 60}},
		{},
		{Bindings: []*pluginv1.Binding{binding(5, kit.Absent)}},
		{Records: []*pluginv1.Record{{RequestId: "r"}}, Events: []*pluginv1.Event{{Type: "Reload"}}, Dropped: 3, Observers: []string{"nobody"}},
	} {
		if err := s.send(f); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("frame %d: %w", s.seq, err)
		}
	}
	return nil
}

func rebinding(ctx context.Context, s *stream) error {
	second := binding(1, kit.Absent+" 2")
	second.Phase = pluginv1.Phase_PHASE_POST
	for i, b := range []*pluginv1.Binding{binding(1, kit.Absent), second} {
		if err := s.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{b}, Calls: calls(i+1, 1, 1)}); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return err
		}
		s.want(uint64(i+1), unimplemented)
	}
	return nil
}

func cancelKnown(ctx context.Context, s *stream) error {
	n := int(min(s.credit, 32))
	f := &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, n, 1)}
	for id := range n {
		f.Cancels = append(f.Cancels, uint64(id+1))
	}
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for id, r := range s.replies {
		if c := r.Failure.GetCode(); c != unimplemented && c != pluginv1.FailureCode_FAILURE_CODE_CANCELED {
			s.t.Fail("call %d: got %v, want CANCELED or UNIMPLEMENTED", id, c)
		}
	}
	return nil
}

func largeFrame(ctx context.Context, s *stream) error {
	bound := uint32(kit.MessageBytes)
	if limit := s.t.Subject.About.Limits.GetFrameBytes(); limit > 0 && limit < bound {
		s.t.Note("the server asks for frames of at most %d bytes", limit)
		bound = limit
	}
	f := &pluginv1.HostFrame{Seq: 1, Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 1, 1)}
	f.Calls[0].Body = bytes.Repeat([]byte("x"), int(bound)-proto.Size(f)-16)
	f.Calls[0].Length = int64(len(f.Calls[0].Body))
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented)
	return nil
}

func manyBindings(ctx context.Context, s *stream) error {
	const all, each = 65536, 4096
	for from := 0; from < all; from += each {
		f := &pluginv1.HostFrame{}
		for i := range each {
			f.Bindings = append(f.Bindings, binding(uint32(from+i+1), kit.Absent))
		}
		if err := s.send(f); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("after %d bindings: %w", from, err)
		}
	}
	if err := s.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{call(1, 1), call(2, all)}}); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented)
	s.want(2, unimplemented)
	return nil
}

func hostDrain(ctx context.Context, s *stream) error {
	f := &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 3, 1), Drain: true}
	if err := s.send(f); err != nil {
		return err
	}
	return s.wellOver(ctx, 3)
}

func halfClose(ctx context.Context, s *stream) error {
	f := &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 3, 1)}
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.raw.CloseSend(); err != nil {
		return err
	}
	return s.wellOver(ctx, 3)
}

// wellOver waits for the end of the stream, which must be OK after so many replies.
func (s *stream) wellOver(ctx context.Context, replies int) error {
	code, err := s.over(ctx)
	if err != nil {
		return err
	}
	if code != codes.OK {
		s.t.Fail("the stream ended with %v, want OK", code)
	}
	if len(s.replies) != replies {
		s.t.Fail("%d of %d calls were answered before the end", len(s.replies), replies)
	}
	return nil
}

func streamChecks() []kit.Case {
	return []kit.Case{
		{ID: "streams/apart", Protocol: report.Native, Section: "1.3", Title: "streams of one connection share neither ids nor bindings", Run: streamsApart},
		{ID: "streams/broken", Protocol: report.Native, Section: "1.9", Title: "a frame that cannot be walked ends its stream, and no other", Run: brokenFrame},
		{ID: "streams/abandoned", Protocol: report.Native, Section: "1.10", Title: "streams that end at any moment do no harm", Run: abandoned},
	}
}

func streamsApart(ctx context.Context, t *kit.Trial) error {
	conn, a, b, err := sessions(ctx, t)
	if err != nil {
		return err
	}
	defer func() {
		a.close()
		b.close()
		_ = conn.Close() // there is nothing left on it
	}()
	if err := a.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 1, 1)}); err != nil {
		return err
	}
	if err := b.send(&pluginv1.HostFrame{Calls: calls(1, 1, 1)}); err != nil {
		return err
	}
	for _, s := range []*stream{a, b} {
		if err := s.settle(ctx); err != nil {
			return err
		}
	}
	a.want(1, unimplemented)
	b.want(1, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL)
	return nil
}

func brokenFrame(ctx context.Context, t *kit.Trial) error {
	for _, bad := range [][]byte{{0x0a, 0xff, 0xff, 0x03}, {0x08}, {0x1a, 0x05, 0x08}, {0x00, 0x00}} {
		conn, a, b, err := sessions(ctx, t)
		if err != nil {
			return err
		}
		code, err := breakOne(ctx, a, b, bad)
		a.close()
		b.close()
		_ = conn.Close() // there is nothing left on it
		if err != nil {
			return fmt.Errorf("frame % x: %w", bad, err)
		}
		if code == codes.OK {
			t.Fail("frame % x: the stream ended with OK", bad)
		} else if code != codes.InvalidArgument {
			t.Warn("frame % x: the stream ended with %v, want InvalidArgument", bad, code)
		}
	}
	return nil
}

func breakOne(ctx context.Context, a, b *stream, bad []byte) (codes.Code, error) {
	if err := a.sendRaw(bad); err != nil {
		return 0, err
	}
	code, err := a.over(ctx)
	if err != nil {
		return 0, err
	}
	if err := b.send(&pluginv1.HostFrame{Calls: calls(1, 1, 1)}); err != nil {
		return 0, err
	}
	if err := b.settle(ctx); err != nil {
		return 0, fmt.Errorf("the other stream: %w", err)
	}
	return code, nil
}

func abandoned(ctx context.Context, t *kit.Trial) error {
	for i := range 20 {
		s, err := session(ctx, t)
		if err != nil {
			return fmt.Errorf("stream %d: %w", i+1, err)
		}
		err = s.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 5, 1)})
		s.close()
		if err != nil {
			return err
		}
	}
	return onSession(unknownHook)(ctx, t)
}
