package shelf

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Status is what the control listener shows of bundles.
type Status struct {
	// RequireSigned is whether nothing else may run.
	RequireSigned bool `json:"require_signed"`
	// Problem is why the trust settings' files could not be read; those before stay in force.
	Problem string  `json:"problem,omitempty"`
	Bundles []Entry `json:"bundles"`
	// Decisions counts what was decided since the gateway began, by outcome: loaded, or the reason.
	Decisions map[string]uint64 `json:"decisions"`
}

// Entry is one bundle under one name.
type Entry struct {
	Name string `json:"name"`
	// Running is what serves; nil when nothing of that name does. Definitions run it, of which Stale go on although their
	// newer form is refused.
	Running     *bundled.Decision `json:"running,omitempty"`
	Definitions []string          `json:"definitions,omitempty"`
	Stale       []string          `json:"stale,omitempty"`
	// Refused is why the last try to load it failed; nil when it did not.
	Refused *Refused `json:"refused,omitempty"`
}

// Refused is why a bundle was refused.
type Refused struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

// Status tells what runs and what is refused, in the order of names.
func (s *Shelf) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{RequireSigned: s.o.Settings.RequireSigned, Bundles: []Entry{}, Decisions: s.o.Tally.Counts()}
	if s.broken != nil {
		out.Problem = s.broken.Error()
	}
	entries := map[string]*Entry{} // by name and what it is
	for _, id := range slices.Sorted(maps.Keys(s.runs)) {
		for _, h := range s.runs[id].bundles {
			d := h.Decision()
			key := d.Name + " " + d.Verdict.ArchiveSHA256
			if entries[key] == nil {
				entries[key] = &Entry{Name: d.Name, Running: &d}
			}
			e := entries[key]
			e.Definitions = append(e.Definitions, id)
			if !s.runs[id].current {
				e.Stale = append(e.Stale, id)
			}
		}
	}
	for name, a := range s.tried {
		refused, ok := errors.AsType[*config.BundleError](a.err)
		if !ok {
			continue
		}
		why := &Refused{Reason: refused.Code, Message: refused.Message, Advice: refused.Advice}
		found := false
		for _, e := range entries {
			if e.Name == name {
				e.Refused, found = why, true
			}
		}
		if !found {
			entries[name] = &Entry{Name: name, Refused: why}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		out.Bundles = append(out.Bundles, *entries[key])
	}
	return out
}

// Would decides about everything that runs by another policy, a document in JSON: what is not OK would not load if it were
// in force. Nothing changes. The result is in the order of names.
func (s *Shelf) Would(policy []byte) ([]bundled.Decision, error) {
	s.mu.Lock()
	l := s.loader
	held := map[string]*bundled.Holding{}
	for _, r := range s.runs {
		for _, h := range r.bundles {
			v := h.Bundle().Verdict()
			held[v.Name+" "+v.ArchiveSHA256] = h
		}
	}
	s.mu.Unlock()
	if l == nil {
		return []bundled.Decision{}, nil
	}
	var all []*bundled.Holding
	for _, key := range slices.Sorted(maps.Keys(held)) {
		all = append(all, held[key])
	}
	return l.JudgeBy(policy, all)
}

// Tally counts decisions, for as long as the gateway runs. The zero value is ready; it is safe for concurrent use.
type Tally struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (t *Tally) add(d bundled.Decision) {
	outcome := "loaded"
	if !d.OK {
		outcome = string(d.Reason)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]uint64{}
	}
	t.counts[outcome]++
}

// Counts are the decisions by outcome.
func (t *Tally) Counts() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := maps.Clone(t.counts)
	if counts == nil {
		counts = map[string]uint64{}
	}
	return counts
}
