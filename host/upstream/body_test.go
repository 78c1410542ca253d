package upstream_test

import (
	"io"
	"strings"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// clientBody is a request body as a front gives it: Close ends a Read that waits.
type clientBody struct {
	r       io.Reader
	trailer *sdk.Header
	closed  chan struct{}
	once    sync.Once
}

func stream(s string) *clientBody {
	return &clientBody{r: strings.NewReader(s), closed: make(chan struct{})}
}

// pipe is a body that a test writes.
func pipe() (*clientBody, *io.PipeWriter) {
	r, w := io.Pipe()
	return &clientBody{r: r, closed: make(chan struct{})}, w
}

func (b *clientBody) Read(p []byte) (int, error) { return b.r.Read(p) }
func (b *clientBody) Trailer() *sdk.Header       { return b.trailer }
func (b *clientBody) Close() error {
	b.once.Do(func() {
		close(b.closed)
		if c, ok := b.r.(io.Closer); ok {
			c.Close()
		}
	})
	return nil
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
