package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

func open(t *testing.T, base string, o Options) *Registry {
	t.Helper()
	r, err := Open(base, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestAddresses(t *testing.T) {
	good := map[string]place{
		"oci://r.example/acme/guard:1.2.3":             {"r.example", "acme/guard", "1.2.3"},
		"oci://r.example:5000/guard":                   {"r.example:5000", "guard", ""},
		"oci://127.0.0.1:5000/guard@" + sum(nil):       {"127.0.0.1:5000", "guard", sum(nil)},
		"oci-layout:dir":                               {"", "dir", ""},
		"oci-layout:/a/b:acme/guard:1.2.3":             {"", "/a/b", "acme/guard:1.2.3"},
		"oci-layout:./bundles.tar@" + sum([]byte("x")): {"", "./bundles.tar", sum([]byte("x"))},
		"oci://r.example":                              {"r.example", "", ""},
	}
	for address, want := range good {
		if got, err := parse(address); err != nil || got != want {
			t.Errorf("%s: %+v %v", address, got, err)
		}
	}
	bad := map[string]refusal.Code{
		"http://r.example/guard": refusal.SourceScheme, "guard": refusal.SourceScheme, "oci:///guard": refusal.SourceScheme,
		"oci://user:word@r.example/guard": refusal.SourceScheme, "oci-layout:": refusal.SourceScheme,
		"oci://r.example/Guard": refusal.SourceName, "oci://r.example/../guard": refusal.SourceName,
		"oci://r.example/guard:a b": refusal.SourceName, "oci://r.example/guard@sha256:12": refusal.SourceName,
		"oci://r.exa mple/guard": refusal.SourceScheme,
	}
	for address, want := range bad {
		_, err := parse(address)
		wantCode(t, address, err, want)
	}
	r := open(t, "oci://r.example/team", options())
	for name, want := range map[string]string{
		"acme/guard": "oci://r.example/team/acme/guard:latest", "guard-1.2.3.zip": "oci://r.example/team/guard:1.2.3",
		"old.zip": "oci://r.example/team/old:latest",
	} {
		if got, err := r.base.of(name); err != nil || got.String() != want {
			t.Errorf("%s: %s %v", name, got, err)
		}
	}
	for _, name := range []string{"../guard", "Guard", "", "a//b"} {
		_, err := r.Fetch(t.Context(), name, "")
		wantCode(t, name, err, refusal.SourceName)
	}
	if _, err := Open("oci://r.example/guard:1", options()); refusal.CodeOf(err) != refusal.SourceScheme {
		t.Error(err)
	}
}

// A tag is asked once; what it named is fetched by digest, although the tag moves on.
func TestTagOnce(t *testing.T) {
	f := newFake(t)
	first, second := []byte("PK first"), []byte("PK second")
	f.add("latest", ArtifactType, nil, first)
	moved := false
	f.before = func(http.ResponseWriter, *http.Request) bool {
		if len(f.requests) == 2 && !moved {
			moved = true
			f.add("latest", ArtifactType, nil, second)
		}
		return false
	}
	r := open(t, "oci://"+f.host(), options())
	got, err := r.Fetch(t.Context(), "guard", "")
	if err != nil || !bytes.Equal(got.Archive, first) || !got.PlainHTTP || !strings.Contains(got.Origin, "guard@sha256:") {
		t.Fatalf("%+v %v", got, err)
	}
	if n := len(slices.DeleteFunc(f.requests, func(r string) bool { return !strings.HasSuffix(r, "/latest") })); n != 1 {
		t.Errorf("the tag was asked %d times", n)
	}
	_, err = r.Fetch(t.Context(), "guard", sum(first)[7:])
	wantCode(t, "pinned", err, refusal.SourceDigest)
	got, err = r.Fetch(t.Context(), "guard", sum(second)[7:])
	if err != nil || !bytes.Equal(got.Archive, second) {
		t.Errorf("%v", err)
	}
}

// What a registry may not do, and why it is refused.
func TestRefuses(t *testing.T) {
	good := []byte("PK an archive")
	layer := func(change func(d *ocispec.Descriptor)) func(f *fake) {
		return func(f *fake) { f.add("latest", ArtifactType, func(m *ocispec.Manifest) { change(&m.Layers[0]) }, good) }
	}
	manifest := func(change func(m *ocispec.Manifest)) func(f *fake) {
		return func(f *fake) { f.add("latest", ArtifactType, change, good) }
	}
	status := func(code int) func(f *fake) {
		return func(f *fake) {
			f.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(code); return true }
		}
	}
	tests := []struct {
		name string
		set  func(f *fake)
		want refusal.Code
	}{
		{"nothing there", func(*fake) {}, refusal.SourceMissing},
		{"not JSON", func(f *fake) { f.addRaw("latest", []byte("hello")) }, refusal.SourceManifest},
		{"a container image", manifest(func(m *ocispec.Manifest) { m.ArtifactType = "" }), refusal.SourceManifest},
		{"another artifact", manifest(func(m *ocispec.Manifest) { m.ArtifactType = "application/vnd.cncf.helm" }), refusal.SourceManifest},
		{"an index inside", manifest(func(m *ocispec.Manifest) { m.MediaType = ocispec.MediaTypeImageIndex }), refusal.SourceManifest},
		{"schema 1", manifest(func(m *ocispec.Manifest) { m.SchemaVersion = 1 }), refusal.SourceManifest},
		{"no layer", manifest(func(m *ocispec.Manifest) { m.Layers = nil }), refusal.SourceManifest},
		{"two layers", manifest(func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }), refusal.SourceManifest},
		{"a hundred layers", manifest(func(m *ocispec.Manifest) { m.Layers = slices.Repeat(m.Layers, 100) }), refusal.SourceManifest},
		{"layer of another type", layer(func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageLayerGzip }), refusal.SourceManifest},
		{"layer with no digest", layer(func(d *ocispec.Descriptor) { d.Digest = "" }), refusal.SourceManifest},
		{"layer with another digest", layer(func(d *ocispec.Descriptor) { d.Digest = "sha512:" + d.Digest[7:] }), refusal.SourceManifest},
		{"layer with a path for a digest", layer(func(d *ocispec.Descriptor) { d.Digest = "sha256:../../x" }), refusal.SourceManifest},
		{"layer without a size", layer(func(d *ocispec.Descriptor) { d.Size = 0 }), refusal.SourceManifest},
		{"layer of a negative size", layer(func(d *ocispec.Descriptor) { d.Size = -1 }), refusal.SourceManifest},
		{"layer over the limit", layer(func(d *ocispec.Descriptor) { d.Size = 1 << 40 }), refusal.LimitArchive},
		{"layer not there", func(f *fake) { manifest(nil)(f); clear(f.blobs) }, refusal.SourceMissing},
		{"layer changed", func(f *fake) { manifest(nil)(f); f.blobs[sum(good)] = []byte("PK AN ARCHIVE") }, refusal.SourceDigest},
		{"layer shorter", func(f *fake) { manifest(nil)(f); f.blobs[sum(good)] = good[:5] }, refusal.SourceFailed},
		{"layer longer", func(f *fake) { manifest(nil)(f); f.blobs[sum(good)] = append(bytes.Clone(good), 'x') }, refusal.SourceFailed},
		{"manifest changed", func(f *fake) {
			manifest(nil)(f)
			for ref := range f.manifests {
				if ref != "latest" {
					f.manifests[ref] = append(bytes.Clone(f.manifests[ref]), ' ')
				}
			}
		}, refusal.SourceFailed},
		{"a huge manifest", func(f *fake) { f.addRaw("latest", make([]byte, maxManifest+1)) }, refusal.LimitArchive},
		{"no password", status(http.StatusUnauthorized), refusal.SourceStatus},
		{"forbidden", status(http.StatusForbidden), refusal.SourceStatus},
		{"broken", status(http.StatusInternalServerError), refusal.SourceStatus},
		{"redirects for ever", func(f *fake) {
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, r.URL.Path, http.StatusFound)
				return true
			}
		}, refusal.SourceRedirect},
		{"the password elsewhere", func(f *fake) {
			f.before = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://192.0.2.1/token",service="x"`)
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
		}, refusal.SourceRedirect},
	}
	for _, test := range tests {
		f := newFake(t)
		test.set(f)
		o := options()
		o.Login = func(context.Context, string) (string, string, error) { return "me", "secret", nil }
		_, err := open(t, "oci://"+f.host(), o).Fetch(t.Context(), "guard", "")
		wantCode(t, test.name, err, test.want)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s tells the password: %v", test.name, err)
		}
	}
	t.Logf("%d cases", len(tests))
}

