// Package conformance is the plugin that `turnbuckle plugin conform` calls: the hooks of proto/CONFORMANCE.md, in Go. It is what other
// languages' are compared with, and how a server made with sdk/serve shows that it conforms.
package conformance

import (
	"context"
	"slices"
	"sync"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// The names of the hooks and of the observer.
const (
	Hook     = "Conform"
	Narrow   = "ConformNarrow"
	Pick     = "ConformPick"
	Watch    = "ConformWatch"
	Picked   = "X-Picked"                                                           // the header that Pick sets
	Everyone = "any"                                                                // what it sets it to in a phase that has no hook of its own
	Unknown  = "unknown step"                                                       // how the failure begins when a hook does not know a step
	Lasting  = 100                                                                  // records and events that the observer keeps, of each
	Everyhow = sdk.NeedDefault | sdk.NeedBody | sdk.NeedResponseBody | sdk.NeedPeer // what Hook needs
)

// Plugin makes the plugin. What its observer sees is its own.
func Plugin() *sdk.Plugin {
	w := &watch{}
	hook := sdk.HookFunc(func(ctx context.Context, x *sdk.Exchange) error { return run(ctx, x, w) })
	return &sdk.Plugin{
		Name: "conformance", Version: "1.0.0",
		Hooks: []sdk.HookSpec{
			{Name: Hook, Needs: sdk.Needs{Fields: Everyhow}, Hook: hook},
			{Name: Narrow, Phase: sdk.Pre, Needs: sdk.Needs{Fields: sdk.NeedHeaders, HeaderNames: []string{"X-One"}, BodyLimit: 1024}, Hook: hook},
			{Name: Pick, Phase: sdk.Post, Hook: pick(sdk.Post.String())},
			{Name: Pick, Hook: pick(Everyone)},
		},
		Observers: []sdk.ObserverSpec{{Name: Watch, Observer: w}},
	}
}

func pick(which string) sdk.Hook {
	return sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
		x.Request().Header().Set(Picked, which)
		return nil
	})
}

// watch remembers what it has observed.
type watch struct {
	mu              sync.Mutex
	records, events []string
}

// Observe implements [sdk.Observer].
func (w *watch) Observe(_ context.Context, b sdk.Batch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range b.Records {
		w.records = append(w.records, r.RequestID)
	}
	for _, e := range b.Events {
		w.events = append(w.events, e.Type)
	}
	w.records, w.events = last(w.records), last(w.events)
	return nil
}

func last(list []string) []string { return list[max(0, len(list)-Lasting):] }

// seen returns copies.
func (w *watch) seen() observed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return observed{append([]string{}, w.records...), append([]string{}, slices.Clone(w.events)...)}
}
