package amqp

import (
	"net"
	"sync"
)

// corked is a connection that can gather what is written to it: the library flushes after each message, and a call of the system
// for each costs more than all else about it. It is safe for concurrent use.
type corked struct {
	net.Conn

	mu  sync.Mutex
	on  bool
	buf []byte
}

// mostCorked is how much is gathered at most.
const mostCorked = 64 << 10

// Write implements [net.Conn].
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return c.Conn.Write(p)
	}
	c.buf = append(c.buf, p...)
	if len(c.buf) < mostCorked {
		return len(p), nil
	}
	if err := c.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cork begins to gather.
func (c *corked) cork() {
	c.mu.Lock()
	c.on = true
	c.mu.Unlock()
}

// uncork sends what was gathered, and gathers no more.
func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	return c.flush()
}

func (c *corked) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}
