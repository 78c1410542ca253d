package run

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/upstream"
)

// families is what is exported, by name: the label values of each series joined.
func families(t *testing.T, r *prometheus.Registry) map[string]map[string]float64 {
	t.Helper()
	gathered, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]float64{}
	for _, f := range gathered {
		all[f.GetName()] = map[string]float64{}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			all[f.GetName()][strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// Plugin servers and targets are exported from when they are opened until they are closed.
func TestWatchOutside(t *testing.T) {
	v := &sight{log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()}
	s, all := outside.NewServers(v.log, "test"), outside.NewTargets()
	inside := scripts.New(v.log)
	defer inside.Close()
	v.watch(s, all, inside)
	socket := filepath.Join(t.TempDir(), "nobody")
	server, err := s.Get(t.Context(), "doorman", config.PluginServer{Address: "unix:" + socket})
	if err != nil {
		t.Fatal(err)
	}
	d := &config.Definition{ID: "shop", Upstream: config.Upstream{Targets: []config.Target{{URL: "http://127.0.0.1:1", Weight: 1}, {URL: "http://127.0.0.1:2", Weight: 1}}}}
	o := &outside.Opener{Ctx: t.Context(), Servers: s, Targets: all, Notify: func(*config.Definition, upstream.Event) {}}
	first, err := o.Upstream(d, "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.Upstream(d, "http://127.0.0.1:2") // a version's own target, which is another's, too
	if err != nil {
		t.Fatal(err)
	}
	got := families(t, v.registry)
	want := map[string]float64{"shop http://127.0.0.1:1": 1, "shop http://127.0.0.1:2": 1}
	if diff := cmp.Diff(want, got["turnbuckle_upstream_target_up"]); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]float64{socket + " doorman": 0}, got["turnbuckle_plugin_up"]); diff != "" {
		t.Errorf("plugin servers (-want +got):\n%s", diff)
	}
	if states := got["turnbuckle_plugin_state"]; len(states) != 7 || states[socket+" doorman connecting"]+states[socket+" doorman down"] != 1 {
		t.Errorf("states %v", states)
	}
	for _, c := range []interface{ Close(context.Context) error }{first, again} {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if got := families(t, v.registry); len(got) != 0 {
		t.Errorf("still exported: %v", got)
	}
}
