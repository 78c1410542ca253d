package local

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/limittest"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is one that tests set.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.offset.Load()) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

func open(t *testing.T, r Records, o Options) *Limiter {
	l := Open(t.Context(), r, o)
	t.Cleanup(func() { shut(t, l) })
	return l
}

func shut(t *testing.T, l *Limiter) {
	t.Helper()
	if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func openBolt(t *testing.T, folder string, now func() time.Time) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(t.Context(), folder, bolt.Options{Now: now, MapSize: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestSuite(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		limittest.Run(t, func(t *testing.T) limittest.Subject {
			c := &clock{}
			return limittest.Subject{Limiter: open(t, nil, Options{Now: c.now}), Advance: c.advance}
		})
	})
	for name, records := range map[string]func(*bolt.Store) Records{
		"counts":  func(s *bolt.Store) Records { return s.Counts() },
		"entries": func(s *bolt.Store) Records { return In(s) },
	} {
		t.Run(name, func(t *testing.T) {
			limittest.Run(t, func(t *testing.T) limittest.Subject {
				c := &clock{}
				l := open(t, records(openBolt(t, t.TempDir(), c.now)), Options{Now: c.now})
				return limittest.Subject{Limiter: l, Advance: c.advance}
			})
		})
		t.Run(name+", read again each time", func(t *testing.T) {
			limittest.Run(t, func(t *testing.T) limittest.Subject {
				c := &clock{}
				l := open(t, records(openBolt(t, t.TempDir(), c.now)), Options{Now: c.now})
				return limittest.Subject{Limiter: forgetful{l, t}, Advance: c.advance}
			})
		})
	}
}

// forgetful writes its quotas and drops them from memory before each request.
type forgetful struct {
	*Limiter
	t *testing.T
}

func (f forgetful) Take(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	if err := f.quotas.flush(context.WithoutCancel(ctx)); err != nil {
		f.t.Error(err)
	}
	for range 16 {
		f.quotas.sweep(f.options.Now().Add(time.Hour).UnixNano() + int64(idleAfter))
	}
	return f.Limiter.Take(ctx, a, v)
}

// records are counts in memory that can fail.
type records struct {
	mu     sync.Mutex
	counts map[counts.Name]counts.Count
	fail   error
	writes int
}

func (r *records) Get(_ context.Context, of counts.Name) (counts.Count, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return counts.Count{}, r.fail
	}
	return r.counts[of], nil
}

func (r *records) Save(_ context.Context, changes ...counts.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if r.counts == nil {
		r.counts = map[counts.Name]counts.Count{}
	}
	for _, c := range changes {
		r.writes++
		if r.counts[c.Name] = c.Count; c.Used == 0 {
			delete(r.counts, c.Name)
		}
	}
	return nil
}

func (r *records) Forget(context.Context, string) error { return errors.ErrUnsupported }

func (r *records) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

func ask(owner string, most int64, renewal time.Duration) *limit.Ask {
	return &limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: owner, Scope: "s"}, Max: most, Renewal: renewal}}}
}

