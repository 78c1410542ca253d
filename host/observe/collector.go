package observe

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

type descs struct {
	requests, duration, upstream, in, out, inFlight *prometheus.Desc
	calls, callTime, stageTime, own                 *prometheus.Desc
	dropped, failed                                 *prometheus.Desc
	events, routes, refused, reloads                *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("turnbuckle_"+name, help, labels, nil)
}

func (d *descs) all() []*prometheus.Desc {
	return []*prometheus.Desc{
		d.requests, d.duration, d.upstream, d.in, d.out, d.inFlight, d.calls, d.callTime, d.stageTime, d.own,
		d.dropped, d.failed, d.events, d.routes, d.refused, d.reloads,
	}
}

func describe() descs {
	hook := func(more ...string) []string { return append([]string{"route", "phase", "server", "hook"}, more...) }
	return descs{
		requests:  desc("requests_total", "Exchanges that ended, by route and status; 499: the client left.", "route", "code"),
		duration:  desc("request_duration_seconds", "From the request's header to the end of the reply.", "route"),
		upstream:  desc("upstream_duration_seconds", "From sending a request upstream to its reply's header.", "route"),
		in:        desc("request_bytes_total", "Body bytes received from clients.", "route"),
		out:       desc("reply_bytes_total", "Body bytes sent to clients.", "route"),
		inFlight:  desc("requests_in_flight", "Exchanges that have begun and not ended.", "route"),
		calls:     desc("hook_calls_total", "Calls of hooks, by outcome.", hook("outcome")...),
		callTime:  desc("hook_duration_seconds", "Time of hook calls as requests feel it.", hook()...),
		stageTime: desc("hook_stage_duration_seconds", "Time of hook calls by stage: encode, queue, wire, apply.", hook("stage")...),
		own:       desc("hook_counted", "What hooks count themselves, by the names they give; they may count down.", hook("name")...),
		dropped:   desc("observer_dropped_total", "Records and events that did not reach an observer.", "observer"),
		failed:    desc("observer_failed_total", "Batches of records and events that an observer failed to take.", "observer"),
		events:    desc("events_total", "Events, by type; route is empty for the gateway's own.", "type", "route"),
		routes:    desc("routes", "Routes that serve."),
		refused:   desc("routes_refused", "Routes whose definition is refused."),
		reloads:   desc("reloads_total", "Loads of the definitions, by result.", "result"),
	}
}

// Collector exports a Metrics to Prometheus. It implements prometheus.Collector.
type Collector struct {
	m *Metrics
	d descs
}

// NewCollector returns a collector of m.
func NewCollector(m *Metrics) *Collector { return &Collector{m, describe()} }

// Describe sends what Collect can send.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d.all() {
		ch <- d
	}
}

// Collect sends the counters as they stand. Requests never wait for a slow scrape: no lock is held while sending.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	m := c.m
	m.mu.RLock()
	routes, hooks, taps, events := values(m.routes), values(m.hooks), pairs(m.taps), pairs(m.events)
	m.mu.RUnlock()
	gauge(ch, c.d.routes, float64(m.loaded.routes.Load()))
	gauge(ch, c.d.refused, float64(m.loaded.refused.Load()))
	counter(ch, c.d.reloads, float64(m.reload[0].Load()), "ok")
	counter(ch, c.d.reloads, float64(m.reload[1].Load()), "failed")
	for _, e := range events {
		counter(ch, c.d.events, float64(e.v.Load()), e.k.kind, e.k.route)
	}
	for _, t := range taps {
		counter(ch, c.d.dropped, float64(t.v.Dropped.Load()), t.k)
		counter(ch, c.d.failed, float64(t.v.Failed.Load()), t.k)
	}
	for _, r := range routes {
		c.route(ch, r)
	}
	for _, h := range hooks {
		c.hook(ch, h)
	}
}

func values[K comparable, V any](m map[K]V) []V {
	all := make([]V, 0, len(m))
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

type pair[K comparable, V any] struct {
	k K
	v V
}

func pairs[K comparable, V any](m map[K]V) []pair[K, V] {
	all := make([]pair[K, V], 0, len(m))
	for k, v := range m {
		all = append(all, pair[K, V]{k, v})
	}
	return all
}

func (c *Collector) route(ch chan<- prometheus.Metric, r *Route) {
	codes := map[int32]uint64{}
	var duration, upstream []*Histogram
	var in, out, inFlight int64
	var others uint64
	for i := range r.shards {
		s := r.shards[i].Load()
		if s == nil {
			continue
		}
		for j := range s.statuses {
			if code := s.statuses[j].code.Load(); code != 0 {
				codes[code] += s.statuses[j].count.Load()
			}
		}
		others += s.others.Load()
		duration, upstream = append(duration, &s.duration), append(upstream, &s.upstream)
		in, out, inFlight = in+s.in.Load(), out+s.out.Load(), inFlight+s.inFlight.Load()
	}
	for code, n := range codes {
		counter(ch, c.d.requests, float64(n), r.id, strconv.Itoa(int(code)))
	}
	if others > 0 {
		counter(ch, c.d.requests, float64(others), r.id, "other")
	}
	histogram(ch, c.d.duration, duration, r.id)
	histogram(ch, c.d.upstream, upstream, r.id)
	counter(ch, c.d.in, float64(in), r.id)
	counter(ch, c.d.out, float64(out), r.id)
	gauge(ch, c.d.inFlight, float64(inFlight), r.id)
}

func (c *Collector) hook(ch chan<- prometheus.Metric, h *Hook) {
	labels := func(more ...string) []string {
		return append([]string{h.key.Route, h.key.Phase.String(), h.key.Server, h.key.Name}, more...)
	}
	var outcomes [sdk.Outcomes]uint64
	var stages [stageEnd][]*Histogram
	for i := range h.shards {
		s := h.shards[i].Load()
		if s == nil {
			continue
		}
		for o := range outcomes {
			outcomes[o] += s.outcomes[o].Load()
		}
		for g := range stages {
			stages[g] = append(stages[g], &s.stages[g])
		}
	}
	for o, n := range outcomes {
		if n > 0 || sdk.Outcome(o) == sdk.OutcomeOK {
			counter(ch, c.d.calls, float64(n), labels(sdk.Outcome(o).String())...)
		}
	}
	histogram(ch, c.d.callTime, stages[stageTotal], labels()...)
	for g := stageTotal + 1; g < stageEnd; g++ {
		histogram(ch, c.d.stageTime, stages[g], labels(stageNames[g])...)
	}
	if own := h.counts.Load(); own != nil {
		for name, n := range *own {
			gauge(ch, c.d.own, float64(n.Load()), labels(name)...)
		}
	}
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	send(ch, d, prometheus.CounterValue, v, labels)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	send(ch, d, prometheus.GaugeValue, v, labels)
}

func send(ch chan<- prometheus.Metric, d *prometheus.Desc, t prometheus.ValueType, v float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, t, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}

func histogram(ch chan<- prometheus.Metric, d *prometheus.Desc, hs []*Histogram, labels ...string) {
	bounds := make(map[float64]uint64, histogramBuckets)
	var count uint64
	var sum int64
	upper := time.Microsecond
	for i := range histogramBuckets + 1 {
		for _, h := range hs {
			count += h.buckets[i].Load()
		}
		if i < histogramBuckets {
			bounds[upper.Seconds()] = count
			upper *= 4
		}
	}
	if count == 0 {
		return
	}
	for _, h := range hs {
		sum += h.sum.Load()
	}
	m, err := prometheus.NewConstHistogram(d, count, time.Duration(sum).Seconds(), bounds, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	ch <- m
}
