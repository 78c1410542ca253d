package observe

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

type descs struct {
	requests, duration, upstream, in, out, inFlight *prometheus.Desc
	calls, callTime, own                            *prometheus.Desc
	events, routes, refused, reloads                *prometheus.Desc
}

func describe() descs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("turnbuckle_"+name, help, labels, nil)
	}
	hook := []string{"route", "phase", "server", "hook"}
	return descs{
		requests: d("requests_total", "Exchanges that ended, by route and status; 499: the client left.", "route", "code"),
		duration: d("request_duration_seconds", "From the request's header to the end of the reply.", "route"),
		upstream: d("upstream_duration_seconds", "From sending a request upstream to its reply's header.", "route"),
		in:       d("request_bytes_total", "Body bytes received from clients.", "route"),
		out:      d("reply_bytes_total", "Body bytes sent to clients.", "route"),
		inFlight: d("requests_in_flight", "Exchanges that have begun and not ended.", "route"),
		calls:    d("hook_calls_total", "Calls of hooks, by outcome.", append(hook, "outcome")...),
		callTime: d("hook_duration_seconds", "Time of hook calls; stage total is all of it, the others are its parts.", append(hook, "stage")...),
		own:      d("hook_counter", "Counters that hooks keep themselves.", append(hook, "name")...),
		events:   d("events_total", "Events, by type.", "type", "route"),
		routes:   d("routes", "Routes that serve."),
		refused:  d("routes_refused", "Routes whose definition is refused."),
		reloads:  d("reloads_total", "Loads of the definitions, by result.", "result"),
	}
}

// Collector exports a Metrics to Prometheus. It implements prometheus.Collector.
type Collector struct {
	m *Metrics
	d descs
}

// NewCollector returns a collector of m.
func NewCollector(m *Metrics) *Collector { return &Collector{m, describe()} }

// Describe sends nothing: labels come and go with definitions, which makes the collector unchecked.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the counters as they stand.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	routes := make([]*Route, 0, len(c.m.routes))
	for _, r := range c.m.routes {
		routes = append(routes, r)
	}
	hooks := make([]*Hook, 0, len(c.m.hooks))
	for _, h := range c.m.hooks {
		hooks = append(hooks, h)
	}
	for k, n := range c.m.events {
		counter(ch, c.d.events, float64(n.Load()), k[0], k[1])
	}
	c.m.mu.Unlock()
	g := c.m.sizes.Load()
	gauge(ch, c.d.routes, float64(g.routes))
	gauge(ch, c.d.refused, float64(g.refused))
	counter(ch, c.d.reloads, float64(c.m.reload[0].Load()), "ok")
	counter(ch, c.d.reloads, float64(c.m.reload[1].Load()), "failed")
	for _, r := range routes {
		c.route(ch, r)
	}
	for _, h := range hooks {
		c.hook(ch, h)
	}
}

func (c *Collector) route(ch chan<- prometheus.Metric, r *Route) {
	codes := map[int32]uint64{}
	var duration, upstream []*Histogram
	var in, out, inFlight int64
	for i := range r.shards {
		s := r.shards[i].Load()
		if s == nil {
			continue
		}
		for j := range s.statuses {
			if code := s.statuses[j].code.Load(); code != 0 && j < statusSlots-1 {
				codes[code] += s.statuses[j].count.Load()
			} else if code != 0 {
				codes[0] += s.statuses[j].count.Load()
			}
		}
		duration, upstream = append(duration, &s.duration), append(upstream, &s.upstream)
		in, out, inFlight = in+s.in.Load(), out+s.out.Load(), inFlight+s.inFlight.Load()
	}
	for code, n := range codes {
		label := "other"
		if code != 0 {
			label = strconv.Itoa(int(code))
		}
		counter(ch, c.d.requests, float64(n), r.id, label)
	}
	histogram(ch, c.d.duration, duration, r.id)
	histogram(ch, c.d.upstream, upstream, r.id)
	counter(ch, c.d.in, float64(in), r.id)
	counter(ch, c.d.out, float64(out), r.id)
	gauge(ch, c.d.inFlight, float64(inFlight), r.id)
}

func (c *Collector) hook(ch chan<- prometheus.Metric, h *Hook) {
	labels := []string{h.key.Route, h.key.Phase.String(), h.key.Server, h.key.Name}
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
		if n > 0 || o == 0 {
			counter(ch, c.d.calls, float64(n), append(labels, sdk.Outcome(o).String())...)
		}
	}
	for g, hs := range stages {
		histogram(ch, c.d.callTime, hs, append(labels, stageNames[g])...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, n := range h.counts {
		counter(ch, c.d.own, float64(n.Load()), append(labels, name)...)
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
		m = prometheus.NewInvalidMetric(d, err) // a label that is not UTF-8: told at scrape, the rest stands
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
