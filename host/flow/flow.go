// Package flow is the seam between the parts of the host: a [Flow] is the live request and reply behind an
// [sdk.Exchange]. A front makes one per request and fills in the client's side, the host drives it through its chain,
// an upstream fills in the reply. Nothing here knows net/http, so that fronts and transports can be replaced alone.
package flow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Flow is one live request and its reply. It belongs to the goroutine that serves it; fronts keep Flows in pools, so
// nothing may keep one after Serve returned.
type Flow struct {
	X   sdk.Exchange
	Ctx context.Context // ends when the client leaves or the front is closed

	Client  Client               // the client's side, from the front
	Body    Body                 // the request's body as it arrives; nil when there is none
	TLS     *tls.ConnectionState // of the client's connection; nil without TLS
	Peer    net.Addr             // of the connection, trusted proxy or client
	Local   net.Addr             // the listener's side of the connection
	Expect  bool                 // the client waits for 100 Continue (RFC 9110 §10.1.1)
	Upgrade string               // the protocol the client asks to switch to (RFC 9110 §7.8); "" for none
	Major   int                  // of the client's HTTP version

	Out   Outbound // what goes upstream beside the exchange, from the host
	Reply Reply    // what came back beside the exchange, from the upstream

	Start time.Time // when the request's header was complete
	Times Times

	BytesIn  int64 // body bytes read from the client, counted by the front
	BytesOut int64 // body bytes written to the client, counted by the front

	Sink Sink // takes what hooks log and count; nil: dropped

	again   resumed // a body that was buffered
	spoiled bool    // see Spoiled

	// State is the host's own. It stays with the flow's memory when the flow is used again: Reset does not touch it.
	State any
}

// Outbound is what the host decides about the request to the upstream. Its header is the exchange's request header
// without what an upstream adds or leaves out: hop-by-hop fields (RFC 9110 §7.6.1), Host, Content-Length, and the three
// X-Forwarded fields, which are written from here.
type Outbound struct {
	Path           string // without the part the route strips; a target's own path goes before it
	Query          string // behind the "?", as it is sent
	ForceQuery     bool   // the "?" is sent although Query is empty
	Host           string // the Host field; "" for the target's own
	ForwardedFor   string
	ForwardedHost  string
	ForwardedProto string
	Timeout        time.Duration // for the whole of request and reply; 0: the upstream's own
}

// Reply is the upstream's reply beside status and header, which are the exchange's response.
type Reply struct {
	Body     Body               // never nil after a successful round trip without Upgraded; the host closes it
	Upgraded io.ReadWriteCloser // the switched connection after a 101; the host closes it
	Target   string             // who answered, such as http://127.0.0.1:9000
	Tries    int                // targets asked
}

// Times are the moments an upstream notes; zero when they did not come.
type Times struct {
	Sent   time.Time // the request's header left
	Header time.Time // the reply's header was complete

	Hooks  time.Duration // spent in hooks so far, from the host
	Bodies time.Duration // spent in reading bodies for hooks so far, no part of Hooks
	Called time.Time     // when the hook that runs was called, less Bodies until then, from the host
}

// Body is a message body as it arrives. Trailer is complete once Read has returned io.EOF; it may be nil.
//
// A request's body may be read on another goroutine than the flow's until the reply has been closed. Its Close may then
// be called at the same time, and makes a Read that waits for the client return: an upstream that has answered early
// must not wait for a client that has stopped sending.
type Body interface {
	// Read returns an error that wraps ErrGone when the client left before the body's end.
	//
	// Close ends the body's use. That of a request may be closed while another goroutine reads it, whose Read then fails.
	io.ReadCloser
	Trailer() *sdk.Header
}

// Client is the client's side of a flow, from its front. Writing happens on the flow's goroutine.
type Client interface {
	// WriteHeader begins the reply. length is that of the body in bytes, -1 when it is not known. The header's hop-by-hop
	// fields have been left out by the host; Content-Length and Transfer-Encoding are the front's business.
	WriteHeader(status int, h *sdk.Header, length int64)
	// Write sends body bytes; they may stay buffered until Flush or the end.
	Write(p []byte) (int, error)
	// Flush sends what is buffered.
	Flush() error
	// WriteTrailer sends trailer fields (RFC 9110 §6.5) after the body.
	WriteTrailer(h *sdk.Header)
}

