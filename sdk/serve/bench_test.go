package serve

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

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/wire"
)

// caller is a host reduced to what measuring needs: it batches calls into frames as a host does and encodes nothing
// twice. A frame leaves when fewer than window are unacknowledged.
type caller struct {
	stream grpc.ClientStream
	window uint64

	mu       sync.Mutex
	next     []byte // calls of the next frame
	seq, ack uint64
	sending  bool

	waiting []chan struct{} // by call id - 1
	frames  atomic.Int64
}

func dialSession(b testing.TB, socket string, callers int, window uint64) (*caller, func()) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec()), grpc.WaitForReady(true)))
	if err != nil {
		b.Fatal(err)
	}
	stream, err := conn.NewStream(b.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+pluginService+"/Session")
	if err != nil {
		b.Fatal(err)
	}
	c := &caller{stream: stream, window: window}
	for range callers {
		c.waiting = append(c.waiting, make(chan struct{}, 1))
	}
	c.next = wire.AppendBinding(nil, &wire.Binding{ID: 1, Phase: sdk.Pre, Hooks: []wire.HookUse{{Name: "Mark"}}, Route: &sdk.Route{ID: "r"}})
	received := make(chan struct{})
	go func() {
		defer close(received)
		c.receive()
	}()
	return c, func() {
		_ = stream.CloseSend()
		<-received
		_ = conn.Close()
	}
}

func (c *caller) receive() {
	for {
		var m message
		if c.stream.RecvMsg(&m) != nil {
			return
		}
		f, err := wire.ScanPluginFrame(m.data)
		if err != nil {
			return
		}
		c.frames.Add(1)
		for id := range f.Replies() {
			c.waiting[id-1] <- struct{}{}
		}
		c.mu.Lock()
		c.ack = max(c.ack, f.Ack)
		c.flush()
		c.mu.Unlock()
		m.release()
	}
}

func (c *caller) flush() {
	for !c.sending && len(c.next) > 0 && c.seq-c.ack < c.window {
		c.sending = true
		c.seq++
		b := wire.AppendSeq(c.next, c.seq)
		c.next = make([]byte, 0, len(b)+64)
		c.mu.Unlock()
		err := c.stream.SendMsg(&message{data: b})
		c.mu.Lock()
		c.sending = false
		if err != nil {
			return
		}
	}
}

// call makes the call of one of the callers and waits for its reply.
func (c *caller) call(id int, x *sdk.Exchange) {
	c.mu.Lock()
	c.next = wire.AppendCall(c.next, wire.CallHeader{ID: uint64(id + 1), Binding: 1, Timeout: time.Second}, x, sdk.Needs{})
	c.flush()
	c.mu.Unlock()
	<-c.waiting[id]
}

func benchExchange() *sdk.Exchange {
	x := &sdk.Exchange{}
	x.Reset(sdk.Init{Route: &sdk.Route{ID: "r"}, RequestID: "0123456789abcdef"})
	x.Request().Fill(sdk.RequestInit{Method: "GET", Scheme: "http", Host: "example.test", Path: "/orders/42", Query: "page=2", URI: "/orders/42?page=2", Proto: "HTTP/1.1"})
	for _, f := range []sdk.Field{{Name: "User-Agent", Value: "wrk/4.2"}, {Name: "Accept", Value: "*/*"}, {Name: "X-Forwarded-For", Value: "10.0.0.1"}} {
		x.Request().Header().Append(f.Name, f.Value)
	}
	x.Begin(sdk.Pre, nil, false)
	return x
}

func markPlugin() *sdk.Plugin {
	return &sdk.Plugin{Name: "bench", Version: "1", Hooks: []sdk.HookSpec{{Name: "Mark", Phase: sdk.Pre,
		Hook: sdk.HookFunc(func(_ context.Context, x *sdk.Exchange) error {
			x.Request().Header().Set("X-Mark", "1")
			return nil
		})}}}
}

const childEnv = "TURNBUCKLE_SERVE_BENCH_SOCKET"

