package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// BreakerChange tells of a breaker that tripped or reset.
type BreakerChange struct {
	Open  bool
	Calls int // in the window that tripped it
	Fails int
}

const breakerSlices = 10 // the window moves in steps of a tenth

// Breaker stops calls to a hook that keeps failing. Closed, it counts calls and failures over a sliding window; when at
// least MinCalls were made and their share of failures reaches ErrorRate, it opens and refuses every call for OpenFor.
// Then it lets one call probe: success closes it, failure opens it again. Safe for concurrent use.
type Breaker struct {
	config config.Breaker
	now    func() time.Time
	notify func(BreakerChange)

	mu      sync.Mutex
	slices  [breakerSlices]struct{ calls, fails int }
	current int64 // number of the slice that counts now, since the epoch
	until   time.Time
	open    bool
	probing bool
}

// NewBreaker returns a closed breaker. now must not be nil; notify may be, and is called without locks held.
func NewBreaker(c config.Breaker, now func() time.Time, notify func(BreakerChange)) *Breaker {
	if c.Window <= 0 {
		c.Window = 10 * time.Second
	}
	if c.MinCalls <= 0 {
		c.MinCalls = 20
	}
	if c.OpenFor <= 0 {
		c.OpenFor = 5 * time.Second
	}
	return &Breaker{config: c, now: now, notify: notify}
}

// WithBreaker guards a hook by b. Refusals of the hook's own and clients that leave are no failures.
func WithBreaker(b *Breaker) Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			pass := b.Allow()
			if pass == Refused {
				return fmt.Errorf("%w: %s", sdk.ErrBreaker, b.wait())
			}
			err := next.Handle(ctx, x)
			var refusal *sdk.Error
			switch {
			case errors.As(err, &refusal):
				b.Done(pass, false)
			case left(ctx, err):
				b.Forget(pass)
			default:
				b.Done(pass, err != nil || x.Invalid() != nil)
			}
			return err
		})
	}
}

// Pass is a breaker's word on one call.
type Pass uint8

// What a breaker says to a call.
const (
	Refused Pass = iota // the breaker is open
	Allowed
	Probe // allowed, and its outcome decides
)

// Allow says whether a call may be made; one that may must be followed by Done or Forget with the same Pass.
func (b *Breaker) Allow() Pass {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return Allowed
	}
	if b.probing || b.now().Before(b.until) {
		return Refused
	}
	b.probing = true
	return Probe
}

// Done reports how a call ended.
func (b *Breaker) Done(pass Pass, failed bool) {
	change, changed := b.done(pass, failed)
	if changed && b.notify != nil {
		b.notify(change)
	}
}

// Forget reports a call that says nothing about the hook.
func (b *Breaker) Forget(pass Pass) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pass == Probe {
		b.probing = false
	}
}

func (b *Breaker) done(pass Pass, failed bool) (BreakerChange, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		if pass != Probe {
			return BreakerChange{}, false // a call from before it opened
		}
		b.probing = false
		if failed {
			b.until = b.now().Add(b.config.OpenFor)
			return BreakerChange{}, false
		}
		b.open = false
		clear(b.slices[:])
		return BreakerChange{}, true
	}
	b.turn()
	s := &b.slices[b.current%breakerSlices]
	s.calls++
	if !failed {
		return BreakerChange{}, false
	}
	s.fails++
	var calls, fails int
	for _, s := range b.slices {
		calls, fails = calls+s.calls, fails+s.fails
	}
	if calls < b.config.MinCalls || float64(fails) < b.config.ErrorRate*float64(calls) {
		return BreakerChange{}, false
	}
	b.open, b.until = true, b.now().Add(b.config.OpenFor)
	return BreakerChange{Open: true, Calls: calls, Fails: fails}, true
}

// turn empties the slices that the clock has passed since the last call.
func (b *Breaker) turn() {
	n := b.now().UnixNano() / max(1, int64(b.config.Window)/breakerSlices)
	for i := max(b.current+1, n-breakerSlices+1); i <= n; i++ {
		b.slices[i%breakerSlices] = struct{ calls, fails int }{}
	}
	b.current = max(b.current, n)
}

func (b *Breaker) wait() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.probing {
		return "a probe is on its way"
	}
	return fmt.Sprintf("next probe in %v", max(0, b.until.Sub(b.now())).Round(time.Millisecond))
}
