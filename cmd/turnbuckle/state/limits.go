package state

import (
	"context"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/distributed"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/local"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/bolt"
	"github.com/turnbuckle-gateway/turnbuckle/host/store/counts"
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
	l := local.Open(s.ctx, &quotas{in: s.store}, local.Options{
		Failed: func(err error) { s.o.Log.Error("quotas could not be written; it is tried again", "error", err.Error()) },
	})
	return l, l.Close, nil
}

// quotas is where they are kept, opened when the first one is counted: a file of counts beside the embedded store, which
// takes over what was counted among its entries, or entries of Redis.
type quotas struct {
	in *share.Part[opened]

	mu   sync.Mutex
	kept local.Records // nil until opened
}

var _ local.Records = (*quotas)(nil)

func (q *quotas) records(ctx context.Context) (local.Records, error) {
	on, err := get(q.in)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.kept != nil {
		return q.kept, nil
	}
	if b, is := on.Store.(*bolt.Store); is {
		if err := local.Move(ctx, b, b.Counts()); err != nil {
			return nil, err
		}
		q.kept = b.Counts()
	} else {
		q.kept = local.In(on.Store)
	}
	return q.kept, nil
}

// Get is local.Records's.
func (q *quotas) Get(ctx context.Context, of counts.Name) (counts.Count, error) {
	kept, err := q.records(ctx)
	if err != nil {
		return counts.Count{}, err
	}
	return kept.Get(ctx, of)
}

// Save is local.Records's.
func (q *quotas) Save(ctx context.Context, changes ...counts.Change) error {
	kept, err := q.records(ctx)
	if err != nil {
		return err
	}
	return kept.Save(ctx, changes...)
}

// Forget is local.Records's.
func (q *quotas) Forget(ctx context.Context, owner string) error {
	kept, err := q.records(ctx)
	if err != nil {
		return err
	}
	return kept.Forget(ctx, owner)
}
