package rules

import (
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Timeouts bounds the exchange with the upstream on some paths.
type Timeouts struct {
	paths  *matcher
	totals []time.Duration
}

// CompileTimeouts compiles timeouts, of which the first match holds; nil when there is none.
func CompileTimeouts(timeouts []config.PathTimeout) (*Timeouts, error) {
	if len(timeouts) == 0 {
		return nil, nil
	}
	t := &Timeouts{}
	matches := make([]config.PathMatch, len(timeouts))
	for i, timeout := range timeouts {
		matches[i] = timeout.PathMatch
		t.totals = append(t.totals, timeout.Total)
	}
	var err error
	if t.paths, err = newMatcher(matches); err != nil {
		return nil, fmt.Errorf("path_timeouts: %w", err)
	}
	return t, nil
}

// Total returns the bound for such a request; 0 is none. path is without the listen path, its escapes as they came; it is
// compared decoded and with dot segments resolved.
func (t *Timeouts) Total(method, path string) time.Duration {
	if t == nil {
		return 0
	}
	if i := t.paths.first(method, canonical(path)); i >= 0 {
		return t.totals[i]
	}
	return 0
}
