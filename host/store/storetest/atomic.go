package storetest

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func testUpdate(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	set := func(value string) func(*store.Entry) (*store.Entry, error) {
		return func(*store.Entry) (*store.Entry, error) { return &store.Entry{Value: []byte(value)}, nil }
	}
	if err := s.Update(ctx, "k", set("1")); err != nil {
		t.Fatal(err)
	}
	want(t, s, "k", "1")
	no := errors.New("no")
	if err := s.Update(ctx, "k", func(*store.Entry) (*store.Entry, error) { return &store.Entry{}, no }); err != no {
		t.Errorf("the change's error became %v", err)
	}
	if err := s.Update(ctx, "k", func(old *store.Entry) (*store.Entry, error) { return old, nil }); err != nil {
		t.Error(err)
	}
	want(t, s, "k", "1")
	for range 2 {
		if err := s.Update(ctx, "k", func(*store.Entry) (*store.Entry, error) { return nil, nil }); err != nil {
			t.Error(err)
		}
		wantNone(t, s, "k")
	}
	// The empty value is something, and nothing is not the empty value.
	put(t, s, "empty", "", time.Time{})
	err := s.Update(ctx, "empty", func(old *store.Entry) (*store.Entry, error) {
		if old == nil || old.Value == nil {
			t.Error("the empty entry is none")
		}
		return &store.Entry{Value: []byte("2")}, nil
	})
	if err != nil {
		t.Error(err)
	}
	want(t, s, "empty", "2")
}

// together runs n goroutines and waits for them.
func together(n int, run func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { run(i) })
	}
	all.Wait()
}

func testUpdateConcurrently(t *testing.T, f Fixture) {
	ctx := deadline(t)
	stores := []store.Store{f.Store}
	if f.Peer != nil {
		stores = append(stores, f.Peer)
	}
	const writers, each = 8, 10
	together(writers, func(i int) {
		for range each {
			err := stores[i%len(stores)].Update(ctx, "sum", func(old *store.Entry) (*store.Entry, error) {
				n := 0
				if old != nil {
					var err error
					if n, err = strconv.Atoi(string(old.Value)); err != nil {
						return nil, err
					}
				}
				return &store.Entry{Value: strconv.AppendInt(nil, int64(n+1), 10)}, nil
			})
			if err != nil {
				t.Errorf("update: %v", err)
			}
		}
	})
	want(t, f.Store, "sum", strconv.Itoa(writers*each))
}

func testPutNewConcurrently(t *testing.T, f Fixture) {
	ctx := deadline(t)
	var won atomic.Int64
	together(16, func(i int) {
		ok, err := f.Store.PutNew(ctx, "lock", store.Entry{Value: fmt.Appendf(nil, "%d", i)})
		if err != nil {
			t.Error(err)
		}
		if ok {
			won.Add(1)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of 16 have the lock", won.Load())
	}
}

func testAdd(t *testing.T, f Fixture) {
	s, ctx := f.Store, deadline(t)
	for _, step := range []struct{ delta, sum int64 }{{5, 5}, {-7, -2}, {0, -2}, {math.MaxInt64, math.MaxInt64 - 2}} {
		if n, err := s.Add(ctx, "n", step.delta, time.Time{}); err != nil || n != step.sum {
			t.Errorf("add %d: %d, %v, want %d", step.delta, n, err, step.sum)
		}
	}
	if n, err := s.Add(ctx, "n", 3, time.Time{}); !errors.Is(err, store.ErrNumber) {
		t.Errorf("overflow: %d, %v", n, err)
	}
	want(t, s, "n", strconv.Itoa(math.MaxInt64-2))
	put(t, s, "text", "a1", time.Time{})
	if n, err := s.Add(ctx, "text", 1, time.Time{}); !errors.Is(err, store.ErrNumber) {
		t.Errorf("text: %d, %v", n, err)
	}
	put(t, s, "written", "41", time.Time{})
	if n, err := s.Add(ctx, "written", 1, time.Time{}); err != nil || n != 42 {
		t.Errorf("a number that was written: %d, %v", n, err)
	}
}

func testAddConcurrently(t *testing.T, f Fixture) {
	ctx := deadline(t)
	var seen sync.Map
	together(10, func(int) {
		for range 20 {
			n, err := f.Store.Add(ctx, "n", 1, time.Time{})
			if err != nil {
				t.Error(err)
			}
			if _, twice := seen.LoadOrStore(n, true); twice {
				t.Errorf("two got %d", n)
			}
		}
	})
	want(t, f.Store, "n", "200")
}
