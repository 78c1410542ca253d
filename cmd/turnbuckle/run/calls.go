package run

import (
	"context"
	"fmt"
	"net/http"
	"sync"
)

// control answers on the control listener for one generation, and counts the requests that it is answering: what they use
// stays until they have ended.
type control struct {
	http.Handler

	mu    sync.Mutex
	calls int
	ended bool
	idle  chan struct{} // closed when it has ended and nothing is being answered
}

// enter counts a request in, unless the generation has ended.
func (c *control) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.calls++
	return true
}

func (c *control) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.ended && c.calls == 0 {
		close(c.idle)
	}
}

// end lets no request in any more, and waits for those that are being answered until ctx ends. It is called once, when
// another has taken the place of c or nobody listens any more.
func (c *control) end(ctx context.Context) error {
	c.mu.Lock()
	c.ended = true
	calls := c.calls
	c.mu.Unlock()
	if calls == 0 {
		return nil
	}
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d control requests are not answered yet: %w", calls, ctx.Err())
	}
}
