package builtin

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// Builtins exports what plugins count, those of one name together. A counter never falls, whatever ends.
var _ prometheus.Collector = (*Builtins)(nil)

func totals() *prometheus.Desc {
	return prometheus.NewDesc("turnbuckle_builtin_total", "What ready-made plugins count, by the names they give.", []string{"plugin", "name"}, nil)
}

func levels() *prometheus.Desc {
	return prometheus.NewDesc("turnbuckle_builtin_level", "What holds in ready-made plugins at the moment.", []string{"plugin", "name"}, nil)
}

// stat names something that is counted.
type stat struct {
	plugin, name string
	total        bool
}

// remember keeps what a plugin has counted that ends.
func (b *Builtins) remember(plugin string, p *sdk.Plugin) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range stats(p) {
		if s.Total {
			b.past[stat{plugin, s.Name, true}] += s.Value
		}
	}
}

func stats(p *sdk.Plugin) []sdk.Stat {
	if p.Stats == nil {
		return nil
	}
	return p.Stats()
}

// Describe implements [prometheus.Collector].
func (b *Builtins) Describe(ch chan<- *prometheus.Desc) {
	ch <- totals()
	ch <- levels()
}

// Collect implements [prometheus.Collector].
func (b *Builtins) Collect(ch chan<- prometheus.Metric) {
	sums := map[stat]float64{}
	b.open.Each(func(k key, i *instance, _ int) {
		for _, s := range stats(i.Plugin) {
			sums[stat{k.plugin, s.Name, s.Total}] += s.Value
		}
	})
	b.mu.Lock()
	for s, v := range b.past {
		sums[s] += v
	}
	b.mu.Unlock()
	for s, v := range sums {
		desc, kind := levels(), prometheus.GaugeValue
		if s.total {
			desc, kind = totals(), prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(desc, kind, v, s.plugin, s.name)
	}
}

// Status is one ready-made plugin that runs.
type Status struct {
	Plugin string `json:"plugin"`
	Routes int    `json:"routes"` // that use it
	// Counts are what it counts, and what holds in it at the moment, by name.
	Counts map[string]float64 `json:"counts,omitempty"`
}

// Status tells of every plugin that runs, in the order of their names; of one name there are as many as there are
// configurations.
func (b *Builtins) Status() []Status {
	type one struct {
		key
		Status
	}
	var all []one
	b.open.Each(func(k key, i *instance, users int) {
		s := one{k, Status{Plugin: k.plugin, Routes: users}}
		for _, n := range stats(i.Plugin) {
			if s.Counts == nil {
				s.Counts = map[string]float64{}
			}
			s.Counts[n.Name] = n.Value
		}
		all = append(all, s)
	})
	slices.SortFunc(all, func(a, c one) int {
		return cmp.Or(strings.Compare(a.plugin, c.plugin), strings.Compare(a.config, c.config))
	})
	out := make([]Status, len(all))
	for i := range all {
		out[i] = all[i].Status
	}
	return out
}
