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
	"reflect"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
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

// State is what stands on the store, as one generation of the gateway sees it. Everything is opened when somebody asks for
// it first: a gateway whose APIs are open has no store. What the settings of two generations have in common they share. It
// is safe for concurrent use.
type State struct {
	ctx context.Context
	o   Options

	store   *share.Part[opened]
	memory  *share.Part[memory]
	callers *share.Part[callers]
	limits  *share.Part[limit.Limiter]

	once sync.Once // Close
}

// opened is a store.
type opened struct {
	store.Store
	redis *redis.Store // when it is one
}

// memory is what is remembered of callers whatever the settings of keys say.
type memory struct {
	seen   *authn.Memory
	sets   *jwks.Cache
	tokens *jwt.Tokens
}

// callers is who may call.
type callers struct {
	*host.Callers
	policies *identity.Policies
}

var _ host.Shared = (*State)(nil)

// New returns the state that the settings ask for. Nothing is opened yet. ctx lends its values.
func New(ctx context.Context, o Options) *State {
	s := &State{ctx: ctx, o: o}
	s.store = share.New(s.openStore)
	s.memory = share.New(s.openMemory)
	s.stand(nil)
	return s
}

// Next returns the state that other settings ask for. What they say the same about, it shares with s, which goes on and is
// closed by itself; what is opened goes on as it is.
func (s *State) Next(o Options) *State {
	n := &State{ctx: s.ctx, o: o, memory: s.memory.Take()}
	if sameStore(s.o.Settings, o.Settings) {
		n.store = s.store.Take()
		n.stand(s)
		return n
	}
	n.store = share.New(n.openStore)
	n.stand(nil)
	return n
}

// stand makes what stands on the store, or takes it from a state on the same store, as far as the settings are the same.
func (s *State) stand(like *State) {
	if like != nil && sameCallers(like.o.Settings, s.o.Settings) {
		s.callers = like.callers.Take()
	} else {
		s.callers = share.New(s.openCallers, s.memory.Take(), s.store.Take())
	}
	if like != nil && mode(like.o.Settings) == mode(s.o.Settings) {
		s.limits = like.limits.Take()
	} else {
		s.limits = share.New(s.openLimits, s.store.Take())
	}
}

// sameCallers reports whether keys and policies are the same, on one store.
func sameCallers(a, b *config.Settings) bool {
	return reflect.DeepEqual(a.Keys, b.Keys) && a.Policies == b.Policies && a.Store.OnError == b.Store.OnError
}

// sameStore reports whether two settings mean one store, opened in one way.
func sameStore(a, b *config.Settings) bool {
	if a.Store.Type != b.Store.Type {
		return false
	}
	if a.Store.Type == config.StoreRedis {
		return reflect.DeepEqual(a.Store.Redis, b.Store.Redis)
	}
	return a.Store.Path == b.Store.Path
}

// Ready opens what an earlier state has open and s does not share: so that a change which cannot work is known before
// anybody depends on it. A Redis that is another, or is spoken to in another way, has to answer.
func (s *State) Ready(ctx context.Context, before *State) error {
	if _, was := before.store.Opened(); was {
		on, err := s.store.Get()
		if err != nil {
			return err
		}
		if s.store != before.store {
			if err := s.answers(ctx, on); err != nil {
				return err
			}
		}
	}
	if _, was := before.callers.Opened(); was {
		if _, err := s.callers.Get(); err != nil {
			return err
		}
	}
	if _, was := before.limits.Opened(); was {
		if _, err := s.limits.Get(); err != nil {
			return err
		}
	}
	return nil
}

// Callers are what finds out who calls (see [host.Shared]).
func (s *State) Callers() (*host.Callers, error) {
	c, err := s.callers.Get()
	return c.Callers, err
}

func (s *State) openCallers() (callers, share.Close, error) {
	on, err := get(s.store)
	if err != nil {
		return callers{}, nil, err
	}
	m, err := s.memory.Get()
	if err != nil {
		return callers{}, nil, err
	}
	policies := identity.OpenPolicies(on.Store)
	files, err := s.policyFiles()
	if err != nil {
		policies.Close()
		return callers{}, nil, err
	}
	policies.SetFiles(files)
	keys, err := identity.Open(s.ctx, on.Store, policies, s.keyOptions())
	if err != nil {
		policies.Close()
		return callers{}, nil, err
	}
	c := callers{&host.Callers{Keys: keys, Memory: m.seen, Sets: m.sets, Tokens: m.tokens}, policies}
	return c, func(ctx context.Context) error {
		err := keys.Close(ctx)
		policies.Close()
		return err
	}, nil
}

func (s *State) openMemory() (memory, share.Close, error) {
	sets := jwks.New(s.ctx, jwks.Options{Report: s.fetched})
	return memory{authn.NewMemory(), sets, jwt.NewTokens(0, 0)}, func(context.Context) error { sets.Close(); return nil }, nil
}

func (s *State) keyOptions() identity.Options {
	k := &s.o.Settings.Keys
	o := identity.Options{
		Hash: function(k.Hash), MinToken: k.MinLength, Master: k.Master, Stale: s.o.Settings.Store.OnError == config.StoreContinue,
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
	c, err := s.callers.Get()
	return c.policies, err
}

// Reload reads the policy files anew. When one is wrong, those that were read before go on.
func (s *State) Reload() error {
	c, is := s.callers.Opened()
	if !is {
		return nil
	}
	files, err := s.policyFiles()
	if err == nil {
		c.policies.SetFiles(files)
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
	on, err := get(s.store)
	return on.Store, err
}

// get returns the store of a part. One that has been let go of is a store that is closed.
func get(p *share.Part[opened]) (opened, error) {
	on, err := p.Get()
	if errors.Is(err, share.ErrClosed) {
		err = store.ErrClosed
	}
	return on, err
}

func (s *State) openStore() (opened, share.Close, error) {
	if s.o.Settings.Store.Type == config.StoreRedis {
		return s.openRedis()
	}
	b, err := bolt.Open(s.ctx, s.o.Settings.Store.Path, bolt.Options{})
	if err != nil {
		return opened{}, nil, fmt.Errorf("store: %w", err)
	}
	tell := s.tell(b)
	return opened{Store: b}, func(context.Context) error { tell(); return b.Close() }, nil
}

func (s *State) openRedis() (opened, share.Close, error) {
	c := &s.o.Settings.Store.Redis
	o := redis.Options{
		Addrs: c.Addresses, Master: c.Master, Cluster: c.Cluster, DB: c.Database, Username: c.Username, Password: c.Password,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword, Prefix: c.Prefix, Timeout: c.Timeout, PoolSize: c.Pool,
	}
	if c.TLS.Enabled {
		var err error
		if o.TLS, err = s.o.TLS(&c.TLS); err != nil {
			return opened{}, nil, fmt.Errorf("store: %w", err)
		}
	}
	r, err := redis.Open(s.ctx, o)
	if err != nil {
		return opened{}, nil, fmt.Errorf("store: %w", err)
	}
	tell := s.tell(r)
	return opened{r, r}, func(context.Context) error { tell(); return r.Close() }, nil
}

// Away says why the store that is in use does not serve; nil when it does, or none is in use.
func (s *State) Away() error {
	on, is := s.store.Opened()
	if !is {
		return nil
	}
	return on.Status().Err
}

// Close lets go of everything: what no other state shares is written out and closed. It may be called again.
func (s *State) Close(ctx context.Context) error {
	var err error
	s.once.Do(func() {
		err = errors.Join(s.limits.Release(ctx), s.callers.Release(ctx), s.memory.Release(ctx), s.store.Release(ctx))
	})
	return err
}
