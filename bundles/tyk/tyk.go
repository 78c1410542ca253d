// Package tyk reads bundles as tyk bundle build packs them: files, and a manifest.json that lists them and wires
// them. Its checksum is the MD5, its signature RSASSA-PKCS1-v1_5 with SHA-256, of the listed files' contents one after
// the other. Neither covers names, boundaries or the manifest itself; who vouches for those is for the caller.
package tyk

import (
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// ManifestName is the manifest's name in the archive.
const ManifestName = "manifest.json"

// MaxManifest bounds the manifest, in bytes.
const MaxManifest = 1 << 20

// Manifest is manifest.json.
type Manifest struct {
	FileList []string `json:"file_list"`
	// Middleware is the wiring; Wiring is the same as it stands, for whoever translates it.
	Middleware Middleware      `json:"-"`
	Wiring     json.RawMessage `json:"custom_middleware"`
	Checksum   string          `json:"checksum"`
	Signature  string          `json:"signature"`
}

// Middleware is what of the wiring concerns files.
type Middleware struct {
	Pre         []Hook `json:"pre"`
	Post        []Hook `json:"post"`
	PostKeyAuth []Hook `json:"post_key_auth"`
	AuthCheck   Hook   `json:"auth_check"`
	Response    []Hook `json:"response"`
	TrafficLogs []Hook `json:"traffic_logs"`
	Driver      string `json:"driver"`
}

// Hook is one hook.
type Hook struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Code string `json:"code"`
}

// ParseManifest reads a manifest.json. Members it does not know are left alone, as Tyk does, but none may stand twice.
func ParseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if len(data) > MaxManifest {
		return m, refusal.New(refusal.TykManifest, "a %s of more than %d bytes", ManifestName, MaxManifest)
	}
	if err := strict.DecodeOpen(data, &m); err != nil {
		return m, refusal.New(refusal.TykManifest, "%s: %w", ManifestName, err)
	}
	if len(m.Wiring) == 0 || m.Wiring[0] != '{' {
		return m, refusal.New(refusal.TykManifest, "%s: custom_middleware is missing", ManifestName)
	}
	if err := json.Unmarshal(m.Wiring, &m.Middleware); err != nil {
		return m, refusal.New(refusal.TykManifest, "%s: custom_middleware: %w", ManifestName, err)
	}
	return m, m.check()
}

func (m Manifest) check() error {
	seen := make(map[string]bool, len(m.FileList))
	for _, name := range m.FileList {
		if seen[name] || name == ManifestName {
			return refusal.New(refusal.TykManifest, "%s: file_list names %.80q twice, or itself", ManifestName, name)
		}
		seen[name] = true
	}
	if d := m.Middleware.Driver; d != "" && !slices.Contains([]string{"otto", "javascript", "python", "lua", "grpc", "goplugin"}, d) {
		return refusal.New(refusal.TykDriver, "%s: no driver %.40q", ManifestName, d)
	}
	for _, h := range m.Middleware.hooks() {
		if h.Path != "" && !seen[path.Clean(h.Path)] {
			return refusal.New(refusal.TykHookPath, "%s: hook %.80q is in %.80q, which file_list does not name", ManifestName, h.Name, h.Path)
		}
	}
	if raw, err := hex.DecodeString(m.Checksum); err != nil || len(raw) != md5.Size || strings.ToLower(m.Checksum) != m.Checksum {
		return refusal.New(refusal.TykChecksum, "%s: the checksum %.40q is no MD5 in lower-case hex", ManifestName, m.Checksum)
	}
	return nil
}

func (m Middleware) hooks() []Hook {
	return slices.Concat(m.Pre, m.Post, m.PostKeyAuth, []Hook{m.AuthCheck}, m.Response, m.TrafficLogs)
}

// InlineCode names a hook whose code stands in the manifest itself; "" when there is none.
func (m Manifest) InlineCode() string {
	for _, h := range m.Middleware.hooks() {
		if h.Code != "" {
			return cmp.Or(h.Name, "without a name")
		}
	}
	return ""
}

