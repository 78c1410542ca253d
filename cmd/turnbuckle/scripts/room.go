package scripts

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/script"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/admin/standing"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/identity"
	"github.com/turnbuckle-gateway/turnbuckle/host/limit"
	"github.com/turnbuckle-gateway/turnbuckle/host/store"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// State is what scripts may use of a gateway's state. It is opened when a script first asks for it.
type State interface {
	Store() (store.Store, error)
	Callers() (*host.Callers, error)
	Limiter() (limit.Limiter, error)
}

// Room is what one generation of a gateway gives its scripts. Every script that was opened with it is closed before it.
type Room struct {
	settings *config.ScriptSettings
	runDir   string
	state    State // nil: nothing
	client   *http.Client
}

// NewRoom returns what scripts get by these settings. A nil state is for scripts that are only looked at: they get
// nothing.
func NewRoom(s *config.Settings, state State) *Room {
	settings := &s.Scripts
	r := &Room{settings: settings, runDir: s.RunDir, state: state}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 32, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
	}
	if settings.Fetch.Insecure {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the operator asked for it
	}
	r.client = &http.Client{Transport: transport}
	return r
}

// Close lets go of connections.
func (r *Room) Close() { r.client.CloseIdleConnections() }

// Policy is what the settings ask for hooks in scripts.
func (r *Room) Policy() config.Policy { return config.Policy{Timeout: r.settings.Timeout} }

func (r *Room) limits() script.Limits {
	c := r.settings
	return script.Limits{
		Time: c.Timeout, Heap: int64(c.Heap), Size: int(c.Size), Depth: c.Depth, Idle: c.Idle, Most: c.Most,
		Source: config.MaxScript,
	}
}

// tykStore is where Tyk's scripts of one organisation keep what they store: there it is one for all (reference §4.10).
const tykStore = "tyk/"

// Entries names what a plugin keeps in the store: of Tyk's all of an organisation share their entries, as there.
func Entries(plugin, org string, tyk bool) string {
	if tyk {
		return tykStore + org
	}
	return plugin
}

func (r *Room) services(owner Owner, c *config.Script, log *slog.Logger) script.Services {
	s := script.Services{Log: log}
	if r.state == nil {
		return s
	}
	name := Entries(owner.Name, owner.Org, c.Tyk)
	s.Store = script.NewStore(func() (script.Storage, error) { return r.state.Store() }, name, nil)
	s.Keys = &keys{r.state, owner.Lifetime}
	f := &r.settings.Fetch
	s.HTTP = script.NewHTTP(r.client, script.HTTPLimits{Timeout: f.Timeout, Body: int64(f.Body), Hops: f.Hops})
	return s
}

// keys are the gateway's keys as Tyk's scripts use them.
type keys struct {
	state    State
	lifetime identity.Lifetime
}

var _ script.Keys = (*keys)(nil)

func (k *keys) book() (standing.Book, error) {
	callers, err := k.state.Callers()
	if err != nil {
		return standing.Book{}, err
	}
	limiter, err := k.state.Limiter()
	return standing.Book{Keys: callers.Keys, Limiter: limiter}, err
}

// GetKeyData implements [script.Keys]. The counters are those for the API of that id, and of the key as a whole when none is
// said or it has none for it.
func (k *keys) GetKeyData(ctx context.Context, route *sdk.Route, key, apiID string) ([]byte, error) {
	b, err := k.book()
	if err != nil {
		return nil, err
	}
	stored, err := b.Keys.Get(ctx, ref(route, key))
	if err != nil {
		return nil, unknown(err)
	}
	caller, err := b.Keys.LookupID(ctx, stored.ID)
	if err != nil {
		return nil, unknown(err)
	}
	s, err := b.Counted(ctx, caller)
	if err != nil {
		return nil, err
	}
	if own := caller.Limits(apiID); own.Scope != "" {
		s.QuotaMax, s.QuotaRemaining, s.QuotaRenews = own.QuotaMax, s.AccessRights[apiID].Limit.QuotaRemaining, s.AccessRights[apiID].Limit.QuotaRenews
	}
	return s.MarshalJSON()
}

// SetKeyData implements [script.Keys].
func (k *keys) SetKeyData(ctx context.Context, route *sdk.Route, key string, session []byte, suppressReset bool) error {
	b, err := k.book()
	if err != nil {
		return err
	}
	s, err := identity.DecodeSession(session)
	if err != nil {
		return err
	}
	// A key of another organisation would let nobody in here, and scripts write whatever organisation they were copied with.
	s.OrgID = route.Org
	at := ref(route, key)
	var before []limit.Key
	stored, err := b.Keys.Get(ctx, at)
	switch {
	case err == nil:
		before = b.QuotaKeys(ctx, stored.ID)
	case !errors.Is(err, identity.ErrUnknown):
		return err
	}
	stored, err = b.Keys.Put(ctx, at, s, k.lifetime)
	if err != nil || suppressReset {
		return err
	}
	return b.ResetQuotas(ctx, stored.ID, before)
}

// ref names a key as scripts do: by its token or name, in the organisation of their API.
func ref(route *sdk.Route, key string) identity.Ref { return identity.Ref{Org: route.Org, Key: key} }

func unknown(err error) error {
	if errors.Is(err, identity.ErrUnknown) {
		return script.ErrNoKey
	}
	return err
}
