package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/proc"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/bench/sinks"
)

// openSink opens what the setup's plugin ships to.
func (w workshop) openSink(ctx context.Context, f *fixture, s setup, dir string) (err error) {
	if s.sink == "" {
		return nil
	}
	o := w.sinks
	o.Self, o.Upstream, o.Dir = w.self, strings.TrimPrefix(w.upstream, "http://"), filepath.Join(dir, "sink")
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	f.sink, err = sinks.Open(ctx, s.definition, s.sink, o)
	if err == nil {
		f.plugin = f.sink.Process
	}
	return err
}

func (f *fixture) sinkAddress() string {
	if f.sink == nil {
		return ""
	}
	return f.sink.Address
}

// settle waits until a gateway whose sink is up has nothing more to do, so that what a request costs has all in it that is
// shipped of it, and a sink that is slower than the load does not spare the gateway anything. It watches the gateway's CPU,
// which costs the gateway nothing.
func settle(ctx context.Context, s setup, p *proc.Process) error {
	if s.sink != sinks.Up {
		return nil
	}
	const (
		every    = 300 * time.Millisecond // longer than a batch waits for more
		rest     = every / 100            // of CPU: no more than that is rest
		patience = 100                    // times
	)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Duration(-1)
	for range patience {
		now, err := proc.TreeCPU(p.PID)
		if err != nil {
			return err
		}
		if last >= 0 && now-last < rest {
			return nil
		}
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s still ships %v after the load", p.Name, patience*every)
}

// shipped checks, once a gateway has settled, that its plugin has delivered something and that nothing was lost or waits.
func shipped(ctx context.Context, s setup, admin string) error {
	if s.sink != sinks.Up || s.definition == "datadog" { // whose own client counts
		return nil
	}
	reply, err := askAdmin(ctx, admin, "/metrics")
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	found, err := parseMetrics(reply.Body)
	if err != nil {
		return err
	}
	count := func(name string) float64 { return found.sum("turnbuckle_builtin_total", `name="`+name+`"`) }
	level := func(name string) float64 { return found.sum("turnbuckle_builtin_level", `name="`+name+`"`) }
	switch lost, waiting := count("dropped")+count("rejected")+found.sum("turnbuckle_observer_dropped_total"), level("queued")+level("spooled"); {
	case lost > 0:
		return fmt.Errorf("%s: %v records lost of %v", s, lost, found.sum(requestsMetric))
	case waiting > 0:
		return fmt.Errorf("%s: %v records still wait", s, waiting)
	case count("delivered") == 0:
		return fmt.Errorf("%s: nothing was delivered", s)
	}
	return nil
}
