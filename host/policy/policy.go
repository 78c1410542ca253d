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
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Call is one place in a chain at which a hook, or a group of consecutive ones, is called.
type Call struct {
	Name   string // of the hook, for messages
	Phase  sdk.Phase
	Policy config.Policy       // complete but for Body.Mode, which may be empty: as the hook's needs say
	Budget time.Duration       // of the whole exchange for hooks; 0: none
	Notify func(BreakerChange) // told of the breaker's changes; may be nil
	Now    func() time.Time    // the clock; nil: time.Now
}

// A Middleware wraps a hook in one rule.
type Middleware func(sdk.Hook) sdk.Hook

// Wrap puts the rules of c around h. The first in the list below is outermost.
func Wrap(c Call, h sdk.Hook) sdk.Hook {
	if c.Now == nil {
		c.Now = time.Now
	}
	p := c.Policy
	needer, _ := h.(sdk.Needer)
	rules := []Middleware{
		when(p.OnError == config.OnErrorSkip && c.Phase != sdk.Auth, Skip()),
		body(c, needer),
		when(p.Timeout > 0 || c.Budget > 0, Deadline(p.Timeout, c.Budget, c.Now)),
		when(p.Breaker.ErrorRate > 0, WithBreaker(NewBreaker(p.Breaker, c.Now, c.Notify))),
		when(p.MaxInFlight > 0, InFlight(p.MaxInFlight)),
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

// Skip turns a failure into [Skipped]. A refusal, an [*sdk.Error], is no failure; neither is a client that left.
func Skip() Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			err := next.Handle(ctx, x)
			if err == nil {
				err = x.Invalid()
			}
			var refusal *sdk.Error
			if err == nil || errors.As(err, &refusal) || errors.Is(err, context.Canceled) {
				return err
			}
			if x.Answered() && x.Phase() != sdk.ResponsePhase {
				x.Retract()
			}
			return &Skipped{err}
		})
	}
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

// body buffers what the hook needs to see. Too large a request body is the client's fault and ends the exchange with
// 413 whatever on_error says; too large a reply body is a failure of the hook.
func body(c Call, needer sdk.Needer) Middleware {
	mode, limit := c.Policy.Body.Mode, int64(c.Policy.Body.Limit)
	if limit <= 0 {
		limit = int64(config.DefaultBodyLimit)
	}
	if mode == config.BodyNone {
		return nil
	}
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			f, live := x.Backing().(*flow.Flow)
			if !live {
				return next.Handle(ctx, x)
			}
			request, reply, most := mode == config.BodyBuffer, mode == config.BodyBuffer, limit
			if needer != nil {
				n := needer.Needs()
				request, reply = n.Has(sdk.NeedBody), n.Has(sdk.NeedResponseBody)
				if mode == "" && n.BodyLimit > 0 {
					most = n.BodyLimit
				}
			}
			if request && c.Phase != sdk.ResponsePhase {
				if err := Buffer(f, c.Name, most); err != nil {
					return err
				}
			}
			if reply && c.Phase == sdk.ResponsePhase {
				if err := f.BufferReply(most); err != nil {
					return fmt.Errorf("%w (hook %s, setting body)", err, c.Name)
				}
			}
			return next.Handle(ctx, x)
		})
	}
}

// Buffer reads the request's body for the hook of that name, or returns the [*sdk.Error] that ends the exchange.
func Buffer(f *flow.Flow, hook string, limit int64) error {
	err := f.BufferRequest(limit)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sdk.ErrTooLarge):
		msg := fmt.Sprintf("request body over %s, the limit of hook %s (setting body)", config.Size(limit), hook)
		return &sdk.Error{Status: 413, Message: msg, Err: err}
	case f.Ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Canceled, err)
	default:
		var refusal *sdk.Error
		if errors.As(err, &refusal) {
			return err
		}
		return &sdk.Error{Status: 400, Message: "the request body could not be read", Err: err}
	}
}
