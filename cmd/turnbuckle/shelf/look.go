package shelf

import (
	"context"
	"log/slog"
	"os"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Looking opens bundles for definitions that are only looked at.
type Looking struct {
	ctx    context.Context
	shelf  *Shelf
	lookup func(string) (string, bool)
}

// NewLooking returns one that may be used by several goroutines at once; ctx bounds what it fetches.
func NewLooking(ctx context.Context, s *Shelf, lookupEnv func(string) (string, bool)) Looking {
	return Looking{ctx, s, lookupEnv}
}

var _ config.Bundles = Looking{}

// Open verifies a bundle and accepts nothing.
func (l Looking) Open(name string) (*config.Bundle, error) {
	return l.shelf.Look(l.ctx, l.lookup).Open(name)
}

// Among is as of a Load.
func (l Looking) Among(server string) bool { return l.shelf.Look(l.ctx, l.lookup).Among(server) }

// PluginsOf are the plugins that a definition that is only looked at has in bundles.
func (l Looking) PluginsOf(def *config.Definition) []*config.Plugin {
	load := l.shelf.Look(l.ctx, l.lookup)
	for _, name := range def.Bundles {
		_, _ = load.Open(name) // whoever read the definition has said what is wrong
	}
	return load.Plugins()
}

// ForCheck returns a shelf for looking at what a gateway with these settings would load; the function ends it. What is seen is
// forgotten.
func ForCheck(s *config.Settings, version string) (*Shelf, func() error, error) {
	data, err := os.MkdirTemp("", "turnbuckle-check-")
	if err != nil {
		return nil, nil, err
	}
	t, err := outside.BundleTLS(&s.Bundles.TLS)
	if err != nil {
		return nil, nil, err
	}
	o := Options{Settings: &s.Bundles, Plugins: s.Plugins, Data: data, Trees: data, Version: version, TLS: t, LookOnly: true, Log: slog.New(slog.DiscardHandler), Tally: &Tally{}}
	if _, err := os.Stat(bundled.StateFile(s.Store.Path)); err == nil {
		o.Data = s.Store.Path
	}
	made := New(o)
	return made, func() error {
		if err := made.Close(); err != nil {
			return err
		}
		return bundled.Remove(data)
	}, nil
}
