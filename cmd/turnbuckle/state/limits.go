package state

import (
	"context"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/distributed"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Limiter judges requests (see [host.Shared]).
func (s *State) Limiter() (limit.Limiter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limits != nil {
		return s.limits, nil
	}
	mode := s.o.Settings.Limits.Mode
	if mode == config.LimitAuto && s.o.Settings.Store.Type == config.StoreRedis {
		mode = config.LimitExact
	}
	c := &s.o.Settings.Store.Redis
	if mode == config.LimitExact || mode == config.LimitDistributed {
		if _, err := s.store(); err != nil {
			return nil, err
		}
	}
	switch mode {
	case config.LimitExact:
		s.limits = exact.New(s.redis.Client(), exact.Options{Prefix: c.Prefix, Timeout: c.Timeout})
	case config.LimitDistributed:
		l := distributed.Open(s.ctx, s.redis.Client(), distributed.Options{Prefix: c.Prefix, Timeout: c.Timeout})
		s.limits, s.closeLimits = l, l.Close
	default:
		l := local.Open(s.ctx, quotas{s}, local.Options{
			Failed: func(err error) { s.o.Log.Error("quotas could not be written; it is tried again", "error", err.Error()) },
		})
		s.limits, s.closeLimits = l, l.Close
	}
	return s.limits, nil
}

// quotas is where they are kept: the store, opened when the first one is counted.
type quotas struct{ s *State }

var _ local.Records = quotas{}

func (q quotas) Get(ctx context.Context, key string) (store.Entry, error) {
	opened, err := q.s.Store()
	if err != nil {
		return store.Entry{}, err
	}
	return opened.Get(ctx, key)
}

func (q quotas) List(ctx context.Context, prefix, cursor string, n int) (store.Page, error) {
	opened, err := q.s.Store()
	if err != nil {
		return store.Page{}, err
	}
	return opened.List(ctx, prefix, cursor, n)
}

func (q quotas) Apply(ctx context.Context, writes ...store.Write) error {
	opened, err := q.s.Store()
	if err != nil {
		return err
	}
	return opened.Apply(ctx, writes...)
}
