package bundlestest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
)

// An Evil is an archive that must not load, and the reason for which it is refused.
type Evil struct {
	Name string
	Data []byte
	Want refusal.Code
}

// Corpus returns every archive that must not load as guard although, or because, a trusted key signed it. other is a key
// that nobody trusts, now the clock; the gateway is 1.4.0 on linux/amd64 and enforces no sandbox.
func Corpus(t testing.TB, key, other sign.SecretKey, now time.Time) []Evil {
	var cases []Evil
	add := func(name string, want refusal.Code, s Signed) {
		cases = append(cases, Evil{name, s.Bytes(t, key, now), want})
	}
	for _, c := range Raw() {
		add("signed as it is: "+c.Name, c.Canonical, Signed{Zip: c.Change})
		if code := afterwards(c); code != "" {
			add("changed afterwards: "+c.Name, code, Signed{Late: c.Change})
		}
	}
	for key, name := range Names() {
		add("name: "+key, refusal.ZipName, Signed{Zip: func(z *Zip) { z.Entries[1] = Deflated(name, "x") }})
		add("listed name: "+key, refusal.Payload, Signed{Payload: func(m *manifest.Bundle) { m.Files[1].Path = name }})
	}
	for _, c := range payloadCases(now) {
		add("manifest: "+c.name, c.want, c.signed)
	}
	for _, c := range envelopeCases(t, other) {
		add("envelope: "+c.name, c.want, c.signed)
	}
	return cases
}

// afterwards is the code of a change that comes after signing, "" where it is the same as before.
func afterwards(c Case) refusal.Code {
	switch c.Canonical {
	case refusal.ZipDirectory, refusal.ZipTrailing, refusal.ZipTruncated, refusal.ZipComment, refusal.ZipZip64, refusal.ZipLocal:
		return ""
	}
	z := Zip{Entries: []Entry{Deflated("a", "aaaaaa"), Deflated("b", "bbbbbb"), Deflated("c", "c"), Stored("d", "d")}}
	before := string(z.Prefix(3))
	if c.Change(&z); string(z.Prefix(3)) == before {
		return ""
	}
	return refusal.PrefixDigest
}

type named struct {
	name   string
	want   refusal.Code
	signed Signed
}

