package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc/rawcodec"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
	"github.com/turnbuckle-gateway/turnbuckle/sdk/serve"
)

// tykServer is an unmodified server of Tyk's protocol that does what a test says.
type tykServer struct {
	tykpb.UnimplementedDispatcherServer
	dispatch func(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error)
}

func (s tykServer) Dispatch(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
	return s.dispatch(ctx, o)
}

func markTyk(_ context.Context, o *tykpb.Object) (*tykpb.Object, error) {
	o.Request.SetHeaders = map[string]string{"X-Mark": "tyk"}
	return o, nil
}

// startGRPC serves what register registers until the test ends, or stop is called.
func startGRPC(t *testing.T, l net.Listener, register func(g *grpc.Server), opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	g := grpc.NewServer(opts...)
	register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("grpc server: %v", err)
		}
	})
	return g
}

func startTyk(t *testing.T, l net.Listener, dispatch func(context.Context, *tykpb.Object) (*tykpb.Object, error)) *grpc.Server {
	return startGRPC(t, l, func(g *grpc.Server) { tykpb.RegisterDispatcherServer(g, tykServer{dispatch: dispatch}) })
}

// call calls the hook on a fresh exchange.
func call(ctx context.Context, t *testing.T, s *rpc.Server, name string) (*sdk.Exchange, error) {
	t.Helper()
	x, _ := coprocesstest.NewExchange()
	h, err := s.Hook(sdk.HookUse{Name: name, Phase: sdk.Pre, Route: x.Route()})
	if err != nil {
		t.Fatal(err)
	}
	x.Begin(sdk.Pre, nil, false)
	return x, h.Handle(ctx, x)
}

// until polls what other goroutines and processes bring about.
func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not happen", what)
		}
	}
}

func stateOf(s *rpc.Server) []rpc.State {
	var states []rpc.State
	for _, i := range s.Status() {
		states = append(states, i.State)
	}
	return states
}

func TestServerDownAtStart(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 50 * time.Millisecond})
	until(t, "noticing", func() bool { return stateOf(s)[0] == rpc.StateDown })
	if s.Protocol() != "" {
		t.Errorf("got protocol %q of a server that is down", s.Protocol())
	}
	_, err := call(t.Context(), t, s, "Mark")
	if !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want unavailable and why", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	startPlugin(t, markPlugin(), l, serve.Options{})
	await(t, s)
	if x, err := call(t.Context(), t, s, "Mark"); err != nil || x.Request().Header().Get("X-Mark") != "1" {
		t.Errorf("got %v", err)
	}
	if st := s.Status()[0]; st.Protocol != rpc.Native || st.Name != "bench" || st.Version != "1" || st.Error != "" || s.Protocol() != "native" {
		t.Errorf("got status %+v", st)
	}
}

// TestServerChangesProtocol: on every new connection the server is asked anew.
func TestServerChangesProtocol(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	listen := func() net.Listener {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	tyk := startTyk(t, listen(), markTyk)
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 50 * time.Millisecond})
	await(t, s)
	x, err := call(t.Context(), t, s, "Mark")
	if err != nil || x.Request().Header().Get("X-Mark") != "tyk" || s.Protocol() != "tyk" {
		t.Errorf("got %v %q", err, s.Protocol())
	}
	if _, grouped := s.Group(nil); grouped {
		t.Error("Tyk's protocol has no groups")
	}
	tyk.Stop()
	until(t, "noticing", func() bool { return stateOf(s)[0] != rpc.StateReady })
	startPlugin(t, markPlugin(), listen(), serve.Options{})
	await(t, s)
	x, err = call(t.Context(), t, s, "Mark")
	if err != nil || x.Request().Header().Get("X-Mark") != "1" || s.Protocol() != "native" {
		t.Errorf("got %v %q", err, s.Protocol())
	}
}

