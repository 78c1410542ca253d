package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
)

// Front serves one listener. Its methods are safe for concurrent use.
type Front struct {
	options      Options
	handler      flow.Handler
	proxies      proxies
	certificates *certificates // nil without TLS
	server       *http.Server
	pool         sync.Pool // of *exchange
	gate         gate
	cutting      atomic.Bool // connections are closed without ceremony
	panics       atomic.Int64
	refusals     atomic.Int64

	mu       sync.Mutex
	sockets  map[*socket]struct{}
	listener net.Listener
	base     context.Context // of all requests, once serving
	cut      context.CancelCauseFunc
	closed   bool
	served   chan struct{} // closed when Serve has ended; nil before it began

	slots   chan struct{} // one for each connection, nil without bound
	closing chan struct{} // closed when no connection is accepted any more

	leaving atomic.Bool   // replies end their connections
	left    chan struct{} // closed with it
	empty   chan struct{} // poked when the last connection of a leaving front ends
}

// ErrCut is the cause with which the contexts of requests end that outlived a shutdown's deadline.
var ErrCut = errors.New("front: shut down")

// New makes a front that hands its requests to h. With TLS, certificates are read now.
func New(o Options, h flow.Handler) (*Front, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &Front{
		options: o, handler: h, proxies: proxies{o.TrustedProxies, o.XFFDepth},
		sockets: map[*socket]struct{}{}, closing: make(chan struct{}), left: make(chan struct{}), empty: make(chan struct{}, 1), gate: gate{idle: make(chan struct{})},
	}
	f.pool.New = func() any { return newExchange(f) }
	if o.MaxConns > 0 {
		f.slots = make(chan struct{}, o.MaxConns)
	}
	if o.TLS != nil {
		if f.certificates, err = newCertificates(o.TLS, true, o.Logger); err != nil {
			return nil, err
		}
	}
	f.server = f.httpServer()
	return f, nil
}

func (f *Front) httpServer() *http.Server {
	o := &f.options
	s := &http.Server{
		Handler:                      http.HandlerFunc(f.serveHTTP),
		DisableGeneralOptionsHandler: true, // OPTIONS * is the host's
		ReadHeaderTimeout:            o.HeaderTimeout,
		ReadTimeout:                  o.ReadTimeout,
		IdleTimeout:                  o.IdleTimeout,
		MaxHeaderBytes:               o.MaxHeader,
		ErrorLog:                     slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return f.base },
		ConnContext:                  connContext,
		ConnState:                    f.connState,
		Protocols:                    new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          o.MaxStreams,
			MaxReadFrameSize:              maxReadFrame,
			MaxReceiveBufferPerConnection: maxConnBuffer,
			MaxReceiveBufferPerStream:     maxStreamBuffer,
			WriteByteTimeout:              o.WriteStall,
			SendPingTimeout:               o.IdleTimeout / 2,
		},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(o.TLS != nil)
	s.Protocols.SetUnencryptedHTTP2(o.TLS == nil && o.H2C)
	return s
}

type socketKey struct{}

// connContext lets requests find the socket they came by.
func connContext(ctx context.Context, c net.Conn) context.Context {
	var s *socket
	switch c := c.(type) {
	case *conn:
		s = c.socket
	case *secureConn:
		s = c.socket
	case interface{ NetConn() net.Conn }: // *tls.Conn that speaks HTTP/2
		s, _ = c.NetConn().(*socket)
	}
	return context.WithValue(ctx, socketKey{}, s)
}

// connState counts the goroutines net/http runs, one for each connection. That of a hijacked connection is left when
// its handler returns.
func (f *Front) connState(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		f.gate.enter()
	case http.StateClosed:
		f.gate.leave()
	case http.StateActive, http.StateIdle, http.StateHijacked:
	}
}

// Listen opens the listener, so that Addr is known and connections queue up. Serve does it when it has not been done.
func (f *Front) Listen(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return http.ErrServerClosed
	}
	if f.listener != nil {
		return nil
	}
	if f.listener = f.options.Listener; f.listener != nil {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", f.options.Address)
	if err != nil {
		return fmt.Errorf("front: %w", err)
	}
	f.listener = l
	return nil
}

// Addr returns the address listened on, nil before Listen.
func (f *Front) Addr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener == nil {
		return nil
	}
	return f.listener.Addr()
}

