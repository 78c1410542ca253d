package outbound

import "sync"

// A Tracker knows what a transport has under way, requests or connections, so that a closing one can refuse more, wait
// for what there is, and cut it. It is safe for concurrent use; the zero value is not usable, see [NewTracker].
type Tracker[T comparable] struct {
	mu     sync.Mutex
	all    []T
	at     map[T]int // in all
	closed bool
	empty  chan struct{} // closed when closed and nothing is left
}

// NewTracker returns a Tracker of nothing.
func NewTracker[T comparable]() *Tracker[T] {
	return &Tracker[T]{at: map[T]int{}, empty: make(chan struct{})}
}

// Add adds v, which is not there; it reports false, and adds nothing, once the tracker is closed.
func (t *Tracker[T]) Add(v T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.at[v] = len(t.all)
	t.all = append(t.all, v)
	return true
}

// Remove takes v out. What is not there may be removed.
func (t *Tracker[T]) Remove(v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.at[v]
	if !ok {
		return
	}
	var none T
	last := len(t.all) - 1
	t.all[i] = t.all[last]
	t.at[t.all[i]] = i
	t.all[last] = none
	t.all = t.all[:last]
	delete(t.at, v)
	t.settle()
}

// Each calls do with everything there is, in no order. do must not call the tracker.
func (t *Tracker[T]) Each(do func(T)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, v := range t.all {
		do(v)
	}
}

// Len returns how many there are.
func (t *Tracker[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.all)
}

// Close has Add refuse, and returns a channel that is closed as soon as nothing is left. It may be called again.
func (t *Tracker[T]) Close() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.settle()
	return t.empty
}

// settle, with mu held, says so when a closed tracker is empty.
func (t *Tracker[T]) settle() {
	if !t.closed || len(t.all) > 0 {
		return
	}
	select {
	case <-t.empty:
	default:
		close(t.empty)
	}
}
