package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// A conn is one connection to the target. It is used by one request at a time; between begin and end it is leased to
// that request, and the sweeper may cut it.
type conn struct {
	t     *Transport
	nc    net.Conn         // what is written and read
	raw   syscall.RawConn  // the socket below it
	held  *outbound.Socket // the same as TLS reads it
	plain bool             // nc is the socket
	home  int              // part of the pool
	used  int64            // when it last served a request, on the sweeper's clock

	// The lease. mu is held for a moment at begin and end and once a tick, so it is never waited for.
	mu       sync.Mutex
	ctx      context.Context
	total    int64 // deadline of the whole exchange on the sweeper's clock, 0 none
	cause    error // why it was cut
	young    bool  // the sweeper has not seen it yet
	shutting bool  // the transport cuts what is left
	dialing  atomic.Bool
	busy     atomic.Bool
	deadline atomic.Int64 // of the step under way on the sweeper's clock, 0 none, sending while the body leaves
	reading  gauge        // body bytes from the target
	writing  gauge        // body bytes to the target
	upload   atomic.Bool  // the client's next body bytes are awaited

	// The exchange under way; the request's own.
	step  func(fd uintptr) bool // c.socketStep, bound once
	stage stage
	await bool    // the reply comes next
	out   []byte  // to be written
	sent  int     // bytes of out that were
	fault error   // of a socket step
	in    *buffer // what came: in.b[r:w]
	r, w  int
	heard bool // a byte of the reply came
	early bool // it came before the request was sent
	one   [1]byte
	head  head // of the reply, its memory used again
}

// A gauge shows the sweeper whether somebody waits for the target, and since when. The count is odd while waiting.
type gauge struct {
	count atomic.Uint32
	seen  uint32 // the sweeper's
	since int64  // the sweeper's
}

func (g *gauge) flip() { g.count.Add(1) }

func (g *gauge) stalled(now int64, limit time.Duration) bool {
	if n := g.count.Load(); n != g.seen || n&1 == 0 {
		g.seen, g.since = n, now
		return false
	}
	return now-g.since >= int64(limit)
}

var errCut = errors.New("connection was cut")

// open makes c the connection nc, which it closes when it fails.
func (c *conn) open(nc net.Conn) error {
	socket := nc
	c.nc, c.plain = nc, true
	if secure, ok := nc.(*tls.Conn); ok {
		c.plain = false
		if c.held, ok = secure.NetConn().(*outbound.Socket); ok {
			socket = c.held.Conn
		}
	}
	sys, ok := socket.(syscall.Conn)
	if !ok || !c.plain && c.held == nil {
		nc.Close()
		return fmt.Errorf("connection of type %T is no socket", socket)
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		nc.Close()
		return err
	}
	c.raw, c.step = raw, c.socketStep
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialing.Store(false)
	if c.shutting {
		nc.Close()
		return errCut
	}
	return nil
}

// close closes the connection. One that was cut closes without a word: over TLS a last one might have to wait for a
// target that does not read.
func (c *conn) close() {
	c.mu.Lock()
	cut := c.cause != nil
	c.mu.Unlock()
	if cut && c.held != nil {
		c.held.Close()
		return
	}
	c.nc.Close()
}

// quiet reports whether nothing came behind the reply. A look at the socket does not find what TLS has read already.
func (c *conn) quiet() bool {
	if c.plain {
		return true
	}
	c.held.Hold(true)
	n, err := c.nc.Read(c.one[:])
	c.held.Hold(false)
	return n == 0 && outbound.IsHeld(err)
}

// begin leases the connection to a call.
func (c *conn) begin(call *outbound.Call) {
	c.mu.Lock()
	c.ctx, c.cause, c.total, c.young = call.Ctx, nil, 0, true
	if c.shutting {
		c.cause = errCut
	}
	if !call.Deadline.IsZero() {
		c.total = c.t.sweeper.at(call.Deadline)
	}
	c.deadline.Store(0)
	c.busy.Store(true)
	c.mu.Unlock()
	c.t.sweeper.rouse()
}

