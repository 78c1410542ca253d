package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/turnbuckle-gateway/turnbuckle/bundles/source"
)

// fake is a registry that can be read and that lies when it is told to.
type fake struct {
	*httptest.Server
	mu        sync.Mutex
	manifests map[string][]byte // by tag and by digest
	types     map[string]string
	blobs     map[string][]byte
	requests  []string
	// before, if set, may answer a request itself.
	before func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t testing.TB) *fake {
	f := &fake{manifests: map[string][]byte{}, types: map[string]string{}, blobs: map[string][]byte{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) host() string { return strings.TrimPrefix(f.URL, "http://") }

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(s[:])
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	if f.before != nil && f.before(w, r) {
		return
	}
	kind, ref := "", ""
	if i := strings.Index(r.URL.Path, "/manifests/"); i >= 0 {
		kind, ref = "manifest", r.URL.Path[i+len("/manifests/"):]
	} else if i := strings.Index(r.URL.Path, "/blobs/"); i >= 0 {
		kind, ref = "blob", r.URL.Path[i+len("/blobs/"):]
	}
	data, ok := f.blobs[ref]
	if kind == "manifest" {
		data, ok = f.manifests[ref]
	}
	if kind == "" || !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if kind == "manifest" {
		mediaType := f.types[ref]
		if mediaType == "" {
			mediaType = ocispec.MediaTypeImageManifest
		}
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Docker-Content-Digest", sum(data))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

// add puts a manifest there under a tag and its digest, after change, and its layers.
func (f *fake) add(tag string, artifact string, change func(m *ocispec.Manifest), contents ...[]byte) {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifact, Config: ocispec.DescriptorEmptyJSON}
	m.SchemaVersion = 2
	for i, c := range contents {
		mediaType := archiveLayer
		if artifact == TykType {
			mediaType = []string{tykLayer, adoptionLayer}[i%2]
		}
		f.blobs[sum(c)] = c
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(sum(c)), Size: int64(len(c))})
	}
	if change != nil {
		change(&m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	f.addRaw(tag, data)
}

func (f *fake) addRaw(tag string, data []byte) {
	f.manifests[tag], f.manifests[sum(data)] = data, data
}

// nobody is not known anywhere.
func nobody(context.Context, string) (user, password string, err error) { return "", "", nil }

func options() Options {
	return Options{Limits: source.DefaultLimits(), PlainHTTP: true, Attempts: 1, Login: nobody}
}
