package front

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// socket is an accepted connection: the bottom of every other kind. It knows who is on the other side.
type socket struct {
	net.Conn // the operating system's, or PROXY protocol over it
	front    *Front
	closed   sync.Once
	seen     atomic.Bool // a byte has arrived
	gone     atomic.Bool // the peer has ended the connection

	known   sync.Once
	peer    net.Addr // the client, or the nearest proxy that is no PROXY protocol speaker
	local   net.Addr
	addr    netip.AddrPort // of peer
	name    string         // peer's address alone, for X-Forwarded-For
	trusted bool
}

func (f *Front) newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, front: f}
	if f.options.ProxyProtocol && f.proxies.trusts(addrPort(c.RemoteAddr()).Addr()) {
		s.Conn = proxyproto.NewConn(c, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(f.options.HeaderTimeout))
	}
	f.mu.Lock()
	f.sockets[s] = struct{}{}
	f.mu.Unlock()
	return s
}

// identify finds out who the peer is. With PROXY protocol it waits for its header; net/http asks for the address on
// the connection's own goroutine before anything else.
func (s *socket) identify() {
	s.known.Do(func() {
		s.peer, s.local = s.Conn.RemoteAddr(), s.Conn.LocalAddr()
		s.addr = addrPort(s.peer)
		s.trusted = s.front.proxies.trusts(s.addr.Addr()) && s.named()
		if s.addr.IsValid() {
			s.name = s.addr.Addr().WithZone("").String()
		}
	})
}

// named reports whether the peer's address is that of who speaks. A PROXY header need not name one, and then it is the
// proxy's, which carries the words of others: X-Forwarded-For in them is theirs.
func (s *socket) named() bool {
	p, ok := s.Conn.(*proxyproto.Conn)
	if !ok {
		return true
	}
	h := p.ProxyHeader()
	return h != nil && !h.Command.IsLocal() && h.SourceAddr != nil
}

// noteEnd remembers that the peer has ended the connection, if err says so.
func (s *socket) noteEnd(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		s.gone.Store(true)
	}
}

// RemoteAddr returns the peer's address.
func (s *socket) RemoteAddr() net.Addr {
	s.identify()
	return s.peer
}

// Read reads from the peer.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 && !s.seen.Load() {
		s.seen.Store(true)
	}
	if err != nil {
		s.noteEnd(err)
	}
	return n, err
}

// CloseWrite ends the direction to the peer.
func (s *socket) CloseWrite() error {
	c := s.Conn
	if p, ok := c.(*proxyproto.Conn); ok {
		c = p.Raw()
	}
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection and gives its place to another.
func (s *socket) Close() error {
	err := s.Conn.Close()
	s.closed.Do(func() {
		s.front.mu.Lock()
		delete(s.front.sockets, s)
		last := len(s.front.sockets) == 0
		s.front.mu.Unlock()
		if last && s.front.leaving.Load() {
			select {
			case s.front.empty <- struct{}{}:
			default:
			}
		}
		s.front.release()
	})
	return err
}

// acceptor is the listener net/http accepts from: in the clear the connections as they come, with TLS those whose
// handshake is done.
type acceptor struct {
	front *Front
	inner net.Listener
	ready chan net.Conn // with TLS
	ended chan struct{} // closed when nothing more will be ready
	err   error         // why, set before ended is closed
}

// Accept returns the next connection to serve.
func (a *acceptor) Accept() (net.Conn, error) {
	if a.ready == nil {
		s, err := a.next()
		if err != nil {
			return nil, err
		}
		return newConn(s, s), nil
	}
	select {
	case c := <-a.ready:
		return c, nil
	case <-a.ended:
		return nil, a.err
	case <-a.front.closing: // handshakes under way are nobody's any more
		return nil, net.ErrClosed
	}
}

// next accepts a connection when there is room for one.
func (a *acceptor) next() (*socket, error) {
	if !a.front.acquire() {
		return nil, net.ErrClosed
	}
	c, err := a.inner.Accept()
	if err != nil {
		a.front.release()
		return nil, err
	}
	s := a.front.newSocket(c)
	if a.front.stopping() {
		_ = s.Close()
		return nil, net.ErrClosed
	}
	return s, nil
}

// Close closes the listener, which Shutdown may have done before.
func (a *acceptor) Close() error {
	if err := a.inner.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Addr returns the listener's address.
func (a *acceptor) Addr() net.Addr { return a.inner.Addr() }

// pump accepts connections and shakes hands with each on a goroutine of its own, until the listener is closed. It
// returns when the last of them has ended; ctx ends them early.
func (a *acceptor) pump(ctx context.Context) {
	var hands sync.WaitGroup
	defer close(a.ended)
	defer hands.Wait()
	for wait := time.Duration(0); ; {
		s, err := a.next()
		if err == nil {
			wait = 0
			hands.Go(func() { a.shake(ctx, s) })
			continue
		}
		if !temporary(err) {
			a.err = err
			return
		}
		// Out of file descriptors, most likely: the same back-off net/http has.
		wait = min(max(2*wait, 5*time.Millisecond), time.Second)
		a.front.options.Logger.Warn("accepting a connection failed, trying again", "in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (a *acceptor) shake(ctx context.Context, s *socket) {
	t := tls.Server(s, a.front.certificates.config())
	if d := a.front.options.HeaderTimeout; d > 0 {
		_ = t.SetDeadline(time.Now().Add(d))
	}
	if err := t.HandshakeContext(ctx); err != nil {
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nthis is an HTTPS listener\n")
		}
		a.front.options.Logger.Debug("TLS handshake failed", "peer", s.RemoteAddr().String(), "error", err)
		_ = s.Close()
		return
	}
	_ = t.SetDeadline(time.Time{})
	var c net.Conn = t
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		c = &secureConn{newConn(t, s), t}
	}
	select {
	case a.ready <- c:
	case <-ctx.Done():
		_ = c.Close()
	}
}

func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}
