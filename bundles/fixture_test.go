package bundles_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
)

// now is the clock of every test.
func now() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

func limits() archive.Limits { return archive.DefaultLimits() }

func newKey(t testing.TB, algorithm sign.Algorithm) sign.SecretKey {
	t.Helper()
	key, err := sign.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantCode checks the reason of a refusal, and that it says something.
func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
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

// guardFiles are a plugin's.
func guardFiles() map[string]string {
	return map[string]string{
		"plugin.yaml":   "name: guard\nversion: 1.2.3\n",
		"bin/guard":     "#!/bin/sh\necho guard\n",
		"lib/a.lua":     strings.Repeat("-- a comment\n", 100),
		"lib-b/b.lua":   "return 1",
		"empty.txt":     "",
		".git/config":   "left out",
		"lib/.DS_Store": "left out",
	}
}

func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func guardOptions() bundles.BuildOptions {
	return bundles.BuildOptions{Release: bundles.Release{Name: "guard", Version: "1.2.3", Created: now()}, Limits: limits()}
}

// buildGuard is the guard plugin, signed by keys.
func buildGuard(t testing.TB, o bundles.BuildOptions, keys ...sign.SecretKey) []byte {
	t.Helper()
	data := must[[]byte](t)(bundles.Build(writeFiles(t, guardFiles()), o))
	for _, key := range keys {
		data = must[[]byte](t)(bundles.Sign(data, key, limits()))
	}
	return data
}

// describe reads what guardFiles have in plugin.yaml.
func describe(pluginFile []byte) (name, version string, err error) {
	for line := range strings.Lines(string(pluginFile)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "name":
			name = value
		case "version":
			version = value
		}
	}
	return name, version, nil
}

// newVerifier trusts keys with every name, and has an empty state of its own.
func newVerifier(t testing.TB, keys ...sign.SecretKey) *bundles.Verifier {
	t.Helper()
	var public []sign.PublicKey
	for _, k := range keys {
		public = append(public, k.Public())
	}
	return &bundles.Verifier{
		Policy:   must[*trust.Policy](t)(trust.Simple(nil, false)),
		Ring:     must[*trust.KeyRing](t)(trust.PlainKeys(public)),
		State:    must[*trust.StateFile](t)(trust.OpenState(filepath.Join(t.TempDir(), "trust.json"), false, false)),
		Limits:   limits(),
		Host:     bundles.Host{Version: "1.4.0", Platform: "linux/amd64"},
		Now:      now,
		Describe: describe,
	}
}

