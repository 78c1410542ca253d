package bundled_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/manifest"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/refusal"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func now() time.Time { return time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantCode(t *testing.T, what string, err error, want refusal.Code) {
	t.Helper()
	if got := refusal.CodeOf(err); got != want {
		t.Errorf("%s: %q, want %q (%v)", what, got, want, err)
	}
}

// a world is a publisher and a gateway's folder.
type world struct {
	t       *testing.T
	dir     string // with bundles in plugins and data
	key     sign.SecretKey
	public  string
	log     bytes.Buffer
	decided []bundled.Decision
	mu      sync.Mutex
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), key: must[sign.SecretKey](t)(sign.Generate(sign.Ed25519))}
	w.public = w.write("release.pub", w.key.Public().PEM())
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := w.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// bundle builds a release of a plugin, signed by keys.
func (w *world) bundle(name, version string, keys ...sign.SecretKey) []byte {
	w.t.Helper()
	dir := w.t.TempDir()
	text := "name: " + filepath.Base(name) + "\nversion: " + version + "\nruntime: js\n"
	if err := os.WriteFile(filepath.Join(dir, "plugin.yaml"), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	data := must[[]byte](w.t)(bundles.Build(dir, bundles.BuildOptions{
		Release: bundles.Release{Name: name, Version: version, Created: now()}, Limits: archive.DefaultLimits(),
	}))
	for _, k := range keys {
		data = must[[]byte](w.t)(bundles.Sign(data, k, archive.DefaultLimits()))
	}
	return data
}

func (w *world) settings() bundled.Settings {
	return bundled.Settings{
		Base: w.path("plugins"), Data: w.path("data"), Trust: bundled.Trust{PublicKeys: []string{w.public}}, Now: now,
		Host: bundled.Host("1.0.0"), Log: slog.New(slog.NewTextHandler(&w.log, nil)),
		Observe: func(d bundled.Decision) { w.mu.Lock(); defer w.mu.Unlock(); w.decided = append(w.decided, d) },
	}
}

func (w *world) open(s bundled.Settings) *bundled.Loader {
	w.t.Helper()
	l := must[*bundled.Loader](w.t)(bundled.Open(w.t.Context(), s))
	w.t.Cleanup(func() {
		if err := l.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return l
}

func TestLoad(t *testing.T) {
	w := newWorld(t)
	w.write("plugins/acme/guard.zip", w.bundle("acme/guard", "1.0.0", w.key))
	w.write("plugins/bare.zip", w.bundle("bare", "1.0.0"))
	l := w.open(w.settings())
	b, err := l.Load(t.Context(), "acme/guard")
	if err != nil {
		t.Fatal(err)
	}
	if v := b.Verdict(); v.Release.Version != "1.0.0" || v.Keys[0] != w.key.Public().ID() {
		t.Errorf("%+v", v)
	}
	_, err = l.Load(t.Context(), "bare")
	wantCode(t, "unsigned", err, refusal.Unsigned)
	_, err = l.Load(t.Context(), "gone")
	wantCode(t, "gone", err, refusal.SourceMissing)
	_, err = l.LoadAll(t.Context(), "acme/guard", "bare")
	wantCode(t, "one of two", err, refusal.Unsigned)
	if counts := l.Counts(); counts["loaded"] != 1 || counts["unsigned"] != 2 || counts["source_not_found"] != 1 {
		t.Errorf("%v", counts)
	}
	for _, part := range []string{
		`level=INFO msg="bundle loaded" bundle=acme/guard`, "version=1.0.0", "keys=" + w.key.Public().ID(), "rule=*",
		`level=ERROR msg="bundle refused" bundle=bare`, "reason=unsigned", "--allow-unsigned",
	} {
		if !strings.Contains(w.log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, &w.log)
		}
	}
	if len(w.decided) != 4 || !w.decided[0].OK || w.decided[1].Reason != refusal.Unsigned || w.decided[1].Advice == "" {
		t.Errorf("%+v", w.decided)
	}
	if held := l.Held(); len(held) != 1 || held[0].Name != "acme/guard" {
		t.Errorf("%+v", held)
	}

	w.write("plugins/acme/guard.zip", w.bundle("acme/guard", "1.1.0", w.key))
	if d := l.Check(t.Context(), "acme/guard"); !d.OK || d.Verdict.Release.Version != "1.1.0" {
		t.Errorf("%+v", d)
	}
	must[*bundles.Bundle](t)(l.Load(t.Context(), "acme/guard"))
	w.write("plugins/acme/guard.zip", w.bundle("acme/guard", "1.0.0", w.key))
	_, err = l.Load(t.Context(), "acme/guard")
	wantCode(t, "older", err, refusal.Rollback)
	if held := l.Held(); held[0].Verdict.Release.Version != "1.1.0" {
		t.Errorf("what was refused is held: %+v", held)
	}
	// A new process remembers.
	_, err = w.open(w.settings()).Load(t.Context(), "acme/guard")
	wantCode(t, "older, after a restart", err, refusal.Rollback)
}

func TestUnsignedAndDoubts(t *testing.T) {
	w := newWorld(t)
	w.write("plugins/bare.zip", w.bundle("bare", "1.0.0"))
	s := w.settings()
	s.Trust.AllowUnsigned = []string{"bare"}
	l := w.open(s)
	must[*bundles.Bundle](t)(l.Load(t.Context(), "bare"))
	if doubts := w.decided[0].Doubts(); !slices.Equal(doubts, []string{"unsigned"}) {
		t.Errorf("%v", doubts)
	}
	if !strings.Contains(w.log.String(), "level=WARN") || !strings.Contains(w.log.String(), "unsigned=true") {
		t.Errorf("%s", &w.log)
	}
}

func TestStateGone(t *testing.T) {
	w := newWorld(t)
	w.write("plugins/guard.zip", w.bundle("guard", "1.0.0", w.key))
	must[*bundles.Bundle](t)(w.open(w.settings()).Load(t.Context(), "guard"))
	if err := os.Remove(w.path("data/trust.json")); err != nil {
		t.Fatal(err)
	}
	_, err := bundled.Open(t.Context(), w.settings())
	wantCode(t, "gone", err, refusal.StateMissing)
	s := w.settings()
	s.AcceptNewState = true
	must[*bundles.Bundle](t)(w.open(s).Load(t.Context(), "guard"))
}

// A key ring or an index that was believed is something to remember too, though no bundle was loaded yet.
func TestStateGoneAfterKeyRing(t *testing.T) {
	w := newWorld(t)
	_, pin := w.ring(1, w.key, nil)
	s := w.settings()
	s.Trust = bundled.Trust{KeyRing: w.path("ring"), KeyRingSHA256: pin}
	w.open(s)
	if err := os.Remove(w.path("data/trust.json")); err != nil {
		t.Fatal(err)
	}
	_, err := bundled.Open(t.Context(), s)
	wantCode(t, "gone", err, refusal.StateMissing)
}

// ring is a key ring whose root is w's key, with a publisher's key.
func (w *world) ring(version uint64, publisher sign.SecretKey, change func(r *trust.KeyRing)) (sign.Envelope, string) {
	r := &trust.KeyRing{Schema: 1, Version: version, Expires: manifest.At(now().Add(time.Hour))}
	keys := []sign.SecretKey{w.key}
	if publisher.Public().ID() != w.key.Public().ID() {
		keys = append(keys, publisher)
	}
	for _, k := range keys {
		r.Keys = append(r.Keys, trust.Key{ID: k.Public().ID(), SPKI: k.Public().SPKI()})
	}
	r.Root = trust.Role{Keys: []string{w.key.Public().ID()}, Threshold: 1}
	r.Index = r.Root
	r.Publishers = []trust.Publisher{{Names: []string{"*"}, Role: trust.Role{Keys: []string{publisher.Public().ID()}, Threshold: 1}}}
	if change != nil {
		change(r)
	}
	e := must[sign.Envelope](w.t)(sign.NewEnvelope(trust.KeyRingType, must[[]byte](w.t)(r.Encode())).Sign(w.key))
	w.write("ring/"+bundled.RingFile(version), must[[]byte](w.t)(e.Encode()))
	return e, e.Digest()
}

// A gateway follows the key ring while it runs: new keys, revoked ones, and nothing older than what it has seen.
func TestKeyRing(t *testing.T) {
	w := newWorld(t)
	first, second := must[sign.SecretKey](t)(sign.Generate(sign.Ed25519)), must[sign.SecretKey](t)(sign.Generate(sign.Ed25519))
	_, pin := w.ring(1, first, nil)
	w.write("plugins/guard.zip", w.bundle("guard", "1.0.0", first))
	s := w.settings()
	s.Trust = bundled.Trust{KeyRing: w.path("ring"), KeyRingSHA256: pin}
	l := w.open(s)
	must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))
	w.write("plugins/guard.zip", w.bundle("guard", "1.0.1", second))
	_, err := l.Load(t.Context(), "guard")
	wantCode(t, "a key that is not there yet", err, refusal.KeyUnknown)

	w.ring(2, second, func(r *trust.KeyRing) {
		r.Keys = append(r.Keys, trust.Key{ID: first.Public().ID(), SPKI: first.Public().SPKI()})
		r.Publishers[0].Keys = append(r.Publishers[0].Keys, first.Public().ID())
		r.Revoked = trust.RevokeKey(first.Public().ID(), time.Time{}, "stolen")
	})
	would, err := l.WouldLoad(t.Context(), s.Trust)
	if err != nil || len(would) != 1 || would[0].Reason != refusal.KeyRevoked {
		t.Errorf("%+v %v", would, err)
	}
	if still := l.Recheck(); !still[0].OK {
		t.Errorf("a dry run changed something: %+v", still)
	}
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := l.Recheck(); now[0].Reason != refusal.KeyRevoked {
		t.Errorf("%+v", now)
	}
	must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))

	// Version 2 is taken away: what was seen stays in force.
	if err := os.Remove(w.path("ring/2.dsse.json")); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "an older ring", l.Reload(t.Context()), refusal.KeyRingRollback)
	must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))
	if !strings.Contains(w.log.String(), "the one before stays") || l.Counts()["trust_key_ring_rollback"] != 1 {
		t.Errorf("%s", &w.log)
	}
	_, err = bundled.Open(t.Context(), s)
	wantCode(t, "an older ring after a restart", err, refusal.KeyRingRollback)

	for _, test := range []struct {
		name string
		with bundled.Trust
		want refusal.Code
	}{
		{"no pin", bundled.Trust{KeyRing: w.path("ring")}, refusal.KeyRingPin},
		{"another pin", bundled.Trust{KeyRing: w.path("ring"), KeyRingSHA256: strings.Repeat("0", 64)}, refusal.KeyRingPin},
		{"keys besides", bundled.Trust{KeyRing: w.path("ring"), KeyRingSHA256: pin, PublicKeys: []string{w.public}}, refusal.KeyRingMalformed},
		{"no ring", bundled.Trust{KeyRing: w.path("none"), KeyRingSHA256: pin}, refusal.SourceMissing},
		{"no key file", bundled.Trust{PublicKeys: []string{w.path("none")}}, refusal.KeyFile},
		{"no key in it", bundled.Trust{PublicKeys: []string{w.path("plugins/guard.zip")}}, refusal.KeyFile},
		{"policy besides", bundled.Trust{Policy: w.write("p.json", []byte(`{}`)), TrustTykWiring: true}, refusal.PolicyMalformed},
		{"policy unreadable", bundled.Trust{Policy: w.path("p.json")}, refusal.PolicyMalformed},
		{"ring in a file", bundled.Trust{KeyRing: w.path("ring/1.dsse.json"), KeyRingSHA256: pin}, ""},
	} {
		_, err := test.with.Read(t.Context(), now(), nil)
		wantCode(t, test.name, err, test.want)
	}
}

