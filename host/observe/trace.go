package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
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
	Endpoint string // host:port (gRPC) or URL (HTTP); a URL without a path gets OTLP's, /v1/traces
	HTTP     bool   // OTLP over HTTP instead of gRPC
	Insecure bool   // without TLS (gRPC)
	Headers  map[string]string
	Ratio    float64 // of traces begun here; a caller's decision is followed
	Service  string
	Version  string
	Fail     func(error) // told when spans are lost, at most every 10 s; may be nil
}

// Tracer makes spans for requests, hooks and upstream calls and exports them over OTLP. Safe for concurrent use.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	export   *export
}

// NewTracer connects lazily: an exporter that is away costs spans, never requests.
func NewTracer(ctx context.Context, o TraceOptions) (*Tracer, error) {
	var client otlptrace.Client
	if o.HTTP {
		endpoint, err := url.Parse(o.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("tracing: %w", err)
		}
		if endpoint.Path == "" || endpoint.Path == "/" {
			endpoint.Path = "/v1/traces"
		}
		client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(endpoint.String()), otlptracehttp.WithHeaders(o.Headers))
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
	return newTracer(ctx, exporter, o), nil
}

func newTracer(ctx context.Context, exporter sdktrace.SpanExporter, o TraceOptions) *Tracer {
	e := &export{exporter: exporter, fail: o.Fail, ended: make(chan struct{})}
	e.ctx, e.cut = context.WithCancel(context.WithoutCancel(ctx))
	e.queue = sdktrace.NewBatchSpanProcessor(e.exports(), sdktrace.WithMaxQueueSize(spanBound))
	p := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(e),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))),
	)
	return &Tracer{p, p.Tracer("turnbuckle"), e}
}

// Dropped returns how many spans were lost so far.
func (t *Tracer) Dropped() uint64 { return t.export.dropped.Load() }

// Close exports what is left, until ctx ends or for 5 s: a receiver that is away must not hold up a stop for long.
func (t *Tracer) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastExport)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	err = cmp.Or(err, t.export.Shutdown(ctx)) // the provider leaves it out when ctx has ended already
	t.export.cut()
	<-t.export.ended
	if err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	return nil
}

const lastExport = 5 * time.Second

// Span is the span of one exchange and maker of its children. It belongs to the exchange's goroutine.
type Span struct {
	tracer trace.Tracer
	ctx    context.Context
	span   trace.Span
	state  string
	start  time.Time
}

// Begin starts the span of an exchange, a child of the caller's if it named one, and makes it the exchange's trace.
func (t *Tracer) Begin(f *flow.Flow, route *sdk.Route) *Span {
	x := &f.X
	q := x.Request()
	s := &Span{tracer: t.tracer, ctx: f.Ctx, start: f.Start}
	if parent, ok := remote(q.Header()); ok {
		s.ctx, s.state = trace.ContextWithRemoteSpanContext(s.ctx, parent), parent.TraceState().String()
	}
	method := knownMethod(q.Method())
	name := method
	if method == otherMethod {
		name = "HTTP"
	}
	s.ctx, s.span = t.tracer.Start(s.ctx, name+" "+route.ListenPath,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(f.Start))
	if s.span.IsRecording() {
		s.span.SetAttributes(
			attribute.String("http.request.method", method),
			attribute.String("url.scheme", q.Scheme()),
			attribute.String("url.path", q.Path()),
			attribute.String("http.route", route.ListenPath),
			attribute.String("client.address", x.ClientAddr().Addr().String()),
			attribute.String("turnbuckle.api", route.ID),
		)
		s.Identify(x.RequestID())
		if method == otherMethod {
			s.span.SetAttributes(attribute.String("http.request.method_original", q.Method()))
		}
	}
	x.SetTrace(sdk.Trace{Parent: Traceparent(s.span.SpanContext()), State: s.state})
	return s
}

// Identify says in the span what the exchange is known by.
func (s *Span) Identify(requestID string) {
	s.span.SetAttributes(attribute.String("turnbuckle.request_id", requestID))
}

// otherMethod stands for methods that HTTP does not define: they are the client's words, and names of spans are to be
// few.
const otherMethod = "_OTHER"

func knownMethod(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return m
	}
	return otherMethod
}

// Child starts a span for a hook or the upstream and makes it the exchange's trace until the returned function ends it
// with an error or nil. client says that the work is done elsewhere; attrs are names and values in turn.
func (s *Span) Child(x *sdk.Exchange, name string, client bool, attrs ...string) func(error) {
	kind := trace.SpanKindInternal
	if client {
		kind = trace.SpanKindClient
	}
	_, child := s.tracer.Start(s.ctx, name, trace.WithSpanKind(kind))
	for i := 0; i+1 < len(attrs) && child.IsRecording(); i += 2 {
		child.SetAttributes(attribute.String(attrs[i], attrs[i+1]))
	}
	before := x.Trace()
	x.SetTrace(sdk.Trace{Parent: Traceparent(child.SpanContext()), State: s.state})
	return func(err error) {
		if child.IsRecording() {
			finish(child, x, err)
		}
		child.End()
		x.SetTrace(before)
	}
}

// finish notes how the work of a child ended. A refusal is a hook's good right, no fault of its.
func finish(child trace.Span, x *sdk.Exchange, err error) {
	status := x.Response().Status()
	var answer *sdk.Error
	if errors.As(err, &answer) {
		status = answer.Status
	}
	if status != 0 {
		child.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if err != nil {
		child.RecordError(err)
		if answer == nil || answer.Status >= 500 {
			child.SetStatus(codes.Error, "")
		}
	}
}

// End ends the span of the exchange, which took that long.
func (s *Span) End(status int, failure string, took time.Duration) {
	if s.span.IsRecording() {
		s.span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= 500 {
			s.span.SetStatus(codes.Error, failure)
		}
		if failure != "" {
			s.span.SetAttributes(attribute.String("error.message", failure))
		}
	}
	s.span.End(trace.WithTimestamp(s.start.Add(took)))
}