// Informer is a [Client] that can send interim replies (RFC 9110 §15.2).
type Informer interface {
	WriteInfo(status int, h *sdk.Header) error
}

// Cutter is a [Client] that can be cut: Cut makes what waits for the client, a read of the body or a write, fail at once.
// It may be called from any goroutine while Serve runs, and more than once.
type Cutter interface {
	Cut()
}

// Hijacker is a [Client] whose connection can be taken over for an upgrade. WriteHeader with status 101 was not called
// before: Hijack sends the switching reply itself and returns the connection, reading first what had been buffered.
type Hijacker interface {
	Hijack(h *sdk.Header) (io.ReadWriteCloser, error)
}

// Handler serves flows. Serve returns when the reply has been sent or given up, and all goroutines it started for the
// flow have ended. A panic with [ErrAbort] cuts the client's connection.
type Handler interface {
	Serve(f *Flow)
}

// Sink takes what hooks and runtimes say through their exchange (see [sdk.Backing], [sdk.CallBacking] and
// [sdk.GroupBacking]).
type Sink interface {
	HookLog(f *Flow, index int, level slog.Level, message string)
	HookCount(f *Flow, index int, name string, delta int64)
	CallDone(f *Flow, t sdk.CallTimings)
	HookDone(f *Flow, index int, r sdk.HookRecord)
}

// ErrAbort, as the value of a panic in Serve, makes the front cut the client's connection: the reply had begun and
// cannot be completed, and a client must not take it for whole.
var ErrAbort = errors.New("flow: reply aborted")

// ErrGone marks an error for which there is no other reason than that the client has left, such as that of a body that
// it stopped sending. The flow's context may not have ended yet, or not at all.
var ErrGone = errors.New("client left")

// Reset empties the flow for its next use.
func (f *Flow) Reset() {
	f.X.Reset(sdk.Init{})
	f.Ctx, f.Client, f.Body, f.TLS, f.Peer, f.Local = nil, nil, nil, nil, nil, nil
	f.Expect, f.Upgrade, f.Major = false, "", 0
	f.Out, f.Reply, f.Times = Outbound{}, Reply{}, Times{}
	f.Start = time.Time{}
	f.BytesIn, f.BytesOut = 0, 0
	f.Sink, f.again, f.spoiled = nil, resumed{}, false
}

// PeerCertificates returns the chain the client presented (see [sdk.Backing]).
func (f *Flow) PeerCertificates() []*x509.Certificate {
	if f.TLS == nil {
		return nil
	}
	return f.TLS.PeerCertificates
}

// PeerVerified reports whether the listener's CA for clients vouches for the client's certificate.
func (f *Flow) PeerVerified() bool { return f.TLS != nil && len(f.TLS.VerifiedChains) > 0 }

// Log hands a hook's line to the sink (see [sdk.Backing]).
func (f *Flow) Log(level slog.Level, message string) {
	if f.Sink != nil {
		f.Sink.HookLog(f, 0, level, message)
	}
}

// HookLog hands a line of one hook of a group to the sink (see [sdk.GroupBacking]).
func (f *Flow) HookLog(index int, level slog.Level, message string) {
	if f.Sink != nil {
		f.Sink.HookLog(f, index, level, message)
	}
}

// Count hands a hook's count to the sink (see [sdk.Backing]).
func (f *Flow) Count(name string, delta int64) {
	if f.Sink != nil {
		f.Sink.HookCount(f, 0, name, delta)
	}
}

// HookCount hands a count of one hook of a group to the sink (see [sdk.GroupBacking]).
func (f *Flow) HookCount(index int, name string, delta int64) {
	if f.Sink != nil {
		f.Sink.HookCount(f, index, name, delta)
	}
}

// CallDone hands a call's timings to the sink (see [sdk.CallBacking]).
func (f *Flow) CallDone(t sdk.CallTimings) {
	if f.Sink != nil {
		f.Sink.CallDone(f, t)
	}
}

// HookDone hands the record of one hook of a group to the sink (see [sdk.GroupBacking]).
func (f *Flow) HookDone(index int, r sdk.HookRecord) {
	if f.Sink != nil {
		f.Sink.HookDone(f, index, r)
	}
}

var (
	_ sdk.Backing      = (*Flow)(nil)
	_ sdk.CallBacking  = (*Flow)(nil)
	_ sdk.GroupBacking = (*Flow)(nil)
)
