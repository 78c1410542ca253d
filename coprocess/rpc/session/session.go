// Package session is the host's end of the native protocol's Session stream: it carries calls as encoded bytes and
// knows nothing of what they mean.
//
// Calls are appended to one pending frame. At most a window of frames is unacknowledged; while it is closed calls queue
// up and leave together when an acknowledgement opens it, so batches form exactly when there is load and an idle stream
// adds no delay. There is no writer goroutine: a frame is sent by whoever makes it sendable, the caller that finds the
// window open or the receiver that reads the acknowledgement.
//
// A receiver that sends could deadlock: the server may have stopped reading until somebody reads its replies, and
// nobody would while the receiver waits for the server's flow control. So a frame is sent in place only while it and
// what is unacknowledged before it are far below the 64 KiB that HTTP/2 grants every stream (RFC 9113 §6.9.2); a larger
// one gets a goroutine of its own for as long as sending takes.
//
// Callers wait on one channel that lives with their reusable [Call]. Deadlines and clients that left are found by a
// sweeper that ticks only while calls are outstanding, so that a call needs neither a timer nor its context's Done.
//
// A server can fail a session without ending it: by not acknowledging a frame, so that nothing is sent any more, or by
// not answering calls that were cancelled, so that their credit is lost. Either shows in calls that time out. The first
// ends the session, the second has it ask to be replaced; its owner opens another stream.
package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// ErrNotSent wraps the failure of a call that the server certainly never saw: it may go elsewhere.
var ErrNotSent = errors.New("call was not sent")

// Limits bound what a session sends. The zero value means the defaults.
type Limits struct {
	Window     int // unacknowledged frames; default 1
	FrameBytes int // of one frame; a call over it fails. Default 4 MiB, what gRPC servers accept
	FrameCalls int // in one frame; default 512
	Queue      int // calls waiting for credit; default 4096
	ReplyBytes int // of one reply; default 4 MiB
	Bindings   int // the server is told of before the session asks to be replaced; default 60,000, servers take 65,536

	AckWait  time.Duration // for the acknowledgement of a frame, while calls time out; default 5 s
	LostWait time.Duration // for the reply to a cancelled call, while others lack its credit; default 10 s
}

// What a frame may hold without a server saying so.
const (
	defaultFrameBytes = 4<<20 - 64<<10 // below gRPC's usual limit, with room for what frames carry beside calls
	defaultFrameCalls = 512
	defaultQueue      = 4096
	defaultReplyBytes = 4 << 20
	maxWindow         = 8
	defaultBindings   = 60_000
	defaultAckWait    = 5 * time.Second
	defaultLostWait   = 10 * time.Second
)

func (l Limits) withDefaults() Limits {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&l.Window, 1)
	l.Window = min(l.Window, maxWindow)
	set(&l.FrameBytes, defaultFrameBytes)
	set(&l.FrameCalls, defaultFrameCalls)
	set(&l.Queue, defaultQueue)
	set(&l.ReplyBytes, defaultReplyBytes)
	set(&l.Bindings, defaultBindings)
	if l.AckWait <= 0 {
		l.AckWait = defaultAckWait
	}
	if l.LostWait <= 0 {
		l.LostWait = defaultLostWait
	}
	return l
}

// Session is one open stream. It is safe for concurrent use.
type Session struct {
	limits Limits
	base   time.Time // times are nanoseconds since it
	stream grpc.ClientStream
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed with the server's first frame
	leave  chan struct{} // closed when the session is to be replaced
	done   chan struct{} // closed when the stream has ended and every call has its result
	wake   chan struct{} // tells the sweeper that there are calls again
	owned  sync.WaitGroup

	load atomic.Int64 // outstanding and waiting; written under mu, by weigh

	mu          sync.Mutex
	table       []entry
	free        []uint32
	outstanding int // calls the server counts: sent or about to be, not yet answered
	credit      int
	waiting     queue // calls without credit, or without room in the frame
	pending     *frame
	spare       *frame
	cancels     []uint64
	batches     []*batch
	bound       []uint64 // bit set of bindings the server knows
	known       int      // their number
	left        bool     // leave is closed
	lost        bool     // too much credit is
	doubted     bool     // a call timed out since the server acknowledged something
	seq, acked  uint64
	frames      [2 * maxWindow]sentFrame // unacknowledged, by seq
	inFlight    int                      // bytes of them
	entered     uint64                   // calls that got an id
	sending     bool
	draining    bool // no more calls: the server said so or the owner
	drainSent   bool
	closeSent   bool
	idle        bool // the sweeper sleeps
	err         error
	stats       Stats
}

