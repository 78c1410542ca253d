package observe

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// receiver takes spans as an OTLP collector would.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu      sync.Mutex
	spans   map[string]*tracepb.Span // by name
	service string
	secret  string // of the header that came with the last export
	path    string // HTTP
}

func (r *receiver) Export(ctx context.Context, q *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		r.secret = strings.Join(md.Get("x-secret"), ",")
	}
	if r.spans == nil {
		r.spans = map[string]*tracepb.Span{}
	}
	for _, rs := range q.ResourceSpans {
		r.service = attributeOf(rs.Resource.Attributes, "service.name") + " " + attributeOf(rs.Resource.Attributes, "service.version")
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans[s.Name] = s
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var export collector.ExportTraceServiceRequest
	if err = errors.Join(err, proto.Unmarshal(body, &export)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = r.Export(q.Context(), &export)
	r.mu.Lock()
	r.path, r.secret = q.URL.Path, q.Header.Get("X-Secret")
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// grpcReceiver serves r and returns where.
func grpcReceiver(t *testing.T, r *receiver) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, r)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func traced(method string, header ...sdk.Field) *flow.Flow {
	f := &flow.Flow{Ctx: context.Background(), Start: time.Now()}
	f.X.Reset(sdk.Init{RequestID: "r-1", Client: netip.MustParseAddrPort("192.0.2.7:4711")})
	f.X.Request().Fill(sdk.RequestInit{Method: method, Path: "/shop/v1/books", Scheme: "https"})
	for _, h := range header {
		f.X.Request().Header().Append(h.Name, h.Value)
	}
	return f
}

var shop = &sdk.Route{ID: "shop", ListenPath: "/shop"}

const (
	callersTrace  = "0af7651916cd43dd8448eb211c80319c"
	callersSpan   = "b7ad6b7169203331"
	callersParent = "00-" + callersTrace + "-" + callersSpan + "-01"
)

// request drives a request with a hook that refuses nothing, one that refuses, and an upstream that fails. It returns
// the trace contexts that each of them saw.
func request(tr *Tracer, f *flow.Flow) map[string]sdk.Trace {
	x := &f.X
	seen := map[string]sdk.Trace{}
	s := tr.Begin(f, shop)
	seen["request"] = x.Trace()
	end := s.Child(x, "pre Welcome", true, "turnbuckle.server", "doorman")
	seen["pre Welcome"] = x.Trace()
	end(nil)
	end = s.Child(x, "auth CheckToken", true)
	end(sdk.Errorf(403, "no"))
	end = s.Child(x, "local", false)
	end(errors.New("broke"))
	end = s.Child(x, "upstream", true)
	seen["upstream"] = x.Trace()
	x.Response().Fill(201, 0)
	end(nil)
	seen["after"] = x.Trace()
	s.End(502, "upstream broke", 1500*time.Millisecond)
	return seen
}

func TestTracer(t *testing.T) {
	for _, protocol := range []string{"grpc", "http", "http without a path"} {
		t.Run(protocol, func(t *testing.T) {
			r := &receiver{}
			o := TraceOptions{Ratio: 0, Service: "gw", Version: "1.2", Headers: map[string]string{"x-secret": "s3"}, Fail: func(err error) { t.Error(err) }}
			if protocol == "grpc" {
				o.Endpoint, o.Insecure = grpcReceiver(t, r), true
			} else {
				server := httptest.NewServer(r)
				defer server.Close()
				o.Endpoint, o.HTTP = server.URL, true
				if protocol == "http" {
					o.Endpoint += "/v1/traces"
				}
			}
			tr, err := NewTracer(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			// The ratio is 0: only a caller's decision makes it sampled.
			f := traced("POST", sdk.Field{Name: "traceparent", Value: callersParent}, sdk.Field{Name: "tracestate", Value: "a=1"}, sdk.Field{Name: "TraceState", Value: "b=2"})
			seen := request(tr, f)
			if err := tr.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkSpans(t, r, f, seen)
			if r.secret != "s3" || r.service != "gw 1.2" || o.HTTP && r.path != "/v1/traces" {
				t.Errorf("secret %q, service %q, path %q", r.secret, r.service, r.path)
			}
			if tr.Dropped() != 0 {
				t.Errorf("%d dropped", tr.Dropped())
			}
		})
	}
}

func checkSpans(t *testing.T, r *receiver, f *flow.Flow, seen map[string]sdk.Trace) {
	t.Helper()
	if len(r.spans) != 5 {
		t.Fatalf("%d spans: %v", len(r.spans), r.spans)
	}
	server := r.spans["POST /shop"]
	if server == nil {
		t.Fatalf("no span of the request in %v", r.spans)
	}
	if hex.EncodeToString(server.ParentSpanId) != callersSpan || server.Kind != tracepb.Span_SPAN_KIND_SERVER || server.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("request: %v", server)
	}
	if took := time.Duration(server.EndTimeUnixNano - server.StartTimeUnixNano); took != 1500*time.Millisecond {
		t.Errorf("request took %v", took)
	}
	for name, want := range map[string]string{
		"http.request.method": "POST", "url.path": "/shop/v1/books", "http.route": "/shop", "client.address": "192.0.2.7",
		"turnbuckle.api": "shop", "turnbuckle.request_id": "r-1", "http.response.status_code": "502", "error.message": "upstream broke",
	} {
		if got := attributeOf(server.Attributes, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]struct {
		kind   tracepb.Span_SpanKind
		status string
		failed bool
	}{
		"pre Welcome":     {tracepb.Span_SPAN_KIND_CLIENT, "", false},
		"auth CheckToken": {tracepb.Span_SPAN_KIND_CLIENT, "403", false},
		"local":           {tracepb.Span_SPAN_KIND_INTERNAL, "", true},
		"upstream":        {tracepb.Span_SPAN_KIND_CLIENT, "201", false},
	} {
		s := r.spans[name]
		if s == nil {
			t.Errorf("no span %s", name)
			continue
		}
		if string(s.ParentSpanId) != string(server.SpanId) || hex.EncodeToString(s.TraceId) != callersTrace || s.Kind != want.kind {
			t.Errorf("%s: %v", name, s)
		}
		if got := attributeOf(s.Attributes, "http.response.status_code"); got != want.status {
			t.Errorf("%s: status %q, want %q", name, got, want.status)
		}
		if got := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; got != want.failed {
			t.Errorf("%s: failed %v", name, got)
		}
	}
	if attributeOf(r.spans["pre Welcome"].Attributes, "turnbuckle.server") != "doorman" {
		t.Errorf("pre Welcome: %v", r.spans["pre Welcome"].Attributes)
	}
	// What each was told is its own span, and the caller's state.
	for name, span := range map[string]*tracepb.Span{"request": server, "after": server, "pre Welcome": r.spans["pre Welcome"], "upstream": r.spans["upstream"]} {
		want := sdk.Trace{Parent: "00-" + callersTrace + "-" + hex.EncodeToString(span.GetSpanId()) + "-01", State: "a=1,b=2"}
		if seen[name] != want {
			t.Errorf("%s saw %+v, want %+v", name, seen[name], want)
		}
	}
}

func TestTracerFollowsDecisions(t *testing.T) {
	tests := []struct {
		name     string
		ratio    float64
		header   []sdk.Field
		exported bool
		trace    string // of the caller; "" for a new one
		state    string
	}{
		{"begun here, kept", 1, nil, true, "", ""},
		{"begun here, not kept", 0, nil, false, "", ""},
		{"caller keeps", 0, []sdk.Field{{Name: "Traceparent", Value: callersParent}, {Name: "Tracestate", Value: "v=1"}}, true, callersTrace, "v=1"},
		{"caller does not", 1, []sdk.Field{{Name: "Traceparent", Value: callersParent[:53] + "00"}, {Name: "Tracestate", Value: "v=1"}}, false, callersTrace, "v=1"},
		{"malformed: begun anew, its state means nothing", 1, []sdk.Field{{Name: "Traceparent", Value: "00-nonsense"}, {Name: "Tracestate", Value: "v=1"}}, true, "", ""},
		{"state alone", 1, []sdk.Field{{Name: "Tracestate", Value: "v=1"}}, true, "", ""},
		{"two parents", 1, []sdk.Field{{Name: "Traceparent", Value: callersParent}, {Name: "traceparent", Value: callersParent}}, true, "", ""},
		{"malformed state", 1, []sdk.Field{{Name: "Traceparent", Value: callersParent}, {Name: "Tracestate", Value: "=,="}}, true, callersTrace, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			exporter := &memory{}
			tr := newTracer(t.Context(), exporter, TraceOptions{Ratio: tt.ratio})
			f := traced("GET", tt.header...)
			s := tr.Begin(f, shop)
			got := f.X.Trace()
			s.End(200, "", time.Millisecond)
			if err := tr.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if (exporter.count() == 1) != tt.exported {
				t.Errorf("%d exported", exporter.count())
			}
			c, ok := ParseTraceparent(got.Parent)
			if !ok || c.IsSampled() != tt.exported || c.SpanID().String() == callersSpan || got.State != tt.state {
				t.Errorf("trace %+v", got)
			}
			if c.TraceID().String() != tt.trace && tt.trace != "" || tt.trace == "" && c.TraceID().String() == callersTrace {
				t.Errorf("trace %+v, want id %q", got, tt.trace)
			}
		})
	}
}

// Methods are the client's words: they name no span.
func TestTracerOddMethod(t *testing.T) {
	exporter := &memory{}
	tr := newTracer(t.Context(), exporter, TraceOptions{Ratio: 1})
	tr.Begin(traced("BREW"), shop).End(405, "", 0)
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := exporter.spans[0].Name(); got != "HTTP /shop" {
		t.Errorf("span %q", got)
	}
	attrs := map[string]string{}
	for _, a := range exporter.spans[0].Attributes() {
		attrs[string(a.Key)] = a.Value.String()
	}
	if attrs["http.request.method"] != "_OTHER" || attrs["http.request.method_original"] != "BREW" {
		t.Errorf("got %v", attrs)
	}
}

// An exporter that is stuck costs spans, counted, and no request waits; one that fails is told of, not with every batch.
func TestTracerExporterAway(t *testing.T) {
	gate := make(chan struct{})
	exporter := &memory{gate: gate, err: errors.New("away")}
	var told []string
	tr := newTracer(t.Context(), exporter, TraceOptions{Ratio: 1, Fail: func(err error) { told = append(told, err.Error()) }})
	const begun = 3 * spanBound
	for range begun {
		tr.Begin(traced("GET"), shop).End(200, "", 0)
	}
	if waiting := tr.export.waiting.Load(); waiting > spanBound || tr.Dropped()+uint64(waiting) != begun {
		t.Errorf("%d wait, %d dropped of %d", waiting, tr.Dropped(), begun)
	}
	close(gate)
	if err := tr.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if tr.Dropped() != begun || len(told) != 1 || !strings.Contains(told[0], "spans lost: away") {
		t.Errorf("%d dropped, told %v", tr.Dropped(), told)
	}
}

// Nobody listens at the endpoint: making the tracer and ending is not held up.
func TestTracerNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, asHTTP := range []bool{true, false} {
		o := TraceOptions{Endpoint: l.Addr().String(), HTTP: asHTTP, Insecure: true, Ratio: 1}
		if asHTTP {
			o.Endpoint = "http://" + o.Endpoint
		}
		tr, err := NewTracer(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		request(tr, traced("GET"))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if !asHTTP {
			cancel() // no time at all
		}
		if err := tr.Close(ctx); err == nil && tr.Dropped() == 0 {
			t.Error("spans were lost, and nobody says so")
		}
		cancel()
	}
	if _, err := NewTracer(t.Context(), TraceOptions{HTTP: true, Endpoint: "http://bad host\x7f"}); err == nil {
		t.Error("a bad URL was taken")
	}
}

func TestParseTraceparent(t *testing.T) {
	const trace, span = callersTrace, callersSpan
	tests := []struct {
		name, in string
		want     string // what Traceparent writes again; "" when it is not taken
	}{
		{"sampled", "00-" + trace + "-" + span + "-01", "00-" + trace + "-" + span + "-01"},
		{"not sampled", "00-" + trace + "-" + span + "-00", "00-" + trace + "-" + span + "-00"},
		{"flags nobody knows are cleared", "00-" + trace + "-" + span + "-ff", "00-" + trace + "-" + span + "-01"},
		{"random flag alone", "00-" + trace + "-" + span + "-02", "00-" + trace + "-" + span + "-00"},
		{"a later version", "cc-" + trace + "-" + span + "-01", "00-" + trace + "-" + span + "-01"},
		{"a later version with more", "cc-" + trace + "-" + span + "-01-what-the-future-holds", "00-" + trace + "-" + span + "-01"},
		{"a later version with more, not parted", "cc-" + trace + "-" + span + "-01.more", ""},
		{"version 00 with more", "00-" + trace + "-" + span + "-01-more", ""},
		{"version 00 with a dash more", "00-" + trace + "-" + span + "-01-", ""},
		{"version ff", "ff-" + trace + "-" + span + "-01", ""},
		{"version in upper case", "CC-" + trace + "-" + span + "-01", ""},
		{"version no hex", "0g-" + trace + "-" + span + "-01", ""},
		{"version with a sign", "+1-" + trace + "-" + span + "-01", ""},
		{"no version", "-" + trace + "-" + span + "-01", ""},
		{"trace in upper case", "00-" + strings.ToUpper(trace) + "-" + span + "-01", ""},
		{"span in upper case", "00-" + trace + "-" + strings.ToUpper(span) + "-01", ""},
		{"trace of zeros", "00-" + strings.Repeat("0", 32) + "-" + span + "-01", ""},
		{"span of zeros", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"trace no hex", "00-" + trace[:31] + "." + "-" + span + "-01", ""},
		{"trace too short", "00-" + trace[1:] + "-" + span + "-01", ""},
		{"span too long", "00-" + trace + "-" + span + "0-01", ""},
		{"flags no hex", "00-" + trace + "-" + span + "-0x", ""},
		{"flags in upper case", "00-" + trace + "-" + span + "-0A", ""},
		{"flags too short", "00-" + trace + "-" + span + "-1", ""},
		{"no flags", "00-" + trace + "-" + span, ""},
		{"underscores", "00_" + trace + "_" + span + "_01", ""},
		{"space before", " 00-" + trace + "-" + span + "-01", ""},
		{"space behind", "00-" + trace + "-" + span + "-01 ", ""},
		{"empty", "", ""},
		{"nonsense", "nonsense", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, ok := ParseTraceparent(tt.in)
			if got := Traceparent(c); got != tt.want || ok != (tt.want != "") || ok && !c.IsRemote() {
				t.Errorf("%q: got %q, %v, want %q", tt.in, got, ok, tt.want)
			}
		})
	}
}

