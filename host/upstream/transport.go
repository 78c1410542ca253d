package upstream

import (
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/h1"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// newTransport chooses what speaks to the target.
func newTransport(o *Options, t *outbound.Target) transport {
	dialer := &outbound.Dialer{Target: t, TLS: o.TLS, Timeout: o.Timeouts.Dial}
	return h1.New(h1.Options{
		Dialer: dialer, Header: o.Timeouts.Header, Stall: o.Timeouts.Body,
		MaxIdle: o.Pool.MaxIdle, IdleTimeout: o.Pool.IdleTimeout,
		MaxHeaderBytes: o.MaxHeaderBytes, MaxHeaderFields: o.MaxHeaderFields,
	})
}
