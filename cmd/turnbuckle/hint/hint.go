// Package hint is for errors that come with advice.
package hint

import "errors"

// Error is an error with what to do about it.
type Error struct {
	error
	Hint string
}

// New gives an error advice.
func New(err error, advice string) error { return Error{err, advice} }

// Unwrap returns the error without the advice.
func (h Error) Unwrap() error { return h.error }

// Of returns the advice that the error, or one it wraps, comes with; empty when there is none.
func Of(err error) string {
	var h Error
	errors.As(err, &h)
	return h.Hint
}
