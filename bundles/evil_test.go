package bundles_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/bundlestest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/strict"
)

// An evil bundle is signed with a trusted key, whatever is wrong with it: each check has to hold by itself.
type evil struct {
	// zip changes the archive before what is in front of the envelope is hashed; late changes it after.
	zip, late func(z *bundlestest.Zip)
	// payload changes what is signed, raw its bytes, envelope what is in the archive as the envelope.
	payload  func(m *manifest.Bundle)
	raw      func(payload []byte) []byte
	envelope func(e *sign.Envelope)
	bytes    func(envelope []byte) []byte
	// payloadType is what is signed as.
	payloadType string
}

const pluginFile = "name: guard\nversion: 1.2.3\n"

func (e evil) build(t testing.TB, key sign.SecretKey) []byte {
	t.Helper()
	names, contents := []string{"plugin.yaml", "x.lua", "z.txt"}, []string{pluginFile, strings.Repeat("return x ", 9), "z"}
	m := manifest.Bundle{Schema: 2, Release: manifest.Release{Name: "guard", Version: "1.2.3", Serial: 7, Epoch: 1, Created: manifest.At(now())}}
	z := bundlestest.Zip{}
	for i, name := range names {
		z.Entries = append(z.Entries, bundlestest.Deflated(name, contents[i]))
		m.Files = append(m.Files, manifest.File{Path: name, Size: int64(len(contents[i])), SHA256: bundlestest.SHA256(contents[i])})
	}
	z.Entries = append(z.Entries, bundlestest.Stored(archive.EnvelopeName, ""))
	if e.zip != nil {
		e.zip(&z)
	}
	last := len(z.Entries) - 1
	prefix := z.Prefix(last)
	m.PrefixSize, m.PrefixSHA256 = int64(len(prefix)), bundlestest.SHA256(string(prefix))
	if e.payload != nil {
		e.payload(&m)
	}
	payload := must[[]byte](t)(strict.Encode(m))
	if e.raw != nil {
		payload = e.raw(payload)
	}
	payloadType := manifest.BundleType
	if e.payloadType != "" {
		payloadType = e.payloadType
	}
	envelope := must[sign.Envelope](t)(sign.NewEnvelope(payloadType, payload).Sign(key))
	if e.envelope != nil {
		e.envelope(&envelope)
	}
	data := must[[]byte](t)(envelope.Encode())
	if e.bytes != nil {
		data = e.bytes(data)
	}
	if z.Entries[last].Central.Name == archive.EnvelopeName {
		before := z.Entries[last].Before
		z.Entries[last] = bundlestest.Stored(archive.EnvelopeName, string(data))
		z.Entries[last].Before = before
	}
	if e.late != nil {
		e.late(&z)
	}
	return z.Bytes()
}

func replace(old, with string) func([]byte) []byte {
	return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, with, 1)) }
}

// A case of the corpus: an archive and the reason for which it is refused.
type evilCase struct {
	name string
	data []byte
	want refusal.Code
}

// corpus is every archive that must not load although, or because, a trusted key signed it.
func corpus(t testing.TB, key, other sign.SecretKey) []evilCase {
	var cases []evilCase
	add := func(name string, want refusal.Code, e evil) {
		cases = append(cases, evilCase{name, e.build(t, key), want})
	}
	for _, c := range bundlestest.Raw() {
		add("signed as it is: "+c.Name, c.Canonical, evil{zip: c.Change})
		if code := afterwards(c); code != "" {
			add("changed afterwards: "+c.Name, code, evil{late: c.Change})
		}
	}
	for key, name := range bundlestest.Names() {
		add("name: "+key, refusal.ZipName, evil{zip: func(z *bundlestest.Zip) { z.Entries[1] = bundlestest.Deflated(name, "x") }})
		add("listed name: "+key, refusal.Payload, evil{payload: func(m *manifest.Bundle) { m.Files[1].Path = name }})
	}
	for _, c := range payloadCases() {
		add("manifest: "+c.name, c.want, c.evil)
	}
	for _, c := range envelopeCases(t, other) {
		add("envelope: "+c.name, c.want, c.evil)
	}
	return cases
}

