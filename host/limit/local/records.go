package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

const (
	prefix   = "quota/"
	longPart = 256 // bytes; a longer part of a record's key is written as its digest
)

// Entries is what of a store keeps quotas. A store.Store is one.
type Entries interface {
	Get(ctx context.Context, key string) (store.Entry, error)
	List(ctx context.Context, prefix, cursor string, limit int) (store.Page, error)
	Apply(ctx context.Context, writes ...store.Write) error
}

// In keeps quotas as entries of a store: one each, under quota/OWNER/SCOPE.
func In(e Entries) Records { return entries{e} }

type entries struct{ Entries }

// Get is Records's.
func (e entries) Get(ctx context.Context, of counts.Name) (counts.Count, error) {
	entry, err := e.Entries.Get(ctx, recordKey(limit.Key(of)))
	if errors.Is(err, store.ErrNotFound) {
		return counts.Count{}, nil
	}
	if err != nil {
		return counts.Count{}, err
	}
	return parseEntry(recordKey(limit.Key(of)), entry)
}

func parseEntry(key string, e store.Entry) (counts.Count, error) {
	used, begun, err := parseRecord(e.Value)
	if err != nil {
		return counts.Count{}, fmt.Errorf("the quota of %s: %w", key, err)
	}
	c := counts.Count{Used: used, Begun: begun / int64(time.Millisecond)}
	if !e.Expires.IsZero() {
		c.Ends = e.Expires.UnixMilli()
	}
	return c, nil
}

// Save is Records's.
func (e entries) Save(ctx context.Context, changes ...counts.Change) error {
	writes := make([]store.Write, len(changes))
	for i, c := range changes {
		w := store.Write{Key: recordKey(limit.Key(c.Name)), Quiet: true, Delete: c.Used == 0}
		w.Value = appendRecord(nil, c.Used, nanos(c.Begun))
		if c.Ends > 0 {
			w.Expires = time.UnixMilli(c.Ends)
		}
		writes[i] = w
	}
	return e.Apply(ctx, writes...)
}

// Forget is Records's.
func (e entries) Forget(ctx context.Context, owner string) error {
	for cursor := ""; ; {
		page, err := e.List(ctx, ownerPrefix(owner), cursor, writeLimit)
		if err != nil {
			return err
		}
		if err := e.remove(ctx, page.Keys); err != nil {
			return err
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (e entries) remove(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	writes := make([]store.Write, len(keys))
	for i, key := range keys {
		writes[i] = store.Write{Key: key, Delete: true, Quiet: true}
	}
	return e.Apply(ctx, writes...)
}

// Move takes quotas out of entries, where they were kept before a count had a file of its own. It may be broken off, and
// called again. What is counted already stays; a name that was kept as its digest begins anew.
func Move(ctx context.Context, from Entries, to Records) error {
	for cursor := ""; ; {
		page, err := from.List(ctx, prefix, cursor, writeLimit)
		if err != nil {
			return fmt.Errorf("move quotas: %w", err)
		}
		var changes []counts.Change
		for _, key := range page.Keys {
			c, err := movable(ctx, key, from, to)
			if err != nil {
				return fmt.Errorf("move quotas: %w", err)
			}
			if c.Used > 0 {
				changes = append(changes, c)
			}
		}
		if err := to.Save(ctx, changes...); err != nil {
			return fmt.Errorf("move quotas: %w", err)
		}
		if err := (entries{from}).remove(ctx, page.Keys); err != nil {
			return fmt.Errorf("move quotas: %w", err)
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

// movable is what is to be counted in place of an entry; nothing used is nothing.
func movable(ctx context.Context, key string, from Entries, to Records) (counts.Change, error) {
	owner, scope, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	owner, err := url.PathUnescape(owner)
	if err == nil {
		scope, err = url.PathUnescape(scope)
	}
	if err != nil {
		return counts.Change{}, nil // none of ours
	}
	name := counts.Name{Owner: owner, Scope: scope}
	there, err := to.Get(ctx, name)
	if err != nil || there.Used > 0 {
		return counts.Change{}, err
	}
	e, err := from.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return counts.Change{}, nil
	}
	if err != nil {
		return counts.Change{}, err
	}
	c, err := parseEntry(key, e)
	return counts.Change{Name: name, Count: c}, err
}

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
