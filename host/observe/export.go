package observe

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanBound is how many spans wait for the exporter.
const spanBound = 4096

// export stands on both sides of OpenTelemetry's queue of spans and counts what gets lost, which that would only tell
// its process-wide error handler.
type export struct {
	queue    sdktrace.SpanProcessor
	exporter sdktrace.SpanExporter
	fail     func(error)

	waiting atomic.Int64 // spans in the queue
	dropped atomic.Uint64

	ctx   context.Context // of exports; cut ends it
	cut   func()
	ended chan struct{} // closed when the exporter has been shut down

	told  time.Time // the rest is the exporting goroutine's
	known uint64
}

var _ sdktrace.SpanProcessor = (*export)(nil)

// OnStart implements [sdktrace.SpanProcessor].
func (e *export) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) { e.queue.OnStart(ctx, s) }

// OnEnd implements [sdktrace.SpanProcessor]: it never waits.
func (e *export) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if e.waiting.Add(1) > spanBound {
		e.waiting.Add(-1)
		e.dropped.Add(1)
		return
	}
	e.queue.OnEnd(s)
}

// Shutdown implements [sdktrace.SpanProcessor].
func (e *export) Shutdown(ctx context.Context) error { return e.queue.Shutdown(ctx) }

// ForceFlush implements [sdktrace.SpanProcessor].
func (e *export) ForceFlush(ctx context.Context) error { return e.queue.ForceFlush(ctx) }

// exports is the other side of the queue.
func (e *export) exports() sdktrace.SpanExporter { return exporting{e} }

type exporting struct{ *export }

// ExportSpans implements [sdktrace.SpanExporter]. An error has been dealt with here.
func (e exporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	err := e.exporter.ExportSpans(ctx, spans)
	e.waiting.Add(-int64(len(spans)))
	if err == nil {
		return nil
	}
	dropped := e.dropped.Add(uint64(len(spans)))
	if now := time.Now(); e.fail != nil && (e.told.IsZero() || now.Sub(e.told) >= tellEvery) {
		e.fail(fmt.Errorf("tracing: %d spans lost: %w", dropped-e.known, err))
		e.told, e.known = now, dropped
	}
	return nil
}

// Shutdown implements [sdktrace.SpanExporter]; it is called once, after the last export.
func (e exporting) Shutdown(ctx context.Context) error {
	defer close(e.ended)
	return e.exporter.Shutdown(ctx)
}
