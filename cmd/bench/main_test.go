package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The processes of a measurement are this program under other commands; under test they are the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := standIn(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A whole measurement of what needs no gateway: every process starts, every figure is there, nothing is left over.
func TestRunCourse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads other processes' clocks, which needs Linux")
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each child under the race detector takes a second to end
	var stdout, stderr bytes.Buffer
	status := run([]string{
		"run", "--builtin", "--rounds", "2", "--seconds", "0.2", "--rows", "direct|baseline|grpc", "--json", "-",
	}, &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d:\n%s", status, stderr.String())
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rounds) != 2 {
		t.Errorf("%d rounds, want 2", len(r.Rounds))
	}
	for _, name := range []string{"baseline/50", "grpc-unix/50", "grpc-tcp/50"} {
		if s := r.Medians[name]; s.PerSecond <= 0 || s.GatewayCPU <= 0 {
			t.Errorf("%s: %+v: want a rate and CPU time", name, s)
		}
	}
	if s := r.Medians["baseline/50"]; s.RSS <= 0 || s.P50 <= 0 || s.P99 < s.P50 || s.UpstreamCPU <= 0 {
		t.Errorf("baseline: %+v", s)
	}
	if s := r.Medians["direct/50"]; s.PerSecond <= 0 || s.GatewayCPU != 0 {
		t.Errorf("direct: %+v: want a rate and no gateway", s)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A gateway that is not there costs its own rows alone.
func TestRunWithoutGateway(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads other processes' clocks, which needs Linux")
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	var stdout, stderr bytes.Buffer
	status := run([]string{
		"run", "--builtin", "--rounds", "1", "--seconds", "0.1", "--rows", "direct|plain/50|unary-1/50|start",
		"--gateway", t.TempDir() + "/none",
	}, &stdout, &stderr)
	if status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	for _, want := range []string{"direct/50", "plain/50  not measured", "not measured: unary-1/50", "start to ready", "no such file"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in:\n%s", want, stdout.String())
		}
	}
}

func TestMisuse(t *testing.T) {
	tests := []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 2, "usage:"},
		{[]string{"walk"}, 2, "usage:"},
		{[]string{"run", "--nonsense"}, 2, "nonsense"},
		{[]string{"run", "--help"}, 0, "-rounds"},
		{[]string{"run", "--rows", "("}, 1, "--rows"},
		{[]string{"run", "--rows", "nosuchrow"}, 1, "matches no row"},
		{[]string{"run", "--rounds", "0"}, 1, "must be positive"},
		{[]string{"run", "--transport", "pigeon"}, 1, "pigeon"},
		{[]string{"baseline", "--upstream", "x"}, 1, "is no URL"},
		{[]string{"plugin", "--protocol", "latin"}, 1, "latin"},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			var stderr bytes.Buffer
			if got := run(test.args, &bytes.Buffer{}, &stderr); got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
			if !strings.Contains(stderr.String(), test.want) {
				t.Errorf("%q has no %q", stderr.String(), test.want)
			}
		})
	}
}

// Every row has a name of its own and a definition to run; every target can find its rows.
func TestRows(t *testing.T) {
	for _, transport := range []string{"unix", "tcp"} {
		r := round{Rows: map[string]sample{}, Start: &start{Ready: 1, RSS: 1}}
		for i, row := range rows(transport) {
			if _, twice := r.Rows[row.name]; twice {
				t.Errorf("two rows are named %s", row.name)
			}
			if d := row.setup.definition; d != "" {
				if _, _, err := template(d); err != nil {
					t.Error(err)
				}
			}
			// More for each hook and for fewer connections, so that no divisor is zero.
			x := float64(100 + i)
			r.Rows[row.name] = sample{PerSecond: x, P50: x, P99: x, GatewayCPU: x, PluginCPU: x}
		}
		for _, target := range targets(transport, 1) {
			if v := judge(target, []round{r}); v.Result == notMeasured {
				t.Errorf("%s: %q finds no rows", transport, v.What)
			}
		}
	}
}

func TestJudge(t *testing.T) {
	costs := func(plain, base float64) round {
		return round{Rows: map[string]sample{"plain/50": {GatewayCPU: plain}, "baseline/50": {GatewayCPU: base}}}
	}
	all := targets("unix", 0)
	plain := all[slices.IndexFunc(all, func(t target) bool { return strings.HasPrefix(t.what, "plain:") })]
	atLeast := plain
	atLeast.atLeast, atLeast.limit, atLeast.moonshot = true, 0.7, 0.8
	tests := []struct {
		name     string
		target   target
		rounds   []round
		measured float64
		result   string
	}{
		{"median of ratios, not ratio of medians", plain, []round{costs(10, 10), costs(30, 60), costs(36, 60)}, 0.6, "PASS"},
		{"moonshot", plain, []round{costs(4, 10)}, 0.4, "MOONSHOT"},
		{"at the limit", plain, []round{costs(7, 10)}, 0.7, "PASS"},
		{"miss", plain, []round{costs(8, 10), costs(9, 10)}, 0.85, "MISS"},
		{"no divisor", plain, []round{costs(8, 0)}, 0, notMeasured},
		{"nothing", plain, nil, 0, notMeasured},
		{"at least", atLeast, []round{costs(75, 100)}, 0.75, "PASS"},
		{"at least, miss", atLeast, []round{costs(6, 10)}, 0.6, "MISS"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := judge(test.target, test.rounds)
			if d := v.Measured - test.measured; d > 1e-9 || d < -1e-9 || v.Result != test.result {
				t.Errorf("got %v %s, want %v %s", v.Measured, v.Result, test.measured, test.result)
			}
		})
	}
}

func TestParseCounters(t *testing.T) {
	const text = `# HELP turnbuckle_plugin_calls_total Calls.
# TYPE turnbuckle_plugin_calls_total counter
turnbuckle_plugin_calls_total{server="default",outcome="ok"} 90
turnbuckle_plugin_calls_total{server="default",outcome="error"} 10
turnbuckle_plugin_calls_total_created 5
turnbuckle_plugin_frames_total 4
turnbuckle_requests_total{code="200",route="bench"} 7
`
	got, err := parseCounters(strings.NewReader(text))
	if err != nil || got != (counters{100, 4, 7}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if per := (counters{300, 14, 7}).perFrame(got); per != 20 {
		t.Errorf("%v calls per frame, want 20", per)
	}
	if per := got.perFrame(got); per != 0 {
		t.Errorf("%v calls per frame without a frame, want 0", per)
	}
	if _, err := parseCounters(strings.NewReader(framesMetric + " many\n")); err == nil {
		t.Error("no error for a count that is no number")
	}
}
