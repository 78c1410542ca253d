package host

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// TestGroupNotes: what the hooks of one call log and count goes under the name of the hook that did; an index that is
// none of theirs under nobody's.
func TestGroupNotes(t *testing.T) {
	m := observe.NewMetrics()
	step := &hookStep{name: "First+Second", server: "s", phase: sdk.Pre}
	for _, name := range []string{"First", "Second"} {
		step.stats = append(step.stats, m.Hook(observe.HookKey{Route: "r", Phase: sdk.Pre, Server: "s", Name: name}))
	}
	var log bytes.Buffer
	f := &flow.Flow{Ctx: t.Context()}
	f.X.Reset(sdk.Init{Backing: f})
	f.Sink = &state{f: f, hook: step, route: &Route{info: sdk.Route{ID: "r"}}, gate: &Gateway{log: slog.New(slog.NewTextHandler(&log, nil))}}
	for i := -1; i < 3; i++ {
		f.X.HookLog(i, slog.LevelInfo, "line")
		f.HookLog(i, slog.LevelInfo, "told")
		f.HookCount(i, "things", int64(10+i))
	}
	for what, want := range map[string]int{"hook=First ": 3, "hook=Second ": 2, "hook=First+Second": 0} {
		if got := strings.Count(log.String(), what); got != want {
			t.Errorf("%d lines have %q, want %d:\n%s", got, what, want, log.String())
		}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(observe.NewCollector(m))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range metric.GetLabel() {
				labels[l.GetValue()] = l.GetName()
			}
			for _, hook := range []string{"First", "Second"} {
				if labels["things"] != "" && labels[hook] != "" {
					counts[hook] += metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
				}
			}
		}
	}
	if counts["First"] != 10 || counts["Second"] != 11 {
		t.Errorf("got counters %v, want 10 and 11", counts)
	}
}