// A registry gets the password that is for it, and the server it redirects to gets none.
func TestPasswords(t *testing.T) {
	var leaked []string
	blobs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked = append(leaked, r.Header.Get("Authorization"))
		_, _ = w.Write([]byte("PK an archive"))
	}))
	defer blobs.Close()
	f := newFake(t)
	f.add("latest", ArtifactType, nil, []byte("PK an archive"))
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		user, password, _ := r.BasicAuth()
		if user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, blobs.URL, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	asked := map[string]bool{}
	o := options()
	o.Login = func(_ context.Context, registry string) (string, string, error) {
		asked[registry] = true
		return "me", "secret", nil
	}
	got, err := open(t, "oci://"+f.host(), o).Fetch(t.Context(), "guard", "")
	if err != nil || string(got.Archive) != "PK an archive" {
		t.Fatalf("%v", err)
	}
	if len(asked) != 1 || !asked[f.host()] {
		t.Errorf("passwords were asked for %v", asked)
	}
	if !slices.Equal(leaked, []string{""}) {
		t.Errorf("the other server got %q", leaked)
	}
}

// A registry that is asked over https cannot have its password sent over http.
func TestTokenServerOverHTTP(t *testing.T) {
	var leaked atomic.Bool
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); ok {
			leaked.Store(true)
		}
		_, _ = w.Write([]byte(`{"token":"x"}`))
	}))
	defer tokens.Close()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token",service="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	o := options()
	o.PlainHTTP = false
	o.TLS = server.Client().Transport.(*http.Transport).TLSClientConfig
	o.Login = func(context.Context, string) (string, string, error) { return "me", "secret", nil }
	_, err := open(t, "oci://"+strings.TrimPrefix(server.URL, "https://"), o).Fetch(t.Context(), "guard", "")
	wantCode(t, "token server over http", err, refusal.SourceFailed)
	if leaked.Load() {
		t.Error("the password went over http")
	}
}

