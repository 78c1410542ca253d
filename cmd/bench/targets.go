package main

import (
	"fmt"
	"math"
	"slices"
)

// A sample is what one run of one row measured. CPU is in microseconds per request (bare gRPC: per call).
type sample struct {
	PerSecond     float64 `json:"per_second"`
	P50           float64 `json:"p50_us"`
	P99           float64 `json:"p99_us"`
	GatewayCPU    float64 `json:"gateway_cpu_us"` // bare gRPC: of the client
	PluginCPU     float64 `json:"plugin_cpu_us"`
	UpstreamCPU   float64 `json:"upstream_cpu_us"`
	CallsPerFrame float64 `json:"calls_per_frame,omitempty"`
	RoundTrips    float64 `json:"redis_round_trips,omitempty"` // per request
	Scripts       float64 `json:"redis_scripts,omitempty"`     // run by Redis, per request
	RSS           float64 `json:"rss_mib"`                     // of the gateway
	Mapped        float64 `json:"rss_of_files_mib"`            // of RSS, what is pages of files
	Store         float64 `json:"store_mib,omitempty"`         // the embedded store's file
}

// A round holds one sample of each row, by name, and one start of the gateway.
type round struct {
	Rows  map[string]sample `json:"rows"`
	Start *start            `json:"start,omitempty"`
}

// A start is one fresh gateway with ten definitions and no load.
type start struct {
	Ready float64 `json:"ready_ms"` // from making the process to its first good reply
	RSS   float64 `json:"rss_mib"`  // idle
}

// A value is computed from one round; it is not there when a row is missing or the figure makes no sense.
type value func(round) (float64, bool)

// A target is one line of the performance page.
type target struct {
	what     string
	value    value
	atLeast  bool // the value is to be at least the limit, instead of at most
	limit    float64
	moonshot float64 // 0: none
	unit     string
}

// The figures of a sample.
func gatewayCPU(s sample) float64 { return s.GatewayCPU }
func pluginCPU(s sample) float64  { return s.PluginCPU }
func perSecond(s sample) float64  { return s.PerSecond }
func roundTrips(s sample) float64 { return s.RoundTrips }
func p50(s sample) float64        { return s.P50 }
func p99ms(s sample) float64      { return s.P99 / 1000 }

func of(figure func(sample) float64, row string) value {
	return func(r round) (float64, bool) {
		s, ok := r.Rows[row]
		return figure(s), ok
	}
}

// added is a row's figure less that of the same gateway without hooks.
func added(figure func(sample) float64, row, plain string) value {
	a, b := of(figure, row), of(figure, plain)
	return func(r round) (float64, bool) {
		x, haveX := a(r)
		y, haveY := b(r)
		return x - y, haveX && haveY
	}
}

// scaledBoth is scaled, of the gateway's CPU and its plugin server's together.
func scaledBoth(row, plain string) value {
	share := ratio(added(func(s sample) float64 { return s.GatewayCPU + s.PluginCPU }, row, plain), of(gatewayCPU, "baseline/50"))
	return func(r round) (float64, bool) {
		x, have := share(r)
		return 39 * x, have
	}
}

// ratio divides; without a positive divisor there is no value.
func ratio(a, b value) value {
	return func(r round) (float64, bool) {
		x, haveX := a(r)
		y, haveY := b(r)
		return x / y, haveX && haveY && y > 0
	}
}

// scaled is what a row adds to that of the same gateway without it, in microseconds of a machine on which the baseline
// takes 39.
func scaled(row, plain string) value {
	share := ratio(added(gatewayCPU, row, plain), of(gatewayCPU, "baseline/50"))
	return func(r round) (float64, bool) {
		x, have := share(r)
		return 39 * x, have
	}
}

func ofStart(figure func(start) float64) value {
	return func(r round) (float64, bool) {
		if r.Start == nil {
			return 0, false
		}
		return figure(*r.Start), true
	}
}

