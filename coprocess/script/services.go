package script

import (
	"context"
	"errors"
	"log/slog"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Services are what a script may use beside the exchange. What is nil is not offered: a script that calls it fails.
type Services struct {
	Store *Store
	Keys  Keys
	HTTP  *HTTP
	// Log takes what scripts write outside of any exchange: while they are loaded, and in event handlers. Inside, lines
	// go to the exchange. It is nil for nowhere.
	Log *slog.Logger
}

// ErrNoKey is returned by [Keys] for a key that is not known.
var ErrNoKey = errors.New("key not found")

// ErrNoService is the cause of a call of a service that the gateway does not offer to the plugin.
var ErrNoService = errors.New("not available to this plugin")

// Keys are the gateway's keys as Tyk's scripts use them (reference §4.10). Sessions are in Tyk's JSON shape (§9.3). It is
// safe for concurrent use, and its calls end with ctx.
type Keys interface {
	// GetKeyData returns the session of a key, with the counters of the API of that id where one is said. route is the
	// script's own.
	GetKeyData(ctx context.Context, route *sdk.Route, key, apiID string) (session []byte, err error)
	// SetKeyData stores the session under the key, new or not, whole; the organisation is the session's own and, when it
	// names none, the route's. Its quota begins anew unless suppressReset and the key is there.
	SetKeyData(ctx context.Context, route *sdk.Route, key string, session []byte, suppressReset bool) error
}
