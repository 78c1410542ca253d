package rpc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

const childEnv = "TURNBUCKLE_RPC_TEST_CHILD"

// TestMain lets this binary be the plugin server whose CPU is not to be counted with the host's.
func TestMain(m *testing.M) {
	if socket := os.Getenv(childEnv); socket != "" {
		fmt.Fprintln(os.Stderr, serveChild(socket))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// serveChild serves a native plugin at socket and an unmodified server of Tyk's protocol at socket.tyk.
func serveChild(socket string) error {
	l, err := net.Listen("unix", socket+".tyk")
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	tykpb.RegisterDispatcherServer(g, tykMarker{})
	go func(l net.Listener) { _ = g.Serve(l) }(l)
	s, err := serve.New(markPlugin(), serve.Options{})
	if err != nil {
		return err
	}
	if l, err = serve.Listen(context.Background(), "unix:"+socket, 0o600); err != nil {
		return err
	}
	return s.Serve(context.Background(), l)
}

type tykMarker struct {
	tykpb.UnimplementedDispatcherServer
}

func (tykMarker) Dispatch(_ context.Context, o *tykpb.Object) (*tykpb.Object, error) {
	o.Request.SetHeaders = map[string]string{"X-Mark": "1"}
	return o, nil
}

func markPlugin() *sdk.Plugin {
	return &sdk.Plugin{Name: "bench", Version: "1", Hooks: []sdk.HookSpec{{Name: "Mark", Phase: sdk.Pre,
		Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
			x.Request().Header().Set("X-Mark", "1")
			return nil
		})}}}
}

func benchExchange() *sdk.Exchange {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{Route: benchRoute(), RequestID: "0123456789abcdef"})
	x.Request().Fill(sdk.RequestInit{Method: "GET", Scheme: "http", Host: "example.test", Path: "/orders/42", Query: "page=2", URI: "/orders/42?page=2", Proto: "HTTP/1.1"})
	for _, f := range []sdk.Field{{Name: "User-Agent", Value: "wrk/4.2"}, {Name: "Accept", Value: "*/*"}, {Name: "X-Forwarded-For", Value: "10.0.0.1"}} {
		x.Request().Header().Append(f.Name, f.Value)
	}
	return x
}

func benchRoute() *sdk.Route { return &sdk.Route{ID: "r", Name: "orders", ListenPath: "/orders/"} }

// startChild starts the child and returns its socket.
func startChild(b *testing.B) (string, int) {
	socket := filepath.Join(b.TempDir(), "s")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+socket)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C { // of another process there is nothing to wait on
		if _, err := os.Stat(socket); err == nil {
			tick.Stop()
			return socket, cmd.Process.Pid
		}
		if b.Context().Err() != nil {
			b.Fatal("child did not start")
		}
	}
}

func cpuOf(b *testing.B, pid int) time.Duration {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		b.Skip("needs /proc")
	}
	var sum time.Duration
	for _, t := range tasks {
		var ns int64
		if text, err := os.ReadFile(t); err == nil {
			if _, err := fmt.Sscan(string(text), &ns); err == nil {
				sum += time.Duration(ns)
			}
		}
	}
	return sum
}

func ownCPU() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// await polls until the server is ready.
func await(t testing.TB, s *rpc.Server) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, i := range s.Status() {
			if i.State == rpc.StateReady {
				return
			}
		}
		select {
		case <-deadline.C:
			t.Fatalf("server is not ready: %+v", s.Status())
		case <-tick.C:
		}
	}
}

// measure runs call from so many callers and reports the CPU of both processes.
func measure(b *testing.B, pid, callers int, call func(x *sdk.Exchange) error) {
	x := benchExchange()
	if err := call(x); err != nil {
		b.Fatal(err)
	}
	server, own := cpuOf(b, pid), ownCPU()
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			x := benchExchange()
			for left.Add(-1) >= 0 {
				if err := call(x); err != nil {
					b.Error(err)
					return
				}
				x.Request().Header().Remove("X-Mark")
			}
		})
	}
	all.Wait()
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(float64(ownCPU()-own)/n, "host-cpu-ns/call")
	b.ReportMetric(float64(cpuOf(b, pid)-server)/n, "plugin-cpu-ns/call")
}

func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 10, 50, 200} {
		for _, how := range []struct {
			name   string
			suffix string
			o      rpc.Options
		}{
			{"native", "", rpc.Options{}},
			{"native-window2", "", rpc.Options{Window: 2}},
			{"native-streams2", "", rpc.Options{Streams: 2}},
			{"tyk", ".tyk", rpc.Options{}},
			{"tyk-grpc", ".tyk", rpc.Options{GRPCUnary: true}},
		} {
			b.Run(fmt.Sprintf("%s/callers=%d", how.name, callers), func(b *testing.B) {
				socket, pid := startChild(b)
				how.o.Address = "unix:" + socket + how.suffix
				s, err := rpc.Open(b.Context(), how.o)
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				await(b, s)
				hook, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Route: benchRoute()})
				if err != nil {
					b.Fatal(err)
				}
				before := s.Stats()
				measure(b, pid, callers, func(x *sdk.Exchange) error {
					x.Begin(sdk.Pre, nil, false)
					ctx := deadline{b.Context(), time.Now().Add(5 * time.Second)}
					return hook.Handle(ctx, x)
				})
				after := s.Stats()
				if frames := after.CallFrames - before.CallFrames; frames > 0 {
					b.ReportMetric(float64(after.Calls-before.Calls)/float64(frames), "calls/frame")
				}
			})
		}
		b.Run(fmt.Sprintf("bare/callers=%d", callers), func(b *testing.B) {
			socket, pid := startChild(b)
			conn, err := grpc.NewClient("unix:"+socket+".tyk", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			client := tykpb.NewDispatcherClient(conn)
			measure(b, pid, callers, func(*sdk.Exchange) error {
				ctx, cancel := context.WithTimeout(b.Context(), 5*time.Second)
				defer cancel()
				_, err := client.Dispatch(ctx, bareObject())
				return err
			})
		})
	}
}

// deadline is a context like the host's: a deadline and no timer.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

func bareObject() *tykpb.Object {
	return &tykpb.Object{
		HookType: tykpb.HookType_Pre, HookName: "Mark",
		Request: &tykpb.MiniRequestObject{
			Headers:         map[string]string{"User-Agent": "wrk/4.2", "Accept": "*/*", "X-Forwarded-For": "10.0.0.1", "Host": "example.test"},
			SetHeaders:      map[string]string{},
			Url:             "/orders/42?page=2",
			Params:          map[string]string{"page": "2"},
			ReturnOverrides: &tykpb.ReturnOverrides{ResponseCode: -1},
			Method:          "GET", RequestUri: "/orders/42?page=2", Scheme: "http",
		},
		Spec: map[string]string{"OrgID": "", "APIID": "r", "bundle_hash": "d41d8cd98f00b204e9800998ecf8427e"},
	}
}
