package rpc_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// strange is a native server that answers calls at once, but for those with a path a test knows of.
type strange struct {
	pluginv1.UnimplementedPluginServer
	credit  uint32
	streams atomic.Int32
	got     chan string   // such paths, as they come
	release chan struct{} // has calls for /held answered
}

func newStrange(credit uint32) *strange {
	return &strange{credit: credit, got: make(chan string, 16), release: make(chan struct{})}
}

func (s *strange) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeReply, error) {
	return &pluginv1.DescribeReply{Name: "strange", Hooks: []*pluginv1.Hook{{Name: "h"}}}, nil
}

// Session answers. It never acknowledges the frame of /deaf, nor any after it on its stream; it acknowledges that of
// /mute, and never answers that call.
func (s *strange) Session(stream grpc.BidiStreamingServer[pluginv1.HostFrame, pluginv1.PluginFrame]) error {
	s.streams.Add(1)
	if err := stream.Send(&pluginv1.PluginFrame{Credit: s.credit}); err != nil {
		return err
	}
	frames := make(chan *pluginv1.HostFrame)
	failed := make(chan error, 1)
	go func() {
		for {
			f, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case frames <- f:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	release, held, deaf := s.release, []uint64(nil), false
	for {
		out := &pluginv1.PluginFrame{}
		select {
		case <-failed:
			return nil
		case <-stream.Context().Done():
			return nil
		case <-release:
			release = nil
			for _, id := range held {
				out.Replies = append(out.Replies, &pluginv1.Reply{Id: id})
			}
		case f := <-frames:
			out.Ack = f.Seq
			for _, c := range f.Calls {
				switch path := string(c.Path); path {
				case "/deaf":
					deaf = true
					s.got <- path
				case "/mute":
					s.got <- path
				case "/held":
					held = append(held, c.Id)
					s.got <- path
				default:
					out.Replies = append(out.Replies, &pluginv1.Reply{Id: c.Id})
				}
			}
		}
		if deaf {
			continue
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// send calls the hook for a path.
func send(t *testing.T, s *rpc.Server, path string, timeout time.Duration) error {
	t.Helper()
	x, _ := coprocesstest.NewExchange()
	h, err := s.Hook(sdk.HookUse{Name: "h", Phase: sdk.Pre, Route: x.Route()})
	if err != nil {
		t.Fatal(err)
	}
	x.Request().SetPath(path)
	x.Begin(sdk.Pre, nil, false)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return h.Handle(ctx, x)
}

// held begins a call that the server holds, and delivers its result.
func held(t *testing.T, server *strange, s *rpc.Server) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- send(t, s, "/held", time.Minute) }()
	if path := <-server.got; path != "/held" {
		t.Fatalf("server got %s", path)
	}
	return result
}

// TestStreamReopened: a stream whose server stops acknowledging, or answering what was cancelled, is opened anew. The
// calls on the others, and those it still answers, are unharmed.
func TestStreamReopened(t *testing.T) {
	for _, tt := range []struct {
		path    string
		streams int
		credit  uint32
	}{{"/deaf", 2, 100}, {"/deaf", 1, 100}, {"/mute", 2, 2}, {"/mute", 1, 2}} {
		t.Run(fmt.Sprint(tt.path, tt.streams), func(t *testing.T) {
			noLeaks(t)
			l := listen(t)
			server := newStrange(tt.credit)
			startGRPC(t, l, func(g *grpc.Server) { pluginv1.RegisterPluginServer(g, server) })
			s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), Streams: tt.streams, AckWait: 200 * time.Millisecond})
			await(t, s)
			var keeps <-chan error
			unharmed := tt.path == "/mute" || tt.streams > 1
			if unharmed {
				keeps = held(t, server, s)
			}
			opened := server.streams.Load()
			for range max(1, opened-1) { // every stream but the one that holds a call
				if err := send(t, s, tt.path, 20*time.Millisecond); err == nil {
					t.Fatal("was answered")
				}
			}
			until(t, "opening anew", func() bool {
				var all sync.WaitGroup
				for range 8 { // so that each stream gets some
					all.Go(func() { _ = send(t, s, "/", 20*time.Millisecond) })
				}
				all.Wait()
				return server.streams.Load() >= 2*opened
			})
			until(t, "answers", func() bool { return send(t, s, "/", time.Second) == nil })
			close(server.release)
			if unharmed {
				if err := <-keeps; err != nil {
					t.Errorf("a call on another stream: %v", err)
				}
			}
			for range 20 {
				if err := send(t, s, "/", 10*time.Second); err != nil {
					t.Errorf("after all: %v", err)
				}
			}
		})
	}
}
