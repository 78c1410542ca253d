package host

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/policy"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// explained makes of a hook and its policy one call that is explained. Both wrappers are there only with an explainer, so
// that a gateway without one pays nothing: what the hook is given is looked at inside the policy, which has read bodies by
// then, and what came of it outside, where the policy has taken back what it takes back.
func explained(name, server string, phase sdk.Phase, c policy.Call, bare sdk.Hook) sdk.Hook {
	inner := sdk.Hook(givenHook{bare})
	if needer, ok := bare.(sdk.Needer); ok {
		inner = neederHook{inner, needer}
	}
	return &explainedHook{next: policy.Wrap(c, inner), name: name, server: server, phase: phase}
}

// explaining finds where the calls of an exchange are written down.
func explaining(x *sdk.Exchange) *observe.Explained {
	if f, ok := x.Backing().(*flow.Flow); ok {
		if st, ok := f.State.(*state); ok {
			return st.explained
		}
	}
	return nil
}

type explainedHook struct {
	next         sdk.Hook
	name, server string
	phase        sdk.Phase
}

// Handle calls the hook and writes the call down.
func (h *explainedHook) Handle(ctx context.Context, x *sdk.Exchange) error {
	e := explaining(x)
	if e == nil {
		return h.next.Handle(ctx, x)
	}
	at := len(e.Hooks)
	e.Hooks = append(e.Hooks, observe.ExplainedHook{Name: h.name, Server: h.server, Phase: h.phase, Before: x.Snapshot()})
	start := time.Now()
	err := h.next.Handle(ctx, x)
	call := &e.Hooks[at]
	call.Duration = time.Since(start)
	if err == nil {
		if invalid := x.Invalid(); invalid != nil {
			err = fmt.Errorf("%w: %w", sdk.ErrProtocol, invalid)
		}
	}
	call.Err, call.Outcome, call.After = err, outcomeOf(err, x), x.Snapshot()
	return err
}

// givenHook notes what its hook is given.
type givenHook struct{ next sdk.Hook }

// Handle calls the hook.
func (h givenHook) Handle(ctx context.Context, x *sdk.Exchange) error {
	if e := explaining(x); e != nil {
		call := &e.Hooks[len(e.Hooks)-1]
		call.Called, call.Before = true, x.Snapshot()
	}
	return h.next.Handle(ctx, x)
}

// neederHook is a hook that says what it needs.
type neederHook struct {
	sdk.Hook
	sdk.Needer
}

// explain hands over what became of the exchange.
func (st *state) explain(status int, took, upstream time.Duration) {
	record := st.record(status, took, upstream)
	st.explained.Record = &record
	st.explained.Reply = st.f.X.Snapshot()
	st.gate.options.Explain.Explain(st.explained)
	st.explained = nil
}

// explainLog notes a line that the running hook logs.
func (st *state) explainLog(level slog.Level, message string) {
	if e := st.explained; len(e.Hooks) > 0 {
		call := &e.Hooks[len(e.Hooks)-1]
		call.Log = append(call.Log, observe.ExplainedLine{Level: level, Message: message})
	}
}

// explainCount notes a counter that the running hook adds to.
func (st *state) explainCount(name string, delta int64) {
	if e := st.explained; len(e.Hooks) > 0 {
		call := &e.Hooks[len(e.Hooks)-1]
		if call.Counts == nil {
			call.Counts = map[string]int64{}
		}
		call.Counts[name] += delta
	}
}
