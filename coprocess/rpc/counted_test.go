package rpc_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// counting is a server that says minor version minor of itself, and does with Stats what a test says.
type counting struct {
	pluginv1.UnimplementedPluginServer
	minor uint32
	stats func(context.Context) (*pluginv1.StatsReply, error)
}

func (c counting) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeReply, error) {
	return &pluginv1.DescribeReply{Name: "counting", Minor: c.minor}, nil
}

func (c counting) Session(stream grpc.BidiStreamingServer[pluginv1.HostFrame, pluginv1.PluginFrame]) error {
	if err := stream.Send(&pluginv1.PluginFrame{Credit: 1}); err != nil {
		return err
	}
	_, err := stream.Recv()
	return err
}

func (c counting) Stats(ctx context.Context, _ *pluginv1.StatsRequest) (*pluginv1.StatsReply, error) {
	return c.stats(ctx)
}

// What plugins count is asked of them; one that is too old for it is not, and one that hangs is not waited for.
func TestCounted(t *testing.T) {
	noLeaks(t)
	up := markPlugin()
	up.Stats = func() []sdk.Stat {
		return []sdk.Stat{{Name: "delivered", Value: 7, Total: true}, {Name: "queued", Value: 0.5}}
	}
	l := listen(t)
	startPlugin(t, up, l, serve.Options{})
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
	s.Settle(t.Context())
	want := []rpc.Counted{{Address: l.Addr().String(), Stats: up.Stats()}}
	if diff := cmp.Diff(want, s.Counted()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for name, server := range map[string]counting{
		"too old": {stats: func(context.Context) (*pluginv1.StatsReply, error) {
			t.Error("a server that does not know it was asked")
			return nil, nil
		}},
		"hangs": {minor: 1, stats: func(ctx context.Context) (*pluginv1.StatsReply, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			startGRPC(t, l, func(g *grpc.Server) { pluginv1.RegisterPluginServer(g, server) })
			s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
			s.Settle(t.Context())
			if got := s.Counted(); len(got) > 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
	if got := open(t, rpc.Options{Address: "unix:/none"}).Counted(); len(got) > 0 {
		t.Errorf("nobody counts: %+v", got)
	}
}
