package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// A report is everything a measurement has to say.
type report struct {
	Machine  machine           `json:"machine"`
	Medians  map[string]sample `json:"medians"`
	Targets  []verdict         `json:"targets"`
	Rounds   []round           `json:"rounds"`
	Failures map[string]string `json:"failures,omitempty"`

	order []string // of the rows
}

type machine struct {
	OS        string  `json:"os"`
	CPUs      int     `json:"cpus"`
	Go        string  `json:"go"`
	Generator string  `json:"generator"`
	Upstream  string  `json:"upstream"`
	Transport string  `json:"plugin_transport"`
	Binary    float64 `json:"binary_mib"`
	Load      float64 `json:"load_before"` // tasks that wanted a CPU in the minute before
}

// quiet is the load under which a machine counts as idle.
const quiet = 0.5

func newReport(m machine, rows []row, o outcome) report {
	m.OS, m.CPUs, m.Go = runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), runtime.Version()
	r := report{Machine: m, Medians: map[string]sample{}, Rounds: o.rounds, Failures: map[string]string{}}
	for _, row := range rows {
		r.order = append(r.order, row.name)
		if s, ok := medianSample(row.name, o.rounds); ok {
			r.Medians[row.name] = s
		}
	}
	for name, err := range o.failures {
		r.Failures[name] = err.Error()
	}
	for _, t := range targets(m.Transport, m.Binary) {
		r.Targets = append(r.Targets, judge(t, o.rounds))
	}
	return r
}

// medianSample takes the median of each figure of a row on its own.
func medianSample(name string, rounds []round) (sample, bool) {
	have := false
	middle := func(figure func(sample) float64) float64 {
		var values []float64
		for _, r := range rounds {
			if s, ok := r.Rows[name]; ok {
				values = append(values, figure(s))
			}
		}
		have = have || len(values) > 0
		if m := median(values); !math.IsNaN(m) {
			return m
		}
		return 0
	}
	return sample{
		PerSecond:     middle(perSecond),
		P50:           middle(p50),
		P99:           middle(func(s sample) float64 { return s.P99 }),
		GatewayCPU:    middle(gatewayCPU),
		PluginCPU:     middle(pluginCPU),
		UpstreamCPU:   middle(func(s sample) float64 { return s.UpstreamCPU }),
		CallsPerFrame: middle(func(s sample) float64 { return s.CallsPerFrame }),
		RoundTrips:    middle(roundTrips),
		Scripts:       middle(func(s sample) float64 { return s.Scripts }),
		RSS:           middle(func(s sample) float64 { return s.RSS }),
		Mapped:        middle(func(s sample) float64 { return s.Mapped }),
		Store:         middle(func(s sample) float64 { return s.Store }),
	}, have
}

// writeJSON writes the report with every sample of every round.
func (r report) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// writeText writes the table and the targets.
func (r report) writeText(w io.Writer) error {
	m := r.Machine
	fmt.Fprintf(w, "%s, %d CPUs, %s; load: %s; upstream: %s; plugins over: %s; median of %d rounds\n\n",
		m.OS, m.CPUs, m.Go, m.Generator, m.Upstream, cmp.Or(m.Transport, "-"), len(r.Rounds))
	if m.Load > quiet {
		fmt.Fprintf(w, "The machine was busy before (load %.1f): times and rates are worse than they would be, ratios less sure.\n\n", m.Load)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "row\treq/s\tp50 µs\tp99 µs\tgateway µs\tplugin µs\tupstream µs\tcalls/frame\tRedis trips\tscripts\tRSS MiB\tof files\tstore MiB\t")
	for _, name := range r.order {
		s, ok := r.Medians[name]
		if !ok {
			fmt.Fprintf(table, "%s\tnot measured\t\t\t\t\t\t\t\t\n", name)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, show(s.PerSecond, 0), show(s.P50, 0), show(s.P99, 0),
			show(s.GatewayCPU, 1), show(s.PluginCPU, 1), show(s.UpstreamCPU, 1), show(s.CallsPerFrame, 1), show(s.RoundTrips, 3), show(s.Scripts, 3),
			show(s.RSS, 0), show(s.Mapped, 0), show(s.Store, 1))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nA row is NAME/CONNECTIONS; µs of a process are CPU time per request. grpc rows: the gateway is the bare client; redis\n"+
		"rows: the plugin is redis-server, trips are its reads from clients per request, whoever waits for them, scripts what it ran; rows of\n"+
		"plugins that ship: the plugin is the sink, where it is a process of its own.")
	if err := r.writeTargets(w); err != nil {
		return err
	}
	r.writeFailures(w)
	return nil
}

// writeFailures lists what could not be measured, rows with one reason together.
func (r report) writeFailures(w io.Writer) {
	byReason := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Failures)) {
		byReason[r.Failures[name]] = append(byReason[r.Failures[name]], name)
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(w, "\nnot measured: %s: %s\n", strings.Join(byReason[reason], ", "), reason)
	}
}

func (r report) writeTargets(w io.Writer) error {
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "target\tlimit (moonshot)\tmeasured\t")
	for _, v := range r.Targets {
		measured := "-"
		if v.Result != notMeasured {
			measured = fmt.Sprintf("%.2f", v.Measured)
		}
		fmt.Fprintf(table, "%s\t%s %s\t%s\t%s\n", v.What, v.limits(), v.Unit, measured, v.Result)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, line := range elsewhere() {
		fmt.Fprintln(w, line)
	}
	return nil
}

// show renders a figure, and one that is not there as a dash.
func show(x float64, decimals int) string {
	if x == 0 {
		return "-"
	}
	return strconv.FormatFloat(x, 'f', decimals, 64)
}
