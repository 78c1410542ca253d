package registry

import (
	"strings"

	"oras.land/oras-go/v2/registry"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// Schemes of addresses.
const (
	schemeRemote = "oci://"
	schemeLayout = "oci-layout:"
)

// latest is the tag of the newest release.
const latest = "latest"

// IsAddress reports whether text is the address of a registry or of a layout, and not of something else that has bundles.
func IsAddress(text string) bool {
	return strings.HasPrefix(text, schemeRemote) || strings.HasPrefix(text, schemeLayout)
}

// A place is what an address names: a repository of a registry, or a layout on disk, and perhaps what in it.
type place struct {
	host string // of a registry; empty for a layout
	path string // the repository, or the layout's path
	ref  string // a tag or a digest; empty for none
}

func parse(address string) (place, error) {
	var p place
	rest, remote := strings.CutPrefix(address, schemeRemote)
	if remote {
		p.host, rest, _ = strings.Cut(rest, "/")
	} else {
		var ok bool
		if rest, ok = strings.CutPrefix(address, schemeLayout); !ok {
			return p, refusal.New(refusal.SourceScheme, "%.200q is not like oci://registry.example/acme/guard:1.2.3 or oci-layout:FOLDER:1.2.3", address)
		}
	}
	p.path = rest
	if path, digest, ok := strings.Cut(rest, "@"); ok {
		p.path, p.ref = path, digest
	} else if path, tag, ok := strings.Cut(rest, ":"); ok {
		p.path, p.ref = path, tag // the tags of a layout have colons in them
	}
	p.path = strings.TrimSuffix(p.path, "/")
	if remote && (p.host == "" || strings.Contains(p.host, "@")) {
		return p, refusal.New(refusal.SourceScheme, "%.200q names no registry; a user and a password belong into the file of docker login", address)
	}
	if !remote && p.path == "" {
		return p, refusal.New(refusal.SourceScheme, "%.200q names no folder", address)
	}
	return p, p.check(address)
}

// check holds a registry's parts to the grammar of distribution-spec 1.1 §"Pulling manifests".
func (p place) check(address string) error {
	if p.host == "" {
		return nil
	}
	reference := registry.Reference{Registry: p.host, Repository: p.path, Reference: p.ref}
	if err := reference.ValidateRegistry(); err != nil {
		return refusal.New(refusal.SourceScheme, "%.200q: %w", address, err)
	}
	if p.path != "" {
		if err := reference.ValidateRepository(); err != nil {
			return refusal.New(refusal.SourceName, "%.200q: repositories have lower-case names: %w", address, err)
		}
	}
	if p.ref != "" {
		if err := reference.ValidateReference(); err != nil {
			return refusal.New(refusal.SourceName, "%.200q: %w", address, err)
		}
	}
	return nil
}

// of returns the place of a bundle that a definition asks for, below p.
func (p place) of(asked string) (place, error) {
	if err := manifest.CheckName(asked); err != nil {
		return p, refusal.New(refusal.SourceName, "%w", err)
	}
	name, version := manifest.Identity(asked)
	out := place{host: p.host, path: p.path, ref: tagOf(version)}
	if p.host == "" {
		out.ref = name + ":" + out.ref // a layout has one list of tags for all
		return out, nil
	}
	if out.path != "" {
		out.path += "/"
	}
	out.path += name
	return out, out.check(out.String())
}

// tagOf is the tag of a version; build metadata has a + that tags must not have, and _ in its place.
func tagOf(version string) string {
	if version == "" {
		return latest
	}
	return strings.ReplaceAll(version, "+", "_")
}

func (p place) isDigest() bool { return strings.HasPrefix(p.ref, "sha256:") }

// String is the address again.
func (p place) String() string {
	text := schemeLayout + p.path
	if p.host != "" {
		text = schemeRemote + p.host + "/" + p.path
	}
	switch {
	case p.ref == "":
		return text
	case p.isDigest():
		return text + "@" + p.ref
	}
	return text + ":" + p.ref
}