// The index comes from a server, from the cache when that is gone, and does not go back.
func TestIndexOverHTTP(t *testing.T) {
	w := newWorld(t)
	guard := w.bundle("guard", "1.0.0", w.key)
	_, pin := w.ring(1, must[sign.SecretKey](t)(sign.Generate(sign.Ed25519)), func(r *trust.KeyRing) {
		r.Publishers[0].Keys = r.Root.Keys
	})
	publish := func(version uint64, archives ...[]byte) []byte {
		x := &trust.Index{Schema: 1, Version: version, Expires: manifest.At(now().Add(time.Hour)), Bundles: []trust.Listed{}}
		for _, a := range archives {
			x.Bundles = append(x.Bundles, must[trust.Listed](t)(bundles.List(a, nil, archive.DefaultLimits())))
		}
		e := must[sign.Envelope](t)(sign.NewEnvelope(trust.IndexType, must[[]byte](t)(x.Encode())).Sign(w.key))
		return must[[]byte](t)(e.Encode())
	}
	old, current := publish(1, guard), publish(2, guard)
	served, down := current, false
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case down:
			rw.WriteHeader(http.StatusBadRequest)
		case r.URL.Path == "/b/index.dsse.json":
			_, _ = rw.Write(served)
		case r.URL.Path == "/b/guard.zip":
			_, _ = rw.Write(guard)
		default:
			rw.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	s := w.settings()
	s.Base = server.URL + "/b"
	s.Trust = bundled.Trust{
		KeyRing: w.path("ring"), KeyRingSHA256: pin, Index: server.URL + "/b/index.dsse.json",
		Policy: w.write("policy.json", []byte(`{"version":1,"rules":[{"name":"*","require_index":true}]}`)),
	}
	l := w.open(s)
	must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))
	set := func(index []byte, gone bool) { mu.Lock(); defer mu.Unlock(); served, down = index, gone }
	set(old, false)
	wantCode(t, "an old index", l.Reload(t.Context()), refusal.IndexRollback)
	set(current, false)
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Forget([]string{"guard"}); err != nil {
		t.Fatal(err)
	}
	set(current, true)
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	must[*bundles.Bundle](t)(l.Load(t.Context(), "guard"))
	if last := w.decided[len(w.decided)-1]; !slices.Contains(last.Doubts(), "stale") {
		t.Errorf("%+v", last)
	}
	set(publish(3), false)
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := l.Load(t.Context(), "guard")
	wantCode(t, "no longer listed", err, refusal.IndexMissing)
	if err := l.Forget(nil); err != nil || len(l.Held()) != 0 {
		t.Errorf("%v %v", err, l.Held())
	}
}

