package run

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Check reads what a gateway with these settings would, and compiles it without connecting to anything. It returns every
// problem, and how many definitions would serve and are refused. An error says why that could not be found out.
func Check(ctx context.Context, s *config.Settings, environ []string) (problems config.Problems, served, refused int, err error) {
	d, err := loadDefinitions(s, environ)
	if d != nil {
		problems = append(d.problems, compileAll(ctx, s, d)...)
		served, refused = len(d.set.Definitions), len(d.set.Refused)
	}
	var unread config.Problem
	if errors.As(err, &unread) {
		return append(problems, unread), served, refused, nil
	}
	return problems, served, refused, err
}

// compileAll compiles every definition as serve would, without connecting to anything.
func compileAll(ctx context.Context, s *config.Settings, d *definitions) config.Problems {
	var problems config.Problems
	replies, err := compileReplies(s)
	if err != nil {
		return config.Problems{{Severity: config.SeverityError, Message: err.Error()}}
	}
	log := slog.New(slog.DiscardHandler)
	inside := scripts.New(log)
	defer inside.Close()
	open := &dry{outside.Opener{
		Ctx: ctx, Targets: outside.NewTargets(), Settings: d.servers, Plugins: d.plugins, Notify: func(*config.Definition, upstream.Event) {},
		Scripts: inside, Room: scripts.NewRoom(&s.Scripts, nil),
	}}
	o := host.Options{Log: log, Metrics: observe.NewMetrics(), Shared: open, Replies: replies, Match: s.Routing.Match, MaxBody: s.Listen.MaxBody, Hooks: s.Hooks, Errors: s.Errors}
	for _, def := range d.set.Definitions {
		if err := host.Check(ctx, o, open, def); err != nil {
			problems = append(problems, config.Problem{File: def.Source.File, Severity: config.SeverityError, Message: err.Error()})
		}
	}
	return problems
}

// dry is an opener that connects to nothing, for check.
type dry struct{ outside.Opener }

// Server opens scripts; of plugin servers it returns one that does nothing, if they could be started.
func (d *dry) Server(def *config.Definition, name string) (host.Server, error) {
	if d.HasScript(def, name) {
		return d.Opener.Server(def, name)
	}
	if name == "" {
		name = config.DefaultServer
	}
	settings := d.Settings[name]
	return nothing{}, outside.CheckStart(name, &settings)
}

// Callers are none: nobody calls.
func (*dry) Callers() (*host.Callers, error) {
	return &host.Callers{Keys: &identity.Keys{}, Memory: authn.NewMemory()}, nil
}

// Limiter judges nothing, for the same reason.
func (*dry) Limiter() (limit.Limiter, error) { return nil, nil }

// Upstream checks what the real one would, and forwards nothing.
func (d *dry) Upstream(def *config.Definition, target string) (host.Upstream, error) {
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
