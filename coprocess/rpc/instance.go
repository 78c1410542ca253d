package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/secure"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// State is what an instance is doing.
type State string

// The states of an instance.
const (
	StateConnecting State = "connecting"  // and asking what it speaks
	StateReady      State = "ready"       // takes calls
	StateNotServing State = "not_serving" // its health service says so
	StateDown       State = "down"        // cannot be reached; tried again with back-off
)

// instance is one network address of a server. Its goroutine connects, asks, watches, and begins anew.
type instance struct {
	s       *Server
	member  Member
	address string // the member's name
	conn    *grpc.ClientConn
	secure  secure.Client
	ctx     context.Context // ends when the address is gone or the server is closed
	cancel  context.CancelFunc
	ended   chan struct{} // closed when all that it ran has ended

	patience time.Duration // of the next link with cancelled calls; the goroutine's own
	unknown  atomic.Int64  // when the server last said that it does not know a call, in unix nanoseconds; 0: never

	mu    sync.Mutex
	state State
	err   error // why it is not ready
	link  *link // the present one
}

// Windows above the 64 KiB of HTTP/2 let large bodies through without waiting for acknowledgements, and being fixed
// spare the measuring that gRPC would do instead.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	replyFrame       = 64 << 20 // bytes of a frame of many replies, each bounded by MaxRecv
)

func newInstance(s *Server, m Member) (*instance, error) {
	i := &instance{s: s, member: m, address: m.Name, state: StateConnecting, ended: make(chan struct{})}
	i.secure = secure.New(m.TLS, authority(s))
	o := &s.o
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(i.secure.Credentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return m.Dial(ctx) }),
		grpc.WithAuthority(authority(s)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), // calls that never left are still sent again by themselves
		grpc.WithIdleTimeout(0),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: o.RetryEvery},
			MinConnectTimeout: o.ConnectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(rawcodec.New()), grpc.MaxCallSendMsgSize(o.MaxSend), grpc.MaxCallRecvMsgSize(o.MaxRecv),
		),
	}
	var err error
	if i.conn, err = grpc.NewClient("passthrough:///"+m.Name, options...); err != nil {
		return nil, fmt.Errorf("plugin server %s: %w", m.Name, err)
	}
	i.ctx, i.cancel = context.WithCancel(s.ctx)
	return i, nil
}

// authority is what calls name as their host (RFC 9113 §8.3.1).
func authority(s *Server) string {
	switch {
	case s.o.Authority != "":
		return s.o.Authority
	case s.target.Network == "unix":
		return "localhost"
	}
	return s.target.Address
}

// run is the instance's life.
func (i *instance) run() {
	defer i.s.owned.Done()
	defer close(i.ended)
	defer i.hangUp()
	defer i.cancel()
	var links sync.WaitGroup
	defer links.Wait()
	for failures := 0; i.ctx.Err() == nil; {
		i.patience = 2 * i.s.o.AckWait
		l, err := i.connect(i.ctx, forever, func(why error) {
			i.note(StateDown, why)
			i.s.lookAgain()
		})
		for err == nil && l != nil {
			failures = 0
			var next *link
			next, err = i.serve(l)
			links.Go(l.retire)
			l = next
		}
		if i.ctx.Err() != nil {
			return
		}
		i.note(StateDown, err)
		i.s.lookAgain()
		i.pause(i.ctx, failures)
		failures++
	}
}

// calm is how long a connection stays open after a call that the server does not know.
const calm = 100 * time.Millisecond

// hangUp closes the connection. Not right after a call that the server does not know: of that, servers on grpc-js die (1.14.1; it
// leaves the stream of such a call without a listener for errors, and a connection that ends at that moment is one).
func (i *instance) hangUp() {
	<-time.After(time.Until(time.Unix(0, i.unknown.Load()).Add(calm)))
	_ = i.conn.Close()
}

// pause waits before the next attempt; gRPC waits too between its attempts to connect.
func (i *instance) pause(ctx context.Context, failures int) {
	d := min(10*time.Millisecond<<min(failures, 10), i.s.o.RetryEvery)
	t := time.NewTimer(jitter(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

const forever = -1

// connect waits for a connection and asks the server how it wants to be spoken to. It tells why an attempt to connect
// failed, and gives up after that many, or when ctx ends.
func (i *instance) connect(ctx context.Context, attempts int, failed func(why error)) (*link, error) {
	var why error
	for {
		state := i.conn.GetState()
		switch state {
		case connectivity.Ready:
			return i.ask()
		case connectivity.Idle:
			i.conn.Connect()
		case connectivity.TransientFailure, connectivity.Shutdown:
			why = i.whyNot()
			if attempts--; attempts == 0 {
				return nil, why
			}
			failed(why)
		}
		if !i.conn.WaitForStateChange(ctx, state) {
			return nil, cmp.Or(i.ctx.Err(), why, ctx.Err())
		}
	}
}

// whyNot asks a connection that failed for its reason: a call that does not wait is refused with it.
func (i *instance) whyNot() error {
	ctx, cancel := context.WithTimeout(i.ctx, time.Second)
	defer cancel()
	stream, err := i.conn.NewStream(ctx, &grpc.StreamDesc{}, "/")
	if err == nil {
		_ = stream.CloseSend()
		return errors.New("connection failed")
	}
	return fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
}

// note keeps what the instance is doing, and logs it when that is new.
func (i *instance) note(state State, err error) {
	i.mu.Lock()
	changed := i.state != state
	i.state, i.err = state, err
	i.mu.Unlock()
	if !changed {
		return
	}
	i.s.announce()
	log := i.s.o.Log.With("server", i.s.o.Address, "address", i.address, "state", string(state))
	if err != nil {
		log.Warn("plugin server changed", "error", err)
	} else {
		log.Info("plugin server changed")
	}
}

// why says why the instance takes no calls.
func (i *instance) why() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}
