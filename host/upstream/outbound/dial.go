package outbound

import (
	"context"
	"crypto/tls"
	"errors"
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

// A Socket is what a TLS connection reads from. It can be held, so that a read of the TLS connection finds what that has
// read ahead and nothing else.
type Socket struct {
	net.Conn
	held bool
}

// Hold holds the socket or lets it go. It must not be called while a read is under way.
func (s *Socket) Hold(held bool) { s.held = held }

// Read reads, unless the socket is held.
func (s *Socket) Read(p []byte) (int, error) {
	if s.held {
		return 0, heldError{}
	}
	return s.Conn.Read(p)
}

// A heldError is temporary, or TLS would give the connection up.
type heldError struct{}

// Error says what it is.
func (heldError) Error() string { return "socket is held" }

// Timeout reports true: nothing came.
func (heldError) Timeout() bool { return true }

// Temporary reports true: something may come later.
func (heldError) Temporary() bool { return true }

// IsHeld reports whether err is that of reading a held [Socket].
func IsHeld(err error) bool { return errors.Is(err, heldError{}) }

// Dial connects, and shakes hands when config is not nil; the TLS connection is then over a [Socket].
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
	secure := tls.Client(&Socket{Conn: socket}, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		socket.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", d.Target.Address, err)
	}
	return secure, nil
}
