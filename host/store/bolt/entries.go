package bolt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Get is store.Reader's.
func (s *Store) Get(ctx context.Context, key string) (e store.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return store.Entry{}, fmt.Errorf("store: read: %w", err)
	}
	r, err := s.readers.acquire()
	if err != nil {
		return store.Entry{}, err
	}
	defer s.readers.release(r, &err)
	return r.get(key, s.options.Now())
}

// get returns a copy of a live entry.
func (d *reader) get(key string, now time.Time) (store.Entry, error) {
	if key == "" {
		return store.Entry{}, store.ErrNotFound
	}
	d.key = append(d.key[:0], key...)
	found, record := d.entries.Seek(d.key)
	if !bytes.Equal(found, d.key) {
		return store.Entry{}, store.ErrNotFound
	}
	e, err := parseRecord(record)
	if err != nil {
		return store.Entry{}, err
	}
	if e.Ended(now) {
		return store.Entry{}, store.ErrNotFound
	}
	e.Value = append(make([]byte, 0, len(e.Value)), e.Value...)
	return e, nil
}

// Many is store.Reader's. All entries are of one state.
func (s *Store) Many(ctx context.Context, keys []string) (all []store.Entry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: read: %w", err)
	}
	r, err := s.readers.acquire()
	if err != nil {
		return nil, err
	}
	defer s.readers.release(r, &err)
	now := s.options.Now()
	all = make([]store.Entry, len(keys))
	for i, key := range keys {
		if all[i], err = r.get(key, now); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	return all, nil
}

// List is store.Reader's. Keys come in their order, at most limit of them. The cursor is the last key of the page.
func (s *Store) List(ctx context.Context, prefix, cursor string, limit int) (page store.Page, err error) {
	if err := ctx.Err(); err != nil {
		return store.Page{}, fmt.Errorf("store: list: %w", err)
	}
	if limit <= 0 {
		limit = 100
	}
	from := []byte(prefix)
	if cursor != "" {
		last, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil || !bytes.HasPrefix(last, from) {
			return store.Page{}, store.ErrCursor
		}
		from = append(last, 0) // the next possible key
	}
	r, err := s.readers.acquire()
	if err != nil {
		return store.Page{}, err
	}
	defer s.readers.release(r, &err)
	now := s.options.Now()
	for key, record := r.entries.Seek(from); key != nil && bytes.HasPrefix(key, []byte(prefix)); key, record = r.entries.Next() {
		e, err := parseRecord(record)
		if err != nil {
			return store.Page{}, err
		}
		if e.Ended(now) {
			continue
		}
		if len(page.Keys) == limit {
			page.Next = base64.RawURLEncoding.EncodeToString([]byte(page.Keys[limit-1]))
			break
		}
		page.Keys = append(page.Keys, string(key))
	}
	return page, nil
}

// Many writes in the order of their keys fill pages from the first to the last, and need not leave half of each to those
// that come between.
const (
	manyOrdered = 1000
	orderedFill = 0.9
)

// Apply is store.Writer's: all or none. A write of what is already there costs nothing.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	bytes := 0
	for _, w := range writes {
		if err := store.Check(w.Key, w.Entry); err != nil {
			return err
		}
		bytes += len(w.Key) + len(w.Value)
	}
	if len(writes) == 0 {
		return nil
	}
	writes = slices.Clone(writes)
	for i := range writes {
		writes[i].Value = slices.Clone(writes[i].Value) // the caller may leave, and use it again, before it is written
	}
	ordered := len(writes) >= manyOrdered && slices.IsSortedFunc(writes, func(a, b store.Write) int { return strings.Compare(a.Key, b.Key) })
	return s.do(ctx, len(writes), bytes, func(b *batch) error {
		if ordered {
			b.entries.FillPercent = orderedFill
		}
		for _, w := range writes {
			changed, err := b.write(w)
			if err != nil {
				return err
			}
			if changed && !w.Quiet {
				b.told = append(b.told, w.Key)
			}
		}
		return nil
	})
}

