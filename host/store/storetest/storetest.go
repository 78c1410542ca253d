// Package storetest is the suite that every store.Store passes.
package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Fixture is a store for one test, empty, and what the suite needs around it.
type Fixture struct {
	Store store.Store // its Status is good
	// Peer is the same store as another gateway has it, its Status good; nil when there can be but one.
	Peer store.Store
	// Now is the store's clock.
	Now func() time.Time
	// Pass returns when the store's clock has moved on by at least d.
	Pass func(d time.Duration)
	// Close closes Store.
	Close func() error
}

// Run runs the suite. open makes a fixture and has the test clean up behind it.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	tests := []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"GetAndApply", testGetAndApply},
		{"Ownership", testOwnership},
		{"Limits", testLimits},
		{"Batch", testBatch},
		{"Many", testMany},
		{"Expiry", testExpiry},
		{"ExpiryOfUpdates", testExpiryOfUpdates},
		{"ExpiryOfNewAndSums", testExpiryOfNewAndSums},
		{"List", testList},
		{"ListPrefix", testListPrefix},
		{"ListCursor", testListCursor},
		{"Update", testUpdate},
		{"UpdateConcurrently", testUpdateConcurrently},
		{"PutNewConcurrently", testPutNewConcurrently},
		{"Add", testAdd},
		{"AddConcurrently", testAddConcurrently},
		{"Watch", testWatch},
		{"WatchPeer", testWatchPeer},
		{"Contexts", testContexts},
		{"Close", testClose},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, s store.Store, key, value string, expires time.Time) {
	t.Helper()
	if err := s.Apply(deadline(t), store.Write{Key: key, Entry: store.Entry{Value: []byte(value), Expires: expires}}); err != nil {
		t.Fatalf("apply %q: %v", key, err)
	}
}

func want(t *testing.T, s store.Store, key, value string) store.Entry {
	t.Helper()
	e, err := s.Get(deadline(t), key)
	if err != nil || string(e.Value) != value {
		t.Fatalf("get %q: %q, %v, want %q", key, e.Value, err, value)
	}
	return e
}

func wantNone(t *testing.T, s store.Store, key string) {
	t.Helper()
	if e, err := s.Get(deadline(t), key); !errors.Is(err, store.ErrNotFound) || e.Value != nil {
		t.Fatalf("get %q: %q, %v, want not found", key, e.Value, err)
	}
}

// all lists what begins with prefix, page by page, and counts the pages.
func all(t *testing.T, s store.Store, prefix string, limit int) (keys map[string]bool, pages int) {
	t.Helper()
	keys = map[string]bool{}
	cursor := ""
	for {
		page, err := s.List(deadline(t), prefix, cursor, limit)
		if err != nil {
			t.Fatalf("list %q from %q: %v", prefix, cursor, err)
		}
		pages++
		for _, key := range page.Keys {
			keys[key] = true
		}
		if cursor = page.Next; cursor == "" {
			return keys, pages
		}
		if pages > 100000 {
			t.Fatal("the listing does not end")
		}
	}
}
