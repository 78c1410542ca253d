package state

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func settings(t *testing.T, change func(*config.Settings)) *config.Settings {
	t.Helper()
	s := config.DefaultSettings()
	dir := t.TempDir()
	s.Store.Path, s.Policies = filepath.Join(dir, "data"), filepath.Join(dir, "policies")
	if change != nil {
		change(&s)
	}
	return &s
}

func open(t *testing.T, s *config.Settings) *State {
	t.Helper()
	st := New(context.Background(), Options{
		Settings: s, Log: slog.New(slog.DiscardHandler),
		TLS: func(*config.PluginTLS) (*tls.Config, error) { return &tls.Config{MinVersion: tls.VersionTLS12}, nil },
	})
	t.Cleanup(func() {
		if err := st.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return st
}

// TestNothingIsOpenedUnasked: a gateway whose APIs are open leaves no file behind.
func TestNothingIsOpenedUnasked(t *testing.T) {
	s := settings(t, nil)
	st := open(t, s)
	if err := st.Away(); err != nil {
		t.Errorf("a store that nobody needs is away: %v", err)
	}
	limiter, err := st.Limiter()
	if err != nil {
		t.Fatal(err)
	}
	var v limit.Verdict
	ask := limit.Ask{Rates: []limit.RateBucket{{Key: limit.Key{Owner: "a"}, Rate: limit.Rate{Requests: 1, Per: time.Second}}}}
	if err := limiter.Take(t.Context(), &ask, &v); err != nil || !v.Passed() {
		t.Errorf("a rate: %v %v", err, v.Refused)
	}
	if _, err := os.Stat(s.Store.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the store is there: %v", err)
	}
}

// TestQuotasOutliveTheGateway, although the limiter was opened before the store it writes to.
func TestQuotasOutliveTheGateway(t *testing.T) {
	s := settings(t, nil)
	ask := limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: "k"}, Max: 3, Renewal: time.Hour}}}
	for round, want := range []int64{1, 0} {
		st := open(t, s)
		limiter, err := st.Limiter()
		if err != nil {
			t.Fatal(err)
		}
		var v limit.Verdict
		for range 2 - round {
			if err := limiter.Take(t.Context(), &ask, &v); err != nil {
				t.Fatal(err)
			}
		}
		if v.Quotas[0].Remaining != want {
			t.Errorf("round %d: %d remain, want %d", round, v.Quotas[0].Remaining, want)
		}
		if err := st.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Store(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("the store of a closed state: %v", err)
		}
	}
}

func TestPolicyFiles(t *testing.T) {
	s := settings(t, nil)
	st := open(t, s)
	if _, err := st.Callers(); err != nil {
		t.Fatalf("without a folder of policies: %v", err)
	}
	policies, err := st.Policies()
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(s.Policies, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.Policies, "gold.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"org_id": "o", "rate": 5, "per": 1}`)
	if err := st.Reload(); err != nil {
		t.Fatal(err)
	}
	write(`{`)
	if err := st.Reload(); err == nil {
		t.Error("a broken policy is read")
	}
	if p, err := policies.Get(t.Context(), "o", "gold"); err != nil || p.Rate != 5 {
		t.Errorf("what was read before does not go on: %v %v", p, err)
	}
}

func TestHashFunctions(t *testing.T) {
	s := settings(t, func(s *config.Settings) { s.Keys.Hash = config.KeyMurmur64 })
	old := open(t, s)
	made, err := keys(t, old).Create(t.Context(), "o", "", &identity.Session{OrgID: "o"}, identity.Lifetime{})
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Keys.Hash, s.Keys.HashFallback = config.KeySHA256, []config.KeyHash{config.KeyMurmur64}
	if _, err := keys(t, open(t, s)).Lookup(t.Context(), "o", made.Token); err != nil {
		t.Errorf("a key whose id an older function made: %v", err)
	}
}

func keys(t *testing.T, st *State) *identity.Keys {
	t.Helper()
	c, err := st.Callers()
	if err != nil {
		t.Fatal(err)
	}
	return c.Keys
}

// TestModes: each mode of limits judges on the store it is for.
func TestModes(t *testing.T) {
	server := redistest.Start(t)
	for _, mode := range []config.LimitMode{config.LimitAuto, config.LimitLocal, config.LimitExact, config.LimitDistributed} {
		st := open(t, settings(t, func(s *config.Settings) {
			s.Store.Type, s.Limits.Mode = config.StoreRedis, mode
			s.Store.Redis.Addresses = []string{server.Addr}
		}))
		limiter, err := st.Limiter()
		if err != nil {
			t.Fatal(err)
		}
		var v limit.Verdict
		ask := limit.Ask{Quotas: []limit.QuotaBucket{{Key: limit.Key{Owner: string("k" + mode)}, Max: 1, Renewal: time.Hour}}}
		for i, want := range []bool{true, false} {
			if err := limiter.Take(t.Context(), &ask, &v); err != nil || v.Passed() != want {
				t.Errorf("mode %q, request %d: %v %v", mode, i, err, v.Refused)
			}
		}
	}
}