func TestBuildSignVerify(t *testing.T) {
	for _, algorithm := range []sign.Algorithm{sign.Ed25519, sign.ECDSAP256, sign.RSAPSS} {
		key := newKey(t, algorithm)
		data := buildGuard(t, guardOptions(), key)
		v := newVerifier(t, key)
		for _, asked := range []string{"guard", "guard.zip", "guard-1.2.3.zip", "guard-1.2.3"} {
			b, err := v.Verify(bundles.Request{Name: asked, Archive: data, PlainHTTP: true})
			if err != nil {
				t.Fatalf("%s: %v", asked, err)
			}
			verdict := b.Verdict()
			if verdict.Unsigned || len(verdict.Keys) != 1 || verdict.Keys[0] != key.Public().ID() || verdict.Release.Serial != 1_000_002_000_003 {
				t.Errorf("verdict %+v", verdict)
			}
			if err := v.Accept(b); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBuildIsDeterministic(t *testing.T) {
	a, b := buildGuard(t, guardOptions()), buildGuard(t, guardOptions())
	if !bytes.Equal(a, b) {
		t.Error("two builds of the same files differ")
	}
	key := newKey(t, sign.Ed25519)
	signed := must[[]byte](t)(bundles.Sign(a, key, limits()))
	again := must[[]byte](t)(bundles.Sign(signed, key, limits()))
	if !bytes.Equal(signed, again) {
		t.Error("signing again with the same key changes the archive")
	}
}

func TestFiles(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	b := must[*bundles.Bundle](t)(newVerifier(t, key).Verify(bundles.Request{Name: "guard", Archive: buildGuard(t, guardOptions(), key)}))
	want := guardFiles()
	delete(want, ".git/config")
	delete(want, "lib/.DS_Store")
	folder := must[*bundles.Folder](t)(b.Unpack(t.TempDir()))
	for _, f := range b.Files() {
		content := must[[]byte](t)(b.ReadFile(f.Path))
		onDisk := must[[]byte](t)(os.ReadFile(filepath.Join(folder.Dir(), f.Path)))
		if string(content) != want[f.Path] || !bytes.Equal(onDisk, content) || f.Exec != (f.Path == "bin/guard") {
			t.Errorf("%+v: %q, on disk %q", f, content, onDisk)
		}
		info, err := os.Stat(filepath.Join(folder.Dir(), f.Path))
		if err != nil || info.Mode().Perm()&0o377 != map[bool]os.FileMode{true: 0o100}[f.Exec] {
			t.Errorf("%s: mode %v (%v)", f.Path, info.Mode(), err)
		}
		delete(want, f.Path)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if err := folder.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder.Dir()); !os.IsNotExist(err) {
		t.Error("the folder stays after Close")
	}
	if _, err := b.ReadFile("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	// Nobody else's memory: what the caller does to its copy of a file changes nothing.
	clear(must[[]byte](t)(b.ReadFile("lib-b/b.lua")))
	if again := must[[]byte](t)(b.ReadFile("lib-b/b.lua")); string(again) != "return 1" {
		t.Errorf("changed to %q", again)
	}
}

func TestExternalSigner(t *testing.T) {
	key := newKey(t, sign.ECDSAP256)
	data := buildGuard(t, guardOptions())
	message := must[[]byte](t)(bundles.ToSign(data, limits()))
	// A device signs the message; here an envelope with the same payload does.
	payload := message[bytes.IndexByte(message, '{'):]
	envelope := must[sign.Envelope](t)(sign.NewEnvelope(manifest.BundleType, payload).Sign(key))
	signed := must[[]byte](t)(bundles.AddSignature(data, key.Public(), envelope.Signatures[0].Sig, limits()))
	if _, err := newVerifier(t, key).Verify(bundles.Request{Name: "guard", Archive: signed}); err != nil {
		t.Error(err)
	}
	_, err := bundles.AddSignature(data, newKey(t, sign.Ed25519).Public(), envelope.Signatures[0].Sig, limits())
	wantCode(t, "another key's", err, refusal.SignatureInvalid)
}

func TestInspectAndList(t *testing.T) {
	key := newKey(t, sign.Ed25519)
	data := buildGuard(t, guardOptions(), key)
	seen := must[bundles.Inspection](t)(bundles.Inspect(data, limits()))
	if seen.Format != bundles.Native || seen.Bundle.Name != "guard" || len(seen.Signers) != 1 || seen.Size != int64(len(data)) {
		t.Errorf("%+v", seen)
	}
	listed := must[trust.Listed](t)(bundles.List(data, nil, limits()))
	if listed.Name != "guard" || listed.Digest != seen.Digest || listed.ArchiveSHA256 != seen.ArchiveSHA256 || listed.Serial != seen.Bundle.Serial {
		t.Errorf("%+v", listed)
	}
}

func TestBuildRefuses(t *testing.T) {
	build := func(change func(dir string, o *bundles.BuildOptions)) error {
		dir, o := writeFiles(t, guardFiles()), guardOptions()
		change(dir, &o)
		_, err := bundles.Build(dir, o)
		return err
	}
	write := func(dir, name string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(dir string, o *bundles.BuildOptions)
		want   refusal.Code
	}{
		{"link", func(dir string, _ *bundles.BuildOptions) { _ = os.Symlink("/etc/passwd", filepath.Join(dir, "x")) }, refusal.BuildFolder},
		{"linked folder", func(dir string, _ *bundles.BuildOptions) { _ = os.Symlink("/etc", filepath.Join(dir, "x")) }, refusal.BuildFolder},
		{"blank in a name", func(dir string, _ *bundles.BuildOptions) { write(dir, "a b") }, refusal.ZipName},
		{"case", func(dir string, _ *bundles.BuildOptions) { write(dir, "PLUGIN.yaml") }, refusal.ZipDuplicate},
		{"folders' case", func(dir string, _ *bundles.BuildOptions) { write(dir, "Lib/x") }, refusal.ZipDuplicate},
		{"reserved", func(dir string, _ *bundles.BuildOptions) { write(dir, "meta/x") }, refusal.ZipName},
		{"device", func(dir string, _ *bundles.BuildOptions) { write(dir, "aux.lua") }, refusal.ZipName},
		{"no plugin.yaml", func(dir string, _ *bundles.BuildOptions) { _ = os.Remove(filepath.Join(dir, "plugin.yaml")) }, refusal.PluginFile},
		{"no folder", func(dir string, _ *bundles.BuildOptions) { _ = os.RemoveAll(dir) }, refusal.BuildFolder},
		{"many files", func(_ string, o *bundles.BuildOptions) { o.Limits.Files = 3 }, refusal.LimitFiles},
		{"large file", func(_ string, o *bundles.BuildOptions) { o.Limits.File = 100 }, refusal.LimitFile},
		{"large all", func(_ string, o *bundles.BuildOptions) { o.Limits.Total = 100 }, refusal.LimitTotal},
		{"large archive", func(_ string, o *bundles.BuildOptions) { o.Limits.Archive = 100 }, refusal.LimitArchive},
		{"no version", func(_ string, o *bundles.BuildOptions) { o.Version = "" }, refusal.BuildVersion},
		{"pre-release", func(_ string, o *bundles.BuildOptions) { o.Version = "1.0.0-rc.1" }, refusal.BuildVersion},
		{"pre-release with serial", func(_ string, o *bundles.BuildOptions) { o.Version, o.Serial = "1.0.0-rc.1", 7 }, ""},
		{"no name", func(_ string, o *bundles.BuildOptions) { o.Name = "" }, refusal.Payload},
		{"bad name", func(_ string, o *bundles.BuildOptions) { o.Name = "../x" }, refusal.Payload},
		{"no date", func(_ string, o *bundles.BuildOptions) { o.Created = time.Time{} }, refusal.Payload},
		{"ended before", func(_ string, o *bundles.BuildOptions) { o.NotAfter = now().Add(-time.Hour) }, refusal.Payload},
		{"platform", func(_ string, o *bundles.BuildOptions) { o.Platforms = []string{"Linux"} }, refusal.Payload},
		{"host", func(_ string, o *bundles.BuildOptions) { o.Requires.Host = ">=1" }, refusal.Payload},
		{"sandbox", func(_ string, o *bundles.BuildOptions) { o.Requires.Sandbox = "a b" }, refusal.Payload},
	} {
		wantCode(t, test.name, build(test.change), test.want)
	}
}
