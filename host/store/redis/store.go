package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Store is a store.Store in Redis.
type Store struct {
	*store.Signal
	feed    store.Feed
	options Options
	client  goredis.UniversalClient
	cluster bool
	origin  string // of our own notices in the feed
	deaf    atomic.Pointer[error]
	doubt   chan struct{} // a call failed: look now; room for one
	stop    context.CancelFunc
	work    sync.WaitGroup
	once    sync.Once
}

var _ store.Store = (*Store)(nil)

// Open makes a store, which connects on its own: its status is ErrUnavailable until the server answers and tells of changes; then, and after each
// failure, it recovers by itself. An error is one of the options. Of the context only the values are
// kept; the store works until Close.
func Open(ctx context.Context, options Options) (*Store, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	if options.Timeout <= 0 {
		options.Timeout = time.Second
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	s := &Store{
		Signal:  store.NewSignal(fmt.Errorf("redis: %w: no answer yet", store.ErrUnavailable), time.Now()),
		options: options, client: options.client(), origin: hex.EncodeToString(id), doubt: make(chan struct{}, 1),
	}
	deaf := fmt.Errorf("redis: %w: not subscribed to changes yet", store.ErrUnavailable)
	s.deaf.Store(&deaf)
	_, s.cluster = s.client.(*goredis.ClusterClient)
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.probe(ctx) })
	s.work.Go(func() { s.follow(ctx) })
	return s, nil
}

// Client is the connection, for what is counted in Redis: scripts and pipelines. It is closed with the store. Its calls
// are made once and never repeated; give them a context with a deadline, and their errors to Fault.
func (s *Store) Client() goredis.UniversalClient { return s.client }

// Key is a key as it is in Redis.
func (s *Store) Key(key string) string { return s.options.Prefix + key }

// Watch is store.Watcher's.
func (s *Store) Watch(told func(store.Change)) (stop func()) { return s.feed.Watch(told) }

// Close ends the connections. Later calls return store.ErrClosed; a second Close does nothing.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.stop()
		err = s.client.Close()
		s.work.Wait()
	})
	if err != nil {
		return fmt.Errorf("redis: close: %w", err)
	}
	return nil
}

// bound limits a call to the timeout.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.options.Timeout)
}

// fault is Fault, and has the store looked at when it says that it is away.
func (s *Store) fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = Fault(doing, err)
	if errors.Is(err, store.ErrUnavailable) {
		s.look()
	}
	return err
}

// look has the status brought up to date.
func (s *Store) look() {
	select {
	case s.doubt <- struct{}{}:
	default:
	}
}

// probe keeps the status: it asks twice a second, and at once when a call failed.
func (s *Store) probe(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if deaf := s.deaf.Load(); err == nil && deaf != nil {
			err = *deaf
		}
		s.Set(err, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.doubt:
			select { // bounded, however many calls fail
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// ping asks every master: a cluster that lacks one serves only a part of the keys.
func (s *Store) ping(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	if cluster, ok := s.client.(*goredis.ClusterClient); ok {
		return Fault("ping", cluster.ForEachMaster(ctx, func(ctx context.Context, node *goredis.Client) error { return node.Ping(ctx).Err() }))
	}
	return Fault("ping", s.client.Ping(ctx).Err())
}
