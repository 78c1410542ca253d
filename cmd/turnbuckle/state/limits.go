package state

import (
	"context"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/distributed"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Limiter judges requests (see [host.Shared]).
func (s *State) Limiter() (limit.Limiter, error) { return s.limits.Get() }

// mode is how limits are counted.
func mode(s *config.Settings) config.LimitMode {
	switch {
	case s.Limits.Mode != config.LimitAuto:
		return s.Limits.Mode
	case s.Store.Type == config.StoreRedis:
		return config.LimitExact
	}
	return config.LimitLocal
}

func (s *State) openLimits() (limit.Limiter, share.Close, error) {
	c := &s.o.Settings.Store.Redis
	switch mode(s.o.Settings) {
	case config.LimitExact:
		on, err := get(s.store)
		if err != nil {
			return nil, nil, err
		}
		return exact.New(on.redis.Client(), exact.Options{Prefix: c.Prefix, Timeout: c.Timeout}), nil, nil
	case config.LimitDistributed:
		on, err := get(s.store)
		if err != nil {
			return nil, nil, err
		}
		l := distributed.Open(s.ctx, on.redis.Client(), distributed.Options{Prefix: c.Prefix, Timeout: c.Timeout})
		return l, l.Close, nil
	case config.LimitAuto, config.LimitLocal:
	}
	l := local.Open(s.ctx, quotas{s.store}, local.Options{
		Failed: func(err error) { s.o.Log.Error("quotas could not be written; it is tried again", "error", err.Error()) },
	})
	return l, l.Close, nil
}

// quotas is where they are kept: the store, opened when the first one is counted.
type quotas struct{ in *share.Part[opened] }

var _ local.Records = quotas{}

// Get reads an entry of the store.
func (q quotas) Get(ctx context.Context, key string) (store.Entry, error) {
	on, err := get(q.in)
	if err != nil {
		return store.Entry{}, err
	}
	return on.Get(ctx, key)
}

// List lists entries of the store.
func (q quotas) List(ctx context.Context, prefix, cursor string, n int) (store.Page, error) {
	on, err := get(q.in)
	if err != nil {
		return store.Page{}, err
	}
	return on.List(ctx, prefix, cursor, n)
}

// Apply writes to the store.
func (q quotas) Apply(ctx context.Context, writes ...store.Write) error {
	on, err := get(q.in)
	if err != nil {
		return err
	}
	return on.Apply(ctx, writes...)
}
