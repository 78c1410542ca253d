package script

import (
	"context"
	"maps"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Opened is a script that a runtime has opened, written against our own interface.
type Opened interface {
	coprocess.Dispatcher
	About() *About
	Observer(name string) sdk.Observer
}

// Export makes a script the plugin of a server: so it runs in a process of its own. Closing the script stays the caller's.
func Export(name string, s Opened) *sdk.Plugin {
	about := s.About()
	p := &sdk.Plugin{Name: name, ConfigSchema: about.Schema}
	for _, hook := range slices.Sorted(maps.Keys(about.Hooks)) {
		said := about.Hooks[hook]
		p.Hooks = append(p.Hooks, sdk.HookSpec{Name: hook, Phase: said.Phase, Needs: said.Needs, Hook: exported(hook, s)})
	}
	for _, observer := range about.Observers {
		p.Observers = append(p.Observers, sdk.ObserverSpec{Name: observer, Observer: s.Observer(observer)})
	}
	return p
}

// exported runs one of the script's hooks as the exchange says it is used. The configuration has been checked by the host,
// which was told the schema.
func exported(name string, s Opened) sdk.Hook {
	return sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error {
		return s.Dispatch(ctx, coprocess.NewBinding(sdk.HookUse{Name: name, Phase: x.Phase(), Route: x.Route(), Config: x.Config()}), x)
	})
}
