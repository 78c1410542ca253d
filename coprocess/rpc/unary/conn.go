// Package unary is a gRPC client for calls of one unary method over HTTP/2 (RFC 9113) and nothing else: what it leaves
// out is what calls that arrive one by one pay for in a general client.
//
// A request is appended to a buffer, HEADERS and DATA together, and written by whoever finds nobody writing: a caller
// alone writes its request itself, with one system call and no other goroutine involved; callers that come while
// another writes leave theirs with it. One goroutine reads, parses all frames of a read under one lock and then wakes
// those whose replies are complete. The fields of a request are the same each time, so after the first they are a few
// bytes of indices (RFC 7541 §6.1); the field lists of replies are decoded by the library.
//
// A caller never blocks in a write: what a socket does not take at once is left to a writer goroutine, so that a peer
// that does not read costs its callers their deadlines and no more. Deadlines and clients that left are found by a
// sweeper that ticks only while there are calls.
//
// What the peer can make the connection hold is bounded: a reply by MaxRecv, a field list, the requests and
// acknowledgements that wait to be written, the calls that wait for a stream.
package unary

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// Options describe the calls of a connection. Method and Authority are required.
type Options struct {
	Method    string // full name, as in /package.Service/Method
	Authority string // of the calls (RFC 9113 §8.3.1)
	UserAgent string // default "turnbuckle"
	Secure    bool   // the connection is TLS's, which the calls' scheme says

	MaxRecv int    // bytes of a reply; default 4 MiB
	Queue   int    // calls waiting for a stream; default 4096
	Streams uint32 // calls after which the connection is to be replaced; default and most: 2³⁰, all the ids there are

	// A call that ends by its deadline asks whether the peer lives: when the peer has sent a reply since it was last
	// asked, which has servers forget the pings they count, every PingWait at most, else every PingAfter. Default 5 min.
	PingAfter time.Duration
	PingWait  time.Duration // without a byte from the peer after that, the connection is lost; default 20 s
}

const (
	maxStreams    = 1 << 30
	readMemory    = 64 << 10
	connWindow    = 16 << 20
	highWater     = 256 << 10 // bytes waiting to be written above which no more bodies and calls are added
	maxPending    = 1 << 20   // and above which a peer that has us answer and does not read is given up
	maxFields     = 256 << 10 // bytes of a reply's field list, as sent and as decoded
	maxRequest    = 4 << 10   // bytes of a request's field list without trace context
	maxTrace      = 4 << 10   // bytes of each of the two fields of it that are passed on: with them, still one frame
	initialWindow = 65535     // RFC 9113 §6.9.2
	largestWindow = 1<<31 - 1
	frameBytes    = 16 << 10 // the largest frame we accept: the least a peer must be content with
)

func (o Options) withDefaults() Options {
	if o.UserAgent == "" {
		o.UserAgent = "turnbuckle"
	}
	if o.MaxRecv <= 0 {
		o.MaxRecv = 4 << 20
	}
	o.MaxRecv = min(o.MaxRecv, largestWindow-frameBytes)
	if o.Queue <= 0 {
		o.Queue = 4096
	}
	if o.Streams == 0 || o.Streams > maxStreams {
		o.Streams = maxStreams
	}
	if o.PingAfter <= 0 {
		o.PingAfter = 5 * time.Minute
	}
	if o.PingWait <= 0 {
		o.PingWait = 20 * time.Second
	}
	return o
}

