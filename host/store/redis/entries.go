package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/store"
)

const (
	manyAtOnce = 500 // keys of one pipeline
	attempts   = 1000
)

// Get is store.Reader's: one round trip.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	all, err := s.Many(ctx, []string{key})
	if err != nil {
		return store.Entry{}, err
	}
	if all[0].Value == nil {
		return store.Entry{}, store.ErrNotFound
	}
	return all[0], nil
}

// Many is store.Reader's: one round trip to each server for 500 keys.
func (s *Store) Many(ctx context.Context, keys []string) ([]store.Entry, error) {
	all := make([]store.Entry, 0, len(keys))
	for len(keys) > 0 {
		n := min(manyAtOnce, len(keys))
		part, err := s.read(ctx, keys[:n])
		if err != nil {
			return nil, err
		}
		all, keys = append(all, part...), keys[n:]
	}
	return all, nil
}

func (s *Store) read(ctx context.Context, keys []string) ([]store.Entry, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	pipe := s.client.Pipeline()
	values, ends := make([]*goredis.StringCmd, len(keys)), make([]*goredis.DurationCmd, len(keys))
	for i, key := range keys {
		values[i], ends[i] = pipe.Get(ctx, s.Key(key)), pipe.PTTL(ctx, s.Key(key))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return nil, s.fault("read", err)
	}
	now := time.Now()
	all := make([]store.Entry, len(keys))
	for i := range keys {
		value, err := values[i].Bytes()
		if errors.Is(err, goredis.Nil) {
			continue
		}
		if err := errors.Join(err, ends[i].Err()); err != nil {
			return nil, s.fault("read", err)
		}
		switch left := ends[i].Val(); left {
		case -2: // it ended between the two
		case -1:
			all[i] = store.Entry{Value: nonNil(value)}
		default:
			all[i] = store.Entry{Value: nonNil(value), Expires: now.Add(left)}
		}
	}
	return all, nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// left is an end as time to live, in whole milliseconds, rounded up; 0 is none, and negative is over.
func left(e store.Entry, now time.Time) time.Duration {
	if e.Expires.IsZero() {
		return 0
	}
	if e.Ended(now) {
		return -1
	}
	d := e.Expires.Sub(now)
	return max(time.Millisecond, (d + time.Millisecond - 1).Truncate(time.Millisecond))
}

// Apply is store.Writer's: a transaction on one server; in a cluster each key alone, in parallel.
func (s *Store) Apply(ctx context.Context, writes ...store.Write) error {
	for _, w := range writes {
		if err := store.Check(w.Key, w.Entry); err != nil {
			return err
		}
	}
	if len(writes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout+time.Duration(len(writes))*100*time.Microsecond)
	defer cancel()
	var told []string
	pipe := s.client.TxPipeline()
	if s.cluster {
		pipe = s.client.Pipeline()
	}
	now := time.Now()
	for _, w := range writes {
		if ttl := left(w.Entry, now); w.Delete || ttl < 0 {
			pipe.Del(ctx, s.Key(w.Key))
		} else {
			pipe.Set(ctx, s.Key(w.Key), w.Value, ttl)
		}
		if !w.Quiet {
			told = append(told, w.Key)
		}
	}
	if len(told) > 0 && !s.cluster {
		pipe.Publish(ctx, s.channel(), s.notice(told))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.feed.Tell(store.Change{Keys: told}) // some may have been written
		return s.fault("write", s.whyAborted(ctx, err))
	}
	s.feed.Tell(store.Change{Keys: told})
	if len(told) > 0 && s.cluster { // after the writes, which go to several servers
		if err := s.client.Publish(ctx, s.channel(), s.notice(told)).Err(); err != nil {
			return s.fault("tell the other gateways of what was written", err)
		}
	}
	return nil
}

// whyAborted finds the reason of a transaction that the server refused while it took the commands: the client keeps
// only that it was refused. Full, or a replica by now, the server says so again.
func (s *Store) whyAborted(ctx context.Context, err error) error {
	if !goredis.HasErrorPrefix(err, "EXECABORT") {
		return err
	}
	if why := s.client.Set(ctx, s.Key("probe"), "", time.Millisecond).Err(); why != nil {
		return why
	}
	return err
}

// Update is store.Writer's: read, change, and a script that writes if nothing has changed meanwhile.
func (s *Store) Update(ctx context.Context, key string, change func(*store.Entry) (*store.Entry, error)) error {
	if err := store.CheckKey(key); err != nil {
		return err
	}
	for range attempts {
		old, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		w, changed, err := store.Changed(key, old, change)
		if err != nil || !changed {
			return err
		}
		swapped, err := s.swap(ctx, old, w)
		if err != nil || swapped {
			return err
		}
	}
	return fmt.Errorf("redis: update %q: %w", key, store.ErrConflict)
}

// swapScript: KEYS key; ARGV whether there was something, what it was, what to do (del, keep its end, no end, or
// milliseconds), the new value, channel, notice.
func swapScript() *goredis.Script {
	return goredis.NewScript(`
local found = redis.call('GET', KEYS[1])
if ARGV[1] == '0' then
	if found then return 0 end
elseif found ~= ARGV[2] then
	return 0
end
if ARGV[3] == 'del' then
	redis.call('DEL', KEYS[1])
elseif ARGV[3] == 'keep' then
	redis.call('SET', KEYS[1], ARGV[4], 'KEEPTTL')
elseif ARGV[3] == 'none' then
	redis.call('SET', KEYS[1], ARGV[4])
else
	redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1`)
}

func (s *Store) swap(ctx context.Context, old store.Entry, w store.Write) (bool, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	there := 0
	if old.Value != nil {
		there = 1
	}
	var do string
	switch ttl := left(w.Entry, time.Now()); {
	case w.Delete, ttl < 0:
		do = "del"
	case old.Value != nil && w.Expires.Equal(old.Expires):
		do = "keep"
	case ttl == 0:
		do = "none"
	default:
		do = fmt.Sprint(ttl.Milliseconds())
	}
	done, err := swapScript().Run(ctx, s.client, []string{s.Key(w.Key)}, there, old.Value, do, w.Value, s.channel(), s.notice([]string{w.Key})).Int()
	if err != nil {
		s.feed.Tell(store.Change{Keys: []string{w.Key}})
		return false, s.fault("update", err)
	}
	if done == 1 {
		s.feed.Tell(store.Change{Keys: []string{w.Key}})
	}
	return done == 1, nil
}

// PutNew is store.Writer's.
func (s *Store) PutNew(ctx context.Context, key string, e store.Entry) (bool, error) {
	if err := store.Check(key, e); err != nil {
		return false, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	ttl := left(e, time.Now())
	if ttl < 0 { // it would end as it is written
		n, err := s.client.Exists(ctx, s.Key(key)).Result()
		return n == 0 && err == nil, s.fault("write", err)
	}
	ok, err := s.client.SetNX(ctx, s.Key(key), bytes.Clone(e.Value), ttl).Result()
	return ok, s.fault("write", err)
}

// addScript: KEYS key; ARGV delta, and milliseconds that a new number lives, 0 for ever, less for not at all.
func addScript() *goredis.Script {
	return goredis.NewScript(`
local fresh = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if fresh and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return tostring(redis.call('GET', KEYS[1]) or sum)`)
}

// Add is store.Writer's.
func (s *Store) Add(ctx context.Context, key string, delta int64, expires time.Time) (int64, error) {
	if err := store.CheckKey(key); err != nil {
		return 0, err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	ttl := left(store.Entry{Expires: expires}, time.Now())
	ms := ttl.Milliseconds()
	if ttl < 0 {
		ms = -1
	}
	// The sum comes as text: a number of Lua holds 53 bits.
	sum, err := addScript().Run(ctx, s.client, []string{s.Key(key)}, delta, ms).Int64()
	return sum, s.fault("add", err)
}
