// Package policy wraps hooks in the rules of their call: deadline and budget, body buffering, calls in flight, breaker,
// what happens on failure. Each rule is one small middleware that knows nothing of the others; [Wrap] puts them in
// order. A rule that a policy does not ask for is not there and costs nothing.
package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Call is one place in a chain at which a hook, or a group of consecutive ones, is called.
type Call struct {
	Name   string // of the hook, for messages
	Phase  sdk.Phase
	Policy config.Policy // complete but for Body.Mode, which may be empty: as the hook's needs say
	// Timeout replaces Policy.Timeout where it depends on what is known only when the hook is called; nil: it does not.
	Timeout func() time.Duration
	MaxBody config.Size         // the route's limit on request bodies; 0: none
	Budget  time.Duration       // of the whole exchange for hooks; 0: none
	Notify  func(BreakerChange) // told of the breaker's changes; may be nil
	Now     func() time.Time    // the clock; nil: time.Now
}

// A Middleware wraps a hook in one rule.
type Middleware func(sdk.Hook) sdk.Hook

// Wrap puts the rules of c around h. The first in the list below is outermost.
func Wrap(c Call, h sdk.Hook) sdk.Hook {
	if c.Now == nil {
		c.Now = time.Now
	}
	p := c.Policy
	if c.Timeout == nil {
		c.Timeout = func() time.Duration { return p.Timeout }
	}
	skip := p.OnError == config.OnErrorSkip && c.Phase != sdk.Auth
	rules := []Middleware{
		when(skip, Skip()),
		body(c, h),
		when(p.Timeout > 0 || c.Budget > 0, Deadline(c.Timeout, c.Budget, c.Now)),
		when(p.MaxInFlight > 0, InFlight(p.MaxInFlight)), // outside the breaker: a full house says nothing of the hook
		when(p.Breaker.ErrorRate > 0, WithBreaker(NewBreaker(p.Breaker, c.Now, c.Notify))),
		when(skip, Undo()),
		Recover(),
	}
	for i := len(rules) - 1; i >= 0; i-- {
		if rules[i] != nil {
			h = rules[i](h)
		}
	}
	return h
}

func when(asked bool, m Middleware) Middleware {
	if !asked {
		return nil
	}
	return m
}

// Skipped is the error of a hook whose failure the policy forgives: the exchange goes on as if the hook had not been
// there. Err is the failure.
type Skipped struct{ Err error }

// Error names the failure.
func (s *Skipped) Error() string { return fmt.Sprintf("skipped: %v", s.Err) }

// Unwrap returns the failure.
func (s *Skipped) Unwrap() error { return s.Err }

// Skip turns a failure into [Skipped]. A refusal, an [*sdk.Error], is no failure; neither is a client that left. What
// the hook changed is for [Undo] to take back.
func Skip() Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			err := next.Handle(ctx, x)
			if forgivable(ctx, err) {
				return &Skipped{err}
			}
			return err
		})
	}
}

// forgivable reports whether err is a failure of the hook, which a policy may skip.
func forgivable(ctx context.Context, err error) bool {
	var refusal *sdk.Error
	return err != nil && !errors.As(err, &refusal) && !left(ctx, err)
}

// left reports whether err came of a client that left.
func left(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && errors.Is(ctx.Err(), context.Canceled)
}

// Recover turns a panic into an error that wraps sdk.ErrPanic. The stack is in the error's text, for the log.
func Recover() Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) (err error) {
			defer func() {
				if v := recover(); v != nil {
					err = fmt.Errorf("%w: %v\n%s", sdk.ErrPanic, v, debug.Stack())
				}
			}()
			return next.Handle(ctx, x)
		})
	}
}

// InFlight bounds how many calls run at once; one more fails with sdk.ErrOverloaded, it does not wait.
func InFlight(limit int) Middleware {
	slots := make(chan struct{}, limit)
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			select {
			case slots <- struct{}{}:
			default:
				return fmt.Errorf("%w: max_in_flight is %d", sdk.ErrOverloaded, limit)
			}
			defer func() { <-slots }()
			return next.Handle(ctx, x)
		})
	}
}