// Conn is one connection. It is safe for concurrent use.
type Conn struct {
	o       Options
	nc      net.Conn
	direct  *directWriter // nil: only the writer goroutine writes
	wake    chan struct{} // tells the sweeper that there are calls again
	kick    chan struct{} // hands the writer goroutine the right to write
	settled chan struct{} // closed with the peer's first SETTINGS
	leaving chan struct{} // closed when no more calls are taken
	done    chan struct{} // closed when the connection has ended and every call has its result
	owned   sync.WaitGroup

	mu       sync.Mutex
	err      error // why the connection ended
	away     error // why it takes no more calls
	request  requestFields
	streams  map[uint32]*Call // begun and not ended
	waiting  []*Call          // for a stream
	blocked  []*Call          // for room to send the rest of their messages
	finished []*Call          // have their results and are to be woken
	nextID   uint32
	entered  uint64 // calls that came
	idle     bool   // the sweeper sleeps

	pending []byte // to be written
	spare   []byte
	rest    []byte // of what the socket did not take, the writer goroutine's
	writing bool   // somebody has the right to write
	mute    bool   // a write failed
	written uint32 // streams up to this id may have reached the peer

	peerFrame   int   // the peer's SETTINGS
	peerWindow  int64 // of new streams
	peerStreams uint32
	peerFields  int   // bytes of a field list
	sendWindow  int64 // of the connection
	recvWindow  int64 // of the connection

	reader
	received uint64    // reads that brought something
	pinged   time.Time // the last ping of ours; zero: none
	heard    bool      // HEADERS or DATA since then
	asked    uint64    // received at that time
	waits    bool      // for something to come since
}

// New begins an HTTP/2 connection on nc, which it owns from now on, and waits for the peer's SETTINGS, which bound what
// may be sent, as long as ctx allows.
func New(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	o = o.withDefaults()
	c := &Conn{
		o: o, nc: nc, direct: newDirectWriter(nc), idle: true, nextID: 1,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		settled: make(chan struct{}), leaving: make(chan struct{}), done: make(chan struct{}),
		streams:   map[uint32]*Call{},
		peerFrame: frameBytes, peerWindow: initialWindow, peerStreams: maxStreams, peerFields: largestWindow,
		sendWindow: initialWindow, recvWindow: connWindow,
	}
	var err error
	if c.request, err = newRequestFields(o); err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.decoder = hpack.NewDecoder(4096, c.field)
	c.decoder.SetMaxStringLength(maxFields)
	c.greet()
	c.owned.Add(3)
	go c.read()
	go c.write()
	go c.sweep()
	c.mu.Lock()
	c.flush()
	select {
	case <-c.settled:
		return c, nil
	case <-c.done:
		err = c.Err()
	case <-ctx.Done():
		err = fmt.Errorf("no SETTINGS came: %w", ctx.Err())
	}
	c.Close()
	return nil, err
}

// greet appends the preface and our settings (RFC 9113 §3.4). A stream's window holds a reply of any allowed size, so
// that streams need no updates.
func (c *Conn) greet() {
	b := append(c.pending, http2.ClientPreface...)
	b = appendFrame(b, 3*6, http2.FrameSettings, 0, 0)
	b = appendSetting(b, http2.SettingEnablePush, 0)
	b = appendSetting(b, http2.SettingInitialWindowSize, uint32(c.streamWindow()))
	b = appendSetting(b, http2.SettingMaxHeaderListSize, maxFields)
	c.pending = appendWindowUpdate(b, connWindow-initialWindow)
}

// streamWindow is room for one reply, what frames it, and padding.
func (c *Conn) streamWindow() int { return c.o.MaxRecv + frameBytes }

// Leaving is closed when the connection is to be replaced: the peer said so, its ids are used up, or it ended.
func (c *Conn) Leaving() <-chan struct{} { return c.leaving }

// Done is closed when the connection has ended and all its calls have their results.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection takes no more calls; nil while it does.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return c.away
}

// Close ends the connection at once and waits for its goroutines. Calls under way fail.
func (c *Conn) Close() {
	c.mu.Lock()
	c.fail(errors.New("connection was closed"))
	c.release()
	c.owned.Wait()
}

// Call is one call's memory. It may be used again when [Conn.Do] has returned, for one call at a time.
type Call struct {
	Message     []byte // encoded; the connection only reads it
	TraceParent string // W3C trace context for the metadata; "" for none. Printable ASCII
	TraceState  string

	ctx      context.Context
	deadline time.Time
	bounded  bool
	done     chan struct{}

	id     uint32 // 0: not begun
	sent   int    // bytes of prefix and message
	window int64  // for sending
	reply  reply
	err    error
}

