package observe

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// PluginInstance is one address of a plugin server as it stands. The counts are those of its present connection: they
// begin anew with the next, which Prometheus takes for the restart that it is.
type PluginInstance struct {
	Server  string // its name
	Address string
	State   string // one of the collector's states
	Up      bool   // it takes calls

	Calls          uint64
	Frames         uint64 // that held calls; 0 where calls travel one by one
	LateReplies    uint64 // to calls that nobody waited for any more
	UnknownReplies uint64 // to calls that never were
	Waiting        int    // calls without credit
	InFlight       int    // calls without reply
}

// Target is one target of a route's upstream as it stands.
type Target struct {
	Route    string // its ID
	Name     string // such as http://127.0.0.1:9000
	Up       bool   // requests are sent to it
	InFlight int
}

// Script is a plugin that runs inside the gateway as it stands. Counts never fall while the gateway runs.
type Script struct {
	Name        string // of the plugin
	Quarantined bool   // its calls fail at once, for it went over its bounds again and again

	Calls, Errors       int64 // calls, and those that failed
	Timeouts, Oversized int64 // of those that failed: over their time; over another bound
	Quarantines         int64 // times it went into quarantine
	Refused             int64 // calls that were not made meanwhile
	Made, Discarded     int64 // interpreters, and those that were thrown away
}

// asked is a collector that asks somebody else at each scrape.
type asked struct {
	descs   []*prometheus.Desc
	collect func(ch chan<- prometheus.Metric)
}

func (a *asked) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range a.descs {
		ch <- d
	}
}

func (a *asked) Collect(ch chan<- prometheus.Metric) { a.collect(ch) }

// NewPluginCollector exports what list returns, asked at each scrape. states are all that an instance can be in. Where
// two rows have one server and address, as while a reload replaces a connection, they are exported as one.
func NewPluginCollector(states []string, list func() []PluginInstance) prometheus.Collector {
	instance := []string{"server", "address"}
	var (
		up       = desc("plugin_up", "1 when the instance of the plugin server takes calls.", instance...)
		state    = desc("plugin_state", "1 for the state the instance is in, 0 for the others.", "server", "address", "state")
		calls    = desc("plugin_calls_total", "Calls sent on the present connection.", instance...)
		frames   = desc("plugin_frames_total", "Frames those calls left in; none with Tyk's protocol.", instance...)
		late     = desc("plugin_late_replies_total", "Replies to calls that nobody waited for any more.", instance...)
		unknown  = desc("plugin_unknown_replies_total", "Replies to calls that never were.", instance...)
		waiting  = desc("plugin_calls_waiting", "Calls that wait for credit.", instance...)
		inFlight = desc("plugin_calls_in_flight", "Calls without reply.", instance...)
	)
	collect := func(ch chan<- prometheus.Metric) {
		for _, i := range mergeInstances(list()) {
			at := []string{i.Server, i.Address}
			gauge(ch, up, truth(i.Up), at...)
			for _, s := range states {
				gauge(ch, state, truth(s == i.State), i.Server, i.Address, s)
			}
			counter(ch, calls, float64(i.Calls), at...)
			counter(ch, frames, float64(i.Frames), at...)
			counter(ch, late, float64(i.LateReplies), at...)
			counter(ch, unknown, float64(i.UnknownReplies), at...)
			gauge(ch, waiting, float64(i.Waiting), at...)
			gauge(ch, inFlight, float64(i.InFlight), at...)
		}
	}
	return &asked{[]*prometheus.Desc{up, state, calls, frames, late, unknown, waiting, inFlight}, collect}
}

// NewTargetCollector exports what list returns, asked at each scrape. Rows of one route and target are exported as one:
// versions of an API may share a target, and a reload has two upstreams for a while.
func NewTargetCollector(list func() []Target) prometheus.Collector {
	up := desc("upstream_target_up", "1 when requests are sent to the target.", "route", "target")
	inFlight := desc("upstream_target_requests_in_flight", "Requests sent to the target whose reply has not ended.", "route", "target")
	collect := func(ch chan<- prometheus.Metric) {
		for _, t := range mergeTargets(list()) {
			gauge(ch, up, truth(t.Up), t.Route, t.Name)
			gauge(ch, inFlight, float64(t.InFlight), t.Route, t.Name)
		}
	}
	return &asked{[]*prometheus.Desc{up, inFlight}, collect}
}

