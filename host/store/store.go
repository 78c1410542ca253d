package store

import (
	"context"
	"time"
)

// Limits of one entry, the same for every store, so that what one takes the other takes too.
const (
	MaxKey   = 1 << 10 // bytes
	MaxValue = 16 << 20
)

// Entry is what is kept under a key.
type Entry struct {
	// Value is never nil in an Entry that was read. It belongs to whoever read it; what is written may be used again
	// as soon as the call returns.
	Value []byte
	// Expires is when the entry ends, to the millisecond; zero is never.
	Expires time.Time
}

// Ended reports whether the entry's end has come.
func (e Entry) Ended(now time.Time) bool { return !e.Expires.IsZero() && !now.Before(e.Expires) }

// Write is one change of a batch.
type Write struct {
	Key string
	Entry
	// Delete removes what is under Key, and Entry is ignored. An Entry that has already ended does the same.
	Delete bool
	// Quiet tells no watcher: for what nobody caches.
	Quiet bool
}

// Page is a part of a listing.
type Page struct {
	Keys []string
	// Next is the cursor of the next page, empty after the last one. It is opaque, printable, and good for the store
	// that gave it.
	Next string
}

// Reader reads entries.
type Reader interface {
	// Get returns ErrNotFound when there is nothing, or nothing any more.
	Get(ctx context.Context, key string) (Entry, error)
	// Many returns one Entry for each key, in their order; its Value is nil where there is nothing.
	Many(ctx context.Context, keys []string) ([]Entry, error)
	// List returns about limit keys (0: 100) that begin with prefix, from the cursor on; the empty cursor begins. A page
	// may be empty and still have a next one. A key that is there during the whole listing comes at least once, one
	// that comes or goes meanwhile may or may not; the order is the store's, and Redis may return a key twice. Memory is
	// bounded by the page. A cursor the store did not give is ErrCursor, and so is one of a node that has gone.
	List(ctx context.Context, prefix, cursor string, limit int) (Page, error)
}

// Writer changes entries.
type Writer interface {
	// Apply makes the changes, in order, as one batch: all or none in bolt and on one Redis; in a Redis cluster each
	// alone, and an error then says that some may be missing. Applying the batch again does no harm.
	Apply(ctx context.Context, writes ...Write) error
	// Update changes one entry by what it is: change gets the entry, nil when there is none, and returns what shall be
	// there, nil for nothing; it may return its argument, changed or not, but must leave the bytes of the old Value alone.
	// What is as it was is not written. change may be called several times, when others change the same key meanwhile.
	// Its error is returned as it is. The context bounds the attempts.
	Update(ctx context.Context, key string, change func(old *Entry) (*Entry, error)) error
	// PutNew writes the entry if there is none, and reports whether it did. No watcher is told.
	PutNew(ctx context.Context, key string, e Entry) (bool, error)
	// Add adds to a decimal number and returns the sum. A number that is not there counts as 0 and gets the end
	// expires (zero: none); one that is there keeps its end. ErrNumber when there is something else, or the sum does not
	// fit. No watcher is told. A failure of the network can leave open whether it was added.
	Add(ctx context.Context, key string, delta int64, expires time.Time) (int64, error)
}

// Change tells a watcher what may differ from what was read before.
type Change struct {
	Keys []string // must not be changed
	// All says that anything may: changes of others may have been missed.
	All bool
}

// Watcher tells of changes, its own gateway's and others'.
type Watcher interface {
	// Watch calls told for each change until stop is called: for changes of this gateway after they can be read and
	// before the write returns, for those of others within 1 s. When the connection that tells of others fails, and when
	// it is back, told gets All. It must be quick, and call neither the store nor stop; calls come from several
	// goroutines. After stop returned there are no more.
	Watch(told func(Change)) (stop func())
}

// Status is how a store is.
type Status struct {
	Err   error // why it does not serve, nil when it does
	Since time.Time
	Next  <-chan struct{} // closed when there is a newer Status
}

// Prober says how a store is, without asking it.
type Prober interface {
	Status() Status
}

// Store is all of it. What opened a store closes it; the interface has no Close, since users do not.
type Store interface {
	Reader
	Writer
	Watcher
	Prober
}
