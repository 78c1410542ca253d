package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/watch"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// tykNeeds is what Tyk's protocol always sends: there is no asking for less.
const tykNeeds = sdk.NeedHeaders | sdk.NeedQuery | sdk.NeedBody | sdk.NeedResponseHeaders | sdk.NeedResponseBody | sdk.NeedSession

// keepMemory is the largest buffer of a message that is used again.
const keepMemory = 64 << 10

// tyk runs the binding's hooks, one call each.
func (l *link) tyk(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	if len(b.Hooks) > 1 {
		return coprocess.RunEach(ctx, linkDispatcher{l}, b, x)
	}
	timed := x.WantsCallDone()
	var begun, encoded, replied time.Time
	if timed {
		begun = time.Now()
	}
	use := &b.Hooks[0]
	options := wire.ObjectOptions{RawBodyOnly: use.RawBodyOnly}
	call := l.i.s.unary.Get().(*unary.Call)
	call.Message = wire.AppendObject(call.Message[:0], x, use.Name, options)
	if timed {
		encoded = time.Now()
	}
	reply, err := l.object(ctx, call, x.Trace())
	if cap(call.Message) <= keepMemory {
		l.i.s.unary.Put(call)
	}
	if timed {
		replied = time.Now()
	}
	if err == nil {
		err = wire.ApplyObject(reply, x, options)
		if timed {
			x.CallDone(sdk.CallTimings{Encode: encoded.Sub(begun), Wire: replied.Sub(encoded), Apply: time.Since(replied)})
		}
	}
	return err
}

// linkDispatcher keeps the calls of a group on the link where the first one went.
type linkDispatcher struct{ l *link }

func (d linkDispatcher) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	return d.l.tyk(ctx, b, x)
}

func (d linkDispatcher) Protocol() string { return string(Tyk) }

func (d linkDispatcher) Needs(b *coprocess.Binding) sdk.Needs { return d.l.i.s.Needs(b) }

// object has the server run the call whose message is an Object, and returns the reply's.
func (l *link) object(ctx context.Context, call *unary.Call, t sdk.Trace) ([]byte, error) {
	if l.channel == nil {
		message := append(mem.SliceBuffer(nil), call.Message...)
		return l.invoke(ctx, traced(ctx, t), tykpb.Dispatcher_Dispatch_FullMethodName, message)
	}
	if n := len(call.Message); n > l.i.s.o.MaxSend {
		return nil, overLimit(n, l.i.s.o.MaxSend)
	}
	call.TraceParent, call.TraceState = "", ""
	if t.Parent != "" && printable(t.Parent) {
		call.TraceParent = t.Parent
		if printable(t.State) {
			call.TraceState = t.State
		}
	}
	l.unary.Add(1)
	l.calls.Add(1)
	reply, err := l.channel.Do(ctx, call, func() bool { return l.i.s.others(l) })
	l.unary.Add(-1)
	if err == nil {
		return reply, nil
	}
	sent := !unary.NotSent(err)
	if failure := (*unary.Error)(nil); errors.As(err, &failure) {
		err = meaning(failure)
	}
	if !sent {
		err = fmt.Errorf("%w: %w", session.ErrNotSent, err)
	}
	return nil, err
}

// meaning says what the end of a call means.
func meaning(e *unary.Error) error {
	if e.Garbage {
		return fmt.Errorf("%w: %w", sdk.ErrProtocol, e)
	}
	if e.Code == codes.ResourceExhausted {
		return fmt.Errorf("%w: %w", sdk.ErrOverloaded, e)
	}
	return meaningOf(e.Code, e)
}

func overLimit(n, limit int) error {
	return fmt.Errorf("%w: message of %d bytes is over the limit of %d: buffer less of bodies or raise the limit", sdk.ErrProtocol, n, limit)
}

// traced returns a context whose values carry the trace context in the call's metadata; nil without one. The object
// has no place for it.
func traced(ctx context.Context, t sdk.Trace) context.Context {
	if t.Parent == "" || !printable(t.Parent) {
		return nil
	}
	pairs := []string{"traceparent", t.Parent}
	if t.State != "" && printable(t.State) {
		pairs = append(pairs, "tracestate", t.State)
	}
	return metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), pairs...)
}

// printable reports whether s may be the value of metadata: gRPC fails calls over others.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// invoke is a unary call of ready bytes. values may be nil.
func (l *link) invoke(ctx, values context.Context, method string, message mem.Buffer) ([]byte, error) {
	if n := message.Len(); n > l.i.s.o.MaxSend {
		message.Free()
		return nil, overLimit(n, l.i.s.o.MaxSend)
	}
	l.unary.Add(1)
	l.calls.Add(1)
	var (
		u   = &unaryCall{one: [1]mem.Buffer{message}}
		c   = l.i.s.watch.Begin(ctx, values)
		err error
	)
	u.out.Buffers = u.one[:]
	if err = c.Err(); err == nil {
		err = l.i.conn.Invoke(c, method, &u.out, &u.in)
	}
	l.i.s.watch.End(c)
	l.unary.Add(-1)
	if err == nil {
		return u.in.Data, nil
	}
	err = l.failure(c, err)
	if !u.out.Taken {
		message.Free()
		err = fmt.Errorf("%w: %w", session.ErrNotSent, err)
	}
	return nil, err
}

// unaryCall is one allocation for what a call hands to gRPC.
type unaryCall struct {
	out rawcodec.Out
	in  rawcodec.In
	one [1]mem.Buffer
}

// failure says what the end of a unary call means.
func (l *link) failure(c *watch.Context, err error) error {
	if own := c.Err(); own != nil {
		return own
	}
	if status.Code(err) == codes.ResourceExhausted {
		return fmt.Errorf("%w: %w", l.exhausted(err), err)
	}
	return meaningOf(status.Code(err), err)
}

// meaningOf gives an error its kind by its code.
func meaningOf(code codes.Code, err error) error {
	switch code {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	case codes.Unimplemented:
		return fmt.Errorf("%w: %w", sdk.ErrUnimplemented, err)
	case codes.Unavailable, codes.Canceled: // nobody but the connection's end cancels
		return fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
	}
	return err
}

// exhausted tells a message over our own limit from a server that says it has no capacity. gRPC uses one code.
func (l *link) exhausted(err error) error {
	if m := status.Convert(err).Message(); len(m) > 5 && (m[:5] == "grpc:" || m[:5] == "tryin") {
		return sdk.ErrProtocol
	}
	return sdk.ErrOverloaded
}
