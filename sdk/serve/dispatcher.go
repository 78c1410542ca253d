package serve

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// dispatch answers coprocess.Dispatcher/Dispatch: one call of one hook.
func (s *Server) dispatch(ctx context.Context, object []byte) (*message, error) {
	x, ok := s.exchanges.Get().(*sdk.Exchange)
	if !ok {
		x = &sdk.Exchange{}
	}
	defer s.giveBack(x)
	log := &dispatchLog{ctx: ctx, logger: s.opts.Logger, plugin: s.plugin.Name}
	name, phase, err := wire.DecodeObject(object, x, log)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	log.hook = name
	spec, ok := s.plugin.Find(name, phase)
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "plugin %q has no hook %q in phase %v", s.plugin.Name, name, phase)
	}
	x.Begin(phase, nil, true)
	err = s.handle(ctx, spec, x)
	refused, isRefusal := errors.AsType[*sdk.Error](err)
	if err == nil || isRefusal {
		if bad := x.Invalid(); bad != nil {
			return nil, status.Errorf(codes.Internal, "hook %q: %v", name, bad)
		}
		reply := framePool{s}.Get(0)
		*reply = wire.AppendObjectReply(*reply, object, x, refused)
		return &message{memory: reply, pool: framePool{s}}, nil
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, status.Errorf(codes.DeadlineExceeded, "hook %q: %v", name, err)
	case errors.Is(err, context.Canceled):
		return nil, status.Errorf(codes.Canceled, "hook %q: %v", name, err)
	}
	return nil, status.Errorf(codes.Internal, "hook %q: %v", name, err)
}

// handle calls a hook; what it panics with becomes an error, its stack goes to the log.
func (s *Server) handle(ctx context.Context, spec *sdk.HookSpec, x *sdk.Exchange) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(spec.Name, p)
		}
	}()
	return spec.Hook.Handle(ctx, x)
}

// giveBack keeps the memory of an exchange of usual size for the next call.
func (s *Server) giveBack(x *sdk.Exchange) {
	if x.Request().Header().Len() > keepFields || x.Response().Header().Len() > keepFields {
		return
	}
	x.Reset(sdk.Init{})
	s.exchanges.Put(x)
}

// dispatchEvent answers coprocess.Dispatcher/DispatchEvent. Tyk names the handler: the observer of that name gets the
// event, and all do when none has it.
func (s *Server) dispatchEvent(_ context.Context, b []byte) (*message, error) {
	e, handler, err := wire.DecodeDispatchEvent(b)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	var names []string
	if s.observers.has(handler) {
		names = []string{handler}
	}
	s.observers.offer(sdk.Batch{Events: []sdk.Event{e}}, names)
	return &message{}, nil
}

// dispatchLog is the backing of exchanges of Tyk's protocol, which carries no log lines back: they go to the server's
// own log. Counters have no place in it.
type dispatchLog struct {
	ctx          context.Context
	logger       *slog.Logger
	plugin, hook string
}

// PeerCertificates returns nil: the protocol does not carry them.
func (*dispatchLog) PeerCertificates() []*x509.Certificate { return nil }

// Log writes a line of the hook.
func (d *dispatchLog) Log(level slog.Level, message string) {
	d.logger.Log(d.ctx, level, message, "plugin", d.plugin, "hook", d.hook)
}

// Count writes a line, for debugging.
func (d *dispatchLog) Count(name string, delta int64) {
	d.logger.DebugContext(d.ctx, "counter", "name", name, "delta", delta, "plugin", d.plugin, "hook", d.hook)
}
