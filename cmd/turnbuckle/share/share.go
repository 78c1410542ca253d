// Package share is for what the generations of a gateway have in common: each that uses a part holds on to it, the first
// that wants it opens it, and the last that lets go closes it.
package share

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed is what a part answers that everybody has let go of.
var ErrClosed = errors.New("closed")

// Close ends what a part has opened.
type Close func(context.Context) error

// Held is a part of any kind, as those hold it that stand on it.
type Held interface {
	Release(ctx context.Context) error
}

// Part is one thing that may be shared. It is safe for concurrent use.
type Part[T any] struct {
	open  func() (T, Close, error)
	below []Held

	mu     sync.Mutex
	users  int
	opened bool
	value  T
	end    Close
}

// New returns a part with one user. Nothing is opened yet. What it stands on it lets go of after it has been closed.
func New[T any](open func() (T, Close, error), below ...Held) *Part[T] {
	return &Part[T]{open: open, below: below, users: 1}
}

// Get returns the thing, opened if it was not yet. What failed to open is tried again the next time.
func (p *Part[T]) Get() (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var none T
	switch {
	case p.users == 0:
		return none, ErrClosed
	case p.opened:
		return p.value, nil
	}
	v, end, err := p.open()
	if err != nil {
		return none, err
	}
	p.value, p.end, p.opened = v, end, true
	return v, nil
}

// Opened returns the thing if it has been opened.
func (p *Part[T]) Opened() (T, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value, p.opened
}

// Take counts one more user, who releases the part in turn. Whoever takes is a user already, or knows one.
func (p *Part[T]) Take() *Part[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	return p
}

// Release lets go of the part. The last user's release closes it, within ctx, and then lets go of what it stands on.
func (p *Part[T]) Release(ctx context.Context) error {
	p.mu.Lock()
	p.users--
	last := p.users == 0
	end := p.end
	if last {
		var none T
		p.value, p.opened, p.end = none, false, nil
	}
	p.mu.Unlock()
	if !last {
		return nil
	}
	var errs []error
	if end != nil {
		errs = append(errs, end(ctx))
	}
	for _, b := range p.below {
		errs = append(errs, b.Release(ctx))
	}
	return errors.Join(errs...)
}
