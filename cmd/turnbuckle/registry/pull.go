package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

// Pulled is a bundle out of a registry.
type Pulled struct {
	source.Fetched
	// Digest is that of the OCI manifest, sha256:HEX: the tag was asked once, everything else came by digest.
	Digest string
}

// pull fetches the bundle at a place, or from the cache where the place is of no use.
func (c *client) pull(ctx context.Context, p place, sha256 string) (Pulled, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	plain := p.host != "" && c.options.PlainHTTP
	out, err := c.ask(ctx, p, sha256)
	out.PlainHTTP = plain
	code := refusal.CodeOf(err)
	if code != refusal.SourceFailed && code != refusal.SourceStatus || ctx.Err() != nil {
		return out, err
	}
	data, ok := c.options.Cache.Last(p.String(), c.options.Limits.Archive)
	if sha256 != "" {
		data, ok = c.options.Cache.Content(sha256, c.options.Limits.Archive)
	}
	if !ok {
		return out, err
	}
	held := Pulled{Fetched: source.Fetched{Archive: data, Origin: p.String(), PlainHTTP: plain, Stale: err}}
	if adoption, ok := c.options.Cache.Last(adoptionAddress(p), c.options.Limits.Adoption); ok && len(adoption) > 0 {
		held.Adoption = adoption
	}
	return held, nil
}

// adoptionAddress is under what the cache keeps a countersignature; empty content is that there was none.
func adoptionAddress(p place) string { return p.String() + "#adoption" }

// ask fetches the bundle from the place itself.
func (c *client) ask(ctx context.Context, p place, sha256 string) (Pulled, error) {
	target, err := c.open(ctx, p)
	if err != nil {
		return Pulled{}, err
	}
	found, err := target.Resolve(ctx, p.ref)
	if err != nil {
		return Pulled{}, refused(err, p)
	}
	out := Pulled{Digest: found.Digest.String()}
	at := place{host: p.host, path: p.path, ref: out.Digest}
	out.Origin = at.String()
	text, err := c.read(ctx, target, found, maxManifest, nil, at)
	if err != nil {
		return Pulled{}, err
	}
	layers, err := parseManifest(text, at)
	if err != nil {
		return Pulled{}, err
	}
	if sha256 != "" && layers.archive.Digest.Encoded() != sha256 {
		return Pulled{}, refusal.New(refusal.SourceDigest, "%s has the archive %s, wanted is %s", at, layers.archive.Digest.Encoded(), sha256)
	}
	var cached bool
	if out.Archive, cached = c.options.Cache.Content(layers.archive.Digest.Encoded(), c.options.Limits.Archive); !cached {
		if out.Archive, err = c.read(ctx, target, layers.archive, c.options.Limits.Archive, c.options.Progress, at); err != nil {
			return Pulled{}, err
		}
	}
	if layers.adoption != nil {
		if out.Adoption, err = c.read(ctx, target, *layers.adoption, c.options.Limits.Adoption, nil, at); err != nil {
			return Pulled{}, err
		}
	}
	if p.host != "" {
		archive, adoption := out.Archive, out.Adoption
		out.Fetched = out.Keeping(func() error {
			return errors.Join(c.options.Cache.Keep(p.String(), archive), c.options.Cache.Keep(adoptionAddress(p), adoption))
		})
	}
	return out, nil
}

// layers are those of a bundle.
type layers struct {
	archive  ocispec.Descriptor
	adoption *ocispec.Descriptor
}

// parseManifest finds the layers in an OCI image manifest (image-spec 1.1).
func parseManifest(text []byte, where fmt.Stringer) (layers, error) {
	bad := func(format string, args ...any) (layers, error) {
		return layers{}, refusal.New(refusal.SourceManifest, "%s: "+format, append([]any{where}, args...)...)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return bad("the manifest: %w", err)
	}
	if m.SchemaVersion != 2 || m.MediaType != ocispec.MediaTypeImageManifest {
		return bad("a manifest of type %.80q", m.MediaType)
	}
	want := map[string]string{ArtifactType: archiveLayer, TykType: tykLayer}[m.ArtifactType]
	if want == "" {
		return bad("an artifact of type %.80q", m.ArtifactType)
	}
	if len(m.Layers) == 0 || len(m.Layers) > maxLayers || m.Layers[0].MediaType != want {
		return bad("%d layers, of which the first is not the bundle", len(m.Layers))
	}
	for _, l := range m.Layers {
		if err := l.Digest.Validate(); err != nil || l.Digest.Algorithm() != "sha256" || l.Size <= 0 {
			return bad("a layer of %d bytes with the digest %.80q", l.Size, l.Digest)
		}
	}
	out := layers{archive: m.Layers[0]}
	switch {
	case len(m.Layers) == 1:
	case len(m.Layers) == 2 && m.ArtifactType == TykType && m.Layers[1].MediaType == adoptionLayer:
		out.adoption = &m.Layers[1]
	default:
		return bad("%d layers, where there is one, and behind a bundle of Tyk its countersignature", len(m.Layers))
	}
	return out, nil
}

// read reads what a descriptor says, and compares size and digest on the way. Memory grows with what comes, and not with
// what was announced.
func (c *client) read(ctx context.Context, from oras.ReadOnlyTarget, d ocispec.Descriptor, limit int64, progress func(done, total int64), where fmt.Stringer) ([]byte, error) {
	if d.Size > limit {
		return nil, refusal.New(refusal.LimitArchive, "%s: %s has %d bytes, at most %d", where, d.Digest, d.Size, limit)
	}
	body, err := from.Fetch(ctx, d)
	if err != nil {
		return nil, refused(err, where)
	}
	defer body.Close()
	verified := content.NewVerifyReader(body, d)
	data, err := io.ReadAll(&counter{from: verified, total: d.Size, tell: progress})
	if err == nil {
		err = verified.Verify()
	}
	switch {
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData), errors.Is(err, content.ErrInvalidDescriptorSize):
		return nil, refusal.New(refusal.SourceDigest, "%s: the content is not %s: %w", where, d.Digest, err)
	case err != nil:
		return nil, refused(err, where)
	}
	return data, nil
}

// counter tells how far a reader is.
type counter struct {
	from        io.Reader
	done, total int64
	tell        func(done, total int64)
}

// Read is io.Reader's.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.done += int64(n)
	if c.tell != nil && n > 0 {
		c.tell(c.done, c.total)
	}
	return n, err
}
