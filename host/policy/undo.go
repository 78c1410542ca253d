package policy

import (
	"context"
	"fmt"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Undo makes a hook that fails leave the exchange as it found it, bodies that were buffered for it included, so that an
// exchange that goes on without the hook is not half changed by it. A refusal ends the exchange and undoes nothing.
func Undo() Middleware {
	return func(next sdk.Hook) sdk.Hook {
		return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
			var before sdk.Undo
			before.Keep(x)
			err := next.Handle(ctx, x)
			if invalid := x.Invalid(); err == nil && invalid != nil {
				err = fmt.Errorf("%w: %w", sdk.ErrProtocol, invalid)
			}
			if forgivable(ctx, err) {
				before.Restore(x)
			}
			return err
		})
	}
}
