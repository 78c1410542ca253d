package shelf_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/turnbuckle-gateway/turnbuckle/bundles"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/archive"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/sign"
	"github.com/turnbuckle-gateway/turnbuckle/bundles/trust"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/bundled"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a publisher, and a gateway's folder.
type world struct {
	t     *testing.T
	dir   string
	key   sign.SecretKey
	log   bytes.Buffer
	tally shelf.Tally
}

func newWorld(t *testing.T) *world {
	key, err := sign.Generate(sign.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), key: key}
	w.put("release.pub", key.Public().PEM())
	return w
}

func (w *world) put(name string, data []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// publish puts a release of the plugin guard into the folder of plugins.
func (w *world) publish(version, main string, keys ...sign.SecretKey) {
	w.t.Helper()
	dir := w.t.TempDir()
	for name, text := range map[string]string{
		"plugin.yaml": "name: guard\nversion: " + version + "\nruntime: js\nhooks: [{name: pre, phase: pre}]\n", "main.js": main,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	data, err := bundles.Build(dir, bundles.BuildOptions{Release: bundles.Release{Name: "guard", Version: version, Created: time.Now()}, Limits: archive.DefaultLimits()})
	for _, k := range keys {
		if err == nil {
			data, err = bundles.Sign(data, k, archive.DefaultLimits())
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.put("plugins/guard.zip", data)
}

func (w *world) shelf(change ...func(*config.BundleSettings)) *shelf.Shelf {
	c := &config.BundleSettings{PublicKeys: []string{filepath.Join(w.dir, "release.pub")}}
	for _, f := range change {
		f(c)
	}
	s := shelf.New(shelf.Options{
		Settings: c, Plugins: filepath.Join(w.dir, "plugins"), Data: filepath.Join(w.dir, "data"), Version: "1.0.0",
		Log: slog.New(slog.NewTextHandler(&w.log, nil)), Tally: &w.tally,
	})
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

// serve loads a definition that names guard, and tells what became of it.
func (w *world) serve(s *shelf.Shelf, state string) *config.Bundle {
	w.t.Helper()
	l := s.Begin(w.t.Context(), nil)
	b, err := l.Open("guard")
	d := &config.Definition{ID: "shop", Bundles: []string{"guard"}}
	if state == "" {
		state = "serving"
		if err != nil {
			w.t.Fatal(err)
		}
	}
	l.Serves([]*config.Definition{d}, map[string]string{"shop": state})
	return b
}

// What runs is told as it runs: a refused release beside the one that goes on, and nothing is told to have changed twice.
func TestShelf(t *testing.T) {
	w := newWorld(t)
	s := w.shelf()
	if s.Changed(t.Context()) {
		t.Error("nobody has named a bundle")
	}
	if _, err := os.Stat(filepath.Join(w.dir, "data")); err == nil {
		t.Error("nobody has named a bundle, and there is a folder of data")
	}
	w.publish("1.0.0", "one", w.key)
	if b := w.serve(s, ""); b.Plugin == nil || b.ID != "guard" || b.Plugin.Script().Files["main.js"] != "one" {
		t.Errorf("%+v", b)
	}
	if s.Changed(t.Context()) {
		t.Error("nothing has changed")
	}
	got := s.Status()
	if len(got.Bundles) != 1 || got.Bundles[0].Running.Verdict.Release.Version != "1.0.0" || !slices.Equal(got.Bundles[0].Definitions, []string{"shop"}) {
		t.Fatalf("%+v", got)
	}

	stranger, err := sign.Generate(sign.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	w.publish("1.1.0", "two", stranger)
	if !s.Changed(t.Context()) || s.Changed(t.Context()) {
		t.Error("a change is told once")
	}
	w.serve(s, "stale")
	e := s.Status().Bundles[0]
	if e.Refused == nil || e.Refused.Reason != "key_unknown" || e.Running.Verdict.Release.Version != "1.0.0" || !slices.Equal(e.Stale, []string{"shop"}) {
		t.Errorf("%+v", e)
	}
	if all := s.Withdrawn(); len(all) > 0 {
		t.Errorf("withdrawn: %v", all)
	}
	decided, err := s.Would([]byte(`{"version":1,"rules":[]}`))
	if err != nil || len(decided) != 1 || decided[0].Reason != "no_rule" {
		t.Errorf("%v, %+v", err, decided)
	}

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(shelf.NewCollector(&w.tally, func() *shelf.Shelf { return s }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			series[f.GetName()] += strings.Join(labels, " ") + ";"
		}
	}
	if got := series["turnbuckle_bundle_refused"]; got != "guard key_unknown;" {
		t.Errorf("refused: %s", got)
	}
	if got := series["turnbuckle_bundle_info"]; !strings.Contains(got, " guard 1000000000000 1.0.0;") {
		t.Errorf("info: %s", got)
	}
	if counts := w.tally.Counts(); counts["loaded"] != 1 || counts["key_unknown"] != 1 {
		t.Errorf("%v", counts)
	}
}

// What was revoked must not go on, whatever is at the source now, and whoever the shelf was inherited from.
func TestWithdrawn(t *testing.T) {
	w := newWorld(t)
	s := w.shelf()
	w.publish("1.0.0", "one", w.key)
	w.serve(s, "")
	state, err := bundled.OpenState(filepath.Join(w.dir, "data"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Revoke(trust.RevokeKey(w.key.Public().ID(), time.Time{}, "stolen")); err != nil {
		t.Fatal(err)
	}
	if !s.Changed(t.Context()) {
		t.Error("a revocation goes unseen")
	}
	if err := os.Remove(filepath.Join(w.dir, "plugins/guard.zip")); err != nil {
		t.Fatal(err)
	}
	next := w.shelf(func(c *config.BundleSettings) { c.Poll = time.Minute })
	next.Inherit(s)
	for name, one := range map[string]*shelf.Shelf{"the same": s, "its heir": next} {
		if b, err := one.Begin(t.Context(), nil).Open("guard"); err == nil {
			t.Errorf("%s: opened %+v", name, b)
		}
		if all := one.Withdrawn(); !slices.Equal(all, []string{"shop"}) {
			t.Errorf("%s: withdrawn: %v", name, all)
		}
	}
	w.serve(s, "refused")
	if got := s.Status().Bundles; len(got) != 1 || got[0].Running != nil || got[0].Refused.Reason != "source_not_found" {
		t.Errorf("%+v", got)
	}
}

// Looking accepts nothing, tells nobody, and leaves no trace.
func TestLook(t *testing.T) {
	w := newWorld(t)
	w.publish("1.0.0", "one", w.key)
	settings := config.DefaultSettings()
	settings.Plugins, settings.Store.Path = filepath.Join(w.dir, "plugins"), filepath.Join(w.dir, "data")
	settings.Bundles.PublicKeys = []string{filepath.Join(w.dir, "release.pub")}
	s, end, err := shelf.ForCheck(&settings, "1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	look := shelf.NewLooking(t.Context(), s, nil)
	if _, err := look.Open("guard"); err != nil {
		t.Error(err)
	}
	if !look.Among("guard") || look.Among("../plugins/guard") || look.Among("other") {
		t.Error("among")
	}
	if all := look.PluginsOf(&config.Definition{Bundles: []string{"guard"}}); len(all) != 1 || all[0].Name != "guard" {
		t.Errorf("%v", all)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(settings.Store.Path); err == nil {
		t.Error("there is a folder of data")
	}
}

// Trust that cannot be read refuses what needs it, and is read again when its files have changed.
func TestBrokenTrust(t *testing.T) {
	w := newWorld(t)
	w.publish("1.0.0", "one", w.key)
	key, err := os.ReadFile(filepath.Join(w.dir, "release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	w.put("release.pub", []byte("no key"))
	s := w.shelf()
	w.serve(s, "refused")
	if got := s.Status(); got.Problem == "" || got.Bundles[0].Refused.Reason != "key_file" {
		t.Errorf("%+v", got)
	}
	w.put("release.pub", key)
	if !s.Changed(t.Context()) {
		t.Error("the key's file has changed")
	}
	w.serve(s, "")
	w.put("release.pub", []byte("no key again"))
	if !s.Changed(t.Context()) {
		t.Error("the key's file has changed back")
	}
	w.serve(s, "") // by the trust before
	if got := s.Status(); got.Problem == "" || got.Bundles[0].Running == nil {
		t.Errorf("%+v", got)
	}
}