// Loads, reloads and rechecks at once.
func TestConcurrently(t *testing.T) {
	w := newWorld(t)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		w.write("plugins/"+name+".zip", w.bundle(name, "1.0.0", w.key))
	}
	s := w.settings()
	s.Log = nil
	l := w.open(s)
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			for range 10 {
				if _, err := l.Load(context.WithoutCancel(t.Context()), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for range 10 {
			if err := l.Reload(t.Context()); err != nil {
				t.Error(err)
			}
			l.Recheck()
			l.Counts()
		}
	})
	all.Wait()
	if len(l.Held()) != 3 || l.Counts()["loaded"] != 30 {
		t.Errorf("%v", l.Counts())
	}
}

func TestSources(t *testing.T) {
	w := newWorld(t)
	for base, want := range map[string]refusal.Code{
		"": refusal.SourceMissing, "ftp://x/y": refusal.SourceScheme, "oci://": refusal.SourceScheme,
		"oci-layout:" + w.dir: "", "http://x": "", "https://x/b": "", w.dir: "",
	} {
		s := w.settings()
		s.Base = base
		l, err := bundled.Open(t.Context(), s)
		wantCode(t, base, err, want)
		if err == nil {
			_ = l.Close()
		}
	}
}

func TestDescribe(t *testing.T) {
	for text, want := range map[string]string{
		"name: guard\nversion: 1.2.3\n": "guard 1.2.3", "version: 1.0\n": " 1.0", "name: [a]\n": " ", "name: a\nname: b\n": "error", "": "error",
	} {
		name, version, err := bundled.Describe([]byte(text))
		if got := name + " " + version; err == nil && got != want || err != nil && want != "error" {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
}
