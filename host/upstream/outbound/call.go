package outbound

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Call is one request on its way to a target. It belongs to the goroutine that serves the flow; a transport keeps
// nothing of it after its RoundTrip returned.
type Call struct {
	Ctx      context.Context // ends when the client leaves
	Flow     *flow.Flow
	Deadline time.Time // of request and reply together; zero: none
	Whole    bool      // Body is the whole body, which may be empty; else it is read from Flow.Body
	Body     []byte
	Head     []byte // scratch for a transport, empty

	small []byte // memory of Body when Load read it
}

// SmallBody is the size in bytes up to which Load reads a body before anything is sent.
const SmallBody = 8 << 10

// Load decides where the request's body comes from. A body of known, small size is read here, so that it leaves in one
// write with the header, can be sent again, and a slow client holds no connection; one for which the client waits for
// 100 Continue is left alone.
func (c *Call) Load() error {
	f, r := c.Flow, c.Flow.X.Request()
	switch n := r.Length(); {
	case r.Buffered():
		c.Whole, c.Body = true, r.Body()
	case f.Body == nil:
		c.Whole, c.Body = true, nil
	case n < 0 || n > SmallBody || f.Expect || r.Header().Has("Trailer"):
		c.Whole, c.Body = false, nil
	default:
		if cap(c.small) < int(n)+1 {
			c.small = make([]byte, SmallBody+1)
		}
		got, err := io.ReadFull(f.Body, c.small[:n+1]) // one byte more, to see the end
		switch {
		case int64(got) > n:
			return &Failure{Kind: Client, Err: fmt.Errorf("request body is longer than its Content-Length of %d", n)}
		case err != io.EOF && err != io.ErrUnexpectedEOF: //nolint:errorlint // io.ReadFull's own; what is wrapped is the body's
			return &Failure{Kind: Client, Err: err}
		case int64(got) < n:
			return &Failure{Kind: Client, Err: fmt.Errorf("request body ended after %d of %d bytes: %w", got, n, io.ErrUnexpectedEOF)}
		}
		c.Whole, c.Body = true, c.small[:n]
	}
	return nil
}

// Length returns the body's length in bytes, -1 when it is not known.
func (c *Call) Length() int64 {
	if c.Whole {
		return int64(len(c.Body))
	}
	return c.Flow.X.Request().Length()
}

// Reset forgets the call and keeps its memory.
func (c *Call) Reset() {
	c.Ctx, c.Flow, c.Deadline, c.Whole, c.Body, c.Head = nil, nil, time.Time{}, false, nil, c.Head[:0]
	if cap(c.Head) > 1<<16 {
		c.Head = nil
	}
}

// Idempotent reports whether a request of that method may be sent again when its fate is unknown (RFC 9110 §9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// Own reports whether a request field is not copied from the exchange: the hop-by-hop ones, and those that an upstream
// writes itself (see [flow.Outbound]).
func Own(name string) bool {
	switch len(name) {
	case 4:
		return sdk.EqualFold(name, "Host")
	case 6:
		return sdk.EqualFold(name, "Expect")
	case 14:
		return sdk.EqualFold(name, "Content-Length")
	case 15:
		return sdk.EqualFold(name, "X-Forwarded-For")
	case 16:
		return sdk.EqualFold(name, "X-Forwarded-Host") || sdk.EqualFold(name, "Proxy-Connection")
	case 17:
		return sdk.EqualFold(name, "X-Forwarded-Proto") || sdk.EqualFold(name, "Transfer-Encoding")
	}
	return flow.HopByHop(name)
}

// Listed reports whether names, from [flow.ConnectionNames], has name.
func Listed(names []string, name string) bool {
	for _, n := range names {
		if sdk.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// HasToken reports whether a comma-separated list has the token, without regard to case (RFC 9110 §5.6.1).
func HasToken(list, token string) bool {
	for len(list) > 0 {
		var part string
		part, list = cutComma(list)
		if sdk.EqualFold(part, token) {
			return true
		}
	}
	return false
}

func cutComma(s string) (part, rest string) {
	for i := range len(s) {
		if s[i] == ',' {
			s, rest = s[:i], s[i+1:]
			break
		}
	}
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s, rest
}

// WantsTrailers reports whether the client's TE field says that it takes trailers (RFC 9110 §10.1.4).
func WantsTrailers(h *sdk.Header) bool {
	for _, f := range h.Fields() {
		if len(f.Name) == 2 && sdk.EqualFold(f.Name, "TE") && HasToken(f.Value, "trailers") {
			return true
		}
	}
	return false
}

// TrailerAllowed reports whether a trailer field may be forwarded. Those that decide about framing, routing, content,
// conditions, authentication or who asks may not (RFC 9110 §6.5.1): whoever merges trailers into the header would take
// them for what was checked before they came.
func TrailerAllowed(name string) bool {
	if flow.HopByHop(name) || len(name) > 2 && sdk.EqualFold(name[:3], "If-") {
		return false
	}
	for _, refused := range [...]string{
		"Content-Length", "Content-Encoding", "Content-Type", "Content-Range", "Host", "Forwarded", "X-Forwarded-For",
		"X-Forwarded-Host", "X-Forwarded-Proto", "Authorization", "WWW-Authenticate", "Cookie", "Set-Cookie", "Expect",
		"Range", "Max-Forwards", "Cache-Control", "Pragma", "Location", "Date", "Age", "Expires", "Retry-After", "Vary",
	} {
		if len(name) == len(refused) && sdk.EqualFold(name, refused) {
			return false
		}
	}
	return true
}