// NewCall returns a call without content.
func NewCall() *Call { return &Call{done: make(chan struct{}, 1)} }

// Do has the peer run the call and returns its reply, which is the caller's to keep. It returns the error of ctx when
// that ends first, and otherwise an [*Error]; either may be wrapped.
func (c *Conn) Do(ctx context.Context, call *Call) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, notSent(err)
	}
	call.ctx = ctx
	call.deadline, call.bounded = ctx.Deadline()
	call.id, call.sent, call.window, call.err = 0, 0, 0, nil
	call.reply = reply{}
	c.mu.Lock()
	if err := c.admit(call); err != nil {
		c.mu.Unlock()
		call.ctx = nil
		return nil, err
	}
	wake := c.idle
	c.idle = false
	c.flush()
	if wake {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	<-call.done
	message := call.reply.message
	call.ctx, call.reply = nil, reply{}
	if call.err != nil {
		return nil, call.err
	}
	return message, nil
}

// admit begins the call or has it wait for a stream.
func (c *Conn) admit(call *Call) error {
	c.entered++
	switch {
	case c.err != nil:
		return &Error{Code: codes.Unavailable, Message: c.err.Error(), NotSent: true, Gone: true}
	case c.away != nil:
		return &Error{Code: codes.Unavailable, Message: c.away.Error(), NotSent: true, Gone: true}
	case len(c.waiting) == 0 && c.mayBegin():
		c.start(call)
	case len(c.waiting) >= c.o.Queue:
		return &Error{Code: codes.ResourceExhausted, Message: fmt.Sprintf("%d calls are waiting for a stream already", len(c.waiting)), NotSent: true}
	default:
		c.waiting = append(c.waiting, call)
	}
	return nil
}

// mayBegin reports whether the peer takes another stream and there is room for its request.
func (c *Conn) mayBegin() bool {
	return len(c.streams) < int(c.peerStreams) && len(c.pending) < highWater && c.away == nil && c.err == nil
}

// leave takes no more calls; those that wait for a stream may go elsewhere.
func (c *Conn) leave(why error) {
	if c.away == nil {
		c.away = why
		close(c.leaving)
	}
	for len(c.waiting) > 0 {
		c.settle(c.waiting[0], &Error{Code: codes.Unavailable, Message: c.away.Error(), NotSent: true, Gone: true})
	}
	if len(c.streams) == 0 {
		c.fail(why)
	}
}

// fail ends the connection. A call whose request was never written may go elsewhere; of others nothing is known.
func (c *Conn) fail(why error) {
	if c.err != nil {
		return
	}
	c.err = why
	for _, call := range c.streams {
		c.settle(call, &Error{Code: codes.Unavailable, Message: why.Error(), NotSent: call.id > c.written, Gone: true})
	}
	c.leave(why)
	close(c.done)
}

// settle gives a call that has not ended its result and takes it off the lists.
func (c *Conn) settle(call *Call, err error) {
	call.err = err
	if call.id == 0 {
		c.waiting = without(c.waiting, call)
	} else {
		delete(c.streams, call.id)
		if !call.allSent() {
			c.blocked = without(c.blocked, call)
		}
	}
	c.finished = append(c.finished, call)
	if c.away != nil && len(c.streams) == 0 && c.err == nil {
		c.fail(c.away)
	}
}

// without removes a call from a list, which keeps its order.
func without(list []*Call, call *Call) []*Call {
	for i := range list {
		if list[i] == call {
			copy(list[i:], list[i+1:])
			list[len(list)-1] = nil
			return list[:len(list)-1]
		}
	}
	return list
}

// release wakes the callers that have their results, and unlocks.
func (c *Conn) release() {
	for i, call := range c.finished {
		call.done <- struct{}{} // holds one, and a call is settled once
		c.finished[i] = nil
	}
	c.finished = c.finished[:0]
	c.mu.Unlock()
}