// TestMain lets this binary be the server whose CPU a benchmark reads, and the program of an author.
func TestMain(m *testing.M) {
	if os.Getenv(authorEnv) != "" {
		os.Exit(Main(slowPlugin()))
	}
	if socket := os.Getenv(childEnv); socket != "" {
		s, err := New(markPlugin(), Options{})
		if err == nil {
			var l net.Listener
			if l, err = Listen(context.Background(), "unix:"+socket, 0o600); err == nil {
				err = s.Serve(context.Background(), l)
			}
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func startChild(b *testing.B) (string, func() time.Duration) {
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
	return socket, func() time.Duration { return cpuOf(b, cmd.Process.Pid) }
}

// cpuOf reads the CPU time of a process, to the nanosecond.
func cpuOf(b *testing.B, pid int) time.Duration {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		b.Fatal(err)
	}
	if len(tasks) == 0 {
		b.Skip("needs Linux's schedstat")
	}
	var sum time.Duration
	for _, t := range tasks {
		var ns int64
		text, err := os.ReadFile(t)
		if err == nil { // a thread may end in between
			_, err = fmt.Sscan(string(text), &ns)
		}
		if err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}

func ownCPU() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkSession measures the native protocol.
func BenchmarkSession(b *testing.B) {
	for _, callers := range []int{1, 10, 50, 200} {
		for _, window := range []uint64{1, 2} {
			b.Run(fmt.Sprintf("callers=%d/window=%d", callers, window), func(b *testing.B) {
				socket, serverCPU := startChild(b)
				c, stop := dialSession(b, socket, callers, window)
				defer stop()
				c.call(0, benchExchange())
				frames := c.frames.Load()
				keepBusy(b, callers, serverCPU, c.call)
				b.ReportMetric(float64(b.N)/float64(c.frames.Load()-frames), "calls/frame")
			})
		}
	}
}

// BenchmarkDispatch measures Tyk's protocol the same way, with a generated client.
func BenchmarkDispatch(b *testing.B) {
	for _, callers := range []int{1, 50, 200} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			socket, serverCPU := startChild(b)
			conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			client := coprocess.NewDispatcherClient(conn)
			call := func(_ int, x *sdk.Exchange) {
				o := &coprocess.Object{HookType: coprocess.HookType_Pre, HookName: "Mark", Request: &coprocess.MiniRequestObject{
					Method: "GET", Url: x.Request().Target(), Headers: map[string]string{"User-Agent": "wrk/4.2", "Accept": "*/*", "X-Forwarded-For": "10.0.0.1"},
				}}
				if _, err := client.Dispatch(b.Context(), o, grpc.WaitForReady(true)); err != nil {
					b.Error(err)
				}
			}
			call(0, benchExchange())
			keepBusy(b, callers, serverCPU, call)
		})
	}
}

// keepBusy makes b.N calls from so many callers at once and reports the CPU that both processes took.
func keepBusy(b *testing.B, callers int, serverCPU func() time.Duration, call func(id int, x *sdk.Exchange)) {
	server, own := serverCPU(), ownCPU()
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var wait sync.WaitGroup
	for id := range callers {
		wait.Go(func() {
			x := benchExchange()
			for left.Add(-1) >= 0 {
				call(id, x)
			}
		})
	}
	wait.Wait()
	b.StopTimer()
	b.ReportMetric(float64(serverCPU()-server)/float64(b.N), "server-cpu-ns/call")
	b.ReportMetric(float64(ownCPU()-own)/float64(b.N), "client-cpu-ns/call")
}

// BenchmarkRun is one call without the network: decode, run, encode.
func BenchmarkRun(b *testing.B) {
	s, err := New(markPlugin(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	e := &session{server: s, ctx: b.Context()}
	w := newWorker(e)
	f, err := wire.ScanHostFrame(wire.AppendCall(nil, wire.CallHeader{ID: 1, Binding: 1, Timeout: time.Second}, benchExchange(), sdk.Needs{}))
	if err != nil {
		b.Fatal(err)
	}
	bound := resolve(s.plugin, &wire.Binding{ID: 1, Phase: sdk.Pre, Hooks: []wire.HookUse{{Name: "Mark"}}, Route: &sdk.Route{ID: "r"}})
	b.ReportAllocs()
	for raw := range f.Calls() {
		for b.Loop() {
			w.ctx = &callContext{parent: e.ctx, deadline: time.Now().Add(time.Second)}
			w.run(&job{id: 1, call: raw, binding: bound, arrived: w.now})
		}
	}
}
