package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/health"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/session"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/unary"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// link is an instance for as long as one connection to it lasts.
type link struct {
	i      *instance
	manner *manner
	ctx    context.Context // the life of its streams, beyond rotation
	cancel context.CancelFunc

	sessions []*session.Session // of the native protocol
	channel  *unary.Channel     // of Tyk's; nil: its calls take the instance's gRPC connection

	unary    atomic.Int64 // calls of Tyk's protocol under way
	calls    atomic.Uint64
	watchers sync.WaitGroup
}

var errLost = errors.New("connection was lost")

// load is about how many calls the link has on its hands.
func (l *link) load() int {
	n := int(l.unary.Load())
	for _, s := range l.sessions {
		n += s.Load()
	}
	return n
}

func (l *link) dispatch(ctx context.Context, b *coprocess.Binding, x *sdk.Exchange) error {
	if l.manner.protocol == Native {
		return l.native(ctx, b, x)
	}
	return l.tyk(ctx, b, x)
}

// ask finds out what a fresh connection speaks and opens its sessions.
func (i *instance) ask() (_ *link, err error) {
	ctx, cancel := context.WithTimeout(i.ctx, i.s.o.ConnectTimeout)
	defer cancel()
	m, err := i.describe(ctx)
	if err != nil {
		return nil, err
	}
	l := &link{i: i, manner: i.s.meet(m)}
	l.ctx, l.cancel = context.WithCancel(i.s.ctx)
	if m.protocol == Tyk && !i.s.o.GRPCUnary {
		conn, err := i.dialUnary(ctx)
		if err != nil {
			l.cancel()
			return nil, err
		}
		l.channel = unary.Open(l.ctx, conn, i.dialUnary, i.s.o.DrainTimeout)
	}
	if m.protocol == Native {
		if err = l.openSessions(ctx); err != nil {
			l.cancel()
			for _, s := range l.sessions {
				s.Close()
			}
			return nil, err
		}
	}
	return l, nil
}

// describe asks for the protocol. Only a server that says it has no such method speaks Tyk's: silence proves nothing.
func (i *instance) describe(ctx context.Context) (*manner, error) {
	if i.s.o.Protocol == Tyk {
		return &manner{protocol: Tyk}, nil
	}
	out := &rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(wire.AppendDescribeRequest(nil, i.s.o.Host))}}
	var in rawcodec.In
	err := i.conn.Invoke(ctx, pluginv1.Plugin_Describe_FullMethodName, out, &in)
	switch {
	case err == nil:
	case status.Code(err) == codes.Unimplemented && i.s.o.Protocol == Auto:
		i.unknown.Store(time.Now().UnixNano())
		return &manner{protocol: Tyk}, nil
	default:
		return nil, fmt.Errorf("%w: describe: %w", sdk.ErrUnavailable, err)
	}
	about, err := wire.DecodeDescribeReply(in.Data)
	if err != nil {
		return nil, err
	}
	schema, err := coprocess.NewSchema(about.Name, about.ConfigSchema)
	if err != nil {
		return nil, err
	}
	return &manner{protocol: Native, raw: string(in.Data), about: about, schema: schema}, nil
}

func (l *link) openSessions(ctx context.Context) error {
	o := &l.i.s.o
	wish := l.manner.about.Limits
	limits := session.Limits{Window: o.Window, FrameBytes: o.MaxSend - 64<<10, ReplyBytes: o.MaxRecv, Bindings: o.Bindings}
	limits.FrameBytes = max(limits.FrameBytes, o.MaxSend/2)
	if wish.Window > 0 {
		limits.Window = min(limits.Window, int(wish.Window))
	}
	if wish.FrameBytes > 0 {
		limits.FrameBytes = min(limits.FrameBytes, int(wish.FrameBytes))
	}
	limits.FrameCalls = int(wish.FrameCalls)
	limits.AckWait, limits.LostWait = o.AckWait, l.i.patience
	for range o.Streams {
		s, err := session.Open(l.ctx, l.i.conn, limits,
			grpc.MaxCallRecvMsgSize(max(replyFrame, 2*o.MaxRecv)), grpc.MaxCallSendMsgSize(max(o.MaxSend, 64<<10)*2))
		if err != nil {
			return err
		}
		l.sessions = append(l.sessions, s)
	}
	for _, s := range l.sessions {
		select {
		case <-s.Ready():
		case <-s.Done():
			return s.Err()
		case <-ctx.Done():
			return fmt.Errorf("%w: session was not opened: %w", sdk.ErrUnavailable, ctx.Err())
		}
	}
	return nil
}

