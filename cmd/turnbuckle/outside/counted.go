package outside

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
)

// countedCollector exports what plugins in processes of their own count, asked of them at each scrape, as
// turnbuckle_builtin_* is of those in the gateway's.
type countedCollector struct {
	s             *Servers
	total, levels *prometheus.Desc
}

// NewCountedCollector returns the collector of what the plugin servers of s count.
func NewCountedCollector(s *Servers) prometheus.Collector {
	labels := []string{"server", "address", "name"}
	return &countedCollector{
		s:      s,
		total:  prometheus.NewDesc("turnbuckle_plugin_counted_total", "What plugin servers count, by the names they give; from 0 in each process.", labels, nil),
		levels: prometheus.NewDesc("turnbuckle_plugin_counted_level", "What holds in plugin servers at the moment, by the names they give.", labels, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *countedCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.total
	ch <- c.levels
}

type countedKey struct {
	server, address, name string
	total                 bool
}

// Collect implements [prometheus.Collector]. Servers are asked all at once. What has one name is added up: while a reload
// replaces a server there are two of them.
func (c *countedCollector) Collect(ch chan<- prometheus.Metric) {
	var (
		mu    sync.Mutex
		sums  = map[countedKey]float64{}
		asked sync.WaitGroup
	)
	c.s.open.Each(func(k serverKey, o *opened, _ int) {
		asked.Go(func() {
			all := o.counted()
			mu.Lock()
			defer mu.Unlock()
			for _, one := range all {
				for _, s := range one.Stats {
					sums[countedKey{k.name, one.Address, s.Name, s.Total}] += s.Value
				}
			}
		})
	})
	asked.Wait()
	for k, v := range sums {
		desc, kind := c.levels, prometheus.GaugeValue
		if k.total {
			desc, kind = c.total, prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(desc, kind, v, k.server, k.address, k.name)
	}
}

// counted is what the server's plugins count, by the addresses that other metrics have them under.
func (o *opened) counted() []rpc.Counted {
	if o.process == nil {
		return o.rpc.Counted()
	}
	all := o.process.Counted()
	for _, i := range o.process.Status().Instances {
		for n := range all {
			if i.RPC != nil && i.RPC.Address == all[n].Address {
				all[n].Address = place(i.Instance)
			}
		}
	}
	return all
}
