package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/h1"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/nethttp"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// newTransport chooses what speaks to the target.
func newTransport(o *Options, t *outbound.Target) transport {
	dialer := &outbound.Dialer{Target: t, TLS: o.TLS, Timeout: o.Timeouts.Dial}
	one := h1.New(h1.Options{
		Dialer: dialer, Header: o.Timeouts.Header, Stall: o.Timeouts.Body,
		MaxIdle: o.Pool.MaxIdle, IdleTimeout: o.Pool.IdleTimeout,
		MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaderFields: o.MaxHeaderFields,
	})
	if o.Protocol == HTTP1 || o.Protocol == Auto && !t.TLS {
		return one
	}
	m := &mixed{one: one, dialer: dialer, asking: make(chan struct{}, 1), two: nethttp.New(nethttp.Options{
		Dialer: dialer, Header: o.Timeouts.Header, Stall: o.Timeouts.Body,
		MaxIdle: o.Pool.MaxIdle, IdleTimeout: o.Pool.IdleTimeout,
		MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaderFields: o.MaxHeaderFields,
	})}
	if o.Protocol == Auto {
		m.offer = dialer.Config("h2", "http/1.1")
	} else {
		m.version.Store(2)
	}
	return m
}

// mixed speaks HTTP/2 to a target, and HTTP/1.1 where HTTP/2 will not do: to switch protocols, and when the target does
// not know HTTP/2. Which it knows is asked once, by a TLS handshake for its own sake (RFC 7301), and again after a
// connection failed. net/http could settle that by itself, but it would then read HTTP/1.1 replies less strictly.
type mixed struct {
	one     *h1.Transport
	two     *nethttp.Transport
	dialer  *outbound.Dialer
	offer   *tls.Config   // what to ask with; nil when it is settled
	version atomic.Int32  // 1 or 2, 0 when it is not known
	asking  chan struct{} // holds whoever asks
}

// RoundTrip sends the call by the version that the target knows.
func (m *mixed) RoundTrip(call *outbound.Call) error {
	if call.Flow.Upgrade != "" {
		return m.one.RoundTrip(call)
	}
	version, err := m.ask(call)
	if err != nil {
		return err
	}
	err = m.by(version, call)
	var failure *outbound.Failure
	if m.offer == nil || !errors.As(err, &failure) || failure.Kind != outbound.Dial {
		return err
	}
	// No handshake: the target may have changed its mind. Nothing was sent.
	m.version.CompareAndSwap(version, 0)
	now, asked := m.ask(call)
	if asked != nil || now == version {
		return err
	}
	return m.by(now, call)
}

func (m *mixed) by(version int32, call *outbound.Call) error {
	if version == 1 {
		return m.one.RoundTrip(call)
	}
	return m.two.RoundTrip(call)
}

// ask returns the version the target knows, shaking hands once if need be.
func (m *mixed) ask(call *outbound.Call) (int32, error) {
	if v := m.version.Load(); v != 0 {
		return v, nil
	}
	ctx, cancel := call.Ctx, context.CancelFunc(func() {})
	if !call.Deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, call.Deadline)
	}
	defer cancel()
	select {
	case m.asking <- struct{}{}:
		defer func() { <-m.asking }()
	case <-ctx.Done():
		return 0, outbound.DialFailure(call.Ctx, ctx.Err())
	}
	if v := m.version.Load(); v != 0 {
		return v, nil
	}
	nc, err := m.dialer.Dial(ctx, m.offer)
	if err != nil {
		return 0, outbound.DialFailure(call.Ctx, err)
	}
	defer nc.Close()
	v := int32(1)
	if secure, ok := nc.(*tls.Conn); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
		v = 2
	}
	m.version.Store(v)
	return v, nil
}

// InFlight returns how many requests are under way.
func (m *mixed) InFlight() int { return m.one.InFlight() + m.two.InFlight() }

// Close drains both transports.
func (m *mixed) Close(ctx context.Context) error {
	var one error
	var both sync.WaitGroup
	both.Go(func() { one = m.one.Close(ctx) })
	two := m.two.Close(ctx)
	both.Wait()
	return errors.Join(one, two)
}