func payloadCases(now time.Time) []named {
	p := func(name string, want refusal.Code, change func(m *manifest.Bundle)) named {
		return named{name, want, Signed{Payload: change}}
	}
	r := func(name string, want refusal.Code, change func([]byte) []byte) named {
		return named{name, want, Signed{Raw: change}}
	}
	return []named{
		p("schema 1", refusal.PayloadSchema, func(m *manifest.Bundle) { m.Schema = 1 }),
		p("schema 3", refusal.PayloadSchema, func(m *manifest.Bundle) { m.Schema = 3 }),
		p("no schema", refusal.PayloadSchema, func(m *manifest.Bundle) { m.Schema = 0 }),
		p("critical", refusal.PayloadCritical, func(m *manifest.Bundle) { m.Critical = []string{"quantum"} }),
		p("critical unsorted", refusal.Payload, func(m *manifest.Bundle) { m.Critical = []string{"requires", "platforms"} }),
		p("no name", refusal.Payload, func(m *manifest.Bundle) { m.Name = "" }),
		p("other name", refusal.NameMismatch, func(m *manifest.Bundle) { m.Name = "guards" }),
		p("other case", refusal.NameMismatch, func(m *manifest.Bundle) { m.Name = "Guard" }),
		p("name of a file", refusal.Payload, func(m *manifest.Bundle) { m.Name = "guard.zip" }),
		p("name and version", refusal.Payload, func(m *manifest.Bundle) { m.Name = "guard-1.2.3" }),
		p("name with a version behind it", refusal.Payload, func(m *manifest.Bundle) { m.Name = "guard@1.2.3" }),
		p("name with a plus", refusal.Payload, func(m *manifest.Bundle) { m.Name = "guard+1" }),
		p("name with parent", refusal.Payload, func(m *manifest.Bundle) { m.Name = "../guard" }),
		p("no version", refusal.Payload, func(m *manifest.Bundle) { m.Version = "" }),
		p("version with a path", refusal.Payload, func(m *manifest.Bundle) { m.Version = "1.2.3/../../x" }),
		p("version with v", refusal.Payload, func(m *manifest.Bundle) { m.Version = "v1.2.3" }),
		p("version not plugin.yaml's", refusal.PluginFile, func(m *manifest.Bundle) { m.Version = "1.2.4" }),
		p("serial 0", refusal.Payload, func(m *manifest.Bundle) { m.Serial = 0 }),
		p("huge serial", refusal.Payload, func(m *manifest.Bundle) { m.Serial = 1 << 53 }),
		p("epoch 0", refusal.Payload, func(m *manifest.Bundle) { m.Epoch = 0 }),
		p("epoch 2", refusal.Epoch, func(m *manifest.Bundle) { m.Epoch = 2 }),
		p("no date", refusal.Payload, func(m *manifest.Bundle) { m.Created = manifest.Time{} }),
		p("from the future", refusal.Early, func(m *manifest.Bundle) { m.Created = manifest.At(now.Add(25 * time.Hour)) }),
		p("ended", refusal.Expired, func(m *manifest.Bundle) {
			m.Created, m.NotAfter = manifest.At(now.Add(-time.Hour)), manifest.At(now)
		}),
		p("ended before it began", refusal.Payload, func(m *manifest.Bundle) { m.NotAfter = manifest.At(now.Add(-time.Hour)) }),
		p("another platform", refusal.Platform, func(m *manifest.Bundle) { m.Platforms = []string{"plan9/amd64"} }),
		p("no platform", refusal.Payload, func(m *manifest.Bundle) { m.Platforms = []string{"linux"} }),
		p("platforms unsorted", refusal.Payload, func(m *manifest.Bundle) { m.Platforms = []string{"linux/amd64", "darwin/arm64"} }),
		p("many platforms", refusal.Payload, func(m *manifest.Bundle) { m.Platforms = make([]string, 33) }),
		p("newer host", refusal.HostVersion, func(m *manifest.Bundle) { m.Requires.Host = "1.4.1" }),
		p("host unreadable", refusal.Payload, func(m *manifest.Bundle) { m.Requires.Host = "^1" }),
		p("sandbox", refusal.Sandbox, func(m *manifest.Bundle) { m.Requires.Sandbox = "strict" }),
		p("sandbox unreadable", refusal.Payload, func(m *manifest.Bundle) { m.Requires.Sandbox = "Strict!" }),
		p("prefix size", refusal.PrefixDigest, func(m *manifest.Bundle) { m.PrefixSize++ }),
		p("negative prefix size", refusal.Payload, func(m *manifest.Bundle) { m.PrefixSize = -1 }),
		p("prefix digest", refusal.PrefixDigest, func(m *manifest.Bundle) { m.PrefixSHA256 = SHA256("x") }),
		p("no prefix digest", refusal.Payload, func(m *manifest.Bundle) { m.PrefixSHA256 = "" }),
		p("prefix digest in capitals", refusal.Payload, func(m *manifest.Bundle) { m.PrefixSHA256 = strings.ToUpper(m.PrefixSHA256) }),
		p("no files", refusal.PluginFile, func(m *manifest.Bundle) { m.Files = nil }),
		p("file missing in the list", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files = m.Files[:2] }),
		p("inner file missing in the list", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files = append(m.Files[:1:1], m.Files[2]) }),
		p("file missing in the archive", refusal.FileMissing, func(m *manifest.Bundle) {
			m.Files = append(m.Files, manifest.File{Path: "zz", SHA256: SHA256("")})
		}),
		p("first file missing in the archive", refusal.FileMissing, func(m *manifest.Bundle) {
			m.Files = append([]manifest.File{{Path: "a", SHA256: SHA256("")}}, m.Files...)
		}),
		p("file renamed", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files[1].Path = "y.lua" }),
		p("no plugin.yaml", refusal.PluginFile, func(m *manifest.Bundle) { m.Files[0].Path = "plugin.yml" }),
		p("file twice", refusal.Payload, func(m *manifest.Bundle) { m.Files[1] = m.Files[0] }),
		p("files unsorted", refusal.Payload, func(m *manifest.Bundle) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] }),
		p("file and folder", refusal.ZipDuplicate, func(m *manifest.Bundle) { m.Files[2].Path = "x.lua/z" }),
		p("files that differ in case", refusal.ZipDuplicate, func(m *manifest.Bundle) { m.Files[0].Path, m.Files[1].Path = "Plugin.yaml", "plugin.yaml" }),
		p("file's size", refusal.FileSize, func(m *manifest.Bundle) { m.Files[1].Size++ }),
		p("negative size", refusal.Payload, func(m *manifest.Bundle) { m.Files[1].Size = -1 }),
		p("file's digest", refusal.FileDigest, func(m *manifest.Bundle) { m.Files[1].SHA256 = SHA256("x") }),
		p("no digest", refusal.Payload, func(m *manifest.Bundle) { m.Files[1].SHA256 = "" }),
		p("short digest", refusal.Payload, func(m *manifest.Bundle) { m.Files[1].SHA256 = m.Files[1].SHA256[:32] }),
		p("two files' digests", refusal.FileSize, func(m *manifest.Bundle) {
			m.Files[1].SHA256, m.Files[2].SHA256 = m.Files[2].SHA256, m.Files[1].SHA256
			m.Files[1].Size, m.Files[2].Size = m.Files[2].Size, m.Files[1].Size
		}),
		r("unknown member", refusal.Payload, replace(`{"schema":2`, `{"schema":2,"servers":[]`)),
		r("member twice", refusal.Payload, replace(`{"schema":2`, `{"schema":2,"schema":2`)),
		r("member in capitals", refusal.Payload, replace(`"serial"`, `"Serial"`)),
		r("member missing", refusal.Payload, replace(`"epoch":1,`, ``)),
		r("blank", refusal.Payload, replace(`:2,`, `: 2,`)),
		r("newline", refusal.Payload, func(b []byte) []byte { return append(b, '\n') }),
		r("second value", refusal.Payload, func(b []byte) []byte { return append(b, "{}"...) }),
		r("number as text", refusal.Payload, replace(`"serial":7`, `"serial":"7"`)),
		r("fraction", refusal.Payload, replace(`"serial":7`, `"serial":7.0`)),
		r("time zone", refusal.Payload, replace(`Z","prefix_size`, `+00:00","prefix_size`)),
		r("not JSON", refusal.Payload, func([]byte) []byte { return []byte("hello") }),
		r("null", refusal.Payload, func([]byte) []byte { return []byte("null") }),
		r("list", refusal.Payload, func([]byte) []byte { return []byte("[]") }),
		r("deep", refusal.Payload, func([]byte) []byte { return []byte(strings.Repeat("[", 1000)) }),
		r("not UTF-8", refusal.Payload, replace("guard", "gu\xffrd")),
		r("exec null", refusal.Payload, replace(`"size":`, `"exec":null,"size":`)),
		r("exec false", refusal.Payload, replace(`"},{`, `","exec":false},{`)),
	}
}

