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
	o     Options
	http  *http.Transport
	trips *outbound.Tracker[*trip] // requests in flight
	conns *outbound.Tracker[*conn] // open connections, and those being dialled
}

// New returns a Transport.
func New(o Options) *Transport {
	if o.MaxHeaderFields == 0 {
		o.MaxHeaderFields = 1000
	}
	t := &Transport{o: o, trips: outbound.NewTracker[*trip](), conns: outbound.NewTracker[*conn]()}
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
func (t *Transport) InFlight() int { return t.trips.Len() }

// dial makes a connection that Close knows of. net/http dials on goroutines of its own, which may outlive the request.
func (t *Transport) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &conn{t: t, cancel: cancel}
	if !t.conns.Add(c) {
		return nil, errClosed
	}
	nc, err := t.o.Dialer.Dial(ctx, nil)
	if err == nil && !c.open(nc) {
		nc.Close()
		err = errClosed
	}
	if err != nil {
		t.conns.Remove(c)
		return nil, &dialError{err}
	}
	return c, nil
}

// A dialError marks an error as that of a dial: nothing was sent.
type dialError struct{ error }

func (d *dialError) Unwrap() error { return d.error }

var errClosed = errors.New("upstream is closed")

// A conn tells the transport when it is closed.
type conn struct {
	net.Conn
	t      *Transport
	cancel context.CancelFunc // of the dial

	mu   sync.Mutex // guards what follows
	up   bool       // Conn is there
	shut bool
}

// open makes c the connection nc; false when it is to be none any more.
func (c *conn) open(nc net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut {
		return false
	}
	c.Conn, c.up = nc, true
	return true
}

// cut ends the dial, or closes the socket, which net/http notices.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	if c.cancel(); c.up {
		c.Conn.Close()
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.t.conns.Remove(c)
	return err
}

// Close refuses new requests, waits for those in flight until ctx ends, then cuts them, and closes every connection;
// the error is ctx's when requests were cut.
func (t *Transport) Close(ctx context.Context) error {
	drained := t.trips.Close()
	t.http.CloseIdleConnections()

	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("upstream %s: requests cut while draining: %w", t.o.Dialer.Target.Name, context.Cause(ctx))
	}
	t.trips.Each(func(r *trip) { r.cancel(errClosed) })
	closed := t.conns.Close()
	t.http.CloseIdleConnections()
	t.conns.Each((*conn).cut)
	if err == nil {
		select {
		case <-closed:
		case <-ctx.Done():
		}
	}
	return err
}
