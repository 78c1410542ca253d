package script

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Why a call was ended from outside. All but a context's end are offences: see [Offence].
var (
	ErrHeap        = errors.New("memory bound exceeded")
	ErrSize        = errors.New("string or array too large")
	ErrDepth       = errors.New("calls nested too deeply")
	ErrLoop        = errors.New("the gateway calls itself through scripts")
	ErrQuarantined = fmt.Errorf("plugin in quarantine: %w", sdk.ErrUnavailable)
)

// Error is a failure of a script, where it happened.
type Error struct {
	Plugin  string
	File    string // as it was loaded, relative to its root; "" when not known
	Line    int    // from 1; 0 when not known
	Message string // what the script threw
	Trace   string // of calls, innermost first, one a line; may be empty
	Err     error  // the cause, for errors.Is; may be nil
}

// Error returns plugin, file, line and message on one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %q: ", e.Plugin)
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d", e.Line)
		}
		b.WriteString(": ")
	}
	b.WriteString(strings.ReplaceAll(e.Message, "\n", " "))
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Offence reports whether err is a breach of the plugin's bounds, after which its interpreter is thrown away and its
// quarantine is told. A client that left is none, whatever the script was doing.
func Offence(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrHeap) || errors.Is(err, ErrSize) || errors.Is(err, ErrDepth)
}
