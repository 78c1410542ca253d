package observe

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// exposition is what a scrape of the collectors reads. The registry is pedantic: it holds them to what they describe.
func exposition(t *testing.T, collectors ...prometheus.Collector) []byte {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Error(err)
		}
	}
	return text.Bytes()
}

// gather is the scrape parsed again.
func gather(t *testing.T, collectors ...prometheus.Collector) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(exposition(t, collectors...)))
	if err != nil {
		t.Error(err)
	}
	return families
}

func sum(f *dto.MetricFamily) (total float64) {
	for _, m := range f.GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return total
}

func observations(f *dto.MetricFamily) (n uint64) {
	for _, m := range f.GetMetric() {
		n += m.GetHistogram().GetSampleCount()
	}
	return n
}

// series is a family as labels, "name=value,…" in order, to value.
func series(f *dto.MetricFamily) map[string]float64 {
	all := map[string]float64{}
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		all[strings.Join(labels, ",")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return all
}

// busy is a Metrics with something in every family.
func busy() *Metrics {
	m := NewMetrics()
	r := m.Route("shop").Shard(0)
	r.Begin()
	r.Begin()
	r.End(200, 5*time.Millisecond, 3*time.Millisecond, 10, 20)
	r.Begin()
	r.End(0, time.Millisecond, 0, 0, 0)
	m.Route("shop").Shard(3).Begin()
	m.Route("shop").Shard(3).End(503, 10*time.Second, 0, 1, 2)
	h := m.Hook(HookKey{"shop", sdk.Auth, "doorman", "CheckToken"})
	h.Shard(1).Done(sdk.OutcomeRefused, time.Millisecond)
	h.Shard(1).Timings(sdk.CallTimings{Encode: time.Microsecond, Queue: 2 * time.Microsecond, Wire: time.Millisecond, Apply: 3 * time.Microsecond})
	h.Count("unknown_token", 4)
	m.Event("AuthFailure", "shop")
	m.Tap("doorman/Traffic").Dropped.Add(7)
	m.Tap("doorman/Traffic").Failed.Add(2)
	m.Loaded(3, 1, false)
	m.Loaded(4, 1, true)
	return m
}

func TestCollector(t *testing.T) {
	families := gather(t, NewCollector(busy()))
	want := map[string]map[string]float64{
		"turnbuckle_requests_total":         {"code=200,route=shop": 1, "code=503,route=shop": 1, "code=other,route=shop": 1},
		"turnbuckle_requests_in_flight":     {"route=shop": 1},
		"turnbuckle_request_bytes_total":    {"route=shop": 11},
		"turnbuckle_reply_bytes_total":      {"route=shop": 22},
		"turnbuckle_hook_calls_total":       {"hook=CheckToken,outcome=ok,phase=auth,route=shop,server=doorman": 0, "hook=CheckToken,outcome=refused,phase=auth,route=shop,server=doorman": 1},
		"turnbuckle_hook_counted":           {"hook=CheckToken,name=unknown_token,phase=auth,route=shop,server=doorman": 4},
		"turnbuckle_observer_dropped_total": {"observer=doorman/Traffic": 7},
		"turnbuckle_observer_failed_total":  {"observer=doorman/Traffic": 2},
		"turnbuckle_events_total":           {"route=shop,type=AuthFailure": 1},
		"turnbuckle_routes":                 {"": 4},
		"turnbuckle_routes_refused":         {"": 1},
		"turnbuckle_reloads_total":          {"result=ok": 1, "result=failed": 1},
	}
	for name, w := range want {
		if diff := cmp.Diff(w, series(families[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	h := families["turnbuckle_request_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 3 || h.GetSampleSum() != 10.006 || len(h.GetBucket()) != histogramBuckets+1 { // and +Inf
		t.Errorf("got %v", h)
	}
	for _, b := range h.GetBucket() {
		want := uint64(0)
		for _, took := range []float64{0.001, 0.005, 10} {
			if took <= b.GetUpperBound() {
				want++
			}
		}
		if b.GetCumulativeCount() != want {
			t.Errorf("%v up to %v, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
		}
	}
	stages := map[string]float64{}
	for _, m := range families["turnbuckle_hook_stage_duration_seconds"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "stage" {
				stages[l.GetValue()] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	if diff := cmp.Diff(map[string]float64{"encode": 1e-6, "queue": 2e-6, "wire": 1e-3, "apply": 3e-6}, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	l, err := NewAccessLog(io.Discard, true, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close(context.Background()) }()
	text := exposition(t, NewCollector(busy()), NewAccessLogCollector(l.Dropped),
		NewTracerCollector((&Tracer{export: &export{}}).Dropped),
		NewPluginCollector([]string{"ready"}, func() []PluginInstance { return []PluginInstance{{Server: "s", State: "ready"}} }),
		NewTargetCollector(func() []Target { return []Target{{Route: "r", Name: "t"}} }))
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, d := range NewCollector(NewMetrics()).d.all() {
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		if name, _, _ := strings.Cut(rest, `"`); !bytes.Contains(text, []byte("# TYPE "+name+" ")) {
			t.Errorf("%s is not exported", name)
		}
	}
}

// What is not UTF-8 must not cost the scrape, nor make two series of one name.
func TestCollectorOddLabels(t *testing.T) {
	m := NewMetrics()
	for _, odd := range []string{"a\xff", "a\xfe", "quote\"", "line\nfeed", "back\\slash", ""} {
		s := m.Route(odd).Shard(0)
		s.Begin()
		s.End(200, 1, 1, 1, 1)
		h := m.Hook(HookKey{odd, sdk.Pre, odd, odd})
		h.Shard(0).Done(sdk.OutcomeOK, 1)
		h.Count(odd, 1)
		m.Event(odd, odd)
		m.Tap(odd).Failed.Add(1)
	}
	rows := []PluginInstance{{Server: "a\xff", Address: "b"}, {Server: "a\xfe", Address: "b"}}
	targets := []Target{{Route: "a\xff", Name: "b"}, {Route: "a\xfe", Name: "b"}}
	families := gather(t, NewCollector(m), NewPluginCollector([]string{"ready"}, func() []PluginInstance { return rows }),
		NewTargetCollector(func() []Target { return targets }))
	want := map[string]float64{
		"code=200,route=a\ufffd": 2, "code=200,route=quote\"": 1, "code=200,route=line\nfeed": 1, "code=200,route=back\\slash": 1,
		"code=200,route=": 1,
	}
	if diff := cmp.Diff(want, series(families["turnbuckle_requests_total"])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, name := range []string{"turnbuckle_hook_calls_total", "turnbuckle_hook_counted", "turnbuckle_events_total", "turnbuckle_observer_failed_total"} {
		if n := len(families[name].GetMetric()); n != 5 || sum(families[name]) != 6 {
			t.Errorf("%s: %d series, sum %v", name, n, sum(families[name]))
		}
	}
}

func TestPluginCollector(t *testing.T) {
	rows := []PluginInstance{
		{Server: "b", Address: "x", State: "down"},
		{Server: "a", Address: "x", State: "down", Calls: 1, InFlight: 1}, // of the connection that a reload replaces
		{Server: "a", Address: "y", State: "ready", Up: true, Calls: 100},
		{Server: "a", Address: "x", State: "ready", Up: true, Calls: 30, Frames: 3, LateReplies: 4, UnknownReplies: 5, Waiting: 6, InFlight: 7},
	}
	families := gather(t, NewPluginCollector([]string{"ready", "down"}, func() []PluginInstance { return rows }))
	for name, want := range map[string]map[string]float64{
		"turnbuckle_plugin_up":                    {"address=x,server=a": 1, "address=y,server=a": 1, "address=x,server=b": 0},
		"turnbuckle_plugin_calls_total":           {"address=x,server=a": 31, "address=y,server=a": 100, "address=x,server=b": 0},
		"turnbuckle_plugin_frames_total":          {"address=x,server=a": 3, "address=y,server=a": 0, "address=x,server=b": 0},
		"turnbuckle_plugin_late_replies_total":    {"address=x,server=a": 4, "address=y,server=a": 0, "address=x,server=b": 0},
		"turnbuckle_plugin_unknown_replies_total": {"address=x,server=a": 5, "address=y,server=a": 0, "address=x,server=b": 0},
		"turnbuckle_plugin_calls_waiting":         {"address=x,server=a": 6, "address=y,server=a": 0, "address=x,server=b": 0},
		"turnbuckle_plugin_calls_in_flight":       {"address=x,server=a": 8, "address=y,server=a": 0, "address=x,server=b": 0},
		"turnbuckle_plugin_state": {
			"address=x,server=a,state=ready": 1, "address=y,server=a,state=ready": 1, "address=x,server=b,state=ready": 0,
			"address=x,server=a,state=down": 0, "address=y,server=a,state=down": 0, "address=x,server=b,state=down": 1,
		},
	} {
		if diff := cmp.Diff(want, series(families[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if rows[0].Server != "b" {
		t.Error("the caller's rows were changed")
	}
}

func TestTargetCollector(t *testing.T) {
	rows := []Target{{"shop", "http://b", false, 0}, {"shop", "http://a", false, 1}, {"shop", "http://a", true, 2}, {"blog", "http://a", true, 0}}
	families := gather(t, NewTargetCollector(func() []Target { return rows }))
	for name, want := range map[string]map[string]float64{
		"turnbuckle_upstream_target_up":                 {"route=shop,target=http://a": 1, "route=shop,target=http://b": 0, "route=blog,target=http://a": 1},
		"turnbuckle_upstream_target_requests_in_flight": {"route=shop,target=http://a": 3, "route=shop,target=http://b": 0, "route=blog,target=http://a": 0},
	} {
		if diff := cmp.Diff(want, series(families[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A scrape that is not read on must not stop requests.
func TestSlowScrape(t *testing.T) {
	m := busy()
	ch := make(chan prometheus.Metric)
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewCollector(m).Collect(ch)
	}()
	<-ch // under way, and stuck
	m.Event("New", "new")
	m.Route("new")
	m.Hook(HookKey{Name: "new"}).Count("new", 1)
	m.Hook(HookKey{"shop", sdk.Auth, "doorman", "CheckToken"}).Count("new", 1)
	go func() {
		<-done
		close(ch)
	}()
	for range ch {
	}
}
