// Package control is a supervisor's own connection to a plugin server: for its health, its orderly end, and what a
// go-plugin server writes.
package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
)

// Conn is such a connection. Its methods are safe for concurrent use.
type Conn struct {
	conn    *grpc.ClientConn
	service string
}

// ErrNotServing is what Check returns when the server says so itself.
var ErrNotServing = errors.New("its health service says it is not serving")

// largest message that a server may send here: lines of output.
const largest = 64 << 10

// Open connects, in its own time. service is what the health service is asked about.
func Open(dial func(context.Context) (net.Conn, error), secure *tls.Config, service string) (*Conn, error) {
	creds := insecure.NewCredentials()
	if secure != nil {
		creds = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest)),
	)
	if err != nil {
		return nil, err
	}
	return &Conn{conn, service}, nil
}

// Close ends what is under way.
func (c *Conn) Close() { _ = c.conn.Close() }

// Check asks for the server's health. A server that has no health service, or knows nothing of the service, is healthy
// when it answers.
func (c *Conn) Check(ctx context.Context) error {
	r, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: c.service})
	switch status.Code(err) {
	case codes.OK:
		if s := r.GetStatus(); s != healthpb.HealthCheckResponse_SERVING {
			return ErrNotServing
		}
		return nil
	case codes.Unimplemented, codes.NotFound:
		return nil
	case codes.DeadlineExceeded:
		return fmt.Errorf("health check was not answered in time: %w", err)
	}
	return fmt.Errorf("health check: %w", err)
}

// Shutdown has a server that knows the handshake end.
func (c *Conn) Shutdown(ctx context.Context) error {
	return c.conn.Invoke(ctx, "/"+handshake.ControllerService+"/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
}

// Stdio hands on what the process of a go-plugin server writes, which arrives in this way and no other: a server that
// nobody reads from stops when it has written a little. It returns when the server has no such service, or the
// connection or ctx ends.
func (c *Conn) Stdio(ctx context.Context, write func(stdout bool, p []byte)) {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+handshake.StdioService+"/StreamStdio")
	if err != nil || stream.SendMsg(&emptypb.Empty{}) != nil || stream.CloseSend() != nil {
		return
	}
	for {
		// Its message is not known here: all its fields are unknown to an empty one, which keeps them.
		var m emptypb.Empty
		if stream.RecvMsg(&m) != nil {
			return
		}
		if stdout, data, ok := stdio(m.ProtoReflect().GetUnknown()); ok {
			write(stdout, data)
		}
	}
}

// stdio reads plugin.StdioData: field 1 is the channel, 1 for the standard output and 2 for error, field 2 the bytes.
func stdio(b []byte) (stdout bool, data []byte, ok bool) {
	channel := uint64(0)
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false, nil, false
		}
		b = b[n:]
		switch {
		case number == 1 && kind == protowire.VarintType:
			channel, n = protowire.ConsumeVarint(b)
		case number == 2 && kind == protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return false, nil, false
		}
		b = b[n:]
	}
	return channel == 1, data, channel == 1 || channel == 2
}
