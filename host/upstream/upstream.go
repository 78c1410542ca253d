// Package upstream sends requests to the targets of a route: it chooses one, keeps the failing ones out, and speaks
// HTTP to it through one of two transports, our own for HTTP/1.1 and net/http's for the rest.
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// transport speaks to one target. It is safe for concurrent use.
type transport interface {
	// RoundTrip sends the call's request, and fills in the flow's response, Reply.Body or Reply.Upgraded, and Times. An
	// error is an [*outbound.Failure], and then the reply is untouched and nothing runs on.
	RoundTrip(call *outbound.Call) error
	// InFlight returns how many requests are under way, reply bodies included.
	InFlight() int
	// Close refuses new requests, waits for those in flight until ctx ends, then cuts them.
	Close(ctx context.Context) error
}

// Upstream is the targets of one route. It is safe for concurrent use.
type Upstream struct {
	o       Options
	targets []*target
	ring    ring
	calls   sync.Pool // *outbound.Call
	health  sync.WaitGroup
	stop    context.CancelFunc // ends the health checks
	events  sync.Mutex         // one event at a time
}

// New returns an Upstream, whose health checks, if any, run until Close. Nothing is dialled before. Of ctx only the
// values are used.
func New(ctx context.Context, o Options) (*Upstream, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	u := &Upstream{o: o}
	u.calls.New = func() any { return new(outbound.Call) }
	weights := make([]int, len(o.Targets))
	for i, t := range o.Targets {
		weights[i] = cmp.Or(t.Weight, 1)
		if weights[i] < 0 {
			return nil, fmt.Errorf("upstream: target %s: negative weight", t.URL)
		}
		parsed, err := outbound.Parse(t.URL)
		if err != nil {
			return nil, fmt.Errorf("upstream: %w", err)
		}
		u.targets = append(u.targets, &target{Target: parsed})
	}
	u.ring = newRing(weights, max(1, min(8, runtime.GOMAXPROCS(0)/2)))
	for _, t := range u.targets {
		t.transport = newTransport(&o, &t.Target)
	}
	ctx, u.stop = context.WithCancel(context.WithoutCancel(ctx))
	u.check(ctx)
	return u, nil
}

// RoundTrip sends f's request, as f.X and f.Out have it, to a target and fills in f's reply: status, length and header
// of f.X.Response() in the order and spelling of arrival, without hop-by-hop fields (a 101 keeps its Upgrade); f.Reply
// and f.Times. The caller closes f.Reply.Body or f.Reply.Upgraded, after which nothing of the request runs on.
// Interim replies but 100 and 101 go to f.Client when it is a [flow.Informer]; 100 does not, as reading f.Body is what
// makes a front send it. f.Body may be read by another goroutine until the reply's end, and is closed only to stop that.
//
// An error is an [*sdk.Error]: 502 when there is no usable reply, 504 when it did not come in time, 499 wrapping
// [context.Canceled] when the client left, or f.Body failed with [flow.ErrGone], 400 when the client's body failed, 500 when no HTTP message can carry the
// request; an [*sdk.Error] with which f.Body failed is returned as it is.
func (u *Upstream) RoundTrip(ctx context.Context, f *flow.Flow) error {
	call := u.calls.Get().(*outbound.Call)
	defer func() {
		call.Reset()
		u.calls.Put(call)
	}()
	call.Ctx, call.Flow = ctx, f
	if total := cmp.Or(f.Out.Timeout, u.o.Timeouts.Total); total > 0 {
		call.Deadline = time.Now().Add(total)
	}
	if f.X.Request().Method() == "CONNECT" {
		return reported(ctx, &outbound.Failure{Kind: outbound.Request, Err: errors.New("CONNECT asks for a tunnel, which is not forwarded (RFC 9110 §9.3.6)")})
	}
	if err := call.Load(); err != nil {
		return reported(ctx, err)
	}
	f.Reply.Tries = 0
	if len(u.targets) == 1 {
		_, err := u.attempt(call, u.targets[0])
		return err
	}
	return u.balance(call)
}

// attempt sends the call to one target. It reports whether another may be tried: nothing was sent to this one.
func (u *Upstream) attempt(call *outbound.Call, t *target) (retry bool, err error) {
	f := call.Flow
	f.Reply.Target = t.Name
	f.Reply.Tries++
	if err = t.transport.RoundTrip(call); err == nil {
		u.succeeded(t)
		return false, nil
	}
	var failure *outbound.Failure
	if errors.As(err, &failure) && failure.Blame() {
		u.failed(t, err)
		retry = !failure.Sent
	}
	return retry, reported(call.Ctx, err)
}

// reported is what the host gets to see of err.
func reported(ctx context.Context, err error) error {
	var failure *outbound.Failure
	if !errors.As(err, &failure) {
		failure = &outbound.Failure{Kind: outbound.Garbage, Err: err}
	}
	e := &sdk.Error{Status: 502, Message: "There was a problem proxying the request", Err: err}
	if errors.Is(ctx.Err(), context.Canceled) || errors.Is(err, flow.ErrGone) {
		e.Status, e.Message = 499, "Client closed the request"
		if !errors.Is(err, context.Canceled) {
			e.Err = errors.Join(context.Canceled, err)
		}
		return e
	}
	switch failure.Kind {
	case outbound.Timeout:
		e.Status, e.Message = 504, "Upstream service reached hard timeout."
	case outbound.Lookup:
		e.Message = "Upstream host lookup failed"
	case outbound.Client:
		var own *sdk.Error
		if errors.As(err, &own) {
			return own
		}
		e.Status, e.Message = 400, "The request could not be read"
	case outbound.Request:
		e.Status = 500
	}
	return e
}

// Close ends the health checks, refuses new requests, waits for those in flight until ctx ends, and then cuts them. The
// error says which targets had requests cut.
func (u *Upstream) Close(ctx context.Context) error {
	u.stop()
	u.health.Wait()
	errs := make([]error, len(u.targets))
	var all sync.WaitGroup
	for i, t := range u.targets {
		all.Go(func() { errs[i] = t.transport.Close(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