// Serve accepts and serves connections. It returns nil after Shutdown, which ends it, and else why accepting failed. The
// contexts of requests derive from ctx: it must outlive a graceful shutdown, and when it ends everything is cut. Serve
// is called once.
func (f *Front) Serve(ctx context.Context) error {
	if err := f.Listen(ctx); err != nil {
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	}
	f.mu.Lock()
	if f.closed || f.served != nil {
		defer f.mu.Unlock()
		if f.closed {
			return nil
		}
		return errors.New("front: Serve called twice")
	}
	f.base, f.cut = context.WithCancelCause(ctx)
	f.served = make(chan struct{})
	f.mu.Unlock()
	defer close(f.served)
	stop := context.AfterFunc(ctx, f.kill)
	defer stop()

	a := &acceptor{front: f, inner: f.listener}
	var pump sync.WaitGroup
	hands, drop := context.WithCancel(f.base)
	if f.certificates != nil {
		a.ready, a.ended = make(chan net.Conn), make(chan struct{})
		pump.Go(func() { a.pump(hands) })
	}
	err := f.server.Serve(a)
	_ = a.Close()
	drop()
	pump.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) && (f.stopping() || f.leaving.Load()) {
		return nil
	}
	return fmt.Errorf("front: %w", err)
}

// Shutdown stops accepting, waits for requests in flight, and at ctx's end cuts what is left: long streams and
// switched connections among them. It returns when every goroutine of the front has ended, with ctx's error if
// something had to be cut. A handler that ignores its context is given up on after 5 s more.
func (f *Front) Shutdown(ctx context.Context) error {
	f.stop()
	f.mu.Lock()
	served := f.served
	f.mu.Unlock()
	err := f.server.Shutdown(ctx)
	if served == nil {
		return nil
	}
	if ctx.Err() != nil {
		f.kill()
	}
	<-served
	f.gate.close()
	select {
	case <-f.gate.idle:
		return err
	case <-ctx.Done():
		f.kill()
	}
	last := time.NewTimer(cutGrace)
	defer last.Stop()
	select {
	case <-f.gate.idle:
		return ctx.Err()
	case <-last.C:
		return fmt.Errorf("front: %d connections or requests did not end when they were cut: %w", f.gate.count(), ctx.Err())
	}
}

// stop closes the listener and the connections that have not sent anything yet.
func (f *Front) stop() {
	f.mu.Lock()
	if !f.closed {
		f.closed = true
		close(f.closing)
		if f.listener != nil {
			_ = f.listener.Close()
		}
	}
	var silent []*socket
	for s := range f.sockets {
		if !s.seen.Load() {
			silent = append(silent, s)
		}
	}
	f.mu.Unlock()
	f.server.SetKeepAlivesEnabled(false) // from here on, every reply says that it is the last
	for _, s := range silent {
		_ = s.Close()
	}
}

func (f *Front) stopping() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

// kill ends the contexts of all requests and closes all connections.
func (f *Front) kill() {
	f.cutting.Store(true)
	f.stop()
	f.cut(ErrCut)
	_ = f.server.Close()
	f.mu.Lock()
	all := make([]*socket, 0, len(f.sockets))
	for s := range f.sockets {
		all = append(all, s)
	}
	f.mu.Unlock()
	for _, s := range all {
		_ = s.Close()
	}
}

// Reload reads the certificates again; those in use stay when that fails. It also happens by itself within a second
// of a change, on the next handshake. Without TLS it does nothing.
func (f *Front) Reload() error {
	if f.certificates == nil {
		return nil
	}
	return f.certificates.reload()
}

// Stats are counts since New, but for Open.
type Stats struct {
	Open    int   // connections now
	Refused int64 // requests answered by the front itself, for being ambiguous or unfit to be sent on
	Panics  int64 // of handlers
}

// Stats returns the counts.
func (f *Front) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{Open: len(f.sockets), Refused: f.refusals.Load(), Panics: f.panics.Load()}
}

func (f *Front) refused(s *socket, why error) {
	f.refusals.Add(1)
	f.options.Logger.Debug("request refused", "peer", s.RemoteAddr().String(), "reason", why)
}

// acquire waits for room for a connection. It reports false when the front closes meanwhile.
func (f *Front) acquire() bool {
	if f.slots == nil {
		return true
	}
	select {
	case f.slots <- struct{}{}:
		return true
	case <-f.closing:
		return false
	case <-f.left:
		return false
	}
}

func (f *Front) release() {
	if f.slots != nil {
		<-f.slots
	}
}