// serve keeps the link in rotation while it is fit for calls, and returns why it no longer is. A link that has to be
// replaced and still serves goes when its successor is there.
func (i *instance) serve(l *link) (next *link, why error) {
	i.mu.Lock()
	i.link = l
	i.mu.Unlock()
	defer i.s.delist(l)
	ctx, cancel := context.WithCancel(i.ctx)
	defer l.watchers.Wait()
	defer cancel()

	lost := make(chan struct{})
	l.watchers.Go(func() {
		defer close(lost)
		if i.conn.GetState() == connectivity.Ready {
			i.conn.WaitForStateChange(ctx, connectivity.Ready)
		}
	})
	leaving := make(chan struct{}, len(l.sessions))
	for _, s := range l.sessions {
		l.watchers.Go(func() {
			select {
			case <-s.Leaving():
				leaving <- struct{}{}
			case <-ctx.Done():
			}
		})
	}
	var down <-chan struct{}
	if l.channel != nil {
		down = l.channel.Down()
	}
	healthy := make(chan bool, 1)
	l.watchers.Go(func() { l.watchHealth(ctx, healthy) })
	for {
		select {
		case serving := <-healthy:
			if !serving {
				i.s.delist(l)
				i.note(StateNotServing, errors.New("its health service says it is not serving"))
				continue
			}
			i.s.enlist(l)
			i.note(StateReady, nil)
		case <-leaving:
			if i.conn.GetState() != connectivity.Ready { // its streams ended with it
				return i.succeed(l)
			}
			return i.reopen(l)
		case <-lost:
			return i.succeed(l)
		case <-down:
			return i.succeed(l)
		case <-i.ctx.Done():
			return nil, i.ctx.Err()
		}
	}
}

// succeed replaces a link whose connection is lost, or to be renewed, by a new one. A server that stops, or bounds a
// connection's age, goes on answering what comes on the streams it has: so does the link when there is no other, until
// they end.
func (i *instance) succeed(l *link) (*link, error) {
	ctx, cancel := context.WithCancel(i.ctx)
	defer cancel()
	attempts := 1
	if i.s.others(l) {
		i.s.delist(l)
	} else if len(l.sessions) > 0 {
		attempts = forever
		for _, s := range l.sessions {
			l.watchers.Go(func() {
				select {
				case <-s.Leaving():
					cancel()
				case <-ctx.Done():
				}
			})
		}
	}
	for failures := 0; ; failures++ {
		next, err := i.connect(ctx, attempts, func(error) {})
		if err == nil {
			i.s.enlist(next)
			return next, nil
		}
		if attempts != forever || ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", errLost, err)
		}
		i.pause(ctx, failures)
	}
}

// reopen replaces a link of which a session is to be replaced. While others of its sessions serve, so does the link:
// its successor shares the connection.
func (i *instance) reopen(l *link) (*link, error) {
	i.learn(l)
	serving := false
	why := fmt.Errorf("%w: server drains its session", sdk.ErrUnavailable)
	for _, s := range l.sessions {
		switch s.Condition() {
		case session.Serving:
			serving = true
		case session.Ended:
			if err := s.Err(); err != nil {
				why = err
			}
		case session.Draining:
			return nil, why
		}
	}
	if !serving {
		return nil, why
	}
	next, err := i.ask()
	if err != nil {
		return nil, fmt.Errorf("%w (and then: %w)", why, err)
	}
	i.s.enlist(next)
	return next, nil
}

// mostPatience is how long a server may take with the replies to cancelled calls that has lost more than once.
const mostPatience = 5 * time.Minute

// learn makes the next link more patient when this one is replaced because of lost credit: what its server still runs
// takes what a new stream has to give, and more streams one after the other would take all.
func (i *instance) learn(l *link) {
	if slices.ContainsFunc(l.sessions, (*session.Session).LostCredit) {
		i.patience = min(2*i.patience, mostPatience)
		i.s.o.Log.Warn("plugin server does not answer cancelled calls: opening its streams anew",
			"server", i.s.o.Address, "address", i.address, "next_after", i.patience)
	}
}

// watchHealth reports whether the server says it is serving, whenever that changes.
func (l *link) watchHealth(ctx context.Context, report chan<- bool) {
	tell := func(serving bool) {
		select {
		case report <- serving:
		case <-ctx.Done():
		}
	}
	if !health.Watch(ctx, l.i.conn, l.i.member.Health, l.i.pause, tell) {
		l.i.unknown.Store(time.Now().UnixNano())
	}
}

// drainPoll is how late, at most, the end of a link's last unary call is noticed.
const drainPoll = 5 * time.Millisecond

// retire ends a link that is out of rotation: its calls get their replies, within DrainTimeout.
func (l *link) retire() {
	defer l.cancel()
	if l.channel != nil {
		defer l.channel.Close()
	}
	ctx, cancel := context.WithTimeout(l.i.s.ctx, l.i.s.o.DrainTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, s := range l.sessions {
		all.Go(func() {
			s.Drain(ctx)
			s.Close()
		})
	}
	all.Wait()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for l.unary.Load() > 0 && ctx.Err() == nil {
		select {
		case <-poll.C:
		case <-ctx.Done():
		}
	}
}
