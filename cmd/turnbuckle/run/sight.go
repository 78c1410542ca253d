package run

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/logs/remote"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/outside"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/scripts"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/share"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/shelf"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
)

// sight is how a running gateway is seen, whatever its settings are: log, counters, and what access logs and spans lose.
type sight struct {
	log      *slog.Logger
	lines    *logs.Changing // of log
	metrics  *observe.Metrics
	registry *prometheus.Registry
	logs     losses // of access logs
	spans    losses
	bundles  shelf.Tally
}

func newSight(ctx context.Context, w io.Writer, c config.Log, id remote.Identity) *sight {
	v := &sight{lines: logs.NewChanging(ctx, w, c, id), metrics: observe.NewMetrics(), registry: prometheus.NewRegistry()}
	v.log = slog.New(v.lines)
	v.registry.MustRegister(observe.NewCollector(v.metrics), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		observe.NewAccessLogCollector(v.logs.count), observe.NewTracerCollector(v.spans.count),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "turnbuckle_log_dropped_total", Help: "Lines of the gateway's own log that its targets have lost.",
		}, func() float64 { return float64(v.lines.Dropped()) }))
	return v
}

// watch exports what lies outside the host: plugin servers, the targets of upstreams, and scripts.
func (v *sight) watch(s *outside.Servers, t *outside.Targets, inside *scripts.Scripts) {
	v.registry.MustRegister(observe.NewPluginCollector(outside.States(), s.Instances), outside.NewProcessCollector(s),
		outside.NewCountedCollector(s), observe.NewTargetCollector(t.List),
		observe.NewScriptCollector(inside.List))
}

// losses adds up what those have lost that come and go with the settings: a counter never falls.
type losses struct {
	mu   sync.Mutex
	past uint64
	open map[interface{ Dropped() uint64 }]bool
}

func (l *losses) add(d interface{ Dropped() uint64 }) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[interface{ Dropped() uint64 }]bool{}
	}
	l.open[d] = true
}

func (l *losses) remove(d interface{ Dropped() uint64 }) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, d)
	l.past += d.Dropped()
}

func (l *losses) count() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.past
	for d := range l.open {
		n += d.Dropped()
	}
	return n
}

// written is what a generation writes of exchanges: access log and spans, shared with others whose settings say the same.
type written struct {
	access *share.Part[accessLog]
	tracer *share.Part[*observe.Tracer]
}

// accessLog is an access log and the file that it is written to.
type accessLog struct {
	*observe.AccessLog            // nil: none
	file               *logs.File // nil: none
}

// newWritten opens what the settings ask for, or takes it from before, where they say the same.
func (g *gateway) newWritten(s *config.Settings, before *generation) (written, error) {
	var w written
	if before != nil && reflect.DeepEqual(before.s.AccessLog, s.AccessLog) {
		w.access = before.access.Take()
	} else {
		w.access = share.New(func() (accessLog, share.Close, error) { return g.openAccessLog(&s.AccessLog) })
	}
	if before != nil && reflect.DeepEqual(before.s.Tracing, s.Tracing) {
		w.tracer = before.tracer.Take()
	} else {
		w.tracer = share.New(func() (*observe.Tracer, share.Close, error) { return g.openTracer(&s.Tracing) })
	}
	if _, err := w.access.Get(); err != nil {
		return w, err
	}
	_, err := w.tracer.Get()
	return w, err
}

func (g *gateway) openAccessLog(a *config.AccessLog) (accessLog, share.Close, error) {
	v := g.sight
	if !a.Enabled {
		return accessLog{}, nil, nil
	}
	w, file, err := accessWriter(g.o, a.Path)
	if err != nil {
		return accessLog{}, nil, err
	}
	log, err := observe.NewAccessLog(w, a.Format == config.LogJSON, a.Fields, func(err error) { v.log.Error(err.Error()) })
	if err != nil {
		if file != nil {
			_ = file.Close() // nothing was written
		}
		return accessLog{}, nil, hint.New(err, "see access_log.fields in the settings")
	}
	v.logs.add(log)
	return accessLog{log, file}, func(ctx context.Context) error {
		err := log.Close(ctx)
		v.logs.remove(log)
		if file != nil && err == nil {
			err = file.Close()
		}
		return err
	}, nil
}

func accessWriter(o *Options, path string) (io.Writer, *logs.File, error) {
	switch path {
	case "", "stdout":
		return o.Stdout, nil, nil
	case "stderr":
		return o.Stderr, nil, nil
	}
	f, err := logs.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return f, f, nil
}

func (g *gateway) openTracer(t *config.Tracing) (*observe.Tracer, share.Close, error) {
	if t.Endpoint == "" {
		return nil, nil, nil
	}
	v := g.sight
	tracer, err := observe.NewTracer(g.ctx, observe.TraceOptions{
		Endpoint: t.Endpoint, HTTP: t.Protocol == config.OTLPHTTP, Insecure: t.Insecure, Headers: t.Headers,
		Ratio: t.SampleRatio, Service: t.ServiceName, Version: g.o.Version,
		Fail: func(err error) { v.log.Warn(err.Error()) },
	})
	if err != nil {
		return nil, nil, err
	}
	v.spans.add(tracer)
	return tracer, func(ctx context.Context) error {
		defer v.spans.remove(tracer)
		return tracer.Close(ctx)
	}, nil
}