func envelopeCases(t testing.TB, other sign.SecretKey) []named {
	e := func(name string, want refusal.Code, change func(e *sign.Envelope)) named {
		return named{name, want, Signed{Envelope: change}}
	}
	b := func(name string, want refusal.Code, change func([]byte) []byte) named {
		return named{name, want, Signed{Encoded: change}}
	}
	return []named{
		{"signed as an index", refusal.EnvelopeType, Signed{PayloadType: "application/vnd.turnbuckle.index.v1+json"}},
		{"signed as in-toto", refusal.EnvelopeType, Signed{PayloadType: "application/vnd.in-toto+json"}},
		e("type changed", refusal.SignatureInvalid, func(e *sign.Envelope) {
			signed := must[sign.Envelope](t)(sign.NewEnvelope("x", e.Payload).Sign(other))
			e.Signatures[0].Sig = signed.Signatures[0].Sig
		}),
		e("unsigned", refusal.Unsigned, func(e *sign.Envelope) { e.Signatures = []sign.Signature{} }),
		e("null signatures", refusal.Envelope, func(e *sign.Envelope) { e.Signatures = nil }),
		e("another key's", refusal.KeyUnknown, func(e *sign.Envelope) {
			e.Signatures = []sign.Signature{}
			*e = must[sign.Envelope](t)(e.Sign(other))
		}),
		e("another key's under our id", refusal.SignatureInvalid, func(e *sign.Envelope) {
			signed := must[sign.Envelope](t)(sign.NewEnvelope(e.PayloadType, e.Payload).Sign(other))
			e.Signatures[0].Sig = signed.Signatures[0].Sig
		}),
		e("signature of zeros", refusal.SignatureInvalid, func(e *sign.Envelope) { e.Signatures[0].Sig = make([]byte, 64) }),
		e("signature cut", refusal.SignatureInvalid, func(e *sign.Envelope) { e.Signatures[0].Sig = e.Signatures[0].Sig[:63] }),
		e("signature and more", refusal.SignatureInvalid, func(e *sign.Envelope) { e.Signatures[0].Sig = append(e.Signatures[0].Sig, 0) }),
		e("signature empty", refusal.Envelope, func(e *sign.Envelope) { e.Signatures[0].Sig = []byte{} }),
		e("signature twice", refusal.SignatureTwice, func(e *sign.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }),
		e("key id unknown", refusal.KeyUnknown, func(e *sign.Envelope) { e.Signatures[0].KeyID = SHA256("x") }),
		e("no key id", refusal.Envelope, func(e *sign.Envelope) { e.Signatures[0].KeyID = "" }),
		e("short key id", refusal.Envelope, func(e *sign.Envelope) { e.Signatures[0].KeyID = e.Signatures[0].KeyID[:16] }),
		e("many signatures", refusal.LimitSignatures, func(e *sign.Envelope) {
			e.Signatures = nil
			for i := range 17 {
				e.Signatures = append(e.Signatures, sign.Signature{KeyID: fmt.Sprintf("%064x", i), Sig: []byte{1}})
			}
		}),
		e("payload changed", refusal.SignatureInvalid, func(e *sign.Envelope) {
			e.Payload = replace(`"serial":7`, `"serial":8`)(e.Payload)
		}),
		e("payload of another", refusal.SignatureInvalid, func(e *sign.Envelope) { e.Payload = []byte("{}") }),
		e("no payload", refusal.Envelope, func(e *sign.Envelope) { e.Payload = nil }),
		b("nothing", refusal.Envelope, func([]byte) []byte { return nil }),
		b("not JSON", refusal.Envelope, func([]byte) []byte { return []byte("-----BEGIN PGP SIGNATURE-----") }),
		b("unknown member", refusal.Envelope, replace(`{"payloadType"`, `{"alg":"none","payloadType"`)),
		b("member in capitals", refusal.Envelope, replace(`"payload":`, `"Payload":`)),
		b("payload twice", refusal.Envelope, replace(`"payload":`, `"payload":"e30=","payload":`)),
		b("keys in it", refusal.Envelope, replace(`"keyid":`, `"key":"x","keyid":`)),
		b("blank", refusal.Envelope, replace(`,"payload"`, `, "payload"`)),
		b("newline", refusal.Envelope, func(b []byte) []byte { return append(b, '\n') }),
		b("mark at the front", refusal.Envelope, func(b []byte) []byte { return append([]byte("\xef\xbb\xbf"), b...) }),
		b("other base64", refusal.Envelope, func(b []byte) []byte {
			var e struct{ Payload string }
			_ = json.Unmarshal(b, &e)
			raw, _ := base64.StdEncoding.DecodeString(e.Payload)
			return replace(e.Payload, base64.RawURLEncoding.EncodeToString(append(raw, "???>>>"...)))(b)
		}),
		b("large", refusal.LimitEnvelope, func(b []byte) []byte { return append(b, strings.Repeat(" ", 1<<20)...) }),
		{"not last", refusal.ZipDirectory, Signed{Late: func(z *Zip) { z.Entries[3], z.Entries[2] = z.Entries[2], z.Entries[3] }}},
		{"twice", refusal.PrefixDigest, Signed{Late: func(z *Zip) { z.Entries = append(z.Entries[:3:3], z.Entries[3], z.Entries[3]) }}},
		{"deflated", refusal.ZipDirectory, Signed{Late: func(z *Zip) {
			z.Entries[3] = Deflated(archive.EnvelopeName, string(z.Entries[3].Data))
		}}},
		{"left out", refusal.TykManifestMissing, Signed{Late: func(z *Zip) { z.Entries = z.Entries[:3] }}},
		{"in capitals", refusal.ZipDirectory, Signed{Late: func(z *Zip) {
			z.Entries[3] = z.Entries[3].Both(func(h *Header) { h.Name = strings.ToUpper(h.Name) })
		}}},
	}
}
