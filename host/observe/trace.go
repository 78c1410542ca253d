package observe

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceOptions says where spans go.
type TraceOptions struct {
	Endpoint string // host:port (gRPC) or URL (HTTP)
	HTTP     bool   // OTLP over HTTP instead of gRPC
	Insecure bool   // without TLS (gRPC)
	Headers  map[string]string
	Ratio    float64 // of traces begun here; a caller's decision is followed
	Service  string
	Version  string
}

// Tracer makes spans for requests, hooks and upstream calls and exports them over OTLP.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// NewTracer connects lazily: an exporter that is away costs spans, never requests.
func NewTracer(ctx context.Context, o TraceOptions) (*Tracer, error) {
	client := otlptrace.Client(nil)
	if o.HTTP {
		client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(o.Endpoint), otlptracehttp.WithHeaders(o.Headers))
	} else {
		opts := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(o.Endpoint), otlptracegrpc.WithHeaders(o.Headers)}
		if o.Insecure {
			opts = append(opts, otlptracegrpc.WithInsecure())
		}
		client = otlptracegrpc.NewClient(opts...)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("tracing to %s: %w", o.Endpoint, err)
	}
	return newTracer(exporter, o), nil
}

func newTracer(exporter sdktrace.SpanExporter, o TraceOptions) *Tracer {
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))),
	)
	return &Tracer{p, p.Tracer("turnbuckle")}
}

// Close exports what is left.
func (t *Tracer) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	return nil
}

// Span is the span of one exchange and maker of its children. It belongs to the exchange's goroutine.
type Span struct {
	tracer trace.Tracer
	ctx    context.Context
	span   trace.Span
	state  string
}

// Begin starts the span of an exchange, a child of the caller's if it named one, and makes it the exchange's trace.
func (t *Tracer) Begin(f *flow.Flow, route *sdk.Route) *Span {
	x := &f.X
	h := x.Request().Header()
	s := &Span{tracer: t.tracer, ctx: f.Ctx, state: h.Get("Tracestate")}
	if parent, ok := ParseTraceparent(h.Get("Traceparent")); ok {
		if state, err := trace.ParseTraceState(s.state); err == nil {
			parent = parent.WithTraceState(state)
		} else {
			s.state = ""
		}
		s.ctx = trace.ContextWithRemoteSpanContext(s.ctx, parent)
	}
	s.ctx, s.span = t.tracer.Start(s.ctx, x.Request().Method()+" "+route.ListenPath,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(f.Start),
		trace.WithAttributes(
			attribute.String("http.request.method", x.Request().Method()),
			attribute.String("url.path", x.Request().Path()),
			attribute.String("http.route", route.ListenPath),
			attribute.String("turnbuckle.api", route.ID),
			attribute.String("turnbuckle.request_id", x.RequestID()),
		))
	x.SetTrace(sdk.Trace{Parent: Traceparent(s.span.SpanContext()), State: s.state})
	return s
}

// Child starts a span for a hook or the upstream and makes it the exchange's trace until the returned function ends it
// with an error or nil.
func (s *Span) Child(x *sdk.Exchange, name string, client bool, attrs ...string) func(error) {
	kind := trace.SpanKindInternal
	if client {
		kind = trace.SpanKindClient
	}
	_, child := s.tracer.Start(s.ctx, name, trace.WithSpanKind(kind))
	for i := 0; i+1 < len(attrs); i += 2 {
		child.SetAttributes(attribute.String(attrs[i], attrs[i+1]))
	}
	before := x.Trace()
	x.SetTrace(sdk.Trace{Parent: Traceparent(child.SpanContext()), State: s.state})
	return func(err error) {
		if err != nil {
			child.RecordError(err)
			child.SetStatus(codes.Error, "")
		}
		child.End()
		x.SetTrace(before)
	}
}

// End ends the span of the exchange.
func (s *Span) End(status int, failure string, took time.Duration) {
	s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= 500 {
		s.span.SetStatus(codes.Error, failure)
	}
	if failure != "" {
		s.span.SetAttributes(attribute.String("error.message", failure))
	}
	s.span.SetAttributes(attribute.String("turnbuckle.duration_us", strconv.FormatInt(took.Microseconds(), 10)))
	s.span.End()
}

// Traceparent writes a span context as a traceparent value (W3C Trace Context §3.2).
func Traceparent(c trace.SpanContext) string {
	if !c.IsValid() {
		return ""
	}
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-" + c.TraceFlags().String()
}

// ParseTraceparent reads a traceparent value (W3C Trace Context §3.2). Versions after 00 are read as far as 00 goes, as
// the specification asks.
func ParseTraceparent(s string) (trace.SpanContext, bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return trace.SpanContext{}, false
	}
	id, err := trace.TraceIDFromHex(s[3:35])
	if err != nil {
		return trace.SpanContext{}, false
	}
	span, err := trace.SpanIDFromHex(s[36:52])
	if err != nil {
		return trace.SpanContext{}, false
	}
	version, err1 := strconv.ParseUint(s[:2], 16, 8)
	flags, err2 := strconv.ParseUint(s[53:55], 16, 8)
	if err1 != nil || err2 != nil || version == 0xff {
		return trace.SpanContext{}, false
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags) & trace.FlagsSampled, Remote: true,
	}), true
}
