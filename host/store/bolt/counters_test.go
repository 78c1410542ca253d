package bolt

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

func plus(n int64, ends time.Time) func(Count) Count {
	return func(c Count) Count {
		if c.Ends.IsZero() {
			c.Ends = ends
		}
		return Count{c.N + n, c.Ends}
	}
}

func wantCount(t *testing.T, c *Counters, key string, n int64) {
	t.Helper()
	if got, err := c.Get(key); err != nil || got.N != n {
		t.Errorf("%s: %d, %v, want %d", key, got.N, err, n)
	}
}

func TestCounters(t *testing.T) {
	folder := t.TempDir()
	s, _ := still(t, folder, 10)
	c := s.Counters()
	ends := s.options.Now().Add(time.Hour).Truncate(time.Millisecond)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				if _, err := c.Update(fmt.Sprint("quota/", i%10), plus(1, ends)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantCount(t, c, "quota/3", 800)
	if _, err := c.Update("gone", plus(1, time.Time{})); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update("gone", func(Count) Count { return Count{} }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update("", plus(1, ends)); !errors.Is(err, store.ErrEntry) {
		t.Errorf("no key: %v", err)
	}
	if err := s.Close(); err != nil { // writes them
		t.Fatal(err)
	}
	if _, err := c.Update("quota/3", plus(1, ends)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	again, offset := still(t, folder, 10)
	s, c = again, again.Counters()
	if got, err := c.Get("quota/3"); err != nil || got.N != 800 || !got.Ends.Equal(ends) {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	wantCount(t, c, "gone", 0)
	offset.Store(int64(2 * time.Hour)) // the period is over, in memory and on disk
	wantCount(t, c, "quota/3", 0)
	wantCount(t, c, "quota/4", 0)
	if err := s.sweepOnce(&sweep{bucket: countersBucket}); err != nil {
		t.Fatal(err)
	}
	later := s.options.Now().Add(time.Hour)
	if got, err := c.Update("quota/4", plus(1, later)); err != nil || got.N != 1 || !got.Ends.Equal(later) {
		t.Errorf("the next period: %+v, %v", got, err)
	}
}

// What nobody uses leaves memory, and not before it is on disk.
func TestCountersForget(t *testing.T) {
	s, offset := still(t, t.TempDir(), 10)
	c := s.Counters()
	if _, err := c.Update("k", plus(7, time.Time{})); err != nil {
		t.Fatal(err)
	}
	forget := func() (left int) {
		offset.Add(int64(2 * counterIdle))
		for i := range c.shards {
			c.forget(&c.shards[i])
			left += len(c.shards[i].counts)
		}
		return left
	}
	for i := range c.shards { // as if no flush had come by
		for key, n := range c.shards[i].counts {
			c.shards[i].dirty[key] = n
		}
	}
	if left := forget(); left != 1 {
		t.Errorf("%d counters in memory: it forgot what is not written", left)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := forget(); left != 0 {
		t.Errorf("%d counters in memory", left)
	}
	wantCount(t, c, "k", 7)
}

// Killed, a gateway loses less than a second: the flusher writes without being asked.
func TestCountersFlushed(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{FlushEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Counters().Update("k", plus(5, time.Time{})); err != nil {
		t.Fatal(err)
	}
	limit := time.After(10 * time.Second)
	for {
		if n, err := s.Counters().read("k"); err != nil {
			t.Fatal(err)
		} else if n.N == 5 {
			return
		}
		select {
		case <-limit:
			t.Fatal("it is not written")
		case <-time.After(time.Millisecond):
		}
	}
}
