package bundlestest

import (
	"crypto"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// A Tyk is a bundle as tyk bundle build makes it: the listed files in their order, then the manifest, each streamed.
type Tyk struct {
	Names    []string
	Contents []string
	// Wiring is custom_middleware in JSON.
	Wiring string
	// Key signs; nil leaves the bundle unsigned.
	Key *rsa.PrivateKey
	// Manifest changes manifest.json, Zip the archive.
	Manifest func(m map[string]any)
	Zip      func(z *Zip)
}

// Wiring returns custom_middleware as the builder writes it, its empty members too.
func Wiring(driver, hookName, hookPath string) string {
	return `{"pre":[{"name":"` + hookName + `","path":"` + hookPath + `","require_session":false,"raw_body_only":false}],"post":null,` +
		`"post_key_auth":null,"auth_check":{"name":"","path":"","require_session":false,"raw_body_only":false},"response":null,` +
		`"driver":"` + driver + `","id_extractor":{"extract_from":"","extract_with":"","extractor_config":null}}`
}

// Bytes returns the archive.
func (b Tyk) Bytes(t testing.TB) []byte {
	t.Helper()
	content := strings.Join(b.Contents, "")
	sum := md5.Sum([]byte(content))
	m := map[string]any{
		"file_list": b.Names, "custom_middleware": json.RawMessage(b.Wiring), "checksum": hex.EncodeToString(sum[:]), "signature": "",
	}
	if b.Names == nil {
		m["file_list"] = []string{}
	}
	if b.Key != nil {
		digest := sha256.Sum256([]byte(content))
		signature, err := rsa.SignPKCS1v15(rand.Reader, b.Key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		m["signature"] = base64.StdEncoding.EncodeToString(signature)
	}
	if b.Manifest != nil {
		b.Manifest(m)
	}
	manifest, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	z := Zip{}
	for i, name := range b.Names {
		z.Entries = append(z.Entries, Streamed(name, b.Contents[i]))
	}
	z.Entries = append(z.Entries, Streamed("manifest.json", string(manifest)))
	if b.Zip != nil {
		b.Zip(&z)
	}
	return z.Bytes()
}
