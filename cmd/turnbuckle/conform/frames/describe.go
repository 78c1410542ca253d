package frames

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/kit"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/conform/report"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/sdktest/conformance"
)

// Cases are those of the native protocol and of the server as a whole.
func Cases() []kit.Case {
	return slices.Concat(describeChecks(), frameChecks(), streamChecks(), boundChecks(), callChecks(), serverChecks())
}

func describeChecks() []kit.Case {
	return []kit.Case{
		{ID: "describe/reply", Protocol: report.Native, Section: "1.2", Title: "Describe names the plugin and hooks that can be called", Run: describeReply},
		{ID: "describe/grease", Protocol: report.Native, Section: "1.10", Title: "Describe takes fields it does not know and a minor version of the future", Run: describeGrease},
		{
			ID: "describe/needs", Protocol: report.Native, Section: "1.2", Title: "hooks say what they need",
			Hooks: []string{conformance.Hook, conformance.Narrow}, Run: describeNeeds,
		},
		{ID: "describe/stats", Protocol: report.Native, Section: "1.8", Title: "a server of minor version 1 tells what its plugin counts", Run: tellsStats},
	}
}

func describeReply(_ context.Context, t *kit.Trial) error {
	d := t.Subject.About
	if d.Name == "" {
		t.Fail("the plugin has no name")
	}
	if d.Version == "" {
		t.Warn("the plugin has no version")
	}
	if len(d.ConfigSchema) > 0 && !json.Valid(d.ConfigSchema) {
		t.Fail("config_schema is not JSON: %.60q", d.ConfigSchema)
	}
	seen := map[string]bool{}
	for _, h := range d.Hooks {
		key := fmt.Sprintf("%s in %v", h.Name, h.Phase)
		if h.Name == "" || h.Phase < 0 || h.Phase > pluginv1.Phase_PHASE_RESPONSE {
			t.Fail("hook %q, which cannot be called", key)
		}
		if seen[key] {
			t.Fail("hook %s is there twice", key)
		}
		seen[key] = true
	}
	return nil
}

func describeGrease(ctx context.Context, t *kit.Trial) error {
	conn, err := t.Subject.At.Client()
	if err != nil {
		return err
	}
	defer conn.Close()
	again, err := pluginv1.NewPluginClient(conn).Describe(ctx, kit.Greased(&pluginv1.DescribeRequest{Host: "conform/99", Minor: 1 << 30}))
	if err != nil {
		return err
	}
	if again.Name != t.Subject.About.Name {
		t.Fail("the plugin is called %q now, before it was %q", again.Name, t.Subject.About.Name)
	}
	return nil
}

