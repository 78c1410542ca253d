package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A sender writes a request's body while the reply is awaited or read, for a target may answer before it has read
// everything. It is the one goroutine a request may have; finish waits for it. A nil sender has nothing to do.
type sender struct {
	c     *conn
	rest  []byte    // of the header, to go first
	whole []byte    // then this body
	from  flow.Body // or this one
	left  int64     // its length, chunkedLength when it leaves in chunks
	done  chan struct{}
	err   error // valid after done
}

var errGivenUp = errors.New("reply came before the request's end")

// startSender starts a sender of rest and, with body, of the call's body.
func startSender(c *conn, call *outbound.Call, rest []byte, body bool) *sender {
	s := &sender{c: c, done: make(chan struct{}), rest: append([]byte(nil), rest...)}
	switch {
	case body && call.Whole && len(call.Body) <= outbound.SmallBody: // may be the call's own memory
		s.rest = append(s.rest, call.Body...)
	case body && call.Whole:
		s.whole = call.Body
	case body:
		s.from, s.left = call.Flow.Body, framing(call)
	}
	go func() {
		defer close(s.done)
		s.err = s.run()
	}()
	return s
}

func (s *sender) run() error {
	err := s.write(net.Buffers{s.rest, s.whole})
	if err == nil && s.from != nil {
		err = s.stream()
	}
	var client *outbound.Failure
	if errors.As(err, &client) {
		s.c.cut(client) // the target must not take what it has for whole
		return err
	}
	if h := s.c.t.o.Header; err == nil && h > 0 {
		s.c.deadline.CompareAndSwap(sending, s.c.t.sweeper.at(time.Now().Add(h)))
	}
	// A failed write is not the end: the target may have answered before it stopped reading.
	return err
}

// finish waits up to grace for the body to have been sent, then gives it up. It reports whether all was sent.
func (s *sender) finish(grace time.Duration) bool {
	if s == nil {
		return true
	}
	select {
	case <-s.done:
		return s.err == nil
	default:
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-s.done:
			return s.err == nil
		case <-timer.C:
		}
	}
	s.c.cut(errGivenUp)
	if s.from != nil {
		s.from.Close() // ends a read that waits for the client
	}
	<-s.done
	return false
}

// stream copies the body from the client.
func (s *sender) stream() error {
	buf := s.c.t.out.Get().(*buffer)
	defer s.c.t.keep(&s.c.t.out, buf)
	b := buf.b[:cap(buf.b)]
	const ahead = 10 // room for a size line: 8 digits and its end
	for {
		s.c.upload.Store(true)
		n, err := s.from.Read(b[ahead : len(b)-2])
		s.c.upload.Store(false)
		switch {
		case s.left == chunkedLength:
			if n > 0 {
				if werr := s.writeOne(chunk(b, ahead, n)); werr != nil {
					return werr
				}
			}
		case int64(n) > s.left:
			return &outbound.Failure{Kind: outbound.Client, Err: fmt.Errorf("request body is longer than its Content-Length")}
		case n > 0:
			s.left -= int64(n)
			if werr := s.writeOne(b[ahead : ahead+n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			return s.finale(b[:0])
		case err != nil:
			return &outbound.Failure{Kind: outbound.Client, Err: fmt.Errorf("request body: %w", err)}
		}
	}
}

// chunk frames the n bytes of data at b[at:] (RFC 9112 §7.1) and returns the whole.
func chunk(b []byte, at, n int) []byte {
	const digits = "0123456789abcdef"
	b[at+n], b[at+n+1] = '\r', '\n'
	i := at - 2
	b[i], b[i+1] = '\r', '\n'
	for size := n; size > 0; size >>= 4 {
		i--
		b[i] = digits[size&15]
	}
	return b[i : at+n+2]
}

// finale ends the body: with the last chunk and the trailer, or by seeing that nothing is missing.
func (s *sender) finale(b []byte) error {
	if s.left > 0 {
		return &outbound.Failure{Kind: outbound.Client,
			Err: fmt.Errorf("request body ended %d bytes before its Content-Length: %w", s.left, io.ErrUnexpectedEOF)}
	}
	if s.left == 0 {
		return nil
	}
	b = append(b, "0\r\n"...)
	if trailer := s.from.Trailer(); trailer != nil {
		for _, f := range trailer.Fields() {
			if outbound.TrailerAllowed(f.Name) && sdk.ValidToken(f.Name) && sdk.ValidFieldValue(f.Value) {
				b = appendField(b, f.Name, f.Value)
			}
		}
	}
	return s.writeOne(append(b, "\r\n"...))
}

func (s *sender) writeOne(b []byte) error {
	s.c.writing.flip()
	_, err := s.c.nc.Write(b)
	s.c.writing.flip()
	return err
}

func (s *sender) write(b net.Buffers) error {
	s.c.writing.flip()
	_, err := b.WriteTo(s.c.nc)
	s.c.writing.flip()
	return err
}