// A Bundle is an archive whose files are those of its manifest, and have its checksum. That proves nothing yet:
// whoever makes the archive makes both.
type Bundle struct {
	Manifest       Manifest
	ManifestSHA256 string
	// Listed are the files of file_list, in its order; Extra are the others but the manifest.
	Listed []archive.Entry
	Extra  []archive.Entry
	// Digests are the SHA-256 of the Listed, in hex.
	Digests []string

	signed [sha256.Size]byte // digest of what is signed
}

// Open reads a bundle, file by file and keeping none of them.
func Open(data []byte, limits archive.Limits) (*Bundle, error) {
	entries, err := archive.Scan(data, limits)
	if err != nil {
		return nil, err
	}
	byName := make(map[string]archive.Entry, len(entries))
	for _, e := range entries {
		if !e.Dir {
			byName[e.Name] = e
		}
	}
	entry, ok := byName[ManifestName]
	if !ok {
		return nil, refusal.New(refusal.TykManifestMissing, "neither a bundle of ours nor one of Tyk: there is no %s and no %s", archive.EnvelopeName, ManifestName)
	}
	if entry.Size > MaxManifest {
		return nil, refusal.New(refusal.TykManifest, "a %s of %d bytes, at most %d", ManifestName, entry.Size, MaxManifest)
	}
	content, err := entry.Content()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	b := &Bundle{ManifestSHA256: hex.EncodeToString(sum[:])}
	if b.Manifest, err = ParseManifest(content); err != nil {
		return nil, err
	}
	for _, name := range b.Manifest.FileList {
		e, ok := byName[name]
		if !ok {
			return nil, refusal.New(refusal.FileMissing, "file_list names %.80q, which is not in the archive", name)
		}
		b.Listed = append(b.Listed, e)
	}
	for _, e := range entries {
		if !e.Dir && e.Name != ManifestName && !slices.Contains(b.Manifest.FileList, e.Name) {
			b.Extra = append(b.Extra, e)
		}
	}
	return b, b.digest()
}

// digest hashes the listed files and compares the checksum.
func (b *Bundle) digest() error {
	checksum, signed := md5.New(), sha256.New()
	var unpacker archive.Unpacker
	for _, e := range b.Listed {
		own := sha256.New()
		if err := unpacker.Unpack(e, io.MultiWriter(checksum, signed, own)); err != nil {
			return err
		}
		b.Digests = append(b.Digests, hex.EncodeToString(own.Sum(nil)))
	}
	b.signed = [sha256.Size]byte(signed.Sum(nil))
	if got := hex.EncodeToString(checksum.Sum(nil)); got != b.Manifest.Checksum {
		return refusal.New(refusal.TykChecksum, "the files have the checksum %s, the manifest says %s", got, b.Manifest.Checksum)
	}
	return nil
}

// Digest is the SHA-256 of what Tyk signs, in hex: the listed contents one after the other, however they are packed. "" when
// they are empty, which those of many bundles are.
func (b *Bundle) Digest() string {
	if b.signed == sha256.Sum256(nil) {
		return ""
	}
	return hex.EncodeToString(b.signed[:])
}

// Verify returns the keys that verify the signature. Those that are not RSA, and too short unless weak, are passed
// over; a signature that none verifies is an error, and so is its absence.
func (b *Bundle) Verify(keys []sign.PublicKey, weak bool) ([]sign.PublicKey, error) {
	if b.Manifest.Signature == "" {
		return nil, refusal.New(refusal.Unsigned, "nobody has signed it")
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(b.Manifest.Signature)
	if err != nil || base64.StdEncoding.EncodeToString(signature) != b.Manifest.Signature {
		return nil, refusal.New(refusal.TykSignature, "%s: the signature is not base64", ManifestName)
	}
	tried := 0
	for _, k := range keys {
		if !k.CanVerifyTyk(weak) {
			continue
		}
		if tried++; k.VerifyTyk(b.signed, signature, weak) {
			return []sign.PublicKey{k}, nil
		}
	}
	if tried == 0 {
		return nil, refusal.New(refusal.KeyUnknown, "signed as Tyk does, with RSA, but no RSA key of %d bits or more is trusted for it", sign.MinRSATyk)
	}
	return nil, refusal.New(refusal.TykSignature, "its signature holds with none of the %d RSA keys trusted for it", tried)
}