func take(t *testing.T, l *Limiter, a *limit.Ask) limit.Verdict {
	t.Helper()
	var v limit.Verdict
	if err := l.Take(t.Context(), a, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A restart goes on counting, with the window that has begun.
func TestRestart(t *testing.T) {
	folder, c := t.TempDir(), &clock{}
	a := ask("k", 5, time.Hour)
	s := openBolt(t, folder, c.now)
	l := open(t, s.Counts(), Options{Now: c.now})
	first := take(t, l, a).Quotas[0].Reset
	take(t, l, a)
	shut(t, l)
	if err := l.Take(t.Context(), a, new(limit.Verdict)); !errors.Is(err, limit.ErrStore) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.advance(10 * time.Minute)
	l = open(t, openBolt(t, folder, c.now).Counts(), Options{Now: c.now})
	v := take(t, l, a)
	if v.Quotas[0].Remaining != 2 || v.Quotas[0].Reset.Sub(first).Abs() > time.Millisecond {
		t.Errorf("after a restart: %+v, window was to end at %v", v, first)
	}
	c.advance(50 * time.Minute)
	if v := take(t, l, a); v.Quotas[0].Remaining != 4 {
		t.Errorf("after the window: %+v", v)
	}
}

// What was counted among the entries goes on in a file of its own, and is an entry no more.
func TestMove(t *testing.T) {
	c := &clock{}
	s := openBolt(t, t.TempDir(), c.now)
	asks := []*limit.Ask{ask("k", 10, time.Hour), ask("a/b %", 10, 0), ask("both", 10, time.Hour)}
	asks[1].Quotas[0].Key.Scope = "GET /x"
	l := open(t, In(s), Options{Now: c.now})
	for _, a := range asks {
		take(t, l, a)
		take(t, l, a)
	}
	shut(t, l)
	c.advance(30 * time.Minute)
	l = open(t, s.Counts(), Options{Now: c.now})
	take(t, l, asks[2]) // already counted there
	shut(t, l)
	if err := s.Apply(t.Context(), store.Write{Key: "quota/%zz/x", Entry: store.Entry{Value: []byte("1 2")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Move(t.Context(), s, s.Counts()); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := s.List(t.Context(), "", "", 10); err != nil || len(left.Keys) != 0 {
		t.Errorf("%q left, %v", left.Keys, err)
	}
	l = open(t, s.Counts(), Options{Now: c.now})
	for i, remaining := range []int64{7, 7, 8} {
		if v := take(t, l, asks[i]); v.Quotas[0].Remaining != remaining {
			t.Errorf("%d: %+v, want %d left", i, v.Quotas[0], remaining)
		}
	}
	c.advance(30 * time.Minute) // the end of the window that began among the entries
	if v := take(t, l, asks[0]); v.Quotas[0].Remaining != 9 {
		t.Errorf("%+v", v.Quotas[0])
	}
	if err := s.Apply(t.Context(), store.Write{Key: "quota/k/x", Entry: store.Entry{Value: []byte("none")}}); err != nil {
		t.Fatal(err)
	}
	if err := Move(t.Context(), s, s.Counts()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("what cannot be read: %v", err)
	}
}

// What is a second old is written, so that a process that is killed loses no more; and equal counts are not written twice.
func TestWrittenWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &records{}
		l := open(t, r, Options{})
		for i := range 100 {
			for range 3 {
				take(t, l, ask(strconv.Itoa(i), 10, time.Hour))
			}
		}
		<-time.After(time.Second)
		synctest.Wait()
		if r.writes != 100 {
			t.Errorf("%d records written, want one of each quota", r.writes)
		}
		again := open(t, r, Options{}) // as if the first had been killed
		for i := range 100 {
			if v := take(t, again, ask(strconv.Itoa(i), 10, time.Hour)); v.Quotas[0].Remaining != 6 {
				t.Fatalf("%d: %+v", i, v)
			}
		}
	})
}

// A store that fails: what is in memory goes on counting and is written later, what is not is unavailable until it
// answers again.
func TestStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		r := &records{}
		l := open(t, r, Options{Failed: func(err error) {
			if errors.Is(err, limit.ErrStore) && errors.Is(err, store.ErrFull) {
				told.Add(1)
			}
		}})
		take(t, l, ask("a", 10, time.Hour))
		r.set(store.ErrFull)
		take(t, l, ask("a", 10, time.Hour))
		var v limit.Verdict
		err := l.Take(t.Context(), ask("b", 10, time.Hour), &v)
		if !errors.Is(err, limit.ErrStore) || !errors.Is(err, store.ErrFull) {
			t.Errorf("a quota that cannot be read: %v", err)
		}
		if err := l.Reset(t.Context(), limit.Key{Owner: "a", Scope: "s"}); !errors.Is(err, limit.ErrStore) {
			t.Errorf("a reset that cannot be written: %v", err)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if told.Load() < 2 {
			t.Errorf("told of %d failures", told.Load())
		}
		r.set(nil)
		<-time.After(time.Second)
		synctest.Wait()
		if v := take(t, open(t, r, Options{}), ask("a", 10, time.Hour)); v.Quotas[0].Remaining != 7 {
			t.Errorf("after the store came back: %+v", v)
		}
		take(t, l, ask("b", 10, time.Hour))
	})
}

