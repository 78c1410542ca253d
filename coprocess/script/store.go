package script

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Bounds of what one script keeps in the store, per entry.
const (
	MaxStoreKey   = 256      // bytes
	MaxStoreValue = 64 << 10 // bytes
	storeTimeout  = 2 * time.Second
)

// ErrEntry is the cause of a key or value that is refused.
var ErrEntry = errors.New("not a possible entry")

// Storage is what a [Store] keeps its entries in.
type Storage interface {
	store.Reader
	store.Writer
}

// Store is what scripts keep beyond a request: entries of their own, under a prefix, each with an end or none. One call
// takes at most 2 s. It is safe for concurrent use.
type Store struct {
	open   func() (Storage, error)
	prefix string
	now    func() time.Time
}

// NewStore returns the entries whose keys in the storage begin with "script/", the name and a slash. Stores of equal
// names share them. open, which is called at each use, returns the storage: a gateway whose scripts keep nothing opens none.
// A nil now is time.Now.
func NewStore(open func() (Storage, error), name string, now func() time.Time) *Store {
	if now == nil {
		now = time.Now
	}
	return &Store{open: open, prefix: StorePrefix(name), now: now}
}

// StorePrefix is what the keys of a script of that name begin with in the storage.
func StorePrefix(name string) string { return "script/" + name + "/" }

// Get returns what is under key, and whether there is anything.
func (s *Store) Get(ctx context.Context, key string) ([]byte, bool, error) {
	e, ok, err := s.entry(ctx, key)
	return e.Value, ok, err
}

// Set puts the value under key, for ttl; 0 is for good.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	e, err := s.made(key, value, ttl)
	if err != nil {
		return err
	}
	return s.use(ctx, func(ctx context.Context, in Storage) error {
		return in.Apply(ctx, store.Write{Key: s.prefix + key, Entry: e, Quiet: true})
	})
}

// SetNew is Set where nothing is under key yet; it reports whether it wrote.
func (s *Store) SetNew(ctx context.Context, key string, value []byte, ttl time.Duration) (bool, error) {
	e, err := s.made(key, value, ttl)
	if err != nil {
		return false, err
	}
	wrote := false
	err = s.use(ctx, func(ctx context.Context, in Storage) (err error) {
		wrote, err = in.PutNew(ctx, s.prefix+key, e)
		return err
	})
	return wrote, err
}

// Delete removes what is under key, if there is anything.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(key, nil); err != nil {
		return err
	}
	return s.use(ctx, func(ctx context.Context, in Storage) error {
		return in.Apply(ctx, store.Write{Key: s.prefix + key, Delete: true, Quiet: true})
	})
}

// Look is Get and TTL in one.
func (s *Store) Look(ctx context.Context, key string) (value []byte, left time.Duration, ok bool, err error) {
	e, ok, err := s.entry(ctx, key)
	return e.Value, s.left(e), ok, err
}

func (s *Store) left(e store.Entry) time.Duration {
	if e.Expires.IsZero() {
		return 0
	}
	return max(e.Expires.Sub(s.now()), time.Millisecond)
}

// TTL returns how long the entry still is there; 0 for good. ok says whether it is there at all.
func (s *Store) TTL(ctx context.Context, key string) (left time.Duration, ok bool, err error) {
	e, ok, err := s.entry(ctx, key)
	return s.left(e), ok, err
}

// Add adds to the decimal number under key, 0 if there is none, and returns the sum. A new number ends after ttl, 0 for
// good; one that is there keeps its end.
func (s *Store) Add(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	e, err := s.made(key, nil, ttl)
	if err != nil {
		return 0, err
	}
	var sum int64
	err = s.use(ctx, func(ctx context.Context, in Storage) (err error) {
		sum, err = in.Add(ctx, s.prefix+key, delta, e.Expires)
		return err
	})
	return sum, err
}

func (s *Store) entry(ctx context.Context, key string) (store.Entry, bool, error) {
	if err := check(key, nil); err != nil {
		return store.Entry{}, false, err
	}
	var e store.Entry
	err := s.use(ctx, func(ctx context.Context, in Storage) (err error) {
		e, err = in.Get(ctx, s.prefix+key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.Entry{}, false, nil
	}
	return e, err == nil, err
}

// use opens the storage and bounds what is done with it.
func (s *Store) use(ctx context.Context, do func(context.Context, Storage) error) error {
	storage, err := s.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return do(ctx, storage)
}

func (s *Store) made(key string, value []byte, ttl time.Duration) (store.Entry, error) {
	if err := check(key, value); err != nil {
		return store.Entry{}, err
	}
	if ttl < 0 {
		return store.Entry{}, fmt.Errorf("%w: negative time to live %v", ErrEntry, ttl)
	}
	if value == nil {
		value = []byte{}
	}
	e := store.Entry{Value: value}
	if ttl > 0 {
		e.Expires = s.now().Add(ttl)
	}
	return e, nil
}

func check(key string, value []byte) error {
	switch {
	case key == "" || len(key) > MaxStoreKey:
		return fmt.Errorf("%w: a key has 1 to %d bytes, this one %d", ErrEntry, MaxStoreKey, len(key))
	case len(value) > MaxStoreValue:
		return fmt.Errorf("%w: a value has at most %d bytes, this one %d", ErrEntry, MaxStoreValue, len(value))
	}
	return nil
}