func TestSameSite(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"registry-1.docker.io", "auth.docker.io", true}, {"ghcr.io", "ghcr.io:443", true}, {"registry.gitlab.com:5050", "gitlab.com", true},
		{"ghcr.io", "evil.io", false}, {"a.co.uk", "b.co.uk", false}, {"10.0.0.1", "10.0.0.2", false}, {"10.0.0.1:1", "10.0.0.1:2", true},
		{"a.github.io", "b.github.io", false}, {"localhost:1", "localhost:2", true}, {"[::1]:5000", "[::1]:5001", true},
	} {
		if got := sameSite(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}

// What was fetched once is there when the registry is not, and is not fetched twice.
func TestCache(t *testing.T) {
	cache, err := source.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.add("latest", TykType, nil, []byte("PK tyk"), []byte("{}"))
	o := options()
	o.Cache = cache
	r := open(t, "oci://"+f.host(), o)
	for range 2 {
		got, err := r.Fetch(t.Context(), "old", "")
		if err != nil || string(got.Archive) != "PK tyk" || string(got.Adoption) != "{}" || got.Stale != nil {
			t.Fatalf("%+v %v", got, err)
		}
		if err := got.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	fetched := 0
	for _, request := range f.requests {
		if strings.HasSuffix(request, sum([]byte("PK tyk"))) {
			fetched++
		}
	}
	if fetched != 1 {
		t.Errorf("the archive was fetched %d times", fetched)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	got, err := r.Fetch(t.Context(), "old", "")
	if err != nil || string(got.Archive) != "PK tyk" || string(got.Adoption) != "{}" || refusal.CodeOf(got.Stale) != refusal.SourceStatus {
		t.Fatalf("%+v %v", got, err)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusNotFound); return true }
	_, err = r.Fetch(t.Context(), "old", "")
	wantCode(t, "taken away", err, refusal.SourceMissing)
}

func TestTimeout(t *testing.T) {
	f := newFake(t)
	release := make(chan struct{})
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	o := options()
	o.Timeout = 50 * time.Millisecond
	_, err := open(t, "oci://"+f.host(), o).Fetch(t.Context(), "guard", "")
	wantCode(t, "slow", err, refusal.SourceFailed)
	close(release)
}

func release() Release {
	archive := make([]byte, 300<<10)
	_, _ = rand.Read(archive)
	return Release{Archive: archive, Adoption: []byte(`{"x":1}`), Name: "acme/guard", Version: "1.2.3", Created: time.Unix(1_700_000_000, 0)}
}

// checkRegistry pushes to an empty base, and reads it back.
func checkRegistry(t *testing.T, base, repository string, o Options) {
	r := release()
	seen := int64(0)
	o.Progress = func(done, total int64) { seen = max(seen, done) }
	pushed, err := Push(t.Context(), repository, r, false, o)
	if err != nil {
		t.Fatal(err)
	}
	if seen != int64(len(r.Archive)) || len(pushed.Tags) != 2 || !strings.Contains(pushed.Address, pushed.Digest) {
		t.Errorf("%d bytes, %+v", seen, pushed)
	}
	again, err := Push(t.Context(), repository, r, false, o)
	if err != nil || again.Digest != pushed.Digest {
		t.Errorf("again: %+v %v", again, err)
	}
	from := open(t, base, o)
	for _, name := range []string{"acme/guard", "acme/guard-1.2.3.zip"} {
		got, err := from.Fetch(t.Context(), name, "")
		if err != nil || !bytes.Equal(got.Archive, r.Archive) || !bytes.Equal(got.Adoption, r.Adoption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = from.Fetch(t.Context(), "acme/guard-2.0.0", "")
	wantCode(t, "another version", err, refusal.SourceMissing)
	got, err := Pull(t.Context(), pushed.Address, o)
	if err != nil || !bytes.Equal(got.Archive, r.Archive) || got.Digest != pushed.Digest {
		t.Errorf("by digest: %v", err)
	}
	changed := release()
	_, err = Push(t.Context(), repository, changed, false, o)
	wantCode(t, "the same version again", err, refusal.Republished)
	if _, err = Push(t.Context(), repository, changed, true, o); err != nil {
		t.Error(err)
	}
	if got, err := from.Fetch(t.Context(), "acme/guard", ""); err != nil || !bytes.Equal(got.Archive, changed.Archive) {
		t.Errorf("replaced: %v", err)
	}
	if got, err := Pull(t.Context(), pushed.Address, o); err != nil || !bytes.Equal(got.Archive, r.Archive) {
		t.Errorf("the old one by digest: %v", err)
	}
	_, err = Push(t.Context(), pushed.Address, r, false, o)
	wantCode(t, "push to a digest", err, refusal.SourceScheme)
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	checkRegistry(t, "oci-layout:"+dir, "oci-layout:"+dir, options())
	_, err := open(t, "oci-layout:"+dir+"-none", options()).Fetch(t.Context(), "guard", "")
	wantCode(t, "no folder", err, refusal.SourceMissing)
	_, err = open(t, "oci-layout:"+t.TempDir(), options()).Fetch(t.Context(), "guard", "")
	wantCode(t, "no layout", err, refusal.SourceManifest)
	var blob string
	_ = filepath.WalkDir(dir, func(path string, _ os.DirEntry, _ error) error {
		if info, err := os.Stat(path); err == nil && info.Size() == 300<<10 {
			blob = path
			_ = os.Chmod(path, 0o600)
			_ = os.WriteFile(path, make([]byte, 300<<10), 0o600)
		}
		return nil
	})
	_, err = open(t, "oci-layout:"+dir, options()).Fetch(t.Context(), "acme/guard", "")
	wantCode(t, "changed "+blob, err, refusal.SourceDigest)
}

// A layout that somebody carried here cannot fill the memory, nor lead to what is no file.
func TestHostileLayout(t *testing.T) {
	for name, test := range map[string]struct {
		change func(index string) error
		want   refusal.Code
	}{
		"good":      {func(string) error { return nil }, ""},
		"large":     {func(index string) error { return os.Truncate(index, 1<<40) }, refusal.LimitArchive},
		"no file":   {func(index string) error { return errors.Join(os.Remove(index), os.Symlink("/dev/zero", index)) }, refusal.SourceKind},
		"no layout": {func(index string) error { return os.WriteFile(index, []byte("[]"), 0o600) }, refusal.SourceManifest},
		"nothing":   {func(index string) error { return os.RemoveAll(filepath.Dir(index)) }, refusal.SourceMissing},
	} {
		dir := filepath.Join(t.TempDir(), "layout")
		if _, err := Push(t.Context(), "oci-layout:"+dir, release(), false, options()); err != nil {
			t.Fatal(err)
		}
		if err := test.change(filepath.Join(dir, "index.json")); err != nil {
			t.Fatal(err)
		}
		_, err := Pull(t.Context(), "oci-layout:"+dir+":acme/guard:1.2.3", options())
		wantCode(t, name, err, test.want)
	}
	path := filepath.Join(t.TempDir(), "layout.tar")
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&tar.Header{Name: "index.json", Mode: 0o600, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Pull(t.Context(), "oci-layout:"+path+":acme/guard:1.2.3", options())
	wantCode(t, "large in a tar file", err, refusal.LimitArchive)
}
