package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/hint"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
)

// sight is how a running gateway is seen: log, access log, metrics, spans.
type sight struct {
	log      *slog.Logger
	metrics  *observe.Metrics
	registry *prometheus.Registry
	access   *observe.AccessLog
	file     *logFile // of the access log; nil: none
	tracer   *observe.Tracer
}

func newSight(ctx context.Context, o *Options) (*sight, error) {
	s := o.Settings
	v := &sight{log: newLog(o.Stderr, s.Log), metrics: observe.NewMetrics(), registry: prometheus.NewRegistry()}
	v.registry.MustRegister(observe.NewCollector(v.metrics), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a := s.AccessLog; a.Enabled {
		w, file, err := accessWriter(o, a.Path)
		if err != nil {
			return nil, err
		}
		v.file = file
		v.access, err = observe.NewAccessLog(w, a.Format == config.LogJSON, a.Fields, func(err error) { v.log.Error(err.Error()) })
		if err != nil {
			return nil, hint.New(err, "see access_log.fields in the settings")
		}
		v.registry.MustRegister(observe.NewAccessLogCollector(v.access))
	}
	if t := s.Tracing; t.Endpoint != "" {
		tracer, err := observe.NewTracer(ctx, observe.TraceOptions{
			Endpoint: t.Endpoint, HTTP: t.Protocol == config.OTLPHTTP, Insecure: t.Insecure, Headers: t.Headers,
			Ratio: t.SampleRatio, Service: t.ServiceName, Version: o.Version,
			Fail: func(err error) { v.log.Warn(err.Error()) },
		})
		if err != nil {
			return nil, errors.Join(err, v.close(ctx, time.Second))
		}
		v.tracer = tracer
		v.registry.MustRegister(observe.NewTracerCollector(tracer))
	}
	return v, nil
}

// watch exports what lies outside the host: plugin servers and the targets of upstreams.
func (v *sight) watch(s *servers, t *targets) {
	states := []rpc.State{rpc.StateConnecting, rpc.StateReady, rpc.StateNotServing, rpc.StateDown}
	var names []string
	for _, state := range states {
		names = append(names, string(state))
	}
	v.registry.MustRegister(observe.NewPluginCollector(names, s.instances), observe.NewTargetCollector(t.list))
}

// close writes out what is buffered.
func (v *sight) close(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var errs []error
	if v.access != nil {
		errs = append(errs, v.access.Close(ctx))
	}
	if v.file != nil {
		errs = append(errs, v.file.Close())
	}
	if v.tracer != nil {
		errs = append(errs, v.tracer.Close(ctx))
	}
	return errors.Join(errs...)
}

func newLog(w io.Writer, c config.Log) *slog.Logger {
	levels := map[config.LogLevel]slog.Level{
		config.LevelDebug: slog.LevelDebug, config.LevelInfo: slog.LevelInfo, config.LevelWarn: slog.LevelWarn, config.LevelError: slog.LevelError,
	}
	o := &slog.HandlerOptions{Level: levels[c.Level]}
	if c.Format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func accessWriter(o *Options, path string) (io.Writer, *logFile, error) {
	switch path {
	case "", "stdout":
		return o.Stdout, nil, nil
	case "stderr":
		return o.Stderr, nil, nil
	}
	f, err := openLogFile(path)
	if err != nil {
		return nil, nil, err
	}
	return f, f, nil
}

func compileReplies(s *config.Settings) (*reply.Renderer, error) {
	r, err := reply.Compile(s.Errors, s.HideGenerator)
	if err != nil {
		return nil, fmt.Errorf("error templates: %w", err)
	}
	return r, nil
}
