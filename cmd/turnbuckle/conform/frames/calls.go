package frames

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

type step = conformance.Step

func hooked(id, section, title string, run func(ctx context.Context, s *stream) error) kit.Case {
	return kit.Case{ID: "calls/" + id, Protocol: report.Native, Section: section, Title: title, Hooks: []string{conformance.Hook}, Run: onSession(run)}
}

func callChecks() []kit.Case {
	return []kit.Case{
		hooked("slow", "1.3", "a slow call delays neither acknowledgements nor other calls", slowCall),
		hooked("timeout", "1.5", "a call whose time is over is answered with TIMEOUT", timeoutCall),
		hooked("cancel", "1.5", "a call that runs is answered when it is cancelled", cancelRunning),
		hooked("cancelled-credit", "1.3", "a cancelled call gives its credit back", cancelledCredit),
		hooked("together", "1.5", "slow calls of one frame run at the same time", together),
		hooked("rebound", "1.4", "outstanding calls keep the binding that was replaced", rebound),
		hooked("drain", "1.7", "calls that run are answered after the host's drain", drainRunning),
		hooked("outcomes", "1.6", "each hook that ran has an outcome, the one that is not there too", outcomes),
	}
}

func boundChecks() []kit.Case {
	return []kit.Case{
		hooked("overload", "1.3", "calls beyond the credit are answered, or end the stream", overload),
		hooked("large-replies", "1.1", "replies that fill more than a frame are spread over several", largeReplies),
		hooked("too-large-reply", "1.1", "a reply that is too large for a frame becomes a failure", tooLargeReply),
		hooked("many-headers", "1.9", "a call of more header lines than the bound is refused, and no other", manyHeaders),
	}
}

// doing binds the hook with steps.
func doing(id uint32, list ...conformance.Step) *pluginv1.Binding {
	b := binding(id, conformance.Hook)
	b.Hooks[0].Config = kit.Steps(list...)
	return b
}

func frame(bindings []*pluginv1.Binding, calls ...*pluginv1.Call) *pluginv1.HostFrame {
	return &pluginv1.HostFrame{Bindings: bindings, Calls: calls}
}

func some(b ...*pluginv1.Binding) []*pluginv1.Binding { return b }

func slowCall(ctx context.Context, s *stream) error {
	if err := s.send(frame(some(doing(1, step{Do: "sleep", MS: 1500}), doing(2, kit.Mark())), call(1, 1))); err != nil {
		return err
	}
	if err := s.await(ctx, "acknowledgement while a call is slow", func() bool { return s.acked == 1 }); err != nil {
		return err
	}
	if len(s.replies) > 0 {
		s.t.Fail("the frame was acknowledged only with the slow call's reply")
	}
	const quick = 40
	for id := 2; id < 2+quick; id += 8 {
		if err := s.send(frame(nil, calls(id, 8, 2)...)); err != nil {
			return err
		}
		if err := s.await(ctx, "replies of quick calls", func() bool { return len(s.replies) >= id+6 }); err != nil {
			return err
		}
	}
	if at := slices.Index(s.order, 1); at >= 0 {
		s.t.Fail("%d of %d quick calls were answered after the slow one, which sleeps for 1.5 s", len(s.order)-1-at, quick)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for id := range uint64(1 + quick) {
		s.want(id+1, 0)
	}
	return nil
}

func timeoutCall(ctx context.Context, s *stream) error {
	c := call(1, 1)
	c.TimeoutUs = 100_000
	if err := s.send(frame(some(doing(1, step{Do: "sleep", MS: 3000})), c)); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if code := s.replies[1].Failure.GetCode(); code != pluginv1.FailureCode_FAILURE_CODE_TIMEOUT {
		s.t.Warn("a call with 100 ms that sleeps for 3 s was answered with %v, want TIMEOUT", code)
	}
	return nil
}

func cancelRunning(ctx context.Context, s *stream) error {
	if err := s.send(frame(some(doing(1, kit.Mark(), step{Do: "sleep", MS: 3000})), call(1, 1))); err != nil {
		return err
	}
	if err := s.await(ctx, "acknowledgement", func() bool { return s.acked == 1 }); err != nil {
		return err
	}
	if err := s.send(&pluginv1.HostFrame{Cancels: []uint64{1}}); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	switch r := s.replies[1]; r.Failure.GetCode() {
	case pluginv1.FailureCode_FAILURE_CODE_CANCELED:
		if len(r.Effects.GetHeaders()) > 0 {
			s.t.Fail("the cancelled hook has effects (1.6): %v", r.Effects)
		}
	case 0:
		s.t.Warn("the hook was not told that its call was cancelled: it slept for 3 s")
	default:
		s.t.Fail("got %v, want CANCELED or the result", r.Failure)
	}
	return nil
}

func cancelledCredit(ctx context.Context, s *stream) error {
	n := int(min(s.credit, 200))
	f := frame(some(doing(1, step{Do: "sleep", MS: 2000}), doing(2, kit.Mark())), calls(1, n, 1)...)
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.await(ctx, "acknowledgement", func() bool { return s.acked == 1 }); err != nil {
		return err
	}
	var ids []uint64
	for id := range n {
		ids = append(ids, uint64(id+1))
	}
	if err := s.send(&pluginv1.HostFrame{Cancels: ids}); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("%d of %d cancelled calls were answered: %w", len(s.replies), n, err)
	}
	if err := s.send(frame(nil, call(9999, 2))); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(9999, 0)
	return nil
}

