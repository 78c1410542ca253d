package script

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Pool holds a plugin's interpreters, each for one call at a time. What was used last is used first, so that those not
// needed grow cold and are dropped beyond Limits.Idle. It is safe for concurrent use.
type Pool[V any] struct {
	make  func() (V, error)
	slots chan struct{} // one for each interpreter in use
	keep  int

	making chan struct{} // one for each that is being made

	mu      sync.Mutex
	idle    []V
	waiting []chan V // who would take one that is given back, the longest waiting first
	closed  bool
	users   sync.WaitGroup
}

// NewPool returns a pool of interpreters that mk makes. l is complete.
func NewPool[V any](l *Limits, mk func() (V, error)) *Pool[V] {
	return &Pool[V]{
		make: mk, slots: make(chan struct{}, l.Most), keep: min(l.Idle, l.Most), making: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
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
	back := make(chan V, 1)
	p.waiting = append(p.waiting, back)
	p.mu.Unlock()
	return p.other(ctx, back)
}

// other takes an interpreter that is given back or, once there is room to make one, makes it: whichever comes first. Making
// many at once would hold up those who could have one in a moment.
func (p *Pool[V]) other(ctx context.Context, back chan V) (v V, err error) {
	select {
	case v = <-back:
		return v, nil
	case p.making <- struct{}{}:
		defer func() { <-p.making }()
		if !p.withdraw(back) {
			return <-back, nil
		}
		if v, err = p.make(); err != nil {
			p.Discard()
		}
		return v, err
	case <-ctx.Done():
		if !p.withdraw(back) {
			p.Put(<-back)
		} else {
			p.Discard()
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return v, ctx.Err()
		}
		return v, fmt.Errorf("%w: no interpreter in time", sdk.ErrOverloaded)
	}
}

// withdraw waits for one no longer. It reports false when one has been given.
func (p *Pool[V]) withdraw(back chan V) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.waiting, back)
	if i < 0 {
		return false
	}
	p.waiting = slices.Delete(p.waiting, i, i+1)
	return true
}

// Put gives an interpreter back, fit for the next call.
func (p *Pool[V]) Put(v V) {
	p.mu.Lock()
	switch {
	case len(p.waiting) > 0:
		p.waiting[0] <- v
		p.waiting = slices.Delete(p.waiting, 0, 1)
	case !p.closed && len(p.idle) < p.keep:
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
