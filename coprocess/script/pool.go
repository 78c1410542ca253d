package script

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Pool holds a plugin's interpreters, each for one call at a time. What was used last is used first, so that those not
// needed grow cold and are dropped beyond Limits.Idle. It is safe for concurrent use.
type Pool[V any] struct {
	make  func() (V, error)
	slots chan struct{} // one for each interpreter in use
	keep  int

	mu     sync.Mutex
	idle   []V
	closed bool
	users  sync.WaitGroup
}

// NewPool returns a pool of interpreters that mk makes. l is complete.
func NewPool[V any](l *Limits, mk func() (V, error)) *Pool[V] {
	return &Pool[V]{make: mk, slots: make(chan struct{}, l.Most), keep: min(l.Idle, l.Most)}
}

// Get returns an interpreter, which goes back with Put or away with Discard. It waits until ctx ends when too many are in use, and
// then wraps sdk.ErrOverloaded; of a closed pool the error wraps sdk.ErrUnavailable.
func (p *Pool[V]) Get(ctx context.Context) (V, error) {
	var none V
	select {
	case p.slots <- struct{}{}:
	default:
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return none, ctx.Err()
			}
			return none, fmt.Errorf("%w: all %d interpreters are busy", sdk.ErrOverloaded, cap(p.slots))
		}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.slots
		return none, fmt.Errorf("%w: closed", sdk.ErrUnavailable)
	}
	p.users.Add(1)
	if n := len(p.idle); n > 0 {
		v := p.idle[n-1]
		p.idle[n-1] = none
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return v, nil
	}
	p.mu.Unlock()
	v, err := p.make()
	if err != nil {
		p.Discard()
	}
	return v, err
}

// Put gives an interpreter back, fit for the next call.
func (p *Pool[V]) Put(v V) {
	p.mu.Lock()
	if !p.closed && len(p.idle) < p.keep {
		p.idle = append(p.idle, v)
	}
	p.mu.Unlock()
	p.Discard()
}

// Discard says that an interpreter is not coming back.
func (p *Pool[V]) Discard() {
	<-p.slots
	p.users.Done()
}

// Idle returns how many interpreters wait to be used.
func (p *Pool[V]) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// Close drops what is idle and waits for what is in use.
func (p *Pool[V]) Close() {
	p.mu.Lock()
	p.closed = true
	clear(p.idle)
	p.idle = nil
	p.mu.Unlock()
	p.users.Wait()
}
