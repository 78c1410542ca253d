package h1

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// A stage is where an exchange stands in its dealings with the socket.
type stage uint8

const (
	probing  stage = iota // look whether the connection is still good, then write
	looking               // look only
	awaiting              // wait for the first bytes of the reply
	settled               // nothing more to do
)

var errStale = errors.New("connection was no longer good")

// socketStep runs under the socket's read lock, armed for readiness: the runtime calls it again when bytes come, until
// it returns true. Doing the look, the write and the first read in one go saves the read that finds nothing: what looks
// at the connection before the write is also what arms it for the reply. It never blocks.
//
// An unused connection on which something came, an end or bytes nobody asked for, is not used again: nothing has been
// sent then, and a reply must not be taken for the answer to a request that it came before (RFC 9112 §9.2).
func (c *conn) socketStep(fd uintptr) bool {
	if c.stage == awaiting {
		return c.socketRead(int(fd))
	}
	switch n, err := read(int(fd), c.one[:]); {
	case err == syscall.EAGAIN:
	case err != nil || n == 0 || c.used != 0:
		c.fault = errStale
		return true
	default: // a server that speaks first, on a new connection: it may be refusing
		c.receive()
		c.in.b[0], c.w, c.heard, c.early = c.one[0], 1, true, true
	}
	if c.stage == looking {
		return true
	}
	n, err := write(int(fd), c.out)
	c.sent = max(n, 0)
	switch {
	case err != nil && err != syscall.EAGAIN:
		c.fault = fmt.Errorf("write: %w", err)
		return true
	case c.sent < len(c.out) || c.heard || !c.await:
		c.stage = settled
		return true
	}
	c.stage = awaiting
	return false
}

// receive makes sure that there is a buffer. A request that waits has none.
func (c *conn) receive() {
	if c.in == nil {
		c.in = c.t.in.Get().(*buffer)
	}
}

func (c *conn) socketRead(fd int) bool {
	c.receive()
	n, err := read(fd, c.in.b[c.w:])
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		c.fault = fmt.Errorf("read: %w", err)
	case n == 0:
		c.fault = io.EOF
	default:
		c.w += n
		c.heard = true
	}
	return true
}

func read(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

func write(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Write(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
