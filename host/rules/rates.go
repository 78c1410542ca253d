package rules

import (
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Rates bounds how often some paths are asked for.
type Rates struct {
	paths *matcher
	rates []config.Rate
}

// CompileRates compiles rates, of which the first match holds; nil when there is none.
func CompileRates(rates []config.PathRate) (*Rates, error) {
	if len(rates) == 0 {
		return nil, nil
	}
	r := &Rates{}
	matches := make([]config.PathMatch, len(rates))
	for i, rate := range rates {
		matches[i] = rate.PathMatch
		r.rates = append(r.rates, rate.Rate)
	}
	var err error
	if r.paths, err = newMatcher(matches); err != nil {
		return nil, fmt.Errorf("path_rates: %w", err)
	}
	return r, nil
}

// Find returns which rate holds for such a request, by its place in the list; -1 for none. path is without the listen
// path, its escapes as they came; it is compared decoded and with dot segments resolved.
func (r *Rates) Find(method, path string) (int, config.Rate) {
	if r == nil {
		return -1, config.Rate{}
	}
	i := r.paths.first(method, canonical(path))
	if i < 0 {
		return -1, config.Rate{}
	}
	return i, r.rates[i]
}
