package serve

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// undecided is a hook that cannot say what it needs.
type undecided struct{}

func (undecided) Handle(context.Context, *sdk.Exchange) error { return nil }
func (undecided) Needs() sdk.Needs                            { panic("who knows") }

// TestNeedsThatPanic: a hook that panics when it is asked what it needs costs that answer, not the process.
func TestNeedsThatPanic(t *testing.T) {
	r := start(t, &sdk.Plugin{Name: "p", Hooks: []sdk.HookSpec{{Name: "H", Hook: undecided{}}}}, Options{})
	if _, err := r.native.Describe(t.Context(), &pluginv1.DescribeRequest{}); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "who knows") {
		t.Errorf("got %v", err)
	}
	if log := r.log.String(); !strings.Contains(log, "panic_test.go") {
		t.Errorf("the log lacks the stack: %s", log)
	}
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.call(1)
	if reply := h.reply(1); reply.Failure != nil {
		t.Errorf("got %v", reply)
	}
}
