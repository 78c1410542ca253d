package serve

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve/handshake"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// The names of the services, as PROTOCOL.md has them.
const (
	pluginService     = "turnbuckle.plugin.v1.Plugin"
	dispatcherService = "coprocess.Dispatcher"
)

type unary func(s *Server, ctx context.Context, request []byte) (*message, error)

// method describes a unary method that takes and gives bytes. What the plugin's own code panics with in it ends the call
// and not the process.
func method(name string, do unary) grpc.MethodDesc {
	handler := func(srv any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (_ any, err error) {
		var m message
		if err := receive(&m); err != nil {
			return nil, err
		}
		defer m.release()
		s := srv.(*Server)
		defer func() {
			if p := recover(); p != nil {
				err = status.Error(codes.Internal, s.panicked(name, p).Error())
			}
		}()
		return do(s, ctx, m.data)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func pluginDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: pluginService,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{method("Describe", func(s *Server, _ context.Context, _ []byte) (*message, error) {
			return &message{data: describe(s.plugin, s.opts)}, nil
		}), method("Stats", func(s *Server, _ context.Context, _ []byte) (*message, error) {
			if s.plugin.Stats == nil {
				return &message{}, nil
			}
			return &message{data: wire.AppendStats(nil, s.plugin.Stats())}, nil
		})},
		Streams: []grpc.StreamDesc{{
			StreamName:    "Session",
			Handler:       func(srv any, stream grpc.ServerStream) error { return srv.(*Server).serveSession(stream) },
			ServerStreams: true, ClientStreams: true,
		}},
		Metadata: "plugin/v1/plugin.proto",
	}
}

func dispatcherDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: dispatcherService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{method("Dispatch", (*Server).dispatch), method("DispatchEvent", (*Server).dispatchEvent)},
		Metadata:    "coprocess/coprocess_object.proto",
	}
}

// controllerDesc is how the host that started the process has it end. Messages both ways are empty.
func controllerDesc() *grpc.ServiceDesc {
	shutdown := func(s *Server, _ context.Context, _ []byte) (*message, error) {
		s.stop()
		return &message{}, nil
	}
	return &grpc.ServiceDesc{
		ServiceName: handshake.ControllerService,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{method("Shutdown", shutdown)},
		Metadata:    "grpc_controller.proto",
	}
}
