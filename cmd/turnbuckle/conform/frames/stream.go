// Package frames holds plugin servers to the native part of PROTOCOL.md, frame by frame, and to what both protocols ask of a
// server: health, pings, and how it ends.
package frames

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
)

// stream is a session that is driven frame by frame. What every server must keep to is checked on each frame.
type stream struct {
	t      *kit.Trial
	raw    grpc.ClientStream
	cancel context.CancelFunc
	came   chan []byte // frames; closed when the stream has ended
	end    error       // once came is closed; io.EOF for OK

	seq, acked  uint64
	credit      uint32
	outstanding map[uint64]bool
	replies     map[uint64]*pluginv1.Reply
	order       []uint64 // ids of replies as they came
	frames      int
	drained     bool
}

// session opens a stream on a connection of its own and waits for credit. The caller calls close.
func session(ctx context.Context, t *kit.Trial) (*stream, error) {
	conn, err := t.Subject.At.Client()
	if err != nil {
		return nil, err
	}
	s, err := sessionOn(ctx, t, conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	inner := s.cancel
	s.cancel = func() {
		inner()
		_ = conn.Close() // there is nothing left on it
	}
	return s, nil
}

func sessionOn(ctx context.Context, t *kit.Trial, conn *grpc.ClientConn) (*stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	raw, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, pluginv1.Plugin_Session_FullMethodName)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &stream{t: t, raw: raw, cancel: cancel, came: make(chan []byte, 16), outstanding: map[uint64]bool{}, replies: map[uint64]*pluginv1.Reply{}}
	go s.read(ctx)
	if err := s.await(ctx, "credit in the first frame", func() bool { return s.frames > 0 }); err != nil {
		s.close()
		return nil, err
	}
	if s.credit == 0 {
		s.close()
		return nil, errors.New("the first frame of the stream grants no credit")
	}
	return s, nil
}

func (s *stream) read(ctx context.Context) {
	defer close(s.came)
	for {
		var in rawcodec.In
		if s.end = s.raw.RecvMsg(&in); s.end != nil {
			return
		}
		select {
		case s.came <- in.Data:
		case <-ctx.Done():
			s.end = ctx.Err()
			return
		}
	}
}

// close ends the stream and waits until nobody reads it.
func (s *stream) close() {
	s.cancel()
	for range s.came {
	}
}

// sendRaw sends bytes as a frame. A stream that has ended shows in await.
func (s *stream) sendRaw(b []byte) error {
	err := s.raw.SendMsg(&rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// send sends a frame with the next number. Its calls are outstanding from here on.
func (s *stream) send(f *pluginv1.HostFrame) error {
	s.seq++
	f.Seq = s.seq
	for _, c := range f.Calls {
		s.outstanding[c.Id] = true
	}
	b, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	return s.sendRaw(b)
}

// await takes frames until the condition holds.
func (s *stream) await(ctx context.Context, what string, until func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.t.Subject.Options.Patience)
	defer cancel()
	for !until() {
		select {
		case b, more := <-s.came:
			if !more {
				return fmt.Errorf("the stream ended (%s) before %s", s.ending(), what)
			}
			if err := s.take(b); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w", what, ctx.Err())
		}
	}
	return nil
}

func (s *stream) ending() string {
	if errors.Is(s.end, io.EOF) {
		return "OK"
	}
	return fmt.Sprint(s.end)
}

// take checks one frame and keeps what it says.
func (s *stream) take(b []byte) error {
	var f pluginv1.PluginFrame
	if err := proto.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("a frame of the server cannot be decoded: %w", err)
	}
	if len(b) > kit.MessageBytes {
		s.t.Fail("a frame of %d bytes: a host takes %d (1.1)", len(b), kit.MessageBytes)
	}
	if s.frames++; s.frames == 1 && f.Ack != 0 {
		s.t.Fail("the first frame acknowledges %d (1.3)", f.Ack)
	}
	if f.Ack > s.seq {
		s.t.Fail("frame %d is acknowledged, %d were sent (1.3)", f.Ack, s.seq)
	}
	s.acked = max(s.acked, f.Ack)
	if f.Credit > 0 {
		s.credit = f.Credit
	}
	s.drained = s.drained || f.Drain
	for _, r := range f.Replies {
		if !s.outstanding[r.Id] {
			s.t.Fail("a reply to %d, which is not outstanding (1.5)", r.Id)
			continue
		}
		if r.Error != nil && r.Failure != nil {
			s.t.Fail("reply %d has an error and a failure (1.6)", r.Id)
		}
		delete(s.outstanding, r.Id)
		s.replies[r.Id] = r
		s.order = append(s.order, r.Id)
	}
	return nil
}

// settle waits until everything that was sent is acknowledged and answered.
func (s *stream) settle(ctx context.Context) error {
	return s.await(ctx, "acknowledgement and reply of all that was sent", func() bool { return s.acked == s.seq && len(s.outstanding) == 0 })
}

// over waits for the end of the stream and returns its status.
func (s *stream) over(ctx context.Context) (codes.Code, error) {
	ctx, cancel := context.WithTimeout(ctx, s.t.Subject.Options.Patience)
	defer cancel()
	for {
		select {
		case b, more := <-s.came:
			if !more && errors.Is(s.end, io.EOF) {
				return codes.OK, nil
			}
			if !more {
				return status.Code(s.end), nil
			}
			if err := s.take(b); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			return 0, errors.New("the server does not end the stream")
		}
	}
}

// want checks how a call failed; code 0 means that it must not have.
func (s *stream) want(id uint64, code pluginv1.FailureCode) {
	r := s.replies[id]
	switch {
	case r == nil:
		s.t.Fail("call %d: no reply", id)
	case r.Error != nil:
		s.t.Fail("call %d: refused with %d %q", id, r.Error.Status, r.Error.Message)
	case r.Failure.GetCode() != code:
		s.t.Fail("call %d: got %v %q, want %v", id, r.Failure.GetCode(), r.Failure.GetMessage(), code)
	}
}

func binding(id uint32, names ...string) *pluginv1.Binding {
	b := &pluginv1.Binding{
		Id: id, Phase: pluginv1.Phase_PHASE_PRE,
		Route: &pluginv1.Route{Id: "conform", Name: "Conform", Org: "default", ListenPath: "/conform/"},
	}
	for _, name := range names {
		b.Hooks = append(b.Hooks, &pluginv1.HookUse{Name: name})
	}
	return b
}

func call(id uint64, binding uint32) *pluginv1.Call {
	return &pluginv1.Call{
		Id: id, Binding: binding, TimeoutUs: 10_000_000, Method: []byte("GET"), Path: []byte("/conform/x"), Query: []byte("q=1"),
		Scheme: []byte("http"), Host: []byte("conform.test"), Proto: []byte("HTTP/1.1"), RequestId: "r", Client: "192.0.2.7:4711",
		Headers: []*pluginv1.Field{{Name: "X-One", Value: []byte("1")}},
	}
}

func calls(from, n int, binding uint32) []*pluginv1.Call {
	var list []*pluginv1.Call
	for i := range n {
		list = append(list, call(uint64(from+i), binding))
	}
	return list
}