// TestGroupOnTyk: a group made before the protocol was known runs hook by hook.
func TestGroupOnTyk(t *testing.T) {
	noLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 20 * time.Millisecond})
	x, b := coprocesstest.NewExchange()
	var hooks []sdk.Hook
	for _, n := range []string{"A", "B", "C"} {
		h, err := s.Hook(sdk.HookUse{Name: n, Phase: sdk.Pre, Route: x.Route()})
		if err != nil {
			t.Fatal(err)
		}
		hooks = append(hooks, h)
	}
	group, ok := s.Group(hooks)
	if !ok {
		t.Fatal("no group of a server that is down")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	startTyk(t, l, func(_ context.Context, o *tykpb.Object) (*tykpb.Object, error) {
		if o.HookName == "C" {
			o.Request.ReturnOverrides = &tykpb.ReturnOverrides{ResponseCode: 403, ResponseError: "no"}
		}
		o.Request.SetHeaders = map[string]string{"X-Trail": o.Request.Headers["X-Trail"] + o.HookName}
		return o, nil
	})
	await(t, s)
	x.Begin(sdk.Pre, nil, false)
	err = group.Handle(t.Context(), x)
	if refusal := (*sdk.Error)(nil); !errors.As(err, &refusal) || refusal.Status != 403 || refusal.Message != "no" {
		t.Errorf("got %v, want the refusal", err)
	}
	if len(b.Records) != 3 || b.Records[1].Outcome != sdk.OutcomeOK || b.Records[2].Outcome != sdk.OutcomeRefused || b.Records[2].Name != "C" {
		t.Errorf("got records %+v", b.Records)
	}
	if got := x.Request().Header().Get("X-Trail"); !strings.HasPrefix(got, "AB") {
		t.Errorf("got trail %q", got)
	}
}

func TestTykFaults(t *testing.T) {
	noLeaks(t)
	var mode atomic.Pointer[func(grpc.ServerStream, []byte) error]
	l := listen(t)
	startGRPC(t, l, func(*grpc.Server) {}, grpc.ForceServerCodecV2(rawcodec.New()),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			if method, _ := grpc.MethodFromServerStream(stream); method != tykpb.Dispatcher_Dispatch_FullMethodName {
				return status.Error(codes.Unimplemented, "no")
			}
			var in rawcodec.In
			if err := stream.RecvMsg(&in); err != nil {
				return err
			}
			return (*mode.Load())(stream, in.Data)
		}))
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), MaxRecv: 1 << 20})
	await(t, s)
	reply := func(b []byte) func(grpc.ServerStream, []byte) error {
		return func(stream grpc.ServerStream, _ []byte) error {
			return stream.SendMsg(&rawcodec.Out{Buffers: mem.BufferSlice{mem.SliceBuffer(b)}})
		}
	}
	code := func(c codes.Code) func(grpc.ServerStream, []byte) error {
		return func(grpc.ServerStream, []byte) error { return status.Error(c, "deliberate") }
	}
	for _, tt := range []struct {
		name string
		mode func(grpc.ServerStream, []byte) error
		is   error
	}{
		{"undecodable", reply([]byte{0xff, 0xff}), sdk.ErrProtocol},
		{"truncated", reply([]byte{3<<3 | 2, 50}), sdk.ErrProtocol},
		{"nil request", reply(nil), nil}, // asks for nothing
		{"over the limit", reply(make([]byte, 1<<20+1)), sdk.ErrProtocol},
		{"unavailable", code(codes.Unavailable), sdk.ErrUnavailable},
		{"unimplemented", code(codes.Unimplemented), sdk.ErrUnimplemented},
		{"overloaded", code(codes.ResourceExhausted), sdk.ErrOverloaded},
		{"out of time", code(codes.DeadlineExceeded), context.DeadlineExceeded},
		{"hangs", func(stream grpc.ServerStream, _ []byte) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}, context.DeadlineExceeded},
		{"fails", code(codes.Internal), errAny},
		{"no reply", func(grpc.ServerStream, []byte) error { return nil }, errAny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mode.Store(&tt.mode)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			x, err := call(ctx, t, s, "Mark")
			if tt.is == errAny && err != nil {
				return
			}
			if !errors.Is(err, tt.is) || tt.is == nil && err != nil {
				t.Errorf("got %v, want %v", err, tt.is)
			}
			if x.Changes() != 0 {
				t.Errorf("got changes %v", x.Changes().Names())
			}
		})
	}
	echo := func(stream grpc.ServerStream, b []byte) error { return reply(b)(stream, nil) }
	mode.Store(&echo)
	if _, err := call(t.Context(), t, s, "Mark"); err != nil {
		t.Errorf("after all: %v", err)
	}
}

