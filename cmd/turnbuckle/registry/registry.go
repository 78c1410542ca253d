// Package registry keeps bundles in OCI registries (distribution-spec 1.1) and in OCI image layouts on disk, for places
// without a network. The archive is one layer, unchanged, so that a bundle is the same bytes wherever it comes from; a
// bundle of Tyk may have its countersignature beside it. Nothing that a registry says is believed: what comes out is
// verified like what comes from a folder. Annotations are for people.
package registry

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

// Types of artifacts and layers.
const (
	ArtifactType  = "application/vnd.turnbuckle.bundle.v2"
	TykType       = "application/vnd.turnbuckle.bundle.tyk"
	archiveLayer  = ArtifactType + "+zip"
	tykLayer      = TykType + "+zip"
	adoptionLayer = "application/vnd.turnbuckle.adoption.v1+json"
)

// Bounds of what a registry may answer.
const (
	maxManifest = 4 << 20 // bytes, as the specification has it
	maxLayers   = 8
)

// Options say how a registry is asked. The zero value, with Limits, is useful.
type Options struct {
	Limits source.Limits
	// PlainHTTP speaks http, which anybody on the way can change.
	PlainHTTP bool
	// TLS is for https; nil is TLS 1.2 and newer with the system's roots.
	TLS *tls.Config
	// Timeout bounds a fetch or a push as a whole, 10 minutes by default; Attempts is how often one request is tried, 4
	// by default.
	Timeout  time.Duration
	Attempts int
	// Login returns user and password for a registry, host:port; empty ones for none. A registry gets its own and no
	// other's. nil reads what docker login wrote ($DOCKER_CONFIG/config.json and the helpers it names).
	Login func(ctx context.Context, registry string) (user, password string, err error)
	// Cache keeps what was fetched; nil keeps nothing.
	Cache *source.Cache
	// Progress, if set, is told how many bytes of an archive have come or gone.
	Progress func(done, total int64)
}

func (o Options) complete() Options {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Minute
	}
	if o.Attempts <= 0 {
		o.Attempts = 4
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o
}

// A Registry is a place below which bundles are named: oci://HOST[/PREFIX] has acme/guard as the repository
// PREFIX/acme/guard, and its version as the tag; oci-layout:FOLDER has it as the tag acme/guard:VERSION. A name without a
// version is the tag latest. It is a source.Source and may be used by several goroutines at once.
type Registry struct {
	base    place
	options Options
	client  *client
}

var _ source.Source = (*Registry)(nil)

// Open returns the registry at a base address. It asks nothing yet.
func Open(base string, o Options) (*Registry, error) {
	p, err := parse(base)
	if err != nil {
		return nil, err
	}
	if p.ref != "" {
		return nil, refusal.New(refusal.SourceScheme, "%q is one bundle, and not where bundles are", base)
	}
	o = o.complete()
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	return &Registry{base: p, options: o, client: c}, nil
}

// Close ends connections that are kept.
func (r *Registry) Close() error { return r.client.close() }

// Fetch returns the archive that a definition asks for. sha256, if not empty, is the archive's; one that is in the cache
// needs no question. When the registry is of no use the archive comes from the cache, if it is there, with Stale set.
func (r *Registry) Fetch(ctx context.Context, name, sha256 string) (source.Fetched, error) {
	p, err := r.base.of(name)
	if err != nil {
		return source.Fetched{}, err
	}
	pulled, err := r.client.pull(ctx, p, sha256)
	return pulled.Fetched, err
}

// Pull fetches what one address names: a tag, a digest, or latest when it says neither.
func Pull(ctx context.Context, address string, o Options) (Pulled, error) {
	p, err := parse(address)
	if err != nil {
		return Pulled{}, err
	}
	if p.ref == "" {
		p.ref = latest
	}
	c, err := newClient(o.complete())
	if err != nil {
		return Pulled{}, err
	}
	defer func() { _ = c.close() }()
	return c.pull(ctx, p, "")
}
