package session

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds what must happen.
const wait = 10 * time.Second

// peer is a server of one session whose every frame a test reads and writes.
type peer struct {
	t      *testing.T
	stream grpc.ServerStream
	end    chan error // what the handler returns
	gone   chan struct{}
}

// connect opens a session to a new peer.
func connect(t *testing.T, limits Limits) (*Session, *peer) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	p := &peer{t: t, end: make(chan error, 1), gone: make(chan struct{})}
	opened := make(chan struct{})
	g := grpc.NewServer(grpc.ForceServerCodecV2(rawcodec.New()), grpc.MaxRecvMsgSize(64<<20), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		p.stream = stream
		close(opened)
		defer close(p.gone)
		select {
		case err := <-p.end:
			return err
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}))
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.WithoutCancel(t.Context()), conn, limits, grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		_ = conn.Close()
		g.Stop()
		<-served
	})
	<-opened
	return s, p
}

// send sends a frame.
func (p *peer) send(f *pluginv1.PluginFrame) {
	p.t.Helper()
	if err := p.stream.SendMsg(f); err != nil {
		p.t.Errorf("peer cannot send: %v", err)
	}
}

func (p *peer) sendBytes(b []byte) {
	p.t.Helper()
	if err := p.stream.SendMsg(&rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}}); err != nil {
		p.t.Errorf("peer cannot send: %v", err)
	}
}

// receive returns the next frame.
func (p *peer) receive() *pluginv1.HostFrame {
	p.t.Helper()
	var f pluginv1.HostFrame
	if err := p.stream.RecvMsg(&f); err != nil {
		p.t.Errorf("peer cannot receive: %v", err)
	}
	return &f
}

// answer is the frame that acknowledges f and answers all its calls.
func answer(f *pluginv1.HostFrame) *pluginv1.PluginFrame {
	out := &pluginv1.PluginFrame{Ack: f.Seq}
	for _, c := range f.Calls {
		out.Replies = append(out.Replies, reply1(c.Id, string(c.Path)))
	}
	return out
}

func reply1(id uint64, path string) *pluginv1.Reply {
	return &pluginv1.Reply{Id: id, Effects: &pluginv1.Effects{Path: []byte(path)}}
}

// result is what came of a call.
type result struct {
	path string // from the reply
	err  error
	call *Call
}

// start makes a call for path and delivers its result.
func start(ctx context.Context, s *Session, path string, body []byte) <-chan result {
	done := make(chan result, 1)
	go func() { done <- do(ctx, s, NewCall(), path, body) }()
	return done
}

func do(ctx context.Context, s *Session, c *Call, path string, body []byte) result {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{Route: &sdk.Route{ID: "r"}})
	x.Request().Fill(sdk.RequestInit{Method: "GET", Path: path})
	x.Request().LoadBody(body)
	x.Begin(sdk.Pre, nil, false)
	c.Binding = &Binding{1, wire.AppendBinding(nil, &wire.Binding{ID: 1, Phase: sdk.Pre, Hooks: []wire.HookUse{{Name: "h"}}, Route: x.Route()})}
	c.Encode(x, sdk.Needs{Fields: sdk.NeedBody})
	if err := s.Do(ctx, c); err != nil {
		return result{err: err, call: c}
	}
	var r pluginv1.Reply
	err := proto.Unmarshal(c.Reply, &r)
	return result{string(r.GetEffects().GetPath()), err, c}
}

// finish waits for a call's result.
func finish(t *testing.T, done <-chan result) result {
	t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(wait):
		t.Fatal("the call has no result")
		return result{}
	}
}

// pending reports that the call has no result yet.
func pending(t *testing.T, done <-chan result) {
	t.Helper()
	select {
	case r := <-done:
		t.Fatalf("got %+v, want the call to wait", r)
	default:
	}
}

// until polls a condition that another goroutine brings about.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(wait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// want checks what errors a result wraps, and what not.
func want(t *testing.T, r result, is error, notSent bool) {
	t.Helper()
	if !errors.Is(r.err, is) || errors.Is(r.err, ErrNotSent) != notSent {
		t.Errorf("got %v, want %v (not sent: %v)", r.err, is, notSent)
	}
}
