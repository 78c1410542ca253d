// Package coprocess carries calls of hooks to plugin servers, wherever those run. A [Runtime] opens a plugin's server;
// the server gives hooks, which are [sdk.Hook] values like any other: the host never learns that a process is involved.
//
// Behind every hook stands one adapter, [Hook], and a [Dispatcher], the transport. A dispatcher encodes what the hook
// needs of the exchange, has it run, and applies what it changed; the adapter knows nothing of transports and the
// dispatcher nothing of hosts. What a runtime must keep to is tested by coprocesstest.
//
// # Errors
//
// A call that ends without a result returns an error that wraps [sdk.ErrUnavailable], [sdk.ErrOverloaded],
// [sdk.ErrProtocol], [sdk.ErrUnimplemented], [context.DeadlineExceeded] or [context.Canceled]; any other means that the
// hook itself failed. A refusal is an [*sdk.Error]. After an error the exchange is as it was before the call, but for
// groups that ran hook by hook: what the hooks before the failed one changed stays.
package coprocess

import (
	"context"
	"sync/atomic"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A Runtime is one way to run plugins.
type Runtime interface {
	// Open makes a server of the plugin. It does not wait for a remote server to be there: until it is, calls fail with
	// sdk.ErrUnavailable. ctx bounds what Open itself does, not the server's life.
	Open(ctx context.Context, p Plugin) (Server, error)
}

// A Plugin is what a runtime is to open. What else a runtime wants to know is its own configuration.
type Plugin struct {
	Name    string // as hooks, logs and metrics name the server
	Dir     string // the plugin's folder, for runtimes that load or start it; "" for none
	Address string // where it listens, for runtimes that reach it
}

// A Server is one opened plugin server. All methods are safe for concurrent use.
type Server interface {
	// Hook returns the hook for one use. It never blocks; a server that is down still gives hooks.
	Hook(use sdk.HookUse) (sdk.Hook, error)
	// Group makes consecutive hooks of one phase and route on this server into one that runs them in order, in one call
	// where the protocol can. It returns false when they do not belong together or the server cannot.
	Group(hooks []sdk.Hook) (sdk.Hook, bool)
	// Observer returns the server's observer of that name.
	Observer(name string) sdk.Observer
	// Close ends what the server runs and waits for it. Calls that are under way fail with sdk.ErrUnavailable.
	Close() error
}

// A Dispatcher runs hooks on exchanges somewhere else. It is safe for concurrent use.
type Dispatcher interface {
	// Dispatch runs the binding's hooks in order on x until one answers or fails, and applies what they changed. It
	// reports timings, and for groups the record of each hook, through x. See the package comment for errors.
	Dispatch(ctx context.Context, b *Binding, x *sdk.Exchange) error
	// Needs says what the binding's hooks want of an exchange, as far as is known at the moment.
	Needs(b *Binding) sdk.Needs
	// Protocol says what the calls travel in, "tyk" or "native"; "" while that is not known.
	Protocol() string
}

// A Checker is a dispatcher that knows more of what it can run than whether its server is there.
type Checker interface {
	// Check says what keeps the binding's hooks from being called; nil also while that is not known.
	Check(b *Binding) error
}

// A Binding is one hook, or several consecutive ones of a phase that run in order, as one route uses them. It is
// immutable but for Cache.
type Binding struct {
	Phase sdk.Phase
	Route *sdk.Route
	Hooks []sdk.HookUse // at least one

	// Cache is the dispatcher's own, to keep what it derives from the binding.
	Cache atomic.Value

	each []*Binding // of a group: one for each hook
}

// NewBinding binds hooks that have phase and route in common; there is at least one.
func NewBinding(uses ...sdk.HookUse) *Binding {
	b := &Binding{Phase: uses[0].Phase, Route: uses[0].Route, Hooks: uses}
	if len(uses) > 1 {
		for _, u := range uses {
			b.each = append(b.each, NewBinding(u))
		}
	}
	return b
}

// Each returns a binding for each hook of a group; nil when there is but one hook.
func (b *Binding) Each() []*Binding { return b.each }
