package bundles

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/tyk"
)

// Release is what a bundle is built or adopted as.
type Release struct {
	// Name is what definitions ask for, Version a semantic version. Of a Name like a file's only what
	// manifest.Identity makes of it counts.
	Name, Version string
	// Serial orders releases; 0 takes it from Version (manifest.SerialOf). Epoch is 1 unless it is given.
	Serial, Epoch uint64
	// Created is when; it must be given, since the same input gives the same bytes. NotAfter, unless zero, is the
	// release's end.
	Created, NotAfter time.Time
}

func (r Release) manifest() (manifest.Release, error) {
	name, _ := manifest.Identity(r.Name)
	out := manifest.Release{Name: name, Version: r.Version, Serial: r.Serial, Epoch: max(r.Epoch, 1), Created: manifest.At(r.Created)}
	if !r.NotAfter.IsZero() {
		out.NotAfter = manifest.At(r.NotAfter)
	}
	if r.Serial != 0 {
		return out, nil
	}
	var err error
	out.Serial, err = manifest.SerialOf(r.Version)
	return out, err
}

// BuildOptions say how a folder is packed.
type BuildOptions struct {
	Release
	// Platforms are GOOS/GOARCH pairs the bundle is for; none is all.
	Platforms []string
	Requires  manifest.Requires
	Limits    archive.Limits
}

// Build packs a plugin folder into an archive that nobody has signed yet. Files and folders whose names begin with
// a dot are left out; links and special files are refused. The same files and options give the same bytes, but
// for releases of Go that deflate differently.
func Build(folder string, o BuildOptions) ([]byte, error) {
	release, err := o.Release.manifest()
	if err != nil {
		return nil, err
	}
	m := manifest.Bundle{Schema: manifest.Schema, Release: release, Platforms: slices.Sorted(slices.Values(o.Platforms)), Requires: o.Requires}
	if o.Requires != (manifest.Requires{}) {
		m.Critical = []string{"requires"}
	}
	var files []archive.File
	if files, m.Files, err = readFolder(folder, o.Limits); err != nil {
		return nil, err
	}
	prefix, err := archive.Pack(files, o.Limits)
	if err != nil {
		return nil, err
	}
	m.PrefixSize, m.PrefixSHA256 = int64(len(prefix)), digest(prefix)
	payload, err := m.Encode()
	if err != nil {
		return nil, err
	}
	return seal(prefix, sign.NewEnvelope(manifest.BundleType, payload), o.Limits)
}

func seal(prefix []byte, envelope sign.Envelope, limits archive.Limits) ([]byte, error) {
	data, err := envelope.Encode()
	if err != nil {
		return nil, err
	}
	return archive.Seal(prefix, data, limits)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// readFolder reads every file once, in the order of names.
func readFolder(folder string, limits archive.Limits) ([]archive.File, []manifest.File, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, nil, refusal.New(refusal.BuildFolder, "%w", err)
	}
	defer root.Close()
	var files []archive.File
	var listed []manifest.File
	var total int64
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return refusal.New(refusal.BuildFolder, "%w", err)
		case name != "." && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return refusal.New(refusal.BuildFolder, "%s is a link or a special file", filepath.Join(folder, name))
		case len(files)+1 >= limits.Files:
			return refusal.New(refusal.LimitFiles, "%s has more than %d files", folder, limits.Files-1)
		}
		content, mode, err := readFile(root, name, limits.File)
		if err != nil {
			return err
		}
		if err := fitting(filepath.Join(folder, name), content); err != nil {
			return err
		}
		if total += int64(len(content)); total > limits.Total {
			return refusal.New(refusal.LimitTotal, "%s has more than %d bytes", folder, limits.Total)
		}
		files = append(files, archive.File{Name: name, Content: content})
		listed = append(listed, manifest.File{Path: name, Size: int64(len(content)), SHA256: digest(content), Exec: mode&0o111 != 0})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	// The walk goes folder by folder, which is not the order of whole names.
	slices.SortFunc(files, func(a, b archive.File) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(listed, func(a, b manifest.File) int { return strings.Compare(a.Path, b.Path) })
	return files, listed, nil
}

