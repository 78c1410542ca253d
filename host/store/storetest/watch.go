package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// told notes what a watcher was told.
type told struct {
	mu   sync.Mutex
	keys []string
	news chan struct{} // room for one
}

func watch(t *testing.T, s store.Store) (*told, func()) {
	w := &told{news: make(chan struct{}, 1)}
	stop := s.Watch(func(c store.Change) {
		w.mu.Lock()
		w.keys = append(w.keys, c.Keys...)
		if c.All {
			w.keys = append(w.keys, "*")
		}
		w.mu.Unlock()
		select {
		case w.news <- struct{}{}:
		default:
		}
	})
	t.Cleanup(stop)
	return w, stop
}

func (w *told) of(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.keys, key)
}

func (w *told) await(t *testing.T, key string, limit time.Duration) {
	t.Helper()
	timeout := time.After(limit)
	for !w.of(key) {
		select {
		case <-w.news:
		case <-timeout:
			t.Fatalf("not told of %q within %v", key, limit)
		}
	}
}

// On its own gateway a change is told before the write returns.
func testWatch(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	w, stop := watch(t, s)
	now := func(key string, wanted bool) {
		t.Helper()
		if w.of(key) != wanted {
			t.Errorf("told of %q: %t, want %t", key, !wanted, wanted)
		}
	}
	put(t, s, "w/put", "1", time.Time{})
	now("w/put", true)
	err := s.Apply(ctx, store.Write{Key: "w/a"}, store.Write{Key: "w/b"}, store.Write{Key: "w/quiet", Quiet: true}, store.Write{Key: "w/gone"},
		store.Write{Key: "w/gone", Delete: true})
	if err != nil {
		t.Fatal(err)
	}
	now("w/a", true)
	now("w/b", true)
	now("w/gone", true)
	now("w/quiet", false)
	if err := s.Update(ctx, "w/update", func(*store.Entry) (*store.Entry, error) { return &store.Entry{}, nil }); err != nil {
		t.Fatal(err)
	}
	now("w/update", true)
	if err := s.Update(ctx, "w/same", func(old *store.Entry) (*store.Entry, error) { return old, nil }); err != nil {
		t.Fatal(err)
	}
	now("w/same", false)
	if _, err := s.PutNew(ctx, "w/new", store.Entry{}); err != nil {
		t.Fatal(err)
	}
	now("w/new", false)
	stop()
	put(t, s, "w/after", "1", time.Time{})
	now("w/after", false)
}

// On another gateway it is told within a second, in both directions, and what is read then is new.
func testWatchPeer(t *testing.T, f Fixture) {
	if f.Peer == nil {
		t.Skip("this store has one gateway")
	}
	here, _ := watch(t, f.Store)
	there, _ := watch(t, f.Peer)
	for range 20 {
		put(t, f.Store, "p/\x00\xff1", time.Now().String(), time.Time{})
		there.await(t, "p/\x00\xff1", time.Second)
		put(t, f.Peer, "p/2", "v", time.Time{})
		here.await(t, "p/2", time.Second)
		want(t, f.Store, "p/2", "v")
		there.forget()
		here.forget()
	}
	if err := f.Store.Apply(deadline(t), store.Write{Key: "p/quiet", Quiet: true}, store.Write{Key: "p/loud"}); err != nil {
		t.Fatal(err)
	}
	there.await(t, "p/loud", time.Second)
	if there.of("p/quiet") {
		t.Error("told of a quiet write")
	}
}

func (w *told) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = nil
}

// A caller that left is not served, and nothing happens for it.
func testContexts(t *testing.T, f Fixture) {
	s := f.Store
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := calls(s)
	for name, call := range calls {
		if err := call(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantNone(t, s, "k")
	if status := s.Status(); status.Err != nil {
		t.Errorf("the store's status is %v", status.Err)
	}
}

func calls(s store.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get":   func(ctx context.Context) error { _, err := s.Get(ctx, "k"); return err },
		"many":  func(ctx context.Context) error { _, err := s.Many(ctx, []string{"k"}); return err },
		"list":  func(ctx context.Context) error { _, err := s.List(ctx, "k", "", 1); return err },
		"apply": func(ctx context.Context) error { return s.Apply(ctx, store.Write{Key: "k"}) },
		"update": func(ctx context.Context) error {
			return s.Update(ctx, "k", func(*store.Entry) (*store.Entry, error) { return &store.Entry{}, nil })
		},
		"put new": func(ctx context.Context) error { _, err := s.PutNew(ctx, "k", store.Entry{}); return err },
		"add":     func(ctx context.Context) error { _, err := s.Add(ctx, "k", 1, time.Time{}); return err },
	}
}

func testClose(t *testing.T, f Fixture) {
	put(t, f.Store, "k", "v", time.Time{})
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range calls(f.Store) {
		if err := call(deadline(t)); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