// targets lists what the performance page asks of the host and its out-of-process hooks; binary is the gateway's
// size in MiB, 0 if there is none. Rows that draw a token
// for each request are compared with a plain gateway under the same load: making requests has its cost.
func targets(transport string, binary float64) []target {
	unary := added(gatewayCPU, "unary-1/50", "plain/50")
	stream := added(gatewayCPU, "stream-1/50", "plain/50")
	return append([]target{
		{"plain: CPU / baseline", ratio(of(gatewayCPU, "plain/50"), of(gatewayCPU, "baseline/50")), false, 0.70, 0.45, ""},
		{"unary hook: added CPU / bare gRPC client", ratio(unary, of(gatewayCPU, "grpc-"+transport+"/50")), false, 1.25, 0.90, ""},
		{"stream hook: added CPU / unary hook's, 50 connections", ratio(stream, unary), false, 0.45, 0.25, ""},
		{"stream hook: added CPU / unary hook's, 200 connections", ratio(added(gatewayCPU, "stream-1/200", "plain/200"), added(gatewayCPU, "unary-1/200", "plain/200")), false, 0.30, 0.15, ""},
		{"stream hook: plugin CPU / unary server's, 50 connections", ratio(of(pluginCPU, "stream-1/50"), of(pluginCPU, "unary-1/50")), false, 0.45, 0.25, ""},
		{"stream hook: plugin CPU / unary server's, 200 connections", ratio(of(pluginCPU, "stream-1/200"), of(pluginCPU, "unary-1/200")), false, 0.30, 0.15, ""},
		{"stream hook: added p50 / unary hook's, 1 connection", ratio(added(p50, "stream-1/1", "plain/1"), added(p50, "unary-1/1", "plain/1")), false, 0.75, 0.50, ""},
		{"stream hook: throughput / plain, 50 connections", ratio(of(perSecond, "stream-1/50"), of(perSecond, "plain/50")), true, 0.70, 0.80, ""},
		{"stream hook: p99, 50 connections", of(p99ms, "stream-1/50"), false, 20, 0, "ms"},
		{"4 stream hooks: added CPU / 1 hook's", ratio(added(gatewayCPU, "stream-4/50", "plain/50"), stream), false, 1.5, 1.2, ""},
		{"stream auth hook: added CPU / pre hook's", ratio(added(gatewayCPU, "stream-auth/50", "plain/50"), stream), false, 1.3, 0, ""},
		{"id_extractor hit: added CPU where the baseline is 39 µs", scaled("extractor/50", "plain/50"), false, 3, 0, "µs"},
		{"Python hook, 1 worker: added CPU of gateway and workers where the baseline is 39 µs", scaledBoth("python-1/50", "plain/50"), false, 25, 0, "µs"},
		{"Python hook, 2 workers: added CPU of gateway and workers where the baseline is 39 µs", scaledBoth("python-2/50", "plain/50"), false, 25, 0, "µs"},
		{"Python hook, 4 workers: added CPU of gateway and workers where the baseline is 39 µs", scaledBoth("python-4/50", "plain/50"), false, 25, 0, "µs"},
		{"Python hook: throughput of 2 workers / 1 worker's", ratio(of(perSecond, "python-2/50"), of(perSecond, "python-1/50")), true, 1, 0, ""},
		{"Python hook that sleeps 10 ms, 50 callers: requests per second", of(perSecond, "python-sleep/50"), true, 3500, 0, ""},
		{"Node stream hook: added CPU of gateway and server where the baseline is 39 µs", scaledBoth("node-stream/50", "plain/50"), false, 60, 0, "µs"},
		{"JavaScript hook: added CPU where the baseline is 39 µs", scaled("js/50", "plain/50"), false, 4, 3, "µs"},
		{"JavaScript hook of Tyk's: added CPU where the baseline is 39 µs", scaled("js-tyk/50", "plain-classic/50"), false, 6, 3, "µs"},
		{"JavaScript hook that rewrites bodies: added CPU where the baseline is 39 µs", scaled("js-body/50", "plain/50"), false, 6, 0, "µs"},
		{"10 JavaScript hooks: throughput / plain", ratio(of(perSecond, "js-10/50"), of(perSecond, "plain/50")), true, 0.5, 0.7, ""},
		{"Lua hook: added CPU where the baseline is 39 µs", scaled("lua/50", "plain/50"), false, 4, 2, "µs"},
		{"Lua hook of Tyk's: added CPU where the baseline is 39 µs", scaled("lua-tyk/50", "plain-classic/50"), false, 6, 2, "µs"},
		{"Lua hook that rewrites bodies: added CPU where the baseline is 39 µs", scaled("lua-body/50", "plain/50"), false, 6, 0, "µs"},
		{"correlation: added CPU where the baseline is 39 µs", scaled("plugins-correlation/50", "plain/50"), false, 1.5, 0, "µs"},
		{"bots: added CPU where the baseline is 39 µs", scaled("plugins-bots/50", "plain/50"), false, 3, 0, "µs"},
		{"10 Lua hooks: throughput / plain", ratio(of(perSecond, "lua-10/50"), of(perSecond, "plain/50")), true, 0.5, 0.7, ""},
		{"key auth + rate + quota, embedded store: added CPU where the baseline is 39 µs", scaled("key-limits/50", "plain-tokens/50"), false, 6, 3, "µs"},
		{"the same, 1,000,000 keys: added CPU / 1,000 keys'", ratio(added(gatewayCPU, "key-limits-1m/50", "plain-tokens/50"), added(gatewayCPU, "key-limits/50", "plain-tokens/50")), false, 2, 0, ""},
		// What goes by time instead of requests is in both figures: a watcher's pings, what gateways tell each other.
		{"the same on Redis, exact: round trips / request", of(roundTrips, "redis-exact/50"), false, 1.01, 0, ""},
		{"the same on Redis, distributed: reads of Redis / request", of(roundTrips, "redis-distributed/50"), false, 0.1, 0, ""},
		{"stripped binary", func(round) (float64, bool) { return binary, binary > 0 }, false, 40, 25, "MiB"},
		{"idle RSS, 10 APIs", ofStart(func(s start) float64 { return s.RSS }), false, 40, 25, "MiB"},
		{"start to ready, 10 APIs", ofStart(func(s start) float64 { return s.Ready }), false, 150, 50, "ms"},
	}, shipperTargets()...)
}