// write makes one change unless it is none, and reports whether it was.
func (b *batch) write(w store.Write) (bool, error) {
	key := []byte(w.Key)
	old := b.entries.Get(key)
	if w.Delete || w.Ended(b.now) {
		if old == nil {
			return false, nil
		}
		b.wrote = true
		return true, b.entries.Delete(key)
	}
	record := appendRecord(make([]byte, 0, recordHead+len(w.Value)), w.Entry)
	if old != nil && bytes.Equal(old, record) {
		return false, nil
	}
	b.wrote = true
	return true, b.entries.Put(key, record)
}

// live returns what is under the key, nil when there is nothing; it refers to the file's memory.
func (b *batch) live(key string) (*store.Entry, error) {
	record := b.entries.Get([]byte(key))
	if record == nil {
		return nil, nil
	}
	e, err := parseRecord(record)
	if err != nil || e.Ended(b.now) {
		return nil, err
	}
	return &e, nil
}

// Update is store.Writer's. change runs on the caller's goroutine; what it saw is compared when its result is written.
func (s *Store) Update(ctx context.Context, key string, change func(*store.Entry) (*store.Entry, error)) error {
	for {
		old, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		w, changed, err := store.Changed(key, old, change)
		if err != nil || !changed {
			return err
		}
		if err := s.swap(ctx, old, w); !errors.Is(err, store.ErrConflict) {
			return err
		} // others were written meanwhile, so this goes on; ctx bounds it
	}
}

// swap writes if old is still what is there, a nil Value for nothing.
func (s *Store) swap(ctx context.Context, old store.Entry, w store.Write) error {
	w.Value = slices.Clone(w.Value)
	return s.do(ctx, 1, len(w.Key)+len(w.Value), func(b *batch) error {
		found, err := b.live(w.Key)
		if err != nil {
			return err
		}
		if (found == nil) != (old.Value == nil) || found != nil && (!bytes.Equal(found.Value, old.Value) || !found.Expires.Equal(old.Expires)) {
			return store.ErrConflict
		}
		changed, err := b.write(w)
		if changed {
			b.told = append(b.told, w.Key)
		}
		return err
	})
}

// PutNew is store.Writer's.
func (s *Store) PutNew(ctx context.Context, key string, e store.Entry) (bool, error) {
	if err := store.Check(key, e); err != nil {
		return false, err
	}
	e.Value = slices.Clone(e.Value)
	put := make(chan bool, 1) // not a variable: a caller that left must not share it
	err := s.do(ctx, 1, len(key)+len(e.Value), func(b *batch) error {
		found, err := b.live(key)
		if err == nil && found == nil {
			_, err = b.write(store.Write{Key: key, Entry: e})
		}
		put <- err == nil && found == nil
		return err
	})
	if err != nil {
		return false, err
	}
	return <-put, nil
}

// Add is store.Writer's.
func (s *Store) Add(ctx context.Context, key string, delta int64, expires time.Time) (int64, error) {
	if err := store.CheckKey(key); err != nil {
		return 0, err
	}
	sums := make(chan int64, 1)
	err := s.do(ctx, 1, len(key)+20, func(b *batch) error {
		found, err := b.live(key)
		if err != nil {
			return err
		}
		if found == nil {
			found = &store.Entry{Value: []byte{'0'}, Expires: expires}
		}
		n, err := strconv.ParseInt(string(found.Value), 10, 64)
		if err != nil || delta > 0 && n > math.MaxInt64-delta || delta < 0 && n < math.MinInt64-delta {
			return fmt.Errorf("%q: %w", key, store.ErrNumber)
		}
		sums <- n + delta
		_, err = b.write(store.Write{Key: key, Entry: store.Entry{Value: strconv.AppendInt(nil, n+delta, 10), Expires: found.Expires}})
		return err
	})
	if err != nil {
		return 0, err
	}
	return <-sums, nil
}
