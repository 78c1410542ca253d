// Package builtin opens ready-made plugins: those that are part of the gateway. They run in its process and are called as
// any hook of a host is, without a message in between; coprocess/inproc, which has one, runs them in tests.
package builtin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Builtins owns the ready-made plugins that run. Definitions whose configurations are equal share one, over reloads too. It
// is safe for concurrent use.
type Builtins struct {
	log       *slog.Logger
	list      []all.Plugin
	manifests func() ([]*config.Plugin, error)
	open      share.Keyed[key, *instance]

	mu   sync.Mutex
	past map[stat]float64 // what those have counted that run no more
}

// key says which plugin it is: two of one name and configuration are the same.
type key struct{ plugin, config, dir string }

// instance is a plugin that runs.
type instance struct {
	*sdk.Plugin
	ended func()
}

// Close ends the plugin.
func (i *instance) Close() error {
	i.ended()
	if i.Plugin.Close == nil {
		return nil
	}
	return i.Plugin.Close()
}

// New returns plugins of which none runs yet, and which log to log.
func New(log *slog.Logger, list []all.Plugin) *Builtins {
	return &Builtins{log: log, list: list, manifests: sync.OnceValues(func() ([]*config.Plugin, error) { return Parse(list) }), past: map[stat]float64{}}
}

// Parse makes plugins of what is built in.
func Parse(list []all.Plugin) ([]*config.Plugin, error) {
	var out []*config.Plugin
	for _, p := range list {
		m, problems := config.ParseBuiltin(p.Name, p.Manifest, p.Check)
		if err := problems.Err(); err != nil {
			return nil, fmt.Errorf("the plugin %s as it was built: %w", p.Name, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// Manifests are what definitions can use. They are shared: read them only.
func (b *Builtins) Manifests() ([]*config.Plugin, error) { return b.manifests() }

func (b *Builtins) find(name string) (*all.Plugin, error) {
	i := slices.IndexFunc(b.list, func(p all.Plugin) bool { return p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no ready-made plugin %q", name)
	}
	return &b.list[i], nil
}

// Check reports what is wrong with the configuration of a use, without opening anything.
func (b *Builtins) Check(u *config.PluginUse) error {
	p, err := b.find(u.Plugin)
	if err != nil {
		return err
	}
	return p.Check(u.Config)
}

// Get returns the plugin of a use, started when it does not run yet. dir is where plugins may keep files.
func (b *Builtins) Get(ctx context.Context, u *config.PluginUse, dir string) (host.Server, error) {
	p, err := b.find(u.Plugin)
	if err != nil {
		return nil, err
	}
	k := key{u.Plugin, string(u.Config), dir}
	l, err := b.open.Get(k, func() (*instance, error) {
		made, err := p.New(ctx, json.RawMessage(k.config), sdk.Host{Log: b.log, Dir: dir})
		if err != nil {
			return nil, err
		}
		one := &instance{Plugin: made}
		one.ended = func() { b.remember(k.plugin, made) }
		return one, nil
	})
	if err != nil {
		return nil, err
	}
	return &lease{l}, nil
}

// Policy is what the plugin's manifest asks for a hook. No body is read for one that does not ask for it, also where
// definitions of Tyk's form have bodies read for their hooks.
func (b *Builtins) Policy(u *config.PluginUse, hook string) (config.Policy, error) {
	manifests, err := b.manifests()
	if err != nil {
		return config.Policy{}, err
	}
	for _, m := range manifests {
		for _, h := range m.Hooks {
			if m.Name == u.Plugin && h.Name == hook {
				p := h.Policy
				p.Body.Mode = cmp.Or(p.Body.Mode, config.BodyNone)
				return p, nil
			}
		}
	}
	return config.Policy{}, nil
}

// lease is one route's use of a plugin.
type lease struct {
	*share.Lease[key, *instance]
}

var _ host.Server = (*lease)(nil)

// hook is a hook that says what it needs.
type hook struct {
	sdk.Hook
	needs sdk.Needs
}

// Needs implements [sdk.Needer].
func (h *hook) Needs() sdk.Needs { return h.needs }

// Protocol says that failures are those of our own protocol.
func (h *hook) Protocol() string { return "native" }

// Hook implements [host.Server].
func (l *lease) Hook(use sdk.HookUse) (sdk.Hook, error) {
	spec, ok := l.Value.Find(use.Name, use.Phase)
	if !ok {
		return nil, fmt.Errorf("%w: plugin %q has no hook %q in phase %v", sdk.ErrUnimplemented, l.Value.Name, use.Name, use.Phase)
	}
	return &hook{spec.Hook, spec.Needs}, nil
}

// Group implements [host.Server]: there is nothing to save.
func (l *lease) Group([]sdk.Hook) (sdk.Hook, bool) { return nil, false }

// Observer implements [host.Server].
func (l *lease) Observer(name string) sdk.Observer {
	for i := range l.Value.Observers {
		if l.Value.Observers[i].Name == name {
			return l.Value.Observers[i].Observer
		}
	}
	return sdk.ObserverFunc(func(context.Context, sdk.Batch) error {
		return fmt.Errorf("%w: plugin %q has no observer %q", sdk.ErrUnimplemented, l.Value.Name, name)
	})
}
