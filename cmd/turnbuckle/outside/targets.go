package outside

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
)

// Targets knows the upstreams that are open, for metrics.
type Targets struct {
	mu   sync.Mutex
	open map[*targeted]int // which was opened when
	last int
}

// NewTargets returns none.
func NewTargets() *Targets { return &Targets{open: map[*targeted]int{}} }

func (t *Targets) add(u *targeted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	t.open[u] = t.last
}

func (t *Targets) remove(u *targeted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, u)
}

// latest finds the upstream for a use that was opened last; nil when there is none.
func (t *Targets) latest(u *use) *targeted {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found *targeted
	for one, at := range t.open {
		if (found == nil || at > t.open[found]) && reflect.DeepEqual(&one.use, u) {
			found = one
		}
	}
	return found
}

// use is what an upstream was opened for. The next one for the same knows of the targets what the one before knew: a
// reload, or a change of settings, is no news about them.
type use struct {
	route    string
	target   string // in place of the definition's; empty: those
	settings config.Upstream
	files    Stamps
}

func useOf(d *config.Definition, target string) use {
	u := use{route: d.ID, target: target, settings: d.Upstream, files: Stamps{}}
	t := &d.Upstream.TLS
	u.files.add(t.CAFile, t.CertFile, t.KeyFile)
	return u
}

// List is what metrics say of the targets.
func (t *Targets) List() []observe.Target {
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
	use
	all *Targets
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
