package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	prefix     = "quota/"
	writeLimit = 4096 // records in one batch: each costs the store a sync, and holds up other writes while it is made
	longPart   = 256  // bytes; a longer part of a record's key is written as its digest
)

// recordKey is where a quota is kept: quota/OWNER/SCOPE.
func recordKey(k limit.Key) string { return ownerPrefix(k.Owner) + part(k.Scope) }

func ownerPrefix(owner string) string { return prefix + part(owner) + "/" }

func part(s string) string {
	if s = url.PathEscape(s); len(s) <= longPart {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "~~" + hex.EncodeToString(sum[:])
}

// A record is "USED BEGUN", the latter in milliseconds since 1970.
func appendRecord(b []byte, used, begun int64) []byte {
	b = append(strconv.AppendInt(b, used, 10), ' ')
	return strconv.AppendInt(b, begun/int64(time.Millisecond), 10)
}

// parseRecord reads a record; there is nothing used in an empty one.
func parseRecord(b []byte) (used, begun int64, err error) {
	if len(b) == 0 {
		return 0, 0, nil
	}
	first, second, _ := strings.Cut(string(b), " ")
	used, err = strconv.ParseInt(first, 10, 64)
	if err == nil {
		begun, err = strconv.ParseInt(second, 10, 64)
	}
	const most = math.MaxInt64/int64(time.Millisecond) - 1
	if err != nil || used < 0 || begun < -most || begun > most {
		return 0, 0, fmt.Errorf("%w: %q is no count and time", store.ErrCorrupt, b)
	}
	return used, begun * int64(time.Millisecond), nil
}

// change puts a counter on the list of what is to be written, once.
func (q *quotas) change(key limit.Key, c *counter) {
	if q.records == nil || c.dirty.Load() || !c.dirty.CompareAndSwap(false, true) {
		return
	}
	q.append(change{key, c})
}

func (q *quotas) append(changes ...change) {
	for _, c := range changes {
		u := &q.unsaved[q.table.Shard(c.key.Owner)]
		u.Lock()
		u.list = append(u.list, c)
		u.Unlock()
	}
}

// save waits for the right to write records.
func (q *quotas) save(ctx context.Context) (done func(), err error) {
	select {
	case q.saving <- struct{}{}:
		return func() { <-q.saving }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// flush writes what has changed, and returns when the store has it. What could not be written stays on the list.
func (q *quotas) flush(ctx context.Context) error {
	if q.records == nil {
		return nil
	}
	done, err := q.save(ctx)
	if err != nil {
		return err
	}
	defer done()
	var batch []change
	for i := range q.unsaved {
		u := &q.unsaved[i]
		u.Lock()
		batch = append(batch, u.list...)
		u.list = nil
		u.Unlock()
	}
	for len(batch) > 0 {
		n := min(writeLimit, len(batch))
		if err := q.write(ctx, batch[:n]); err != nil {
			q.append(batch...)
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// write writes a batch of counters, all of them marked as dirty; they still are if it fails.
func (q *quotas) write(ctx context.Context, batch []change) error {
	writes, counts := make([]store.Write, 0, len(batch)), make([]int64, len(batch))
	for i, c := range batch {
		c.dirty.Store(false) // before it is read, so that a later change is on the list again
		used := c.used.Load()
		if counts[i] = used; used == sealed { // its successor is on the list, or it was reset
			continue
		}
		w := store.Write{Key: recordKey(c.key), Quiet: true, Delete: used == 0}
		w.Value = appendRecord(nil, used, c.begun)
		if renewal := c.renewal.Load(); renewal > 0 {
			w.Expires = later(c.begun, time.Duration(renewal))
		}
		writes = append(writes, w)
	}
	if err := q.records.Apply(ctx, writes...); err != nil {
		for i := range batch {
			batch[i].dirty.Store(true) // a second entry on the list does no harm
		}
		return unavailable("write quotas", err)
	}
	for i, c := range batch {
		c.saved.Store(counts[i])
	}
	return nil
}

// reset drops counters and their records.
func (q *quotas) reset(ctx context.Context, keys []limit.Key) error {
	done, err := q.save(ctx)
	if err != nil {
		return unavailable("reset quotas", err)
	}
	defer done()
	for _, key := range keys {
		if err := q.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (q *quotas) remove(ctx context.Context, key limit.Key) error {
	h := q.table.Hash(key)
	q.loading[h.Shard()].Lock()
	defer q.loading[h.Shard()].Unlock()
	if q.records != nil { // first, so that an error leaves all as it was
		if err := q.records.Apply(ctx, store.Write{Key: recordKey(key), Delete: true, Quiet: true}); err != nil {
			return unavailable("reset a quota", err)
		}
	}
	q.table.Drop(h, key, func(c *counter) bool {
		c.used.Store(sealed)
		return true
	})
	return nil
}

// forget drops all counters of an owner, and their records.
func (q *quotas) forget(ctx context.Context, owner string) error {
	done, err := q.save(ctx)
	if err != nil {
		return unavailable("forget quotas", err)
	}
	defer done()
	loading := &q.loading[q.table.Shard(owner)]
	loading.Lock()
	defer loading.Unlock()
	for cursor := ""; q.records != nil; {
		page, err := q.records.List(ctx, ownerPrefix(owner), cursor, writeLimit)
		if err != nil {
			return unavailable("forget quotas", err)
		}
		writes := make([]store.Write, len(page.Keys))
		for i, key := range page.Keys {
			writes[i] = store.Write{Key: key, Delete: true, Quiet: true}
		}
		if len(writes) > 0 {
			if err := q.records.Apply(ctx, writes...); err != nil {
				return unavailable("forget quotas", err)
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	q.table.DropOwner(owner, func(_ limit.Key, c *counter) bool {
		c.used.Store(sealed)
		return true
	})
	return nil
}
