package flow

import (
	"errors"
	"fmt"
	"io"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// BufferRequest reads the whole request body into the exchange, at most limit bytes; what is buffered already is only
// measured. Body gives the same once more, for an exchange that is undone. More than limit is sdk.ErrTooLarge, and when a
// part has been read the body is of no further use: the exchange must end.
func (f *Flow) BufferRequest(limit int64) error {
	r := f.X.Request()
	if r.Buffered() {
		return within(int64(len(r.Body())), limit)
	}
	if f.Body == nil {
		r.LoadBody(nil)
		return nil
	}
	b, err := readAll(f.Body, r.Length(), limit)
	if err != nil {
		f.spoiled = len(b) > 0 || !errors.Is(err, sdk.ErrTooLarge)
		return err
	}
	r.LoadBody(b)
	from := f.Body
	if from == Body(&f.again) { // it was undone before
		from = f.again.Body
	}
	f.again = resumed{Body: from, read: b}
	f.Body = &f.again
	return nil
}

// Spoiled reports whether the request's body has been read in part, and what is left is nobody's.
func (f *Flow) Spoiled() bool { return f.spoiled }

// BufferReply reads the upstream's whole reply body into the exchange, at most limit bytes, like BufferRequest. After an
// error the reply is as it was: what had been read comes first when its body is read again. The reply to HEAD, and one
// of status 204 or 304, has no body; its length is that of another reply's (RFC 9110 §8.6) and stays.
func (f *Flow) BufferReply(limit int64) error {
	r := f.X.Response()
	if r.Buffered() {
		return within(int64(len(r.Body())), limit)
	}
	if f.X.Request().Method() == "HEAD" || r.Status() == 204 || r.Status() == 304 {
		return nil
	}
	if f.Reply.Body == nil {
		r.LoadBody(nil)
		return nil
	}
	b, err := readAll(f.Reply.Body, r.Length(), limit)
	if err != nil {
		if len(b) > 0 {
			f.Reply.Body = &resumed{Body: f.Reply.Body, read: b}
		}
		return err
	}
	r.LoadBody(b)
	return nil
}

// resumed is a body of which a part has been read already.
type resumed struct {
	Body
	read []byte
}

// Read returns what had been read, then the rest.
func (r *resumed) Read(p []byte) (int, error) {
	if len(r.read) == 0 {
		return r.Body.Read(p)
	}
	n := copy(p, r.read)
	r.read = r.read[n:]
	return n, nil
}

func within(n, limit int64) error {
	if n > limit {
		return fmt.Errorf("%w: %d bytes, the limit is %d", sdk.ErrTooLarge, n, limit)
	}
	return nil
}

// readAll reads r to its end. The declared length only sizes the first read, and only up to a bound: a lie costs little.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	if err := within(length, limit); err != nil {
		return nil, err
	}
	const first = 64 << 10
	size := int64(512)
	if length >= 0 {
		size = min(length+1, first)
	}
	b := make([]byte, 0, size)
	for {
		n, err := r.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return b, fmt.Errorf("%w: more than %d bytes", sdk.ErrTooLarge, limit)
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, fmt.Errorf("reading the body: %w", err)
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}
