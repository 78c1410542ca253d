package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	pluginv1 "github.com/turnbuckle-gateway/turnbuckle/proto/plugin/v1"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

func TestDrainLosesNoCall(t *testing.T) {
	g := newGate()
	var closed atomic.Int32
	p := one("H", g.Handle)
	p.Close = func() error { closed.Add(1); return nil }
	r := start(t, p, Options{})
	health, err := healthpb.NewHealthClient(r.conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: pluginService})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := health.Recv(); err != nil || s.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", s, err)
	}
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1), held(2), callOf(3)}})
	h.reply(3)
	unary := make(chan error, 1)
	go func() {
		_, err := r.tyk.Dispatch(t.Context(), &coprocess.Object{HookType: coprocess.HookType_Pre, HookName: "H", Request: &coprocess.MiniRequestObject{Url: "/held"}})
		unary <- err
	}()
	for range 3 {
		<-g.entered
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	if s, err := health.Recv(); err != nil || s.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v, %v", s, err)
	}
	h.until("the drain", func() bool { return h.drained })
	h.call(4) // sent before the host had read the drain
	h.reply(4)
	close(g.opened)
	h.reply(1)
	h.reply(2)
	if closed.Load() != 0 {
		t.Error("the plugin was closed while the stream was open")
	}
	if err := h.end(); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-unary; err != nil {
		t.Errorf("the unary call ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if closed.Load() != 1 {
		t.Errorf("the plugin was closed %d times", closed.Load())
	}
}

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{Drain: 10 * time.Millisecond})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1)}})
	<-g.entered
	if err := r.stop(); err != nil {
		t.Errorf("a hook that minds its context: %v", err)
	}
}

func TestHookThatIgnoresItsContextIsReported(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	closed := false
	p := one("H", func(context.Context, *sdk.Exchange) error {
		close(entered)
		<-release
		return nil
	})
	p.Close = func() error { closed = true; return nil }
	r := start(t, p, Options{Drain: 10 * time.Millisecond})
	t.Cleanup(func() { close(release) })
	r.wantErr = "a hook ignores its context"
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.call(1)
	<-entered
	_ = r.stop()
	if closed {
		t.Error("the plugin was closed while a hook ran")
	}
}

func TestShutdown(t *testing.T) {
	g := newGate()
	r := start(t, one("H", g.Handle), Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Calls: []*pluginv1.Call{held(1)}})
	<-g.entered
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.server.Shutdown(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v while a call runs", err)
	}
	close(g.opened)
	h.reply(1)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	if err := r.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.server.Serve(t.Context(), nopListener{}); err == nil {
		t.Error("a used server served again")
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(&sdk.Plugin{}, Options{}); err == nil {
		t.Error("took a plugin without name")
	}
	if _, err := New(&sdk.Plugin{Name: "p"}, Options{Credit: -1}); err == nil {
		t.Error("took a negative credit")
	}
	if _, err := New(&sdk.Plugin{Name: "p"}, Options{MaxMessage: 100}); err == nil {
		t.Error("took a message size that holds nothing")
	}
	s, err := New(&sdk.Plugin{Name: "p"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("shutting down what never served: %v", err)
	}
}

func TestHealth(t *testing.T) {
	r := start(t, &sdk.Plugin{Name: "p"}, Options{})
	for _, service := range []string{"", pluginService, dispatcherService} {
		got, err := healthpb.NewHealthClient(r.conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || got.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: got %v, %v", service, got, err)
		}
	}
}

// sink is an observer that keeps what it gets; its first call waits for release.
type sink struct {
	called  chan struct{}
	release chan struct{}
	mu      sync.Mutex
	all     sdk.Batch
	batches int
}

func newSink() *sink { return &sink{called: make(chan struct{}, 1024), release: make(chan struct{})} }

func (s *sink) Observe(_ context.Context, b sdk.Batch) error {
	s.called <- struct{}{}
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	s.all.Records = append(s.all.Records, b.Records...)
	s.all.Events = append(s.all.Events, b.Events...)
	s.all.Dropped += b.Dropped
	if s.batches == 2 {
		panic("second batch")
	}
	return errors.New("never pleased")
}

func TestObservers(t *testing.T) {
	a, b := newSink(), newSink()
	p := one("H", func(context.Context, *sdk.Exchange) error { return nil })
	p.Observers = []sdk.ObserverSpec{{Name: "A", Observer: a}, {Name: "B", Observer: b}}
	r := start(t, p, Options{})
	h := r.open(t, pluginv1.Phase_PHASE_PRE, "H")
	h.send(&pluginv1.HostFrame{Dropped: 3, Records: []*pluginv1.Record{{Route: "1", Status: 200}}, Events: []*pluginv1.Event{{Type: "HostDown"}}})
	<-a.called // it waits inside: what follows queues up and comes as one batch
	for i := range 10 {
		f := &pluginv1.HostFrame{Observers: []string{"A"}}
		for range 2000 {
			f.Records = append(f.Records, &pluginv1.Record{Route: fmt.Sprint(i)})
		}
		h.send(f)
	}
	h.call(1)
	h.reply(1) // an observer that waits holds no call
	if _, err := r.tyk.DispatchEvent(t.Context(), &coprocess.Event{Payload: `{"message":{"Type":"AuthFailure","Meta":{"Message":"m"}},"handler_name":"B"}`}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.tyk.DispatchEvent(t.Context(), &coprocess.Event{Payload: `{`}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v for a broken event", err)
	}
	close(a.release)
	close(b.release)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	_ = r.conn.Close()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if got := len(a.all.Records); got != 1+maxWaiting || a.all.Dropped != uint64(3+20_000-maxWaiting) || a.batches != 2 {
		t.Errorf("A got %d records in %d batches, %d dropped", got, a.batches, a.all.Dropped)
	}
	if len(b.all.Records) != 1 || len(b.all.Events) != 2 || b.all.Dropped != 3 {
		t.Errorf("B got %+v", b.all)
	}
}

type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }
