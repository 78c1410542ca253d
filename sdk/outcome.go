package sdk

import (
	"context"
	"errors"
)

// OutcomeOf names how a call on x that returned err ended. For hosts and runtimes.
func OutcomeOf(err error, x *Exchange) Outcome {
	if err == nil {
		if x.Changes()&ChangedAnswer != 0 {
			return OutcomeAnswered
		}
		return OutcomeOK
	}
	var refusal *Error // allocated, since errors.As writes to it
	switch {
	case errors.Is(err, ErrTooLarge): // also where it is refused: the client's fault has a name of its own
		return OutcomeTooLarge
	case errors.As(err, &refusal):
		return OutcomeRefused
	case errors.Is(err, context.DeadlineExceeded):
		return OutcomeTimeout
	case errors.Is(err, context.Canceled):
		return OutcomeCanceled
	case errors.Is(err, ErrBreaker):
		return OutcomeBreaker
	case errors.Is(err, ErrOverloaded):
		return OutcomeOverloaded
	case errors.Is(err, ErrUnavailable):
		return OutcomeUnavailable
	case errors.Is(err, ErrProtocol):
		return OutcomeGarbage
	}
	return OutcomeFailed
}
