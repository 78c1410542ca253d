package outbound

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Dialer makes connections to a target. Names are resolved anew by every dial, IPv6 and IPv4 raced (RFC 8305).
type Dialer struct {
	Target  *Target
	TLS     *tls.Config   // for a TLS target; its ServerName defaults to the target's host
	Timeout time.Duration // of connecting and the TLS handshake together; 0: none
}

// Config returns the TLS configuration for the target that offers protos by ALPN (RFC 7301); nil without TLS.
func (d *Dialer) Config(protos ...string) *tls.Config {
	if !d.Target.TLS {
		return nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.TLS != nil {
		c = d.TLS.Clone()
	}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(d.Target.Address)
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	c.NextProtos = protos
	return c
}

// Dial connects, and shakes hands when config is not nil.
func (d *Dialer) Dial(ctx context.Context, config *tls.Config) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	dialer := net.Dialer{KeepAlive: 30 * time.Second}
	socket, err := dialer.DialContext(ctx, d.Target.Network, d.Target.Address)
	if err != nil || config == nil {
		return socket, err
	}
	secure := tls.Client(socket, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", d.Target.Address, err)
	}
	return secure, nil
}