func together(ctx context.Context, s *stream) error {
	n := int(min(s.credit, 20))
	if err := s.send(frame(some(doing(1, step{Do: "sleep", MS: 400})), calls(1, n, 1)...)); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return fmt.Errorf("%d of %d calls that sleep for 400 ms were answered: %w", len(s.replies), n, err)
	}
	for id := range n {
		s.want(uint64(id+1), 0)
	}
	return nil
}

func rebound(ctx context.Context, s *stream) error {
	first := doing(1, step{Do: "sleep", MS: 300}, step{Do: "set_header", Name: "X-Mark", Value: "first"})
	if err := s.send(frame(some(first), call(1, 1))); err != nil {
		return err
	}
	if err := s.send(frame(some(doing(1, step{Do: "set_header", Name: "X-Mark", Value: "second"})), call(2, 1))); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for id, want := range map[uint64]string{1: "first", 2: "second"} {
		s.want(id, 0)
		if h := s.replies[id].Effects.GetHeaders(); len(h) != 1 || string(h[0].Value) != want {
			s.t.Fail("call %d: header changes %v, want X-Mark: %s", id, h, want)
		}
	}
	return nil
}

func drainRunning(ctx context.Context, s *stream) error {
	f := frame(some(doing(1, step{Do: "sleep", MS: 300}, kit.Mark())), calls(1, 2, 1)...)
	f.Drain = true
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.wellOver(ctx, 2); err != nil {
		return err
	}
	s.want(1, 0)
	s.want(2, 0)
	return nil
}

func outcomes(ctx context.Context, s *stream) error {
	b := binding(1, conformance.Hook, kit.Absent, conformance.Hook)
	b.Hooks[0].Config = kit.Steps(kit.Mark())
	if err := s.send(frame(some(b), call(1, 1))); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, unimplemented)
	r := s.replies[1]
	if len(r.Outcomes) != 2 || r.Outcomes[0].Hook != 0 || r.Outcomes[1].Hook != 1 || r.Outcomes[0].Changed != 1<<3 || r.Outcomes[1].Changed != 0 {
		s.t.Fail("outcomes %v, want of hook 0 with its header changed and of hook 1 with nothing", r.Outcomes)
	}
	if h := r.Effects.GetHeaders(); len(h) != 1 || h[0].Name != kit.Mark().Name {
		s.t.Fail("the effects of the hook before are lost: %v", r.Effects)
	}
	return nil
}

func overload(ctx context.Context, s *stream) error {
	if s.credit > 4000 {
		return s.t.Skip("the credit of %d calls is more than this case sends", s.credit)
	}
	n := int(s.credit) + 8
	if err := s.send(frame(some(doing(1, step{Do: "sleep", MS: 500})), calls(1, n, 1)...)); err != nil {
		return err
	}
	err := s.settle(ctx)
	if err != nil && len(s.replies) < n {
		if code, over := s.over(ctx); over == nil && code == codes.ResourceExhausted {
			return nil
		}
		return err
	}
	overloaded := 0
	for _, r := range s.replies {
		if r.Failure.GetCode() == pluginv1.FailureCode_FAILURE_CODE_OVERLOADED {
			overloaded++
		}
	}
	if overloaded == 0 {
		s.t.Warn("none of %d calls was answered OVERLOADED, %d beyond the credit of %d", n, n-int(s.credit), s.credit)
	}
	return nil
}

func largeReplies(ctx context.Context, s *stream) error {
	n := int(min(s.credit, 8))
	if err := s.send(frame(some(doing(1, step{Do: "set_body", Value: "0123456789abcdef", Repeat: 1 << 16})), calls(1, n, 1)...)); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for id := range n {
		s.want(uint64(id+1), 0)
		if got := len(s.replies[uint64(id+1)].Effects.GetBody()); got != 1<<20 {
			s.t.Fail("call %d: a body of %d bytes, want %d", id+1, got, 1<<20)
		}
	}
	return nil
}

func tooLargeReply(ctx context.Context, s *stream) error {
	if err := s.send(frame(some(doing(1, step{Do: "set_body", Value: "0123456789abcdef", Repeat: 5 << 16}), doing(2, kit.Mark())), call(1, 1), call(2, 2))); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(2, 0)
	switch code := s.replies[1].Failure.GetCode(); code {
	case pluginv1.FailureCode_FAILURE_CODE_FAILED:
	case 0:
		s.t.Fail("a reply of 5 MiB was sent")
	default:
		s.t.Warn("got %v, want FAILED", code)
	}
	return nil
}

func manyHeaders(ctx context.Context, s *stream) error {
	c := call(1, 1)
	for range 16385 {
		c.Headers = append(c.Headers, &pluginv1.Field{Name: "X", Value: []byte("y")})
	}
	if err := s.send(frame(some(doing(1, kit.Mark())), c, call(2, 1))); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(2, 0)
	if code := s.replies[1].Failure.GetCode(); code != pluginv1.FailureCode_FAILURE_CODE_PROTOCOL {
		s.t.Warn("got %v, want PROTOCOL", code)
	}
	return nil
}