// end gives the connection back. It is kept only when clean says that request and reply were exactly consumed and
// nobody cut it.
func (c *conn) end(clean bool) {
	clean = clean && c.quiet()
	c.mu.Lock()
	if c.cause != nil {
		clean = false
	}
	c.ctx = nil
	c.busy.Store(false)
	c.mu.Unlock()
	if !clean || !c.t.pool.put(c) {
		c.t.discard(c)
	}
}

// check cuts the connection when its request is overdue or its client has left, and reports whether it is the first
// look at that request. The sweeper's.
func (c *conn) check(now int64) (young bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	young, c.young = c.young, false
	if !c.busy.Load() || c.cause != nil {
		return young
	}
	d, stall := c.deadline.Load(), c.t.o.Stall
	switch err := c.ctx.Err(); {
	case err != nil && context.Cause(c.ctx) != err:
		c.cutLocked(fmt.Errorf("%w: %w", err, context.Cause(c.ctx)))
	case err != nil:
		c.cutLocked(err)
	case d > 0 && now >= d:
		c.cutLocked(fmt.Errorf("no reply header within %v: %w", c.t.o.Header, os.ErrDeadlineExceeded))
	case c.total != 0 && now >= c.total && c.upload.Load():
		c.cutLocked(outbound.SlowClient())
	case c.total != 0 && now >= c.total:
		c.cutLocked(fmt.Errorf("request and reply took too long: %w", os.ErrDeadlineExceeded))
	case stall > 0 && (c.reading.stalled(now, stall) || c.writing.stalled(now, stall)):
		c.cutLocked(fmt.Errorf("no body byte for %v: %w", stall, os.ErrDeadlineExceeded))
	}
	return young
}

// cut makes the lease's reads and writes fail with cause, which is kept for failed.
func (c *conn) cut(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy.Load() && c.cause == nil {
		c.cutLocked(cause)
	}
}

// shut cuts the connection whether it is leased, about to be, or being dialled.
func (c *conn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shutting = true
	if c.dialing.Load() {
		return
	}
	if c.busy.Load() && c.cause == nil {
		c.cause = errors.New("upstream is closed")
	}
	c.nc.SetDeadline(past())
}

func (c *conn) cutLocked(cause error) {
	c.cause = cause
	c.nc.SetDeadline(past()) // wakes who waits, and stays
}

func past() time.Time { return time.Unix(1, 0) }

// patience sets a deadline for reads alone; zero takes it away. A cut stays.
func (c *conn) patience(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.nc.SetReadDeadline(until)
	}
}

// why returns the reason for err: that of a cut when there was one.
func (c *conn) why(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return c.cause
	}
	return err
}

// failed makes the failure of an attempt from the error that ended it.
func (c *conn) failed(sent bool, err error) *outbound.Failure {
	f := &outbound.Failure{Sent: sent, Err: c.why(err)}
	var already *outbound.Failure
	var garbage *garbageError
	switch {
	case errors.As(f.Err, &already):
		already.Sent = already.Sent || sent
		return already
	case c.canceled():
		f.Kind = outbound.Canceled
	case errors.Is(f.Err, os.ErrDeadlineExceeded), errors.Is(f.Err, context.DeadlineExceeded):
		f.Kind = outbound.Timeout
	case errors.As(f.Err, &garbage):
		f.Kind = outbound.Garbage
	default:
		f.Kind = outbound.Reset
		if f.Err == io.EOF {
			f.Err = fmt.Errorf("connection closed before the reply's header: %w", io.ErrUnexpectedEOF)
		}
	}
	return f
}

// canceled reports whether the client has left.
func (c *conn) canceled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx != nil && errors.Is(c.ctx.Err(), context.Canceled)
}

// A garbageError says what makes a reply unreadable.
type garbageError struct{ err error }

func (g *garbageError) Error() string { return "invalid reply: " + g.err.Error() }
func (g *garbageError) Unwrap() error { return g.err }
