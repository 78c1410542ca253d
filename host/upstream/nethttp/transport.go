// Package nethttp sends requests to one target through net/http's Transport in HTTP/2: over TLS, or in the clear by
// prior knowledge (RFC 9113 §3.3). It keeps the promises of package h1, at net/http's price.
package nethttp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
)

// Options are the settings of a [Transport].
type Options struct {
	Dialer *outbound.Dialer
	// Header bounds the wait for the reply's header once the request was sent; 0: no bound.
	Header time.Duration
	// Stall bounds a pause between two bytes of the reply's body; 0: no bound.
	Stall time.Duration
	// Continue is how long a request with Expect: 100-continue waits before its body is sent regardless. Default 1 s.
	Continue time.Duration
	// MaxIdle is how many unused connections are kept; default 1024, negative: none.
	MaxIdle int
	// IdleTimeout is how long an unused connection is kept. Default 90 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes and MaxHeaderFields bound a reply's header. Defaults 1 MiB and 1,000.
	MaxHeaderBytes  int
	MaxHeaderFields int
}

// Transport sends requests to one target. It is safe for concurrent use.
type Transport struct {
	o      Options
	http   *http.Transport
	flight atomic.Int64

	mu      sync.Mutex // guards what follows
	closing bool
	cutting bool
	cuts    map[*trip]struct{}               // requests in flight
	conns   map[*conn]struct{}               // open connections
	dials   map[*context.CancelFunc]struct{} // under way
	drained chan struct{}                    // closed when closing and no request is in flight
	closed  chan struct{}                    // closed when closing and nothing at all is left
}

// New returns a Transport.
func New(o Options) *Transport {
	if o.MaxHeaderFields == 0 {
		o.MaxHeaderFields = 1000
	}
	t := &Transport{o: o, cuts: map[*trip]struct{}{}, conns: map[*conn]struct{}{}, dials: map[*context.CancelFunc]struct{}{},
		drained: make(chan struct{}), closed: make(chan struct{})}
	var protocols http.Protocols
	var config *tls.Config
	if o.Dialer.Target.TLS {
		protocols.SetHTTP2(true)
		config = o.Dialer.Config("h2")
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	t.http = &http.Transport{
		DialContext:            t.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    o.Dialer.Timeout,
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    max(cmp.Or(o.MaxIdle, 1024), 1),
		DisableKeepAlives:      o.MaxIdle < 0,
		IdleConnTimeout:        cmp.Or(o.IdleTimeout, 90*time.Second),
		ExpectContinueTimeout:  cmp.Or(o.Continue, time.Second),
		MaxResponseHeaderBytes: int64(cmp.Or(o.MaxHeaderBytes, 1<<20)),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	return t
}

// InFlight returns how many requests are under way, reply bodies included.
func (t *Transport) InFlight() int { return int(t.flight.Load()) }

// dial makes a connection that Close knows of. net/http dials on goroutines of its own, which may outlive the request.
func (t *Transport) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.mu.Lock()
	if t.closing {
		t.mu.Unlock()
		return nil, errClosed
	}
	t.dials[&cancel] = struct{}{}
	t.mu.Unlock()

	nc, err := t.o.Dialer.Dial(ctx, nil)

	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.dials, &cancel)
	defer t.settle()
	if err != nil {
		return nil, &dialError{err}
	}
	if t.cutting {
		nc.Close()
		return nil, errClosed
	}
	c := &conn{Conn: nc, t: t}
	t.conns[c] = struct{}{}
	return c, nil
}

// A dialError marks an error as that of a dial: nothing was sent.
type dialError struct{ error }

func (d *dialError) Unwrap() error { return d.error }

var errClosed = errors.New("upstream is closed")

// A conn tells the transport when it is closed.
type conn struct {
	net.Conn
	t *Transport
}

// Close closes the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	delete(c.t.conns, c)
	c.t.settle()
	return err
}

// settle, with mu held, says so when a closing transport is empty.
func (t *Transport) settle() {
	if !t.closing || len(t.cuts) > 0 {
		return
	}
	done(t.drained)
	if len(t.conns) == 0 && len(t.dials) == 0 {
		done(t.closed)
	}
}

func done(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// enter counts a request in; false when the transport is closed.
func (t *Transport) enter(r *trip) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closing {
		return false
	}
	t.cuts[r] = struct{}{}
	t.flight.Add(1)
	return true
}

// leave counts it out.
func (t *Transport) leave(r *trip) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, in := t.cuts[r]; in {
		delete(t.cuts, r)
		t.flight.Add(-1)
		t.settle()
	}
}

// Close refuses new requests, waits for those in flight until ctx ends, then cuts them, and closes every connection;
// the error is ctx's when requests were cut.
func (t *Transport) Close(ctx context.Context) error {
	t.mu.Lock()
	t.closing = true
	t.settle()
	t.mu.Unlock()
	t.http.CloseIdleConnections()

	var err error
	select {
	case <-t.drained:
	case <-ctx.Done():
		err = fmt.Errorf("upstream %s: requests cut while draining: %w", t.o.Dialer.Target.Name, context.Cause(ctx))
	}
	t.mu.Lock()
	t.cutting = true
	for r := range t.cuts {
		r.cancel(errClosed)
	}
	for cancel := range t.dials {
		(*cancel)()
	}
	open := make([]*conn, 0, len(t.conns))
	for c := range t.conns {
		open = append(open, c)
	}
	t.mu.Unlock()
	t.http.CloseIdleConnections()
	for _, c := range open {
		c.Conn.Close() // net/http notices, and closes c
	}
	if err == nil {
		select {
		case <-t.closed:
		case <-ctx.Done():
		}
	}
	return err
}
