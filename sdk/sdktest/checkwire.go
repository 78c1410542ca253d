package sdktest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// CheckWire runs every hook of the plugin on each exchange twice: on the exchange itself, where all of it can be seen,
// and behind the native protocol, where only what the hook needs arrives. Both must do the same. What differs is
// usually a part that the hook reads and does not list in its needs. Hooks must give the same result each time: no
// clock, no chance, no counting.
func CheckWire(t testing.TB, p *sdk.Plugin, exchanges ...*Builder) {
	t.Helper()
	if err := p.Validate(); err != nil {
		t.Fatalf("sdktest: %v", err)
	}
	for i := range p.Hooks {
		h := &p.Hooks[i]
		phases := []sdk.Phase{h.Phase}
		if h.Phase == sdk.PhaseUnknown {
			phases = []sdk.Phase{sdk.Pre, sdk.Auth, sdk.PostKeyAuth, sdk.Post, sdk.ResponsePhase}
		}
		for _, phase := range phases {
			for n, b := range exchanges {
				direct := b.direct(t.Context(), h, phase)
				wired, err := b.wired(t.Context(), h, phase)
				if err != nil {
					t.Fatalf("sdktest: hook %q, phase %v, exchange %d: %v", h.Name, phase, n, err)
				}
				for _, d := range differences(direct, wired) {
					t.Errorf("hook %q, phase %v, exchange %d (%s %s): %s",
						h.Name, phase, n, b.request.Method, b.request.URI, d)
				}
			}
		}
	}
}

// outcome is what one of the two runs gave.
type outcome struct {
	Log
	after   sdk.Snapshot
	changed sdk.Change
	err     error
}

func (b *Builder) direct(ctx context.Context, h *sdk.HookSpec, phase sdk.Phase) *outcome {
	o := &outcome{}
	x := b.Exchange(phase, everything(), &o.Log)
	o.err = h.Hook.Handle(ctx, x)
	if o.err == nil {
		o.err = x.Invalid()
	}
	o.after, o.changed = x.Snapshot(), x.Changes()
	return o
}

// wired does what a host, a stream and a plugin server do with one call.
func (b *Builder) wired(ctx context.Context, h *sdk.HookSpec, phase sdk.Phase) (*outcome, error) {
	o := &outcome{}
	host := b.Exchange(phase, everything(), &o.Log)
	route := b.route
	binding := &wire.Binding{ID: 1, Phase: phase, Hooks: []wire.HookUse{{Name: h.Name, Config: b.config}}, Route: &route}
	frame, err := wire.ScanHostFrame(wire.AppendCall(nil, wire.CallHeader{ID: 1, Binding: 1}, host, needsOf(h)))
	if err != nil {
		return nil, fmt.Errorf("scan the call's frame: %w", err)
	}
	var reply []byte
	for call := range frame.Calls() {
		var in wire.Incoming
		var x sdk.Exchange
		if err := in.Decode(call, binding, &x); err != nil {
			return nil, fmt.Errorf("decode the call: %w", err)
		}
		x.Begin(phase, b.config, true)
		in.Done(&x, 0, h.Hook.Handle(ctx, &x))
		reply = in.AppendReply(reply)
	}
	back, err := wire.ScanPluginFrame(reply)
	if err != nil {
		return nil, fmt.Errorf("scan the reply's frame: %w", err)
	}
	var r wire.Result
	for _, raw := range back.Replies() {
		o.err = wire.ApplyReply(raw, host, &r)
	}
	if o.err == nil {
		o.err = host.Invalid()
	}
	for _, l := range r.Logs {
		host.Log(l.Level, l.Message)
	}
	for _, c := range r.Counters {
		host.Count(c.Name, c.Delta)
	}
	o.after, o.changed = host.Snapshot(), host.Changes()
	return o, nil
}

func needsOf(h *sdk.HookSpec) sdk.Needs {
	if n, ok := h.Hook.(sdk.Needer); ok {
		return n.Needs()
	}
	return h.Needs
}

// differences lists what one run did and the other did not.
func differences(direct, wired *outcome) []string {
	var out []string
	differ := func(what string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			out = append(out, fmt.Sprintf("%s: on the exchange %+v, behind the protocol %+v", what, a, b))
		}
	}
	differ("error", plain(direct.err), plain(wired.err))
	differ("log lines", direct.Lines, wired.Lines)
	differ("counters", direct.Counters, wired.Counters)
	if direct.err != nil || wired.err != nil {
		return out // what a hook changed that failed does not count
	}
	differ("changes", direct.changed.Names(), wired.changed.Names())
	a, b := normal(direct.after), normal(wired.after)
	differ("request", a.Request, b.Request)
	differ("response", a.Response, b.Response)
	differ("answered", a.Answered, b.Answered)
	differ("session", orZero(a.Session), orZero(b.Session))
	differ("values", a.Values, b.Values)
	return out
}

// plain is what of an error matters: a refusal as it is, of any other only that there was one.
func plain(err error) any {
	if refused, ok := errors.AsType[*sdk.Error](err); ok {
		return fmt.Sprintf("%d %q %q", refused.Status, refused.Message, refused.Header)
	}
	if err != nil {
		return "failed"
	}
	return nil
}

// normal makes nothing of empty bodies, values and lists.
func normal(s sdk.Snapshot) sdk.Snapshot {
	if len(s.Request.Body) == 0 {
		s.Request.Body = nil
	}
	if len(s.Response.Body) == 0 {
		s.Response.Body = nil
	}
	s.Request.Header = slices.Clip(append([]sdk.Field{}, s.Request.Header...))
	s.Response.Header = slices.Clip(append([]sdk.Field{}, s.Response.Header...))
	if len(s.Values) == 0 {
		s.Values = nil
	}
	return s
}

func orZero(s *sdk.Session) any {
	if s == nil {
		return "none"
	}
	return *s
}
