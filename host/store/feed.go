package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// Feed hands changes to watchers. It is a part that stores are made of; the zero value has no watcher.
type Feed struct {
	mu       sync.RWMutex
	watchers map[*func(Change)]struct{}
}

// Watch is Watcher's.
func (f *Feed) Watch(told func(Change)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.watchers == nil {
		f.watchers = map[*func(Change)]struct{}{}
	}
	f.watchers[&told] = struct{}{}
	return func() {
		f.mu.Lock() // waits for the calls under way
		defer f.mu.Unlock()
		delete(f.watchers, &told)
	}
}

// Tell calls every watcher, and returns when all have returned.
func (f *Feed) Tell(c Change) {
	if len(c.Keys) == 0 && !c.All {
		return
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for told := range f.watchers {
		(*told)(c)
	}
}

// Signal holds a Status. It is a part that stores are made of.
type Signal struct {
	mu      sync.Mutex // one Set at a time
	current atomic.Pointer[signal]
}

type signal struct {
	status Status
	next   chan struct{}
}

// NewSignal begins with a status.
func NewSignal(err error, now time.Time) *Signal {
	s := &Signal{}
	s.current.Store(newSignal(err, now))
	return s
}

func newSignal(err error, now time.Time) *signal {
	next := make(chan struct{})
	return &signal{status: Status{Err: err, Since: now, Next: next}, next: next}
}

// Status is Prober's.
func (s *Signal) Status() Status { return s.current.Load().status }

// Set makes err the status. The same state again, by its text, is no news.
func (s *Signal) Set(err error, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	if was := old.status.Err; (was == nil) == (err == nil) && (err == nil || was.Error() == err.Error()) {
		return
	}
	s.current.Store(newSignal(err, now))
	close(old.next)
}
