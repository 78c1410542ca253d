package host

import (
	"context"
	"errors"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Check compiles a definition as Load would, and throws the route away: what it returns would refuse the definition.
func Check(ctx context.Context, o Options, open Opener, d *config.Definition) error {
	ev := newEvents(ctx, o.Log, o.Metrics)
	r, err := compile(ctx, &o, open, ev, d)
	if err != nil {
		return err
	}
	return errors.Join(r.check(), r.retire(ctx))
}
