package host

import (
	"context"

	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/authn"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity/jwt/jwks"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// A Server is an opened plugin server as chains use it. Package coprocess has the implementations.
type Server interface {
	// Hook returns the hook for one use; a server that is down still gives one, whose calls fail.
	Hook(use sdk.HookUse) (sdk.Hook, error)
	// Group makes consecutive hooks of this server into one that runs them in order, or says it cannot.
	Group(hooks []sdk.Hook) (sdk.Hook, bool)
	// Observer returns the server's observer of that name.
	Observer(name string) sdk.Observer
	// Close gives the server back; the last to do so ends it.
	Close() error
}

// An Upstream forwards flows to the targets of one route. Package host/upstream has the implementation.
type Upstream interface {
	// RoundTrip sends the flow's request and fills in its reply. An error is an [*sdk.Error], or wraps context.Canceled
	// when the client left.
	RoundTrip(ctx context.Context, f *flow.Flow) error
	// Close waits for what is in flight until ctx ends, then cuts it.
	Close(ctx context.Context) error
}

// An Opener gives a table's compilation what lies outside the host.
type Opener interface {
	// Server opens the plugin server, or the definition's script, of that name; "" is the default server. The same name
	// gives the same connections, and each server that is returned is closed once.
	Server(d *config.Definition, name string) (Server, error)
	// Plugin returns the policy that the plugin's own file asks for a hook, and checks config against its schema. A
	// server without such a file has none.
	Plugin(d *config.Definition, server, hook string, config []byte) (config.Policy, error)
	// Upstream makes the upstream of a definition. With a target, it replaces the definition's targets.
	Upstream(d *config.Definition, target string) (Upstream, error)
}

// Shared is what the routes of a gateway share: who calls, and how much. Its parts are made when the first definition
// needs them, and outlive every route.
type Shared interface {
	Callers() (*Callers, error)
	Limiter() (limit.Limiter, error)
}

// Callers are what finds out who calls.
type Callers struct {
	Keys   *identity.Keys
	Memory *authn.Memory
	Sets   *jwks.Cache
	Tokens *jwt.Tokens
}

// An identified server knows which of its kind are one and the same: observers of equal identities, which are
// comparable, are fed together. A server of another identity, though of the same name, is another: it may have moved.
type identified interface{ Identity() any }

// A checked hook can say what keeps it from ever being called, once its server is known, such as a configuration that its
// plugin does not take: then the definition is refused.
type checked interface{ Check() error }

// A protocol is a hook that knows which protocol carries it: "tyk", "native", or "" when that is not known yet. A
// failure's status depends on it.
type protocol interface{ Protocol() string }
