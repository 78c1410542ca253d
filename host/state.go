package host

import (
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/rules"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// state is what the host keeps of a flow beside the flow itself. It stays with the flow's memory and is used again.
type state struct {
	f     *flow.Flow
	gate  *Gateway
	route *Route
	shard int

	method, path, query string // as the client sent them

	variant *variant
	cors    rules.CORSDecision

	ignored    bool // the path is on the ignore list: no authentication
	gone       bool // the client left
	begun      bool // the reply's header has been sent
	returned   bool // without a panic
	isHeld     bool // see held
	answeredBy string
	failure    string // why the exchange failed, for the log
	records    []sdk.HookRecord
	sent       []sdk.Field // the header as the client sent it, for observers that want some of it
	hook       *hookStep   // that runs
	grouped    []int       // of the group that runs: the hooks whose records it has left already
	timings    sdk.CallTimings
	timed      bool
	span       *observe.Span
	copyBuffer []byte
	ids        string             // made ahead, see nextID
	explained  *observe.Explained // nil: nobody asks

	caller     *identity.Caller // who that is to the gateway; nil when no method of its own said
	named      bool             // a method has said who calls
	trying     int              // groups under way of which one method suffices: failures of one are not the caller's yet
	ask        limit.Ask
	verdict    limit.Verdict // on the last ask, when limited
	limited    bool
	retryAfter int64  // seconds
	replyID    string // the reply's header for the request id; "": none
}

func (st *state) begin(f *flow.Flow, g *Gateway) {
	clear(st.records)
	clear(st.sent)
	*st = state{
		f: f, gate: g, shard: st.shard, records: st.records[:0], sent: st.sent[:0], grouped: st.grouped[:0], copyBuffer: st.copyBuffer,
		ask: st.ask, verdict: st.verdict, ids: st.ids,
		answeredBy: "gateway",
	}
	q := f.X.Request()
	st.method, st.path, st.query = q.Method(), q.Path(), q.Query().Raw()
	if g.options.Explain != nil {
		st.explained = &observe.Explained{}
	}
	f.Sink = st
}

// correlate makes what a hook has said the exchange is known by hold from now on.
func (st *state) correlate() {
	x := &st.f.X
	c := x.Correlation()
	if c.ID == "" || c.ID == x.RequestID() && c.Reply == st.replyID {
		return
	}
	x.SetRequestID(c.ID)
	st.replyID = c.Reply
	if st.span != nil {
		st.span.Identify(c.ID)
	}
}

// HookLog writes a line of one hook of the running step to the gateway's log.
func (st *state) HookLog(f *flow.Flow, index int, level slog.Level, message string) {
	h := st.hook
	if h == nil || index < 0 || index >= len(h.stats) {
		return
	}
	if st.explained != nil {
		st.explainLog(level, message)
	}
	st.gate.log.Log(f.Ctx, level, message,
		"api", st.route.info.ID, "phase", h.phase.String(), "hook", h.stats[index].Key().Name, "server", h.server, "request_id", f.X.RequestID())
}

// HookCount adds to a counter of one hook of the running step.
func (st *state) HookCount(_ *flow.Flow, index int, name string, delta int64) {
	if h := st.hook; h != nil && index >= 0 && index < len(h.stats) {
		h.stats[index].Count(name, delta)
		if st.explained != nil {
			st.explainCount(name, delta)
		}
	}
}

// CallDone notes where the time of the running call went.
func (st *state) CallDone(_ *flow.Flow, t sdk.CallTimings) { st.timings, st.timed = t, true }

// HookDone notes the outcome of one hook of the running group.
func (st *state) HookDone(_ *flow.Flow, index int, r sdk.HookRecord) {
	h := st.hook
	if h == nil || index < 0 || index >= len(h.stats) {
		return
	}
	r.Phase, r.Server = h.phase, h.server
	st.records = append(st.records, r)
	st.grouped = append(st.grouped, index)
}

var _ flow.Sink = (*state)(nil)

// end writes the exchange down: counters, access log, records, span.
func (st *state) end() {
	f, r := st.f, st.route
	x := &f.X
	st.letGo()
	if !st.returned {
		st.panicked()
	}
	took := time.Since(f.Start)
	status := x.Response().Status()
	if st.gone && !st.begun {
		status = statusClientGone
	}
	var upstream time.Duration
	if !f.Times.Header.IsZero() {
		upstream = f.Times.Header.Sub(f.Times.Sent)
	}
	r.stats.Shard(st.shard).End(status, took, upstream, f.BytesIn, f.BytesOut)
	if log := st.gate.options.AccessLog; log != nil {
		log.Write(st.shard, f, &observe.Entry{
			Route: &r.info, Method: st.method, Status: status, Took: took, AnsweredBy: st.answeredBy, Error: st.failure, Hooks: st.records,
		})
	}
	if len(r.taps) > 0 && !r.definition.DoNotTrack {
		record := st.record(status, took, upstream)
		st.tell(&record)
	}
	if st.span != nil {
		st.span.End(status, st.failure, took)
	}
	if st.explained != nil {
		st.explain(status, took, upstream)
	}
}

// panicked cleans up behind a panic, the front's affair: it answers 500 when nothing was sent, else cuts the connection.
func (st *state) panicked() {
	st.closeReply()
	if st.failure == "" {
		st.failure = "panic while serving"
	}
	if !st.begun {
		st.f.X.Response().Fill(500, 0)
	}
}

// statusClientGone is what logs and counters say of a client that left before its reply began; nothing is sent.
const statusClientGone = 499
