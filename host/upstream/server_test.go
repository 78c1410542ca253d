package upstream_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A rawServer is a TCP server whose connections a test plays by hand.
type rawServer struct {
	url    string
	accept atomic.Int32 // connections so far
	conns  sync.WaitGroup
}

// serve starts a server that plays each connection with play; a deadline bounds every connection.
func serve(t testing.TB, play func(n int, c *rawConn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + l.Addr().String()}
	s.conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(20 * time.Second))
			n := int(s.accept.Add(1))
			s.conns.Go(func() {
				defer nc.Close()
				play(n, &rawConn{Conn: nc, r: bufio.NewReader(nc)})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.conns.Wait()
	})
	return s
}

type rawConn struct {
	net.Conn
	r *bufio.Reader
}

// head reads a request's header; "" when the client closed.
func (c *rawConn) head() string {
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return ""
		}
		if line == "\r\n" {
			return b.String()
		}
	}
}

// take reads n bytes.
func (c *rawConn) take(n int) string {
	b := make([]byte, n)
	n, _ = io.ReadFull(c.r, b)
	return string(b[:n])
}

// rest reads up to the end.
func (c *rawConn) rest() string {
	b, _ := io.ReadAll(c.r)
	return string(b)
}

func (c *rawConn) say(s string) { io.WriteString(c.Conn, s) }

// always plays one reply to every request, and waits for the client to close.
func always(reply string) func(int, *rawConn) {
	return func(_ int, c *rawConn) {
		for c.head() != "" {
			c.say(reply)
		}
	}
}

// once plays one reply and closes.
func once(reply string) func(int, *rawConn) {
	return func(_ int, c *rawConn) {
		if c.head() != "" {
			c.say(reply)
		}
	}
}

// reset closes the connection with a RST.
func (c *rawConn) reset() {
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Conn.Close()
}
