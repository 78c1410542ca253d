package serve

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestStats(t *testing.T) {
	for _, test := range []struct {
		name  string
		stats func() []sdk.Stat
		want  *pluginv1.StatsReply
		code  codes.Code
	}{
		{"counts", func() []sdk.Stat { return []sdk.Stat{{Name: "sent", Value: 2, Total: true}, {Name: "up", Value: 0.5}} },
			&pluginv1.StatsReply{Stats: []*pluginv1.Stat{{Name: "sent", Value: 2, Total: true}, {Name: "up", Value: 0.5}}}, codes.OK},
		{"counts nothing", nil, &pluginv1.StatsReply{}, codes.OK},
		{"panics", func() []sdk.Stat { panic("miscounted") }, nil, codes.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, &sdk.Plugin{Name: "p", Stats: test.stats}, Options{})
			about, err := r.native.Describe(t.Context(), &pluginv1.DescribeRequest{})
			if err != nil || about.Minor < 1 {
				t.Errorf("minor version %d, %v", about.GetMinor(), err)
			}
			got, err := r.native.Stats(t.Context(), &pluginv1.StatsRequest{})
			if status.Code(err) != test.code {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
