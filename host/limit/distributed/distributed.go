package distributed

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit/exact"
)

// Options of a limiter. The zero value is useful.
type Options struct {
	// Prefix begins every key and the channel's name in Redis; "turnbuckle:" by default.
	Prefix string
	// Beat is the time between two messages to the other gateways, 200 ms by default and between 20 ms and 500 ms. It
	// must be the same on all of them.
	Beat time.Duration
	// Timeout bounds one request to Redis, 1 s by default.
	Timeout time.Duration
	// Now is the clock, time.Now by default. Only its monotonic reading counts.
	Now func() time.Time
}

// Limiter is a limit.Limiter in memory that shares its limits with others. Close it.
type Limiter struct {
	options Options
	began   time.Time
	members *members
	rates   *rates
	quotas  *quotas
	exact   *exact.Limiter

	tellAll atomic.Bool // somebody new is there
	greeted atomic.Bool // this one has said that it is new
	closed  atomic.Bool
	stop    context.CancelFunc
	work    sync.WaitGroup
	client  redis.UniversalClient
	pubsub  *redis.PubSub
}

var _ limit.Limiter = (*Limiter)(nil)

// Open returns a limiter that shares with all that use the same Redis and prefix. Redis may be away; then it begins
// alone. The context bounds Open; of it only the values are kept, and the limiter works until Close. The client is the
// caller's, and is used until then.
func Open(ctx context.Context, client redis.UniversalClient, o Options) *Limiter {
	if o.Prefix == "" {
		o.Prefix = "turnbuckle:"
	}
	if o.Beat <= 0 {
		o.Beat = 200 * time.Millisecond
	}
	o.Beat = min(max(o.Beat, 20*time.Millisecond), 500*time.Millisecond)
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := newLimiter(o, exact.New(client, exact.Options{Prefix: o.Prefix, Timeout: o.Timeout, Now: o.Now}))
	l.client = client
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.pubsub = client.Subscribe(working, l.channel())
	l.join(ctx)
	l.work.Go(l.listen)
	l.work.Go(func() { l.run(working) })
	return l
}

func newLimiter(o Options, e *exact.Limiter) *Limiter {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	l := &Limiter{options: o, began: o.Now(), exact: e}
	l.members = newMembers(binary.BigEndian.Uint64(id[:]), int64(o.Beat), 0)
	l.rates, l.quotas = newRates(l.members, o.Beat), newQuotas(l.members)
	return l
}

func (l *Limiter) channel() string { return l.options.Prefix + "limits" }

func (l *Limiter) mono(now time.Time) int64 { return int64(now.Sub(l.began)) }

// join waits until others are heard and asks how many there are, so that not even the first request gets more than a
// share. When Redis does not say, it begins alone.
func (l *Limiter) join(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	if _, err := l.pubsub.Receive(within); err != nil {
		return
	}
	counts, err := l.client.PubSubNumSub(within, l.channel()).Result()
	if n := counts[l.channel()]; err == nil && n > 1 {
		l.members.expect(int(min(n, 1<<20)), l.mono(l.options.Now()))
	}
}

// Gateways is how many share the limits, as far as this one knows, itself included; connected is false while Redis is away.
func (l *Limiter) Gateways() (n int, connected bool) {
	return int(l.members.count.Load()), !l.members.away.Load()
}

// Close tells the others, adds what is left to add to quotas, and waits for that as long as the context lasts. Later calls
// fail.
func (l *Limiter) Close(ctx context.Context) error {
	if l.closed.Swap(true) {
		return nil
	}
	l.stop()
	err := l.pubsub.Close()
	l.work.Wait()
	if l.members.away.Load() {
		return errors.Join(err, limit.Unavailable("close the limiter", errors.New("counts of quotas could not be added")))
	}
	within, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	m := message{sender: l.members.self, flags: flagBye}
	return errors.Join(err, l.publish(within, &m), l.quotas.add(within, l.exact, l.mono(l.options.Now())))
}

// listen takes in what others tell until the subscription is closed. The client subscribes again by itself when the
// connection breaks.
func (l *Limiter) listen() {
	var m message
	for got := range l.pubsub.Channel(redis.WithChannelSize(1024), redis.WithChannelHealthCheckInterval(l.options.Timeout)) {
		if m.parse([]byte(got.Payload)) == nil {
			l.hear(&m, l.mono(l.options.Now()))
		}
	}
}

func (l *Limiter) hear(m *message, now int64) {
	if !l.members.hear(m.sender, m.flags, now) {
		return
	}
	if m.flags&flagHello != 0 {
		l.tellAll.Store(true)
	}
	l.rates.hear(m, now)
}

func (l *Limiter) run(ctx context.Context) {
	tick := time.NewTicker(l.options.Beat)
	defer tick.Stop()
	for { // the others know of this one from its first beat on, which is at once
		// Errors are the members' to notice: who is not heard by itself goes on alone.
		for _, m := range l.beat(l.mono(l.options.Now())) {
			if l.publish(ctx, &m) != nil {
				break
			}
		}
		if !l.members.away.Load() {
			_ = l.quotas.add(ctx, l.exact, l.mono(l.options.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beat brings everything up to date and returns what to tell.
func (l *Limiter) beat(now int64) []message {
	flags := byte(0)
	if l.members.update(now) || !l.greeted.Swap(true) {
		flags = flagHello
	}
	loads := l.rates.divideAll(now, l.tellAll.Swap(false))
	messages := []message{{sender: l.members.self, flags: flags, loads: loads[:min(len(loads), loadsAtOnce)]}}
	for rest := loads[min(len(loads), loadsAtOnce):]; len(rest) > 0; {
		n := min(len(rest), loadsAtOnce)
		messages = append(messages, message{sender: l.members.self, loads: rest[:n]})
		rest = rest[n:]
	}
	return messages
}

func (l *Limiter) publish(ctx context.Context, m *message) error {
	within, cancel := context.WithTimeout(ctx, min(l.options.Timeout, 2*l.options.Beat))
	defer cancel()
	if err := l.client.Publish(within, l.channel(), m.append(nil)).Err(); err != nil {
		return limit.Unavailable("tell other gateways", err)
	}
	return nil
}

// Take is limit.Limiter's.
func (l *Limiter) Take(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, true)
}

// Peek is limit.Limiter's. Quotas are asked from Redis, and what other gateways have not yet added is missing.
func (l *Limiter) Peek(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, false)
}

// Reset is limit.Limiter's. Other gateways know with their next beat.
func (l *Limiter) Reset(ctx context.Context, quotas ...limit.Key) error {
	if err := l.exact.Reset(ctx, quotas...); err != nil {
		return err
	}
	for _, k := range quotas {
		if t := l.quotas.table.Get(l.quotas.table.Hash(k), k); t != nil {
			t.window.Store(&window{})
		}
	}
	return nil
}

// Forget is limit.Limiter's.
func (l *Limiter) Forget(ctx context.Context, owner string) error {
	if err := l.exact.Forget(ctx, owner); err != nil {
		return err
	}
	now := l.mono(l.options.Now())
	l.rates.table.DropOwner(owner, func(_ limit.Key, b *bucket) bool {
		b.view.Lock()
		defer b.view.Unlock()
		b.cell.Load().Seal(now)
		b.view.local, b.view.level, b.view.heard = false, 0, 0
		return true
	})
	l.quotas.table.DropOwner(owner, func(_ limit.Key, t *tally) bool {
		t.window.Store(&window{})
		return true
	})
	return nil
}
