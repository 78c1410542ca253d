package sdk

import (
	"net/netip"
)

// This file is the side of an exchange that hosts and decoders use; plugins have no use for it.

// Init is what a host knows when an exchange begins, beside its request (see [Request.Fill]).
type Init struct {
	Route     *Route
	Client    netip.AddrPort
	RequestID string
	Trace     Trace
	Backing   Backing // may be nil
}

// Reset begins the exchange anew; its memory is used again.
func (x *Exchange) Reset(init Init) {
	x.phase, x.route, x.backing = PhaseUnknown, init.Route, init.Backing
	x.client, x.id, x.trace, x.member = init.Client, init.RequestID, init.Trace, 0
	x.answered, x.session, x.editing, x.config, x.changed, x.record = false, nil, false, nil, 0, false
	clear(x.values)
	x.values, x.said = x.values[:0], said{}
	x.request.Fill(RequestInit{})
	x.response.Fill(0, 0)
}

// SetRoute says which route the exchange takes.
func (x *Exchange) SetRoute(r *Route) { x.route = r }

// SetRequestID changes the exchange's identifier.
func (x *Exchange) SetRequestID(id string) { x.id = id }

// SetTrace changes the trace context that calls carry.
func (x *Exchange) SetTrace(t Trace) { x.trace = t }

// Begin prepares the exchange for a hook of phase with its own configuration (nil: the route's). Changes noted before
// are forgotten; with record, header changes are also listed one by one for [Exchange.Changes].
func (x *Exchange) Begin(phase Phase, config []byte, record bool) {
	x.phase, x.config, x.changed, x.record, x.editing = phase, config, 0, record, false
	x.request.begin(record)
	x.response.begin(record)
	for i := range x.values {
		x.values[i].set = false
	}
	x.said.fresh = false
}

// BeginValue adds a value that an earlier hook left. For decoders.
func (x *Exchange) BeginValue(name string, data []byte) {
	x.write()
	x.values = append(x.values, Value{Name: name, Data: data})
}

// BeginSession sets the session that an earlier hook left. For hosts and decoders; it is no change.
func (x *Exchange) BeginSession(s *Session) { x.session, x.editing = s, false }

// Retract takes an answer back: the exchange goes on as if no hook had answered. For hosts.
func (x *Exchange) Retract() {
	x.answered = false
	x.response.Fill(0, 0)
}

// Change is a set of what a hook changed.
type Change uint32

// What a hook can change.
const (
	ChangedMethod Change = 1 << iota
	ChangedPath
	ChangedQuery
	ChangedHeader
	ChangedBody
	ChangedSession
	ChangedValues
	ChangedStatus
	ChangedResponseHeader
	ChangedResponseBody
	ChangedAnswer
)

var changeNames = [...]string{
	"method", "path", "query", "header", "body", "session", "values", "status", "response_header", "response_body", "answer",
}

// Names lists the set as logs and records spell it.
func (c Change) Names() []string {
	var names []string
	for i, n := range changeNames {
		if c&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// Changes returns what changed since Begin.
func (x *Exchange) Changes() Change {
	return x.changed | x.request.changes() | x.response.changes()
}

// HeaderOps returns the header changes since Begin, in order, when they were recorded. The slice is the header's own.
func (h *Header) HeaderOps() []HeaderOp { return h.ops }

// Invalid returns the first change since Begin that was refused because no HTTP message could carry it, or nil. A host
// treats it as a failure of the hook.
func (x *Exchange) Invalid() error {
	if err := x.request.invalid(); err != nil {
		return err
	}
	return x.response.invalid()
}

// Backing returns what the host gave at Reset; nil when nothing. For hosts' middleware.
func (x *Exchange) Backing() Backing { return x.backing }
