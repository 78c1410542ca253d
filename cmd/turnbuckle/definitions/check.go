package definitions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/settings"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/python"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
)

// Check reads what a gateway with these settings would, and compiles it without connecting to anything. It returns every
// problem, and how many definitions would serve and are refused. An error says why that could not be found out.
func Check(ctx context.Context, s *config.Settings, environ []string, version string) (problems config.Problems, served, refused int, err error) {
	bundles, end, err := shelf.ForCheck(s, version)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { err = errors.Join(err, end()) }()
	ready := builtin.New(slog.New(slog.DiscardHandler), all.Plugins())
	d, err := Read(s, ready, environ, bundles.Look(ctx, settings.LookupIn(environ)))
	if d != nil {
		problems = append(append(d.Problems, Compile(ctx, s, ready, d)...), interpreters(s, d)...)
		served, refused = len(d.Set.Definitions), len(d.Set.Refused)
	}
	var unread config.Problem
	if errors.As(err, &unread) {
		return append(problems, unread), served, refused, nil
	}
	return problems, served, refused, err
}

// interpreters warns when there is none for plugins in Python. It is no error: where files are checked need not be where they
// are served.
func interpreters(s *config.Settings, d *All) config.Problems {
	for _, name := range slices.Sorted(maps.Keys(d.Servers)) {
		start := d.Servers[name].Start.Python
		if start == nil {
			continue
		}
		err := python.Look(s.Python.Interpreter)
		if err == nil {
			return nil
		}
		return config.Problems{{
			File: start.Folder, Severity: config.SeverityWarning, Message: "a plugin in Python could not be started on this machine: " + err.Error(),
			Hint: "install Python 3 with grpcio and protobuf, or name an interpreter with python.interpreter",
		}}
	}
	return nil
}

// Compile compiles every definition as serve would, without connecting to anything.
func Compile(ctx context.Context, s *config.Settings, ready *builtin.Builtins, d *All) config.Problems {
	var problems config.Problems
	replies, err := Replies(s)
	if err != nil {
		return config.Problems{{Severity: config.SeverityError, Message: err.Error()}}
	}
	log := slog.New(slog.DiscardHandler)
	inside := scripts.New(log)
	defer inside.Close()
	open := &outside.Dry{Opener: outside.Opener{
		Ctx: ctx, Targets: outside.NewTargets(), Settings: d.Servers, Plugins: d.Plugins, Notify: func(*config.Definition, upstream.Event) {},
		Scripts: inside, Room: scripts.NewRoom(s, nil), Builtins: ready,
	}}
	o := host.Options{Log: log, Metrics: observe.NewMetrics(), Shared: open, Replies: replies, Match: s.Routing.Match, MaxBody: s.Listen.MaxBody, Hooks: s.Hooks, Errors: s.Errors}
	for _, def := range d.Set.Definitions {
		if err := host.Check(ctx, o, open, def); err != nil {
			problems = append(problems, config.Problem{File: def.Source.File, Severity: config.SeverityError, Message: err.Error()})
		}
	}
	return problems
}

// Replies compiles the templates of errors.
func Replies(s *config.Settings) (*reply.Renderer, error) {
	r, err := reply.Compile(s.Errors, s.HideGenerator)
	if err != nil {
		return nil, fmt.Errorf("error templates: %w", err)
	}
	return r, nil
}