var errAny = errors.New("any error")

// TestMessageOverLimit: a message over the limit fails alone.
func TestMessageOverLimit(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Tyk, rpc.Native} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			l := listen(t)
			p := markPlugin()
			p.Hooks[0].Needs = sdk.Needs{Fields: sdk.NeedDefault | sdk.NeedBody}
			startPlugin(t, p, l, serve.Options{})
			s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), Protocol: protocol, MaxSend: 100 << 10})
			await(t, s)
			x, _ := coprocesstest.NewExchange()
			x.Request().LoadBody(make([]byte, 200<<10))
			h, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Route: x.Route()})
			if err != nil {
				t.Fatal(err)
			}
			x.Begin(sdk.Pre, nil, false)
			if err := h.Handle(t.Context(), x); !errors.Is(err, sdk.ErrProtocol) || !strings.Contains(err.Error(), "limit") {
				t.Errorf("got %v, want a message over the limit", err)
			}
			if _, err := call(t.Context(), t, s, "Mark"); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// TestDiesMidCall: calls that were under way fail at once, and the server is back when it is back.
func TestDiesMidCall(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Tyk, rpc.Native} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			path := filepath.Join(t.TempDir(), "s")
			begun := make(chan struct{}, 10)
			start := func() *grpc.Server {
				l, err := net.Listen("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				return startGRPC(t, l, func(g *grpc.Server) {
					tykpb.RegisterDispatcherServer(g, tykServer{dispatch: func(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
						begun <- struct{}{}
						<-ctx.Done()
						return nil, ctx.Err()
					}})
					if protocol == rpc.Native {
						pluginv1.RegisterPluginServer(g, &mute{begun: begun})
					}
				})
			}
			g := start()
			s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 50 * time.Millisecond})
			await(t, s)
			result := make(chan error, 1)
			go func() {
				_, err := call(t.Context(), t, s, "Hang")
				result <- err
			}()
			<-begun
			g.Stop()
			if err := <-result; !errors.Is(err, sdk.ErrUnavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
			until(t, "noticing", func() bool { return stateOf(s)[0] != rpc.StateReady })
			start()
			await(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := call(ctx, t, s, "Hang"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want it to hang past its deadline", err)
			}
		})
	}
}

// mute is a native server that takes calls and never answers.
type mute struct {
	pluginv1.UnimplementedPluginServer
	begun chan struct{}
}

func (*mute) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeReply, error) {
	return &pluginv1.DescribeReply{Name: "mute", Version: "1"}, nil
}

func (m *mute) Session(stream pluginv1.Plugin_SessionServer) error {
	if err := stream.Send(&pluginv1.PluginFrame{Credit: 10}); err != nil {
		return err
	}
	for {
		f, err := stream.Recv()
		if err != nil {
			return err
		}
		for range f.Calls {
			m.begun <- struct{}{}
		}
		if err := stream.Send(&pluginv1.PluginFrame{Ack: f.Seq}); err != nil {
			return err
		}
	}
}

// TestDescribeThatFails: a server that does not answer Describe is not taken for Tyk's.
func TestDescribeThatFails(t *testing.T) {
	noLeaks(t)
	var asked atomic.Int32
	var fail atomic.Bool
	fail.Store(true)
	l := listen(t)
	startGRPC(t, l, func(g *grpc.Server) {
		tykpb.RegisterDispatcherServer(g, tykServer{dispatch: markTyk})
	}, grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if method != pluginv1.Plugin_Describe_FullMethodName {
			return status.Error(codes.Unimplemented, "no")
		}
		n := asked.Add(1)
		switch {
		case !fail.Load():
			return status.Error(codes.Unimplemented, "no")
		case n%2 == 0:
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		return status.Error(codes.Unavailable, "not now")
	}))
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), ConnectTimeout: 50 * time.Millisecond, RetryEvery: 10 * time.Millisecond})
	until(t, "asking", func() bool { return asked.Load() >= 4 })
	if s.Protocol() != "" {
		t.Errorf("got protocol %q", s.Protocol())
	}
	if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	fail.Store(false)
	await(t, s)
	if s.Protocol() != "tyk" {
		t.Errorf("got protocol %q", s.Protocol())
	}
}

