package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

// Changes travel over one pub/sub channel. Redis keeps none for those who are not there, so a connection that fails, or
// is silent for too long, is told to watchers as a change of everything, then and when there is a new one.
const (
	beat    = 250 * time.Millisecond
	silence = 3 * beat
)

func (s *Store) channel() string { return s.Key("changes") }

// A notice is the sender's id of 16 characters, then each key behind its length as a varint. One without keys is of
// everything: the server cuts off subscribers who are sent more than it holds for them.
const (
	originSize = 16
	toldAtMost = 10000 // keys
)

func (s *Store) notice(keys []string) []byte {
	b := []byte(s.origin)
	if len(keys) > toldAtMost {
		return b
	}
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// parseNotice refuses what we did not write: somebody else uses the channel.
func parseNotice(b string) (origin string, keys []string, err error) {
	if len(b) < originSize {
		return "", nil, errors.New("redis: a notice without a sender")
	}
	origin, b = b[:originSize], b[originSize:]
	for len(b) > 0 {
		n, size := binary.Uvarint([]byte(b[:min(len(b), binary.MaxVarintLen64)]))
		if size <= 0 || n > uint64(len(b)-size) {
			return "", nil, errors.New("redis: a notice that is cut off")
		}
		keys = append(keys, b[size:size+int(n)])
		b = b[size+int(n):]
	}
	return origin, keys, nil
}

// follow listens until the store is closed.
func (s *Store) follow(ctx context.Context) {
	wait := beat / 4
	for {
		err := s.listen(ctx, func() { wait = beat / 4 })
		if ctx.Err() != nil {
			return
		}
		err = fmt.Errorf("%w: changes of other gateways are not told", Fault("subscribe", err))
		s.deaf.Store(&err)
		s.look()
		s.feed.Tell(store.Change{All: true})
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		}
	}
}

// listen holds one subscription, until it fails. A second goroutine asks for a sign of life and ends it without one:
// reading with a timeout instead could stop in the middle of a message.
func (s *Store) listen(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(ctx)
	sub := s.client.Subscribe(ctx)
	alive := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() { done <- s.receive(ctx, sub, alive, connected) }()
	err := s.guard(ctx, sub, alive, done)
	cancel()
	if closing := sub.Close(); err == nil {
		err = closing
	}
	return err
}

// guard returns when receive has.
func (s *Store) guard(ctx context.Context, sub *goredis.PubSub, alive <-chan struct{}, done <-chan error) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case err := <-done:
			return err
		case <-alive:
			last = time.Now()
		case <-ctx.Done():
			_ = sub.Close() // ends receive
			<-done
			return ctx.Err()
		case <-tick.C:
			if time.Since(last) > max(silence, s.options.Timeout) {
				_ = sub.Close()
				<-done
				return errors.New("no sign of life from the subscription")
			}
			_ = s.beat(ctx, sub) // a failure shows in receive, or as silence
		}
	}
}

func (s *Store) beat(ctx context.Context, sub *goredis.PubSub) error {
	ctx, cancel := context.WithTimeout(ctx, beat)
	defer cancel()
	return sub.Ping(ctx)
}

// receive tells watchers what comes.
func (s *Store) receive(ctx context.Context, sub *goredis.PubSub, alive chan<- struct{}, connected func()) error {
	if err := sub.Subscribe(ctx, s.channel()); err != nil {
		return err
	}
	for {
		message, err := sub.Receive(ctx)
		if err != nil {
			return err
		}
		select {
		case alive <- struct{}{}:
		default:
		}
		switch m := message.(type) {
		case *goredis.Subscription: // also after the client has connected anew by itself
			connected()
			s.feed.Tell(store.Change{All: true})
			s.deaf.Store(nil)
			s.look()
		case *goredis.Message:
			origin, keys, err := parseNotice(m.Payload)
			switch {
			case err != nil:
				s.feed.Tell(store.Change{All: true}) // whoever wrote it meant something
			case origin != s.origin: // our own were told before the write returned
				s.feed.Tell(store.Change{Keys: keys, All: len(keys) == 0})
			}
		}
	}
}