// shipperTargets are those of the plugins that ship: what a request costs with all that is shipped of it, and that none waits
// for a sink.
func shipperTargets() []target {
	var list []target
	for _, name := range shippers() {
		row := "plugins-" + name
		list = append(list,
			target{name + ", sink up: added CPU where the baseline is 39 µs", scaled(row+"/50", "plain/50"), false, 4, 0, "µs"},
			target{name + ", sink down: added CPU where the baseline is 39 µs", scaled(row+"-down/50", "plain/50"), false, 4, 0, "µs"},
			target{name + ", sink down: p99 / plain's", ratio(of(p99ms, row+"-down/50"), of(p99ms, "plain/50")), false, 1.5, 0, ""},
		)
		if name != "datadog" { // see readyMade
			list = append(list,
				target{name + ", sink silent: added CPU where the baseline is 39 µs", scaled(row+"-silent/50", "plain/50"), false, 4, 0, "µs"},
				target{name + ", sink silent: p99 / plain's", ratio(of(p99ms, row+"-silent/50"), of(p99ms, "plain/50")), false, 1.5, 0, ""},
			)
		}
	}
	return list
}

// elsewhere lists the targets of the performance page that this program does not measure.
func elsewhere() []string {
	return []string{
		"more cores, allocations: go test -bench . -benchmem -cpu 1,2,4,8 ./host/... ./coprocess/... ./sdk/...",
		"scripts, memory of a plugin that is idle: go test -run xxx -bench Idle -benchtime 3x ./coprocess/js ./coprocess/lua",
	}
}

// A verdict is a target with what was measured.
type verdict struct {
	What     string  `json:"what"`
	Unit     string  `json:"unit,omitempty"`
	Measured float64 `json:"measured"`
	Limit    float64 `json:"limit"`
	Moonshot float64 `json:"moonshot,omitempty"`
	AtLeast  bool    `json:"at_least,omitempty"`
	Result   string  `json:"result"` // MOONSHOT, PASS, MISS or notMeasured
}

const notMeasured = "not measured"

// judge compares the median of the rounds' values with the limits: a ratio is taken inside each round, where both
// sides met the same machine.
func judge(t target, rounds []round) verdict {
	v := verdict{What: t.what, Unit: t.unit, Limit: t.limit, Moonshot: t.moonshot, AtLeast: t.atLeast, Result: notMeasured}
	var values []float64
	for _, r := range rounds {
		if x, ok := t.value(r); ok {
			values = append(values, x)
		}
	}
	if len(values) == 0 {
		return v
	}
	v.Measured = median(values)
	meets := func(limit float64) bool {
		if t.atLeast {
			return v.Measured >= limit
		}
		return v.Measured <= limit
	}
	switch {
	case t.moonshot != 0 && meets(t.moonshot):
		v.Result = "MOONSHOT"
	case meets(t.limit):
		v.Result = "PASS"
	default:
		v.Result = "MISS"
	}
	return v
}

// median of no values is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// limits renders the limit and the moonshot.
func (v verdict) limits() string {
	sign := "≤"
	if v.AtLeast {
		sign = "≥"
	}
	text := fmt.Sprintf("%s %g", sign, v.Limit)
	if v.Moonshot != 0 {
		text += fmt.Sprintf(" (%g)", v.Moonshot)
	}
	return text
}
