// Package shelf keeps the bundles of a running gateway: it opens those that definitions name, remembers which of them serve,
// notices when one of them has changed at its source or by whom is trusted, and says which may not go on.
package shelf

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

// Options are what a Shelf is made of. All but TLS are required.
type Options struct {
	Settings *config.BundleSettings
	// Plugins is the folder of plugin folders and bundles, Data the gateway's folder of data. Both are absolute.
	Plugins, Data string
	Version       string
	TLS           *tls.Config
	Log           *slog.Logger
	Tally         *Tally
	// LookOnly is for whoever only looks: see Look. Data is then a folder that may be thrown away, or has a trust state.
	LookOnly bool
	// Trees is the folder for files that processes read; "" is one in Data.
	Trees string
}

// Shelf has the bundles of a gateway. It touches no file before a definition names a bundle. It is safe for concurrent use.
type Shelf struct {
	o     Options
	trees *bundled.Trees

	mu     sync.Mutex
	loader *bundled.Loader // nil: not opened yet
	broken error           // why trust could not be read the last time
	runs   map[string]run  // by definition
	tried  map[string]attempt
	trust  string    // what trust stood on when it was read last
	asked  time.Time // when the base was asked last
}

// A run is what a definition that serves runs.
type run struct {
	bundles []*bundled.Holding
	current bool // the definition serves as its file says; else as it did before
}

// An attempt is what came of the last try to open a bundle.
type attempt struct {
	offer bundled.Offer
	err   error
	stamp string // of its files in folders, before they were read
}

// New returns a shelf with nothing on it.
func New(o Options) *Shelf {
	return &Shelf{o: o, trees: bundled.NewTrees(cmp.Or(o.Trees, bundled.TreesIn(o.Data))), runs: map[string]run{}, tried: map[string]attempt{}}
}

// Inherit takes over what another shelf knows to be running.
func (s *Shelf) Inherit(from *Shelf) {
	from.mu.Lock()
	runs := maps.Clone(from.runs)
	from.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = runs
}

// Close lets go of connections. What is running goes on.
func (s *Shelf) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loader == nil {
		return nil
	}
	return s.loader.Close()
}

// RequiresSigned reports whether nothing but signed bundles may run.
func (s *Shelf) RequiresSigned() bool { return s.o.Settings.RequireSigned }

// open returns the loader, which it makes when it is needed first.
func (s *Shelf) open(ctx context.Context) (*bundled.Loader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loader != nil {
		return s.loader, nil
	}
	files := s.trustFiles()
	l, err := bundled.Open(ctx, s.settings())
	s.broken, s.trust, s.asked = err, files, time.Now()
	if err != nil {
		return nil, err
	}
	s.loader, s.trust = l, s.trustOf(ctx, l, files, false)
	return l, nil
}

func (s *Shelf) settings() bundled.Settings {
	c := s.o.Settings
	return bundled.Settings{
		Base: c.BaseURL, PlainHTTP: c.PlainHTTP, TLS: s.o.TLS, Folder: s.o.Plugins, Data: s.o.Data,
		RequireSigned: c.RequireSigned, AcceptNewState: c.AcceptNewState, LookOnly: s.o.LookOnly, Host: bundled.Host(s.o.Version),
		Trust: bundled.Trust{
			PublicKeys: c.PublicKeys, AllowUnsigned: c.AllowUnsigned, TrustTykWiring: c.TrustTykWiring,
			Policy: c.Policy, KeyRing: c.KeyRing, KeyRingSHA256: c.KeyRingSHA256, Index: c.Index,
		},
		Log: s.o.Log, Observe: s.o.Tally.add,
	}
}

// Begin begins a load of definitions: trust is read anew, and every bundle is fetched and verified again. lookupEnv is for
// references in what plugins say of themselves.
func (s *Shelf) Begin(ctx context.Context, lookupEnv func(string) (string, bool)) *Load {
	s.refresh(ctx)
	return &Load{shelf: s, ctx: ctx, lookup: lookupEnv, accept: true, opened: map[string]*opened{}}
}

// Look is Begin for whoever only wants to know what would come of a load: nothing is accepted and nobody is told.
func (s *Shelf) Look(ctx context.Context, lookupEnv func(string) (string, bool)) *Load {
	return &Load{shelf: s, ctx: ctx, lookup: lookupEnv, opened: map[string]*opened{}}
}

// refresh reads trust anew. What is refused of it leaves the trust before in force, and is told.
func (s *Shelf) refresh(ctx context.Context) {
	s.mu.Lock()
	l := s.loader
	s.mu.Unlock()
	if l == nil {
		return
	}
	files := s.trustFiles()
	err := l.Reload(ctx)
	now := s.trustOf(ctx, l, files, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.trust, s.asked = err, now, time.Now()
}

// Withdrawn are the definitions that run a bundle which was revoked since, or that a revoked key vouched for alone. They
// must not go on as they are. It is asked after Begin.
func (s *Shelf) Withdrawn() []string {
	s.mu.Lock()
	l, runs := s.loader, maps.Clone(s.runs)
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	judged := map[*bundled.Holding]bool{}
	var all []string
	for id, r := range runs {
		for _, h := range r.bundles {
			if _, known := judged[h]; !known {
				judged[h] = revoked(l.Judge(h).Reason)
			}
			if judged[h] {
				all = append(all, id)
				break
			}
		}
	}
	slices.Sort(all)
	return all
}

func revoked(code refusal.Code) bool {
	return code == refusal.BundleRevoked || code == refusal.KeyRevoked
}

// problem is why a bundle cannot be used, as definitions say it.
func problem(name string, err error) error {
	code := refusal.CodeOf(err)
	e := &config.BundleError{Name: name, Code: string(code), Message: err.Error(), Advice: code.Advice()}
	if r, ok := errors.AsType[*refusal.Error](err); ok {
		e.Message = r.Message
	}
	return e
}