// memory is an exporter that keeps what it gets.
type memory struct {
	gate chan struct{} // nil: open
	err  error

	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

func (m *memory) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spans = append(m.spans, spans...)
	return m.err
}

func (m *memory) Shutdown(context.Context) error { return nil }

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.spans)
}

// What tracing costs a request with one hook and an upstream: kept, not kept.
func BenchmarkSpans(b *testing.B) {
	for name, ratio := range map[string]float64{"kept": 1, "not kept": 0} {
		b.Run(name, func(b *testing.B) {
			tr := newTracer(b.Context(), &memory{}, TraceOptions{Ratio: ratio})
			defer func() { _ = tr.Close(context.Background()) }()
			f := traced("GET")
			b.ReportAllocs()
			for b.Loop() {
				s := tr.Begin(f, shop)
				s.Child(&f.X, "pre Welcome", true, "turnbuckle.server", "doorman")(nil)
				s.Child(&f.X, "upstream", true)(nil)
				s.End(200, "", time.Millisecond)
			}
		})
	}
}

// attributeOf is the value of an attribute as text; "" when there is none.
func attributeOf(all []*commonpb.KeyValue, key string) string {
	for _, a := range all {
		if a.Key != key {
			continue
		}
		if n, ok := a.Value.Value.(*commonpb.AnyValue_IntValue); ok {
			return strconv.FormatInt(n.IntValue, 10)
		}
		return a.Value.GetStringValue()
	}
	return ""
}