// TestHealth: a server that says it is not serving gets no calls until it says it is.
func TestHealth(t *testing.T) {
	noLeaks(t)
	l := listen(t)
	h := health.NewServer()
	startGRPC(t, l, func(g *grpc.Server) {
		tykpb.RegisterDispatcherServer(g, tykServer{dispatch: markTyk})
		healthpb.RegisterHealthServer(g, h)
	})
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
	await(t, s)
	h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	until(t, "noticing", func() bool { return stateOf(s)[0] == rpc.StateNotServing })
	if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "not serving") {
		t.Errorf("got %v, want unavailable and why", err)
	}
	h.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	await(t, s)
	if _, err := call(t.Context(), t, s, "Mark"); err != nil {
		t.Error(err)
	}
}

// TestRollingRestart: two instances are restarted one after the other under load, and no call fails.
func TestRollingRestart(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Native, rpc.Tyk} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			addresses := []string{place(t), place(t)}
			stop := make([]func(), 2)
			start := func(i int) {
				l, err := net.Listen("unix", addresses[i])
				if err != nil {
					t.Fatal(err)
				}
				stop[i] = startInstance(t, protocol, l)
			}
			start(0)
			start(1)
			s := open(t, rpc.Options{
				Address: "dns:///plugins.test:80", RetryEvery: 50 * time.Millisecond,
				Resolve: func(context.Context, string) ([]string, error) { return []string{"1.1.1.1", "2.2.2.2"}, nil },
				Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
					to := addresses[0]
					if strings.HasPrefix(address, "2.") {
						to = addresses[1]
					}
					return new(net.Dialer).DialContext(ctx, "unix", to)
				},
			})
			ready := func(n int) {
				until(t, fmt.Sprintf("%d ready instances", n), func() bool {
					got := 0
					for _, st := range stateOf(s) {
						if st == rpc.StateReady {
							got++
						}
					}
					return got == n
				})
			}
			ready(2)
			quit := make(chan struct{})
			var calls atomic.Int64
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					for {
						select {
						case <-quit:
							return
						default:
						}
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						if _, err := call(ctx, t, s, "Mark"); err != nil {
							t.Errorf("after %d calls: %v", calls.Load(), err)
						}
						cancel()
						calls.Add(1)
					}
				})
			}
			for range 2 {
				for i := range 2 {
					before := calls.Load()
					until(t, "load", func() bool { return calls.Load() > before+200 })
					stop[i]()
					ready(1)
					start(i)
					ready(2)
				}
			}
			close(quit)
			all.Wait()
			t.Logf("%d calls", calls.Load())
		})
	}
}

