// Package source fetches bundles from where operators keep them: folders and HTTP servers. It believes nothing of
// what it fetches; it bounds it, and hands out bytes that nobody else can change.
package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
)

// A Source is a place of bundles. It may be used by several goroutines at once.
type Source interface {
	// Fetch returns the archive that a definition asks for by name, a relative path, with or without .zip. sha256, if
	// not empty, is the archive's, and anything else is refused.
	Fetch(ctx context.Context, name, sha256 string) (Fetched, error)
	// Close ends connections that are kept.
	Close() error
}

// Fetched is an archive and what lies beside it.
type Fetched struct {
	Archive []byte
	// Adoption is the countersignature, nil when there is none.
	Adoption []byte
	// Origin is where it came from, for messages: no user and no query.
	Origin string
	// PlainHTTP is whether anybody on the way could have changed it.
	PlainHTTP bool
	// Stale is why the source was of no use and the archive comes from the cache; nil when it was.
	Stale error

	keep func() error
}

// Keep puts what was fetched into the source's cache. It is for whoever has verified it: else servers could fill the
// disk with what nobody vouches for, and push out of the cache what somebody did.
func (f Fetched) Keep() error {
	if f.keep == nil {
		return nil
	}
	return f.keep()
}

// Keeping returns f with what Keep is to do, for sources of other packages.
func (f Fetched) Keeping(keep func() error) Fetched {
	f.keep = keep
	return f
}

// adoptionSuffix is that of package bundles.
const adoptionSuffix = ".dsse.json"

// Limits bound what is fetched, in bytes.
type Limits struct{ Archive, Adoption int64 }

// DefaultLimits are those of package archive.
func DefaultLimits() Limits {
	l := archive.DefaultLimits()
	return Limits{Archive: l.Archive, Adoption: l.Envelope}
}

// Open returns the source at a base: an https or http URL, a file URL, or the path of a folder.
func Open(base string, o HTTPOptions) (Source, error) {
	u, err := url.Parse(base)
	switch {
	case err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		return NewHTTP(base, o)
	case err == nil && u.Scheme == "file" && (u.Host == "" || u.Host == "localhost"):
		return NewFolder(filepath.FromSlash(u.Path), o.Limits), nil
	case err == nil && u.Scheme != "" && strings.Contains(base, "://"):
		return nil, refusal.New(refusal.SourceScheme, "bundles at %q", u.Redacted())
	}
	return NewFolder(base, o.Limits), nil
}

// candidates are the file names that a name may stand for.
func candidates(name string) ([]string, error) {
	if err := manifest.CheckName(name); err != nil {
		return nil, refusal.New(refusal.SourceName, "%w", err)
	}
	if strings.HasSuffix(name, ".zip") {
		return []string{name}, nil
	}
	return []string{name + ".zip", name}, nil
}

// A Folder is a folder of bundles. Names lead to no file outside it, by no link.
type Folder struct {
	dir    string
	limits Limits
}

// NewFolder returns the source of a folder, which is looked at when something is fetched.
func NewFolder(dir string, limits Limits) Folder { return Folder{dir: dir, limits: limits} }

// Fetch reads a file once. The countersignature is the file with .dsse.json behind its name.
func (f Folder) Fetch(_ context.Context, name, sha256 string) (Fetched, error) {
	names, err := candidates(name)
	if err != nil {
		return Fetched{}, err
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return Fetched{}, refusal.New(refusal.SourceMissing, "the folder of bundles: %w", err)
	}
	defer root.Close()
	for _, n := range names {
		data, err := readFile(root, n, f.limits.Archive)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Fetched{}, err
		}
		out := Fetched{Archive: data, Origin: filepath.Join(f.dir, n)}
		if out.Adoption, err = readFile(root, n+adoptionSuffix, f.limits.Adoption); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Fetched{}, err
		}
		return out, checkDigest(out.Archive, sha256)
	}
	return Fetched{}, refusal.New(refusal.SourceMissing, "no bundle %q in %s", name, f.dir)
}

// Close does nothing.
func (f Folder) Close() error { return nil }

// ReadFile reads one archive at a path of the operator's own, and its countersignature, for commands.
func ReadFile(path string, limits Limits) (Fetched, error) {
	return NewFolder(filepath.Dir(path), limits).file(filepath.Base(path))
}

// ReadDocument reads a file of the operator's own, such as an index, of at most limit bytes.
func ReadDocument(path string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, refusal.New(refusal.SourceMissing, "%w", err)
	}
	defer root.Close()
	data, err := readFile(root, filepath.Base(path), limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refusal.New(refusal.SourceMissing, "%s: %w", path, err)
	}
	return data, err
}

// file is Fetch for a name that needs not be a bundle's.
func (f Folder) file(name string) (Fetched, error) {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return Fetched{}, refusal.New(refusal.SourceMissing, "%w", err)
	}
	defer root.Close()
	out := Fetched{Origin: filepath.Join(f.dir, name)}
	if out.Archive, err = readFile(root, name, f.limits.Archive); errors.Is(err, fs.ErrNotExist) {
		return out, refusal.New(refusal.SourceMissing, "%w", err)
	} else if err != nil {
		return out, err
	}
	out.Adoption, err = readFile(root, name+adoptionSuffix, f.limits.Adoption)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return out, err
}

// readFile reads a regular file into memory, through one handle. Opening does not wait for whoever is at the other end
// of a pipe.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, refusal.New(refusal.SourceKind, "%w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refusal.New(refusal.SourceKind, "%s is not a regular file", name)
	}
	return readAll(file, name, info.Size(), limit)
}

// readAll reads up to limit bytes; size is what is expected, or negative.
func readAll(r io.Reader, name string, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, refusal.New(refusal.LimitArchive, "%s has %d bytes, at most %d", name, size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, refusal.New(refusal.LimitArchive, "%s has more than %d bytes", name, limit)
	}
	return data, nil
}
