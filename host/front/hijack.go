package front

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// upgrader is the client of an HTTP/1 flow: its connection can be taken over.
type upgrader struct{ *client }

// upgrade returns the protocols the client offers to switch to, if it may. Upgrades to h2c are not heard: they are no
// longer part of HTTP/2 (RFC 9113 §3.1), and forwarded they open a way past every hook.
func upgrade(r *http.Request, offers []string) string {
	if r.ProtoMajor != 1 || r.ProtoMinor == 0 || !hasToken(r.Header["Connection"], "upgrade") || hasToken(offers, "h2c") {
		return ""
	}
	return strings.Join(offers, ", ")
}

// Hijack answers 101 with the header's fields, Connection and Upgrade added when they are not among them, and returns
// the connection; its CloseWrite ends the direction to the client alone. The bound on stalled writes stays.
func (u upgrader) Hijack(h *sdk.Header) (io.ReadWriteCloser, error) {
	hijacker, ok := u.w.(http.Hijacker)
	if !ok {
		return nil, http.ErrNotSupported
	}
	netConn, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, fmt.Errorf("front: taking over the connection: %w", err)
	}
	u.wrote, u.hijacked = true, true
	c, err := hijackedConn(netConn)
	if err != nil {
		return nil, err
	}
	u.conn = c
	if err := c.switchProtocol(); err != nil {
		return nil, fmt.Errorf("front: switching protocols: %w", err)
	}
	if _, err := c.Write(switching(h, u.flow.Upgrade)); err != nil {
		return nil, fmt.Errorf("front: switching protocols: %w", err)
	}
	return &switched{conn: c, early: early(buffered.Reader)}, nil
}

func hijackedConn(c net.Conn) (*conn, error) {
	switch c := c.(type) {
	case *conn:
		return c, nil
	case *secureConn:
		return c.conn, nil
	}
	return nil, fmt.Errorf("front: a connection of type %T: %w", c, http.ErrNotSupported)
}

// early returns the bytes net/http had read behind the request.
func early(r *bufio.Reader) []byte {
	b, _ := r.Peek(r.Buffered())
	return append([]byte(nil), b...)
}

// switching is the 101 reply. Fields that no message could carry are left out.
func switching(h *sdk.Header, protocol string) []byte {
	b := append(make([]byte, 0, 512), "HTTP/1.1 101 Switching Protocols\r\n"...)
	for _, f := range h.Fields() {
		b = appendField(b, f.Name, f.Value)
	}
	if !h.Has("Connection") {
		b = appendField(b, "Connection", "Upgrade")
	}
	if !h.Has("Upgrade") {
		b = appendField(b, "Upgrade", protocol)
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	if !sdk.ValidToken(name) || !sdk.ValidFieldValue(value) {
		return b
	}
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

// switched is a connection after a 101: first the bytes that came early, then the rest.
type switched struct {
	*conn
	early []byte
}

// Read reads from the client.
func (s *switched) Read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		s.early = s.early[n:]
		return n, nil
	}
	return s.conn.Read(p)
}

var _ flow.Hijacker = upgrader{}
