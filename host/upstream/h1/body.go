package h1

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// grace is how long a finished reply waits for the rest of the request before the connection is given up: the target
// has most often read it all, and the sender is about to notice.
const grace = 50 * time.Millisecond

// A chunkPart is what a chunked body has next (RFC 9112 §7.1).
type chunkPart uint8

const (
	chunkSize chunkPart = iota
	chunkEnd            // the line end behind a chunk's data
	chunkTrailer
)

var errBodyClosed = errors.New("read of a closed reply body")

// A body is a reply's body. It is made anew for each reply, so that a late Close or Read never meets the connection's
// next request. It holds the connection until the last byte or Close.
type body struct {
	t       *Transport
	c       *conn   // nil once settled
	in      *buffer // what came ahead: in.b[r:w]; nil once read
	r, w    int
	left    int64 // bytes of the body, or of the chunk, still to come; -1 until the connection ends
	chunked bool
	part    chunkPart
	clean   bool // the connection may be used again
	sender  *sender
	trailer *sdk.Header
	scan    scan // of the trailer section
	err     error
}

// Trailer returns the trailer fields, complete after io.EOF; nil when there are none.
func (b *body) Trailer() *sdk.Header { return b.trailer }

// Read returns what is there, waiting only when nothing is. io.EOF may come with the last bytes.
func (b *body) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.chunked {
		n, err = b.readChunked(p)
	} else {
		n, err = b.readPlain(p)
	}
	if err == io.EOF {
		b.err = io.EOF
		b.settle()
		b.drop()
	} else if err != nil {
		b.err = b.fail(err)
	}
	return n, b.err
}

// fail gives the connection up after err.
func (b *body) fail(err error) error {
	if b.c == nil {
		return err
	}
	c := b.c
	failure := c.failed(true, err)
	b.clean = false
	b.settle()
	b.drop()
	return fmt.Errorf("reply body from %s: %w", c.t.o.Dialer.Target.Name, failure.Err)
}

// settle ends the connection's part in the reply.
func (b *body) settle() {
	c := b.c
	if c == nil {
		return
	}
	b.c = nil
	wait := grace
	if !b.clean {
		wait = 0
	}
	sent := b.sender.finish(wait)
	ahead := int64(b.w - b.r)
	if !b.chunked {
		ahead -= max(b.left, 0)
	}
	// Bytes behind the reply would be taken for the next one.
	c.end(b.clean && sent && ahead == 0)
}

// drop gives the buffer back.
func (b *body) drop() {
	if b.in != nil {
		in := b.in
		b.in, b.r, b.w = nil, 0, 0
		b.t.keep(&b.t.in, in)
	}
}

// Close gives the connection up when the reply has not been read to its end. It may be called again.
func (b *body) Close() error {
	if b.c != nil {
		b.clean = false
		b.settle()
	}
	b.drop()
	if b.err == nil {
		b.err = errBodyClosed
	}
	return nil
}

func (b *body) readPlain(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.readSome(p)
	if b.left > 0 {
		if b.left -= int64(n); b.left == 0 {
			return n, io.EOF
		}
		if err == io.EOF {
			err = fmt.Errorf("connection closed %d bytes before the end: %w", b.left, io.ErrUnexpectedEOF)
		}
	}
	return n, err
}

// readSome reads what came ahead, else from the connection.
func (b *body) readSome(p []byte) (int, error) {
	if b.r < b.w {
		n := copy(p, b.in.b[b.r:b.w])
		b.r += n
		return n, nil
	}
	return b.fromConn(p)
}

func (b *body) fromConn(p []byte) (int, error) {
	b.c.reading.flip()
	n, err := b.c.nc.Read(p)
	b.c.reading.flip()
	if n > 0 {
		return n, nil // the error comes again
	}
	return 0, err
}

func (b *body) readChunked(p []byte) (n int, err error) {
	for n < len(p) {
		if b.left == 0 {
			// Whether another chunk follows is worth knowing now only if it costs no waiting.
			done, err := b.nextChunk(n == 0)
			switch {
			case done:
				return n, io.EOF
			case err != nil:
				return n, err
			case b.left == 0:
				return n, nil
			}
		}
		if n > 0 && b.r == b.w {
			return n, nil
		}
		got, err := b.readSome(p[n:min(len(p), n+int(min(b.left, 1<<30)))])
		n += got
		b.left -= int64(got)
		if err == io.EOF {
			err = fmt.Errorf("connection closed within a chunk: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// nextChunk reads up to the next chunk's data. Without wait it returns with left still 0 when bytes are missing.
func (b *body) nextChunk(wait bool) (done bool, err error) {
	for {
		n, done, err := b.chunkHead()
		if err != nil {
			return false, &garbageError{err}
		}
		if n > 0 {
			if b.r += n; done || b.left > 0 {
				return done, nil
			}
			continue
		}
		if !wait {
			return false, nil
		}
		b.in, b.r, b.w = room(b.in, b.r, b.w)
		got, err := b.fromConn(b.in.b[b.w:])
		b.w += got
		if err == io.EOF {
			err = fmt.Errorf("connection closed between chunks: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return false, err
		}
	}
}

// chunkHead reads one part of what stands between chunks from the buffer. It returns the part's length, 0 when bytes
// are missing, and whether the body is complete.
func (b *body) chunkHead() (n int, done bool, err error) {
	ahead := b.in.b[b.r:b.w]
	switch b.part {
	case chunkEnd:
		if len(ahead) > 0 && ahead[0] != '\r' || len(ahead) > 1 && ahead[1] != '\n' {
			return 0, false, fmt.Errorf("chunk is longer than its size (RFC 9112 §7.1)")
		}
		if len(ahead) < 2 {
			return 0, false, nil
		}
		b.part = chunkSize
		return 2, false, nil
	case chunkSize:
		size, n, err := chunkLine(ahead)
		if n == 0 || err != nil {
			return 0, false, err
		}
		b.left, b.part = size, chunkEnd
		if size == 0 {
			b.part, b.scan = chunkTrailer, scan{}
		}
		return n, false, nil
	}
	h, n, err := trailerSection(&b.scan, ahead, b.t.o.MaxHeaderFields)
	switch {
	case err != nil:
		return 0, false, err
	case n == 0 && len(ahead) >= b.t.o.MaxHeaderBytes:
		return 0, false, fmt.Errorf("trailer over %d bytes", b.t.o.MaxHeaderBytes)
	}
	b.trailer = h
	return n, n > 0, nil
}

// room makes place for more bytes behind in.b[r:w]: by moving them to the front, else by doubling the buffer.
func room(in *buffer, r, w int) (*buffer, int, int) {
	if w < len(in.b) {
		return in, r, w
	}
	if r > 0 {
		return in, 0, copy(in.b, in.b[r:w])
	}
	in.b = append(in.b, make([]byte, len(in.b))...)
	in.b = in.b[:cap(in.b)]
	return in, 0, w
}
