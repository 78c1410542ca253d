package host

import (
	"errors"
	"strings"
)

// ErrClosing is what a Load of a gateway that is closing returns; it changes nothing.
var ErrClosing = errors.New("the gateway is closing")

// RefusedError is what Load returns when it has swapped the table in and definitions are refused. The others serve.
type RefusedError struct {
	Refusals []Refusal // at least one
}

// Refusal is a definition that is refused.
type Refusal struct {
	ID         string `json:"id"`
	Host       string `json:"host,omitempty"`
	ListenPath string `json:"listen_path,omitempty"` // empty when it is not known
	File       string `json:"file"`
	State      string `json:"state"`  // stale: what it was before goes on serving; refused: its listen path answers 503
	Reason     string `json:"reason"` // with the file, and line and JSON path where they are known

	err error
}

// Error lists the reasons, a line each or more.
func (e *RefusedError) Error() string {
	var b strings.Builder
	for i, r := range e.Refusals {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.Reason)
	}
	return b.String()
}

// Unwrap gives each reason to errors.Is and errors.As.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Refusals))
	for i, r := range e.Refusals {
		errs[i] = r.err
	}
	return errs
}
