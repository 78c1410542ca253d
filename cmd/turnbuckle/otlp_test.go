package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// spanCollector takes spans as an OTLP collector does, over gRPC and HTTP.
type spanCollector struct {
	collector.UnimplementedTraceServiceServer

	mu       sync.Mutex
	spans    []*tracepb.Span
	resource string // of the last export
	tokens   map[string]bool
}

func (c *spanCollector) keep(token string, q *collector.ExportTraceServiceRequest) *collector.ExportTraceServiceResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[token] = true
	for _, rs := range q.ResourceSpans {
		c.resource = rs.Resource.String()
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}
}

func (c *spanCollector) Export(ctx context.Context, q *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	return c.keep(strings.Join(md.Get("x-token"), ","), q), nil
}

func (c *spanCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q collector.ExportTraceServiceRequest
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, proto.Unmarshal(body, &q)); err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL, err), http.StatusBadRequest)
		return
	}
	reply, _ := proto.Marshal(c.keep(r.Header.Get("X-Token"), &q))
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(reply)
}

// serve starts the collector and returns the settings that send spans to it.
func (c *spanCollector) serve(t *testing.T, overHTTP bool) []string {
	if overHTTP {
		s := httptest.NewServer(c)
		t.Cleanup(s.Close)
		return []string{"TURNBUCKLE_TRACING_PROTOCOL=http", "TURNBUCKLE_TRACING_ENDPOINT=" + s.URL}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collector.RegisterTraceServiceServer(s, c)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return []string{"TURNBUCKLE_TRACING_INSECURE=true", "TURNBUCKLE_TRACING_ENDPOINT=" + l.Addr().String()}
}

// of returns the spans of a trace by name.
func (c *spanCollector) of(trace string) map[string]*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	spans := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			spans[s.Name] = s
		}
	}
	return spans
}

// TestSpans: a collector gets the spans of request, hooks and upstream, children of one another and of the caller's, and
// each of those who are called is told the span that it is called in. What the caller does not sample is not sent.
func TestSpans(t *testing.T) {
	t.Parallel()
	for _, overHTTP := range []bool{false, true} {
		t.Run(fmt.Sprintf("over HTTP %v", overHTTP), func(t *testing.T) {
			t.Parallel()
			c := &spanCollector{tokens: map[string]bool{}}
			up := start(t, t.TempDir(), environment(), "upstream")
			dir := folder(t, map[string]string{"apis/a.yaml": "id: traced\nlisten: {path: /a}\nupstream: {url: \"http://${UP}\"}\n" +
				"hooks: {pre: [{hook: Trace, timeout: 15s}], auth: [{hook: Auth, timeout: 15s}], response: [{hook: Trace, timeout: 15s}]}\n"},
				map[string]string{"UP": up.address})
			start(t, dir, environment(), "plugin", "-listen", "unix:"+dir+"/p.sock")
			env := append(c.serve(t, overHTTP), "TURNBUCKLE_TRACING_HEADERS=x-token=open sesame", "TURNBUCKLE_TRACING_SERVICE_NAME=edge")
			g := startGateway(t, dir, env, "--plugin-server", "unix:"+dir+"/p.sock")

			const trace, span, silent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "aaf92f3577b34da6a3ce929d0e0e4736"
			got := ask(t, "-H", "Authorization: good", "-H", "Traceparent: 00-"+trace+"-"+span+"-01", "-H", "Tracestate: vendor=1", g.url+"/a/x")
			refused := ask(t, "-H", "Authorization: stranger", g.url+"/a/x")
			unsampled := ask(t, "-H", "Authorization: good", "-H", "Traceparent: 00-"+silent+"-"+span+"-00", g.url+"/a/x")
			if statusOf(got)+statusOf(refused)+statusOf(unsampled) != "200403200" {
				t.Fatalf("got %s\n%s\n%s", got, refused, unsampled)
			}
			if err := g.stop(); err != nil { // which sends what is left
				t.Error(err)
			}

			spans := c.of(trace)
			root := spans["GET /a"]
			if root == nil || hex.EncodeToString(root.ParentSpanId) != span || root.Kind != tracepb.Span_SPAN_KIND_SERVER {
				t.Fatalf("got %v, want a server's span below %s", root, span)
			}
			for name, told := range map[string]string{
				"pre Trace": `(?m)^up > X-Trace-Pre: (.*)$`, "response Trace": `(?m)^X-Trace-Response: (.*)$`,
				"upstream": `(?m)^up > Traceparent: (.*)$`, "auth Auth": "",
			} {
				s := spans[name]
				if s == nil || string(s.ParentSpanId) != string(root.SpanId) {
					t.Errorf("%s: got %v, want a span below that of the request", name, s)
					continue
				}
				if s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano || s.EndTimeUnixNano < s.StartTimeUnixNano {
					t.Errorf("%s: from %d to %d, within %d to %d", name, s.StartTimeUnixNano, s.EndTimeUnixNano, root.StartTimeUnixNano, root.EndTimeUnixNano)
				}
				m := regexp.MustCompile(told).FindStringSubmatch(got)
				if want := "00-" + trace + "-" + hex.EncodeToString(s.SpanId) + "-01"; told != "" && (m == nil || m[1] != want) {
					t.Errorf("%s was told %q, want %s: %s", name, m, want, got)
				}
			}
			if len(spans) != 5 || !strings.Contains(got, "up > Tracestate: vendor=1\n") {
				t.Errorf("got %d spans; %s", len(spans), got)
			}
			c.alone(t, silent, unsampled)
		})
	}
}

// alone checks the traces that began here, of which there is one, and that the caller's unsampled one was told on and not
// sent.
func (c *spanCollector) alone(t *testing.T, silent, unsampled string) {
	t.Helper()
	if n := len(c.of(silent)); n != 0 || !strings.Contains(unsampled, "up > Traceparent: 00-"+silent+"-") {
		t.Errorf("not sampled: %d spans; %s", n, unsampled)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	roots := 0
	for _, s := range c.spans {
		if len(s.ParentSpanId) == 0 {
			roots++
		}
	}
	if roots != 1 || !strings.Contains(c.resource, "edge") || !c.tokens["open sesame"] || len(c.tokens) != 1 {
		t.Errorf("%d traces began here, want 1; of %s, tokens %v", roots, c.resource, c.tokens)
	}
}
