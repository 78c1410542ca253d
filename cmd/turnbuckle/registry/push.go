package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// A Release is what is pushed.
type Release struct {
	Archive []byte
	// Adoption is the countersignature of a bundle of Tyk; nil for none.
	Adoption []byte
	// Name and Version are the tags' and, with Created, the annotations'.
	Name, Version string
	Created       time.Time
}

// Pushed says what a push did.
type Pushed struct {
	// Address is where the release is, by digest.
	Address string `json:"address"`
	Digest  string `json:"digest"`
	// Tags are those that name it now.
	Tags []string `json:"tags,omitempty"`
}

// Push puts a release at an address, under its tag, or, where it has none, under its version and under latest, unless
// it is a pre-release. A tag that is a version and names something else already is refused, unless replace says that it
// may: one version is one content. The same release gives the same digest.
func Push(ctx context.Context, address string, r Release, replace bool, o Options) (Pushed, error) {
	p, err := parse(address)
	if err != nil {
		return Pushed{}, err
	}
	if p.isDigest() {
		return Pushed{}, refusal.New(refusal.SourceScheme, "%q: give a tag, the digest comes of what is pushed", address)
	}
	o = o.complete()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c, err := newClient(o)
	if err != nil {
		return Pushed{}, err
	}
	defer func() { _ = c.close() }()
	var target oras.Target
	if p.host != "" {
		if p.path == "" {
			return Pushed{}, refusal.New(refusal.SourceScheme, "%q names no repository", address)
		}
		target = c.repository(p)
	} else if target, err = oci.NewWithContext(ctx, p.path); err != nil {
		return Pushed{}, refusal.New(refusal.SourceFailed, "the layout: %w", err)
	}
	return c.push(ctx, target, p, r, replace)
}

func (c *client) push(ctx context.Context, target oras.Target, p place, r Release, replace bool) (Pushed, error) {
	tags := r.tags(p)
	for _, tag := range tags {
		if err := p.withRef(tag).check(tag); err != nil {
			return Pushed{}, err
		}
	}
	packed, err := c.pack(ctx, target, p, r)
	if err != nil {
		return Pushed{}, err
	}
	out := Pushed{Digest: packed.Digest.String(), Address: p.withRef(packed.Digest.String()).String(), Tags: tags}
	for _, tag := range tags {
		there, err := target.Resolve(ctx, tag)
		switch {
		case err == nil && there.Digest != packed.Digest && !replace && r.isVersion(p, tag):
			return Pushed{}, refusal.New(refusal.Republished, "%s is %s, this is %s; --replace puts it there all the same", p.withRef(tag), there.Digest, packed.Digest)
		case err != nil && !errors.Is(err, errdef.ErrNotFound):
			return Pushed{}, refused(err, p.withRef(tag))
		}
		if err := target.Tag(ctx, packed, tag); err != nil {
			return Pushed{}, refused(err, p.withRef(tag))
		}
	}
	return out, nil
}

// tags are those that the release gets.
func (r Release) tags(p place) []string {
	if p.ref != "" {
		return []string{p.ref}
	}
	names := []string{tagOf(r.Version)}
	if v, err := manifest.ParseVersion(r.Version); err == nil && !v.Pre {
		names = append(names, latest)
	}
	if p.host == "" {
		for i := range names {
			names[i] = r.Name + ":" + names[i]
		}
	}
	return slices.Compact(names)
}

func (r Release) isVersion(p place, tag string) bool {
	return p.ref == "" && tag == r.tags(p)[0] && r.Version != ""
}

// pack pushes layers and manifest. The manifest says nothing that the release does not, so that it is the same each time.
func (c *client) pack(ctx context.Context, target oras.Target, p place, r Release) (ocispec.Descriptor, error) {
	artifact, layer := ArtifactType, archiveLayer
	if !archive.IsCanonical(r.Archive) {
		artifact, layer = TykType, tykLayer
	}
	first, err := c.put(ctx, target, p, layer, r.Archive, r.Name)
	if err != nil {
		return first, err
	}
	all := []ocispec.Descriptor{first}
	if r.Adoption != nil && artifact == TykType {
		second, err := c.put(ctx, target, p, adoptionLayer, r.Adoption, "")
		if err != nil {
			return second, err
		}
		all = append(all, second)
	}
	notes := map[string]string{ocispec.AnnotationCreated: r.Created.UTC().Format(time.RFC3339)}
	if r.Name != "" {
		notes[ocispec.AnnotationTitle] = r.Name
	}
	if r.Version != "" {
		notes[ocispec.AnnotationVersion] = r.Version
	}
	packed, err := oras.PackManifest(ctx, target, oras.PackManifestVersion1_1, artifact, oras.PackManifestOptions{Layers: all, ManifestAnnotations: notes})
	return packed, refused(err, p)
}

func (c *client) put(ctx context.Context, target oras.Target, p place, mediaType string, data []byte, name string) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if name != "" {
		d.Annotations = map[string]string{ocispec.AnnotationTitle: name + ".zip"}
	}
	there, err := target.Exists(ctx, d)
	if err != nil {
		return d, refused(err, p)
	}
	if there {
		return d, nil
	}
	var body io.Reader = bytes.NewReader(data) // which can be sent again after a fault
	if c.options.Progress != nil {
		body = &counter{from: body, total: d.Size, tell: c.options.Progress}
	}
	err = target.Push(ctx, d, body)
	if errors.Is(err, errdef.ErrAlreadyExists) {
		err = nil
	}
	return d, refused(err, p)
}

func (p place) withRef(ref string) place {
	p.ref = ref
	return p
}
