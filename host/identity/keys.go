package identity

import (
	"context"
	"errors"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

var errUnbuilt = errors.New("not built yet")

// Keys is the service over the store and the policies. It is safe for concurrent use.
type Keys struct{}

// Lifetime says how long a session is kept whose API makes or admits it (reference §8.4).
type Lifetime struct {
	// API is for sessions that say nothing themselves; 0 keeps them for ever.
	API time.Duration
	// RespectExpiry keeps a session at least until it expires.
	RespectExpiry bool
}

// Adoption is a session that an authenticator made.
type Adoption struct {
	// Org is the API's organisation, whatever the session says.
	Org string
	// Token names the session: what the hook or JWT identifies the caller by. See Keys.Token for those that are made
	// of an organisation and a name.
	Token string
	// Session is the whole of what was made; it is not changed, and must not be afterwards. Hook is what an auth hook
	// made, which lies over what is stored: hooks cannot say all of a session. One of the two.
	Session *Session
	Hook    *sdk.Session
	Lifetime Lifetime
	// Store keeps the session, so that later lookups find it. Without, it is good for one request.
	Store bool
}

// Lookup returns who a token of an organisation belongs to. Errors are ErrUnknown, ErrPolicy and store.ErrUnavailable.
func (k *Keys) Lookup(ctx context.Context, org, token string) (*Caller, error) {
	return nil, errUnbuilt
}

// LookupID returns who is stored under an id, of whatever organisation.
func (k *Keys) LookupID(ctx context.Context, id string) (*Caller, error) { return nil, errUnbuilt }

// ByCertificate returns the caller whose session is bound to a client certificate by its fingerprint, the lower-case hex
// of its SHA-256.
func (k *Keys) ByCertificate(ctx context.Context, org, fingerprint string) (*Caller, error) {
	return nil, errUnbuilt
}

// Adopt takes over a session that an authenticator made, with its policies applied.
func (k *Keys) Adopt(ctx context.Context, a Adoption) (*Caller, error) { return nil, errUnbuilt }

// Token makes a token of an organisation and a name, as keys with names of their own have (reference §9.2).
func (k *Keys) Token(org, name string) string { return org + name }
