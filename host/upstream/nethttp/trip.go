package nethttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var (
	errShut  = errors.New("request has ended")
	errTotal = fmt.Errorf("request and reply took too long: %w", os.ErrDeadlineExceeded)
)

// A trip is one request and its reply.
type trip struct {
	t      *Transport
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the total timeout
	client context.Context
	gate   *gate
	got    atomic.Bool // a connection: from here on something may have been sent
	used   atomic.Bool // that connection had served before, and nothing of the reply has come

	mu       sync.Mutex // net/http's goroutines call the hooks, also late
	timer    *time.Timer
	answered bool
	sent     time.Time
	client1x flow.Informer
	infoErr  error
}

// RoundTrip sends the call's request and fills in the flow's reply. Errors are [*outbound.Failure]. When a used
// connection ends with nothing of a reply, an idempotent request that is at hand whole is sent once more, as package h1
// does (RFC 9110 §9.2.2); requests that the target says it has not processed net/http sends again itself.
func (t *Transport) RoundTrip(call *outbound.Call) error {
	r, err := t.try(call)
	var failure *outbound.Failure
	if r.used.Load() && errors.As(err, &failure) && failure.Kind == outbound.Reset &&
		call.Whole && outbound.Idempotent(call.Flow.X.Request().Method()) {
		_, err = t.try(call)
		err = outbound.SentBefore(err, true)
	}
	return err
}

func (t *Transport) try(call *outbound.Call) (*trip, error) {
	r := &trip{t: t, client: call.Ctx, stop: func() {}}
	ctx := call.Ctx
	if !call.Deadline.IsZero() {
		ctx, r.stop = context.WithDeadlineCause(ctx, call.Deadline, errTotal)
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	if !t.trips.Add(r) {
		r.cancel(nil)
		r.stop()
		return r, &outbound.Failure{Kind: outbound.Closed, Err: errClosed}
	}
	r.client1x, _ = call.Flow.Client.(flow.Informer)
	req, gate, err := newRequest(httptrace.WithClientTrace(r.ctx, r.trace()), t.o.Dialer.Target, call)
	if err != nil {
		r.end()
		return r, &outbound.Failure{Kind: outbound.Request, Err: err}
	}
	r.gate = gate
	reply, err := t.http.RoundTrip(req)
	r.headerDone()
	if err == nil {
		err = r.accept(call.Flow, reply)
	}
	if err != nil {
		failure := r.failed(err)
		r.end()
		return r, failure
	}
	return r, nil
}

// trace is what net/http tells about the request on its way.
func (r *trip) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			r.got.Store(true)
			r.used.Store(info.Reused)
			r.noteSent()
		},
		WroteHeaders: r.noteSent, // in HTTP/2 possibly later than the reply
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if h := r.t.o.Header; h > 0 && info.Err == nil && !r.answered && r.timer == nil {
				r.timer = time.AfterFunc(h, func() {
					r.cancel(fmt.Errorf("no reply header within %v: %w", h, os.ErrDeadlineExceeded))
				})
			}
		},
		Got1xxResponse: r.inform,
	}
}

func (r *trip) noteSent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = time.Now()
}

// inform passes an interim reply on. 100 is not: the front sends one when the body is read.
func (r *trip) inform(status int, header textproto.MIMEHeader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered || status == 100 || status == 101 || r.client1x == nil {
		return nil
	}
	r.used.Store(false)
	var h sdk.Header
	forward(&h, http.Header(header))
	r.infoErr = r.client1x.WriteInfo(status, &h)
	return r.infoErr
}

func (r *trip) headerDone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// accept fills in the flow's reply.
func (r *trip) accept(f *flow.Flow, reply *http.Response) error {
	count := 0
	for name, values := range reply.Header {
		count += len(values)
		for _, v := range values {
			if !sdk.ValidToken(name) || !sdk.ValidFieldValue(v) {
				reply.Body.Close()
				return &outbound.Failure{Kind: outbound.Garbage, Err: fmt.Errorf("invalid reply: field %q", name)}
			}
		}
	}
	if count > r.t.o.MaxHeaderFields || reply.StatusCode < 200 || reply.StatusCode > 599 {
		reply.Body.Close()
		return &outbound.Failure{Kind: outbound.Garbage, Err: fmt.Errorf("invalid reply: status %d, %d fields", reply.StatusCode, count)}
	}
	r.mu.Lock()
	f.Times.Sent = r.sent
	r.mu.Unlock()
	f.Times.Header = time.Now()
	f.X.Response().Fill(reply.StatusCode, reply.ContentLength)
	forward(f.X.Response().Header(), reply.Header)
	b := &body{r: r, reply: reply}
	f.Reply.Body = b
	return nil
}

// forward copies fields without the hop-by-hop ones, sorted by name: net/http keeps no order.
func forward(to *sdk.Header, from http.Header) {
	var connection sdk.Header
	for _, v := range from["Connection"] {
		connection.Append("Connection", v)
	}
	named := flow.ConnectionNames(&connection)
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if flow.HopByHop(name) || outbound.Listed(named, name) {
			continue
		}
		for _, v := range from[name] {
			to.Append(name, v)
		}
	}
}

// end settles everything: after it nothing of the request runs on. It may be called again.
func (r *trip) end() {
	r.headerDone()
	r.cancel(nil)
	r.stop()
	r.gate.close()
	r.t.trips.Remove(r)
}

// why returns the reason for err: that of our own cancelling when there was one.
func (r *trip) why(err error) error {
	if bad := r.gate.failure(); bad != nil {
		return bad
	}
	if r.ctx.Err() != nil {
		cause := context.Cause(r.ctx)
		if cause == errTotal && r.gate.waits() { //nolint:errorlint // as it was given
			return outbound.SlowClient()
		}
		if !errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
	return err
}

// failed makes the failure of an attempt from net/http's error.
func (r *trip) failed(err error) *outbound.Failure {
	err = r.why(err)
	var already *outbound.Failure
	if errors.As(err, &already) {
		already.Sent = already.Sent || r.got.Load()
		return already
	}
	r.mu.Lock()
	info := r.infoErr
	r.mu.Unlock()
	f := outbound.DialFailure(r.client, err)
	var dial *dialError
	switch {
	case f.Kind == outbound.Canceled || info != nil:
		f.Kind = outbound.Canceled
	case errors.Is(err, errClosed):
		f.Kind = outbound.Closed
	case f.Kind == outbound.Timeout, errors.As(err, &dial), !r.got.Load():
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isNet(err):
		f.Kind = outbound.Reset
	default:
		f.Kind = outbound.Garbage
	}
	f.Sent = r.got.Load()
	return f
}
