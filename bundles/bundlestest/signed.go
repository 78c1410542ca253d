package bundlestest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// A Signed is a bundle of ours that a trusted key signs, whatever is wrong with it: each check has to hold by itself. The
// zero value is release 1.2.3 of guard, and good.
type Signed struct {
	// Files are the plugin's; nil is plugin.yaml, x.lua and z.txt.
	Files map[string]string
	// Zip changes the archive before what is in front of the envelope is hashed; Late changes it after.
	Zip, Late func(z *Zip)
	// Payload changes what is signed, Raw its bytes, Envelope what is in the archive as the envelope, Encoded its bytes.
	Payload  func(m *manifest.Bundle)
	Raw      func(payload []byte) []byte
	Envelope func(e *sign.Envelope)
	Encoded  func(envelope []byte) []byte
	// PayloadType is what is signed as.
	PayloadType string
}

// GuardFile is the plugin.yaml of the zero Signed.
const GuardFile = "name: guard\nversion: 1.2.3\n"

// Bytes returns the archive, made at a time.
func (s Signed) Bytes(t testing.TB, key sign.SecretKey, now time.Time) []byte {
	t.Helper()
	files := s.Files
	if files == nil {
		files = map[string]string{"plugin.yaml": GuardFile, "x.lua": strings.Repeat("return x ", 9), "z.txt": "z"}
	}
	m := manifest.Bundle{Schema: 2, Release: manifest.Release{Name: "guard", Version: "1.2.3", Serial: 7, Epoch: 1, Created: manifest.At(now)}}
	z := Zip{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if archive.CheckName(name) != nil || strings.Contains("/"+name, "/.") {
			continue
		}
		z.Entries = append(z.Entries, Deflated(name, files[name]))
		m.Files = append(m.Files, manifest.File{Path: name, Size: int64(len(files[name])), SHA256: SHA256(files[name])})
	}
	z.Entries = append(z.Entries, Stored(archive.EnvelopeName, ""))
	if s.Zip != nil {
		s.Zip(&z)
	}
	last := len(z.Entries) - 1
	prefix := z.Prefix(last)
	m.PrefixSize, m.PrefixSHA256 = int64(len(prefix)), SHA256(string(prefix))
	if s.Payload != nil {
		s.Payload(&m)
	}
	data := s.encode(t, m, key)
	if z.Entries[last].Central.Name == archive.EnvelopeName {
		before := z.Entries[last].Before
		z.Entries[last] = Stored(archive.EnvelopeName, string(data))
		z.Entries[last].Before = before
	}
	if s.Late != nil {
		s.Late(&z)
	}
	return z.Bytes()
}

// encode returns the envelope's bytes.
func (s Signed) encode(t testing.TB, m manifest.Bundle, key sign.SecretKey) []byte {
	t.Helper()
	payload := must[[]byte](t)(strict.Encode(m))
	if s.Raw != nil {
		payload = s.Raw(payload)
	}
	payloadType := manifest.BundleType
	if s.PayloadType != "" {
		payloadType = s.PayloadType
	}
	envelope := must[sign.Envelope](t)(sign.NewEnvelope(payloadType, payload).Sign(key))
	if s.Envelope != nil {
		s.Envelope(&envelope)
	}
	data := must[[]byte](t)(envelope.Encode())
	if s.Encoded != nil {
		data = s.Encoded(data)
	}
	return data
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func replace(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, with, 1)) }
}
