//go:build unix

package unary

import (
	"net"
	"syscall"
)

// directWriter writes to a socket without waiting for room in it. It is used by one goroutine at a time.
type directWriter struct {
	raw     syscall.RawConn
	attempt func(fd uintptr) bool
	b       []byte
	n       int
	err     error
}

// newDirectWriter returns nil for connections that are not plain sockets, as TLS's.
func newDirectWriter(nc net.Conn) *directWriter {
	var s syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		s = nc
	case *net.UnixConn:
		s = nc
	default:
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	w := &directWriter{raw: raw}
	w.attempt = w.try
	return w
}

// write writes as much of b as the socket takes at once.
func (w *directWriter) write(b []byte) (int, error) {
	w.b, w.n, w.err = b, 0, nil
	err := w.raw.Write(w.attempt)
	if err == nil {
		err = w.err
	}
	w.b = nil
	return w.n, err
}

// try always says that it is done: what is left is another's.
func (w *directWriter) try(fd uintptr) bool {
	for w.n < len(w.b) {
		n, err := syscall.Write(int(fd), w.b[w.n:])
		if n > 0 {
			w.n += n
		}
		switch err {
		case nil, syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			w.err = err
			return true
		}
	}
	return true
}
