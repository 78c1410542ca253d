package unary

import (
	"testing"
	"time"
)

// AwaitWaiting waits until n calls wait for a stream.
func AwaitWaiting(t testing.TB, c *Conn, n int) {
	await(t, c, func() bool { return len(c.waiting) == n })
}

// AwaitStreams waits until n calls have one.
func AwaitStreams(t testing.TB, c *Conn, n int) {
	await(t, c, func() bool { return len(c.streams) == n })
}

// AwaitWritten waits until nobody writes and nothing is to be written.
func AwaitWritten(t testing.TB, c *Conn) {
	await(t, c, func() bool { return !c.writing && len(c.pending) == 0 })
}

func await(t testing.TB, c *Conn, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		c.mu.Lock()
		ok := condition()
		c.mu.Unlock()
		if ok {
			return
		}
		<-tick.C
	}
	t.Fatal("did not happen")
}

// Pending is how many bytes wait to be written.
func (c *Conn) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) + len(c.rest)
}
