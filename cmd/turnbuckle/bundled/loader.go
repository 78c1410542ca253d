package bundled

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/registry"
)

// Settings say where bundles are and whom to believe.
type Settings struct {
	// Base is where bundles are: a folder, a file, https or http URL, oci://HOST/PREFIX or oci-layout:FOLDER. An http URL
	// is the operator's word that plain http may be spoken there; PlainHTTP is that for oci.
	Base      string
	PlainHTTP bool
	// Folder is a folder of bundles that go before those at the base; "" is none.
	Folder string
	// RequireSigned refuses what nobody signed, whatever the policy says.
	RequireSigned bool
	// TLS is for this base alone; nil is TLS 1.2 and newer with the system's roots.
	TLS   *tls.Config
	Trust Trust
	// Data is the gateway's folder for what it has to remember: trust.json, and what was fetched in bundles.
	Data string
	// AcceptNewState begins a new trust.json where one is missing that was there: which releases were seen is forgotten.
	AcceptNewState bool
	// LookOnly is for whoever loads nothing: what is read is not recorded as seen, and nothing is kept.
	LookOnly bool
	// Limits are archive.DefaultLimits when zero; Now is the clock, by default time.Now.
	Limits archive.Limits
	Host   bundles.Host
	Now    func() time.Time
	// Log gets a line for every decision. Observe, if set, gets every decision, on the goroutine that asked for it.
	Log     *slog.Logger
	Observe func(Decision)
}

// Names of what is in Settings.Data.
const (
	stateName  = "trust.json"
	cacheName  = "bundles"
	markerName = "loaded" // in the cache: bundles were accepted here, so there must be a state
)

// StateFile is where the trust state is in a gateway's folder of data.
func StateFile(data string) string { return filepath.Join(data, stateName) }

// OpenState opens the trust state in a gateway's folder of data, which it makes.
func OpenState(data string, acceptNew bool) (*trust.StateFile, error) {
	if err := os.MkdirAll(filepath.Join(data, cacheName), 0o700); err != nil {
		return nil, fmt.Errorf("the trust state: %w", err)
	}
	return trust.OpenState(StateFile(data), exists(filepath.Join(data, cacheName, markerName)), acceptNew)
}

// A Loader loads bundles. It may be used by several goroutines at once.
type Loader struct {
	settings Settings
	state    *trust.StateFile
	cache    *source.Cache
	source   source.Source

	mu      sync.RWMutex
	trusted *Trusted
	held    map[string]holding
	counts  map[string]uint64
}

// A holding is a bundle that was loaded, and what it was asked for with: new trust judges the same bytes again.
type holding struct {
	request bundles.Request
	bundle  *bundles.Bundle
	origin  string
	keep    func() error // in the cache, once it is accepted
}

