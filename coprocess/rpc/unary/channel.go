package unary

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Channel is a connection that is renewed when its peer wants that. While it is, calls wait. It is safe for concurrent
// use.
type Channel struct {
	dial     func(context.Context) (*Conn, error)
	patience time.Duration

	conn   atomic.Pointer[Conn]
	cancel context.CancelFunc
	owned  sync.WaitGroup
	down   chan struct{}

	mu      sync.Mutex
	renewed chan struct{} // closed and replaced when conn changed or err is set
	err     error
}

// Open makes a channel over conn and what dial makes after it; dial bounds itself in time. A connection that leaves has
// drain to finish its calls. The channel lives until Close or the end of life.
func Open(life context.Context, conn *Conn, dial func(context.Context) (*Conn, error), drain time.Duration) *Channel {
	c := &Channel{dial: dial, patience: drain, down: make(chan struct{}), renewed: make(chan struct{})}
	c.conn.Store(conn)
	life, c.cancel = context.WithCancel(life)
	c.owned.Go(func() { c.renew(life) })
	return c
}

// Down is closed when the connection is lost and could not be renewed: all calls will fail.
func (c *Channel) Down() <-chan struct{} { return c.down }

// Close ends the connections, those that drain too, and waits for what the channel runs.
func (c *Channel) Close() {
	c.cancel()
	c.owned.Wait()
}

// A server that has each new connection end at once is as good as down.
const (
	shortLife  = 20 * time.Millisecond
	shortLives = 5 // in a row
)

// renew replaces the connection whenever it takes no more calls. What the old one has, it finishes.
func (c *Channel) renew(ctx context.Context) {
	short := 0
	for {
		conn := c.conn.Load()
		begun := time.Now()
		select {
		case <-conn.Leaving():
		case <-ctx.Done():
			c.gone(ctx.Err())
			conn.Close()
			return
		}
		c.owned.Go(func() { c.drain(ctx, conn) })
		if time.Since(begun) > shortLife {
			short = 0
		}
		next, err := (*Conn)(nil), conn.Err()
		if short++; short <= shortLives {
			next, err = c.dial(ctx)
		}
		if err != nil {
			c.gone(err)
			close(c.down)
			return
		}
		c.mu.Lock()
		c.conn.Store(next)
		close(c.renewed)
		c.renewed = make(chan struct{})
		c.mu.Unlock()
	}
}

// gone tells those who wait that there will be no other connection.
func (c *Channel) gone(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.renewed)
}

// drain lets a connection finish its calls.
func (c *Channel) drain(ctx context.Context, conn *Conn) {
	t := time.NewTimer(c.patience)
	defer t.Stop()
	select {
	case <-conn.Done():
	case <-t.C:
	case <-ctx.Done():
	}
	conn.Close()
}

// tries is how often a call is sent that certainly was not processed.
const tries = 4

// Do is [Conn.Do], but that a call that certainly was not processed is sent again, if need be on the next connection,
// unless elsewhere says that it is to go elsewhere.
func (c *Channel) Do(ctx context.Context, call *Call, elsewhere func() bool) ([]byte, error) {
	for n := 1; ; n++ {
		conn := c.conn.Load()
		reply, err := conn.Do(ctx, call)
		var failure *Error
		if err == nil || n == tries || !errors.As(err, &failure) || !failure.NotSent || elsewhere() {
			return reply, err
		}
		if failure.Gone && !c.next(ctx, conn) {
			return nil, err
		}
	}
}

// next waits for a connection other than conn, and reports whether there is one.
func (c *Channel) next(ctx context.Context, conn *Conn) bool {
	c.mu.Lock()
	err, renewed := c.err, c.renewed
	c.mu.Unlock()
	if c.conn.Load() != conn {
		return true
	}
	if err != nil {
		return false
	}
	select {
	case <-renewed:
		return c.conn.Load() != conn
	case <-ctx.Done():
		return false
	}
}
