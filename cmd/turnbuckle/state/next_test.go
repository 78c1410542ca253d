package state

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

// TestNext: two states share what their settings say the same about, and the embedded store, which only one may open, is
// never opened twice. What the first alone uses ends with it.
func TestNext(t *testing.T) {
	first := settings(t, nil)
	for _, tt := range []struct {
		name                         string
		change                       func(*config.Settings)
		store, callers, limits, seen bool // the same
	}{
		{"nothing that matters here", func(s *config.Settings) { s.Log.Level = config.LevelDebug; s.Store.Redis.Pool = 3 }, true, true, true, true},
		{"how keys are hashed", func(s *config.Settings) { s.Keys.Hash = config.KeyMurmur64 }, true, false, true, true},
		{"where policies are", func(s *config.Settings) { s.Policies += "2" }, true, false, true, true},
		{"the mode, by its own name", func(s *config.Settings) { s.Limits.Mode = config.LimitLocal }, true, true, true, true},
		{"another store", func(s *config.Settings) { s.Store.Path = filepath.Join(t.TempDir(), "data") }, false, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := open(t, first)
			storeA, callersA, limitsA := all(t, a)
			changed := *first
			tt.change(&changed)
			o := a.o
			o.Settings = &changed
			b := a.Next(o)
			t.Cleanup(func() {
				if err := b.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
			if err := b.Ready(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			storeB, callersB, limitsB := all(t, b)
			got := [...]bool{storeA == storeB, callersA.Keys == callersB.Keys, limitsA == limitsB, callersA.Memory == callersB.Memory}
			if want := [...]bool{tt.store, tt.callers, tt.limits, tt.seen}; got != want {
				t.Errorf("store, callers, limits, memory the same: %v, want %v", got, want)
			}
			if err := a.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := storeB.Get(t.Context(), "x"); err != nil && b.Away() != nil {
				t.Errorf("the store went with the first: %v", err)
			}
			var v limit.Verdict
			ask := limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "k"}, Max: 3, Renewal: time.Hour}}}
			if err := limitsB.Take(t.Context(), &ask, &v); err != nil {
				t.Error(err)
			}
		})
	}
}

// A store that cannot be opened keeps the next state from being ready; the first goes on.
func TestNextIsNotReady(t *testing.T) {
	first := settings(t, nil)
	holder, a := open(t, settings(t, nil)), open(t, first)
	if _, err := holder.Store(); err != nil {
		t.Fatal(err)
	}
	changed := *first
	changed.Store.Path = holder.o.Settings.Store.Path
	o := a.o
	o.Settings = &changed
	unused := a.Next(o)
	if err := unused.Ready(t.Context(), a); err != nil {
		t.Errorf("nothing is open, and not ready: %v", err)
	}
	if err := unused.Close(t.Context()); err != nil {
		t.Error(err)
	}
	on, err := a.Store()
	if err != nil {
		t.Fatal(err)
	}
	b := a.Next(o)
	if err := b.Ready(t.Context(), a); err == nil {
		t.Error("ready on a store that another holds")
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if again, err := a.Store(); err != nil || again != on || a.Away() != nil {
		t.Errorf("the first does not go on: %v", err)
	}
}

// A Redis that does not answer keeps the next state from being ready, with the reason; one that the states share does not,
// for nothing would be better without the change.
func TestNextOnRedisThatIsAway(t *testing.T) {
	server := redistest.Start(t)
	first := settings(t, func(s *config.Settings) {
		s.Store.Type, s.Store.Redis.Addresses, s.Store.Redis.Timeout = config.StoreRedis, []string{server.Addr}, 200*time.Millisecond
	})
	var said bytes.Buffer
	a := open(t, first)
	a.o.Log = slog.New(slog.NewTextHandler(&said, nil))
	if _, err := a.Store(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*config.RedisSettings){
		"connection refused": func(r *config.RedisSettings) { r.Addresses = []string{"127.0.0.1:1"} },
		"WRONGPASS":          func(r *config.RedisSettings) { r.Username, r.Password = "nobody", "wrong" },
		"sentinels":          func(r *config.RedisSettings) { r.Master = "nobody" },
	} {
		changed := *first
		change(&changed.Store.Redis)
		b := a.Next(Options{Settings: &changed, Log: a.o.Log, TLS: a.o.TLS})
		if err := b.Ready(t.Context(), a); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	server.Kill()
	redistest.Await(t, "Redis to be away", func() bool { return a.Away() != nil })
	same := *first
	same.Log.Level = config.LevelDebug
	b := a.Next(Options{Settings: &same, Log: a.o.Log, TLS: a.o.TLS})
	if err := b.Ready(t.Context(), a); err != nil {
		t.Errorf("a change of something else: %v", err)
	}
	if err := errors.Join(b.Close(t.Context()), a.Close(t.Context())); err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "the store is away"); n != 1 {
		t.Errorf("it was said %d times, once is right:\n%s", n, said.String())
	}
}

// all opens everything.
func all(t *testing.T, s *State) (store.Store, *host.Callers, limit.Limiter) {
	t.Helper()
	on, err := s.Store()
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Callers()
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Limiter()
	if err != nil {
		t.Fatal(err)
	}
	return on, c, l
}