// startInstance starts a server that stops gracefully.
func startInstance(t *testing.T, protocol rpc.Protocol, l net.Listener) func() {
	if protocol == rpc.Native {
		s := startPlugin(t, markPlugin(), l, serve.Options{})
		return func() {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	return startTyk(t, l, markTyk).GracefulStop
}

// place returns an address nobody else will listen at, as a port could not be that is free for now.
func place(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

// TestAddressesComeAndGo: instances follow what the name stands for; a failing lookup changes nothing.
func TestAddressesComeAndGo(t *testing.T) {
	noLeaks(t)
	listeners := map[string]net.Listener{}
	var served [3]atomic.Int64
	for i := range 3 {
		l := listen(t)
		listeners[fmt.Sprintf("10.0.0.%d:80", i)] = l
		startTyk(t, l, func(_ context.Context, o *tykpb.Object) (*tykpb.Object, error) {
			served[i].Add(1)
			return o, nil
		})
	}
	var names atomic.Pointer[[]string]
	names.Store(&[]string{"10.0.0.0", "10.0.0.1"})
	s := open(t, rpc.Options{
		Address: "dns:///plugins.test:80", ResolveEvery: 5 * time.Millisecond,
		Resolve: func(_ context.Context, host string) ([]string, error) {
			if host != "plugins.test" {
				return nil, fmt.Errorf("asked for %q", host)
			}
			if n := names.Load(); n != nil {
				return *n, nil
			}
			return nil, errors.New("no answer")
		},
		Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", listeners[address].Addr().String())
		},
	})
	addresses := func(want ...string) {
		until(t, fmt.Sprint(want), func() bool {
			var ready []string
			for _, st := range s.Status() {
				if st.State == rpc.StateReady {
					ready = append(ready, st.Address)
				}
			}
			return fmt.Sprint(ready) == fmt.Sprint(want)
		})
	}
	calls := func(n int) {
		for range n {
			if _, err := call(t.Context(), t, s, "Mark"); err != nil {
				t.Error(err)
			}
		}
	}
	addresses("10.0.0.0:80", "10.0.0.1:80")
	calls(10)
	if served[0].Load() != 5 || served[1].Load() != 5 {
		t.Errorf("got %d and %d calls, want 5 each", served[0].Load(), served[1].Load())
	}
	names.Store(&[]string{"10.0.0.1", "10.0.0.2"})
	addresses("10.0.0.1:80", "10.0.0.2:80")
	calls(10)
	if served[0].Load() != 5 || served[2].Load() != 5 {
		t.Errorf("got %d and %d calls, want 5 each", served[0].Load(), served[2].Load())
	}
	names.Store(nil)
	until(t, "a failed lookup", func() bool { return names.Load() == nil })
	calls(2)
	names.Store(&[]string{})
	calls(2)
	addresses("10.0.0.1:80", "10.0.0.2:80")
}

// TestAddressGoesMidCall: what an instance is doing when its address goes, it finishes.
func TestAddressGoesMidCall(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Native, rpc.Tyk} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			begun, release := make(chan struct{}), make(chan struct{})
			p := markPlugin()
			p.Hooks[0].Hook = sdk.HookFunc(func(context.Context, *sdk.Exchange) error {
				close(begun)
				<-release
				return nil
			})
			l := listen(t)
			startPlugin(t, p, l, serve.Options{})
			var names atomic.Pointer[[]string]
			names.Store(&[]string{"10.0.0.1"})
			s := open(t, rpc.Options{
				Address: "dns:///plugins.test:80", Protocol: protocol, ResolveEvery: 5 * time.Millisecond,
				Resolve: func(context.Context, string) ([]string, error) { return *names.Load(), nil },
				Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
				},
			})
			await(t, s)
			result := make(chan error, 1)
			go func() {
				_, err := call(t.Context(), t, s, "Mark")
				result <- err
			}()
			<-begun
			names.Store(&[]string{"10.0.0.2"})
			until(t, "the change", func() bool {
				st := s.Status()
				return len(st) == 1 && st[0].Address == "10.0.0.2:80" && st[0].State == rpc.StateReady
			})
			close(release)
			if err := <-result; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTykTrace: the trace context travels in the metadata, unless gRPC would refuse the call for it.
func TestTykTrace(t *testing.T) {
	noLeaks(t)
	got := make(chan metadata.MD, 1)
	l := listen(t)
	startTyk(t, l, func(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- md
		return o, nil
	})
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
	await(t, s)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		trace sdk.Trace
		want  []string
	}{
		{sdk.Trace{Parent: parent, State: "a=b"}, []string{parent, "a=b"}},
		{sdk.Trace{Parent: parent, State: "a=\xff"}, []string{parent}},
		{sdk.Trace{}, nil},
	} {
		x, _ := coprocesstest.NewExchange()
		x.SetTrace(tt.trace)
		h, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Route: x.Route()})
		if err != nil {
			t.Fatal(err)
		}
		x.Begin(sdk.Pre, nil, false)
		if err := h.Handle(t.Context(), x); err != nil {
			t.Error(err)
		}
		md := <-got
		if all := append(md.Get("traceparent"), md.Get("tracestate")...); !slices.Equal(all, tt.want) {
			t.Errorf("got %q, want %q", all, tt.want)
		}
	}
}

