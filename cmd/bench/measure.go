package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/callers"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/load"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/plugins"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
)

// A course is a whole measurement: rounds over rows, all processes up all the time, the order turned by one row from
// round to round so that no row always follows the same other.
type course struct {
	workshop
	generate load.Generator
	rows     []row
	rounds   int
	duration time.Duration
	starts   bool // start a fresh gateway in each round, too
	upstream *proc.Process
}

// outcome is what a course found.
type outcome struct {
	rounds   []round
	failures map[string]error // by row
}

// run opens what the rows need, measures, and stops everything it started.
func (c course) run(ctx context.Context) outcome {
	o := outcome{failures: map[string]error{}}
	fixtures := c.openAll(ctx, o.failures)
	defer func() {
		for _, f := range fixtures {
			f.stop()
		}
	}()
	for n := range c.rounds {
		r := round{Rows: map[string]sample{}}
		for i := range c.rows {
			row := c.rows[(i+n)%len(c.rows)]
			if o.failures[row.name] != nil {
				continue
			}
			c.progress("round %d of %d: %s", n+1, c.rounds, row.name)
			s, err := c.measure(ctx, row, fixtures[row.setup])
			if err != nil {
				o.failures[row.name] = err
				c.progress("%s: %v", row.name, err)
				continue
			}
			r.Rows[row.name] = s
		}
		if c.starts && o.failures["start"] == nil {
			s, err := c.measureStart(ctx)
			if err != nil {
				o.failures["start"] = err
				c.progress("start: %v", err)
			} else {
				r.Start = &s
			}
		}
		if ctx.Err() != nil {
			break
		}
		o.rounds = append(o.rounds, r)
	}
	return o
}

// openAll opens each setup once; the rows of one that does not open fail.
func (c course) openAll(ctx context.Context, failures map[string]error) map[setup]*fixture {
	fixtures := map[setup]*fixture{}
	broken := map[setup]error{}
	for _, row := range c.rows {
		if fixtures[row.setup] == nil && broken[row.setup] == nil {
			c.progress("starting %s", row.setup)
			f, err := c.open(ctx, row.setup)
			if err == nil && row.setup.keys > 0 {
				err = c.warm(ctx, row, f)
			}
			if err != nil {
				c.progress("%v", err)
				broken[row.setup] = err
			} else {
				fixtures[row.setup] = f
			}
		}
		if err := broken[row.setup]; err != nil {
			failures[row.name] = err
		}
	}
	return fixtures
}

// warm lets a gateway see its keys before anything is measured: few of them all, of many so many that its memory, the pages
// of its store and its counts are as they will be.
func (c course) warm(ctx context.Context, row row, f *fixture) error {
	job := c.job(row, f)
	job.Duration = max(job.Duration, time.Duration(row.setup.keys/50_000)*time.Second) // wrk takes whole seconds
	result, err := c.generate(ctx, job)
	if err = errors.Join(err, result.Check()); err != nil {
		f.stop()
	}
	return err
}

// job is what the load generator is to do for a row.
func (c course) job(row row, f *fixture) load.Job {
	job := load.Job{URL: f.url, Connections: row.connections, Duration: c.duration}
	if n := row.setup.keys; n > 0 {
		job.Numbered = load.Numbered{Name: "Authorization", Prefix: callers.TokenPrefix, First: callers.FirstKey, Count: n}
	} else {
		job.Header = [][2]string{{"Authorization", f.credential}}
	}
	return job
}

// measure runs one row once.
func (c course) measure(ctx context.Context, row row, f *fixture) (sample, error) {
	if row.setup.kind == bareGRPC {
		return c.measureCalls(ctx, row, f)
	}
	for _, p := range []*proc.Process{c.upstream, f.gateway, f.plugin} {
		if p != nil {
			if err := errors.Join(p.Alive(), p.TrimLog()); err != nil {
				return sample{}, err
			}
		}
	}
	before, err := c.read(ctx, f)
	if err != nil {
		return sample{}, err
	}
	result, err := c.generate(ctx, c.job(row, f))
	if err = errors.Join(err, result.Check()); err != nil {
		return sample{}, err
	}
	if err := settle(ctx, row.setup, f.gateway); err != nil {
		return sample{}, err
	}
	after, err := c.read(ctx, f)
	if err = errors.Join(err, shipped(ctx, row.setup, f.admin)); err != nil {
		return sample{}, err
	}
	each := func(d time.Duration) float64 { return microseconds(d) / float64(result.Requests) }
	s := sample{
		PerSecond:     result.PerSecond(),
		P50:           microseconds(result.P50),
		P99:           microseconds(result.P99),
		GatewayCPU:    each(after.gateway - before.gateway),
		PluginCPU:     each(after.plugin - before.plugin),
		UpstreamCPU:   each(after.upstream - before.upstream),
		CallsPerFrame: after.counters.perFrame(before.counters),
	}
	// The gateway's own count: some of what it was asked at the end was not waited for.
	if n := after.counters.requests - before.counters.requests; f.redis != nil && n > 0 {
		s.RoundTrips, s.Scripts = after.redis.trips(before.redis)/n, (after.redis.scripts-before.redis.scripts)/n
	}
	return s, sizes(f, &s)
}

