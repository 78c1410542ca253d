package share

import (
	"io"
	"sync"
)

// Keyed shares things by what they are made of: who asks first for one opens it, and the last to give it back closes it.
// The zero value is ready. It is safe for concurrent use.
type Keyed[K comparable, V io.Closer] struct {
	mu   sync.Mutex
	open map[K]*keyed[V]
}

type keyed[V io.Closer] struct {
	value V
	users int
}

// Get returns the thing under the key, which open makes when nobody has it. Others wait meanwhile.
func (k *Keyed[K, V]) Get(key K, open func() (V, error)) (*Lease[K, V], error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.open[key]
	if one == nil {
		value, err := open()
		if err != nil {
			return nil, err
		}
		one = &keyed[V]{value: value}
		if k.open == nil {
			k.open = map[K]*keyed[V]{}
		}
		k.open[key] = one
	}
	one.users++
	return &Lease[K, V]{Value: one.value, key: key, one: one, from: k}, nil
}

// Each calls f for everything that is open, with the number of its users, in no order. f must not call k.
func (k *Keyed[K, V]) Each(f func(key K, value V, users int)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, one := range k.open {
		f(key, one.value, one.users)
	}
}

// Lease is one use of a thing.
type Lease[K comparable, V io.Closer] struct {
	Value V

	key  K
	one  *keyed[V]
	from *Keyed[K, V]
	once sync.Once
}

// Identity is equal for leases of one and the same thing.
func (l *Lease[K, V]) Identity() any { return l.one }

// Close gives the thing back; the last lease's closes it. A second call does nothing.
func (l *Lease[K, V]) Close() error {
	var err error
	l.once.Do(func() {
		l.from.mu.Lock()
		l.one.users--
		last := l.one.users == 0
		if last {
			delete(l.from.open, l.key)
		}
		l.from.mu.Unlock()
		if last {
			err = l.Value.Close()
		}
	})
	return err
}