func tellsStats(ctx context.Context, t *kit.Trial) error {
	if t.Subject.About.Minor == 0 {
		return nil // it does not promise to
	}
	reply, err := pluginv1.NewPluginClient(t.Subject.Conn).Stats(ctx, kit.Greased(&pluginv1.StatsRequest{}))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range reply.Stats {
		if s.Name == "" || seen[s.Name] {
			t.Fail("the name %q is empty, or there twice", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

func describeNeeds(_ context.Context, t *kit.Trial) error {
	for _, h := range t.Subject.About.Hooks {
		switch h.Name {
		case conformance.Hook:
			if want := uint32(conformance.Everyhow); h.Needs.GetFields() != want || h.Phase != 0 {
				t.Fail("%s is for phase %v and needs %b, want any phase and %b", h.Name, h.Phase, h.Needs.GetFields(), want)
			}
		case conformance.Narrow:
			n := h.Needs
			if n.GetFields() != 1 || len(n.GetHeaderNames()) != 1 || n.GetHeaderNames()[0] != "X-One" || n.GetBodyLimit() != 1024 || h.Phase != pluginv1.Phase_PHASE_PRE {
				t.Fail("%s is for phase %v and needs %v, want pre, headers X-One alone, and 1024 bytes of body", h.Name, h.Phase, n)
			}
		}
	}
	return nil
}

func frameChecks() []kit.Case {
	hookless := func(id, section, title string, run func(ctx context.Context, s *stream) error) kit.Case {
		return kit.Case{ID: "frames/" + id, Protocol: report.Native, Section: section, Title: title, Run: onSession(run)}
	}
	return []kit.Case{
		hookless("credit", "1.3", "the first frame grants credit and acknowledges nothing", func(context.Context, *stream) error { return nil }),
		hookless("unknown-hook", "1.4", "a call of a hook that is not there fails with UNIMPLEMENTED", unknownHook),
		hookless("unknown-binding", "1.4", "a call with a binding that is not known fails with PROTOCOL", unknownBinding),
		hookless("batch", "1.3", "each call of a batch is answered once, and the frame acknowledged", batch),
		hookless("field-order", "1.3", "bindings of a frame are taken before its calls, wherever they stand", fieldOrder),
		hookless("grease", "1.10", "fields that nobody knows are ignored, everywhere", greaseFrame),
		hookless("wrong-types", "1.10", "known numbers with another wire type are ignored", wrongTypes),
		hookless("strangers", "1.10", "cancels of unknown ids, empty frames, idle bindings, records for nobody are taken", strangers),
		hookless("rebinding", "1.4", "a later binding with the same id replaces the earlier", rebinding),
		hookless("cancel", "1.5", "a call that is cancelled is answered all the same", cancelKnown),
		hookless("credit-returns", "1.3", "every reply gives its credit back", creditReturns),
		hookless("large", "1.1", "a frame of 4 MiB is taken", largeFrame),
		hookless("bindings", "1.4", "65,536 bindings of one stream are taken", manyBindings),
		hookless("host-drain", "1.7", "after the host's drain the server answers and ends the stream with OK", hostDrain),
		hookless("half-close", "1.7", "after the host half-closes the server answers and ends the stream with OK", halfClose),
	}
}

// onSession runs a case on a stream of its own.
func onSession(run func(ctx context.Context, s *stream) error) func(context.Context, *kit.Trial) error {
	return func(ctx context.Context, t *kit.Trial) error {
		s, err := session(ctx, t)
		if err != nil {
			return err
		}
		defer s.close()
		return run(ctx, s)
	}
}

func unknownHook(ctx context.Context, s *stream) error {
	f := &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, 1, 1)}
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED)
	r := s.replies[1]
	if n := len(r.Outcomes); n != 1 || r.Outcomes[0].Hook != 0 || r.Outcomes[0].Changed != 0 {
		s.t.Fail("outcomes %v, want one of hook 0 with nothing changed (1.6)", r.Outcomes)
	}
	if r.Effects != nil && len(r.Effects.ProtoReflect().GetUnknown()) == 0 && r.Effects.String() != "" {
		s.t.Fail("effects of a call that no hook ran in: %v", r.Effects)
	}
	return nil
}

func unknownBinding(ctx context.Context, s *stream) error {
	if err := s.send(&pluginv1.HostFrame{Calls: calls(1, 2, 4711)}); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.want(1, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL)
	s.want(2, pluginv1.FailureCode_FAILURE_CODE_PROTOCOL)
	if n := len(s.replies[1].GetOutcomes()); n != 0 {
		s.t.Fail("%d outcomes of a call that ended before any hook (1.6)", n)
	}
	return nil
}

func batch(ctx context.Context, s *stream) error {
	n := int(min(s.credit, 256))
	f := &pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}, Calls: calls(1, n, 1)}
	if err := s.send(f); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for id := range n {
		s.want(uint64(id+1), pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED)
	}
	s.t.Note("%d calls in 1 frame were answered in %d", n, s.frames-1)
	return nil
}

func creditReturns(ctx context.Context, s *stream) error {
	total := min(2*int(s.credit)+1, 5000)
	if err := s.send(&pluginv1.HostFrame{Bindings: []*pluginv1.Binding{binding(1, kit.Absent)}}); err != nil {
		return err
	}
	for sent := 0; sent < total; {
		n := min(total-sent, int(s.credit), 512)
		if err := s.send(&pluginv1.HostFrame{Calls: calls(sent+1, n, 1)}); err != nil {
			return err
		}
		if err := s.settle(ctx); err != nil {
			return fmt.Errorf("after %d calls: %w", sent, err)
		}
		for id := sent + 1; id <= sent+n; id++ {
			s.want(uint64(id), pluginv1.FailureCode_FAILURE_CODE_UNIMPLEMENTED)
		}
		sent += n
	}
	return nil
}

// key is a field's tag.
func key(b []byte, number protowire.Number, t protowire.Type) []byte {
	return protowire.AppendTag(b, number, t)
}

// sessions opens two streams on one connection.
func sessions(ctx context.Context, t *kit.Trial) (conn *grpc.ClientConn, a, b *stream, err error) {
	if conn, err = t.Subject.At.Client(); err != nil {
		return nil, nil, nil, err
	}
	if a, err = sessionOn(ctx, t, conn); err == nil {
		if b, err = sessionOn(ctx, t, conn); err == nil {
			return conn, a, b, nil
		}
		a.close()
	}
	_ = conn.Close() // nothing is left on it
	return nil, nil, nil, err
}
