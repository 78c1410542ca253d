package run

import (
	"context"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
)

// targets knows the upstreams that are open, for metrics.
type targets struct {
	mu   sync.Mutex
	open map[*targeted]bool
}

func newTargets() *targets { return &targets{open: map[*targeted]bool{}} }

func (t *targets) add(u *targeted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[u] = true
}

func (t *targets) remove(u *targeted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, u)
}

// list is what metrics say of the targets.
func (t *targets) list() []observe.Target {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []observe.Target
	for u := range t.open {
		for _, s := range u.Targets() {
			list = append(list, observe.Target{Route: u.route, Name: s.Target, Up: s.Up, InFlight: s.InFlight})
		}
	}
	return list
}

// targeted shows the state of the targets on the control listener and in metrics.
type targeted struct {
	*upstream.Upstream
	route string
	all   *targets
}

// Close closes the upstream, which metrics then show no more.
func (t *targeted) Close(ctx context.Context) error {
	defer t.all.remove(t)
	return t.Upstream.Close(ctx)
}

// Status lists the targets.
func (t *targeted) Status() any {
	type target struct {
		Target       string     `json:"target"`
		Weight       int        `json:"weight"`
		Up           bool       `json:"up"`
		EjectedUntil *time.Time `json:"ejected_until,omitempty"`
		InFlight     int        `json:"in_flight"`
		LastError    string     `json:"last_error,omitempty"`
		LastErrorAt  *time.Time `json:"last_error_at,omitempty"`
	}
	var list []target
	for _, s := range t.Targets() {
		list = append(list, target{s.Target, s.Weight, s.Up, instant(s.EjectedUntil), s.InFlight, s.LastError, instant(s.LastErrorAt)})
	}
	return list
}

// instant leaves out the time of what did not happen.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