// Memory does not grow with callers that have left.
func TestIdleLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, &records{}, Options{})
		for i := range 5000 {
			a := ask(strconv.Itoa(i), 10, time.Hour)
			a.Rates = []limit.RateBucket{{Key: a.Quotas[0].Key, Rate: limit.Rate{Requests: 1, Per: 20 * time.Second}}}
			take(t, l, a)
		}
		<-time.After(15 * time.Second)
		synctest.Wait()
		if l.rates.Len() != 5000 {
			t.Errorf("%d rates left while their buckets are not full", l.rates.Len())
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if l.rates.Len() != 0 || l.quotas.table.Len() != 0 {
			t.Errorf("%d rates and %d quotas left", l.rates.Len(), l.quotas.table.Len())
		}
		if v := take(t, l, ask("4999", 10, time.Hour)); v.Quotas[0].Remaining != 8 {
			t.Errorf("a quota that had left memory: %+v", v)
		}
	})
}

// Flushes, sweeps, resets and renewals while everybody counts: what is used in the end is what passed since the reset.
func TestQuotasConcurrently(t *testing.T) {
	r, c := &records{}, &clock{}
	l := open(t, r, Options{Now: c.now})
	const each, keys = 2000, 10
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			var v limit.Verdict
			for i := range each {
				if err := l.Take(t.Context(), ask(strconv.Itoa(i%keys), 1<<40, time.Hour), &v); err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					l.quotas.sweep(c.now().Add(time.Hour).UnixNano())
				}
				if i%150 == 0 {
					if err := l.quotas.flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if i%500 == 0 {
					if err := l.Reset(t.Context(), limit.Key{Owner: "0", Scope: "s"}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	for i := 1; i < keys; i++ {
		var v limit.Verdict
		if err := l.Peek(t.Context(), ask(strconv.Itoa(i), 1<<40, time.Hour), &v); err != nil {
			t.Fatal(err)
		}
		if used := 1<<40 - v.Quotas[0].Remaining; used != 4*each/keys {
			t.Errorf("%d: %d used, want %d", i, used, 4*each/keys)
		}
	}
}

// A wall clock that goes back does not make a window longer than a renewal.
func TestQuotaClockBack(t *testing.T) {
	c := &clock{}
	c.advance(100 * time.Hour)
	l := open(t, nil, Options{Now: c.now})
	a := ask("a", 3, time.Hour)
	take(t, l, a)
	c.advance(-50 * time.Hour)
	v := take(t, l, a)
	if v.Quotas[0].Remaining != 1 || v.Quotas[0].Reset.Sub(c.now()) > time.Hour {
		t.Errorf("after the clock went back: %+v", v)
	}
	c.advance(time.Hour)
	if v := take(t, l, a); v.Quotas[0].Remaining != 2 {
		t.Errorf("a renewal later: %+v", v)
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	l := open(t, &records{}, Options{})
	a := ask("a", 1<<40, time.Hour)
	a.Quotas = append(a.Quotas, limit.QuotaBucket{Key: limit.Key{Owner: "api"}, Max: 1 << 40})
	for _, scope := range []string{"", "x", "y", "z"} {
		a.Rates = append(a.Rates, limit.RateBucket{Key: limit.Key{Owner: "a", Scope: scope}, Rate: limit.Rate{Requests: 1e9, Per: time.Second}})
	}
	var v limit.Verdict
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.Take(ctx, a, &v); err != nil || !v.Passed() {
			t.Fatal(err, v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("12 1800000000000"))
	f.Add([]byte(""))
	f.Add([]byte("-1 x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		used, begun, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, at, err := parseRecord(appendRecord(nil, used, begun))
		if err != nil || again != used || at != begun {
			t.Fatalf("%q: %d %d, then %d %d, %v", b, used, begun, again, at, err)
		}
	})
}
