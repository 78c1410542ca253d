package run

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// newShelf makes the shelf of bundles, or takes it from before, where the settings say the same.
func (g *gateway) newShelf(s *config.Settings, before *generation) *share.Part[*shelf.Shelf] {
	if before != nil && reflect.DeepEqual(before.s.Bundles, s.Bundles) && before.s.Plugins == s.Plugins && before.s.Store.Path == s.Store.Path {
		return before.bundles.Take()
	}
	return share.New(func() (*shelf.Shelf, share.Close, error) {
		t, err := outside.BundleTLS(&s.Bundles.TLS)
		if err != nil {
			return nil, nil, fmt.Errorf("the server of bundles: %w", err)
		}
		made := shelf.New(shelf.Options{
			Settings: &s.Bundles, Plugins: s.Plugins, Data: s.Store.Path, Version: g.o.Version, TLS: t, Log: slog.New(g.sight.lines.All()), Tally: &g.sight.bundles,
		})
		if before != nil {
			if old, ok := before.bundles.Opened(); ok {
				made.Inherit(old)
			}
		}
		return made, func(context.Context) error { return made.Close() }, nil
	})
}

// shelf returns the generation's bundles; newGeneration has opened it.
func (gen *generation) shelf() *shelf.Shelf {
	s, _ := gen.bundles.Opened()
	return s
}

// shelf returns that of the generation that serves; nil before there is one.
func (g *gateway) shelf() *shelf.Shelf {
	if now := g.now.Load(); now != nil {
		return now.shelf()
	}
	return nil
}

// served tells the shelf of bundles what came of the load by which the generation serves.
func (gen *generation) served() {
	d := gen.loaded.Load()
	if d == nil {
		return
	}
	states := map[string]string{}
	for _, r := range gen.host.Status().Routes {
		states[r.ID] = r.State
	}
	d.Bundles.Serves(d.Set.Definitions, states)
}

// bundlesEvery is how often what bundles stand on is looked at, on this machine.
const bundlesEvery = time.Second

// followBundles reloads when a bundle, or whom it is believed, has changed, until ctx ends.
func (g *gateway) followBundles(ctx context.Context) error {
	tick := time.NewTicker(bundlesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := g.now.Load()
		if !now.s.Watch {
			continue
		}
		held := now.bundles.Take()
		if s, ok := held.Opened(); ok && s.Changed(ctx) && ctx.Err() == nil {
			_ = g.reload(ctx) // the worker has logged it
		}
		if err := held.Release(g.ctx); err != nil {
			g.sight.log.Warn("bundles", "error", err.Error())
		}
	}
}

// bundlesOf is what the control API tells of bundles.
func (g *gateway) bundlesOf(gen *generation) *admin.Bundles {
	return &admin.Bundles{
		Status: func() any { return gen.shelf().Status() },
		Would: func(policy []byte) (any, error) {
			decided, err := gen.shelf().Would(policy)
			return map[string][]bundled.Decision{"bundles": decided}, err
		},
	}
}
