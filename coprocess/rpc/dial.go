package rpc

import (
	"context"
	"fmt"

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
	nc, err := i.member.Dial(ctx)
	if err != nil {
		return fail(err)
	}
	if nc, err = i.secure.Handshake(ctx, nc); err != nil {
		return fail(err)
	}
	conn, err := unary.New(ctx, nc, unary.Options{
		Method: tykpb.Dispatcher_Dispatch_FullMethodName, Authority: authority(i.s), UserAgent: i.s.o.Host,
		Secure: i.secure.On(), MaxRecv: i.s.o.MaxRecv,
	})
	if err != nil {
		return fail(err)
	}
	return conn, nil
}