// sizes adds what the gateway keeps, in memory and in its store.
func sizes(f *fixture, s *sample) error {
	if f.gateway == nil {
		return nil
	}
	memory, err := proc.MemoryOf(f.gateway.PID)
	if err != nil {
		return err
	}
	s.RSS, s.Mapped = mebibytes(memory.RSS), mebibytes(memory.Mapped)
	if f.storeFile != "" {
		info, err := os.Stat(f.storeFile)
		if err != nil {
			return err
		}
		s.Store = mebibytes(info.Size())
	}
	return nil
}

// reading is where the clocks and counters of a fixture stand.
type reading struct {
	gateway, plugin, upstream time.Duration
	counters                  counters
	redis                     redisCounters
}

func (c course) read(ctx context.Context, f *fixture) (r reading, err error) {
	for p, clock := range map[*proc.Process]*time.Duration{c.upstream: &r.upstream, f.gateway: &r.gateway, f.plugin: &r.plugin} {
		if p == nil {
			continue
		}
		if *clock, err = proc.TreeCPU(p.PID); err != nil {
			return r, err
		}
	}
	if f.starts && err == nil {
		own, e := proc.CPU(f.gateway.PID)
		r.gateway, r.plugin, err = own, r.gateway-own, e
	}
	if f.admin != "" && (f.plugin != nil || f.starts) && err == nil {
		r.counters, err = readCounters(ctx, f.admin)
	}
	if f.redis != nil && err == nil {
		r.redis, err = readRedis(ctx, f.redis)
	}
	return r, err
}

// measureCalls runs the bare gRPC client as a process of its own.
func (c course) measureCalls(ctx context.Context, row row, f *fixture) (sample, error) {
	cmd := exec.CommandContext(ctx, c.self, "grpc-client", "--address", f.address,
		"--server-pid", strconv.Itoa(f.plugin.PID), "--callers", strconv.Itoa(row.connections), "--duration", c.duration.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("bare gRPC client: %w", err)
	}
	var calls plugins.Calls
	if err := json.Unmarshal(out, &calls); err != nil {
		return sample{}, fmt.Errorf("bare gRPC client: %w", err)
	}
	if calls.Count == 0 {
		return sample{}, errors.New("bare gRPC client: no call was answered")
	}
	return sample{
		PerSecond:  float64(calls.Count) / calls.Elapsed.Seconds(),
		GatewayCPU: microseconds(calls.ClientCPU) / float64(calls.Count),
		PluginCPU:  microseconds(calls.ServerCPU) / float64(calls.Count),
	}, nil
}

// measureStart starts a gateway with ten definitions, lets it idle, and stops it.
func (c course) measureStart(ctx context.Context) (start, error) {
	const count, idle = 10, time.Second
	c.progress("starting a gateway with %d definitions", count)
	dir := filepath.Join(c.dir, "start")
	if err := os.MkdirAll(filepath.Join(dir, "apis"), 0o755); err != nil {
		return start{}, err
	}
	if err := c.define(dir, "many", count, ""); err != nil {
		return start{}, err
	}
	f := &fixture{credential: plugins.Token}
	if err := c.openGateway(ctx, f, dir, fmt.Sprintf("/api-%d/", count-1), setup{}); err != nil {
		return start{}, err
	}
	defer f.stop()
	select {
	case <-time.After(idle):
	case <-ctx.Done():
	}
	memory, err := proc.MemoryOf(f.gateway.PID)
	return start{Ready: microseconds(f.gateway.Started) / 1000, RSS: mebibytes(memory.RSS)}, err
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
