package rules

import (
	"errors"
	"fmt"
	"io"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Sizes bounds request bodies, for the whole API and for some paths.
type Sizes struct {
	api    int64 // 0: none
	paths  *matcher
	limits []int64
}

// CompileSizes compiles the API's limit (0: none) and those of paths, of which the first match holds instead of the
// API's; nil when there is none.
func CompileSizes(api config.Size, limits []config.PathLimit) (*Sizes, error) {
	if api == 0 && len(limits) == 0 {
		return nil, nil
	}
	s := &Sizes{api: int64(api)}
	matches := make([]config.PathMatch, len(limits))
	for i, l := range limits {
		matches[i] = l.PathMatch
		s.limits = append(s.limits, int64(l.Body))
	}
	var err error
	if s.paths, err = newMatcher(matches); err != nil {
		return nil, fmt.Errorf("path_limits: %w", err)
	}
	return s, nil
}

// Limit returns how many bytes the body of such a request may have; 0 is no limit. path is without the listen path, its
// escapes as they came. Of several readings of the path the least limit holds, and of a path nobody sends in earnest the
// least of all (see the package comment).
func (s *Sizes) Limit(method, path string) int64 {
	switch {
	case s == nil:
		return 0
	case s.paths == nil:
		return s.api
	}
	path = rooted(path)
	if plain(path) {
		return s.of(method, path)
	}
	r := read(path)
	least := s.of(method, r.forms[0])
	for _, form := range r.forms[1:] {
		least = smaller(least, s.of(method, form))
	}
	if r.hostile {
		for _, limit := range s.limits {
			least = smaller(least, limit)
		}
	}
	return least
}

func (s *Sizes) of(method, path string) int64 {
	if i := s.paths.first(method, path); i >= 0 {
		return s.limits[i]
	}
	return s.api
}

// smaller is the lower of two limits, of which 0 is none.
func smaller(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Enforce holds the request of f to its limit. A body that is declared, or has been read, to be larger is refused with a
// [*TooLargeError] before any of it is taken. A body of unknown length needs no Content-Length: f.Body is wrapped, and
// reading beyond the limit gives the error. Tyk answers 400 and 411 here; RFC 9110 §15.5.14 has 413 for both.
func (s *Sizes) Enforce(f *flow.Flow, path string) error {
	if s == nil {
		return nil
	}
	r := f.X.Request()
	limit := s.Limit(r.Method(), path)
	switch {
	case limit == 0:
	case r.Length() > limit:
		return &TooLargeError{Limit: limit}
	case r.Length() < 0 && f.Body != nil:
		f.Body = LimitBody(f.Body, limit)
	}
	return nil
}

// TooLargeError says that a request body is over its limit. It unwraps to the [*sdk.Error] the client is to get.
type TooLargeError struct{ Limit int64 }

// Error names the limit.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("request body is over the limit of %d bytes", e.Limit)
}

// Unwrap returns the reply, of status 413 (RFC 9110 §15.5.14).
func (e *TooLargeError) Unwrap() error {
	return &sdk.Error{Status: 413, Message: "Request body is too large"}
}

// LimitBody returns b bounded to limit bytes. Its Read hands out at most so many and then fails with a [*TooLargeError]
// if there are more.
func LimitBody(b flow.Body, limit int64) flow.Body {
	return &limitedBody{Body: b, left: limit, limit: limit}
}

type limitedBody struct {
	flow.Body
	left, limit int64
	err         error
}

// Read reads one byte more than is allowed to tell a body of just the limit from a larger one.
func (b *limitedBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.Body.Read(p)
	if int64(n) <= b.left {
		b.left -= int64(n)
		return n, err
	}
	n = int(b.left)
	b.left, b.err = 0, &TooLargeError{Limit: b.limit}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = errors.Join(b.err, err)
	}
	return n, b.err
}
