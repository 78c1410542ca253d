package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// conn is what net/http's HTTP/1 server reads from and writes to: a socket, or TLS over one. It has the guard read
// along, bounds stalls, and makes deadlines cheap: net/http moves the read deadline seven times a request, and every
// move is a visit to the runtime's poller. Here they are only noted until a read begins; the poller's stays where it is
// as long as it comes early enough, and when it comes too early the read goes on with the one that counts by then.
//
// Reads never overlap, nor do writes: net/http sees to it. Deadlines may be moved by anybody at any time.
type conn struct {
	net.Conn // *socket or *tls.Conn
	socket   *socket

	guard guard
	bad   error       // the guard's verdict, once there is one
	held  []byte      // bytes read behind it
	ended atomic.Bool // there is a verdict

	mu      sync.Mutex
	want    time.Time // the read deadline as asked for; zero: none
	armed   time.Time // the poller's; zero: none
	reading bool
	raw     bool      // switched to another protocol
	stall   time.Time // the write deadline, moved in steps
	toSend  time.Duration
	toRead  time.Duration
}

// secureConn is a conn over TLS: net/http takes a request's TLS state from it.
type secureConn struct {
	*conn
	tls *tls.Conn
}

// ConnectionState returns that of the TLS connection below.
func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

func newConn(inner net.Conn, s *socket) *conn {
	o := &s.front.options
	g := guard{first: o.H2C && o.TLS == nil, most: o.MaxHeader + guardSlack}
	return &conn{Conn: inner, socket: s, guard: g, toSend: o.WriteStall, toRead: o.ReadStall}
}

// Read reads from the client and hands out what the guard lets pass. Its error is none of those net/http keeps quiet
// about, so net/http answers it with 400 and closes.
func (c *conn) Read(p []byte) (int, error) {
	if c.bad != nil {
		return c.readHeld(p)
	}
	n, err := c.read(p)
	if n == 0 || c.guard.state == guardOff {
		return n, err
	}
	pass, bad := c.guard.check(p[:n])
	if bad == nil {
		return n, err
	}
	c.bad, c.held = bad, append([]byte(nil), p[pass:n]...)
	c.ended.Store(true)
	c.socket.front.refused(c.socket, bad)
	if pass > 0 {
		return pass, nil
	}
	return c.readHeld(p)
}

// readHeld ends a connection on which a request was refused. While a request before that one is being served, net/http
// waits for a single byte to learn when the client leaves: it gets one, lest it take the verdict for that.
func (c *conn) readHeld(p []byte) (int, error) {
	if c.raw {
		n := copy(p, c.held)
		if c.held = c.held[n:]; len(c.held) == 0 {
			c.bad, c.held = nil, nil
		}
		return n, nil
	}
	if len(p) == 1 && len(c.held) > 1 {
		p[0], c.held = c.held[0], c.held[1:]
		return 1, nil
	}
	return 0, c.bad
}

// read reads under the deadline asked for.
func (c *conn) read(p []byte) (int, error) {
	limit, err := c.begin()
	if err != nil {
		return 0, err
	}
	for {
		n, err := c.Conn.Read(p)
		if err == nil || n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.rearm(limit) {
			c.mu.Lock()
			c.reading = false
			c.mu.Unlock()
			if err != nil {
				c.socket.noteEnd(err)
			}
			return n, err
		}
	}
}

// begin sees to it that the poller's deadline comes early enough for a read. limit is when a body that is waited for has
// stalled, unless a deadline was asked for.
func (c *conn) begin() (limit time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if longAgo(c.want) { // the read was called off before it began
		return limit, os.ErrDeadlineExceeded
	}
	next := c.want
	if next.IsZero() && c.toRead > 0 && c.guard.body() {
		limit = time.Now().Add(c.toRead)
		next = limit
	}
	c.reading = true
	if longAgo(c.armed) || !next.IsZero() && (c.armed.IsZero() || c.armed.After(next)) {
		err = c.arm(next)
	}
	return limit, err
}

// longAgo reports whether a deadline calls off a read: net/http uses a moment of 1970 for it.
func longAgo(t time.Time) bool { return !t.IsZero() && t.Unix() < 1<<20 }

// rearm moves the poller's deadline to the one that counts and reports whether that is still to come.
func (c *conn) rearm(limit time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.want
	if next.IsZero() {
		next = limit
	}
	if !next.IsZero() && !next.After(time.Now()) {
		return false
	}
	return c.arm(next) == nil
}

func (c *conn) arm(t time.Time) error {
	c.armed = t
	return c.Conn.SetReadDeadline(t)
}

// SetReadDeadline notes t, see [conn].
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want = t
	if !c.reading || t.IsZero() || !c.armed.IsZero() && !c.armed.After(t) {
		return nil
	}
	return c.arm(t)
}

// SetWriteDeadline does nothing without a time: the bound on stalls is the only one.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && c.toSend > 0 {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Write writes under a deadline that is moved once it has come nearer than three quarters of the bound.
func (c *conn) Write(p []byte) (int, error) {
	if c.toSend > 0 {
		if now := time.Now(); c.stall.Sub(now) < c.toSend-c.toSend/4 {
			c.stall = now.Add(c.toSend)
			if err := c.Conn.SetWriteDeadline(c.stall); err != nil {
				return 0, err
			}
		}
	}
	return c.Conn.Write(p)
}

// CloseWrite ends the direction to the client; over TLS with a close_notify.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. After a refusal it first lets the client read why: closing with bytes unread resets the
// connection and the reply with it.
func (c *conn) Close() error {
	if c.ended.Load() && !c.socket.front.cutting.Load() && c.CloseWrite() == nil {
		if err := c.Conn.SetReadDeadline(time.Now().Add(lingerTimeout)); err == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, maxLinger)
		}
	}
	return c.Conn.Close()
}

// switchProtocol makes the connection one of bytes: nothing is read along any more, and reads may take as long as they
// like.
func (c *conn) switchProtocol() error {
	c.guard = guard{state: guardOff}
	c.ended.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw, c.want = true, time.Time{}
	return c.arm(time.Time{})
}
