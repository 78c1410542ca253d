package bolt

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	bbolt "go.etcd.io/bbolt"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// still opens a store whose background work never ticks, and whose clock the test sets.
func still(t *testing.T, folder string, steps int) (*Store, *atomic.Int64) {
	t.Helper()
	var offset atomic.Int64
	start := time.Now()
	s, err := Open(t.Context(), folder, Options{
		SweepEvery: 24 * time.Hour, SweepSteps: steps, Now: func() time.Time { return start.Add(time.Duration(offset.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, &offset
}

// stored is how many records the file holds, ended ones too.
func stored(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(entriesBucket)).ForEach(func(_, _ []byte) error { n++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSweepIsBounded(t *testing.T) {
	s, offset := still(t, t.TempDir(), 100)
	var writes []store.Write
	for i := range 1000 {
		w := store.Write{Key: fmt.Sprintf("k/%04d", i)}
		if i%2 == 0 {
			w.Expires = s.options.Now().Add(time.Minute)
		}
		writes = append(writes, w)
	}
	if err := s.Apply(t.Context(), writes...); err != nil {
		t.Fatal(err)
	}
	w := &sweep{}
	step := func(want int) {
		t.Helper()
		if err := s.sweepOnce(w); err != nil {
			t.Fatal(err)
		}
		if got := stored(t, s); got != want {
			t.Fatalf("%d records, want %d", got, want)
		}
	}
	step(1000) // nothing has ended
	offset.Store(int64(2 * time.Minute))
	for i := range 9 {
		step(1000 - 50*(i+1))
	}
	step(500) // the tenth and the first hundred again
	for range 12 {
		step(500)
	}

	// The clock goes back: what was removed stays so, what is there lives, and a sweep takes nothing early.
	if err := s.Apply(t.Context(), store.Write{Key: "late", Entry: store.Entry{Expires: s.options.Now().Add(time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	offset.Store(-int64(time.Hour))
	for range 12 {
		step(501)
	}
	if _, err := s.Get(t.Context(), "k/0000"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what ended and was removed is back: %v", err)
	}
	for _, key := range []string{"k/0001", "late"} {
		if _, err := s.Get(t.Context(), key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if n, err := s.Add(t.Context(), "n", 1, s.options.Now().Add(time.Minute)); err != nil || n != 1 {
		t.Errorf("add: %d, %v", n, err)
	}
}

// What is written anew between a sweep's look and its deletion stays.
func TestSweepMeetsWriter(t *testing.T) {
	s, offset := still(t, t.TempDir(), 100)
	old := store.Entry{Expires: s.options.Now().Add(time.Minute)}
	if err := s.Apply(t.Context(), store.Write{Key: "k", Entry: old}); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(2 * time.Minute))
	ended, err := s.findEnded(&sweep{})
	if err != nil || len(ended) != 1 {
		t.Fatalf("%q, %v", ended, err)
	}
	if err := s.Apply(t.Context(), store.Write{Key: "k", Entry: store.Entry{Value: []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.remove(ended); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "k"); err != nil || string(e.Value) != "new" {
		t.Errorf("%q, %v", e.Value, err)
	}
}

// In the background it happens by itself.
func TestSweeper(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{SweepEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	soon := store.Entry{Expires: time.Now().Add(20 * time.Millisecond)}
	if err := s.Apply(t.Context(), store.Write{Key: "k", Entry: soon}, store.Write{Key: "l"}); err != nil {
		t.Fatal(err)
	}
	limit := time.After(10 * time.Second)
	for stored(t, s) != 1 {
		select {
		case <-limit:
			t.Fatal("it is not removed")
		case <-time.After(time.Millisecond):
		}
	}
}
