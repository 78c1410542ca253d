package process

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// LoadError is why a plugin server cannot load its plugin, as it says itself: starting it again will not help.
type LoadError struct {
	Kind    string // missing-module, load, or interpreter
	Message string // whole
	Module  string // that is missing
	File    string // "" and 0: not known
	Line    int
}

// Error returns the message.
func (e *LoadError) Error() string { return e.Message }

// LoadErrorMark begins the line on its standard error by which a plugin server says why it cannot load its plugin; a
// [LoadError] in JSON follows, its keys in lower case (see sdk/python/SHIM.md).
const LoadErrorMark = "turnbuckle-error "

// LoadError is the *LoadError for which no process of the server has ever got ready; nil once one has, and while none is known.
func (s *Server) LoadError() error {
	for _, u := range s.slots {
		i, _ := u.snapshot()
		if i.Starts > 0 || i.LastCrash == nil {
			continue
		}
		if known := (*LoadError)(nil); errors.As(i.LastCrash.cause, &known) {
			return known
		}
		if i.LastCrash.Reason != ReasonExited {
			continue
		}
		if err := loadError(i.LastCrash.Lines); err != nil {
			return err
		}
	}
	return nil
}

// loadError finds it among the last lines of a process; nil when they have none.
func loadError(lines []string) error {
	for _, line := range slices.Backward(lines) {
		_, text, found := strings.Cut(line, LoadErrorMark)
		e := &LoadError{}
		if found && json.Unmarshal([]byte(text), e) == nil && e.Message != "" {
			return e
		}
	}
	return nil
}
