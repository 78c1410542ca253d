package exact

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
)

//go:embed take.lua
var takeScript string

//go:embed settle.lua
var settleScript string

// Options of a limiter. The zero value is useful.
type Options struct {
	// Prefix begins every key in Redis; "turnbuckle:" by default.
	Prefix string
	// Timeout bounds one request to Redis, 1 s by default, beside the caller's context. Both hold only when the client's
	// option ContextTimeoutEnabled is set.
	Timeout time.Duration
	// Now is the gateway's clock, time.Now by default. Nothing is counted by it: it says how long not to ask a server that is
	// away, and turns the server's times into this gateway's.
	Now func() time.Time
}

// Limiter is a limit.Limiter in Redis. It has nothing to close; the client is the caller's.
type Limiter struct {
	options Options
	client  redis.UniversalClient
	cluster bool
	take    script
	settle  script
	gate    gate
}

var _ limit.Limiter = (*Limiter)(nil)

// New returns a limiter on a server, a Sentinel's master or a cluster, by what the client is.
func New(client redis.UniversalClient, o Options) *Limiter {
	if o.Prefix == "" {
		o.Prefix = "turnbuckle:"
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	_, cluster := client.(*redis.ClusterClient)
	return &Limiter{
		options: o, client: client, cluster: cluster,
		take: newScript(takeScript), settle: newScript(settleScript), gate: gate{began: o.Now()},
	}
}

// Take is limit.Limiter's.
func (l *Limiter) Take(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, true)
}

// Peek is limit.Limiter's.
func (l *Limiter) Peek(ctx context.Context, a *limit.Ask, v *limit.Verdict) error {
	return l.judge(ctx, a, v, false)
}

func (l *Limiter) judge(ctx context.Context, a *limit.Ask, v *limit.Verdict, take bool) error {
	v.Begin(a)
	p := l.plan(a, take)
	if len(p.calls) == 0 {
		return nil
	}
	err := l.run(ctx, &l.take, p.calls)
	if err == nil {
		err = p.read(v, l.options.Now())
	}
	if take && len(p.calls) > 1 && (err != nil || !v.Passed()) {
		back := l.giveBack(ctx, p)
		if err == nil && back != nil {
			return back // the request is refused, and its part in other slots still taken: say so
		}
	}
	return err
}

// giveBack settles with the slots that took when another did not. It must neither end with the client that left nor be turned
// back because another slot's server is away.
func (l *Limiter) giveBack(ctx context.Context, p *plan) error {
	calls := p.takenBack(l)
	if len(calls) == 0 {
		return nil
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.options.Timeout)
	defer cancel()
	if err := l.send(within, &l.settle, calls, true); err != nil {
		return limit.Unavailable("give back what was taken", err)
	}
	return nil
}

// Reset is limit.Limiter's.
func (l *Limiter) Reset(ctx context.Context, quotas ...limit.Key) error {
	fields := map[string][]string{}
	for _, k := range quotas {
		fields[k.Owner] = append(fields[k.Owner], "q"+k.Scope)
	}
	return l.plainly(ctx, "reset quotas", func(p redis.Pipeliner) {
		for owner, f := range fields {
			p.HDel(ctx, l.key(owner), f...)
		}
	})
}

// Forget is limit.Limiter's.
func (l *Limiter) Forget(ctx context.Context, owner string) error {
	return l.plainly(ctx, "forget limits", func(p redis.Pipeliner) { p.Del(ctx, l.key(owner)) })
}

// plainly sends commands that may be repeated.
func (l *Limiter) plainly(ctx context.Context, what string, fill func(redis.Pipeliner)) error {
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	p := l.client.Pipeline()
	fill(p)
	if p.Len() == 0 {
		return nil
	}
	if _, err := p.Exec(ctx); err != nil {
		return limit.Unavailable(what, err)
	}
	return nil
}

func (l *Limiter) key(owner string) string { return l.options.Prefix + "limit:" + owner }

// Delta is a number of requests of one window of a quota, which passed elsewhere and are to be counted.
type Delta struct {
	Quota limit.QuotaBucket
	N     int64
	// Begun is when its window began, as a Count told: what belongs to one that is over is dropped. 0 is whichever is now, and
	// begins one if there is none.
	Begun int64
}

// Count is what is used of a quota.
type Count struct {
	Used  int64
	Begun int64         // microseconds on the server's clock; 0 when nothing is used
	Left  time.Duration // until the window ends; 0 when nothing is used, or it never does
}

// Add counts what passed elsewhere, and tells how its quotas are then, in counts, which is as long as deltas. It costs a
// round trip, in a cluster one per slot. An error may leave some counted.
func (l *Limiter) Add(ctx context.Context, deltas []Delta, counts []Count) error {
	if len(deltas) == 0 {
		return nil
	}
	p := l.planDeltas(deltas)
	if err := l.run(ctx, &l.settle, p.calls); err != nil {
		return err
	}
	return p.readCounts(deltas, counts)
}

// run sends all calls at once and waits for all replies. The first error is returned; calls that succeeded have their reply
// all the same.
func (l *Limiter) run(ctx context.Context, s *script, calls []*call) error {
	if !l.gate.enter(l.options.Now()) {
		return limit.Unavailable("redis", errAway)
	}
	within, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	err := l.send(within, s, calls, true)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("limits: %w", context.Cause(ctx))
	}
	l.gate.leave(err == nil || replied(err), l.options.Now())
	if err != nil {
		return limit.Unavailable("redis", err)
	}
	return nil
}

var errAway = errors.New("it did not answer a moment ago")

// replied reports whether an error is a server's reply, so that it is there.
func replied(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && !errors.Is(err, redis.Nil)
}
