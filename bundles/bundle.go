package bundles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

// A Bundle is an archive that was verified. It shares the archive's memory, does not change, and may be used by
// several goroutines at once. Only Verifier.Verify makes one.
type Bundle struct {
	verdict Verdict
	tyk     *tyk.Manifest
	files   []file
}

// Verdict is what was found out about a bundle, for logs and status.
type Verdict struct {
	Name string `json:"name"`
	// Release is zero for bundles of Tyk without a countersignature, which have no version.
	Release manifest.Release `json:"release,omitzero"`
	// Digest is that of what was signed: the manifest of ours, the countersignature, or the files that Tyk's signature
	// covers, one after the other; of a bundle of Tyk without files it is that of the archive.
	Digest        string `json:"digest"`
	ArchiveSHA256 string `json:"archive_sha256"`
	// Keys are the ids of the keys that vouched for it; none for an unsigned one.
	Keys []string `json:"keys,omitempty"`
	// Rule is the name of the policy's rule.
	Rule string `json:"rule"`
	// Format is "native" or "tyk".
	Format string `json:"format"`
	// Unsigned, UnsignedWiring and Overridden are what an operator should know: nobody vouched for it, nobody for its
	// manifest (Tyk's signature does not cover it), and a rollback on purpose lets it load.
	Unsigned       bool `json:"unsigned,omitempty"`
	UnsignedWiring bool `json:"unsigned_wiring,omitempty"`
	Overridden     bool `json:"overridden,omitempty"`
	// ClockBack is whether the clock is so far behind what was seen that it was not believed.
	ClockBack bool `json:"clock_back,omitempty"`
	// Unlisted are files of a bundle of Tyk that its manifest does not list, and that are left out.
	Unlisted []string `json:"unlisted,omitempty"`
}

// Formats of a Verdict.
const (
	Native  = "native"
	FromTyk = "tyk"
)

// A file is listed and was verified.
type file struct {
	manifest.File
	entry archive.Entry
}

// Verdict returns what was found out.
func (b *Bundle) Verdict() Verdict { return b.verdict }

// Tyk returns the manifest of a bundle of Tyk, nil for one of ours, whose wiring is its plugin.yaml.
func (b *Bundle) Tyk() *tyk.Manifest { return b.tyk }

// Files returns the files, in the order of their names.
func (b *Bundle) Files() []manifest.File {
	list := make([]manifest.File, len(b.files))
	for i, f := range b.files {
		list[i] = f.File
	}
	return list
}

// ReadFile returns the content of a file that was verified, unpacked anew and compared with its digest again.
func (b *Bundle) ReadFile(path string) ([]byte, error) {
	f, err := b.find(path)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if err := f.unpack(&content); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

func (b *Bundle) find(path string) (file, error) {
	i := slices.IndexFunc(b.files, func(f file) bool { return f.Path == path })
	if i < 0 {
		return file{}, fmt.Errorf("%q: %w", path, fs.ErrNotExist)
	}
	return b.files[i], nil
}

// unpack writes the content to w, and returns an error when it is not the one that was listed. What w got before an
// error must not be used.
func (f file) unpack(w io.Writer) error { return f.unpackWith(new(archive.Unpacker), w) }

func (f file) unpackWith(u *archive.Unpacker, w io.Writer) error {
	if f.entry.Size != f.Size {
		return refusal.New(refusal.FileSize, "file %q has %d bytes, listed are %d", f.Path, f.entry.Size, f.Size)
	}
	sum := sha256.New()
	if err := u.Unpack(f.entry, io.MultiWriter(w, sum)); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return refusal.New(refusal.FileDigest, "file %q is %s, listed is %s", f.Path, got, f.SHA256)
	}
	return nil
}