// NewScriptCollector exports what list returns, one for each name, asked at each scrape.
func NewScriptCollector(list func() []Script) prometheus.Collector {
	var (
		quarantined = desc("script_quarantined", "1 while calls of the script fail at once, because it went over its bounds again and again.", "script")
		calls       = desc("script_calls_total", "Calls of the script.", "script")
		failed      = desc("script_errors_total", "Calls that failed.", "script")
		over        = desc("script_bounds_exceeded_total", "Calls that went over a bound: time, or memory, size and depth.", "script", "bound")
		quarantines = desc("script_quarantines_total", "Times the script went into quarantine.", "script")
		refused     = desc("script_calls_refused_total", "Calls that were not made, the script being in quarantine.", "script")
		made        = desc("script_interpreters_made_total", "Interpreters made for the script.", "script")
		discarded   = desc("script_interpreters_discarded_total", "Interpreters thrown away.", "script")
	)
	collect := func(ch chan<- prometheus.Metric) {
		for _, s := range list() {
			name := label(s.Name)
			gauge(ch, quarantined, truth(s.Quarantined), name)
			counter(ch, calls, float64(s.Calls), name)
			counter(ch, failed, float64(s.Errors), name)
			counter(ch, over, float64(s.Timeouts), name, "time")
			counter(ch, over, float64(s.Oversized), name, "memory")
			counter(ch, quarantines, float64(s.Quarantines), name)
			counter(ch, refused, float64(s.Refused), name)
			counter(ch, made, float64(s.Made), name)
			counter(ch, discarded, float64(s.Discarded), name)
		}
	}
	return &asked{[]*prometheus.Desc{quarantined, calls, failed, over, quarantines, refused, made, discarded}, collect}
}

// NewAccessLogCollector exports how many lines access logs have lost, asked at each scrape.
func NewAccessLogCollector(dropped func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "turnbuckle_access_log_dropped_total",
		Help: "Lines of the access log that were not written, because the writer failed or was too slow.",
	}, func() float64 { return float64(dropped()) })
}

// NewTracerCollector exports how many spans tracers have lost, asked at each scrape.
func NewTracerCollector(dropped func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "turnbuckle_spans_dropped_total",
		Help: "Spans that the receiver did not take.",
	}, func() float64 { return float64(dropped()) })
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func mergeInstances(rows []PluginInstance) []PluginInstance {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Server, rows[i].Address = label(rows[i].Server), label(rows[i].Address)
	}
	slices.SortStableFunc(rows, func(a, b PluginInstance) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address))
	})
	var merged []PluginInstance
	for _, r := range rows {
		if n := len(merged); n > 0 && merged[n-1].Server == r.Server && merged[n-1].Address == r.Address {
			m := &merged[n-1]
			if r.Up && !m.Up {
				m.Up, m.State = true, r.State
			}
			m.Calls, m.Frames = m.Calls+r.Calls, m.Frames+r.Frames
			m.LateReplies, m.UnknownReplies = m.LateReplies+r.LateReplies, m.UnknownReplies+r.UnknownReplies
			m.Waiting, m.InFlight = m.Waiting+r.Waiting, m.InFlight+r.InFlight
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func mergeTargets(rows []Target) []Target {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Route, rows[i].Name = label(rows[i].Route), label(rows[i].Name)
	}
	slices.SortStableFunc(rows, func(a, b Target) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Name, b.Name))
	})
	var merged []Target
	for _, r := range rows {
		if n := len(merged); n > 0 && merged[n-1].Route == r.Route && merged[n-1].Name == r.Name {
			merged[n-1].Up = merged[n-1].Up || r.Up
			merged[n-1].InFlight += r.InFlight
			continue
		}
		merged = append(merged, r)
	}
	return merged
}
