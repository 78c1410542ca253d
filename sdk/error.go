package sdk

import (
	"errors"
	"fmt"
)

// Error is the only error whose text reaches a client: a hook returns it to end the exchange with a status and message
// of its own, rendered by the gateway's error templates. Any other error is a failure of the hook.
type Error struct {
	Status  int     // 400 to 599
	Message string  // what the client reads
	Header  []Field // added to the reply
	Err     error   // the cause, for the log only; may be nil
}

// Errorf returns an [*Error] with a formatted message.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Error returns status, message and cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Status, e.Message, e.Err)
	}
	return fmt.Sprintf("%d %s", e.Status, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Why a hook that was called gave no result. Runtimes wrap them; a deadline that passed is context.DeadlineExceeded, a
// client that left context.Canceled.
var (
	ErrUnavailable   = errors.New("plugin unavailable")         // not reachable, died, or draining
	ErrOverloaded    = errors.New("plugin overloaded")          // no capacity or credit within the deadline
	ErrProtocol      = errors.New("plugin answered garbage")    // undecodable, invalid or over a limit
	ErrUnimplemented = errors.New("plugin has no such hook")    // the server does not know the hook
	ErrPanic         = errors.New("plugin panicked")            // an in-process hook panicked
	ErrBreaker       = errors.New("plugin's breaker is open")   // too many failures lately
	ErrBudget        = errors.New("plugin budget used up")      // the exchange's whole budget for plugins
	ErrTooLarge      = errors.New("body over the buffer limit") // more body than the policy buffers
)
