// Package h1 is an HTTP/1.1 client for one target, made for a proxy: a request leaves in one write, the reply is read
// and parsed on the goroutine that asked, and no connection or request has goroutines or timers of its own. One
// goroutine per [Transport], asleep while nothing is in flight, ends requests that are overdue or whose client left.
package h1

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// Options are the settings of a [Transport].
type Options struct {
	Dialer *outbound.Dialer
	// Header bounds the wait for the reply's header once the request was sent; 0: no bound.
	Header time.Duration
	// Stall bounds a pause between two body bytes, either way, for which the target is to blame; 0: no bound.
	Stall time.Duration
	// Continue is how long a request with Expect: 100-continue waits before its body is sent regardless
	// (RFC 9110 §10.1.1). Default 1 s.
	Continue time.Duration
	// MaxIdle is how many unused connections are kept, about; default 1024, negative: none.
	MaxIdle int
	// IdleTimeout is how long an unused connection is kept. Default 90 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes and MaxHeaderFields bound a reply's header, and its trailer. Defaults 1 MiB and 1,000.
	MaxHeaderBytes  int
	MaxHeaderFields int
	// MaxInterim bounds the interim replies to one request. Default 16.
	MaxInterim int
}

// Transport sends requests to one target. It is safe for concurrent use.
type Transport struct {
	o    Options
	tls  *tls.Config
	pool pool

	heads sync.Pool // *buffer: requests' headers, small because a request holds one while it waits
	in    sync.Pool // *buffer: what comes, from the first byte on
	out   sync.Pool // *buffer: bodies on their way out

	conns   *outbound.Tracker[*conn] // every open connection, and those being dialled
	sweeper sweeper
}

// New returns a Transport. Its goroutine ends with Close.
func New(o Options) *Transport {
	o.Continue = cmp.Or(o.Continue, time.Second)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 90*time.Second)
	o.MaxIdle = cmp.Or(o.MaxIdle, 1024)
	o.MaxHeaderBytes = cmp.Or(o.MaxHeaderBytes, 1<<20)
	o.MaxHeaderFields = cmp.Or(o.MaxHeaderFields, 1000)
	o.MaxInterim = cmp.Or(o.MaxInterim, 16)
	t := &Transport{o: o, tls: o.Dialer.Config("http/1.1"), conns: outbound.NewTracker[*conn]()}
	t.heads.New = func() any { return &buffer{b: make([]byte, 2<<10)} }
	t.in.New = func() any { return &buffer{b: make([]byte, 8<<10)} }
	t.out.New = func() any { return &buffer{b: make([]byte, 32<<10)} }
	t.pool.init(o.MaxIdle)
	t.sweeper.start(t)
	return t
}

// A buffer is what the transport's pools hold.
type buffer struct{ b []byte }

// maxKept is the size in bytes up to which a buffer that grew goes back to its pool.
const maxKept = 64 << 10

func (t *Transport) keep(p *sync.Pool, b *buffer) {
	if b != nil && cap(b.b) <= maxKept {
		p.Put(b)
	}
}

// dial opens a connection.
func (t *Transport) dial(call *outbound.Call) (*conn, error) {
	c := &conn{t: t}
	c.dialing.Store(true)
	if !t.conns.Add(c) {
		return nil, errClosed()
	}
	ctx, cancel := call.Ctx, context.CancelFunc(func() {})
	if !call.Deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, call.Deadline)
	}
	nc, err := t.o.Dialer.Dial(ctx, t.tls)
	cancel()
	if err == nil {
		err = c.open(nc)
	}
	if err != nil {
		t.conns.Remove(c)
		if errors.Is(err, errCut) {
			return nil, errClosed()
		}
		return nil, outbound.DialFailure(call.Ctx, err)
	}
	return c, nil
}

func errClosed() error {
	return &outbound.Failure{Kind: outbound.Closed, Err: fmt.Errorf("upstream is closed")}
}

// discard closes a connection and forgets it.
func (t *Transport) discard(c *conn) {
	c.close()
	t.conns.Remove(c)
}

// InFlight returns how many requests hold a connection, switched ones included.
func (t *Transport) InFlight() int {
	n := 0
	t.conns.Each(func(c *conn) {
		if c.busy.Load() || c.dialing.Load() {
			n++
		}
	})
	return n
}

// Close refuses new requests, waits for those in flight until ctx ends, then cuts them, and returns when the
// transport's goroutine has ended; the error is ctx's when requests were cut.
func (t *Transport) Close(ctx context.Context) error {
	drained := t.conns.Close()
	for _, c := range t.pool.close() {
		t.discard(c)
	}
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("upstream %s: requests cut while draining: %w", t.o.Dialer.Target.Name, context.Cause(ctx))
		t.conns.Each(func(c *conn) { c.shut() })
	}
	t.sweeper.stop()
	return err
}
