package rpc_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// calls notes when a connection was last asked what the server does not know, and when it ended.
type calls struct {
	mu    sync.Mutex
	asked map[*int]time.Time
	ended map[*int]time.Time
}

type connKey struct{}

func (c *calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, connKey{}, new(int))
}

func (c *calls) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnEnd); ok {
		c.note(ctx, c.ended)
	}
}

func (c *calls) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (c *calls) HandleRPC(context.Context, stats.RPCStats)                       {}

func (c *calls) note(ctx context.Context, when map[*int]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	when[ctx.Value(connKey{}).(*int)] = time.Now()
}

// A connection does not end right after a call that the server does not know: servers on grpc-js die of that.
func TestCalmAfterUnknownCall(t *testing.T) {
	noLeaks(t)
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	c := &calls{asked: map[*int]time.Time{}, ended: map[*int]time.Time{}}
	startGRPC(t, l, func(g *grpc.Server) { tykpb.RegisterDispatcherServer(g, tykServer{dispatch: markTyk}) },
		grpc.StatsHandler(c), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			c.note(stream.Context(), c.asked)
			return status.Error(codes.Unimplemented, "what?")
		}))
	s, err := rpc.Open(t.Context(), rpc.Options{Address: "unix:" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	await(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	until(t, "end of the connection", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for conn := range c.asked {
			if c.ended[conn].IsZero() {
				return false
			}
		}
		return true
	})
	if len(c.asked) == 0 {
		t.Fatal("the server was not asked")
	}
	for conn, asked := range c.asked {
		if took := c.ended[conn].Sub(asked); took < 90*time.Millisecond {
			t.Errorf("the connection ended %v after the call", took)
		}
	}
}
