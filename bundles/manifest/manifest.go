// Package manifest holds what is signed about a bundle: the payload of its envelope, and of the countersignature that
// vouches for a bundle of Tyk. All of it is canonical JSON.
package manifest

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// Types of payloads, which the signatures cover.
const (
	BundleType   = "application/vnd.turnbuckle.bundle.v2+json"
	AdoptionType = "application/vnd.turnbuckle.adoption.v1+json"
)

// PluginFile is the file of a bundle that wires it. Being listed like every other, it is under the signature.
const PluginFile = "plugin.yaml"

// MaxPluginFile bounds that file, in bytes: it is read whole, and parsed.
const MaxPluginFile = 1 << 20

// Bounds of a manifest.
const (
	Schema       = 2
	MaxSerial    = 1<<53 - 1 // what every JSON reader keeps exactly
	maxVersion   = 64
	maxPlatforms = 32
	maxCritical  = 16
)

// Bundle is what is signed about a bundle of ours.
type Bundle struct {
	Schema int `json:"schema"`
	Release
	// Platforms are GOOS/GOARCH pairs the bundle runs on, sorted; none means it runs everywhere.
	Platforms []string `json:"platforms,omitempty"`
	Requires  Requires `json:"requires,omitzero"`
	// Critical names what of the manifest a gateway must understand, or refuse the bundle.
	Critical     []string `json:"critical,omitempty"`
	PrefixSize   int64    `json:"prefix_size"`
	PrefixSHA256 string   `json:"prefix_sha256"`
	// Files are all files of the archive but the envelope, in its order, which is that of their names.
	Files []File `json:"files"`
}

// Release identifies what is vouched for.
type Release struct {
	// Name is what a definition asks for, as Identity understands it.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Serial grows with every release of a name; Epoch is what the key ring or the policy says, 1 at first.
	Serial  uint64 `json:"serial"`
	Epoch   uint64 `json:"epoch"`
	Created Time   `json:"created"`
	// NotAfter is when the release ends; zero is never.
	NotAfter Time `json:"not_after,omitzero"`
}

// Requires is what the bundle demands of the gateway.
type Requires struct {
	// Host is the lowest version of the gateway, such as 1.2.0.
	Host string `json:"host,omitempty"`
	// Sandbox is the profile that the plugin must run under, or not at all.
	Sandbox string `json:"sandbox,omitempty"`
}

// File is one file of a bundle.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Exec makes the file executable when it is unpacked.
	Exec bool `json:"exec,omitempty"`
}

// Adoption vouches for an archive as it is, byte for byte: a bundle of Tyk with the wiring in it.
type Adoption struct {
	Schema int `json:"schema"`
	Release
	ArchiveSize    int64  `json:"archive_size"`
	ArchiveSHA256  string `json:"archive_sha256"`
	ManifestSHA256 string `json:"manifest_sha256"`
}

// ParseBundle reads the payload of a bundle's envelope.
func ParseBundle(payload []byte) (Bundle, error) {
	var b Bundle
	if err := strict.Canonical(payload, &b); err != nil {
		return Bundle{}, refusal.New(refusal.Payload, "what is signed: %w", err)
	}
	return b, b.Check()
}

// Encode checks b and returns its one encoding.
func (b Bundle) Encode() ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	return strict.Encode(b)
}

// Check returns what is wrong with b by itself.
func (b Bundle) Check() error {
	if b.Schema != Schema {
		return refusal.New(refusal.PayloadSchema, "schema %d, this gateway knows %d", b.Schema, Schema)
	}
	// Every schema so far has these; a gateway that knows a critical part lists it here.
	if len(b.Critical) > maxCritical || !slices.IsSorted(b.Critical) {
		return refusal.New(refusal.Payload, "critical: too many names, or not sorted")
	}
	for _, name := range b.Critical {
		if name != "platforms" && name != "requires" {
			return refusal.New(refusal.PayloadCritical, "it insists on %.40q", name)
		}
	}
	if err := b.Release.check(); err != nil {
		return err
	}
	if len(b.Platforms) > maxPlatforms || !slices.IsSorted(b.Platforms) {
		return refusal.New(refusal.Payload, "platforms: too many, or not sorted")
	}
	for _, p := range b.Platforms {
		system, arch, ok := strings.Cut(p, "/")
		if !ok || !word(system) || !word(arch) {
			return refusal.New(refusal.Payload, "platforms: %.40q is not like linux/amd64", p)
		}
	}
	if _, err := ParseVersion(b.Requires.Host); b.Requires.Host != "" && err != nil {
		return refusal.New(refusal.Payload, "requires.host: %w", err)
	}
	if s := b.Requires.Sandbox; s != "" && !word(s) {
		return refusal.New(refusal.Payload, "requires.sandbox: %.40q is not a profile's name", s)
	}
	if b.PrefixSize < 0 || !IsSHA256(b.PrefixSHA256) {
		return refusal.New(refusal.Payload, "prefix_size or prefix_sha256 is missing")
	}
	return b.checkFiles()
}

