package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// dialUnary makes a connection of our own, the way gRPC makes its.
func (i *instance) dialUnary(ctx context.Context) (*unary.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, i.s.o.ConnectTimeout)
	defer cancel()
	fail := func(err error) (*unary.Conn, error) {
		return nil, fmt.Errorf("%w: connect for calls: %w", sdk.ErrUnavailable, err)
	}
	nc, err := i.s.o.Dial(ctx, i.s.target.Network, i.address)
	if err != nil {
		return fail(err)
	}
	if i.tls != nil {
		if nc, err = shake(ctx, nc, i.tls); err != nil {
			return fail(err)
		}
	}
	conn, err := unary.New(ctx, nc, unary.Options{
		Method: tykpb.Dispatcher_Dispatch_FullMethodName, Authority: authority(i.s), UserAgent: i.s.o.Host,
		Secure: i.tls != nil, MaxRecv: i.s.o.MaxRecv,
	})
	if err != nil {
		return fail(err)
	}
	return conn, nil
}

// shake makes the connection TLS's. The server has to agree to HTTP/2 (RFC 9113 §3.2).
func shake(ctx context.Context, nc net.Conn, config *tls.Config) (net.Conn, error) {
	t := tls.Client(nc, config)
	err := t.HandshakeContext(ctx)
	if err == nil && t.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("server does not agree to HTTP/2 in TLS (ALPN h2)")
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return t, nil
}
