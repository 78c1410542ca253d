package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/policy"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A step is one element of a compiled chain. run returns nil to go on, [errAnswered] when the exchange has its reply, and
// any other error to end it. A step is immutable and safe for concurrent use.
type step interface{ run(st *state) error }

// stepFunc makes a rule a step.
type stepFunc func(st *state) error

func (f stepFunc) run(st *state) error { return f(st) }

// errAnswered ends the request phases: the exchange's response is to be sent.
var errAnswered = errors.New("answered")

// hookStep calls a hook, or a group of consecutive ones of one server, and writes down how it went.
type hookStep struct {
	name    string // of a group: joined by "+"
	server  string
	phase   sdk.Phase
	config  []byte
	message string // replies to failures with it, in Tyk's protocol; empty: its usual ones
	tyk     bool   // the definition's dialect, for failures while the server's protocol is not known
	hook    sdk.Hook
	bare    sdk.Hook // without policy
	body    config.BodyPolicy
	stats   []*observe.Hook
	told    atomic.Int64 // when a failure was last logged, unix ns
	untold  atomic.Int64 // failures since
}

func (h *hookStep) run(st *state) error {
	f := st.f
	x := &f.X
	x.Begin(h.phase, h.config, false)
	st.hook, st.grouped, st.timed = h, st.grouped[:0], false
	var endSpan func(error)
	if st.span != nil {
		endSpan = st.span.Child(x, h.phase.String()+" "+h.name, true, "turnbuckle.server", h.server)
	}
	start, bodies := time.Now(), f.Times.Bodies
	f.Times.Called = start.Add(-bodies)
	err := h.hook.Handle(f.Ctx, x)
	took := time.Since(start) - (f.Times.Bodies - bodies)
	if endSpan != nil {
		endSpan(err)
	}
	st.hook = nil
	f.Times.Hooks += took
	f.Times.Called = time.Time{}
	if x.Changes()&sdk.ChangedValues != 0 {
		st.correlate()
	}
	if err == nil {
		if invalid := x.Invalid(); invalid != nil {
			err = fmt.Errorf("%w: %w", sdk.ErrProtocol, invalid)
		}
	}
	outcome := outcomeOf(err, x)
	h.count(st, outcome, took, err)
	switch {
	case outcome == sdk.OutcomeSkipped:
		return nil
	case err != nil:
		return h.failed(st, err)
	case outcome == sdk.OutcomeAnswered:
		st.answeredBy = h.name
		if h.phase != sdk.ResponsePhase {
			return errAnswered
		}
		st.closeReply() // the upstream's, which this one replaces
	}
	return nil
}

// count adds the call to counters and records. Of a group, each hook that ran has left its record; when all went well
// with each and the whole failed, because of what they made of the exchange, the last one is to blame.
func (h *hookStep) count(st *state, o sdk.Outcome, took time.Duration, err error) {
	if errors.Is(err, policy.ErrBody) && o != sdk.OutcomeTooLarge {
		return // it was not called
	}
	if st.timed {
		h.stats[0].Shard(st.shard).Timings(st.timings)
	}
	if len(st.grouped) == 0 {
		st.grouped = append(st.grouped, 0)
		st.records = append(st.records, sdk.HookRecord{
			Name: h.stats[0].Key().Name, Server: h.server, Phase: h.phase, Outcome: o, Changed: st.f.X.Changes(), Duration: took,
		})
	}
	records := st.records[len(st.records)-len(st.grouped):]
	if last := &records[len(records)-1]; err != nil {
		if last.Outcome == sdk.OutcomeOK || last.Outcome == sdk.OutcomeAnswered {
			last.Outcome = o
		}
		if last.Error == "" {
			last.Error = firstLine(err.Error())
		}
	}
	for i, at := range st.grouped {
		h.stats[at].Shard(st.shard).Done(records[i].Outcome, records[i].Duration)
	}
}

// failed turns the error of a hook into what ends the exchange. The event of a refusal is Tyk's (reference §2.4); there
// is none for a body, which is no affair of the hook's.
func (h *hookStep) failed(st *state, err error) error {
	if errors.Is(err, context.Canceled) && st.f.Ctx.Err() != nil || errors.Is(err, flow.ErrGone) {
		return err
	}
	st.answeredBy = "gateway"
	var refusal *sdk.Error
	if errors.As(err, &refusal) {
		if st.failure == "" && refusal.Err != nil {
			st.failure = firstLine(refusal.Err.Error())
		}
		if errors.Is(err, policy.ErrBody) {
			return refusal
		}
		if h.phase == sdk.Auth || h.speaksTyk() {
			st.event(sdk.EventAuthFailure, refusal.Message)
		}
		st.answeredBy = h.name
		return refusal
	}
	h.tell(st, err)
	st.failure = fmt.Sprintf("%s hook %s: %s", h.phase, h.name, firstLine(err.Error()))
	return h.failure(err)
}

// tellEvery is how often the failures of one hook at one place are logged; the access log has every one.
const tellEvery = int64(time.Second)

func (h *hookStep) tell(st *state, err error) {
	now, told := time.Now().UnixNano(), h.told.Load()
	if now-told < tellEvery || !h.told.CompareAndSwap(told, now) {
		h.untold.Add(1)
		return
	}
	st.gate.log.Warn("hook failed", "api", st.route.info.ID, "phase", h.phase.String(), "hook", h.name, "server", h.server,
		"request_id", st.f.X.RequestID(), "error", err.Error(), "failures_not_logged", h.untold.Swap(0))
}

// failure is the reply to a failure, by the protocol's custom (see RATIONALE.md, "Which status does a failed hook give?").
func (h *hookStep) failure(err error) *sdk.Error {
	if h.speaksTyk() {
		if h.message != "" {
			return &sdk.Error{Status: 500, Message: h.message, Err: err}
		}
		if h.phase == sdk.Auth {
			return &sdk.Error{Status: 403, Message: "Key not authorised", Err: err}
		}
		return &sdk.Error{Status: 500, Message: "Middleware error", Err: err}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &sdk.Error{Status: 504, Message: "Plugin timed out", Err: err}
	}
	return &sdk.Error{Status: 503, Message: "Plugin unavailable", Err: err}
}

func (h *hookStep) speaksTyk() bool {
	if p, ok := h.bare.(protocol); ok {
		if name := p.Protocol(); name != "" {
			return name == string(config.ServerTyk)
		}
	}
	return h.tyk
}

// defaultTimeout is what a call may take when nobody said: a server of Tyk's protocol was written for no deadline at all.
func (h *hookStep) defaultTimeout() time.Duration {
	if h.speaksTyk() {
		return config.DefaultTykTimeout
	}
	return config.DefaultNativeTimeout
}

// outcomeOf classifies how a call ended, policy included.
func outcomeOf(err error, x *sdk.Exchange) sdk.Outcome {
	if err != nil { // what errors.As writes to is allocated
		var skipped *policy.Skipped
		if errors.As(err, &skipped) {
			return sdk.OutcomeSkipped
		}
	}
	return sdk.OutcomeOf(err, x)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// keyHash is how records name a key without giving it away.
func keyHash(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
