package jwks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a set had no key.
var (
	// ErrUnknown says that no set has a key of that id.
	ErrUnknown = errors.New("no such key in the key set")
	// ErrUnavailable says that a set has not been fetched yet, or that what was fetched is too old to be trusted. It
	// wraps the cause.
	ErrUnavailable = errors.New("key set unavailable")
)

// state is what is known of an endpoint after an attempt. It is immutable but for next, which is closed when there is a
// newer one.
type state struct {
	keys    []*Key
	byID    map[string][]*Key
	fetched time.Time // when keys were; zero: never
	err     error     // of the last attempt
	next    chan struct{}
}

func newState(keys []*Key, fetched time.Time, err error) *state {
	s := &state{keys: keys, byID: make(map[string][]*Key, len(keys)), fetched: fetched, err: err, next: make(chan struct{})}
	for _, k := range keys {
		s.byID[k.ID] = append(s.byID[k.ID], k)
	}
	return s
}

// follow makes the state after a successful fetch: keys that are the same keep their pointers.
func (s *state) follow(keys []*Key, now time.Time) *state {
	for i, k := range keys {
		for _, old := range s.byID[k.ID] {
			if old.equal(k) {
				keys[i] = old
			}
		}
	}
	return newState(keys, now, nil)
}

// Set is one user's hold on the key set of a URL. It is safe for concurrent use until it is closed.
type Set struct {
	at       *endpoint
	cacheFor time.Duration
}

// usable returns the state, or why its keys must not be used.
func (s *Set) usable(now time.Time) (*state, error) {
	st := s.at.state.Load()
	if st.fetched.IsZero() || now.Sub(st.fetched) > s.cacheFor+s.at.options.MaxStale {
		if st.err == nil {
			return st, ErrUnavailable
		}
		return st, fmt.Errorf("%w: %w", ErrUnavailable, st.err)
	}
	return st, nil
}

// Has reports whether k, which came from this set, is in it still and may be used. It never waits.
func (s *Set) Has(k *Key, now time.Time) bool {
	st, err := s.usable(now)
	return err == nil && slices.Contains(st.byID[k.ID], k)
}

// Close lets go of the set. When nobody else holds it, what fetches it is stopped and waited for. Close it once.
func (s *Set) Close() { s.at.owner.release(s) }

// Sets are the key sets that together verify the tokens of one API.
type Sets []*Set

// Find returns the keys of that id, at least one and in no more than a few copies; all keys there are when id is empty.
// When no set knows the id, it asks for newer sets and waits for them, within bounds: see [Options]. The slice is not to
// be changed. Errors are ErrUnknown, ErrUnavailable and those of ctx.
func (g Sets) Find(ctx context.Context, id string) ([]*Key, error) {
	keys, err := g.look(id)
	if len(keys) > 0 || id == "" && err == nil {
		return keys, err
	}
	// All are asked before one is waited for, so that a slow one hides no other.
	var waits []<-chan struct{}
	for _, s := range g {
		if wait := s.at.ask(); wait != nil {
			waits = append(waits, wait)
		}
	}
	if len(waits) == 0 {
		return g.look(id) // an attempt may have ended meanwhile
	}
	patience := time.NewTimer(g[0].at.options.Wait)
	defer patience.Stop()
	for len(waits) > 0 {
		select {
		case <-waits[0]:
			waits = waits[1:]
		case <-patience.C:
			waits = nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if keys, err = g.look(id); len(keys) > 0 {
			break
		}
	}
	return keys, err
}

// look is Find without waiting. An unknown id is ErrUnavailable when a set is, since it may have been there.
func (g Sets) look(id string) ([]*Key, error) {
	var found []*Key
	err := ErrUnknown
	now := time.Now()
	for _, s := range g {
		st, why := s.usable(now)
		if why != nil {
			err = why
			continue
		}
		keys := st.keys
		if id != "" {
			keys = st.byID[id]
		}
		if found == nil {
			found = keys
		} else {
			found = append(slices.Clip(found), keys...)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// Has reports whether k, which came from one of the sets, is in it still. It never waits.
func (g Sets) Has(k *Key, now time.Time) bool {
	for _, s := range g {
		if s.Has(k, now) {
			return true
		}
	}
	return false
}

// Close closes every set.
func (g Sets) Close() {
	for _, s := range g {
		s.Close()
	}
}