// afterwards is the code of a change that comes after signing, "" where it is the same as before.
func afterwards(c bundlestest.Case) refusal.Code {
	switch c.Canonical {
	case refusal.ZipDirectory, refusal.ZipTrailing, refusal.ZipTruncated, refusal.ZipComment, refusal.ZipZip64, refusal.ZipLocal:
		return ""
	}
	z := bundlestest.Zip{Entries: []bundlestest.Entry{bundlestest.Deflated("a", "aaaaaa"), bundlestest.Deflated("b", "bbbbbb"), bundlestest.Deflated("c", "c"), bundlestest.Stored("d", "d")}}
	before := string(z.Prefix(3))
	if c.Change(&z); string(z.Prefix(3)) == before {
		return ""
	}
	return refusal.PrefixDigest
}

type evilNamed struct {
	name string
	want refusal.Code
	evil evil
}

func payloadCases() []evilNamed {
	p := func(name string, want refusal.Code, change func(m *manifest.Bundle)) evilNamed {
		return evilNamed{name, want, evil{payload: change}}
	}
	r := func(name string, want refusal.Code, change func([]byte) []byte) evilNamed {
		return evilNamed{name, want, evil{raw: change}}
	}
	return []evilNamed{
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
		p("from the future", refusal.Early, func(m *manifest.Bundle) { m.Created = manifest.At(now().Add(25 * time.Hour)) }),
		p("ended", refusal.Expired, func(m *manifest.Bundle) {
			m.Created, m.NotAfter = manifest.At(now().Add(-time.Hour)), manifest.At(now())
		}),
		p("ended before it began", refusal.Payload, func(m *manifest.Bundle) { m.NotAfter = manifest.At(now().Add(-time.Hour)) }),
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
		p("prefix digest", refusal.PrefixDigest, func(m *manifest.Bundle) { m.PrefixSHA256 = bundlestest.SHA256("x") }),
		p("no prefix digest", refusal.Payload, func(m *manifest.Bundle) { m.PrefixSHA256 = "" }),
		p("prefix digest in capitals", refusal.Payload, func(m *manifest.Bundle) { m.PrefixSHA256 = strings.ToUpper(m.PrefixSHA256) }),
		p("no files", refusal.PluginFile, func(m *manifest.Bundle) { m.Files = nil }),
		p("file missing in the list", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files = m.Files[:2] }),
		p("inner file missing in the list", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files = append(m.Files[:1:1], m.Files[2]) }),
		p("file missing in the archive", refusal.FileMissing, func(m *manifest.Bundle) {
			m.Files = append(m.Files, manifest.File{Path: "zz", SHA256: bundlestest.SHA256("")})
		}),
		p("first file missing in the archive", refusal.FileMissing, func(m *manifest.Bundle) {
			m.Files = append([]manifest.File{{Path: "a", SHA256: bundlestest.SHA256("")}}, m.Files...)
		}),
		p("file renamed", refusal.FileUnlisted, func(m *manifest.Bundle) { m.Files[1].Path = "y.lua" }),
		p("no plugin.yaml", refusal.PluginFile, func(m *manifest.Bundle) { m.Files[0].Path = "plugin.yml" }),
		p("file twice", refusal.Payload, func(m *manifest.Bundle) { m.Files[1] = m.Files[0] }),
		p("files unsorted", refusal.Payload, func(m *manifest.Bundle) { m.Files[0], m.Files[1] = m.Files[1], m.Files[0] }),
		p("file and folder", refusal.ZipDuplicate, func(m *manifest.Bundle) { m.Files[2].Path = "x.lua/z" }),
		p("files that differ in case", refusal.ZipDuplicate, func(m *manifest.Bundle) { m.Files[0].Path, m.Files[1].Path = "Plugin.yaml", "plugin.yaml" }),
		p("file's size", refusal.FileSize, func(m *manifest.Bundle) { m.Files[1].Size++ }),
		p("negative size", refusal.Payload, func(m *manifest.Bundle) { m.Files[1].Size = -1 }),
		p("file's digest", refusal.FileDigest, func(m *manifest.Bundle) { m.Files[1].SHA256 = bundlestest.SHA256("x") }),
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
		r("time zone", refusal.Payload, replace(`12:00:00Z`, `12:00:00+00:00`)),
		r("not JSON", refusal.Payload, func([]byte) []byte { return []byte("hello") }),
		r("null", refusal.Payload, func([]byte) []byte { return []byte("null") }),
		r("list", refusal.Payload, func([]byte) []byte { return []byte("[]") }),
		r("deep", refusal.Payload, func([]byte) []byte { return []byte(strings.Repeat("[", 1000)) }),
		r("not UTF-8", refusal.Payload, replace("guard", "gu\xffrd")),
		r("exec null", refusal.Payload, replace(`"size":`, `"exec":null,"size":`)),
		r("exec false", refusal.Payload, replace(`"},{`, `","exec":false},{`)),
	}
}

