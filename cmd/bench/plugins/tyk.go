// Package plugins holds the plugin servers that the measured gateways call, and the bare gRPC client their cost is
// compared with.
package plugins

import (
	"context"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
)

// The hooks every server here has.
const (
	// SetHeader sets the request header X-Bench to 1.
	SetHeader = "SetHeader"
	// Authenticate admits requests whose Authorization is Token.
	Authenticate = "Authenticate"
	// Remember does the same, and has its session kept for an hour. The native server alone has it.
	Remember = "Remember"

	BenchHeader = "X-Bench"
	Token       = "bench-token"
)

// ServeTyk serves Tyk's protocol the way its users write it: the generated server with grpc-go's defaults. It
// returns when the context ends.
func ServeTyk(ctx context.Context, address string) error {
	listener, err := listen(address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	coprocess.RegisterDispatcherServer(server, dispatcher{})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

// listen opens host:port, or unix: and a path whose old socket is removed.
func listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return net.Listen("tcp", strings.TrimPrefix(address, "tcp://"))
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return net.Listen("unix", path)
}

type dispatcher struct {
	coprocess.UnimplementedDispatcherServer
}

func (dispatcher) Dispatch(_ context.Context, object *coprocess.Object) (*coprocess.Object, error) {
	if object.Request == nil {
		return nil, status.Error(codes.InvalidArgument, "an object without a request")
	}
	switch object.HookName {
	case SetHeader:
		object.Request.SetHeaders = map[string]string{BenchHeader: "1"}
	case Authenticate:
		token := object.Request.Headers["Authorization"]
		if token != Token {
			object.Request.ReturnOverrides = &coprocess.ReturnOverrides{ResponseCode: 401, ResponseError: "no token"}
			return object, nil
		}
		if object.Metadata == nil {
			object.Metadata = map[string]string{}
		}
		object.Metadata["token"] = token
		object.Session = &coprocess.SessionState{LastUpdated: "1", Rate: 1e9, Per: 1, QuotaMax: -1}
	default:
		return nil, status.Errorf(codes.Unimplemented, "no hook %q", object.HookName)
	}
	return object, nil
}

func (dispatcher) DispatchEvent(context.Context, *coprocess.Event) (*coprocess.EventReply, error) {
	return &coprocess.EventReply{}, nil
}
