package front

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// body is a request's body that counts what is read of it and remembers how far that got. It may be read on another
// goroutine than the one that replies.
type body struct {
	flow    *flow.Flow
	from    io.ReadCloser
	request *http.Request
	client  *client
	state   atomic.Int32
	gone    atomic.Bool // the client has left while the body was read
}

const (
	bodyUnread int32 = iota
	bodyReading
	bodyRead
	bodyBroken // what follows on the connection may be anything
)

// wanted reports whether somebody may read on. An upstream that was sent the header (flow.Times.Sent) may do so although
// it has not begun to: its reply can be faster than the goroutine that sends the body.
func (b *body) wanted() bool {
	switch b.state.Load() {
	case bodyUnread:
		return b.from != nil && !b.flow.Times.Sent.IsZero()
	case bodyRead:
		return false
	}
	return true
}

// Read reads from the client. An error for which the client's leaving is the reason wraps [flow.ErrGone].
func (b *body) Read(p []byte) (int, error) {
	if b.state.Load() == bodyUnread {
		b.state.Store(bodyReading)
	}
	n, err := b.from.Read(p)
	b.flow.BytesIn += int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.state.Store(bodyRead)
	default:
		b.state.Store(bodyBroken)
		if b.client.socket.gone.Load() || streamReset(err) {
			b.gone.Store(true)
			err = fmt.Errorf("%w: %w", flow.ErrGone, err)
		}
	}
	return n, err
}

// streamReset reports whether the client has given up an HTTP/2 stream (RFC 9113 §5.4.2). net/http keeps its type of
// that error to itself, and offers it to those that look the same.
func streamReset(err error) bool {
	var reset resetError
	return errors.As(err, &reset)
}

type resetError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error names the code.
func (e resetError) Error() string { return fmt.Sprintf("stream reset with code %d", e.Code) }

// Close ends reading, also a read that waits on another goroutine: net/http's own Close waits for that, and then for
// more of the body.
func (b *body) Close() error {
	if b.state.Load() != bodyRead {
		b.state.Store(bodyBroken)
		b.client.endReading()
	}
	return b.from.Close()
}

// Trailer returns the trailer fields that came, nil when none did.
func (b *body) Trailer() *sdk.Header {
	var h *sdk.Header
	for name, values := range b.request.Trailer {
		for _, v := range values {
			if h == nil {
				h = new(sdk.Header)
			}
			h.Append(name, v)
		}
	}
	return h
}