func envelopeCases(t testing.TB, other sign.SecretKey) []evilNamed {
	e := func(name string, want refusal.Code, change func(e *sign.Envelope)) evilNamed {
		return evilNamed{name, want, evil{envelope: change}}
	}
	b := func(name string, want refusal.Code, change func([]byte) []byte) evilNamed {
		return evilNamed{name, want, evil{bytes: change}}
	}
	return []evilNamed{
		{"signed as an index", refusal.EnvelopeType, evil{payloadType: "application/vnd.turnbuckle.index.v1+json"}},
		{"signed as in-toto", refusal.EnvelopeType, evil{payloadType: "application/vnd.in-toto+json"}},
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
		e("key id unknown", refusal.KeyUnknown, func(e *sign.Envelope) { e.Signatures[0].KeyID = bundlestest.SHA256("x") }),
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
		{"not last", refusal.ZipDirectory, evil{late: func(z *bundlestest.Zip) { z.Entries[3], z.Entries[2] = z.Entries[2], z.Entries[3] }}},
		{"twice", refusal.PrefixDigest, evil{late: func(z *bundlestest.Zip) { z.Entries = append(z.Entries[:3:3], z.Entries[3], z.Entries[3]) }}},
		{"deflated", refusal.ZipDirectory, evil{late: func(z *bundlestest.Zip) {
			z.Entries[3] = bundlestest.Deflated(archive.EnvelopeName, string(z.Entries[3].Data))
		}}},
		{"left out", refusal.TykManifestMissing, evil{late: func(z *bundlestest.Zip) { z.Entries = z.Entries[:3] }}},
		{"in capitals", refusal.ZipDirectory, evil{late: func(z *bundlestest.Zip) {
			z.Entries[3] = z.Entries[3].Both(func(h *bundlestest.Header) { h.Name = strings.ToUpper(h.Name) })
		}}},
	}
}

// No evil bundle is accepted, and each is refused for its reason.
func TestCorpus(t *testing.T) {
	key, other := newKey(t, sign.Ed25519), newKey(t, sign.Ed25519)
	v := newVerifier(t, key)
	if _, err := v.Verify(bundles.Request{Name: "guard", Archive: evil{}.build(t, key)}); err != nil {
		t.Fatalf("the corpus starts from what is refused itself: %v", err)
	}
	cases := corpus(t, key, other)
	for _, c := range cases {
		_, err := v.Verify(bundles.Request{Name: "guard", Archive: c.data})
		if want := c.want; want == "" {
			t.Errorf("%s: the case expects no code", c.name)
		} else {
			wantCode(t, c.name, err, want)
		}
	}
	if len(cases) < 150 {
		t.Errorf("%d cases, 150 are promised", len(cases))
	}
	t.Logf("%d cases", len(cases))
}