// fitting refuses what is in a plugin's folder by mistake, and would go to everybody who gets the bundle.
func fitting(name string, content []byte) error {
	switch {
	case sign.IsSecretKey(content):
		return refusal.New(refusal.BuildFolder, "%s is a secret key, which everybody would get; keep it elsewhere", name)
	case archive.IsCanonical(content):
		return refusal.New(refusal.BuildFolder, "%s is a bundle itself; keep bundles elsewhere", name)
	}
	return nil
}

func readFile(root *os.Root, name string, limit int64) ([]byte, fs.FileMode, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, 0, refusal.New(refusal.BuildFolder, "%w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = refusal.New(refusal.LimitFile, "%s has more than %d bytes", name, limit)
	}
	return content, info.Mode(), err
}

// open splits an archive of ours; nothing about it is verified.
func open(data []byte, limits archive.Limits) (prefix []byte, envelope sign.Envelope, err error) {
	prefix, raw, err := archive.Tail(data, limits)
	if err != nil {
		return nil, sign.Envelope{}, err
	}
	envelope, err = sign.DecodeEnvelope(raw, manifest.BundleType, limits.Envelope)
	return prefix, envelope, err
}

// Sign returns the archive with the signature of key besides those it has. What it says of its files is checked
// first: nobody should sign what no gateway would load.
func Sign(data []byte, key sign.SecretKey, limits archive.Limits) ([]byte, error) {
	return resign(data, limits, func(e sign.Envelope) (sign.Envelope, error) { return e.Sign(key) })
}

// ToSign returns the bytes that a device signs, for AddSignature.
func ToSign(data []byte, limits archive.Limits) ([]byte, error) {
	_, envelope, err := open(data, limits)
	if err != nil {
		return nil, err
	}
	return sign.PAE(envelope.PayloadType, envelope.Payload), nil
}

// AddSignature returns the archive with a signature over ToSign's bytes that key verifies.
func AddSignature(data []byte, key sign.PublicKey, signature []byte, limits archive.Limits) ([]byte, error) {
	return resign(data, limits, func(e sign.Envelope) (sign.Envelope, error) { return e.Add(key, signature) })
}

func resign(data []byte, limits archive.Limits, change func(sign.Envelope) (sign.Envelope, error)) ([]byte, error) {
	prefix, envelope, err := open(data, limits)
	if err != nil {
		return nil, err
	}
	if _, _, err := openFiles(data, prefix, envelope, limits); err != nil {
		return nil, err
	}
	if envelope, err = change(envelope); err != nil {
		return nil, err
	}
	return seal(prefix, envelope, limits)
}

// AdoptionSuffix is what the name of a countersignature's file has behind that of the archive.
const AdoptionSuffix = ".dsse.json"

// Adopt returns the countersignature of a bundle of Tyk: a file of its own, which vouches for every byte of the
// archive, wiring and code in the manifest included. Look at it with Inspect before.
func Adopt(data []byte, release Release, key sign.SecretKey, limits archive.Limits) ([]byte, error) {
	if archive.IsCanonical(data) {
		return nil, refusal.New(refusal.EnvelopeType, "this is a bundle of ours: sign it")
	}
	old, err := tyk.Open(data, limits)
	if err != nil {
		return nil, err
	}
	r, err := release.manifest()
	if err != nil {
		return nil, err
	}
	payload, err := manifest.Adoption{
		Schema: 1, Release: r, ArchiveSize: int64(len(data)), ArchiveSHA256: digest(data), ManifestSHA256: old.ManifestSHA256,
	}.Encode()
	if err != nil {
		return nil, err
	}
	envelope, err := sign.NewEnvelope(manifest.AdoptionType, payload).Sign(key)
	if err != nil {
		return nil, err
	}
	return envelope.Encode()
}
