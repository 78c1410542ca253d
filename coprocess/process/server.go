package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process/keeper"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Runtime starts plugin servers.
type Runtime struct {
	Options Options // all but Name and Dir, which are the plugin's
}

// Open implements [coprocess.Runtime].
func (r Runtime) Open(ctx context.Context, p coprocess.Plugin) (coprocess.Server, error) {
	o := r.Options
	o.Name, o.Dir = p.Name, p.Dir
	return Open(ctx, o)
}

// Server is a plugin server that is kept running. It is safe for concurrent use.
type Server struct {
	o       Options
	spec    *keeper.Spec
	rpc     *rpc.Server // of which each running process is an instance
	ctx     context.Context
	cancel  context.CancelFunc
	owned   sync.WaitGroup
	slots   []*slot
	started atomic.Uint64
	command atomic.Pointer[[]string] // what was started last, when that had to be prepared
	replace sync.Mutex               // one replacement at a time
}

var (
	_ coprocess.Runtime    = Runtime{}
	_ coprocess.Server     = (*Server)(nil)
	_ coprocess.Dispatcher = (*Server)(nil)
	_ coprocess.Checker    = (*Server)(nil)
)

// Open begins to start the plugin server. What can be seen to be wrong beforehand is an error, a command that does not
// exist among it; else Open waits for nothing. ctx does not bound the server's life: Close ends it.
func Open(ctx context.Context, o Options) (*Server, error) {
	o = o.withDefaults()
	spec, err := o.spec()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, spec: spec}
	if s.rpc, err = rpc.OpenMembers(ctx, o.RPC); err != nil {
		return nil, fmt.Errorf("plugin server %q: %w", o.Name, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for n := range o.Instances {
		u := newSlot(s, n)
		s.slots = append(s.slots, u)
	}
	for _, u := range s.slots {
		s.owned.Go(u.run)
	}
	return s, nil
}

// Hook implements [coprocess.Server]; its calls, and all that a dispatcher does, are the rpc server's.
func (s *Server) Hook(use sdk.HookUse) (sdk.Hook, error) { return s.rpc.Hook(use) }

// Group implements [coprocess.Server].
func (s *Server) Group(hooks []sdk.Hook) (sdk.Hook, bool) { return s.rpc.Group(hooks) }

// Observer implements [coprocess.Server].
func (s *Server) Observer(name string) sdk.Observer { return s.rpc.Observer(name) }

// Dispatch implements [coprocess.Dispatcher].
func (s *Server) Dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	return s.rpc.Dispatch(ctx, b, x)
}

// Needs implements [coprocess.Dispatcher].
func (s *Server) Needs(b *coprocess.Binding) sdk.Needs { return s.rpc.Needs(b) }

// Check implements [coprocess.Checker].
func (s *Server) Check(b *coprocess.Binding) error { return s.rpc.Check(b) }

// Protocol says what the server speaks, as far as is known: "", "tyk" or "native".
func (s *Server) Protocol() string { return s.rpc.Protocol() }

// Stats adds up what the present processes did.
func (s *Server) Stats() rpc.Stats { return s.rpc.Stats() }

// Counted asks the processes what their plugins count (see [rpc.Server.Counted]); Address is that of InstanceStatus.RPC.
func (s *Server) Counted() []rpc.Counted { return s.rpc.Counted() }

// Settle waits until an instance takes calls, or it is known that the first attempt to start one failed. It returns early
// when ctx ends or the server is closed.
func (s *Server) Settle(ctx context.Context) { s.rpc.Settle(ctx) }

// SettleAll waits until the first attempt to start each instance is over, however it went. It returns early when ctx ends
// or the server is closed.
func (s *Server) SettleAll(ctx context.Context) {
	for _, u := range s.slots {
		select {
		case <-u.tried:
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// Up reports whether an instance takes calls.
func (s *Server) Up() bool {
	return slices.ContainsFunc(s.rpc.Status(), func(i rpc.InstanceStatus) bool { return i.State == rpc.StateReady })
}

// Replace replaces each process by a new one, one after the other: the new one is started and ready before the old one
// is let go, which has its time to end the calls it has. A crash budget that is used up begins anew. It returns when the
// last new process is ready, or one did not get ready: the old ones stay then. The
// error is ErrClosed when the server is closed meanwhile.
func (s *Server) Replace(ctx context.Context) error {
	s.replace.Lock()
	defer s.replace.Unlock()
	for _, u := range s.slots {
		o := order{done: make(chan error, 1)}
		select {
		case u.orders <- o:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
		select {
		case err := <-o.done:
			if err != nil {
				return fmt.Errorf("replace plugin server %q: %w", s.o.Name, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
	return nil
}

// ErrClosed is what a server answers that is closed, or is being closed.
var ErrClosed = errors.New("plugin server was closed")

// Close ends the processes, and waits until nothing of them is left. Calls that are under way fail with
// sdk.ErrUnavailable.
func (s *Server) Close() error {
	s.cancel()
	err := s.rpc.Close()
	s.owned.Wait()
	return err
}
