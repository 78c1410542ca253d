package outside

import (
	"context"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Dry is an opener that connects to nothing, for check.
type Dry struct{ Opener }

// Server opens scripts; of plugin servers that could be started, and of ready-made plugins that are configured well, it
// returns one that does nothing.
func (d *Dry) Server(def *config.Definition, name string) (host.Server, error) {
	if u := def.Builtin(name); u != nil {
		return nothing{}, d.Builtins.Check(u)
	}
	if d.HasScript(def, name) {
		return d.Opener.Server(def, name)
	}
	if name == "" {
		name = config.DefaultServer
	}
	settings := d.Settings[name]
	return nothing{}, CheckStart(name, &settings)
}

// Callers are none: nobody calls.
func (*Dry) Callers() (*host.Callers, error) {
	return &host.Callers{Keys: &identity.Keys{}, Memory: authn.NewMemory()}, nil
}

// Limiter judges nothing, for the same reason.
func (*Dry) Limiter() (limit.Limiter, error) { return nil, nil }

// Upstream checks what the real one would, and forwards nothing.
func (d *Dry) Upstream(def *config.Definition, target string) (host.Upstream, error) {
	u, err := d.Opener.Upstream(def, target)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(d.Ctx, time.Second)
	defer cancel()
	return u, u.Close(ctx)
}

// nothing is a plugin server nobody calls.
type nothing struct{}

func (nothing) Hook(sdk.HookUse) (sdk.Hook, error) {
	return sdk.HookFunc(func(context.Context, *sdk.Exchange) error { return sdk.ErrUnavailable }), nil
}
func (nothing) Group([]sdk.Hook) (sdk.Hook, bool) { return nil, false }
func (nothing) Observer(string) sdk.Observer {
	return sdk.ObserverFunc(func(context.Context, sdk.Batch) error { return nil })
}
func (nothing) Close() error { return nil }