func (b Bundle) checkFiles() error {
	names := make([]string, len(b.Files))
	for i, f := range b.Files {
		if err := archive.CheckName(f.Path); err != nil {
			return refusal.New(refusal.Payload, "files: %w", err)
		}
		if f.Size < 0 || !IsSHA256(f.SHA256) {
			return refusal.New(refusal.Payload, "files: %q has no size or sha256", f.Path)
		}
		if f.Path == PluginFile && f.Size > MaxPluginFile {
			return refusal.New(refusal.PluginFile, "a %s of %d bytes, at most %d", PluginFile, f.Size, MaxPluginFile)
		}
		if i > 0 && b.Files[i-1].Path >= f.Path {
			return refusal.New(refusal.Payload, "files: %q is not in the order of names, each once", f.Path)
		}
		names[i] = f.Path
	}
	if err := archive.CheckTree(names); err != nil {
		return err
	}
	if !slices.Contains(names, PluginFile) {
		return refusal.New(refusal.PluginFile, "there is no %s among its files", PluginFile)
	}
	return nil
}

// ParseAdoption reads the payload of a countersignature.
func ParseAdoption(payload []byte) (Adoption, error) {
	var a Adoption
	if err := strict.Canonical(payload, &a); err != nil {
		return Adoption{}, refusal.New(refusal.Payload, "the countersignature: %w", err)
	}
	return a, a.check()
}

// Encode checks a and returns its one encoding.
func (a Adoption) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return strict.Encode(a)
}

func (a Adoption) check() error {
	if a.Schema != 1 {
		return refusal.New(refusal.PayloadSchema, "the countersignature: schema %d, this gateway knows 1", a.Schema)
	}
	if a.ArchiveSize <= 0 || !IsSHA256(a.ArchiveSHA256) || !IsSHA256(a.ManifestSHA256) {
		return refusal.New(refusal.Payload, "the countersignature: a size or a digest is missing")
	}
	return a.Release.check()
}

func (r Release) check() error {
	if err := CheckName(r.Name); err != nil {
		return refusal.New(refusal.Payload, "name: %w", err)
	}
	if name, _ := Identity(r.Name); name != r.Name {
		return refusal.New(refusal.Payload, "name: %q looks like a file of %q", r.Name, name)
	}
	if _, err := ParseVersion(r.Version); err != nil {
		return refusal.New(refusal.Payload, "version: %w", err)
	}
	switch {
	case r.Serial < 1 || r.Serial > MaxSerial || r.Epoch < 1 || r.Epoch > MaxSerial:
		return refusal.New(refusal.Payload, "serial and epoch must be between 1 and %d", int64(MaxSerial))
	case r.Created.IsZero():
		return refusal.New(refusal.Payload, "created is missing")
	case !r.NotAfter.IsZero() && !r.NotAfter.After(r.Created.Time):
		return refusal.New(refusal.Payload, "not_after is not after created")
	}
	return nil
}

// IsSHA256 reports whether text is a SHA-256 in lower-case hex.
func IsSHA256(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32 && hex.EncodeToString(raw) == text
}

// CheckName says why name cannot be what a definition calls a bundle: like a file's name, so that it can be one, but
// without the signs that stand between a name and a version or a digest.
func CheckName(name string) error {
	if strings.ContainsAny(name, "@+") {
		return fmt.Errorf("%.80q has a character other than letters, digits, . _ and -", name)
	}
	return archive.CheckName(name)
}

// word is lower-case letters, digits, - and _, at most 32.
func word(s string) bool {
	return s != "" && len(s) <= 32 && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// Time is a time in UTC, to the second.
type Time struct{ time.Time }

// At is t as a Time.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Second)} }

const timeForm = "2006-01-02T15:04:05Z"

// MarshalText writes the time as RFC 3339 has it, with Z and no fractions.
func (t Time) MarshalText() ([]byte, error) {
	if y := t.Year(); y < 1 || y > 9999 {
		return nil, fmt.Errorf("the year %d cannot be written", y)
	}
	return []byte(t.UTC().Format(timeForm)), nil
}

// UnmarshalText reads what MarshalText writes.
func (t *Time) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(timeForm, string(text))
	if err != nil {
		return fmt.Errorf("%.40q is not a time like 2026-01-02T15:04:05Z", text)
	}
	t.Time = parsed
	return nil
}

// MarshalJSON writes the time as a string.
func (t Time) MarshalJSON() ([]byte, error) {
	text, err := t.MarshalText()
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'"'}, text...), '"'), nil
}

// UnmarshalJSON reads a string.
func (t *Time) UnmarshalJSON(data []byte) error {
	if len(data) < 2 || data[0] != '"' {
		return fmt.Errorf("%.40s is not a time", data)
	}
	return t.UnmarshalText(data[1 : len(data)-1])
}
