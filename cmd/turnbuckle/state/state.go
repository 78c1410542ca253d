// Package state is what outlives a request in a running gateway: the store, and the keys, sessions, policies and limits
// that stand on it, as the settings say.
package state

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/keyid"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/redis"
)

// Options are what State is made of. All are required.
type Options struct {
	Settings *config.Settings
	Log      *slog.Logger
	// TLS makes a client's configuration of files.
	TLS func(*config.PluginTLS) (*tls.Config, error)
}

// State owns the store and what stands on it. Everything is opened when somebody asks for it first: a gateway whose APIs
// are open has no store. It is safe for concurrent use.
type State struct {
	ctx context.Context
	o   Options

	mu       sync.Mutex
	opened   store.Store
	redis    *redis.Store // opened, when it is one
	policies *identity.Policies
	callers  *host.Callers
	limits   limit.Limiter
	closed   bool

	// What Close calls, in this order: what stands on the store before the store.
	closeLimits, closeCallers, closeStore func(context.Context) error
}

var _ host.Shared = (*State)(nil)

// New returns the state that the settings ask for. Nothing is opened yet. ctx lends its values.
func New(ctx context.Context, o Options) *State { return &State{ctx: ctx, o: o} }

// Callers are what finds out who calls (see [host.Shared]).
func (s *State) Callers() (*host.Callers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.callers != nil {
		return s.callers, nil
	}
	opened, err := s.store()
	if err != nil {
		return nil, err
	}
	policies := identity.OpenPolicies(opened)
	files, err := s.policyFiles()
	if err != nil {
		policies.Close()
		return nil, err
	}
	policies.SetFiles(files)
	keys, err := identity.Open(s.ctx, opened, policies, s.keyOptions())
	if err != nil {
		policies.Close()
		return nil, err
	}
	sets := jwks.New(s.ctx, jwks.Options{Report: s.fetched})
	s.closeCallers = func(ctx context.Context) error {
		sets.Close()
		err := keys.Close(ctx)
		policies.Close()
		return err
	}
	s.policies = policies
	s.callers = &host.Callers{Keys: keys, Memory: authn.NewMemory(), Sets: sets, Tokens: jwt.NewTokens(0, 0)}
	return s.callers, nil
}

func (s *State) keyOptions() identity.Options {
	k := &s.o.Settings.Keys
	o := identity.Options{
		Hash: function(k.Hash), MinToken: k.MinLength,
		Failed: func(err error) {
			s.o.Log.Error("sessions could not be written; it is tried again", "error", err.Error())
		},
	}
	for _, f := range k.HashFallback {
		o.Fallback = append(o.Fallback, function(f))
	}
	if k.ForceLifetime {
		o.ForceLifetime = k.Lifetime
	}
	return o
}

// function is the hash function that a setting names.
func function(h config.KeyHash) keyid.Function {
	if h == config.KeyPlain {
		return keyid.Plain
	}
	return keyid.Function(h)
}

// Policies are those of files and of the store.
func (s *State) Policies() (*identity.Policies, error) {
	if _, err := s.Callers(); err != nil {
		return nil, err
	}
	return s.policies, nil
}

// Reload reads the policy files anew. When one is wrong, those that were read before go on.
func (s *State) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.policies == nil {
		return nil
	}
	files, err := s.policyFiles()
	if err == nil {
		s.policies.SetFiles(files)
	}
	return err
}

// policyFiles reads the policies of files; that there are none is no error.
func (s *State) policyFiles() ([]*identity.Policy, error) {
	files, err := identity.LoadPolicies(s.o.Settings.Policies)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return files, err
}

// fetched logs what became of fetching a key set.
func (s *State) fetched(a jwks.Attempt) {
	if a.Err != nil {
		s.o.Log.Warn("key set could not be fetched", "url", a.URL, "serving_one_of_age", a.Stale.Round(time.Second).String(), "error", a.Err.Error())
		return
	}
	s.o.Log.Debug("key set fetched", "url", a.URL, "keys", a.Keys, "skipped", a.Skipped, "took", a.Took.String())
}

// Store is the store, opened if it was not yet.
func (s *State) Store() (store.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store()
}

func (s *State) store() (store.Store, error) {
	switch {
	case s.closed:
		return nil, store.ErrClosed
	case s.opened != nil:
		return s.opened, nil
	case s.o.Settings.Store.Type == config.StoreRedis:
		return s.openRedis()
	}
	opened, err := bolt.Open(s.ctx, filepath.Dir(s.o.Settings.Store.Path), bolt.Options{})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.opened = opened
	s.closeStore = func(context.Context) error { return opened.Close() }
	return opened, nil
}

func (s *State) openRedis() (store.Store, error) {
	c := &s.o.Settings.Store.Redis
	o := redis.Options{
		Addrs: c.Addresses, Master: c.Master, Cluster: c.Cluster, DB: c.Database, Username: c.Username, Password: c.Password,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword, Prefix: c.Prefix, Timeout: c.Timeout, PoolSize: c.Pool,
	}
	if c.TLS.Enabled {
		var err error
		if o.TLS, err = s.o.TLS(&c.TLS); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	opened, err := redis.Open(s.ctx, o)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s.opened, s.redis = opened, opened
	s.closeStore = func(context.Context) error { return opened.Close() }
	return opened, nil
}

// Away says why the store that is in use does not serve; nil when it does, or none is in use.
func (s *State) Away() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened == nil {
		return nil
	}
	return s.opened.Status().Err
}

// Close writes what is left to write and closes what was opened.
func (s *State) Close(ctx context.Context) error {
	var errs []error
	for _, end := range []*func(context.Context) error{&s.closeLimits, &s.closeCallers, &s.closeStore} {
		s.mu.Lock()
		f := *end
		*end, s.closed = nil, end == &s.closeStore
		s.mu.Unlock()
		if f != nil {
			errs = append(errs, f(ctx)) // without the lock: a limiter may want the store yet
		}
	}
	return errors.Join(errs...)
}
