// Package orgs keeps what is said of organisations: a session each, in the shape of a key's.
package orgs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	prefix  = "org/"
	maxID   = 256
	maxPage = 1000
)

// ErrUnknown says that nothing is kept of an organisation.
var ErrUnknown = errors.New("organisation not known")

// Store is what of a store organisations need.
type Store interface {
	store.Reader
	store.Writer
}

// Orgs is safe for concurrent use.
type Orgs struct{ storage Store }

// New returns the organisations of a store.
func New(storage Store) *Orgs { return &Orgs{storage: storage} }

// Get returns ErrUnknown when there is no session of that organisation.
func (o *Orgs) Get(ctx context.Context, id string) (*identity.Session, error) {
	e, err := o.storage.Get(ctx, key(id))
	if errors.Is(err, store.ErrNotFound) || len(key(id)) > store.MaxKey {
		return nil, fmt.Errorf("organisation %q: %w", id, ErrUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("organisation %q: %w", id, err)
	}
	return decode(id, e)
}

// Put stores a session, whose organisation becomes id, and reports whether it is the first.
func (o *Orgs) Put(ctx context.Context, id string, s *identity.Session) (added bool, err error) {
	w, err := Write(id, s)
	if err != nil {
		return false, err
	}
	err = o.storage.Update(ctx, w.Key, func(old *store.Entry) (*store.Entry, error) {
		added = old == nil
		return &w.Entry, nil
	})
	if err != nil {
		return false, fmt.Errorf("organisation %q: %w", id, err)
	}
	return added, nil
}

// Write is what stores a session.
func Write(id string, s *identity.Session) (store.Write, error) {
	if id == "" || len(id) > maxID || len(key(id)) > store.MaxKey {
		return store.Write{}, fmt.Errorf("%w organisation: an id has 1 to %d bytes", identity.ErrInvalid, maxID)
	}
	c := s.Clone()
	c.OrgID = id
	c.QuotaRenews, c.QuotaRemaining, c.Allowance, c.LastCheck = 0, 0, 0, 0
	data, err := c.MarshalJSON()
	if err != nil {
		return store.Write{}, err
	}
	return store.Write{Key: key(id), Entry: store.Entry{Value: data}}, nil
}

// Delete returns ErrUnknown when there is nothing.
func (o *Orgs) Delete(ctx context.Context, id string) error {
	if len(key(id)) > store.MaxKey {
		return fmt.Errorf("organisation %q: %w", id, ErrUnknown)
	}
	found := false
	err := o.storage.Update(ctx, key(id), func(old *store.Entry) (*store.Entry, error) {
		found = old != nil
		return nil, nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("organisation %q: %w", id, err)
	case !found:
		return fmt.Errorf("organisation %q: %w", id, ErrUnknown)
	}
	return nil
}

// Page is a part of a listing; it may be empty and still have a Next.
type Page struct {
	IDs  []string
	Next string // empty after the last one
}

// List returns ids from a cursor on, about limit of them (0: 100).
func (o *Orgs) List(ctx context.Context, cursor string, limit int) (Page, error) {
	listed, err := o.storage.List(ctx, prefix, cursor, min(limit, maxPage))
	if err != nil {
		return Page{}, fmt.Errorf("list organisations: %w", err)
	}
	page := Page{IDs: make([]string, 0, len(listed.Keys)), Next: listed.Next}
	for _, k := range listed.Keys {
		if id, err := url.PathUnescape(strings.TrimPrefix(k, prefix)); err == nil {
			page.IDs = append(page.IDs, id)
		}
	}
	return page, nil
}

func key(id string) string { return prefix + url.PathEscape(id) }

func decode(id string, e store.Entry) (*identity.Session, error) {
	s, err := identity.DecodeSession(e.Value)
	if err != nil {
		return nil, fmt.Errorf("organisation %q in the store: %w", id, err)
	}
	return s, nil
}
