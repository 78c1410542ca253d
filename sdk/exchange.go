package sdk

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
)

// Exchange is one request and its reply on their way through the gateway, as a hook sees and changes them. It is opaque
// so that a host can back it by the live request: what nobody reads costs nothing. An exchange belongs to the call it
// was handed to: it is not safe for concurrent use and must not be kept after Handle returns; [Exchange.Snapshot] makes
// a copy that may.
type Exchange struct {
	phase    Phase
	route    *Route
	request  Request
	response Response
	answered bool
	session  *Session
	editing  bool // session is a copy of the exchange's own, made since Begin
	values   []Value
	said     said
	config   []byte
	client   netip.AddrPort
	id       string
	trace    Trace
	changed  Change
	record   bool
	backing  Backing
	member   int // of the group that runs, see BeginMember
}

// Route says which definition an exchange runs under. It is immutable and shared between exchanges.
type Route struct {
	ID         string
	Name       string
	Org        string
	ListenPath string
	Bundle     string // md5 hex of the bundle's name, as Tyk's protocol carries it; "" when there is no bundle
	Config     []byte // the definition's config data, JSON; nil when it has none
}

// Trace is the trace context of an exchange (W3C Trace Context §3): the values of traceparent and tracestate that a
// call to elsewhere should carry.
type Trace struct{ Parent, State string }

// Value is something a hook left for later hooks: a name and bytes, JSON by convention.
type Value struct {
	Name string
	Data []byte
	set  bool // since Begin
}

// Backing is what an exchange asks of the host that made it. All methods are called on the hook's goroutine.
type Backing interface {
	// PeerCertificates returns the chain the client presented, leaf first; nil without client certificate.
	PeerCertificates() []*x509.Certificate
	// Log takes a line a hook wrote.
	Log(level slog.Level, message string)
	// Count adds to a counter of the hook's own.
	Count(name string, delta int64)
}

// Phase returns the phase the current hook runs in.
func (x *Exchange) Phase() Phase { return x.phase }

// Route returns the route's immutable description, never nil.
func (x *Exchange) Route() *Route { return x.route }

// Request returns the request as it stands, never nil.
func (x *Exchange) Request() *Request { return &x.request }

// Response returns the reply as it stands, never nil: the upstream's in the response phase, a hook's answer once there
// is one; before that its status is 0.
func (x *Exchange) Response() *Response { return &x.response }

// Answer ends the request phases with a reply of the hook's own: no later hook of a request phase is called, nothing
// goes upstream. In the response phase it replaces the upstream's reply. Headers are set on the returned Response.
// A status outside 200 to 599 makes the hook fail. The exchange keeps body.
func (x *Exchange) Answer(status int, body []byte) *Response {
	record, changed := x.response.header.record, x.response.changed
	x.response.Fill(0, 0)
	x.response.header.record, x.response.changed = record, changed
	x.response.SetStatus(status)
	x.response.SetBody(body)
	x.answered = true
	x.changed |= ChangedAnswer
	return &x.response
}

// Answered reports whether a hook has answered.
func (x *Exchange) Answered() bool { return x.answered }

// Session returns who calls, nil until an auth hook or authenticator has said so. Treat it as read-only: changes go
// through [Exchange.EditSession] or [Exchange.SetSession].
func (x *Exchange) Session() *Session { return x.session }

// EditSession returns the session to be changed in place, made if there was none. Later hooks see the changes.
func (x *Exchange) EditSession() *Session {
	if !x.editing {
		x.session, x.editing = x.session.Clone(), true
		x.changed |= ChangedSession
	}
	return x.session
}

// SetSession says who calls. The exchange keeps s; nil takes the identity away.
func (x *Exchange) SetSession(s *Session) {
	x.session, x.editing = s, false
	x.changed |= ChangedSession
}

// Authenticate is SetSession for the usual case: it sets a session with that key and alias and nothing else.
func (x *Exchange) Authenticate(key, alias string) {
	x.SetSession(&Session{KeyID: key, Alias: alias})
}

// Value returns what an earlier hook left under name, nil when nothing.
func (x *Exchange) Value(name string) []byte {
	if name == CorrelationValue {
		x.write()
	}
	for i := range x.values {
		if x.values[i].Name == name {
			return x.values[i].Data
		}
	}
	return nil
}

// SetValue leaves data, JSON by convention, for later hooks; nil takes it away. The exchange keeps data.
func (x *Exchange) SetValue(name string, data []byte) {
	x.changed |= ChangedValues
	x.write() // values stand in the order of their setting
	if name == CorrelationValue {
		x.said = said{}
	}
	x.put(Value{name, data, true})
}

func (x *Exchange) put(v Value) {
	for i := range x.values {
		if x.values[i].Name == v.Name {
			x.values[i] = v
			return
		}
	}
	x.values = append(x.values, v)
}

// Values returns everything hooks left, in the order of first setting; entries with nil Data were taken away. The slice
// is the exchange's own: read it, do not keep it.
func (x *Exchange) Values() []Value {
	x.write()
	return x.values
}

// Changed reports whether the value was set since the exchange's changes were last taken. For encoders.
func (v *Value) Changed() bool { return v.set }

// Config returns the configuration of the hook that runs, else that of its route: JSON, nil when there is none. It is
// shared: read it only.
func (x *Exchange) Config() []byte {
	if x.config == nil && x.route != nil {
		return x.route.Config
	}
	return x.config
}

// ClientAddr returns the client's address, after trusted proxies have been accounted for.
func (x *Exchange) ClientAddr() netip.AddrPort { return x.client }

// PeerCertificates returns the certificate chain the client presented, leaf first; nil when it presented none.
func (x *Exchange) PeerCertificates() []*x509.Certificate {
	if x.backing == nil {
		return nil
	}
	return x.backing.PeerCertificates()
}

// RequestID returns the identifier of this exchange, the same in logs, records and traces.
func (x *Exchange) RequestID() string { return x.id }

// Trace returns the trace context to hand on in calls to elsewhere; empty when the exchange is not traced.
func (x *Exchange) Trace() Trace { return x.trace }

// Log writes a line to the gateway's log under the hook's name, wherever the hook runs.
func (x *Exchange) Log(level slog.Level, message string) {
	x.HookLog(0, level, message)
}

// Count adds delta to a counter of the hook's own, exported by the gateway under the hook's name.
func (x *Exchange) Count(name string, delta int64) {
	x.HookCount(0, name, delta)
}

// A Hook handles one phase of an exchange. It changes x in place. In a request phase, [Exchange.Answer] ends the
// request: nothing later is called. A returned error ends the exchange too; an [*Error] chooses what the client sees,
// any other is a failure, which the hook's policy decides about. A Hook is safe for concurrent use. The context ends at
// the call's deadline or when the client leaves.
type Hook interface {
	Handle(ctx context.Context, x *Exchange) error
}

// HookFunc makes a function a [Hook].
type HookFunc func(ctx context.Context, x *Exchange) error

// Handle calls f.
func (f HookFunc) Handle(ctx context.Context, x *Exchange) error { return f(ctx, x) }
