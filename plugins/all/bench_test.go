package all_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/turnbuckle-gateway/turnbuckle/cmd/turnbuckle/builtin"
	"github.com/turnbuckle-gateway/turnbuckle/host"
	"github.com/turnbuckle-gateway/turnbuckle/host/config"
	"github.com/turnbuckle-gateway/turnbuckle/host/flow"
	"github.com/turnbuckle-gateway/turnbuckle/host/observe"
	"github.com/turnbuckle-gateway/turnbuckle/host/reply"
	"github.com/turnbuckle-gateway/turnbuckle/internal/processtest"
	"github.com/turnbuckle-gateway/turnbuckle/plugins/all"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// BenchmarkUse is the CPU that a ready-made plugin adds to a request, whoever spends it: chain, observer, sender, garbage
// collector. Requests come at a steady 20,000 a second, so that queues are as full as they are in a gateway; between front and
// upstream there is nothing else. Compare cpu-ns/op with that of none.
func BenchmarkUse(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	b.Cleanup(up.Close)
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	refused := "http://" + down.Addr().String()
	if err = down.Close(); err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct{ name, use string }{
		{"none", "use: []"},
		{"correlation", "use: [{plugin: correlation}]"},
		{"bots", "use: [{plugin: bots}]"},
		{"datadog", "use: [{plugin: datadog, config: {statsd: '127.0.0.1:9'}}]"},
		{"loggly up", "use: [{plugin: loggly, config: {token: t, endpoint: '" + up.URL + "'}}]"},
		{"loggly down", "use: [{plugin: loggly, config: {token: t, endpoint: '" + refused + "'}}]"},
	} {
		b.Run(test.name, func(b *testing.B) {
			g := gateway(b, test.use)
			const each = 2 * time.Millisecond
			f, ctx := &flow.Flow{}, b.Context()
			ticker := time.NewTicker(each)
			defer ticker.Stop()
			began := processtest.CPU(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%40 == 0 {
					<-ticker.C
				}
				f.Reset()
				f.Ctx, f.Client, f.Start = ctx, nobody{}, time.Now()
				f.X.Reset(sdk.Init{Client: netip.MustParseAddrPort("192.0.2.1:99"), Backing: f})
				f.X.Request().Fill(sdk.RequestInit{Method: "GET", Scheme: "http", Host: "127.0.0.1:8080", Path: "/", URI: "/", Proto: "HTTP/1.1"})
				f.X.Request().Header().Append("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
				g.Serve(f)
				if f.X.Response().Status() != 204 {
					b.Fatal(f.X.Response().Status())
				}
			}
			b.ReportMetric(float64(processtest.CPU(b)-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// gateway serves one API that uses what use says.
func gateway(b *testing.B, use string) *host.Gateway {
	b.Helper()
	ready := builtin.New(slog.New(slog.DiscardHandler), all.Plugins())
	list, err := ready.Manifests()
	if err != nil {
		b.Fatal(err)
	}
	d, refused := config.Loader{Builtins: list}.Parse("a.yaml", []byte("id: a\nlisten: {path: /}\nupstream: {url: http://up}\n"+use+"\n"))
	if refused != nil {
		b.Fatal(refused.Problems)
	}
	replies, err := reply.Compile(config.Errors{}, true)
	if err != nil {
		b.Fatal(err)
	}
	log, err := observe.NewAccessLog(io.Discard, true, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	g := host.New(b.Context(), host.Options{Log: slog.New(slog.DiscardHandler), Metrics: observe.NewMetrics(), Replies: replies, AccessLog: log})
	b.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(g.Close(ctx), log.Close(ctx)); err != nil {
			b.Error(err)
		}
	})
	if err = g.Load(b.Context(), config.Set{Definitions: []*config.Definition{d}}, opener{ready, b.TempDir()}, false); err != nil {
		b.Fatal(err)
	}
	return g
}

// opener has ready-made plugins, and an upstream that is there at once.
type opener struct {
	ready *builtin.Builtins
	dir   string
}

func (o opener) Server(d *config.Definition, _ string) (host.Server, error) {
	return o.ready.Get(context.Background(), &d.Use[0], o.dir)
}
func (o opener) Plugin(d *config.Definition, _, hook string, _ []byte) (config.Policy, error) {
	return o.ready.Policy(&d.Use[0], hook)
}
func (opener) Upstream(*config.Definition, string) (host.Upstream, error) { return upstream{}, nil }

type upstream struct{}

func (upstream) RoundTrip(_ context.Context, f *flow.Flow) error {
	f.X.Response().Fill(204, 0)
	f.Reply.Target = "http://up"
	return nil
}
func (upstream) Close(context.Context) error { return nil }

// nobody is a client that takes everything.
type nobody struct{}

func (nobody) WriteHeader(int, *sdk.Header, int64) {}
func (nobody) Write(p []byte) (int, error)         { return len(p), nil }
func (nobody) Flush() error                        { return nil }
func (nobody) WriteTrailer(*sdk.Header)            {}
