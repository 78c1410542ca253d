package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/turnbuckle-gateway/turnbuckle/coprocess/coprocesstest"
	"github.com/turnbuckle-gateway/turnbuckle/coprocess/rpc"
	tykpb "github.com/turnbuckle-gateway/turnbuckle/proto/coprocess"
	"github.com/turnbuckle-gateway/turnbuckle/sdk"
)

// doors dials through connections that a test can cut.
type doors struct {
	mu     sync.Mutex
	open   []net.Conn
	closed bool // nobody else comes in
}

func (d *doors) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, errors.New("door is closed")
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		d.open = append(d.open, nc)
		d.mu.Unlock()
	}
	return nc, err
}

// last returns the connection for calls: gRPC's comes first.
func (d *doors) last() net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open[len(d.open)-1]
}

func (d *doors) shut(closed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = closed
}

func (d *doors) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

// TestCallConnectionLost: the connection for calls can be lost without gRPC's, and is renewed without a failed call but
// those that it held.
func TestCallConnectionLost(t *testing.T) {
	noLeaks(t)
	begun := make(chan struct{}, 1)
	l := listen(t)
	startTyk(t, l, func(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
		if o.HookName == "Hang" {
			begun <- struct{}{}
			<-ctx.Done()
		}
		return markTyk(ctx, o)
	})
	var d doors
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String(), Dial: d.dial, RetryEvery: 20 * time.Millisecond})
	await(t, s)
	result := make(chan error, 1)
	go func() {
		_, err := call(t.Context(), t, s, "Hang")
		result <- err
	}()
	<-begun
	_ = d.last().Close()
	if err := <-result; !errors.Is(err, sdk.ErrUnavailable) {
		t.Errorf("the call it held: got %v, want unavailable", err)
	}
	for range 3 {
		if _, err := call(t.Context(), t, s, "Mark"); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
	if d.count() != 3 || stateOf(s)[0] != rpc.StateReady {
		t.Errorf("got %d connections, state %v", d.count(), stateOf(s))
	}
	d.shut(true)
	_ = d.last().Close()
	until(t, "noticing", func() bool { return stateOf(s)[0] == rpc.StateDown })
	if _, err := call(t.Context(), t, s, "Mark"); !errors.Is(err, sdk.ErrUnavailable) || !strings.Contains(err.Error(), "door is closed") {
		t.Errorf("got %v, want unavailable and why", err)
	}
	d.shut(false)
	await(t, s)
	if _, err := call(t.Context(), t, s, "Mark"); err != nil {
		t.Error(err)
	}
}

// TestManyCallsAtOnce: more callers than the server takes calls at a time.
func TestManyCallsAtOnce(t *testing.T) {
	noLeaks(t)
	var running, most atomic.Int64
	l := listen(t)
	startGRPC(t, l, func(g *grpc.Server) {
		tykpb.RegisterDispatcherServer(g, tykServer{dispatch: func(ctx context.Context, o *tykpb.Object) (*tykpb.Object, error) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			return markTyk(ctx, o)
		}})
	}, grpc.MaxConcurrentStreams(10))
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
	await(t, s)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			for range 10 {
				if x, err := call(t.Context(), t, s, "Mark"); err != nil || x.Request().Header().Get("X-Mark") != "tyk" {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 10 {
		t.Errorf("%d calls at once", most.Load())
	}
}

// TestLargeObjects: bodies up to the usual limit, and 10,000 headers.
func TestLargeObjects(t *testing.T) {
	noLeaks(t)
	l := listen(t)
	startTyk(t, l, markTyk)
	s := open(t, rpc.Options{Address: "unix:" + l.Addr().String()})
	await(t, s)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			x, _ := coprocesstest.NewExchange()
			for n := range 10_000 {
				x.Request().Header().Append(fmt.Sprintf("X-Header-%d", n), "value")
			}
			// Not UTF-8, so that it travels once and not as text too.
			body := append(make([]byte, 3<<20+i), 0xff)
			x.Request().LoadBody(body)
			h, err := s.Hook(sdk.HookUse{Name: "Mark", Phase: sdk.Pre, Route: x.Route()})
			if err != nil {
				t.Error(err)
				return
			}
			x.Begin(sdk.Pre, nil, false)
			if err := h.Handle(t.Context(), x); err != nil {
				t.Error(err)
			}
			if got := x.Request().Header().Get("X-Mark"); got != "tyk" {
				t.Errorf("got %q", got)
			}
			if got := x.Request().Header().Get("X-Header-9999"); got != "value" {
				t.Errorf("got %q", got)
			}
		})
	}
	all.Wait()
}
