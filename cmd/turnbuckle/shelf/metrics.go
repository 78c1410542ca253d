package shelf

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector exports what a gateway knows of bundles. current is the shelf that serves; nil while there is none.
type Collector struct {
	tally   *Tally
	current func() *Shelf

	decisions, info, stale, refused, signed *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns the collector of turnbuckle_bundle_*.
func NewCollector(t *Tally, current func() *Shelf) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("turnbuckle_bundle_"+name, help, labels, nil)
	}
	return &Collector{
		tally: t, current: current,
		decisions: desc("decisions_total", "Bundles that were judged, by outcome: loaded, or the reason of the refusal.", "outcome"),
		info:      desc("info", "1 for each bundle that runs.", "name", "version", "serial", "format", "archive_sha256"),
		stale:     desc("stale_routes", "Routes that go on with this bundle although their newer form is refused.", "name", "archive_sha256"),
		refused:   desc("refused", "1 for each name whose bundle was refused when it was loaded last, by reason.", "name", "reason"),
		signed:    desc("require_signed", "Whether nothing but signed bundles may run."),
	}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.decisions, c.info, c.stale, c.refused, c.signed} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	for outcome, n := range c.tally.Counts() {
		to <- prometheus.MustNewConstMetric(c.decisions, prometheus.CounterValue, float64(n), outcome)
	}
	s := c.current()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	status := s.Status()
	required := 0.0
	if status.RequireSigned {
		required = 1
	}
	gauge(c.signed, required)
	told := map[string]bool{}
	for _, e := range status.Bundles {
		if d := e.Running; d != nil {
			v := d.Verdict
			gauge(c.info, 1, e.Name, v.Release.Version, strconv.FormatUint(v.Release.Serial, 10), v.Format, v.ArchiveSHA256)
			gauge(c.stale, float64(len(e.Stale)), e.Name, v.ArchiveSHA256)
		}
		if e.Refused != nil && !told[e.Name] {
			told[e.Name] = true
			gauge(c.refused, 1, e.Name, e.Refused.Reason)
		}
	}
}