// Open reads whom to trust, and opens the state. It asks no source for bundles yet.
func Open(ctx context.Context, s Settings) (*Loader, error) {
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Limits == (archive.Limits{}) {
		s.Limits = archive.DefaultLimits()
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	l := &Loader{settings: s, held: map[string]holding{}, counts: map[string]uint64{}}
	var err error
	if l.state, err = OpenState(s.Data, s.AcceptNewState); err != nil {
		return nil, err
	}
	if !s.LookOnly {
		if l.cache, err = source.NewCache(filepath.Join(s.Data, cacheName)); err != nil {
			return nil, err
		}
	}
	if err := l.Reload(ctx); err != nil {
		return nil, err
	}
	if s.Folder == "" || s.Base != "" {
		if l.source, err = OpenSource(s.Base, s, l.cache); err != nil {
			return nil, err
		}
	}
	if s.Folder != "" {
		l.source = inFolder{source.NewFolder(s.Folder, source.Limits{Archive: s.Limits.Archive, Adoption: s.Limits.Envelope}), l.source}
	}
	return l, nil
}

// OpenSource opens a place of bundles by its address. cache may be nil.
func OpenSource(base string, s Settings, cache *source.Cache) (source.Source, error) {
	limits := source.Limits{Archive: s.Limits.Archive, Adoption: s.Limits.Envelope}
	if registry.IsAddress(base) {
		return registry.Open(base, registry.Options{Limits: limits, PlainHTTP: s.PlainHTTP, TLS: s.TLS, Cache: cache})
	}
	if base == "" {
		return nil, refusal.New(refusal.SourceMissing, "it is not said where bundles are")
	}
	u, err := url.Parse(base)
	plain := err == nil && u.Scheme == "http"
	return source.Open(base, source.HTTPOptions{Limits: limits, AllowPlainHTTP: plain, TLS: s.TLS, Cache: cache})
}

// Close ends connections. Bundles that were loaded stay usable.
func (l *Loader) Close() error { return l.source.Close() }

// Reload reads the trust settings' files again. When one of them is refused, or goes back behind what was seen, the
// ones before stay in force. What is loaded already is not judged again; Recheck does that.
func (l *Loader) Reload(ctx context.Context) error {
	fresh, err := l.read(ctx, l.settings.Trust)
	if err == nil && !l.settings.LookOnly {
		err = fresh.Record(l.state, l.settings.Now())
	}
	if err == nil && !l.settings.LookOnly && (fresh.ringDigest != "" || fresh.Index != nil) {
		err = l.mark()
	}
	if err != nil {
		if l.current() != nil {
			l.settings.Log.LogAttrs(ctx, slog.LevelError, "trust of bundles refused, the one before stays",
				slog.String("reason", string(refusal.CodeOf(err))), slog.Any("error", err))
		}
		l.count("trust_" + string(refusal.CodeOf(err)))
		return err
	}
	if fresh.stale != nil {
		l.settings.Log.LogAttrs(ctx, slog.LevelWarn, "the index of bundles comes from the cache", slog.Any("error", fresh.stale))
	}
	l.mu.Lock()
	l.trusted = fresh
	l.mu.Unlock()
	return nil
}

func (l *Loader) read(ctx context.Context, t Trust) (*Trusted, error) {
	seen, err := l.state.State()
	if err != nil {
		return nil, err
	}
	now, _ := seen.Now(l.settings.Now())
	return t.Read(ctx, now, l.cache)
}

func (l *Loader) current() *Trusted {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.trusted
}

func (l *Loader) verifier(t *Trusted) *bundles.Verifier {
	return &bundles.Verifier{
		Policy: t.Policy, Ring: t.Ring, Index: t.Index, State: l.state,
		Limits: l.settings.Limits, Host: l.settings.Host, Now: l.settings.Now, Describe: Describe,
	}
}

// Load fetches, verifies and accepts the bundle that a definition asks for by name. A refusal is a *refusal.Error; what
// was loaded before goes on being held.
func (l *Loader) Load(ctx context.Context, name string) (*bundles.Bundle, error) {
	loaded, err := l.LoadAll(ctx, name)
	if err != nil {
		return nil, err
	}
	return loaded[0], nil
}

// LoadAll loads several bundles, all or none.
func (l *Loader) LoadAll(ctx context.Context, names ...string) ([]*bundles.Bundle, error) {
	trusted := l.current()
	found := make([]holding, len(names))
	stale := make([]error, len(names))
	for i, name := range names {
		var err error
		if found[i], stale[i], err = l.verify(ctx, trusted, name); err != nil {
			l.decided(ctx, Decide(name, found[i].origin, nil, err))
			return nil, err
		}
	}
	out := make([]*bundles.Bundle, len(names))
	for i, h := range found {
		out[i] = h.bundle
	}
	if err := l.verifier(trusted).Accept(out...); err != nil {
		for i, name := range names {
			l.decided(ctx, Decide(name, found[i].origin, nil, err))
		}
		return nil, err
	}
	if err := l.mark(); err != nil {
		return nil, err
	}
	before := l.hold(ctx, names, found)
	for i, name := range names {
		d := Decide(name, found[i].origin, out[i], nil)
		if stale[i] != nil {
			d.Stale = stale[i].Error()
		}
		d.again = sameVerdict(before[i], out[i])
		l.decided(ctx, d)
	}
	return out, nil
}

// hold keeps what was accepted, and returns what was held before; here and in the cache. A cache that keeps nothing is missed only when the source is of no
// use one day.
func (l *Loader) hold(ctx context.Context, names []string, found []holding) (before []*bundles.Bundle) {
	for i, h := range found {
		if err := h.keep(); err != nil {
			l.settings.Log.LogAttrs(ctx, slog.LevelWarn, "bundle not kept in the cache", slog.String("bundle", names[i]), slog.Any("error", err))
		}
		found[i].keep = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, name := range names {
		before = append(before, l.held[name].bundle)
		l.held[name] = found[i]
	}
	return before
}

// sameVerdict reports whether a bundle is the one that was loaded before, vouched for in the same way.
func sameVerdict(before, now *bundles.Bundle) bool {
	return before != nil && reflect.DeepEqual(before.Verdict(), now.Verdict())
}

// verify fetches and verifies; h.origin is set once it is known.
func (l *Loader) verify(ctx context.Context, t *Trusted, name string) (h holding, stale, err error) {
	pin := ""
	if rule, err := t.Policy.Rule(name); err == nil {
		pin = rule.SHA256
	}
	got, err := l.source.Fetch(ctx, name, pin)
	if err != nil {
		return h, nil, err
	}
	h.origin, h.keep = got.Origin, got.Keep
	h.request = bundles.Request{Name: name, Archive: got.Archive, Adoption: got.Adoption, PlainHTTP: got.PlainHTTP}
	h.bundle, err = l.verifier(t).Verify(h.request)
	if err == nil && l.settings.RequireSigned && h.bundle.Verdict().Unsigned {
		err = refusal.New(refusal.Unsigned, "nobody has signed %q, and this gateway requires it", name)
	}
	return h, got.Stale, err
}

// Check decides about a bundle as Load would, and changes nothing.
func (l *Loader) Check(ctx context.Context, name string) Decision {
	h, stale, err := l.verify(ctx, l.current(), name)
	d := Decide(name, h.origin, h.bundle, err)
	if stale != nil {
		d.Stale = stale.Error()
	}
	return d
}

// Recheck judges everything that is held once more, by the trust that is in force, the state and the clock as they are
// now: what is not OK would be refused today. Nothing is fetched. The result is in the order of names.
func (l *Loader) Recheck() []Decision { return l.recheck(l.current()) }

// WouldLoad is Recheck by other trust: what would stop loading if it were in force.
func (l *Loader) WouldLoad(ctx context.Context, other Trust) ([]Decision, error) {
	t, err := l.read(ctx, other)
	if err != nil {
		return nil, err
	}
	return l.recheck(t), nil
}

func (l *Loader) recheck(t *Trusted) []Decision {
	l.mu.RLock()
	held := maps.Clone(l.held)
	l.mu.RUnlock()
	v := l.verifier(t)
	var all []Decision
	for _, name := range slices.Sorted(maps.Keys(held)) {
		h := held[name]
		b, err := v.Verify(h.request)
		all = append(all, Decide(name, h.origin, b, err))
	}
	return all
}

// Held returns the decisions about what is held, as they were made. The result is in the order of names.
func (l *Loader) Held() []Decision {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var all []Decision
	for _, name := range slices.Sorted(maps.Keys(l.held)) {
		all = append(all, Decide(name, l.held[name].origin, l.held[name].bundle, nil))
	}
	return all
}

// Forget lets go of all but the names that are still wanted, and of what the cache has besides.
func (l *Loader) Forget(wanted []string) error {
	l.mu.Lock()
	var keep []string
	for name, h := range l.held {
		if !slices.Contains(wanted, name) {
			delete(l.held, name)
			continue
		}
		keep = append(keep, h.bundle.Verdict().ArchiveSHA256, digest(h.request.Adoption))
	}
	keep = append(keep, l.trusted.indexSHA256)
	l.mu.Unlock()
	return l.cache.Prune(keep)
}

// Counts returns how often something was decided, by outcome: "loaded", the code of a refusal, or trust_ and the code for
// which Reload refused.
func (l *Loader) Counts() map[string]uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return maps.Clone(l.counts)
}

func (l *Loader) count(outcome string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[outcome]++
}

// mark remembers beside the state that there is one.
func (l *Loader) mark() error {
	path := filepath.Join(l.settings.Data, cacheName, markerName)
	if exists(path) {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("the trust state: %w", err)
	}
	return errors.Join(file.Sync(), file.Close())
}
