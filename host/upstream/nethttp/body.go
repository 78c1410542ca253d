package nethttp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/upstream/outbound"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A body is a reply's body.
type body struct {
	r       *trip
	reply   *http.Response
	stall   *time.Timer
	trailer *sdk.Header
	err     error
}

// Read returns what is there, waiting only when nothing is.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if limit := b.r.t.o.Stall; limit > 0 {
		if b.stall == nil {
			b.stall = time.AfterFunc(limit, func() {
				b.r.cancel(fmt.Errorf("no body byte for %v: %w", limit, os.ErrDeadlineExceeded))
			})
		} else {
			b.stall.Reset(limit)
		}
		defer b.stall.Stop()
	}
	n, err := b.reply.Body.Read(p)
	switch {
	case err == io.EOF:
		b.err = err
		b.fillTrailer()
		b.end()
	case err != nil:
		b.err = fmt.Errorf("reply body from %s: %w", b.r.t.o.Dialer.Target.Name, b.r.why(err))
		b.end()
	}
	return n, b.err
}

func (b *body) fillTrailer() {
	if len(b.reply.Trailer) == 0 {
		return
	}
	var h sdk.Header
	forward(&h, b.reply.Trailer)
	h.Filter(func(f sdk.Field) bool {
		return outbound.TrailerAllowed(f.Name) && sdk.ValidToken(f.Name) && sdk.ValidFieldValue(f.Value)
	})
	if h.Len() > 0 {
		b.trailer = &h
	}
}

func (b *body) end() {
	if b.stall != nil {
		b.stall.Stop()
	}
	b.reply.Body.Close()
	b.r.end()
}

// Trailer returns the trailer fields, complete after io.EOF; nil when there are none.
func (b *body) Trailer() *sdk.Header { return b.trailer }

// Close gives the reply up when it has not been read to its end. It may be called again.
func (b *body) Close() error {
	if b.err == nil {
		b.err = errShut
		b.end()
	}
	return nil
}

func isNet(err error) bool {
	var n net.Error
	return errors.As(err, &n)
}