// TestObserve: large batches travel in pieces, and an observer of a server that is down says so.
func TestObserve(t *testing.T) {
	noLeaks(t)
	const records = 3000
	var seen, dropped atomic.Int64
	p := markPlugin()
	p.Observers = []sdk.ObserverSpec{{Name: "Watch", Observer: sdk.ObserverFunc(func(_ context.Context, b sdk.Batch) error {
		seen.Add(int64(len(b.Records)))
		dropped.Add(int64(b.Dropped))
		return nil
	})}}
	path := filepath.Join(t.TempDir(), "s")
	s := open(t, rpc.Options{Address: "unix:" + path, RetryEvery: 20 * time.Millisecond})
	batch := sdk.Batch{Records: make([]sdk.Record, records), Dropped: 5}
	for i := range batch.Records {
		batch.Records[i] = sdk.Record{RequestID: fmt.Sprint(i), Path: strings.Repeat("x", 300)}
	}
	watch := s.Observer("Watch")
	if err := watch.Observe(t.Context(), batch); !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("got %v, want unavailable", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	startPlugin(t, p, l, serve.Options{})
	await(t, s)
	if err := watch.Observe(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	until(t, "all records", func() bool { return seen.Load()+dropped.Load() >= records+5 })
	if frames := s.Stats().Frames; frames < 3 {
		t.Errorf("%d records travelled in %d frames", records, frames)
	}
}

// TestConnectionAge: a server that has its only connection renewed every now and then loses no call.
func TestConnectionAge(t *testing.T) {
	for _, protocol := range []rpc.Protocol{rpc.Native, rpc.Tyk} {
		t.Run(string(protocol), func(t *testing.T) {
			noLeaks(t)
			l := listen(t)
			var dials atomic.Int32
			startGRPC(t, l, func(g *grpc.Server) {
				tykpb.RegisterDispatcherServer(g, tykServer{dispatch: markTyk})
				if protocol == rpc.Native {
					pluginv1.RegisterPluginServer(g, prompt{})
				}
			}, grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 50 * time.Millisecond, MaxConnectionAgeGrace: 10 * time.Second}))
			s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				dials.Add(1)
				return new(net.Dialer).DialContext(ctx, network, address)
			}})
			await(t, s)
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for dials.Load() < 5 {
						ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
						if _, err := call(ctx, t, s, "Mark"); err != nil {
							t.Errorf("on connection %d: %v", dials.Load(), err)
						}
						cancel()
					}
				})
			}
			all.Wait()
			if s.Protocol() != string(protocol) {
				t.Errorf("got protocol %q", s.Protocol())
			}
		})
	}
}

// prompt is a native server, written with generated code, that answers everything with nothing.
type prompt struct {
	pluginv1.UnimplementedPluginServer
}

func (prompt) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeReply, error) {
	return &pluginv1.DescribeReply{Name: "prompt", Version: "1"}, nil
}

func (prompt) Session(stream pluginv1.Plugin_SessionServer) error {
	if err := stream.Send(&pluginv1.PluginFrame{Credit: 10}); err != nil {
		return err
	}
	for {
		f, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &pluginv1.PluginFrame{Ack: f.Seq}
		for _, c := range f.Calls {
			out.Replies = append(out.Replies, &pluginv1.Reply{Id: c.Id})
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// TestManyRoutes: a session that has told its server of as many bindings as it may is replaced without a failed call.
func TestManyRoutes(t *testing.T) {
	noLeaks(t)
	l := listen(t)
	startPlugin(t, markPlugin(), l, serve.Options{})
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), Bindings: 3})
	await(t, s)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 25 {
				x, _ := coprocesstest.NewExchange()
				h, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Route: x.Route(), Config: fmt.Appendf(nil, "%d", 100*i+j)})
				if err != nil {
					t.Error(err)
					return
				}
				x.Begin(sdk.Pre, nil, false)
				if err := h.Handle(t.Context(), x); err != nil {
					t.Errorf("route %d of %d: %v", j, i, err)
				}
			}
		})
	}
	all.Wait()
	if calls := s.Stats().Calls; calls > 90 {
		t.Errorf("the last session had %d calls: it was not replaced", calls)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "unix:", "unix://relative", "http://x:1", "dns://server/x:1", "dns:///x", "host", ":", "tcp://", "dns:///:1"} {
		if s, err := rpc.Open(t.Context(), rpc.Options{Address: bad}); err == nil {
			_ = s.Close()
			t.Errorf("%q was accepted", bad)
		}
	}
	for _, good := range []string{"unix:a", "unix:/a", "unix:///a", "tcp://127.0.0.1:1", "127.0.0.1:1", "[::1]:1", "localhost:1", "dns:///localhost:1"} {
		s, err := rpc.Open(t.Context(), rpc.Options{Address: good})
		if err != nil {
			t.Errorf("%q: %v", good, err)
			continue
		}
		_ = s.Close()
		if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) {
			t.Errorf("%q: got %v after Close", good, err)
		}
	}
}
