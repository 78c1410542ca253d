package outside

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/process"
)

// processMetric is one of a process's metrics.
type processMetric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(i *process.InstanceStatus) float64
}

func processMetrics() []processMetric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []processMetric{
		{"pid", "Process id of the plugin server; 0 when none runs.", gauge, func(i *process.InstanceStatus) float64 { return float64(i.PID) }},
		{"starts_total", "Processes that became ready.", counter, func(i *process.InstanceStatus) float64 { return float64(i.Starts) }},
		{"restarts_total", "Processes that became ready in the place of one that had crashed.", counter, func(i *process.InstanceStatus) float64 { return float64(i.Restarts) }},
		{"last_crash_timestamp_seconds", "When the last one crashed, in Unix time; 0 when none has.", gauge, func(i *process.InstanceStatus) float64 {
			if i.LastCrash == nil {
				return 0
			}
			return float64(i.LastCrash.Time.UnixMilli()) / 1e3
		}},
		{"ready_seconds", "From the start of the present process until it took calls.", gauge, func(i *process.InstanceStatus) float64 { return i.ReadyIn.Seconds() }},
		{"memory_bytes", "Memory of the process with all that it started, as it was some seconds ago.", gauge, func(i *process.InstanceStatus) float64 {
			if i.Usage == nil {
				return 0
			}
			return float64(i.Usage.Memory)
		}},
		{"processes", "Processes, with those that it started.", gauge, func(i *process.InstanceStatus) float64 {
			if i.Usage == nil {
				return 0
			}
			return float64(i.Usage.Processes)
		}},
		{"output_lines_total", "Lines of the present process's output that were logged.", counter, func(i *process.InstanceStatus) float64 {
			if i.Output == nil {
				return 0
			}
			return float64(i.Output.Lines)
		}},
		{"output_dropped_total", "Lines of the present process's output that were not logged, being over the rate.", counter, func(i *process.InstanceStatus) float64 {
			if i.Output == nil {
				return 0
			}
			return float64(i.Output.Dropped)
		}},
	}
}

// processCollector exports what is known of the processes that the gateway starts, asked at each scrape. Counts are those
// since the gateway began to start a server with its present settings and code.
type processCollector struct {
	s       *Servers
	metrics []processMetric
	descs   []*prometheus.Desc
	crashes *prometheus.Desc
}

// NewProcessCollector returns the collector of the processes of s.
func NewProcessCollector(s *Servers) prometheus.Collector {
	c := &processCollector{s: s, metrics: processMetrics()}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("turnbuckle_plugin_process_"+name, help, append([]string{"server", "instance"}, labels...), nil)
	}
	for _, m := range c.metrics {
		c.descs = append(c.descs, desc(m.name, m.help))
	}
	c.crashes = desc("crashes_total", "Processes that ended, or had to be ended, other than by order.", "reason")
	return c
}

// Describe implements [prometheus.Collector].
func (c *processCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
	ch <- c.crashes
}

// Collect implements [prometheus.Collector].
func (c *processCollector) Collect(ch chan<- prometheus.Metric) {
	for _, row := range c.s.processes() {
		at := []string{row.server, place(row.Instance)}
		for n, m := range c.metrics {
			ch <- prometheus.MustNewConstMetric(c.descs[n], m.kind, m.value(&row.InstanceStatus), at...)
		}
		for _, reason := range process.Reasons() {
			ch <- prometheus.MustNewConstMetric(c.crashes, prometheus.CounterValue, float64(row.Crashes[reason]), at[0], at[1], string(reason))
		}
	}
}

type processRow struct {
	server string
	process.InstanceStatus
}

// processes has one row for each server and instance. While a reload replaces a server there are two of its name: of one
// that runs rather than of one that does not, then of the later one.
func (s *Servers) processes() []processRow {
	var rows []processRow
	s.open.Each(func(k serverKey, o *opened, _ int) {
		if o.process == nil {
			return
		}
		for _, i := range o.process.Status().Instances {
			rows = append(rows, processRow{k.name, i})
		}
	})
	slices.SortStableFunc(rows, func(a, b processRow) int {
		return cmp.Or(cmp.Compare(a.server, b.server), cmp.Compare(a.Instance, b.Instance),
			cmp.Compare(min(b.PID, 1), min(a.PID, 1)), b.Since.Compare(a.Since))
	})
	return slices.CompactFunc(rows, func(a, b processRow) bool { return a.server == b.server && a.Instance == b.Instance })
}
