// Package refusal names the reasons for which a bundle, a key, or what says whom to trust, is refused.
// A code is stable: it is what scripts, alarms and metrics compare. The message says what was found and
// where, and the advice of its code what to do.
package refusal

import (
	"errors"
	"fmt"
	"slices"
)

// A Code is a stable reason, in lower case with underscores. It is never renamed and never given another meaning.
type Code string

// An Error is a refusal. It is what every package of bundles returns for something that does not hold; other
// errors are faults of the machine (a full disk, a cancelled context).
type Error struct {
	Code    Code
	Message string // what was found, and where
	Err     error  // the cause, if there is one
}

// New returns a refusal with a formatted message. A %w in the format becomes its cause.
func New(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error is the message, the advice of the code, and the code.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (%s)", e.Message, e.Code.Advice(), e.Code)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is compare codes.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code && other.Message == ""
}

// CodeOf returns the code of a refusal in err's tree, "" for nil, and Internal for every other error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if r, ok := errors.AsType[*Error](err); ok {
		return r.Code
	}
	return Internal
}

// Advice says in a few words what to do about a refusal with this code.
func (c Code) Advice() string {
	if text, ok := advice[c]; ok {
		return text
	}
	return "see the message"
}

// Codes returns every code in alphabetical order; there are no others.
func Codes() []Code {
	codes := make([]Code, 0, len(advice))
	for c := range advice {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	return codes
}