// Stats count what a session did since it was opened.
type Stats struct {
	Calls      uint64 // sent
	Frames     uint64 // sent
	CallFrames uint64 // sent, and held calls
	Replies    uint64 // that somebody waited for
	Late       uint64 // to calls nobody waited for any more
	Unknown    uint64 // to ids that were not outstanding
	InFlight   int    // calls the server has
	Waiting    int    // calls waiting for credit
}

// Open begins a session on conn. ctx is the session's life. The session is usable at once, its calls wait for the
// server's first frame; see [Session.Ready].
func Open(ctx context.Context, conn grpc.ClientConnInterface, limits Limits, opts ...grpc.CallOption) (*Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	desc := &grpc.StreamDesc{StreamName: "Session", ServerStreams: true, ClientStreams: true}
	stream, err := conn.NewStream(ctx, desc, pluginv1.Plugin_Session_FullMethodName, append(opts, grpc.ForceCodecV2(rawcodec.New()))...)
	if err != nil {
		cancel(err)
		return nil, fmt.Errorf("%w: %w", sdk.ErrUnavailable, err)
	}
	s := &Session{
		limits: limits.withDefaults(), base: time.Now(), stream: stream, cancel: cancel,
		ready: make(chan struct{}), leave: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1),
		pending: new(frame), spare: new(frame), idle: true,
	}
	s.owned.Add(2)
	go s.receive()
	go s.sweep()
	return s, nil
}

// Ready is closed when the server's first frame has come.
func (s *Session) Ready() <-chan struct{} { return s.ready }

// Leaving is closed when the session is to be replaced: the server drains it, it ended, it knows as many bindings as
// servers must be able to remember, or too much of its credit is lost. In the last two cases it serves until then.
func (s *Session) Leaving() <-chan struct{} { return s.leave }

// Condition is whether a session takes calls.
type Condition int

// The conditions of a session.
const (
	Serving  Condition = iota
	Draining           // takes no more calls and finishes those it has
	Ended
)

// Condition returns what the session is able to do.
func (s *Session) Condition() Condition {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return Ended
	case s.draining:
		return Draining
	}
	return Serving
}

// LostCredit reports whether the session asks to be replaced because of cancelled calls that were never answered.
func (s *Session) LostCredit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// Done is closed when the session has ended and all its calls have their results.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session ended; nil while it is open and when it ended as asked.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, errDrained) {
		return nil
	}
	return s.err
}

// Stats returns the session's counts.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.InFlight, st.Waiting = s.outstanding, s.waiting.len()
	return st
}

// Load is about how many calls the session has on its hands; a session that ended has more than any other, so that who
// looks for the least does not take it. It takes no lock.
func (s *Session) Load() int { return int(s.load.Load()) }

// endedLoad is the load of a session that ended. The sum of some is no overflow.
const endedLoad = 1 << 24

// weigh notes the load. It wants the lock.
func (s *Session) weigh() {
	if s.err != nil {
		s.load.Store(endedLoad)
		return
	}
	s.load.Store(int64(s.outstanding + s.waiting.len()))
}

// Do has the server run the call and waits for the reply, which is in c afterwards. Failures that wrap ErrNotSent may
// be tried elsewhere; others may have run.
func (s *Session) Do(ctx context.Context, c *Call) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	c.begin(ctx, s.Now(), s.base)
	s.mu.Lock()
	if err := s.admit(c); err != nil {
		s.mu.Unlock()
		c.ctx = nil
		return err
	}
	f := s.take(c.Times.Begun)
	wake := s.idle
	s.idle = false
	s.weigh()
	s.mu.Unlock()
	if wake {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	if f != nil {
		s.send(f)
	}
	<-c.done
	return c.end()
}

// Drain ends the session in good order: calls that were sent get their replies, those that were not fail with
// ErrNotSent, new ones too; the server is told. Done says when it is over; ctx bounds the wait for replies.
func (s *Session) Drain(ctx context.Context) {
	s.mu.Lock()
	unsent := s.drain()
	f := s.take(s.Now())
	s.mu.Unlock()
	settle(unsent)
	if f != nil {
		s.send(f)
	}
	s.endIfDrained()
	select {
	case <-s.done:
	case <-ctx.Done():
		s.fail(fmt.Errorf("%w: session was closed", sdk.ErrUnavailable))
		<-s.done
	}
}

// Close ends the session at once and waits for its goroutines. Calls that were sent fail with sdk.ErrUnavailable.
func (s *Session) Close() {
	s.fail(fmt.Errorf("%w: session was closed", sdk.ErrUnavailable))
	<-s.done
	s.owned.Wait()
}

// Now reads the clock of the session's calls: nanoseconds.
func (s *Session) Now() int64 { return int64(time.Since(s.base)) }

// bufferPool gives frames their memory. It is gRPC's own, which frees what it has written.
func bufferPool() mem.BufferPool { return mem.DefaultBufferPool() }
