package rules

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Virtual finds the virtual endpoint of a request.
type Virtual struct{ paths *matcher }

// CompileVirtual compiles virtual endpoints, of which the first match holds; nil when there is none.
func CompileVirtual(list []config.VirtualEndpoint) (*Virtual, error) {
	matches := make([]config.PathMatch, len(list))
	for i, e := range list {
		matches[i] = e.PathMatch
	}
	m, err := newMatcher(matches)
	if err != nil {
		return nil, fmt.Errorf("virtual: %w", err)
	}
	if m == nil {
		return nil, nil
	}
	return &Virtual{m}, nil
}

// Find returns the index of the endpoint that such a request meets, −1 when it meets none. path is without the listen
// path, its escapes as they came; it is compared decoded and with dot segments resolved.
func (v *Virtual) Find(method, path string) int { return v.paths.first(method, canonical(path)) }
