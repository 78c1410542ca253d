package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Kind says what kind of failure ended an attempt.
type Kind uint8

// The kinds of failure.
const (
	Dial     Kind = iota + 1 // no connection
	Lookup                   // no address for the name
	Timeout                  // dial, header or total timeout
	Reset                    // the connection ended before the reply's header
	Garbage                  // the reply is not HTTP, or over a limit
	Canceled                 // the client left
	Client                   // the request's body failed
	Request                  // no HTTP message can carry the request
	Closed                   // the upstream has been closed
)

// Failure is how an attempt at one target ended without a reply.
type Failure struct {
	Kind Kind
	Sent bool // part of the request may have reached the target
	Err  error
}

// Error returns the cause's text.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// SlowClient returns the failure of a request that ran out of time while its client was sending the body.
func SlowClient() *Failure {
	return &Failure{Kind: Client, Sent: true, Err: &sdk.Error{
		Status: 408, Message: "The request took too long to arrive", Err: fmt.Errorf("request body: %w", os.ErrDeadlineExceeded),
	}}
}

// SentBefore returns err as that of a request that was sent before, if it was: its failure says so.
func SentBefore(err error, before bool) error {
	var f *Failure
	if before && errors.As(err, &f) {
		f.Sent = true
	}
	return err
}

// Blame reports whether the failure speaks against the target.
func (f *Failure) Blame() bool { return f.Kind <= Garbage }

// DialFailure classifies the error of a dial under ctx, that of the client.
func DialFailure(ctx context.Context, err error) *Failure {
	var lookup *net.DNSError
	var timeout net.Error
	switch {
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Failure{Kind: Canceled, Err: errors.Join(ctx.Err(), err)}
	case errors.As(err, &lookup) && !lookup.IsTimeout:
		return &Failure{Kind: Lookup, Err: err}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Failure{Kind: Timeout, Err: err}
	}
	return &Failure{Kind: Dial, Err: err}
}
