package identity

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a wall clock that tests set.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

// faulty is a store that can be away, and that counts.
type faulty struct {
	store.Store
	away    atomic.Bool
	reads   atomic.Int64
	updates atomic.Int64
	wrote   chan string // keys of updates, if there is someone to take them
	mu      sync.Mutex
	hold    func(key string) // called before an update, if set
}

func (f *faulty) fail() error {
	if f.away.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (store.Entry, error) {
	f.reads.Add(1)
	if err := f.fail(); err != nil {
		return store.Entry{}, err
	}
	return f.Store.Get(ctx, key)
}

func (f *faulty) Many(ctx context.Context, keys []string) ([]store.Entry, error) {
	f.reads.Add(1)
	if err := f.fail(); err != nil {
		return nil, err
	}
	return f.Store.Many(ctx, keys)
}

func (f *faulty) Update(ctx context.Context, key string, change func(*store.Entry) (*store.Entry, error)) error {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		hold(key)
	}
	if err := f.fail(); err != nil {
		return err
	}
	f.updates.Add(1)
	err := f.Store.Update(ctx, key, change)
	select {
	case f.wrote <- key:
	default:
	}
	return err
}

// fixture is a store with keys over it.
type fixture struct {
	*Keys
	t        *testing.T
	store    *faulty
	policies *Policies
	clock    *clock
}

func newFixture(t *testing.T, options Options) *fixture {
	t.Helper()
	c := newClock()
	s, err := bolt.Open(t.Context(), t.TempDir(), bolt.Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return fixtureOn(t, &faulty{Store: s, wrote: make(chan string, 1000)}, c, options)
}

// fixtureOn makes keys of their own, as another gateway has them, over a store.
func fixtureOn(t *testing.T, s *faulty, c *clock, options Options) *fixture {
	t.Helper()
	options.Now = c.now
	policies := OpenPolicies(s)
	k, err := Open(t.Context(), s, policies, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		policies.Close()
	})
	return &fixture{Keys: k, t: t, store: s, policies: policies, clock: c}
}

// raw is what is stored under an id, as JSON, or why there is none.
func (f *fixture) raw(id string) string {
	f.t.Helper()
	e, err := f.store.Store.Get(f.t.Context(), keyPrefix+id)
	if err != nil {
		return err.Error()
	}
	s, _, err := newSharing().decodeStored(e.Value)
	if err != nil {
		return err.Error()
	}
	data, err := s.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func (f *fixture) put(key string, s *Session) Stored {
	f.t.Helper()
	stored, err := f.Put(f.t.Context(), Ref{Org: s.OrgID, Key: key}, s, Lifetime{})
	if err != nil {
		f.t.Fatal(err)
	}
	return stored
}

func (f *fixture) must(org, token string) *Caller {
	f.t.Helper()
	c, err := f.Lookup(f.t.Context(), org, token)
	if err != nil {
		f.t.Fatalf("look %q up: %v", token, err)
	}
	return c
}

func rawMessage(text string) json.RawMessage { return json.RawMessage(text) }
