package upstream

import (
	"context"
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
	return &mixed{one: one, learn: o.Protocol == Auto, two: nethttp.New(nethttp.Options{
		Dialer: dialer, HTTP1: o.Protocol == Auto, Header: o.Timeouts.Header, Stall: o.Timeouts.Body,
		MaxIdle: o.Pool.MaxIdle, IdleTimeout: o.Pool.IdleTimeout,
		MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaderFields: o.MaxHeaderFields,
	})}
}

// mixed speaks HTTP/2 to a target, and HTTP/1.1 where HTTP/2 will not do: to switch protocols, and for good once ALPN
// has shown that the target knows nothing else.
type mixed struct {
	one   *h1.Transport
	two   *nethttp.Transport
	learn bool
	plain atomic.Bool
}

func (m *mixed) RoundTrip(call *outbound.Call) error {
	if call.Flow.Upgrade != "" || m.plain.Load() {
		return m.one.RoundTrip(call)
	}
	err := m.two.RoundTrip(call)
	if err == nil && m.learn && m.two.Major() == 1 {
		m.plain.Store(true)
	}
	return err
}

func (m *mixed) InFlight() int { return m.one.InFlight() + m.two.InFlight() }

func (m *mixed) Close(ctx context.Context) error {
	var one error
	var both sync.WaitGroup
	both.Go(func() { one = m.one.Close(ctx) })
	two := m.two.Close(ctx)
	both.Wait()
	return errors.Join(one, two)
}
