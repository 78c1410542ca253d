package ship

import (
	"context"
	"errors"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/plugins/internal/ship/spool"
)

// Item is one thing to deliver: a key, for sinks that route or order by one, and a body.
type Item = spool.Item

// A Sink takes items somewhere. Its methods are called one at a time, by one goroutine.
type Sink interface {
	// Send delivers items in order and returns how many of the first have arrived: all, unless there is an error. What has
	// not, is offered again, but for what an error of [Reject] or [TooLarge] says. Any other error means that the other
	// side is down.
	Send(ctx context.Context, items []Item) (arrived int, err error)
	// Close lets go of what the sink holds. Nothing is sent any more.
	Close() error
}

// refusal is an error of a sink that says what is to become of the items.
type refusal struct {
	kind  refusalKind
	count int
	after time.Duration
	err   error
}

type refusalKind uint8

const (
	rejected refusalKind = iota
	tooLarge
	later
)

// Error returns the cause's text.
func (r *refusal) Error() string { return r.err.Error() }

// Unwrap returns the cause.
func (r *refusal) Unwrap() error { return r.err }

// Reject makes an error that says: the other side is there, and will never take the first count items that have not
// arrived; 0: all that have not. They are dropped and counted.
func Reject(count int, err error) error { return &refusal{kind: rejected, count: count, err: err} }

// TooLarge makes an error that says: fewer at a time. One item alone is rejected.
func TooLarge(err error) error { return &refusal{kind: tooLarge, err: err} }

// RetryAfter makes an error that says: not before so long.
func RetryAfter(after time.Duration, err error) error {
	return &refusal{kind: later, after: after, err: err}
}

func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	return nil
}
